import json
from pathlib import Path

import pytest

from openflock.app.arena import load_grid
from openflock.app.settings import SettingsError
from openflock.arena.settings import list_cells

ROOT = Path(__file__).parents[2]
CONFIGS = sorted((ROOT / "configs").glob("arena_*.toml"))
SMALL = (
    "worlds.skills.rounds=1",
    "worlds.skills.steps=2",
    "worlds.skills.nodes=4",
    "worlds.skills.rows={ train = 8, held_out = 4, report = 4 }",
    "report.seeds=[100]",
    "tune.seeds=[]",
)
SMOKE = ROOT / "configs" / "arena_smoke.toml"


def set_all(changes):
    return [word for change in changes for word in ("--set", change)]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_every_grid_that_ships_can_be_read(path):
    grid = load_grid(path)
    cells = list_cells(grid)
    assert cells
    assert {cell.names[3] for cell in cells} >= {grid.subject, "mean"}
    assert any(not cell.attack.present and cell.names[3] == "mean" for cell in cells), "no reference of the gain"


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("worlds.skills.nodez=3", "worlds.skills.nodez"),
        ("worlds.skills.malicious=0.5", "worlds.skills.malicious"),
        ("report.seeds=[0]", "must not be tuned on"),
        ("defences.ours.rules={ speed = 1 }", "no rule 'speed'"),
        ("defences.ours.recipe={ clip = -1 }", "clip must be"),
        ("defences.ours.recipe={ speed = 1 }", "recipe.speed: no such field"),
        ("attacks.badnets.delta='nothing'", "no attack 'nothing'"),
        ("attacks.badnets.blob='nothing'", "no blob 'nothing'"),
        ("attacks.badnets={ delta = 'boost', options = { factors = 2 } }", "unexpected keyword argument 'factors'"),
        ("defences.odd={}", "no rule 'odd'"),
        ("report.triggers=['nothing']", "no 'nothing'"),
        ("attacks.badnets.leave=40", "attacks.badnets.leave: 40, of"),
        ("attacks.badnets.deal=true", "pieces cannot be dealt to"),
        ("attacks.badnets.names=9", "too little for 9 stakes"),
        ("defences.ours.rules={ rounds = 0, min_benefit = 900 }", "min_benefit and full_benefit must be"),
        ("defences.ours.recipe={ mode = 'stack', clip = 1000, grouping = 0, mixing = false }", "choose another mode"),
    ],
)
def test_a_bad_grid_is_one_line_that_names_the_fault(call, tmp_path, change, named):
    code, _, err = call("arena", SMOKE, "--out", tmp_path / "out", "--report-only", "--set", change)
    assert code == 2
    assert named in err
    assert err.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("other", [["--report-only"], ["--check", 1]])
def test_a_cluster_is_not_asked_for_where_nothing_runs_on_it(call, tmp_path, other):
    code, _, err = call("arena", SMOKE, "--out", tmp_path / "out", "--ray", "auto", *other)
    assert code == 2
    assert "--ray goes with neither" in err
    assert not (tmp_path / "out").exists()


def test_a_grid_that_is_not_there_is_said_so(tmp_path):
    with pytest.raises(SettingsError, match="no such file"):
        load_grid(tmp_path / "none.toml")


@pytest.mark.parametrize("content", [None, "{}"])
def test_a_file_without_profits_is_one_line(call, tmp_path, content):
    path = tmp_path / "economics.json"
    if content is not None:
        path.write_text(content)
    code, _, err = call("arena", SMOKE, "--out", tmp_path / "out", "--report-only", "--economics", path)
    assert code == 2
    assert "economics.json" in err
    assert err.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_the_smoke_grid_runs_resumes_and_reports(call, tmp_path):
    out = tmp_path / "out"
    code, text, _ = call("arena", SMOKE, "--out", out, "--jobs", 1)
    assert code == 0
    assert "Goals" in text
    lines = (out / "runs.jsonl").read_text().splitlines()
    assert len(lines) == len(list_cells(load_grid(SMOKE))) == 14
    assert json.loads((out / "summary.json").read_text())["goals"]
    assert list((out / "figures").glob("*.png"))
    page = (out / "report.html").read_text()
    code, text, _ = call("arena", SMOKE, "--out", out, "--jobs", 1)
    assert code == 0
    assert (out / "runs.jsonl").read_text().splitlines() == lines
    assert (out / "report.html").read_text() == page


@pytest.mark.slow
def test_a_record_that_was_changed_by_hand_is_found_out(call, tmp_path):
    one = set_all([*SMALL, "grid=[{ worlds = ['skills'], attacks = ['absent'], defences = ['mean'] }]"])
    arguments = ("arena", SMOKE, "--out", tmp_path, *one)
    assert call(*arguments, "--jobs", 1)[0] == 0
    assert call(*arguments, "--check", 1)[0] == 0
    runs = tmp_path / "runs.jsonl"
    record = json.loads(runs.read_text())
    record["rounds"][1]["asr"][0] += 1
    runs.write_text(json.dumps(record) + "\n")
    code, text, _ = call(*arguments, "--check", 1)
    assert code == 1
    assert "rounds[1].asr[0]" in text


def test_records_of_another_machine_cannot_be_checked_here(call, tmp_path):
    code, _, err = call("arena", SMOKE, "--out", tmp_path, "--check", 1)
    assert code == 2
    assert "no record of this grid's cells" in err
