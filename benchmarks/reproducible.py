"""Is it one digest in every order, with one thread and two, and under two versions of numpy in two environments?

Four steps of eight updates in six recipes, integers in and integers out (benchmarks/_history.py). torch has no part in
what nodes must agree on: the processes never import it, so no version of it can matter; how a node trains is its own
affair.
"""

import json
import sys
from pathlib import Path
from typing import Any

from _harness import Goal, finish, parse_arguments, run_process, show_table

HERE = Path(__file__).parent
OLDER = HERE.parent / ".venv-older" / "bin" / "python"
SOURCE = str(HERE.parent / "src")


def play(python: str, order: int, threads: int) -> dict[str, Any]:
    """Play the history in a process of its own."""
    count = str(threads)
    environment = {"PYTHONPATH": SOURCE, "OMP_NUM_THREADS": count, "OPENBLAS_NUM_THREADS": count, "PYTHONHASHSEED": "7"}
    run = run_process([python, str(HERE / "_history.py"), str(order)], environment)
    return {"order": order, "threads": threads, **json.loads(run.output.splitlines()[-1])}


def main() -> None:
    """Play all variants and compare."""
    args = parse_arguments(__doc__)
    orders = (0, 1) if args.quick else (0, 1, 2, 3)
    runs = [
        play(python, order, threads)
        for python in (sys.executable, str(OLDER))
        for order in orders
        for threads in (1, 2)
    ]
    rows = [
        (f"numpy {run['numpy']}, order {run['order']}, threads {run['threads']}", *(d[:8] for d in digests))
        for run, digests in ((run, run["digests"].values()) for run in runs)
    ]
    show_table("First digits of the final digest", ("", *runs[0]["digests"]), rows)
    distinct = {name: len({run["digests"][name] for run in runs}) for name in runs[0]["digests"]}
    versions = len({run["numpy"] for run in runs})
    goals = [Goal(f"digests of {name}", count, "1", count == 1) for name, count in distinct.items()]
    goals += [
        Goal("versions of numpy compared", versions, ">= 2", versions >= 2),
        Goal("processes with torch", sum(run["torch"] for run in runs), "0", not any(run["torch"] for run in runs)),
    ]
    finish(args, goals, {"runs": runs})


if __name__ == "__main__":
    main()
