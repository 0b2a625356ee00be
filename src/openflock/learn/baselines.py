"""What others would do with the same rows and steps: train alone, or average both factors as floats.

For comparison only. Averaging A and B apart is not averaging their products, and floats do not repeat.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from openflock.learn.data import Row
from openflock.learn.encode import collate, encode_rows, get_pad
from openflock.learn.model import Model
from openflock.learn.train import Adjust, TrainSettings, build_optimizer, pick_batch, prepare_step, take_rows
from openflock.update.fixed import Factor, GlobalState, to_float

Multiplier = Callable[[int], float]  # of the rate at a step, from 0; asked once more after the last
FloatAdapter = Mapping[Factor, dict[str, NDArray[np.float32]]]
FACTORS: tuple[Factor, Factor] = ("A", "B")


def read_adapter(state: GlobalState) -> FloatAdapter:
    """Read a state's factors as floats."""
    return {factor: {name: to_float(values) for name, values in state.get_factor(factor).items()} for factor in FACTORS}


def write_adapter(model: Model, adapter: FloatAdapter) -> None:
    """Put both factors into a model."""
    for factor in FACTORS:
        model.write_factor(factor, adapter[factor])


def hold(_step: int) -> float:
    """Keep the rate as it is."""
    return 1.0


def train_plain(
    model: Model,
    adapter: FloatAdapter,
    rows: Sequence[Row],
    settings: TrainSettings,
    seed: int,
    adjust: Adjust | None = None,
    multiplier: Multiplier = hold,
) -> FloatAdapter:
    """Train both factors together from an adapter, as plain PEFT does, and give what they became."""
    examples = encode_rows(model.tokenizer, rows, settings.max_length)
    write_adapter(model, adapter)
    parameters = {
        f"{name}.{factor}": parameter for factor in FACTORS for name, parameter in model.get_parameters(factor).items()
    }
    for parameter in parameters.values():
        parameter.requires_grad_(True)
    optimizer = build_optimizer(parameters, settings)
    rate = torch.optim.lr_scheduler.LambdaLR(optimizer, multiplier)
    take_step = prepare_step(model, parameters, optimizer, settings, adjust)
    for step in range(settings.steps):
        take_step(collate(pick_batch(examples, settings.batch_size, seed, step), get_pad(model.tokenizer)))
        rate.step()
    for parameter in parameters.values():
        parameter.requires_grad_(False)
        parameter.grad = None
    return {factor: model.read_factor(factor) for factor in FACTORS}


def average_plain(
    model: Model,
    start: FloatAdapter,
    shares: Sequence[Sequence[Row]],
    settings: TrainSettings,
    rounds: int,
    on_node: Callable[[], None],
) -> FloatAdapter:
    """Average factor by factor, with equal weights, what each share's node trained, round by round (FedIT)."""
    adapter = start
    for number in range(rounds):
        trained = []
        for index, rows in enumerate(shares):
            taken = take_rows(rows, settings, number)
            trained.append(train_plain(model, adapter, taken, settings, seed=number * len(shares) + index))
            on_node()
        adapter = {
            factor: {name: np.mean([each[factor][name] for each in trained], axis=0) for name in start[factor]}
            for factor in FACTORS
        }
    return adapter
