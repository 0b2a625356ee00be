"""Each thing that malicious nodes do, played under the protocol by a ring of one in four."""

import json

import numpy as np
import pytest
import torch

from openflock.arena.adversaries import Ring, flatten_delta
from openflock.arena.attacks.bombs import BOMBS
from openflock.arena.attacks.triggers import BADNETS
from openflock.arena.cells import run_cell
from openflock.arena.checking import find_differences
from openflock.arena.settings import AttackTable, list_cells

from .attacks.helpers import STATE, make_delta
from .grids import BOTH_FACTORS, TABLE, make_grid

torch.set_num_threads(1)


def play(behaviour, defence="ours", rounds=1, **rules):
    """Play one cell; give its record and its last round."""
    grid = make_grid(
        grid=[{"worlds": ["skills"], "attacks": ["rogue"], "defences": [defence]}],
        tune={"seeds": []},
        report={"seeds": [100]},
        worlds={"skills": TABLE["worlds"]["skills"] | {"rounds": rounds}},
        attacks={"rogue": behaviour},
        defences=TABLE["defences"] | {"ours": {"kind": "protocol", "rules": rules}, "both": BOTH_FACTORS},
    )
    (cell,) = list_cells(grid)
    record = run_cell(cell)
    json.dumps(record, allow_nan=False)
    return record["rounds"][-1]


def get_verdicts(current, node):
    return [each["verdict"] for each in current["proposals"] if each["node"] == node]


@pytest.mark.parametrize("votes", ["grieve", "random", "copy"])
def test_whatever_one_of_four_votes_a_round_is_merged_and_nobody_slashed(votes):
    current = play({"votes": votes}, rounds=2)
    assert current["outcome"] == "MERGED"
    assert current["slashed"] == []


@pytest.mark.parametrize("blob", ["nan", "pickle"])
def test_a_bomb_is_inadmissible_and_slashed(blob):
    current = play({"blob": blob})
    assert get_verdicts(current, 3) == ["INADMISSIBLE"]
    assert current["slashed"] == [3]


def test_an_empty_bomb_is_never_published():
    current = play({"blob": "empty"})
    assert current["outcome"] == "MERGED"
    assert get_verdicts(current, 3) == []


def test_a_server_of_floats_rejects_nan_and_never_gets_what_it_cannot_read():
    assert [each["accepted"] for each in play({"blob": "nan"}, "mean")["proposals"]] == [True, True, True, False]
    assert [each["node"] for each in play({"blob": "pickle"}, "mean")["proposals"]] == [0, 1, 2]


def test_the_bytes_of_an_older_update_are_inadmissible():
    current = play({"blob": "replay"}, rounds=2)
    assert get_verdicts(current, 3) == ["INADMISSIBLE"]
    assert current["slashed"] == [3]


def test_false_witnesses_are_denied_and_slash_nobody():
    current = play({"accusers": 4})
    assert current["exposed"] == 4
    assert {each["node"] for each in current["witnesses"]} == {0, 1, 2}
    assert all(each["denied"] and not each["upheld"] and not each["honest"] for each in current["witnesses"])
    assert current["slashed"] == []


def test_spam_beyond_what_stands_is_counted_as_exposed():
    current = play({"accusers": 9}, witnesses=2)
    assert current["exposed"] == 9
    assert len(current["witnesses"]) == 6


def test_sybils_propose_under_each_name_and_share_the_stake():
    current = play({"names": 2, "declare": "unheld"})
    assert len(get_verdicts(current, 3)) == 2
    assert current["outcome"] == "MERGED"
    with pytest.raises(ValueError, match="too little"):
        play({"names": 3})


def test_who_commits_to_nothing_proposes_nothing():
    current = play({"absent": ["update"]})
    assert current["outcome"] == "MERGED"
    assert get_verdicts(current, 3) == []


def test_shares_of_a_trigger_or_a_delta_are_not_split_by_name_as_well():
    with pytest.raises(ValueError, match="share out by node"):
        AttackTable(names=2, deal=True)


@pytest.mark.parametrize("defence", ["mean", "ours", "both"])
@pytest.mark.parametrize("hook", ["pgd", "neurotoxin", "constrain_and_scale"])
def test_training_can_be_hidden_step_by_step(hook, defence):
    current = play({"poison": "trigger", "hook": hook}, defence)
    assert {each["node"] for each in current["proposals"]} == {0, 1, 2, 3}


# --- The ring ------------------------------------------------------------------------------------------------


def make_ring(count=1, **table):
    return Ring(AttackTable(**table), BADNETS, "zzz", count, seed=100)


def test_an_honest_delta_of_an_earlier_round_is_sent_again():
    ring, own, honest = make_ring(delta="resend"), make_delta(1), make_delta(2)
    first = ring.offer(1, 0, own, [honest])
    assert np.array_equal(first["B"], own["B"])
    again = ring.offer(2, 0, own, [make_delta(3)])
    assert np.array_equal(again["B"], honest["B"])


def test_only_a_delta_of_the_same_factor_is_sent_again():
    ring = make_ring(delta="resend")
    ring.offer(1, 0, {"A": make_delta(1)["B"]}, [{"A": make_delta(2)["B"]}])
    own = make_delta(3)
    assert np.array_equal(ring.offer(2, 0, own, [make_delta(4)])["B"], own["B"])


def test_replacers_take_off_the_honest_sum_once_between_them():
    ring, honest = make_ring(3, delta="model_replacement", options={"factor": 1.0}), make_delta(1)
    own = [make_delta(place) for place in (2, 3, 4)]
    sent = sum(ring.offer(1, place, each, [honest])["B"].astype(int) for place, each in enumerate(own))
    wanted = sum(each["B"].astype(int) for each in own) - honest["B"]
    assert np.abs(sent - wanted).max() <= 3  # each rounds


def test_after_a_lull_it_attacks_both_factors():
    ring = make_ring(delta="veil", knows="itself", lull=2)
    own, honest = make_delta(1), make_delta(2)
    honestly = [np.array_equal(ring.offer(number, 0, own, [honest])["B"], honest["B"]) for number in range(1, 13)]
    assert honestly == [True] * 4 + [False] * 2 + [True] * 4 + [False] * 2
    for odd in ({"lull": 1}, {"calm": 2}):
        with pytest.raises(ValueError, match="lull"):
            AttackTable(delta="veil", **odd)


def test_replayed_bytes_are_those_of_another_round():
    ring = make_ring(blob="replay")
    ring.hear(1, b"first")
    ring.hear(1, b"second")
    assert ring.forge(1, b"own") == b"own"
    assert ring.forge(2, b"own") == b"first"


def test_every_bomb_can_be_sent():
    from openflock.update.codec import encode_update, make_update

    honest = encode_update(make_update(STATE, make_delta(1)))
    assert all(make_ring(blob=name).forge(1, honest) != honest for name in BOMBS)


def test_nothing_is_hidden_where_nobody_is_honest():
    assert make_ring(hook="pgd").hook_training([]) is None
    assert make_ring().hook_training([make_delta(1)]) is None


def test_a_delta_is_laid_out_in_weights():
    assert flatten_delta({"B": np.array([2**24], np.int32), "A": np.array([2**23], np.int32)}).tolist() == [0.5, 1.0]


def test_what_all_see_alike_is_measured_once_and_counted_for_each():
    grid = make_grid(
        grid=[{"worlds": ["skills"], "attacks": ["none"], "defences": ["ours"]}],
        tune={"seeds": []},
        report={"seeds": [100]},
        defences=TABLE["defences"] | {"ours": {"kind": "protocol", "sealed": 2}},
    )
    (cell,) = list_cells(grid)
    first, again = run_cell(cell), run_cell(cell)
    assert list(find_differences(first, again)) == []
    # Of 4 rows of its own: the base, the old state, three updates, the candidate. Of two times 2 that are sealed: the
    # base, the old state, and of three updates the own domain's 2 and one of the other's.
    assert first["passes"]["evaluation"] == 4 * (4 * (1 + 1 + 3 + 1) + (4 + 4 + 3 * (2 + 1)))


def test_honest_nodes_search_beside_liars_who_accuse_all_of_them():
    lies = {"votes": "grieve", "flags": ["suspect"], "accusers": 3, "bid": 2}
    grid = make_grid(
        grid=[{"worlds": ["skills"], "attacks": ["liars"], "defences": ["searched", "trusting"]}],
        tune={"seeds": []},
        report={"seeds": [100]},
        worlds={"skills": TABLE["worlds"]["skills"] | {"rows": {"train": 8, "held_out": 12, "report": 4}}},
        attacks={"liars": lies},
        defences={
            name: {"kind": "protocol", "probe": name == "searched", "sealed": 2} for name in ("searched", "trusting")
        },
    )
    searched, trusting = map(run_cell, list_cells(grid))
    current = searched["rounds"][-1]
    assert searched["passes"]["probe"] > 2 * trusting["passes"]["probe"] > 0  # who trusts tests what others bring
    assert current["outcome"] == "MERGED"
    assert current["slashed"] == []
    assert {witness["node"] for witness in current["witnesses"]} == {0, 1, 2}
    assert not any(witness["honest"] for witness in current["witnesses"])
