"""How far is each way of merging from the average of what the clients learned, sum p_k s_k B_k A_k?

Eight clients with skewed rows, two skills each and unequal weights, train the built-in base from one state. Truth is
the float64 average of their products. `of what was sent` takes the encoded updates for the truth, so that what is left
is the rounding of the state's units of 2**-24; `of what was trained` adds the rounding of int8 blocks.
"""

from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _harness import Goal, finish, parse_arguments, show_table
from numpy.typing import NDArray

from openflock.arena.peers import Adapter, average_separately, average_svd, compute_error
from openflock.learn.baselines import FloatAdapter, read_adapter, train_plain
from openflock.learn.data import Row, parse_row
from openflock.learn.model import Model, load_model
from openflock.learn.skills import generate_rows
from openflock.learn.train import TrainSettings, train
from openflock.node.proposer import compute_delta
from openflock.protocol.recipe import Recipe
from openflock.update.aggregate import compute_candidate
from openflock.update.codec import Update, digest, encode_update, make_update
from openflock.update.fixed import FACTORS, FRACTION_BITS, Factor, GlobalState, initial_state, to_fixed
from openflock.update.plan import Plan
from openflock.update.robust import compute_plan

SKILLS = ("reverse", "sort", "upper", "shift")
WEIGHTS = (1, 2, 3, 4, 1, 2, 3, 4)
UNIT = 2.0**-FRACTION_BITS
ROUNDING = 1e-4  # relative; a delta of a thousand units, rounded to one, is wrong by less


def share_rows() -> list[list[Row]]:
    """Give each client rows of two skills, one of them much more than the other; no two clients share any."""
    pairs = [*combinations(SKILLS, 2), SKILLS[:2], SKILLS[2:]]
    return [
        [
            parse_row(record, skill)
            for skill, count in zip(pair, (180, 20), strict=True)
            for record in generate_rows(skill, count, 100 + client, "train")
        ]
        for client, pair in enumerate(pairs)
    ]


def to_adapter(factors: Mapping[Factor, Mapping[str, NDArray[Any]]]) -> Adapter:
    """Turn both factors by module into pairs of float64."""
    pairs = zip(widen(factors["A"]), widen(factors["B"]), strict=True)
    return {name: (A, B) for (name, A), (_, B) in pairs}


def widen(factor: Mapping[str, NDArray[Any]]) -> Iterator[tuple[str, NDArray[np.float64]]]:
    """Give a factor's matrices as float64."""
    return ((name, matrix.astype(np.float64)) for name, matrix in factor.items())


def read_state(state: GlobalState) -> Adapter:
    """Read a state's integers as float64, exactly."""
    return to_adapter({factor: {n: v * UNIT for n, v in state.get_factor(factor).items()} for factor in FACTORS})


def apply_update(state: GlobalState, update: Update) -> Adapter:
    """Give the adapter that one update makes of a state, in float64."""
    factors: dict[Factor, dict[str, NDArray[Any]]] = {factor: dict(state.get_factor(factor)) for factor in FACTORS}
    for factor in update.parts:
        delta = update.read(factor, 0, update.layout.compute_size(factor))
        matrices = update.layout.split(factor, delta)
        stacked = state.recipe.mode == "stack"
        factors[factor] = {name: matrices[name] + (0 if stacked else factors[factor][name]) for name in matrices}
    return to_adapter({factor: {n: v * UNIT for n, v in factors[factor].items()} for factor in FACTORS})


def merge(state: GlobalState, updates: Sequence[Update]) -> GlobalState:
    """Merge with the clients' weights."""
    none = np.zeros((len(updates), len(updates)), object)
    plan: Plan = compute_plan(state.recipe, WEIGHTS, none, [digest(encode_update(update)) for update in updates])
    return compute_candidate(state, updates, plan)


def measure_ours(state: GlobalState, updates: Sequence[Update], trained: Sequence[Adapter]) -> tuple[float, float]:
    """Measure the merge of encoded updates against what was sent and against what was trained."""
    merged, shares = read_state(merge(state, updates)), [weight / sum(WEIGHTS) for weight in WEIGHTS]
    sent = [apply_update(state, update) for update in updates]
    return compute_error(merged, sent, shares), compute_error(merged, trained, shares)


def measure(model: Model, settings: TrainSettings) -> list[dict[str, Any]]:
    """Train all clients in each way, and measure each way of merging."""
    rows, shares = share_rows(), [weight / sum(WEIGHTS) for weight in WEIGHTS]
    lines = []
    for mode in ("alternate", "ffa"):
        state = initial_state(model.layout, b"exactness", Recipe(mode=mode))
        for step in range(2):  # the second step trains A in `alternate`, B again in `ffa`
            (factor,) = state.trained
            learned = [train(model, state, part, settings, seed) for seed, part in enumerate(rows)]
            updates = [make_update(state, compute_delta(state, each)) for each in learned]
            other = read_state(state)
            trained = [
                {n: (new, other[n][1]) if factor == "A" else (other[n][0], new) for n, new in widen(each[factor])}
                for each in learned
            ]
            sent, total = measure_ours(state, updates, trained)
            lines.append({"mode": f"{mode}, step {step + 1} (trains {factor})", "sent": sent, "trained": total})
            state = merge(state, updates)
    start = initial_state(model.layout, b"exactness")
    both = [train_plain(model, read_adapter(start), part, settings, seed) for seed, part in enumerate(rows)]
    lines.append({"mode": "stack", **measure_stack(start, both)})
    adapters = [to_adapter(each) for each in both]
    separate = compute_error(average_separately(adapters, shares), adapters, shares)
    svd = compute_error(average_svd(adapters, shares, model.layout.rank), adapters, shares)
    lines.append({"mode": "svd to the rank (FlexLoRA, HLoRA)", "trained": svd})
    lines.append({"mode": "separate (FedIT, Flower, NVFlare)", "trained": separate})
    return lines


def measure_stack(start: GlobalState, both: Sequence[FloatAdapter]) -> dict[str, float]:
    """Append what the clients trained in both factors."""
    state = initial_state(start.layout, b"exactness", Recipe(mode="stack"))
    updates = [
        make_update(
            state,
            {f: start.layout.join(f, {n: to_fixed(v) for n, v in each[f].items()}) for f in FACTORS},
        )
        for each in both
    ]
    sent, total = measure_ours(state, updates, [to_adapter(each) for each in both])
    return {"sent": sent, "trained": total}


def main() -> None:
    """Measure a gentle and a hard local training."""
    args = parse_arguments(__doc__)
    torch.set_num_threads(1)
    model = load_model(Path(str(files("openflock") / "assets" / "base")), rank=8, alpha=16)
    trainings = {"10 steps, rate 1e-3": (10, 1e-3), "50 steps, rate 3e-3": (50, 3e-3)}
    results, goals = {}, []
    for title, (steps, rate) in trainings.items():
        lines = measure(model, TrainSettings(steps, 8, rate, 64))
        results[title] = lines
        rows = [
            (line["mode"], *(f"{line[k]:.1e}" if k in line else "-" for k in ("sent", "trained"))) for line in lines
        ]
        show_table(f"Relative error, {title}", ("", "of what was sent", "of what was trained"), rows)
        for line in lines:
            if "sent" in line:
                name = f"{line['mode']}, of what was sent ({title})"
                goals.append(Goal(name, line["sent"], f"<= {ROUNDING}", line["sent"] <= ROUNDING))
    finish(args, goals, {"errors": results})


if __name__ == "__main__":
    main()
