"""Chances are compared with counting every case, and with what the protocol's own sortition draws."""

import runpy
from collections import Counter
from fractions import Fraction
from itertools import combinations, product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openflock.arena.committees import (
    HOSTILE,
    can_block,
    can_decide,
    can_force_draw,
    can_veto,
    compute_chance,
    compute_coalition_chance,
    distribute_with_replacement,
    distribute_without_replacement,
    is_all,
    repeat,
    warn_weak,
)
from openflock.protocol.sortition import compute_committee, set_leaf

from ..protocol.helpers import STAKE, make_address, make_digest, make_rules

ROOT = Path(__file__).resolve().parents[2]
DECISIONS = [can_block, can_veto, can_decide, is_all]
EQUAL = [STAKE] * 10


# --- Brute force ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("decides", DECISIONS)
@pytest.mark.parametrize("seats", [3, 4, 5])
def test_a_draw_with_replacement_is_what_counting_all_draws_gives(seats, decides):
    """Ten tickets of which three are bad, every sequence of them."""
    draws = product([True] * 3 + [False] * 7, repeat=seats)
    counted = Fraction(sum(decides(sum(draw), seats) for draw in draws), 10**seats)
    assert compute_chance(distribute_with_replacement(seats, HOSTILE), decides) == counted


@pytest.mark.parametrize("decides", DECISIONS)
@pytest.mark.parametrize(("members", "bad", "seats"), [(7, 2, 3), (8, 3, 5), (9, 4, 4), (6, 0, 3), (6, 6, 6)])
def test_a_draw_without_replacement_is_what_counting_all_committees_gives(members, bad, seats, decides):
    committees = list(combinations([1] * bad + [0] * (members - bad), seats))
    counted = Fraction(sum(decides(sum(committee), seats) for committee in committees), len(committees))
    assert compute_chance(distribute_without_replacement(seats, members, bad), decides) == counted


@given(st.lists(st.integers(1, 20), min_size=2, max_size=8), st.data())
def test_unequal_stakes_are_what_counting_all_coalitions_gives(stakes, data):
    nodes = data.draw(st.integers(0, len(stakes)))
    decides = data.draw(st.sampled_from(DECISIONS))
    coalitions = list(combinations(stakes, nodes))
    counted = Fraction(sum(decides(sum(held), sum(stakes)) for held in coalitions), len(coalitions))
    assert compute_coalition_chance(stakes, nodes, decides) == counted


def test_stakes_in_the_token_s_units_count_as_in_tokens():
    assert compute_coalition_chance([3 * 10**18, 10**18, 10**18], 1, can_veto) == Fraction(1, 3)


def test_stakes_of_many_sizes_are_told_apart_to_a_thousandth():
    stakes = [10**18 + 7**node for node in range(20)]
    assert compute_coalition_chance(stakes, 6, can_block) == 0
    assert compute_coalition_chance(stakes, 8, can_block) == 1


@given(st.integers(1, 12), st.fractions(0, 1, max_denominator=50))
def test_chances_add_up_to_one(seats, share):
    assert sum(distribute_with_replacement(seats, share)) == 1


def test_a_task_s_chance_adds_rounds_up():
    assert repeat(Fraction(1, 2), 3) == pytest.approx(7 / 8)
    assert repeat(Fraction(0), 100_000) == 0
    assert repeat(Fraction(1), 2) == 1


# --- The protocol's own draw ---------------------------------------------------------------------------------


@pytest.mark.parametrize("split", [1, 5])
def test_sortition_gives_a_coalition_binomially_many_seats_however_it_splits_its_stake(split):
    """3,000 draws of 7 seats; each count lies within four and a half deviations of its binomial."""
    stakes = [STAKE] * 35 + [15 * STAKE // split] * split
    members, tree = [make_address(f"member {i}") for i in range(len(stakes))], {}
    for position, stake in enumerate(stakes):
        set_leaf(tree, position, stake)
    coalition, draws, counts = set(members[35:]), 3_000, Counter()
    seats = 4 if split == 1 else 7
    for draw in range(draws):
        committee = compute_committee(tree, members, seats, make_digest(f"seed {draw}"), 1)
        counts[sum(seat.weight for seat in committee if seat.node in coalition)] += 1
    for taken, chance in enumerate(distribute_with_replacement(seats, Fraction(15, 50))):
        deviation = float(draws * chance * (1 - chance)) ** 0.5
        assert abs(counts[taken] - draws * float(chance)) <= 4.5 * deviation


# --- Warnings and the page -----------------------------------------------------------------------------------


def test_many_seats_for_a_short_task_are_not_weak():
    assert warn_weak(make_rules(voter_seats=32, proposer_seats=16, rounds=4)) == []


def test_a_committee_of_seven_is_named_with_its_chances():
    lines = warn_weak(make_rules(voter_seats=7, proposer_seats=16, rounds=4))
    assert len(lines) == 2
    assert "voter_seats = 7: 30 % of the stake gets two thirds of the votes" in lines[0]
    assert "in 2.9 % of rounds, and in 11 % of tasks of 4 rounds" in lines[0]
    assert "half of the votes, which veto, in 13 % of rounds" in lines[1]


def test_few_proposer_seats_are_weak():
    lines = warn_weak(make_rules(voter_seats=32, proposer_seats=2, rounds=4), [STAKE] * 100)
    assert lines == ["proposer_seats = 2: 30 % of the stake gets all of the proposer seats in 9 % of rounds"]


def test_where_everybody_sits_equal_stakes_are_not_weak():
    assert warn_weak(make_rules(voter_seats=32, proposer_seats=16), EQUAL) == []


def test_who_takes_many_names_can_force_a_draw():
    rules = make_rules(voter_seats=12, proposer_seats=16, rounds=4, min_stake=STAKE // 2, bond=STAKE // 2)
    assert not can_force_draw(rules, [STAKE] * 9)  # seven honest, and five names of the other two
    assert can_force_draw(rules, [STAKE] * 10)  # seven honest, and six of three
    assert not can_force_draw(make_rules(voter_seats=12, min_stake=STAKE), [STAKE] * 10)
    lines = warn_weak(rules, [STAKE] * 10)
    assert lines
    assert all(line.startswith("under many names, voter_seats = 12") for line in lines)


def test_where_everybody_sits_a_whale_is_weak():
    lines = warn_weak(make_rules(voter_seats=32, proposer_seats=16), [*EQUAL[:-1], 6 * STAKE])
    some = "stakes: 3 of the 10 nodes, drawn by lot, hold"
    assert lines == [
        f"{some} half of the stake, which vetoes every round, in 30 % of cases",
        f"{some} over a third of the stake, which blocks every round, in 30 % of cases",
    ]


def test_the_page_is_what_its_script_writes():
    script = runpy.run_path(str(ROOT / "scripts/write_committee_table.py"))
    assert (ROOT / "docs/committees.md").read_text() == script["build_page"]()
