"""What does a whole run cost beside a plain loop and beside Flower, and where does it go?

Eight clients train LoRA factors of a two-layer Llama for 10 AdamW steps a round (8 rows of 64 bytes), and merge. `bare`
is a Python loop over torch and peft; `flower` the same computation in Flower's simulation, with its FedAvg, on as many
workers as there are cores; `openflock` is `openflock simulate` with all that it does by default: embedded EVM chain,
stakes, every update judged by every voter, ledger, record and blobs, ready for `openflock audit`. All with one torch
thread in each process. Start-up is what is not between the first training and the last round's end.
"""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from _harness import Goal, Run, compute_ratio, finish, parse_arguments, run_process, show_table, take_turns

HERE = Path(__file__).resolve().parent
RIVALS = HERE / "rivals"
RIVALS_PYTHON = HERE.parent / ".venv-rivals/bin/python"
OPENFLOCK = Path(sys.executable).parent / "openflock"
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "HF_HUB_OFFLINE": "1",
    "FLWR_TELEMETRY_ENABLED": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
}
PARTS = ("start-up", "training", "evaluation", "protocol")
PAIRS = {2: 5, 10: 5}  # by rounds
QUICK_PAIRS = {2: 2, 10: 1}
TOLERANCE = 1e-4  # between losses: float sums in another order
GOAL_SHARE, GOAL_PROTOCOL = 0.5, 1.5


def run_rival(script: str, inputs: Path, rounds: int) -> Run:
    """Run a rival's script; it prints its seconds as a line of JSON among other lines."""
    run = run_process([str(RIVALS_PYTHON), str(RIVALS / script), str(inputs), str(rounds)], ENVIRONMENT)
    (line,) = (line for line in run.output.splitlines() if line.startswith('{"seconds"'))
    return replace(run, output=line)


def run_openflock(inputs: Path, rounds: int, numbers: Iterator[int]) -> Run:
    """Run OpenFlock on the same workload, and read its seconds from the run directory."""
    out = inputs / f"run-{rounds}-{next(numbers)}"
    command = ["simulate", str(inputs / "openflock.toml"), "--out", str(out), "--set", f"rules.rounds={rounds}"]
    run = run_process([str(OPENFLOCK), *command], ENVIRONMENT)
    summary = json.loads((out / "run.json").read_text())["summary"]
    measured = summary["seconds"]
    seconds = {
        "training": measured["training"],
        "evaluation": measured["evaluation"] + measured["report"],
        "protocol": measured["protocol"],
    }
    return replace(run, output=json.dumps({"seconds": seconds, "losses": [summary["loss"]["merged"]]}))


def audit(inputs: Path) -> None:
    """Let the audit replay the first run, to show that what was measured is the whole of it."""
    run_process([str(OPENFLOCK), "audit", str(inputs / f"run-{min(PAIRS)}-0")], ENVIRONMENT)


def split(run: Run) -> dict[str, float]:
    """Split a run's seconds; what it did not measure itself is its start-up (and its end)."""
    seconds: dict[str, float] = json.loads(run.output)["seconds"]
    return {"start-up": run.seconds - sum(seconds.values()), **seconds}


def measure(inputs: Path, rounds: int, pairs: int) -> dict[str, list[Run]]:
    """Let all take turns at one number of rounds."""
    numbers = count()
    rivals: dict[str, Callable[[], Run]] = {
        "bare": partial(run_rival, "bare.py", inputs, rounds),
        "flower": partial(run_rival, "flower.py", inputs, rounds),
        "openflock": partial(run_openflock, inputs, rounds, numbers),
    }
    return take_turns(rivals, pairs)


def check_agreement(runs: dict[str, list[Run]]) -> None:
    """Raise RuntimeError if the plain loop and Flower did not compute the same: then their times compare nothing."""
    for bare, flower in zip(runs["bare"], runs["flower"], strict=True):
        ours, theirs = (json.loads(run.output)["losses"] for run in (bare, flower))
        if any(abs(a - b) > TOLERANCE for a, b in zip(ours, theirs, strict=True)):
            raise RuntimeError(f"the rivals disagree: losses {ours} in the loop, {theirs} in Flower")


def describe(runs: Sequence[Run]) -> dict[str, Any]:
    """Give the medians of a rival's runs."""
    parts = [split(run) for run in runs]
    return {
        "seconds": median(run.seconds for run in runs),
        "cpu_seconds": median(run.cpu_seconds for run in runs),
        "peak_mib": median(run.peak_mib for run in runs),
        "parts": {part: median(each[part] for each in parts) for part in PARTS},
    }


def compute_ratios(runs: dict[str, list[Run]], rival: str) -> dict[str, float]:
    """Compare a rival with Flower, run by run of the same turn.

    A process's seconds count when another waits for its end, and nobody waits for Ray's: Flower's processor seconds
    are too few, and the ratio to them too high.
    """
    return {
        figure: compute_ratio(*([getattr(run, figure) for run in runs[name]] for name in (rival, "flower")))
        for figure in ("seconds", "cpu_seconds", "peak_mib")
    }


def show(rounds: int, runs: dict[str, list[Run]]) -> None:
    """Print the table of one number of rounds."""
    rows = []
    for name, each in runs.items():
        found, ratios = describe(each), compute_ratios(runs, name)
        parts = [f"{found['parts'][part]:.1f}" for part in PARTS]
        figures = [f"{found['seconds']:.1f}", f"{found['cpu_seconds']:.1f}", f"{found['peak_mib']:.0f}"]
        rows.append((name, *figures, *parts, *(f"{ratio:.2f}" for ratio in ratios.values())))
    headings = ("", "wall s", "CPU s", "MiB", *PARTS, "wall/Flower", "CPU/Flower", "MiB/Flower")
    show_table(f"{rounds} rounds, medians of {len(runs['bare'])}", headings, rows)


def set_goals(short: dict[str, list[Run]], long: dict[str, list[Run]], rounds: int) -> list[Goal]:
    """Hold what was measured against what it should be; start-up weighs most in the short runs."""
    ratios = compute_ratios(short, "openflock")
    shares = {"wall time": ratios["seconds"], "memory": ratios["peak_mib"]}
    goals = [
        Goal(f"{name}, share of Flower's, 2 rounds", ratio, f"< {GOAL_SHARE}", ratio < GOAL_SHARE)
        for name, ratio in shares.items()
    ]
    seconds = describe(long["openflock"])["parts"]["protocol"] / rounds
    return [*goals, Goal("protocol seconds a round", seconds, f"< {GOAL_PROTOCOL}", seconds < GOAL_PROTOCOL)]


def main() -> None:
    """Measure at both lengths; print tables and goals."""
    args = parse_arguments(__doc__)
    if not RIVALS_PYTHON.exists():
        sys.exit("round: no .venv-rivals; run `make .venv-rivals/installed`")
    runs: dict[int, dict[str, list[Run]]] = {}
    with TemporaryDirectory() as directory:
        inputs = Path(directory)
        run_process([sys.executable, str(RIVALS / "inputs.py"), directory], ENVIRONMENT)
        for rounds, pairs in (QUICK_PAIRS if args.quick else PAIRS).items():
            runs[rounds] = measure(inputs, rounds, pairs)
            check_agreement(runs[rounds])
            show(rounds, runs[rounds])
        audit(inputs)
    results = {
        str(rounds): {name: {**describe(each), "ratios": compute_ratios(turns, name)} for name, each in turns.items()}
        for rounds, turns in runs.items()
    }
    finish(args, set_goals(runs[min(runs)], runs[max(runs)], max(runs)), {"rounds": results})


if __name__ == "__main__":
    main()
