from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openflock.protocol.recipe import Recipe
from openflock.update.codec import make_update
from openflock.update.duplicates import find_duplicates, find_stale
from openflock.update.fixed import Layout, Module, initial_state

from .examples import SMALL, fill_update, read_whole, states_with_updates

LINE = replace(initial_state(Layout((Module("a", 1, 4),), rank=1, alpha=1), b""), step=1)  # trains four numbers of A


def point(*delta):
    return make_update(LINE, {"A": np.array(delta)})


def list_numbers(state, update):
    """What is compared: the update's own numbers, or the products of its factors where updates are stacked."""
    whole = {factor: numbers.astype(np.int64).astype(object) for factor, numbers in read_whole(update).items()}
    if state.recipe.mode == "stack":
        A, B = (update.layout.split(factor, whole[factor]) for factor in "AB")
        return [n for name in A for n in (B[name] @ A[name]).ravel().tolist()]
    return [n for numbers in whole.values() for n in numbers.tolist()]


def find_by_hand(state, updates, permille):
    """Follow the definition with Python integers."""
    flat = [list_numbers(state, update) for update in updates]

    def dot(i, j):
        return sum(a * b for a, b in zip(flat[i], flat[j], strict=True))

    def is_near(i, j):
        return dot(i, j) > 0 and dot(i, j) ** 2 * 10**6 >= permille**2 * dot(i, i) * dot(j, j)

    return tuple(min([i, *(j for j in range(i) if is_near(j, i))]) for i in range(len(updates)))


def find_stale_by_hand(state, updates, past, permille):
    """Take from each vector what lies along the others, one after another, in fractions (Gram and Schmidt)."""
    basis = []

    def dot(a, b):
        return sum(x * y for x, y in zip(a, b, strict=True))

    def take_off(vector):
        for each in basis:
            share = Fraction(dot(vector, each), dot(each, each))
            vector = [x - share * y for x, y in zip(vector, each, strict=True)]
        return vector

    for update in past:
        rest = take_off(list_numbers(state, update))
        if any(rest):
            basis.append(rest)
    rows = [list_numbers(state, update) for update in updates]
    rests = [take_off(row) for row in rows]
    least = 1 - Fraction(permille, 1000) ** 2
    return tuple(any(row) and dot(rest, rest) <= least * dot(row, row) for row, rest in zip(rows, rests, strict=True))


@given(states_with_updates(), st.integers(1, 1000), st.data())
def test_agrees_with_python_integers(case, permille, data):
    state, drawn = case
    drawn += data.draw(st.lists(st.sampled_from(drawn), max_size=3))  # copies among them
    assert find_duplicates(state, drawn, permille) == find_by_hand(state, drawn, permille)


def test_copies_scaled_copies_and_strangers():
    updates = [point(1, 2, 3, 4), point(4, -3, 2, -1), point(2, 4, 6, 8), point(1, 2, 3, 5), point(1, 2, 3, 4)]
    assert find_duplicates(LINE, updates, 1000) == (0, 1, 0, 3, 0)
    assert find_duplicates(LINE, updates, 990) == (0, 1, 0, 0, 0)


def test_the_threshold_is_exact():
    # The cosine of (3, 4) and (1, 0) is 3/5.
    assert find_duplicates(LINE, [point(3, 4, 0, 0), point(1, 0, 0, 0)], 600) == (0, 0)
    assert find_duplicates(LINE, [point(3, 4, 0, 0), point(1, 0, 0, 0)], 601) == (0, 1)


def test_opposites_are_no_duplicates():
    assert find_duplicates(LINE, [point(1, 2, 3, 4), point(-1, -2, -3, -4)], 1) == (0, 1)


def test_zero_deltas_duplicate_nothing():
    assert find_duplicates(LINE, [point(0, 0, 0, 0)] * 2, 1) == (0, 1)


def test_a_stacked_copy_in_other_factors_is_a_copy():
    state = initial_state(SMALL, b"", Recipe("stack"))
    layout, draw = state.layout.resize(2), np.random.default_rng(1)
    numbers = {factor: draw.integers(-60, 60, layout.compute_size(factor)) for factor in "AB"}
    A, B = (layout.split(factor, numbers[factor]) for factor in "AB")
    swapped = {
        "A": layout.join("A", {name: matrix[::-1] for name, matrix in A.items()}),
        "B": layout.join("B", {name: matrix[:, ::-1] for name, matrix in B.items()}),
    }
    halved = {"A": numbers["A"] * 2, "B": numbers["B"]}
    updates = [make_update(state, each) for each in (numbers, swapped, halved)]
    assert find_duplicates(state, updates, 1000) == (0, 0, 0)
    assert find_duplicates(state, [updates[0], fill_update(state, 1, width=1)], 990) == (0, 1)


def test_nobody_to_compare():
    assert find_duplicates(LINE, [], 900) == ()
    assert find_duplicates(LINE, [point(1, 0, 0, 0)], 900) == (0,)


@pytest.mark.parametrize("permille", [0, -1, 1001])
@pytest.mark.parametrize(
    "find", [find_duplicates, lambda state, updates, permille: find_stale(state, [], [], permille)]
)
def test_thresholds_out_of_range_are_refused(find, permille):
    with pytest.raises(ValueError, match="threshold"):
        find(LINE, [], permille)


def test_floats_would_see_a_copy():
    state = initial_state(Layout((Module("a", 65, 1),), rank=1, alpha=1), b"")
    vectors = [np.append(np.full(64, 127 << 18), last) for last in (0, 1)]
    assert vectors[0] @ vectors[1] / np.linalg.norm(vectors[0]) / np.linalg.norm(vectors[1]) == 1.0
    updates = [make_update(state, {"B": vector}) for vector in vectors]
    assert find_duplicates(state, updates, 1000) == (0, 1)


# --- What was merged before ----------------------------------------------------------------------------------


@given(states_with_updates(), st.integers(1, 1000), st.data())
def test_what_is_old_agrees_with_fractions(case, permille, data):
    state, drawn = case
    cut = data.draw(st.integers(0, len(drawn)))
    past = drawn[:cut] + data.draw(st.lists(st.sampled_from(drawn), max_size=2))  # one merged twice among them
    assert find_stale(state, drawn[cut:], past, permille) == find_stale_by_hand(state, drawn[cut:], past, permille)


@given(st.lists(st.integers(-4, 4), min_size=3, max_size=3).filter(any))  # larger sums would be rounded
def test_no_mixture_of_old_updates_is_new(parts):
    past = [(1, 2, 3, 4), (0, 5, 0, -7), (2, 4, 6, 9)]
    mixture = point(*(sum(part * each[i] for part, each in zip(parts, past, strict=True)) for i in range(4)))
    assert find_stale(LINE, [mixture], [point(*each) for each in past], 1000) == (True,)


def test_the_share_that_is_new_is_exact():
    # Of (3, 0, 4, 0) the past holds the first part: a cosine of 3/5.
    updates, past = [point(3, 0, 4, 0), point(0, 0, 1, 0)], [point(2, 0, 0, 0), point(0, 9, 0, 0)]
    assert find_stale(LINE, updates, past, 600) == (True, False)
    assert find_stale(LINE, updates, past, 601) == (False, False)


@given(st.lists(st.integers(-100, 100), min_size=4, max_size=4).filter(any), st.integers(1, 1000))
def test_of_one_old_update_only_near_duplicates_are_old(delta, permille):
    old, new = point(1, 2, 3, 4), point(*delta)
    near = [find_duplicates(LINE, [old, each], permille)[1] == 0 for each in (new, point(*(-n for n in delta)))]
    assert find_stale(LINE, [new], [old], permille) == (any(near),)


def test_nothing_is_older_than_the_first_round_and_a_zero_delta_is_not_old():
    assert find_stale(LINE, [point(1, 0, 0, 0)] * 2, [], 1) == (False, False)
    assert find_stale(LINE, [], [point(1, 0, 0, 0)], 1) == ()
    assert find_stale(LINE, [point(0, 0, 0, 0)], [point(1, 0, 0, 0), point(0, 0, 0, 0)], 1) == (False,)
    assert find_stale(LINE, [point(1, 0, 0, 0)], [point(0, 0, 0, 0)], 1) == (False,)
