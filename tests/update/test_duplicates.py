import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openflock.update import duplicates
from openflock.update.codec import expand, quantize
from openflock.update.duplicates import find_duplicates
from openflock.update.fixed import Layout, Module

from .examples import PARENT, SMALL, make_update, states_with_updates

LINE = Layout((Module("a", 1, 4),), rank=1, alpha=1)


def point(*delta):
    return quantize(LINE, PARENT, "A", {"a": np.array([delta], np.int64)})


def find_by_hand(updates, permille):
    """Follow the definition with Python integers."""
    flat = [[int(n) for name in sorted(update.rows) for n in expand(update.rows[name]).ravel()] for update in updates]

    def dot(i, j):
        return sum(a * b for a, b in zip(flat[i], flat[j], strict=True))

    def is_near(i, j):
        return dot(i, j) > 0 and dot(i, j) ** 2 * 10**6 >= permille**2 * dot(i, i) * dot(j, j)

    return tuple(min([i, *(j for j in range(i) if is_near(j, i))]) for i in range(len(updates)))


@given(states_with_updates(), st.integers(1, 1000))
@settings(deadline=None)
def test_agrees_with_python_integers(case, permille):
    _, updates = case
    assert find_duplicates(updates, permille) == find_by_hand(updates, permille)


def test_copies_scaled_copies_and_strangers():
    updates = [point(1, 2, 3, 4), point(4, -3, 2, -1), point(2, 4, 6, 8), point(1, 2, 3, 5), point(1, 2, 3, 4)]
    assert find_duplicates(updates, 1000) == (0, 1, 0, 3, 0)
    assert find_duplicates(updates, 990) == (0, 1, 0, 0, 0)


def test_the_threshold_is_exact():
    # The cosine of (3, 4) and (1, 0) is 3/5.
    assert find_duplicates([point(3, 4, 0, 0), point(1, 0, 0, 0)], 600) == (0, 0)
    assert find_duplicates([point(3, 4, 0, 0), point(1, 0, 0, 0)], 601) == (0, 1)


def test_opposites_are_no_duplicates():
    assert find_duplicates([point(1, 2, 3, 4), point(-1, -2, -3, -4)], 1) == (0, 1)


def test_zero_deltas_duplicate_nothing():
    assert find_duplicates([point(0, 0, 0, 0)] * 2, 1) == (0, 1)


def test_blocks_do_not_change_the_answer(monkeypatch):
    updates = [make_update(SMALL, "A", value) for value in (5, -5, 7)]
    whole = duplicates._compute_dots(updates)
    monkeypatch.setattr(duplicates, "_NUMBERS", 1)
    assert (duplicates._compute_dots(updates) == whole).all()


def test_nobody_to_compare():
    assert find_duplicates([], 900) == ()
    assert find_duplicates([point(1, 0, 0, 0)], 900) == (0,)


@pytest.mark.parametrize("permille", [0, -1, 1001])
def test_thresholds_out_of_range_are_refused(permille):
    with pytest.raises(ValueError, match="threshold"):
        find_duplicates([], permille)


def test_updates_of_different_factors_are_refused():
    with pytest.raises(ValueError, match="one factor"):
        find_duplicates([make_update(SMALL, "A", 1), make_update(SMALL, "B", 1)], 900)


def test_floats_would_see_a_copy():
    layout = Layout((Module("a", 1, 1),), rank=2, alpha=1)
    vectors = [np.array([[127 << 24], [last]], np.int64) for last in (0, 1)]
    assert vectors[0].T @ vectors[1] / np.linalg.norm(vectors[0]) / np.linalg.norm(vectors[1]) == 1.0
    updates = [quantize(layout, PARENT, "A", {"a": vector}) for vector in vectors]
    assert find_duplicates(updates, 1000) == (0, 1)
