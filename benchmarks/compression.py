"""How few bytes can an update be, and what does it cost in loss?

One node a domain; each round all train from the state and their updates are merged with equal weights. `float` merges
what they trained as it is, in float64; the others send real encoded updates, with error feedback. The same rows, seeds
and steps for all. Quick form: the built-in base and skills, 4 rounds, 4 seeds, more encodings. Full form:
../shared/base on four domains of real text, 6 rounds, 3 seeds; its runs are kept beside the JSON file, so an
interrupted call goes on.
"""

import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import as_completed
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from statistics import mean
from typing import Any, Literal

import numpy as np
from _harness import Goal, finish, parse_arguments, show_table

from openflock.edge.processes import Executor
from openflock.learn.data import Row
from openflock.learn.evaluate import EvaluationSettings, compute_loss
from openflock.learn.model import Model, load_model
from openflock.learn.train import TrainSettings, train
from openflock.node.feedback import Feedback
from openflock.node.proposer import Proposer
from openflock.protocol.recipe import Encoding, Recipe
from openflock.update.admission import check_admission
from openflock.update.aggregate import compute_candidate
from openflock.update.codec import digest
from openflock.update.fixed import FACTORS, GlobalState, initial_state, to_fixed
from openflock.update.robust import compute_plan

SHARED = Path(__file__).parents[2] / "shared"
CEILING = 2**40  # no update here comes near it
FLOAT: Literal["float"] = "float"
Sent = Encoding | Literal["float"]


@dataclass(frozen=True)
class Workload:
    """What is trained: the base, each domain's rows, and how."""

    base: str
    domains: tuple[str, ...]
    settings: TrainSettings
    rounds: int
    rows: int
    report: int  # validation rows of a domain


QUICK = Workload("built-in", ("reverse", "sort", "upper", "shift"), TrainSettings(25, 8, 3e-3, 64), 4, 400, 64)
FULL = Workload(
    str(SHARED / "base"), ("code", "general", "math", "medical"), TrainSettings(30, 8, 2e-3, 128), 6, 600, 97
)


def load_rows(workload: Workload, domain: str, split: str, count: int, seed: int) -> list[Row]:
    """Load a node's rows: of the training split a sample by seed, of the validation split the first."""
    from random import Random

    from openflock.learn.data import load_domain, parse_row
    from openflock.learn.skills import generate_rows

    if workload.base == "built-in":
        return [parse_row(record, domain) for record in generate_rows(domain, count, seed, split)]
    rows = load_domain(SHARED / "data", domain, split)
    return Random(seed).sample(rows, min(count, len(rows))) if split == "train" else rows[:count]


def measure_losses(workload: Workload, model: Model, state: GlobalState) -> dict[str, float]:
    """Measure a state on validation rows of every domain."""
    model.load_state(state)
    settings = EvaluationSettings(max_length=workload.settings.max_length)
    return {
        domain: compute_loss(model, load_rows(workload, domain, "validation", workload.report, 0), settings)
        for domain in workload.domains
    }


def play(workload: Workload, encoding: Sent, seed: int) -> dict[str, Any]:
    """Play all rounds of one seed in one encoding; give losses before and after, and the bytes of each update."""
    import torch

    torch.set_num_threads(1)
    model = load_model(locate(workload.base), rank=8, alpha=16)
    recipe = Recipe() if encoding == FLOAT else Recipe(encoding=encoding)
    state = initial_state(model.layout, seed.to_bytes(4, "big"), recipe)
    before, sizes = measure_losses(workload, model, state), []
    with tempfile.TemporaryDirectory() as directory:
        nodes = build_nodes(workload, Path(directory), seed)
        for number in range(workload.rounds):
            seeds = [1000 * seed + 10 * number + index for index in range(len(nodes))]
            if encoding == FLOAT:
                state = merge_floats(model, state, nodes, seeds)
            else:
                state, blobs = merge_encoded(model, state, nodes, seeds)
                sizes += [len(blob) for blob in blobs]
    adapter = 4 * sum(model.layout.compute_size(factor) for factor in FACTORS)
    after = measure_losses(workload, model, state)
    return {"encoding": encoding, "seed": seed, "before": before, "after": after, "bytes": sizes or [adapter]}


def locate(base: str) -> Path:
    """Give the directory of a base."""
    from importlib.resources import files

    return Path(str(files("openflock") / "assets" / "base")) if base == "built-in" else Path(base)


def build_nodes(workload: Workload, directory: Path, seed: int) -> list[Proposer]:
    """Build one node a domain."""
    return [
        Proposer(
            load_rows(workload, domain, "train", workload.rows, seed),
            workload.settings,
            feedback=Feedback(directory / domain),
        )
        for domain in workload.domains
    ]


def merge_encoded(
    model: Model, state: GlobalState, nodes: Sequence[Proposer], seeds: Sequence[int]
) -> tuple[GlobalState, list[bytes]]:
    """Let all propose and merge what they sent."""
    blobs = [node.make_update(model, state, CEILING, seed) for node, seed in zip(nodes, seeds, strict=True)]
    updates = [check_admission(state, blob, CEILING) for blob in blobs]
    for node, blob in zip(nodes, blobs, strict=True):
        if node.feedback:
            node.feedback.settle(digest(blob), merged=True, judged=True)
    none = np.zeros((len(blobs), len(blobs)), object)
    plan = compute_plan(state.recipe, [1] * len(blobs), none, [digest(blob) for blob in blobs])
    return compute_candidate(state, updates, plan), blobs


def merge_floats(model: Model, state: GlobalState, nodes: Sequence[Proposer], seeds: Sequence[int]) -> GlobalState:
    """Let all train, and average what they trained in float64; rounded to the state's units of 2**-24."""
    (factor,) = state.trained
    pairs = zip(nodes, seeds, strict=True)
    trained = [train(model, state, node.rows, node.settings, seed)[factor] for node, seed in pairs]
    matrices = {name: to_fixed(np.mean([each[name].astype(np.float64) for each in trained], 0)) for name in trained[0]}
    factors = {**state.factors, factor: state.layout.join(factor, matrices)}
    return GlobalState(state.layout, state.recipe, state.step + 1, factors, state.velocity)


# --- What came of it -----------------------------------------------------------------------------------------


def add_macro(losses: Mapping[str, float]) -> dict[str, float]:
    """Add the mean over the domains."""
    return {**losses, "macro": mean(losses.values())}


def compute_gains(results: Sequence[dict[str, Any]], encoding: str) -> dict[str, float]:
    """Average over the seeds what an encoding gained over the base, by domain and macro."""
    runs = [run for run in results if run["encoding"] == encoding]
    pairs = [(add_macro(run["before"]), add_macro(run["after"])) for run in runs]
    return {domain: mean(before[domain] - after[domain] for before, after in pairs) for domain in pairs[0][0]}


def summarize(results: Sequence[dict[str, Any]], encodings: Sequence[str]) -> list[dict[str, Any]]:
    """Compare each encoding's bytes and gains with those of float32."""
    whole = compute_gains(results, FLOAT)
    adapter = next(run["bytes"][0] for run in results if run["encoding"] == FLOAT)
    lines = []
    for encoding in encodings:
        size = mean(size for run in results if run["encoding"] == encoding for size in run["bytes"])
        gains = compute_gains(results, encoding)
        kept = {domain: gains[domain] / whole[domain] for domain in gains}
        lines.append({"encoding": encoding, "bytes": size, "fewer": adapter / size, "gain": gains, "kept": kept})
    return lines


def show(lines: Sequence[dict[str, Any]], rounds: int, seeds: int) -> None:
    """Print a line an encoding."""
    domains = list(lines[0]["kept"])
    rows = [
        (
            line["encoding"],
            f"{line['bytes']:,.0f}",
            f"{line['fewer']:.1f}",
            *(f"{line['kept'][d]:.1%}" for d in domains),
        )
        for line in lines
    ]
    title = (
        f"Bytes an update, x fewer than float32 of both factors, share of its gain kept; {rounds} rounds, {seeds} seeds"
    )
    show_table(title, ("", "bytes", "x fewer", *domains), rows)
    gained = [f"{line['encoding']}: " + ", ".join(f"{d} {line['gain'][d]:.4f}" for d in domains) for line in lines]
    print("gain in loss over the base:", *gained, sep="\n  ")


def main() -> None:
    """Play all runs, a few at once, and compare."""
    args = parse_arguments(__doc__)
    is_quick = args.quick or not (SHARED / "base").is_dir()
    workload, seeds = (QUICK, (1, 2, 3, 4)) if is_quick else (FULL, (1, 2, 3))
    # A run of the full form takes about ten minutes of a core: it compares what fewest bytes ask for, and no more.
    encodings = (FLOAT, "ternary", *(("int4", "sparse4") if is_quick else ()))
    kept = args.json.with_suffix(".runs.jsonl") if args.json and not is_quick else None
    results = [json.loads(line) for line in kept.read_text().splitlines()] if kept and kept.exists() else []
    done = {(run["encoding"], run["seed"]) for run in results}
    runs = [(workload, *each) for each in product(encodings, seeds) if each not in done]
    with Executor(2) as executor:
        for played in as_completed([executor.submit(play_one, run) for run in runs]):
            results.append(result := played.result())
            if kept:
                with kept.open("a") as file:
                    file.write(json.dumps(result) + "\n")
            losses = ", ".join(f"{name} {loss:.4f}" for name, loss in add_macro(result["after"]).items())
            print(
                f"{len(results)}/{len(encodings) * len(seeds)} seed {result['seed']} {result['encoding']}: {losses}",
                file=sys.stderr,
            )
    lines = summarize(results, encodings)
    show(lines, workload.rounds, len(seeds))
    small = [line for line in lines if line["fewer"] >= 30]
    best = max(small, key=lambda line: min(line["kept"].values())) if small else lines[-1]
    goals = [
        Goal(f"times fewer bytes ({best['encoding']})", best["fewer"], ">= 30", best["fewer"] >= 30),
        *(
            Goal(f"share of the float gain kept, {domain}", kept, ">= 0.95", kept >= 0.95)
            for domain, kept in best["kept"].items()
        ),
    ]
    finish(args, goals, {"summary": lines, "runs": results})
    if kept:
        kept.unlink()


def play_one(run: tuple[Workload, Sent, int]) -> dict[str, Any]:
    """Unpack a run for the pool."""
    return play(*run)


if __name__ == "__main__":
    main()
