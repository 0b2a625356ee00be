import tomllib

import pytest

from openflock.arena.searching import SCALES, Target, change, does_pass, make_cell, search_attack, write_table
from openflock.arena.settings import AttackTable

from .grids import make_grid

TARGET = Target("skills", "ours", "badnets")


def make_record(cell, taken, slashed=()):
    """What a defence that clips at twice the honest norm might answer: the ASR follows scale and blend."""
    asr = round(100 * min(1, cell.attack.options["ratio"] * cell.attack.options["blend"] / SCALES[1]))
    proposals = [{"node": 0, "accepted": True}, {"node": 3, "accepted": taken}]
    first = {"asr": [0, 100], "proposals": []}
    return {"malicious": [3], "rounds": [first, {"asr": [asr, 100], "proposals": proposals, "slashed": list(slashed)}]}


def test_the_strongest_that_passes_is_found_among_at_least_twenty():
    found = search_attack(make_grid(), TARGET, 20, lambda cell: make_record(cell, cell.attack.options["ratio"] < 2.0))
    assert len(found.trace) == 20
    assert found.best.passes
    assert 1.5 < found.candidate.options["ratio"] < 2.0
    assert found.candidate.options["blend"] == 1.0


def test_only_a_seed_and_a_trigger_of_tune_are_played():
    played = []

    def play(cell):
        played.append(cell)
        return make_record(cell, taken=False)

    found = search_attack(make_grid(), TARGET, 20, play)
    assert found.candidate is None
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


def test_a_table_is_printed_as_a_grid_reads_it():
    table = AttackTable(poison="trigger", flags=("suspect",), veto=True, delta="pgd", options={"ratio": 1.5})
    read = tomllib.loads(write_table("adaptive", table))
    assert AttackTable.model_validate(read["attacks"]["adaptive"]) == table
