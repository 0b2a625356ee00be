from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from openflock.learn.base import BaseError, load_base
from openflock.learn.model import Model, load_model
from openflock.update.fixed import FACTORS, Layout, initial_state, to_float


def test_the_layout_names_every_linear_layer_as_the_base_does(model):
    names = [module.name for module in model.layout.modules]
    assert len(names) == 4 * 7
    assert "model.layers.0.self_attn.q_proj" in names
    assert not any("lm_head" in name or "base_layer" in name for name in names)
    down = next(module for module in model.layout.modules if module.name == "model.layers.3.mlp.down_proj")
    assert (down.outputs, down.inputs) == (128, 352)


def draw_state(model, seed, step=0, limit=2**31):
    fresh = initial_state(model.layout, seed)
    drawn = np.random.default_rng(step).integers(-limit + 1, limit, fresh.factors["B"].shape).astype(np.int32)
    return replace(fresh, step=step, factors={"A": fresh.factors["A"], "B": drawn})


def is_loaded(model, state):
    return all(
        np.array_equal(model.read_factor(factor)[name], to_float(values))
        for factor in FACTORS
        for name, values in state.get_factor(factor).items()
    )


@given(seed=st.binary(max_size=8), step=st.integers(0, 3))
def test_a_loaded_state_reads_back_as_the_same_floats(model, seed, step):
    state = draw_state(model, seed, step)
    model.load_state(state)
    assert is_loaded(model, state)
    assert {values.dtype for values in model.read_factor("B").values()} == {np.dtype(np.float32)}


def test_a_factor_is_copied_only_where_it_is_not_there_already(model, monkeypatch):
    written = []
    write = type(model).write_factor
    monkeypatch.setattr(type(model), "write_factor", lambda self, *args: (written.append(args[0]), write(self, *args)))
    first, other = draw_state(model, b"first"), initial_state(model.layout, b"other")
    second = replace(first, factors={**first.factors, "B": draw_state(model, b"second", 1).factors["B"]})
    for state, copied in [(other, None), (first, "AB"), (second, "B"), (second, ""), (first, "B")]:
        written.clear()
        model.load_state(state)
        assert copied is None or "".join(written) == copied
        assert is_loaded(model, state)
    # What anything else changed in place is copied anew.
    with torch.no_grad():
        model.get_parameters("A")[model.layout.modules[0].name].mul_(2)
    assert not is_loaded(model, first)
    model.load_state(first)
    assert is_loaded(model, first)


def test_what_was_read_does_not_change_when_another_state_is_loaded(model, start):
    model.load_state(start)
    read = model.read_factor("A")
    kept = {name: array.copy() for name, array in read.items()}
    model.load_state(initial_state(model.layout, b"another"))
    assert all(np.array_equal(read[name], kept[name]) for name in kept)


def test_gradients_flow_to_one_factor_only(model):
    for factor, other in (("A", "B"), ("B", "A")):
        parameters = model.trainable(factor)
        assert set(parameters) == {f"{factor}.{module.name}" for module in model.layout.modules}
        assert all(parameter.requires_grad for parameter in parameters.values())
        assert not any(parameter.requires_grad for parameter in model.get_parameters(other).values())
        trained = sum(parameter.requires_grad for parameter in model.network.parameters())
        assert trained == len(parameters) == len(model.layout.modules)


def test_a_state_of_another_layout_is_refused(model):
    layout = Layout(model.layout.modules, model.layout.rank, model.layout.alpha + 1)
    with pytest.raises(BaseError, match="the state is for other modules, rank or alpha"):
        model.load_state(initial_state(layout, b"seed"))


def test_named_targets_rank_and_alpha_are_kept_and_a_base_serves_one_model(base_path):
    base = load_base(base_path)
    model = Model(base, rank=4, alpha=4, targets=("q_proj", "v_proj"))
    assert len(model.layout.modules) == 4 * 2
    assert (model.layout.rank, model.layout.alpha) == (4, 4)
    with pytest.raises(BaseError, match="carries an adapter already"):
        Model(base)
    with pytest.raises(BaseError, match=r"no adapter for .*name linear layers"):
        load_model(base_path, targets=("nothing",))
