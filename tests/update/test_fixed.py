import hashlib
import struct
from dataclasses import replace
from math import isqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openflock.protocol.recipe import Recipe
from openflock.update.fixed import FACTORS, LIMIT, PIECE, Layout, Module, initial_state, to_fixed, to_float

from .examples import SMALL, layouts, states


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


@pytest.mark.parametrize("width", [-2, 2**31])
def test_layout_refuses_widths_out_of_range(width):
    with pytest.raises(ValueError, match="width"):
        SMALL.resize(width)


def test_a_layout_is_as_wide_as_its_rank_unless_it_is_resized():
    assert SMALL.width == SMALL.rank == 2
    wide = SMALL.resize(7)
    assert (wide.rank, wide.alpha, wide.modules) == (2, 8, SMALL.modules)
    assert wide.compute_shapes("A") == {"a.k": (7, 5), "a.q": (7, 2)}
    assert wide.compute_shapes("B") == {"a.k": (3, 7), "a.q": (4, 7)}
    assert [wide.compute_size(factor) for factor in FACTORS] == [49, 49]
    assert wide.list_spans("A") == [(0, 7, 5), (35, 7, 2)]
    assert SMALL.resize(0).compute_size("A") == 0


@given(layouts(), st.sampled_from(FACTORS))
def test_what_is_split_is_joined_again(layout, factor):
    vector = np.arange(layout.compute_size(factor))
    matrices = layout.split(factor, vector)
    assert {name: matrix.shape for name, matrix in matrices.items()} == layout.compute_shapes(factor)
    assert layout.join(factor, dict(reversed(matrices.items()))).tolist() == vector.tolist()


@pytest.mark.parametrize(
    "matrices",
    [{}, {"a.k": np.zeros((2, 5))}, {"a.k": np.zeros((2, 5)), "a.q": np.zeros((4, 1))}],
)
def test_what_is_not_the_layouts_is_not_joined(matrices):
    with pytest.raises(ValueError, match="factor A"):
        SMALL.join("A", matrices)


@pytest.mark.parametrize(("mode", "trained"), [("alternate", "BABA"), ("ffa", "BBBB")])
def test_b_is_trained_first_and_then_what_the_mode_says(mode, trained):
    start = initial_state(SMALL, b"", Recipe(mode))
    assert [replace(start, step=step).trained for step in range(4)] == [(factor,) for factor in trained]


def test_both_factors_are_trained_where_updates_are_stacked():
    start = initial_state(SMALL, b"", Recipe("stack"))
    assert [replace(start, step=step).trained for step in range(2)] == [("A", "B")] * 2


# --- The initial state ---------------------------------------------------------------------------------------


def test_initial_state_is_uniform_a_and_zero_b():
    layout = Layout((Module("a", 8, 1000),), rank=64, alpha=64)
    state = initial_state(layout, b"seed")
    bound = isqrt(2**48 // 1000)
    A = state.factors["A"]
    assert state.step == 0
    assert not state.factors["B"].any()
    assert -bound <= A.min() < -0.999 * bound
    assert 0.999 * bound < A.max() <= bound
    assert abs(A.mean()) < 0.01 * bound
    assert A.std() == pytest.approx(bound / 3**0.5, rel=0.01)


def test_initial_state_agrees_with_its_definition():
    seed, bound = b"seed", isqrt(2**48 // 3)
    tag = b"openflock/initial-A/1" + (4).to_bytes(8, "little") + seed + b"layer.q"
    words = struct.unpack("<6I", hashlib.shake_256(tag).digest(24))
    A = initial_state(Layout((Module("layer.q", 1, 3),), rank=2, alpha=1), seed).factors["A"]
    assert A.tolist() == [word * (2 * bound + 1) // 2**32 - bound for word in words]


def expand_nine(name, seed):
    return initial_state(Layout((Module(name, 1, 9),), 1, 1), seed).factors["A"]


def test_initial_state_depends_on_seed_and_module_name():
    assert (expand_nine("a", b"1") != expand_nine("b", b"1")).any()
    assert (expand_nine("a", b"1") != expand_nine("a", b"2")).any()


def test_seed_and_name_are_kept_apart():
    assert (expand_nine("bc", b"a") != expand_nine("c", b"ab")).any()


def test_each_module_is_expanded_by_itself():
    pair = initial_state(Layout((Module("a", 1, 9), Module("b", 1, 9)), 1, 1), b"1")
    assert pair.factors["A"].tolist() == [*expand_nine("a", b"1"), *expand_nine("b", b"1")]


def test_a_stacked_state_begins_with_no_components():
    state = initial_state(SMALL, b"seed", Recipe("stack"))
    assert (state.layout.width, state.layout.rank) == (0, 2)
    assert [state.factors[factor].size for factor in FACTORS] == [0, 0]
    assert state.get_factor("B")["a.k"].shape == (3, 0)


@pytest.mark.parametrize("optimizer", ["momentum", "nesterov"])
def test_velocity_begins_at_zero(optimizer):
    state = initial_state(SMALL, b"seed", Recipe(optimizer=optimizer))
    assert {factor: vector.tolist() for factor, vector in state.velocity.items()} == {"A": [0] * 14, "B": [0] * 14}
    assert initial_state(SMALL, b"seed").velocity == {}


def test_adam_has_a_second_moment_as_well_and_counts_its_steps_by_factor():
    state = initial_state(SMALL, b"seed", Recipe(optimizer="adam", rate=131))
    assert {factor: vector.tolist() for factor, vector in state.rms.items()} == {"A": [0] * 14, "B": [0] * 14}
    assert [replace(state, step=step).count for step in range(5)] == [1, 1, 2, 2, 3]
    both = initial_state(SMALL, b"seed", Recipe("separate", optimizer="adam", rate=131))
    assert [replace(both, step=step).count for step in range(3)] == [1, 2, 3]
    assert both.trained == FACTORS


# --- What a state is -----------------------------------------------------------------------------------------

ZEROS = np.zeros(14, np.int32)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"step": -1}, "step"),
        ({"step": 2**31}, "step"),
        ({"layout": SMALL.resize(1)}, "width differs"),
        ({"factors": {}}, "recipe"),
        ({"factors": {"A": ZEROS}}, "recipe"),
        ({"velocity": {"A": ZEROS, "B": ZEROS}}, "recipe"),
        ({"recipe": Recipe(optimizer="momentum")}, "recipe"),
        ({"recipe": Recipe(optimizer="momentum"), "velocity": {"A": ZEROS}}, "recipe"),
        ({"recipe": Recipe(optimizer="adam", rate=131), "velocity": {"A": ZEROS, "B": ZEROS}}, "recipe"),
        ({"rms": {"A": ZEROS, "B": ZEROS}}, "recipe"),
        ({"factors": {"A": ZEROS, "B": ZEROS.astype(np.int64)}}, "factor B is not"),
        ({"factors": {"A": ZEROS, "B": ZEROS.reshape(7, 2)}}, "factor B is not"),
        ({"factors": {"A": ZEROS[:-1], "B": ZEROS}}, "factor A is not"),
        ({"factors": {"A": ZEROS, "B": np.full(14, -LIMIT - 1, np.int32)}}, r"2\*\*31"),
        (
            {"recipe": Recipe(optimizer="nesterov"), "velocity": {"A": ZEROS, "B": np.full(14, -LIMIT - 1, np.int32)}},
            r"2\*\*31",
        ),
    ],
)
def test_state_refuses_what_layout_and_recipe_do_not_say(changes, reason):
    with pytest.raises(ValueError, match=reason):
        replace(initial_state(SMALL, b""), **changes)


def test_all_of_a_large_vector_is_looked_at():
    start = initial_state(Layout((Module("a", PIECE + 1, 1),), 1, 1), b"")
    large = start.factors["B"].copy()
    large[-1] = -LIMIT - 1
    with pytest.raises(ValueError, match=r"2\*\*31"):
        replace(start, factors={**start.factors, "B": large})


@given(states())
def test_a_factor_is_its_modules_matrices_one_after_another(state):
    for factor in FACTORS:
        matrices = state.get_factor(factor)
        assert list(matrices) == [module.name for module in state.layout.modules]
        assert [n for matrix in matrices.values() for n in matrix.ravel()] == state.factors[factor].tolist()


# --- Floats --------------------------------------------------------------------------------------------------


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
def test_floats_hold_24_bits_exactly(n):
    values = np.array([n], np.int32)
    assert to_fixed(to_float(values)) == values


@given(st.integers(-LIMIT, LIMIT))
def test_to_float_rounds_once(n):
    [value] = to_float(np.array([n], np.int32))
    assert value.dtype == np.float32
    assert value == np.float32(n * 2.0**-24)  # float64 holds n exactly
