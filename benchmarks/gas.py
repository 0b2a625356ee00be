"""What does each call burn with 16, 256 and 4,096 registered nodes, and what grows with their number?

A process for each size plays the same task on the contract and the specification (`tests/contracts/gas.py`).

Join, leave, draw and slash may grow like log n: gas(n) / gas(m) <= log n / log m from each size to the next. This is
2, then 1.5, where a loop over members would at least read a cold word (2,100 gas) for each, and 4,096 of them burn
8.6 million. Whatever else is called in a first round, or in none, may change by 2 %. Later rounds are not judged: what
they burn depends on who voted before. Nor are judging and settling at 16 nodes, where proposers vote too. `--quick`
leaves 4,096 nodes out, and so judges weakly: 240 cold reads hide in a draw.
"""

import json
import sys
from collections.abc import Iterator, Mapping
from itertools import pairwise
from math import log
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from _harness import Goal, finish, parse_arguments, run_process, show_table

ROOT = Path(__file__).resolve().parents[1]
TRANSACTION_LIMIT = 2**24  # EIP-7825
SEATS = 24  # 8 to propose, 16 to vote
FLAT = 0.02
MONEY, FIRST, LATER = "stake and money", "the first round: all agree", "a later round: all agree"
SILENCE, BACKDOOR = "nobody attests", "one update has a backdoor, which four show"
LOGARITHMIC = {
    "join": (MONEY, "join"),
    "leave": (MONEY, "leave"),
    "draw, first round": (FIRST, "advance from draw"),
    "draw, later round": (LATER, "advance from draw"),
    "slash of one, by itself": (MONEY, "resolve"),
    "slash of one, with its settlement": (BACKDOOR, "advance from confirm"),
    "slash of 16 voters, with their settlement": (SILENCE, "advance from reattest"),
}
COMMITTEE_CALLS = ("advance from reveal", "advance from confirm")

Figures = dict[str, dict[str, dict[str, int]]]  # by chapter, call and kind


def measure(key: str) -> tuple[Figures, dict[str, float]]:
    """Measure one column of the gas table, and what measuring took."""
    with TemporaryDirectory() as directory:
        path = Path(directory) / "gas.json"
        command = [sys.executable, "-m", "tests.contracts.gas_table", key, "--json", str(path)]
        run = run_process(command, {"PYTHONPATH": str(ROOT)})
        return json.loads(path.read_text())["figures"][key], {"seconds": run.seconds, "peak_mib": run.peak_mib}


def compute_growth(sizes: Mapping[int, Figures], chapter: str, call: str) -> float:
    """Compare the steepest growth between two sizes with that of log n; 1 is as steep."""
    worst = {nodes: figures[chapter][call]["worst"] for nodes, figures in sizes.items()}
    return max(worst[n] / worst[m] * log(m) / log(n) for m, n in pairwise(worst))


def compute_changes(sizes: Mapping[int, Figures]) -> Iterator[tuple[float, str]]:
    """Compare every call that should be flat in n from each size to the next."""
    for m, n in pairwise(sizes):
        for chapter in (MONEY, FIRST):
            for call, figure in sizes[n][chapter].items():
                judged = (chapter, call) not in LOGARITHMIC.values() and (m > SEATS or call not in COMMITTEE_CALLS)
                if judged:
                    yield abs(figure["worst"] / sizes[m][chapter][call]["worst"] - 1), f"{call}, {m} to {n:,} nodes"


def compute_goals(sizes: Mapping[int, Figures], largest: Figures) -> list[Goal]:
    """Decide what grows too fast."""
    grown = {name: compute_growth(sizes, *place) for name, place in LOGARITHMIC.items()}
    goals = [Goal(f"growth over that of log n: {name}", value, "<= 1", value <= 1) for name, value in grown.items()]
    change, call = max(compute_changes(sizes))
    goals.append(Goal(f"largest change of any other call ({call})", change, f"<= {FLAT}", change <= FLAT))
    worst, call = max((figure["worst"], call) for calls in largest.values() for call, figure in calls.items())
    limit = TRANSACTION_LIMIT // 2
    goals.append(Goal(f"dearest call of the largest committees ({call})", worst, f"<= {limit:,}", worst <= limit))
    return goals


def compute_round(figures: Figures, chapter: str, nodes: int) -> dict[str, int]:
    """Add up a round, in all and for each node that takes part."""
    total = sum(figure["total"] for figure in figures[chapter].values())
    return {"total": total, "per_participant": total // min(nodes, SEATS)}


def show(sizes: Mapping[int, Figures], rounds: Mapping[str, Mapping[int, Mapping[str, int]]]) -> None:
    """Print the worst of every call, and whole rounds."""
    headings = [f"{nodes:,} nodes" for nodes in sizes]
    for chapter, calls in next(iter(sizes.values())).items():
        rows = [[call, *(f"{figures[chapter][call]['worst']:,}" for figures in sizes.values())] for call in calls]
        show_table(f"Gas at worst: {chapter}", ("call", *headings), rows)
    rows = [
        [f"{chapter}, {kind.replace('_', ' ')}", *(f"{values[nodes][kind]:,}" for nodes in sizes)]
        for chapter, values in rounds.items()
        for kind in ("total", "per_participant")
    ]
    show_table("Gas of a round, 8 proposers and 16 voters", ("round", *headings), rows)


def main() -> None:
    """Measure, show, judge."""
    args = parse_arguments(__doc__)
    sizes: dict[int, Figures] = {}
    measuring: dict[str, Any] = {}
    for nodes in (16, 256) if args.quick else (16, 256, 4096):
        sizes[nodes], measuring[str(nodes)] = measure(str(nodes))
    largest, measuring["largest"] = measure("largest")
    rounds = {
        chapter: {nodes: compute_round(figures, chapter, nodes) for nodes, figures in sizes.items()}
        for chapter in (FIRST, LATER)
    }
    show(sizes, rounds)
    finish(
        args,
        compute_goals(sizes, largest),
        {"rounds": rounds, "gas": sizes, "largest_committees": largest, "measuring": measuring},
    )


if __name__ == "__main__":
    main()
