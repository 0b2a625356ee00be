"""Committed records are what their cells give: a few of them, drawn anew by each commit, are run again."""

import json
import random
import subprocess
from pathlib import Path

import pytest

from openflock.app.arena import load_grid
from openflock.arena.cells import compute_cell_digest, name_machine, run_cell
from openflock.arena.checking import choose_cells, find_differences, is_from_here
from openflock.arena.grid import RunFile
from openflock.arena.report.goals import describe_summary, list_goals
from openflock.arena.report.summary import summarize
from openflock.arena.settings import BUILT_IN, list_cells

from .grids import make_grid

ROOT = Path(__file__).parents[2]
COMMITTED = sorted((ROOT / "benchmarks" / "results" / "arena").glob("*.jsonl"))  # of configs/arena_NAME.toml
AGAIN = 4  # files of which a cell is run again


def draw_seed():
    """Seed of what is drawn: the commit."""
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False).stdout
    return int(head.strip() or "0", 16)


def read_known(path):
    """The cells of a committed grid, and those of its records that are of one."""
    records = RunFile(path).read()
    cells = list_cells(load_grid(ROOT / "configs" / f"arena_{path.stem}.toml"))
    return cells, {digest: records[digest] for digest in map(compute_cell_digest, cells) if digest in records}


def make_records(cells, machine=None):
    machine = machine or name_machine()
    return {
        compute_cell_digest(cell): {"seconds": float(place), "machine": machine} for place, cell in enumerate(cells)
    }


def test_a_sample_is_of_the_cheaper_half_and_of_this_machine_alone():
    cells = list_cells(make_grid())
    drawn = [choose_cells(cells, make_records(cells), 2, seed) for seed in range(20)]
    assert {compute_cell_digest(cell) for sample in drawn for cell in sample} == {
        compute_cell_digest(cell) for cell in cells[: (len(cells) + 1) // 2]
    }
    assert all(len(sample) == 2 for sample in drawn)
    assert choose_cells(cells, make_records(cells, "another"), 2, 0) == []


def test_seconds_may_differ_and_nothing_else():
    record = {"seconds": 1.0, "rounds": [{"asr": [1, 10]}, {"asr": [2, 10], "seconds": 3}]}
    assert list(find_differences(record, record | {"seconds": 2.0})) == []
    changed = {"seconds": 1.0, "rounds": [{"asr": [1, 10]}, {"asr": [3, 10], "seconds": 4}], "new": 1}
    assert [difference.split(":")[0] for difference in find_differences(record, changed)] == [
        "new", "rounds[1].asr[0]", "rounds[1].seconds",
    ]  # fmt: skip
    assert list(find_differences({"rounds": [1]}, {"rounds": [1, 2]})) != []


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.name)
def test_committed_records_are_of_their_grid_as_it_is_now(path):
    _, known = read_known(path)
    others = RunFile(path).read().keys() - known.keys()
    assert known, f"{path.name} is empty"
    assert not others, f"{path.name} holds {len(others)} cells that are not of its grid as it is now: run them again"


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.name)
def test_committed_summaries_are_of_the_records_beside_them(path):
    _, known = read_known(path)
    grid = load_grid(ROOT / "configs" / f"arena_{path.stem}.toml")
    summary = summarize(grid, known.values())
    described = json.dumps(describe_summary(grid, summary, list_goals(grid, summary)))
    assert read_blurred(described) == read_blurred(path.with_suffix(".json").read_text())


def read_blurred(text):
    """JSON with nine digits of its numbers: the last ones differ between processors."""
    return json.loads(text, parse_float=lambda number: f"{float(number):.9g}")


FIRST, *OTHERS = random.Random(draw_seed()).sample(COMMITTED, AGAIN)


@pytest.mark.slow
@pytest.mark.parametrize(
    "path", [FIRST, *(pytest.param(path, marks=pytest.mark.long) for path in OTHERS)], ids=lambda path: path.name
)
def test_committed_records_are_what_their_cells_give(path):
    cells, known = read_known(path)
    cells = [cell for cell in cells if cell.world.base == cell.world.data == BUILT_IN]
    if not cells:
        pytest.skip("no world of the package's own: `openflock arena CONFIG --out DIR --check N` runs cells again")
    if not any(map(is_from_here, known.values())):
        machine = next(iter(known.values())).get("machine")
        pytest.skip(f"made by {machine}, and this is {name_machine()}: floats differ")
    for cell in choose_cells(cells, known, 1, draw_seed()):
        again = json.loads(json.dumps(run_cell(cell)))
        assert list(find_differences(known[compute_cell_digest(cell)], again)) == []
