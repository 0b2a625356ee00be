import tomllib

import pytest

from openflock.arena.searching import SCALES, STANCES, Target, change, does_pass, make_cell, search_attack, write_table
from openflock.arena.settings import AttackTable

from .grids import make_grid

TARGET = Target("skills", "ours", "badnets")


def make_record(cell, taken, slashed=()):
    """What a defence might answer to whom it is told of; the ASR follows scale and blend."""
    options = {"ratio": 0.1, "blend": 1.0} | cell.attack.options
    asr = round(100 * min(1, options["ratio"] * options["blend"] / SCALES[1]))
    proposals = [{"node": 0, "accepted": True}, {"node": 3, "accepted": taken}]
    spoilt = 40 if cell.attack.declare == "minority" else 0
    last = {"asr": [asr, 100], "filled": [90, 100], "triggered": [90 - spoilt, 100]}
    return {"malicious": [3], "rounds": [{"proposals": []}, last | {"proposals": proposals, "slashed": list(slashed)}]}


def test_the_strongest_that_passes_is_found_among_at_least_twenty():
    def play(cell):
        return make_record(cell, cell.attack.options.get("ratio", 1.0) < 2.0)

    found = search_attack(make_grid(), TARGET, 20, play)
    assert found.tries == 20 + sum(map(len, STANCES))
    assert 1.5 < found.table.options["ratio"] < 2.0
    assert found.table.options["blend"] == 1.0


def test_where_it_stands_is_chosen_by_the_damage_where_no_answer_gets_through():
    found = search_attack(make_grid(), TARGET, 20, lambda cell: make_record(cell, taken=True))
    assert found.table.declare == "minority"
    assert found.strength == pytest.approx(1.4)


def test_what_no_scale_improves_is_found_unscaled():
    found = search_attack(make_grid(), TARGET, 20, lambda cell: make_record(cell, taken=not cell.attack.options))
    assert found.table.options == {}
    assert found.passed == sum(map(len, STANCES))


def test_only_a_seed_and_a_trigger_of_tune_are_played():
    played = []

    def play(cell):
        played.append(cell)
        return make_record(cell, taken=False)

    found = search_attack(make_grid(), TARGET, 20, play)
    assert found.table is None
    assert {(cell.phase, cell.seed, cell.names[4]) for cell in played} == {("tune", 0, "badnets")}


def test_what_nothing_may_be_tuned_on_is_not_searched_on():
    with pytest.raises(ValueError, match="must not be reported on"):
        search_attack(make_grid(tune={"seeds": []}), TARGET, 20, lambda cell: make_record(cell, taken=True))


def test_a_name_that_the_grid_does_not_have_is_refused():
    with pytest.raises(ValueError, match="no 'nothing'"):
        search_attack(make_grid(), Target("skills", "nothing", "badnets"), 20, lambda cell: {})


@pytest.mark.parametrize(("taken", "slashed", "passes"), [(True, [], True), (False, [], False), (True, [3], False)])
def test_an_attack_passes_if_it_is_taken_and_costs_nothing(taken, slashed, passes):
    cell = make_cell(make_grid(), TARGET, change(AttackTable(), 1.0, 0.0))
    assert does_pass(make_record(cell, taken, slashed)) == passes


def test_one_taken_late_is_enough_and_one_taken_early_is_not():
    cell = make_cell(make_grid(), TARGET, AttackTable())
    (start, taken), (_, refused) = (make_record(cell, each)["rounds"] for each in (True, False))
    for rounds, passes in (([start, taken, refused], False), ([start, refused, taken], True)):
        assert does_pass({"malicious": [3], "rounds": rounds}) == passes


def test_too_few_tries_are_refused_before_anything_is_played():
    played = []
    with pytest.raises(ValueError, match="at least 20"):
        search_attack(make_grid(), TARGET, 19, played.append)
    assert played == []


def test_a_table_is_printed_as_a_grid_reads_it():
    table = AttackTable(poison="trigger", flags=("suspect",), veto=True, delta="pgd", options={"ratio": 1.5})
    read = tomllib.loads(write_table("adaptive", table))
    assert AttackTable.model_validate(read["attacks"]["adaptive"]) == table
