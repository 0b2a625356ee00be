from dataclasses import replace

import numpy as np
from hypothesis import given

from openflock.update.adapter import build_tensors
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
    for factor in FACTORS:
        for name, values in state.get_factor(factor).items():
            found = tensors[f"base_model.model.{name}.lora_{factor}.weight"]
            assert found.dtype == np.float32
            assert np.array_equal(found, (values / 2.0**FRACTION_BITS).astype(np.float32))


def test_small_states_survive_the_way_through_floats():
    small = np.full(14, 12_345, np.int32)
    tensors = build_tensors(replace(STATE, factors={**STATE.factors, "B": small}))
    assert (tensors["base_model.model.a.q.lora_B.weight"] * 2**FRACTION_BITS == 12_345).all()
