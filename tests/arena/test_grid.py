import json
import random
import re
from functools import partial

import pytest
import torch

from openflock.arena.adversaries import DELTAS
from openflock.arena.cells import compute_cell_digest, run_cell
from openflock.arena.defences import DEFENCES
from openflock.arena.grid import BadRuns, RunFile, run_in_processes, run_missing
from openflock.arena.optimizers import OPTIMIZERS
from openflock.arena.settings import list_cells

from .grids import BOTH_FACTORS, TABLE, make_grid

torch.set_num_threads(1)

HERE = partial(run_in_processes, jobs=1)


def forget_seconds(record):
    return {name: value for name, value in record.items() if name != "seconds"}


def pick(grid, attack, defence, seed=100):
    return next(cell for cell in list_cells(grid) if (*cell.names[2:4], cell.seed) == (attack, defence, seed))


def cross(attack_names, defence_names, **changes):
    """A grid of one block, on one seed."""
    block = {"worlds": ["skills"], "attacks": attack_names, "defences": defence_names}
    return make_grid(grid=[block], tune={"seeds": []}, report={"seeds": [100]}, **changes)


def run(grid):
    return [run_cell(cell) for cell in list_cells(grid)]


# --- Cells ---------------------------------------------------------------------------------------------------


def test_a_grid_lists_each_cell_once_for_seeds_of_both_purposes():
    cells = list_cells(make_grid(grid=TABLE["grid"] * 2))
    assert len(cells) == 5 * 3
    assert len({compute_cell_digest(cell) for cell in cells}) == len(cells)
    assert {cell.seed for cell in cells if cell.phase == "tune"} == {0}


def test_a_seed_cannot_be_both_tuned_on_and_reported():
    with pytest.raises(ValueError, match="must not be tuned on"):
        make_grid(tune={"seeds": [100]})


def test_a_name_without_a_table_is_refused():
    with pytest.raises(ValueError, match="no 'nobody'"):
        make_grid(grid=[{"worlds": ["skills"], "attacks": ["nobody"], "defences": ["mean"]}])


def test_another_rule_of_the_protocol_makes_another_cell():
    ours = pick(make_grid(), "none", "ours")
    for change in ({"veto": False}, {"schedule": {"steps": 3}}):
        grid = make_grid(defences=TABLE["defences"] | {"ours": {"kind": "protocol", **change}})
        assert compute_cell_digest(ours) != compute_cell_digest(pick(grid, "none", "ours"))


ADAM_OUTSIDE = BOTH_FACTORS | {
    "recipe": {"mode": "separate", "optimizer": "adam", "momentum": 58_982, "rate": 131},
    "schedule": {"rounds": 3, "steps": 1, "learning_rate": 1.0, "optimizer": "sgd"},
}


def test_a_recipe_with_adam_outside_takes_gradients_in_rounds_of_its_own():
    inside = ADAM_OUTSIDE | {"schedule": ADAM_OUTSIDE["schedule"] | {"optimizer": "adam"}}
    grid = cross(["none"], ["mean", "out", "in"], defences=TABLE["defences"] | {"out": ADAM_OUTSIDE, "in": inside})
    records = {record["defence"]: record["rounds"] for record in run(grid)}
    assert {name: len(rounds) - 1 for name, rounds in records.items()} == {"mean": 1, "out": 3, "in": 3}
    assert records["out"][0]["loss"] == records["mean"][0]["loss"]
    assert len({str(rounds[-1]["loss"]) for rounds in records.values()}) == 3


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"schedule": {"rounds": 3}}, "only the protocol has a `schedule` of its own, not a rule"),
        (BOTH_FACTORS | {"schedule": {"nodes": 5}}, "odd.schedule.nodes"),
        (BOTH_FACTORS | {"schedule": {"steps": 0}}, "odd.schedule.steps"),
    ],
)
def test_only_how_the_protocol_trains_can_be_a_defences_own(table, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        list_cells(cross(["none"], ["odd"], defences=TABLE["defences"] | {"odd": table}))


def test_a_schedule_that_says_what_the_world_says_names_the_same_cell():
    grid = make_grid(defences=TABLE["defences"] | {"ours": {"kind": "protocol", "schedule": {"optimizer": "adam"}}})
    assert compute_cell_digest(pick(grid, "none", "ours")) == compute_cell_digest(pick(make_grid(), "none", "ours"))


@pytest.mark.parametrize("defence", ["mean", "ours"])
def test_a_cell_run_again_gives_the_same_record(defence):
    cell = pick(make_grid(), "replacement", defence)
    first = run_cell(cell)
    random.seed(5)
    torch.manual_seed(5)
    assert forget_seconds(run_cell(cell)) == forget_seconds(first)
    json.dumps(first, allow_nan=False)


def test_what_is_remembered_of_other_cells_changes_nothing(monkeypatch):
    from openflock.arena import stage

    cell = pick(make_grid(), "replacement", "mean")
    with_memory = run_cell(cell)
    monkeypatch.setattr(stage, "_remembered", stage.OrderedDict())
    assert forget_seconds(run_cell(cell))["rounds"] == with_memory["rounds"]


def test_the_protocol_and_plain_averaging_start_from_the_same_model():
    ours, plain = (run_cell(pick(make_grid(), "none", name))["rounds"][0] for name in ("ours", "mean"))
    assert {name: ours[name] for name in plain} == plain


def test_an_honest_run_of_the_protocol_rejects_and_slashes_nobody():
    record = run_cell(pick(make_grid(), "none", "ours"))
    (current,) = record["rounds"][1:]
    assert current["outcome"] == "MERGED"
    assert [each["node"] for each in current["proposals"]] != []
    assert all(each["accepted"] and not each["slashed"] for each in current["proposals"])


def test_who_is_absent_proposes_nothing():
    for defence in ("mean", "ours"):
        (record,) = run(cross(["absent"], [defence]))
        proposed = {each["node"] for current in record["rounds"][1:] for each in current["proposals"]}
        assert proposed == {0, 1, 2}
        assert record["malicious"] == [3]


def test_who_leaves_takes_no_part_from_then_on():
    worlds = {"skills": TABLE["worlds"]["skills"] | {"rounds": 3}}
    attacks = {"leaver": {"poison": "trigger", "leave": 1}}
    for record in run(cross(["leaver"], ["mean", "ours"], worlds=worlds, attacks=attacks)):
        proposed = [{each["node"] for each in current["proposals"]} for current in record["rounds"][1:]]
        assert [3 in nodes for nodes in proposed] == [True, False, False]


@pytest.mark.parametrize("defence", ["mean", "ours"])
def test_all_is_measured_at_the_start_when_the_malicious_leave_and_at_the_end(defence):
    worlds = {"skills": TABLE["worlds"]["skills"] | {"rounds": 4}}
    attacks = {"leaver": {"poison": "trigger", "leave": 2}}
    (record,) = run(cross(["leaver"], [defence], worlds=worlds, attacks=attacks))
    assert ["fire" in current for current in record["rounds"]] == [True, False, True, False, True]
    assert all({"asr", "loss", "accuracy"} <= current.keys() for current in record["rounds"])


def test_between_measurements_only_verdicts_are_noted():
    worlds = {"skills": TABLE["worlds"]["skills"] | {"rounds": 5, "every": 2}}
    for record in run(cross(["none"], ["mean", "ours"], worlds=worlds)):
        assert [current["round"] for current in record["rounds"] if "asr" in current] == [0, 2, 4, 5]
        assert all(current["proposals"] for current in record["rounds"][1:])


def test_a_layer_that_is_off_costs_no_passes():
    defences = {"off": {"kind": "protocol", "verdict": False, "veto": False}, "verdict": {"kind": "protocol"}}
    cells = {cell.names[3]: run_cell(cell) for cell in list_cells(cross(["none"], list(defences), defences=defences))}
    assert "evaluation" not in cells["off"]["passes"]
    assert cells["verdict"]["passes"]["evaluation"] > 0


@pytest.mark.parametrize("attack", sorted(DELTAS))
def test_every_attack_on_deltas_can_be_played_against_rules_and_against_the_protocol(attack):
    attacks = {attack: {"poison": "trigger", "delta": attack, "votes": "collude"}}
    defences = TABLE["defences"] | {"both": BOTH_FACTORS}
    for record in run(cross([attack], ["mean", "ours", "both"], attacks=attacks, defences=defences)):
        assert len(record["rounds"]) == 2
        json.dumps(record, allow_nan=False)


@pytest.mark.parametrize("kind", ["rule", "optimizer"])
def test_every_defence_of_others_can_be_played(kind):
    names = DEFENCES if kind == "rule" else OPTIMIZERS
    defences = {name: {"kind": kind} for name in names}
    records = run(cross(["replacement"], list(defences), defences=defences))
    assert {record["defence"] for record in records} == set(names)
    for record in records:
        json.dumps(record, allow_nan=False)


@pytest.mark.parametrize(
    ("behaviour", "absent"),
    [({"silent": ["update"]}, True), ({"withhold": True}, False), ({"veto": True}, False), ({"votes": "lazy"}, False)],
)
def test_what_a_malicious_node_does_beside_its_updates_does_not_stop_a_round(behaviour, absent):
    (record,) = run(cross(["rogue"], ["ours"], attacks={"rogue": behaviour}))
    (current,) = record["rounds"][1:]
    assert current["outcome"] == "MERGED"
    verdicts = {each["node"]: each["accepted"] for each in current["proposals"]}
    assert (3 not in verdicts) == absent
    assert all(verdicts[node] for node in (0, 1, 2))
    if behaviour.get("withhold"):
        assert not verdicts[3]


# --- Running -------------------------------------------------------------------------------------------------


def test_an_interrupted_grid_goes_on_where_it_was(tmp_path):
    cells, runs = list_cells(make_grid())[:3], RunFile(tmp_path / "runs.jsonl")
    run_missing(cells[:1], runs, HERE, lambda record: None)
    with runs.path.open("ab") as file:
        file.write(b'{"cell": "cut in the mid')
    new = []
    records = run_missing(cells, runs, HERE, new.append)
    assert [record["cell"] for record in new] == [compute_cell_digest(cell) for cell in cells[1:]]
    assert list(records) == [compute_cell_digest(cell) for cell in cells]
    assert len(runs.path.read_text().splitlines()) == 3


def test_who_only_reads_while_a_record_is_being_written_cuts_nothing_off(tmp_path):
    runs = RunFile(tmp_path / "runs.jsonl")
    runs.append({"cell": "f" * 32})
    with runs.path.open("ab") as file:
        file.write(b'{"cell": ')
    assert list(runs.read()) == ["f" * 32]
    with runs.path.open("ab") as file:
        file.write(b'"0"}\n')
    assert list(runs.read()) == ["f" * 32, "0"]


def test_records_of_another_configuration_are_not_taken_for_this_ones(tmp_path):
    runs = RunFile(tmp_path / "runs.jsonl")
    runs.append({"cell": "f" * 32})
    assert run_missing(list_cells(make_grid())[:1], runs, lambda cells: (), lambda record: None) == {}


def test_a_file_of_something_else_is_left_alone(tmp_path):
    path = tmp_path / "runs.jsonl"
    path.write_text("[1, 2]\n")
    with pytest.raises(BadRuns, match="choose another"):
        RunFile(path).read()
    assert path.read_text() == "[1, 2]\n"


@pytest.mark.slow
def test_processes_give_the_records_that_one_gives(tmp_path):
    cells = [pick(make_grid(), "none", name) for name in ("mean", "ours")]
    together = run_missing(
        cells, RunFile(tmp_path / "runs.jsonl"), partial(run_in_processes, jobs=2), lambda record: None
    )
    assert [forget_seconds(together[compute_cell_digest(cell)]) for cell in cells] == [
        forget_seconds(run_cell(cell)) for cell in cells
    ]
