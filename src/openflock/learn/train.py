"""Train what a round trains of the adapter on one node's rows: the inner steps of a round."""

import hashlib
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from openflock.learn.checkpoint import compute_inputs_digest, read_checkpoint, remove_checkpoint, write_checkpoint
from openflock.learn.crew import pass_rows
from openflock.learn.data import Row
from openflock.learn.encode import IGNORED, Batch, collate, encode_rows, get_pad
from openflock.learn.model import Model
from openflock.learn.passes import add_gradients
from openflock.update.fixed import Factor, GlobalState, expand_seed, to_float

Of = TypeVar("Of")
Trained = Mapping[Factor, Mapping[str, NDArray[np.float32]]]
Adjust = Callable[[Sequence[torch.nn.Parameter]], None]  # what changes gradients or weights before a step


class TrainError(RuntimeError):
    """Say in one line why training cannot go on and what to do."""


@dataclass(frozen=True)
class TrainSettings:
    """Say how a node trains; all its own choice. `max_length` is in tokens, `clip_norm` caps the gradient's norm.

    `rank` is how many components it adds where updates are stacked, 0 for as many as the task allows. With
    `recompute`, layers keep no activations but compute them again: far less memory, about a third more time. `sgd` is
    for a recipe that steps with adam itself: one step of it sends a gradient.
    """

    steps: int = 25
    batch_size: int = 8
    learning_rate: float = 2e-3
    max_length: int = 256
    weight_decay: float = 0.0
    clip_norm: float = 1.0
    checkpoint_every: int = 10
    recompute: bool = False
    rank: int = 0
    optimizer: Literal["adam", "sgd"] = "adam"

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"train: {name} must be at least 1")


def train(
    model: Model,
    state: GlobalState,
    rows: Sequence[Row],
    settings: TrainSettings,
    seed: int,
    checkpoint: Path | None = None,
    on_step: Callable[[int, float], None] | None = None,
    adjust: Adjust | None = None,
) -> Trained:
    """Train what the round trains, from `state`, and give it by factor and module.

    Where updates are stacked, that is a fresh adapter beside the state: A as the seed expands to it, B zero. The same
    arguments give the same bits on one machine. With a `checkpoint` directory, an interrupted call goes on where it
    was when called again with the same arguments and ends at the same bits; a checkpoint of any other arguments is
    ignored, and none is left at the end. `on_step` gets the number of steps done and the last loss. `adjust` gets the
    trained parameters between each backward pass and its step; a checkpoint does not know it. Raises TrainError when
    a loss or weight is not finite, DataError without rows.
    """
    examples = encode_rows(model.tokenizer, rows, settings.max_length)
    model.load_state(state)
    if settings.rank > model.layout.rank:
        raise TrainError(f"train: rank {settings.rank} is over the task's {model.layout.rank}")
    if state.recipe.mode == "stack":
        begin_components(model, seed, settings.rank or model.layout.rank)
    parameters = model.trainable(*state.trained)
    optimizer = build_optimizer(parameters, settings)
    inputs = compute_inputs_digest(state, examples, asdict(settings), seed)
    done = 0 if checkpoint is None else read_checkpoint(checkpoint, inputs, parameters, optimizer)
    take_step = prepare_step(model, parameters, optimizer, settings, adjust)
    for step in range(done, settings.steps):
        batch = collate(pick_batch(examples, settings.batch_size, seed, step), get_pad(model.tokenizer))
        loss = take_step(batch)
        if not np.isfinite(loss):
            raise TrainError(f"train: the loss is {loss} at step {step + 1}; lower the learning rate")
        if checkpoint is not None and (step + 1) % settings.checkpoint_every == 0:
            write_checkpoint(checkpoint, inputs, step + 1, parameters, optimizer)
        if on_step is not None:
            on_step(step + 1, loss)
    if checkpoint is not None:
        remove_checkpoint(checkpoint)
    trained = {factor: model.read_factor(factor) for factor in state.trained}
    if state.recipe.mode == "stack":
        trained = cut_components(trained, settings.rank or model.layout.rank)
    if not all(np.isfinite(values).all() for matrices in trained.values() for values in matrices.values()):
        raise TrainError("train: the last step left a weight that is not finite; lower the learning rate")
    return trained


def begin_components(model: Model, seed: int, rank: int) -> None:
    """Give the adapter `rank` fresh components; the others stay zero in both factors, where no gradient moves them."""
    tag = f"openflock/components/{seed}".encode()
    fresh = {}
    for module in model.layout.modules:
        fresh[module.name] = np.zeros((model.layout.rank, module.inputs), np.float32)
        fresh[module.name][:rank] = to_float(expand_seed(tag, module, rank)).reshape(rank, -1)
    model.write_factor("A", fresh)


def cut_components(trained: Trained, rank: int) -> dict[Factor, dict[str, NDArray[np.float32]]]:
    """Keep the components that were trained."""
    return {
        "A": {name: np.ascontiguousarray(matrix[:rank]) for name, matrix in trained["A"].items()},
        "B": {name: np.ascontiguousarray(matrix[:, :rank]) for name, matrix in trained["B"].items()},
    }


def pick_batch(examples: Sequence[Of], size: int, seed: int, step: int) -> list[Of]:
    """Pick the examples of one step: every epoch is its own shuffle, and batches run across its end.

    It depends on its arguments alone, so a resumed run needs no state of a generator.
    """
    count = len(examples)
    positions = range(step * size, (step + 1) * size)
    orders = {epoch: _shuffle(count, seed, epoch) for epoch in {position // count for position in positions}}
    return [examples[orders[position // count][position % count]] for position in positions]


def take_rows(rows: Sequence[Row], settings: TrainSettings, number: int) -> Sequence[Row]:
    """Take the rows of a task's step: all, or where it sees less those that come after the last step's.

    Short rounds that drew anew would see some rows often before they see others at all. A round in which the node is
    not drawn skips its rows.
    """
    count = settings.steps * settings.batch_size
    return rows if count >= len(rows) else pick_batch(rows, count, seed=0, step=number)


def _shuffle(count: int, seed: int, epoch: int) -> list[int]:
    order = list(range(count))
    tag = hashlib.sha256(f"openflock/order/{seed}/{epoch}".encode()).digest()
    random.Random(tag).shuffle(order)
    return order


def build_optimizer(parameters: dict[str, torch.nn.Parameter], settings: TrainSettings) -> torch.optim.Optimizer:
    """Build the inner optimizer."""
    weights, rate, decay = parameters.values(), settings.learning_rate, settings.weight_decay
    if settings.optimizer == "sgd":
        return torch.optim.SGD(weights, lr=rate, weight_decay=decay)
    return torch.optim.AdamW(weights, lr=rate, weight_decay=decay)


def prepare_step(
    model: Model,
    parameters: dict[str, torch.nn.Parameter],
    optimizer: torch.optim.Optimizer,
    settings: TrainSettings,
    adjust: Adjust | None = None,
) -> Callable[[Batch], float]:
    """Give the function that takes one inner step on a batch and returns its loss."""
    return partial(_take_step, model, list(parameters.values()), optimizer, settings, adjust)


def _take_step(
    model: Model,
    parameters: list[torch.nn.Parameter],
    optimizer: torch.optim.Optimizer,
    settings: TrainSettings,
    adjust: Adjust | None,
    batch: Batch,
) -> float:
    optimizer.zero_grad()
    total = int((batch.labels != IGNORED).sum())
    loss = sum(pass_rows(model, add_gradients, batch, total, settings.recompute))
    if adjust is not None:
        adjust(parameters)
    torch.nn.utils.clip_grad_norm_(parameters, settings.clip_norm)
    optimizer.step()
    return float(loss)
