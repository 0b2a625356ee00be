from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openflock.protocol.recipe import Recipe
from openflock.update.codec import make_update
from openflock.update.duplicates import find_duplicates
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
def test_thresholds_out_of_range_are_refused(permille):
    with pytest.raises(ValueError, match="threshold"):
        find_duplicates(LINE, [], permille)


def test_floats_would_see_a_copy():
    state = initial_state(Layout((Module("a", 65, 1),), rank=1, alpha=1), b"")
    vectors = [np.append(np.full(64, 127 << 18), last) for last in (0, 1)]
    assert vectors[0] @ vectors[1] / np.linalg.norm(vectors[0]) / np.linalg.norm(vectors[1]) == 1.0
    updates = [make_update(state, {"B": vector}) for vector in vectors]
    assert find_duplicates(state, updates, 1000) == (0, 1)
