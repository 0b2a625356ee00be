"""What does it cost to judge 8 updates, beside 8 bare forward passes over the same rows?

`ours` is what a voter does: each update's bytes are admitted, its share is added to the state, what differs is copied
into the adapter, and the loss of all rows is computed. `bare` is the network with an adapter in it, called 8 times on
the very same batches, without a loss. `naive` calls it on batches in the rows' order with logits of all tokens. The
rivals keep an adapter directory for each candidate, as peft writes it: `reload` loads it into the base that is there
and deletes it afterwards, `merge` loads base and adapter and merges them; then both do the bare passes.

All in one process, one thread, in turns. The last line bounds what batching the adapters of K updates could gain: with
one adapter, a pass over K times the rows beside K passes. The arithmetic is the same, so only a batch too small for
the processor gains.
"""

import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from _harness import Goal, Run, compute_ratio, finish, parse_arguments, show_table, take_turns
from peft import PeftModel
from transformers import AutoModelForCausalLM

from openflock.learn.data import Row, load_rows, parse_row
from openflock.learn.encode import IGNORED, Batch, collate, encode_rows, get_pad
from openflock.learn.evaluate import EvaluationSettings, compute_loss
from openflock.learn.export import export_adapter
from openflock.learn.model import Model, load_model
from openflock.learn.skills import generate_rows
from openflock.update.admission import check_admission
from openflock.update.aggregate import compute_share
from openflock.update.codec import encode_update, make_update
from openflock.update.fixed import GlobalState, initial_state

ROOT = Path(__file__).resolve().parent.parent
BUILT_IN, SHARED = ROOT / "src/openflock/assets/base", ROOT.parent / "shared"
UPDATES, PAIRS = 8, 5
ROWS, LONG_ROWS = 48, 16  # short ones of the built-in skills, long ones of real text
SETTINGS = EvaluationSettings()
CEILING = 2**40  # no update is refused here
GOAL = 1.1


@dataclass(frozen=True)
class Work:
    """What is judged, and the same as its rivals need it."""

    base: Path
    model: Model
    rows: list[Row]
    state: GlobalState
    updates: list[bytes]
    adapters: list[Path]


def main() -> None:
    """Measure, show, write."""
    args = parse_arguments(__doc__)
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # peft's, of what it does to itself
    bases = {"built-in, 1M": (BUILT_IN, [parse_row(row, "x:1") for row in generate_rows("reverse", ROWS, 1, "test")])}
    if SHARED.is_dir() and not args.quick:
        bases["shared, 5M"] = (SHARED / "base", load_rows(SHARED / "data/math/validation.jsonl")[:LONG_ROWS])
    results, goals = {}, []
    for name, (base, rows) in bases.items():
        with TemporaryDirectory() as folder:
            work = build_work(base, rows, Path(folder))
            runs = take_turns(list_rivals(work), 2 if args.quick else PAIRS)
        results[name] = show(name, runs)
        ratio = results[name]["ours"]["ratio"]
        goals.append(Goal(f"8 updates beside 8 bare passes, {name}", ratio, f"<= {GOAL}", ratio <= GOAL))
        slower = results[name]["reload"]["ratio"] / ratio
        goals.append(Goal(f"reloading beside ours, {name}", slower, "> 1", slower > 1))
    finish(args, goals, {"bases": results})


def build_work(base: Path, rows: list[Row], folder: Path) -> Work:
    """Load the base once, and write 8 updates to one state and the adapters they lead to."""
    model = load_model(base)
    state = initial_state(model.layout, b"benchmark")
    updates, adapters = [], []
    for index in range(UPDATES):
        draw = np.random.default_rng(index)
        delta = {factor: draw.integers(-(2**17), 2**17, state.factors[factor].size) for factor in state.trained}
        updates.append(encode_update(make_update(state, delta)))
        adapters.append(folder / f"candidate-{index}")
        export_adapter(judge_share(state, updates[-1]), adapters[-1], str(base), bytes(32))
    return Work(base, model, rows, state, updates, adapters)


def list_rivals(work: Work) -> dict[str, Callable[[], Run]]:
    """List what is compared, warmed up; each gives its time."""
    sorted_batches, ordered = build_batches(work, is_sorted=True), build_batches(work, is_sorted=False)
    plain = AutoModelForCausalLM.from_pretrained(work.base, dtype=torch.float32).eval()
    peft_model = PeftModel.from_pretrained(plain, work.adapters[0])
    rivals: dict[str, Callable[[], Any]] = {
        "bare": partial(repeat, work.model.network, sorted_batches),
        "ours": partial(judge, work),
        "naive": partial(repeat, work.model.network, ordered),
        "reload": partial(reload, peft_model, work, sorted_batches),
        "merge": partial(merge, work, sorted_batches),
        "one batch of 8 times the rows": partial(forward, work.model.network, [widen(each) for each in sorted_batches]),
    }
    for rival in rivals.values():
        rival()
    return {name: partial(measure, rival) for name, rival in rivals.items()}


def measure(rival: Callable[[], Any]) -> Run:
    """Take the time of a call."""
    start, busy = time.perf_counter(), time.process_time()
    rival()
    return Run(time.perf_counter() - start, time.process_time() - busy, 0.0, "")


# --- What is compared ----------------------------------------------------------------------------------------


def judge(work: Work) -> list[float]:
    """Judge all updates as a voter does."""
    losses = []
    for update in work.updates:
        work.model.load_state(judge_share(work.state, update))
        losses.append(compute_loss(work.model, work.rows, SETTINGS))
    return losses


def judge_share(state: GlobalState, update: bytes) -> GlobalState:
    """Give the state that an update is judged in: as one of eight of equal weight."""
    return compute_share(state, check_admission(state, update, CEILING), Fraction(1, UPDATES))


def repeat(network: Any, batches: Sequence[tuple[Batch, int]]) -> None:
    """Pass all batches 8 times."""
    for _ in range(UPDATES):
        forward(network, batches)


@torch.no_grad()
def forward(network: Any, batches: Sequence[tuple[Batch, int]]) -> None:
    """Pass all batches through a network, and drop the logits."""
    for batch, kept in batches:
        network(input_ids=batch.tokens, attention_mask=batch.mask, logits_to_keep=kept, use_cache=False)


def reload(model: PeftModel, work: Work, batches: Sequence[tuple[Batch, int]]) -> None:
    """Load each adapter from its directory into a base that stays."""
    for index, adapter in enumerate(work.adapters):
        model.load_adapter(str(adapter), f"candidate-{index}")
        model.set_adapter(f"candidate-{index}")
        forward(model, batches)
        model.delete_adapter(f"candidate-{index}")


def merge(work: Work, batches: Sequence[tuple[Batch, int]]) -> None:
    """Load base and adapter, and merge them, for each: a merged base cannot serve the next."""
    for adapter in work.adapters:
        base = AutoModelForCausalLM.from_pretrained(work.base, dtype=torch.float32).eval()
        forward(PeftModel.from_pretrained(base, adapter).merge_and_unload(), batches)


def build_batches(work: Work, *, is_sorted: bool) -> list[tuple[Batch, int]]:
    """Batch the rows, each batch with the number of last tokens whose logits are asked for; 0 is all."""
    examples = encode_rows(work.model.tokenizer, work.rows, SETTINGS.max_length)
    if is_sorted:
        examples.sort(key=lambda example: -len(example.tokens))
    size, batches = SETTINGS.batch_size, []
    for start in range(0, len(examples), size):
        batch = collate(examples[start : start + size], get_pad(work.model.tokenizer))
        first = int((batch.labels != IGNORED).any(dim=0).int().argmax())
        batches.append((batch, batch.tokens.shape[1] - first + 1 if is_sorted else 0))
    return batches


def widen(item: tuple[Batch, int]) -> tuple[Batch, int]:
    """Repeat a batch's rows 8 times."""
    batch, kept = item
    return replace(batch, tokens=batch.tokens.repeat(UPDATES, 1), mask=batch.mask.repeat(UPDATES, 1)), kept


def show(name: str, runs: dict[str, list[Run]]) -> dict[str, Any]:
    """Print a base's table and give its figures."""
    seconds = {rival: [run.seconds for run in each] for rival, each in runs.items()}
    busy = {rival: [run.cpu_seconds for run in each] for rival, each in runs.items()}
    figures = {
        rival: {
            "seconds": each,
            "cpu_seconds": busy[rival],
            "median": median(each),
            "ratio": compute_ratio(each, seconds["bare"]),
            "cpu_ratio": compute_ratio(busy[rival], busy["bare"]),
        }
        for rival, each in seconds.items()
    }
    rows = [
        (rival, f"{each['median']:.3f}", f"{each['ratio']:.3f}", f"{each['cpu_ratio']:.3f}")
        for rival, each in figures.items()
    ]
    show_table(f"{UPDATES} updates, base {name}", ("", "seconds", "beside bare", "processor, beside bare"), rows)
    return figures


if __name__ == "__main__":
    main()
