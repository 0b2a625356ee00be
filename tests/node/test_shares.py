from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from openflock.node.shares import count_gain, find_clips, find_share
from openflock.protocol.recipe import Recipe
from openflock.protocol.types import Proposal, Round, Seat
from openflock.update.codec import make_update
from openflock.update.fixed import initial_state

from ..protocol.helpers import make_rules
from .helpers import SEED, get_model

SEATS = tuple(Seat(f"0x{slot:040x}", 1) for slot in range(5))


def test_an_update_is_judged_at_the_share_of_the_merge_that_it_would_have():
    current = Round(1, proposers=SEATS)
    # The last one published nothing; one domain has a single holder.
    current.proposals.update({slot: Proposal(bytes(32), 1, domain=int(slot == 3)) for slot in range(4)})
    assert [find_share(Recipe(), current, slot) for slot in (0, 3)] == [Fraction(1, 4), Fraction(1, 4)]
    assert [find_share(Recipe(grouping=500), current, slot) for slot in (0, 3)] == [Fraction(2, 9), Fraction(1, 3)]


def clip(recipe, *lengths, weights=(1, 1, 1, 1)):
    """What is left of updates of some lengths, in slots 1, 2 and so on."""
    state = replace(initial_state(get_model().layout, SEED, recipe), recipe=recipe)
    size = {factor: state.layout.compute_size(factor) for factor in state.trained}
    updates = {
        slot: make_update(state, {factor: np.full(count, length, np.int64) for factor, count in size.items()})
        for slot, length in enumerate(lengths, 1)
    }
    seats = (SEATS[0], *(replace(seat, weight=weight) for seat, weight in zip(SEATS[1:], weights, strict=True)))
    return find_clips(state, Round(1, proposers=seats), updates)


def test_a_longer_update_is_cut_to_the_median_and_no_other_is_touched():
    assert clip(Recipe(clip=1000), 64, 128, 64, 0) == {1: 1, 2: Fraction(1, 2), 3: 1, 4: 1}
    assert clip(Recipe(clip=2000), 64, 128, 64) == {1: 1, 2: 1, 3: 1}


def test_the_median_is_by_weight():
    assert clip(Recipe(clip=1000), 64, 64, 128, weights=(1, 1, 5, 1)) == {1: 1, 2: 1, 3: 1}
    assert clip(Recipe(clip=1000), 64, 128, 128, weights=(5, 1, 1, 1)) == {1: 1, 2: Fraction(1, 2), 3: Fraction(1, 2)}


@pytest.mark.parametrize(
    "recipe", [Recipe(), Recipe(clip=1000, optimizer="adam", momentum=58_982, rate=131)], ids=["no clip", "adam"]
)
def test_where_a_merge_does_not_cut_lengths_or_they_do_not_count_nothing_is_left_out(recipe):
    assert clip(recipe, 64, 128, 64) == {}


def test_without_updates_there_is_nothing_to_clip():
    assert clip(Recipe(clip=1000)) == {}


@given(score=st.integers(-2048, 2047), clip=st.fractions(0, 1), least=st.integers(1, 300))
@example(score=5, clip=Fraction(0), least=5)
@example(score=6, clip=Fraction(1, 2), least=5)
@example(score=4, clip=Fraction(1, 2), least=5)
def test_a_clip_takes_from_gains_alone_and_turns_no_benefit_into_none(score, clip, least):
    rules = make_rules(min_benefit=least, full_benefit=max(least, 500))
    counted = count_gain(score, clip, rules)
    assert counted <= score
    assert (counted >= least) == (score >= least)
    assert counted == score or score > least
    assert count_gain(score, Fraction(1), rules) == score
