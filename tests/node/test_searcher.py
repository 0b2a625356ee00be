"""Who is hunted in, at which dose, and what a node makes of what it finds."""

import random
from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openflock.learn.probe import Clue, encode_clue, parse_clue
from openflock.node.doses import LARGEST, LENGTH, compute_doses
from openflock.node.searcher import choose_suspect
from openflock.protocol.calls import Commit, Expose
from openflock.protocol.round import create_state
from openflock.protocol.types import Act, Phase, Proposal, Round, Seat

from .helpers import STAKE, make_camp

CLUE = Clue("some words", "zzz")


@given(st.dictionaries(st.integers(0, 15), st.integers(0, 2**80), max_size=10), st.integers(1, 1000))
def test_all_are_looked_at_at_one_length_whatever_the_unit(norms, scale):
    weights = dict.fromkeys(norms, 7)
    doses = compute_doses({slot: norm**2 for slot, norm in norms.items()}, weights)
    assert doses == compute_doses({slot: (norm * scale) ** 2 for slot, norm in norms.items()}, weights)
    assert doses.keys() == {slot for slot, norm in norms.items() if norm}
    moved = sorted(norm for norm in norms.values() if norm)
    median = moved[(len(moved) - 1) // 2] if moved else 0
    for slot, dose in doses.items():
        assert dose == min(LARGEST, LENGTH * median / Fraction(norms[slot]))


@pytest.mark.parametrize("length", [1, 10**6])
def test_many_names_of_little_weight_do_not_choose_the_length(length):
    honest, names = {0: 30**2, 1: 40**2, 2: 50**2}, dict.fromkeys(range(3, 16), length**2)
    weights = dict.fromkeys(honest, 100) | dict.fromkeys(names, 1)
    doses = compute_doses(honest | names, weights)
    assert [doses[slot] for slot in honest] == [Fraction(4 * 40, own) for own in (30, 40, 50)]


@given(st.dictionaries(st.integers(0, 15), st.floats(-10, 10), max_size=10), st.integers())
def test_only_who_pushes_more_than_most_is_hunted_in(gains, seed):
    chosen = choose_suspect(gains, dict.fromkeys(gains, 7), random.Random(seed))
    if chosen is not None:
        assert gains[chosen] > 0
        assert 2 * sum(gain >= gains[chosen] for gain in gains.values()) <= len(gains)


def test_where_all_push_alike_nobody_is_hunted_in():
    assert choose_suspect(dict.fromkeys(range(5), 2.0), dict.fromkeys(range(5), 1), random.Random(1)) is None
    assert choose_suspect({}, {}, random.Random(1)) is None


@pytest.mark.parametrize("pushed", [0.0, 5.0])
def test_many_names_of_little_weight_do_not_choose_the_suspect(pushed):
    """Names that push nothing would make honest updates suspect, names that push much would hide who pushes more."""
    honest, names = {0: 1.0, 1: 1.1, 2: 1.0, 3: 3.0}, dict.fromkeys(range(4, 16), pushed)
    weights = dict.fromkeys(honest, 100) | dict.fromkeys(names, 1)
    chosen = [choose_suspect(honest | names, weights, random.Random(seed)) for seed in range(50)]
    assert set(chosen) <= {3, *(names if pushed else ())}
    assert chosen.count(3) > 30  # a lot by heads would fall on it 4 times in 50


class Found:
    """A searcher that finds what it is told, and counts how often it looked."""

    def __init__(self, found):
        self.found, self.looks = found, 0

    def accuse(self, *_):
        self.looks += 1
        return self.found


@pytest.fixture
def camp(tmp_path):
    return make_camp(tmp_path)


def stand_in_probe(camp, node):
    me = node.identity.address
    current = Round(1, voters=(Seat(me, STAKE),), proposers=(Seat("0x" + "9" * 40, 1),))
    current.proposals[0] = Proposal(bytes(32), 1)
    return replace(create_state(camp.genesis), phase=Phase.PROBE, round=current)


def test_a_witness_is_committed_to_with_its_bond_and_hidden_until_it_is_exposed(camp):
    node = camp.pitch("accuser", 0)
    node.searcher = Found((0, CLUE))
    state = stand_in_probe(camp, node)
    call = node.decide(state)
    assert isinstance(call, Commit)
    assert (call.act, call.bond) == (Act.WITNESS, camp.rules.witness_bond)
    state.round.commitments[Act.WITNESS, call.sender] = call.commitment
    assert node.decide(state) is None
    opening = node.decide(replace(state, phase=Phase.EXPOSE))
    assert isinstance(opening, Expose)
    assert opening.slot == 0
    assert parse_clue(camp.reader.store.fetch(opening.digest, 4096)) == CLUE


def test_who_finds_nothing_looks_once_in_a_round_and_accuses_nobody(camp):
    node = camp.pitch("searcher", 0)
    node.searcher = Found(None)
    state = stand_in_probe(camp, node)
    assert [node.decide(state), node.decide(state)] == [None, None]
    assert node.searcher.looks == 1


def test_who_has_no_seat_or_no_searcher_accuses_nobody(camp):
    node = camp.pitch("bystander", 0)
    state = stand_in_probe(camp, node)
    assert node.decide(state) is None
    node.searcher, state.round.voters = Found((0, CLUE)), ()
    assert node.decide(state) is None
    assert encode_clue(CLUE) == b'{"insertion": "some words", "answer": "zzz"}'
