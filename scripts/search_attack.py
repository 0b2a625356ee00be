"""Search the strongest attack that passes a defence, on a seed of `tune`, and print its table for a grid's file.

    python scripts/search_attack.py configs/arena_core.toml --world skills --defence ours --attack badnets

Each try plays a whole cell, on the rows and votes of the attack it starts from: first the domain that the ring says is
its own, then how it trains, then scale and stealth of constrain-and-scale, bisected and drawn around the best (--tries
of these). It passes if some of what it proposes is taken and none of it is slashed; of those that pass the highest
sum of ASR and of right answers that the trigger costs wins. With --out, tries are kept, and the same command goes on
where it was.
"""

import argparse
import shlex
import sys
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from openflock.app.arena import load_grid
from openflock.app.settings import SettingsError
from openflock.arena.cells import Record, compute_cell_digest
from openflock.arena.grid import RunFile, run_in_processes, run_missing
from openflock.arena.searching import Target, does_pass, measure_strength, search_attack, write_table
from openflock.arena.settings import Cell


def main() -> None:
    """Search, and print what was found below the command that found it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path)
    for name, usual in (("world", "skills"), ("defence", "ours"), ("attack", "badnets"), ("split", "minority")):
        parser.add_argument(f"--{name}", default=usual)
    parser.add_argument("--name", default="adaptive", help="of the table that is printed")
    parser.add_argument("--tries", type=int, default=20)
    parser.add_argument("--out", type=Path, help="directory that keeps each try")
    parser.add_argument("--set", dest="changes", action="append", default=[], metavar="KEY=VALUE")
    args = parser.parse_args()
    try:
        grid = load_grid(args.config, args.changes)
        target = Target(args.world, args.defence, args.attack, args.split)
        with TemporaryDirectory() as folder:
            out = args.out or Path(folder)
            out.mkdir(parents=True, exist_ok=True)
            found = search_attack(grid, target, args.tries, lambda cell: play(cell, RunFile(out / "runs.jsonl")))
    except (SettingsError, ValueError) as error:
        sys.exit(f"search_attack: {error}")
    print(f"# {shlex.join(['python', *sys.argv])}")
    if found.table is None:
        sys.exit(f"# none of {found.tries} tries passed")
    print(f"# {found.passed} of {found.tries} tries passed; the strongest: ASR and answers lost {found.strength:.0%}")
    print(write_table(args.name, found.table))


def play(cell: Cell, runs: RunFile) -> Record:
    """Play a cell, or give what it gave before."""
    here = partial(run_in_processes, jobs=1)
    return run_missing([cell], runs, here, lambda record: show(cell, record))[compute_cell_digest(cell)]


def show(cell: Cell, record: Record) -> None:
    """Say what came of a try, beside the table on stdout."""
    strength, passed = measure_strength(cell.attack, record), "passes" if does_pass(record) else "is caught"
    told = cell.attack.model_dump(exclude_defaults=True, exclude={"poison", "votes"})
    print(f"{told}: strength {strength:.0%}, {passed}, {record['seconds']:.0f} s", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
