from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from fractions import Fraction
from random import Random
from time import sleep

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from openflock.protocol.recipe import Recipe
from openflock.update import geometry
from openflock.update.codec import make_update
from openflock.update.fixed import FRACTION_BITS, LIMIT, Layout, Module, initial_state
from openflock.update.geometry import (
    compute_dots,
    compute_norm,
    compute_products,
    compute_squared_norm,
    compute_squared_reach,
    compute_unit,
)
from openflock.update.gram import multiply_exact

from .examples import SMALL, fill_update, read_matrices, read_whole, states_with_updates, updates

ONE = 2**FRACTION_BITS


def list_old(state, factor):
    return [matrix.astype(object) for matrix in state.get_factor(factor).values()]


def multiply_by_hand(state, update):
    """Form the change of every module's weights, in units of 2**-48, from Python integers."""

    if state.recipe.mode == "separate":
        news = {f: [old + d for old, d in zip(list_old(state, f), read_matrices(update, f), strict=True)] for f in "AB"}
        olds = zip(list_old(state, "B"), list_old(state, "A"), strict=True)
        return [B @ A - b @ a for B, A, (b, a) in zip(news["B"], news["A"], olds, strict=True)]

    def list_factor(factor):
        if factor in state.trained:
            return read_matrices(update, factor)
        return list_old(state, factor)

    return [B @ A for B, A in zip(list_factor("B"), list_factor("A"), strict=True)]


@given(states_with_updates(max_updates=3))
@settings(max_examples=60)
def test_products_agree_with_those_of_the_changes_themselves(case):
    state, drawn = case
    changes = [multiply_by_hand(state, update) for update in drawn]
    products = compute_products(state, drawn)
    if state.recipe.mode == "separate":  # where the change is not linear in the update
        assert products.tolist() == compute_dots(state, drawn).tolist()
        return
    for i, j in np.ndindex(products.shape):
        assert products[i, j] == sum((a * b).sum() for a, b in zip(changes[i], changes[j], strict=True))
        assert type(products[i, j]) is int


@given(states_with_updates(max_updates=1))
@settings(max_examples=50)
def test_the_norm_is_that_of_the_effective_weights(case):
    state, [update] = case
    total = sum(int((change**2).sum()) for change in multiply_by_hand(state, update))
    scale = Fraction(state.layout.alpha, state.layout.rank)
    assert compute_squared_norm(state, update) == scale**2 * Fraction(total, 2 ** (4 * FRACTION_BITS))
    own = sum(int((numbers**2).sum()) for numbers in read_whole(update).values())
    assert compute_norm(state, update) == (own if state.recipe.mode == "separate" else total)
    assert compute_unit(state.layout) * total == compute_squared_norm(state, update)


@given(states_with_updates(max_updates=1))
@settings(max_examples=50)
def test_the_reach_is_the_delta_s_own_norm_whatever_the_frozen_factor(case):
    state, [update] = case
    own = sum(int((numbers**2).sum()) for numbers in read_whole(update).values())
    scale = Fraction(state.layout.alpha**2, state.layout.rank**2)
    stacked = state.recipe.mode == "stack"
    wanted = compute_squared_norm(state, update) if stacked else scale * own / (3 * 2 ** (2 * FRACTION_BITS))
    assert compute_squared_reach(state, update) == wanted


def test_on_the_first_step_the_reach_is_about_the_norm():
    state = initial_state(Layout((Module("a", 64, 256),), rank=8, alpha=16), b"seed")
    update = make_update(state, {"B": np.random.default_rng(0).integers(-(2**20), 2**20, 64 * 8)})
    assert 0.9 < compute_squared_norm(state, update) / compute_squared_reach(state, update) < 1.1


@given(states_with_updates(max_updates=1), st.data())
@settings(max_examples=50)
def test_dots_agree_with_python_integers(case, data):
    state, [first] = case
    drawn = [first, *data.draw(st.lists(updates(state, first.layout.width), max_size=2))]
    flat = [np.concatenate(list(read_whole(update).values())) for update in drawn]
    assert compute_dots(state, drawn).tolist() == [[int(a @ b) for b in flat] for a in flat]


def test_dots_of_long_updates_are_exact():
    # More numbers than are read at once, at the edge of what an update holds.
    state = initial_state(Layout((Module("a", 2**17 + 3, 1),), 1, 1), b"", Recipe(encoding="ternary"))
    largest, still = fill_update(state, 2**24), fill_update(state, 0)
    assert compute_dots(state, [largest, still]).tolist() == [[2**48 * (2**17 + 3), 0], [0, 0]]


def test_the_largest_state_and_updates_are_exact():
    edge = np.full(14, -LIMIT, np.int32)
    for step, factor in ((0, "A"), (1, "B")):
        state = replace(initial_state(SMALL, b""), step=step)
        state = replace(state, factors={**state.factors, factor: edge})
        update = fill_update(state, 127 << 18)
        entry = 2 * LIMIT * (127 << 18)  # of the change: rank times both numbers
        assert compute_norm(state, update) == (3 * 5 + 4 * 2) * entry**2


def test_the_norm_counts_in_ones():
    start = initial_state(SMALL, b"", Recipe(encoding="ternary"))
    state = replace(start, factors={**start.factors, "A": np.full(14, ONE, np.int32)})
    # Each entry of dB @ A is rank * 1 * 1, times alpha / rank; the modules are 3 x 5 and 4 x 2.
    assert compute_squared_norm(state, fill_update(state, ONE)) == SMALL.alpha**2 * (15 + 8)


def test_stacked_updates_are_measured_by_what_both_factors_do():
    state = initial_state(SMALL, b"", Recipe("stack"))
    narrow, wide = fill_update(state, 1, width=1), fill_update(state, 1, width=2)
    assert compute_products(state, [narrow, wide]).tolist() == [[23, 46], [46, 92]]


def test_who_takes_all_back_twice_is_as_long_as_that_is_and_not_as_the_change():
    start = initial_state(SMALL, b"", Recipe("separate", encoding="ternary"))
    state = replace(start, factors={factor: np.full(14, 2**20, np.int32) for factor in "AB"})
    twice = fill_update(state, -(2**21))
    assert compute_squared_norm(state, twice) == 0
    assert compute_norm(state, twice) == 28 * 2**42


def test_the_same_update_to_other_weights_has_another_norm():
    norms = []
    for size in (1, 2, 1):
        start = initial_state(SMALL, b"")
        state = replace(start, factors={**start.factors, "A": np.full(14, size, np.int32)})
        norms.append(compute_norm(state, fill_update(state, 1)))
        assert norms[-1] == compute_products(state, [fill_update(state, 1)])[0, 0]
    assert norms == [92, 368, 92]


def test_threads_that_measure_at_once_find_what_one_finds(monkeypatch):
    """The factor that stands still is measured once for all, by whoever comes first; nobody sees half of it."""
    layout, random = Layout(tuple(Module(f"m{number:02}", 3, 2) for number in range(16)), 2, 4), Random(1)
    state = initial_state(layout, b"threads")
    wanted = [compute_products(state, [fill_update(state, size)])[0, 0] for size in range(8)]

    def multiply_slowly(left, right):
        sleep(random.random() / 1000)
        return multiply_exact(left, right)

    monkeypatch.setattr(geometry, "multiply_exact", multiply_slowly)
    fresh = replace(state)
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda size: compute_norm(fresh, fill_update(fresh, size)), range(8))) == wanted
