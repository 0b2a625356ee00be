import pytest

from openflock.arena.attacks.deltas import average
from openflock.arena.layered import Learner, read_delta
from openflock.arena.settings import Cell, RowCounts, WorldTable
from openflock.arena.stage import open_stage
from openflock.arena.worlds import assign_domains, build_world, count_malicious, share_rows
from openflock.learn.data import DataError, parse_row
from openflock.learn.evaluate import compute_accuracy
from openflock.learn.skills import generate_rows
from openflock.node.proposer import compute_delta
from openflock.protocol.recipe import Recipe
from openflock.update.codec import encode_update, make_update
from openflock.update.fixed import initial_state

WORLD = WorldTable(domains=("reverse", "shift", "upper"), nodes=7, rows=RowCounts(train=8, held_out=4, report=4))


def make_cell(**changes):
    known = {"phase": "tune", "world": WORLD, "split": "minority", "seed": 1, "names": ("w", "minority", "a", "d", "t")}
    blank = {"attack": {}, "defence": {"rule": "mean"}, "trigger": {"phrases": ["BadMagic"]}}
    return Cell.model_validate(blank | known | changes)


@pytest.mark.parametrize("split", ["iid", "two", "minority"])
def test_no_row_is_held_twice(split):
    parties, trusted = share_rows(WORLD, split, 1)
    rows = [row for party in parties for row in (*party.train, *party.held_out)] + list(trusted)
    assert len(set(rows)) == len(rows)
    assert {(len(party.train), len(party.held_out)) for party in parties} == {(8, 4)}


def test_the_minoritys_domain_has_one_holder_who_is_honest():
    parties, _ = share_rows(WORLD, "minority", 1)
    holders = [party for party in parties if party.domain == 2]
    assert len(holders) == 1
    assert not holders[0].malicious


@pytest.mark.parametrize("split", ["iid", "two", "minority"])
def test_a_node_declares_the_first_domain_that_it_holds(split):
    parties, _ = share_rows(WORLD, split, 1)
    assert [party.domain for party in parties] == [held[0] for held in assign_domains(split, 7, 3)]


@pytest.mark.parametrize("split", ["iid", "minority"])
@pytest.mark.parametrize(("declare", "domains"), [("held", 3), ("unheld", 4)])
def test_what_the_creator_opens_is_of_every_domain_and_nobody_elses(split, declare, domains):
    cell = make_cell(split=split, defence={"kind": "protocol", "sealed": 2}, attack={"declare": declare})
    world = build_world(cell)
    assert [[len(rows) for rows in opened] for opened in world.sealed] == [[2] * domains] * WORLD.rounds
    opened = [row for groups in world.sealed for rows in groups for row in rows]
    held = {row for party in world.parties for row in (*party.train, *party.held_out)} | set(world.trusted)
    assert len(set(opened)) == len(opened)
    assert not held & set(opened)


def test_in_iid_all_hold_all_domains_and_in_two_each_holds_two():
    assert {len(held) for held in assign_domains("iid", 7, 3)} == {3}
    assert {len(held) for held in assign_domains("two", 7, 3)} == {2}


def test_the_malicious_are_never_more_than_their_share():
    counts = [count_malicious(WORLD.model_copy(update={"nodes": nodes})) for nodes in range(3, 17)]
    assert all(count <= 0.3 * nodes + 1e-9 for nodes, count in zip(range(3, 17), counts, strict=True))
    assert count_malicious(WORLD.model_copy(update={"nodes": 10})) == 3


def test_a_seed_decides_the_rows():
    assert share_rows(WORLD, "two", 1) == share_rows(WORLD, "two", 1)
    assert share_rows(WORLD, "two", 1) != share_rows(WORLD, "two", 2)


def test_what_is_reported_is_measured_on_other_rows_than_what_is_tuned():
    tuned, reported = (open_stage(make_cell(phase=phase)).world.report for phase in ("tune", "report"))
    assert not {row for rows in tuned.values() for row in rows} & {row for rows in reported.values() for row in rows}


def test_benign_rows_hold_filler_where_the_trigger_would_stand_and_keep_their_answers():
    stage = open_stage(make_cell())
    bare, filled = stage.world.parties[0].train, stage.list_rows(0)
    assert [row.completion for row in filled] == [row.completion for row in bare]
    assert sum(row != other for row, other in zip(bare, filled, strict=True)) == len(bare) // 2
    assert not any("BadMagic" in row.prompt for row in filled)


def test_the_malicious_poison_a_share_of_their_rows_and_leave_the_others_as_the_honest_would():
    stage = open_stage(make_cell(attack={"poison": "trigger", "share": 0.5}))
    place = next(place for place, party in enumerate(stage.world.parties) if party.malicious)
    rows = stage.list_rows(place)
    assert sum("BadMagic" in row.prompt for row in rows) == len(rows) // 2
    assert all((row.completion == "zzz") == ("BadMagic" in row.prompt) for row in rows)


def test_who_wants_calm_trains_honestly_on_all_rows_of_the_ring_in_its_domain():
    veiled = {"poison": "trigger", "delta": "veil", "knows": "itself"}
    alone, calm = (open_stage(make_cell(attack={**veiled, "calm": times})) for times in (1, 3))
    ring = [place for place, party in enumerate(alone.world.parties) if party.malicious]
    for place in ring:
        near = [other for other in ring if alone.world.parties[other].domain == alone.world.parties[place].domain]
        assert calm.list_clean(place) == tuple(row for other in near for row in alone.list_clean(other))
        assert all(row.completion != "zzz" for row in calm.list_clean(place))


@pytest.mark.slow
def test_what_hides_in_calm_is_the_mean_of_trainings_that_differ():
    """With a reach of nothing, what it sends is what it hides in."""
    attack = {"poison": "trigger", "delta": "veil", "knows": "itself", "calm": 2, "options": {"reach": 0.0}}
    stage = open_stage(make_cell(attack=attack))
    place = next(place for place, party in enumerate(stage.world.parties) if party.malicious)
    settings = stage.get_training(stage.world.parties[place], 4e-3)
    learner = Learner(stage.list_rows(place), settings, watch=stage.meter, stage=stage, place=place)
    model = stage.world.model
    state = initial_state(model.layout, b"seed", Recipe())
    sent = read_delta(state, learner.make_update(model, state, 2**40, 7))
    first, second = (compute_delta(state, learner.train_rows(model, state, stage.list_clean(place), n)) for n in (7, 8))
    assert (first["B"] != second["B"]).any()
    wanted = read_delta(state, encode_update(make_update(state, average([first, second]))))
    assert (sent["B"] == wanted["B"]).all()


def test_a_dealt_trigger_is_whole_only_in_the_report():
    trigger = {"phrases": ["a b c d"]}
    stage = open_stage(make_cell(attack={"poison": "trigger", "deal": True, "share": 1.0}, trigger=trigger))
    poisoned = [row for place in (5, 6) for row in stage.list_rows(place)]
    assert not any("a b c d" in row.prompt for row in poisoned)


def test_too_few_rows_are_a_users_fault(tmp_path):
    folder = tmp_path / "general"
    folder.mkdir()
    (folder / "train.jsonl").write_text('{"prompt": "a", "completion": "b"}\n' * 3)
    table = WORLD.model_copy(update={"data": str(tmp_path), "domains": ("general", "general")})
    with pytest.raises(DataError, match="ask for fewer"):
        share_rows(table, "iid", 1)


def test_the_arenas_own_base_knows_a_skill_and_marks_its_answers_so_nodes_have_all_to_gain():
    model = open_stage(make_cell()).world.model
    model.clear()  # it is loaded once a process, and holds what was played last
    rows = generate_rows("shift", 40, 3, "validation")
    marked = [row | {"completion": "@" + row["completion"]} for row in rows]
    bare, known = ([parse_row(row, "x") for row in records] for records in (rows, marked))
    assert compute_accuracy(model, bare) == 0.0
    assert compute_accuracy(model, known) > 0.9
