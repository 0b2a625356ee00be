from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given

from openflock.protocol.recipe import Recipe
from openflock.update.adapter import build_tensors, compute_strength
from openflock.update.fixed import FACTORS, FRACTION_BITS, initial_state

from .examples import SMALL, states

STATE = initial_state(SMALL, b"adapter")


def test_tensors_have_the_names_and_shapes_that_peft_reads():
    shapes = {name: tensor.shape for name, tensor in build_tensors(STATE).items()}
    assert shapes == {
        "base_model.model.a.k.lora_A.weight": (2, 5),
        "base_model.model.a.k.lora_B.weight": (3, 2),
        "base_model.model.a.q.lora_A.weight": (2, 2),
        "base_model.model.a.q.lora_B.weight": (4, 2),
    }


@given(states())
def test_values_are_the_states_in_ones(state):
    tensors = build_tensors(state)
    assert len(tensors) == 2 * len(state.layout.modules)
    if state.layout.width == 0:
        assert not any(tensor.any() for tensor in tensors.values())
        return
    for factor in FACTORS:
        for name, values in state.get_factor(factor).items():
            found = tensors[f"base_model.model.{name}.lora_{factor}.weight"]
            assert found.dtype == np.float32
            assert np.array_equal(found, (values / 2.0**FRACTION_BITS).astype(np.float32))


def test_small_states_survive_the_way_through_floats():
    small = np.full(14, 12_345, np.int32)
    tensors = build_tensors(replace(STATE, factors={**STATE.factors, "B": small}))
    assert (tensors["base_model.model.a.q.lora_B.weight"] * 2**FRACTION_BITS == 12_345).all()


@given(states())
def test_peft_applies_the_components_at_the_state_s_scale(state):
    r, lora_alpha = compute_strength(state.layout)
    assert lora_alpha / r == pytest.approx(state.layout.alpha / state.layout.rank, rel=1e-15)
    for name, tensor in build_tensors(state).items():
        assert tensor.shape[0 if "lora_A" in name else 1] == r


def test_a_stack_without_components_is_one_of_zeros():
    state = initial_state(SMALL, b"", Recipe("stack"))
    assert compute_strength(state.layout) == (1, 4)
    assert {tensor.size for tensor in build_tensors(state).values()} == {5, 3, 2, 4}
