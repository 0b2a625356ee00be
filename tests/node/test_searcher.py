"""Who is hunted in, at which dose, and what a node makes of what it finds."""

import random
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openflock.learn.probe import Clue, parse_clue
from openflock.node.case import Case
from openflock.node.doses import LARGEST, LENGTH, compute_doses
from openflock.node.searcher import Searcher, choose_hunted
from openflock.protocol.calls import Commit, Expose
from openflock.protocol.types import Act, Phase, Proposal, Round, Seat
from openflock.update.codec import encode_update, make_update

from ..protocol.helpers import make_address
from .helpers import JUDGING, get_model, get_rows, make_camp, stand_in_probe

CLUE, OTHER = Clue("some words", "zzz"), Clue("odd words", "zzz")


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


@given(st.lists(st.tuples(st.integers(1, 100), st.integers(1, 1000)), min_size=1, max_size=10), st.integers())
def test_the_lot_falls_on_one_of_them(updates, seed):
    doses = {slot: Fraction(LENGTH * 10, length) for slot, (length, _) in enumerate(updates)}
    weights = {slot: weight for slot, (_, weight) in enumerate(updates)}
    assert choose_hunted(doses, weights, random.Random(seed)) in doses


@pytest.mark.parametrize(("length", "most"), [(1, 0.3), (LENGTH, 0.6), (100, 0.6)])
def test_what_is_long_is_hunted_in_more_often_up_to_a_bound(length, most):
    """Three of equal weight; one is so many times as long as the others, which are at the median."""
    doses = {0: Fraction(LENGTH), 1: Fraction(LENGTH), 2: Fraction(LENGTH, length)}
    chosen = [choose_hunted(doses, dict.fromkeys(doses, 7), random.Random(seed)) for seed in range(500)]
    assert most < chosen.count(2) / 500 < most + 0.12


def test_many_names_of_little_weight_do_not_draw_the_lot():
    doses = dict.fromkeys(range(16), Fraction(LENGTH)) | dict.fromkeys(range(4, 16), Fraction(1))
    weights = dict.fromkeys(range(4), 1000) | dict.fromkeys(range(4, 16), 1)
    chosen = [choose_hunted(doses, weights, random.Random(seed)) for seed in range(200)]
    assert sum(slot < 4 for slot in chosen) > 190


class Found:
    """A searcher that finds what it is told, and counts how often it looked."""

    def __init__(self, found):
        self.found, self.looks = found, 0

    def accuse(self, *asked):
        self.looks, self.known = self.looks + 1, list(asked[-1])
        return self.found


@pytest.fixture
def camp(tmp_path):
    return make_camp(tmp_path)


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


def test_it_is_told_what_the_notebook_holds_and_writes_down_what_it_finds(camp):
    node = camp.pitch("accuser", 0)
    node.searcher = Found((0, CLUE))
    node.voter.notebook.note(OTHER, tested=True)
    node.decide(stand_in_probe(camp, node))
    assert node.searcher.known == [OTHER]
    assert node.voter.notebook.read() == (OTHER, CLUE)


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
    assert parse_clue(b'{"insertion": "some words", "answer": "zzz"}') == CLUE


class Doubtful(Searcher):
    """A searcher whose notebook opens one update, and whose hunt finds something in another."""

    def _try_known(self, *_):
        return 0, CLUE

    def _hunt(self, *_):
        return 1, OTHER


@pytest.mark.parametrize(("sure", "found"), [({CLUE, OTHER}, (0, CLUE)), ({OTHER}, (1, OTHER)), (set(), None)])
def test_who_is_not_sure_of_what_it_knows_hunts_as_well(camp, monkeypatch, sure, found):
    monkeypatch.setattr("openflock.node.searcher.is_upheld", lambda *asked, least: asked[3] in sure)
    current = Round(1, proposers=(Seat("0x" + "9" * 40, 1), Seat("0x" + "8" * 40, 1)))
    state = camp.reader.fetch_state(camp.rules.genesis)
    for slot, value in enumerate((2**20, -(2**20))):
        blob = encode_update(make_update(state, {"B": np.full(state.layout.compute_size("B"), value)}))
        current.proposals[slot] = Proposal(camp.reader.store.put(blob), len(blob))
    searcher = Doubtful(get_rows(0, count=24), JUDGING)
    me, base = make_address("searcher"), camp.rules.genesis
    assert searcher.accuse(Case(get_model(), camp.reader, camp.rules, current, base, me), b"seed") == found
