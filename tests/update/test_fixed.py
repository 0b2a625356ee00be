import hashlib
import struct
from fractions import Fraction
from math import isqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openflock.update.fixed import (
    LIMIT,
    GlobalState,
    Layout,
    Module,
    divide_half_even,
    initial_state,
    to_fixed,
    to_float,
    trained_factor,
)

from .examples import SMALL


@pytest.mark.parametrize("name", ["", "a b", "a\n", "é", "a/b", "x" * 257, '"'])
def test_module_refuses_names_with_more_than_one_spelling(name):
    with pytest.raises(ValueError, match="module name"):
        Module(name, 1, 1)


@pytest.mark.parametrize(("outputs", "inputs"), [(0, 1), (1, 0), (-1, 1), (1, 2**31)])
def test_module_refuses_sizes_out_of_range(outputs, inputs):
    with pytest.raises(ValueError, match="size"):
        Module("a", outputs, inputs)


@pytest.mark.parametrize("names", [[], ["b", "a"], ["a", "a"]])
def test_layout_refuses_modules_unsorted_repeated_or_none(names):
    with pytest.raises(ValueError, match="sorted"):
        Layout(tuple(Module(name, 1, 1) for name in names), rank=1, alpha=1)


@pytest.mark.parametrize(("rank", "alpha"), [(0, 1), (1, 0), (2**31, 1), (1, 2**31)])
def test_layout_refuses_rank_and_alpha_out_of_range(rank, alpha):
    with pytest.raises(ValueError, match="rank and alpha"):
        Layout((Module("a", 1, 1),), rank, alpha)


def test_b_is_trained_first_and_factors_alternate():
    assert [trained_factor(step) for step in range(4)] == ["B", "A", "B", "A"]


def test_initial_state_is_uniform_a_and_zero_b():
    layout = Layout((Module("a", 8, 1000),), rank=64, alpha=64)
    state = initial_state(layout, b"seed")
    bound = isqrt(2**48 // 1000)
    A = state.A["a"]
    assert state.step == 0
    assert not state.B["a"].any()
    assert -bound <= A.min() < -0.999 * bound
    assert 0.999 * bound < A.max() <= bound
    assert abs(A.mean()) < 0.01 * bound
    assert A.std() == pytest.approx(bound / 3**0.5, rel=0.01)


def test_initial_state_agrees_with_its_definition():
    seed, bound = b"seed", isqrt(2**48 // 3)
    tag = b"openflock/initial-A/1" + (4).to_bytes(8, "little") + seed + b"layer.q"
    words = struct.unpack("<6I", hashlib.shake_256(tag).digest(24))
    A = initial_state(Layout((Module("layer.q", 1, 3),), rank=2, alpha=1), seed).A["layer.q"]
    assert A.ravel().tolist() == [word * (2 * bound + 1) // 2**32 - bound for word in words]


def test_initial_state_depends_on_seed_and_module_name():
    layout = Layout((Module("a", 1, 9), Module("b", 1, 9)), rank=1, alpha=1)
    first, second = initial_state(layout, b"1"), initial_state(layout, b"2")
    assert (first.A["a"] != first.A["b"]).any()
    assert (first.A["a"] != second.A["a"]).any()


def test_seed_and_name_are_kept_apart():
    joined = initial_state(Layout((Module("bc", 1, 9),), 1, 1), b"a").A["bc"]
    moved = initial_state(Layout((Module("c", 1, 9),), 1, 1), b"ab").A["c"]
    assert (joined != moved).any()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"step": -1}, "step"),
        ({"A": {}}, "modules of factor A"),
        ({"B": {"a.k": np.zeros((3, 2), np.int32), "a.q": np.zeros((4, 2), np.int64)}}, "a.q of factor B"),
        ({"B": {"a.k": np.zeros((3, 2), np.int32), "a.q": np.zeros((2, 4), np.int32)}}, "a.q of factor B"),
        ({"B": {"a.k": np.full((3, 2), -(2**31), np.int32), "a.q": np.zeros((4, 2), np.int32)}}, "2\\*\\*31"),
    ],
)
def test_state_refuses_what_the_layout_does_not_say(changes, reason):
    good = initial_state(SMALL, b"")
    fields = {"layout": SMALL, "step": 0, "A": good.A, "B": good.B} | changes
    with pytest.raises(ValueError, match=reason):
        GlobalState(**fields)


def test_to_fixed_rounds_half_to_even():
    halves = np.array([0.5, 1.5, 2.5, -0.5, -1.5, 0.49, 0.51]) * 2.0**-24
    assert to_fixed(halves).tolist() == [0, 2, 2, 0, -2, 0, 1]


def test_to_fixed_saturates():
    values = np.array([127.999999999, 128.0, -128.0, 1e300, -1e300])
    assert to_fixed(values).tolist() == [LIMIT, LIMIT, -LIMIT, LIMIT, -LIMIT]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_to_fixed_refuses_what_is_not_finite(value):
    with pytest.raises(ValueError, match="finite"):
        to_fixed(np.array([0.0, value], np.float32))


@given(st.integers(-(2**24), 2**24))
@settings(deadline=None)
def test_floats_hold_24_bits_exactly(n):
    values = np.array([n], np.int32)
    assert to_fixed(to_float(values)) == values


@given(st.integers(-LIMIT, LIMIT))
@settings(deadline=None)
def test_to_float_rounds_once(n):
    [value] = to_float(np.array([n], np.int32))
    assert value.dtype == np.float32
    assert value == np.float32(n * 2.0**-24)  # float64 holds n exactly


@given(st.lists(st.integers(-(2**62), 2**62), min_size=1), st.integers(1, 2**31))
@settings(deadline=None)
def test_divide_half_even_agrees_with_fractions(numerators, denominator):
    quotients = divide_half_even(np.array(numerators, np.int64), denominator)
    assert quotients.tolist() == [round(Fraction(n, denominator)) for n in numerators]


def test_divide_half_even_sends_ties_to_even():
    assert divide_half_even(np.array([-5, -3, -1, 1, 3, 5]), 2).tolist() == [-2, -2, 0, 0, 2, 2]
