from dataclasses import replace
from math import isqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openflock.arena.attacks import scale_delta
from openflock.node.proposer import MAX_DELTA, Proposer, compute_delta, fit_ceiling, quantize_delta
from openflock.update.admission import Inadmissible, check_admission, squared_norm
from openflock.update.codec import digest, encode_state, encode_update, expand
from openflock.update.fixed import GlobalState, Layout, Module, initial_state, to_fixed, to_float

from .helpers import SHORT, get_model, get_rows

LAYOUT = Layout((Module("a.k", 6, 5), Module("a.q", 4, 3)), rank=2, alpha=4)
START = initial_state(LAYOUT, b"seed")


def draw_delta(seed, size, factor="B"):
    chance = np.random.default_rng(seed)
    shapes = LAYOUT.compute_shapes(factor)
    return {name: chance.integers(-size, size, shape, endpoint=True) for name, shape in shapes.items()}


def flatten(arrays):
    return np.concatenate([array.ravel() for array in arrays]).astype(float)


def measure(update):
    """The norm that admission compares, in its units, rounded up."""
    return isqrt(int(squared_norm(START, update) * 4**16)) + 1


def test_an_update_under_the_ceiling_is_left_as_it_is():
    delta = draw_delta(1, 1000)
    fitted, plain = fit_ceiling(START, delta, 2**40), quantize_delta(START, delta)
    assert encode_update(LAYOUT, fitted) == encode_update(LAYOUT, plain)


@pytest.mark.parametrize("share", [2, 10, 1000])
def test_a_large_honest_update_comes_under_the_ceiling_and_keeps_its_direction(share):
    delta = draw_delta(2, 2**26)
    ceiling = measure(quantize_delta(START, delta)) // share
    update = fit_ceiling(START, delta, ceiling)
    check_admission(START, encode_update(LAYOUT, update), ceiling)
    assert measure(update) > 0.9 * ceiling
    before, after = flatten(delta.values()), flatten(expand(rows) for rows in update.rows.values())
    assert before @ after / np.sqrt((before @ before) * (after @ after)) > 0.999


@given(st.integers(0, 2**32), st.integers(1, 33), st.integers(1, 2**30))
@settings(max_examples=60)
def test_any_delta_is_admissible_at_any_ceiling(seed, bits, ceiling):
    update = fit_ceiling(START, draw_delta(seed, 2**bits), ceiling)
    check_admission(START, encode_update(LAYOUT, update), ceiling)


@pytest.mark.parametrize("ceiling", [1, 2, 3, 100])
def test_a_tiny_ceiling_ends_at_an_update_that_fits(ceiling):
    update = fit_ceiling(START, draw_delta(3, 2**31), ceiling)
    check_admission(START, encode_update(LAYOUT, update), ceiling)


def test_the_other_factor_is_fitted_as_well():
    ones = {name: array * 0 + (1 << 24) for name, array in START.B.items()}
    state = GlobalState(LAYOUT, 1, START.A, ones)
    update = fit_ceiling(state, draw_delta(4, 2**28, "A"), 2**10)
    assert update.factor == "A"
    check_admission(state, encode_update(LAYOUT, update), 2**10)


def test_a_delta_beyond_what_an_update_holds_saturates():
    delta = {name: rows * 0 + 2**40 for name, rows in draw_delta(5, 1).items()}
    update = quantize_delta(START, delta)
    assert all((expand(rows) == MAX_DELTA).all() for rows in update.rows.values())


def test_what_did_not_move_is_no_part_of_the_delta():
    # 2**30 + 1 does not fit float32: taken exactly, the rounding would look like training.
    state = GlobalState(LAYOUT, 0, START.A, {name: array + (2**30 + 1) for name, array in START.B.items()})
    seen = {name: to_float(array) for name, array in state.B.items()}
    assert not any(rows.any() for rows in compute_delta(state, seen).values())
    moved = {name: array + np.float32(1) for name, array in seen.items()}
    wanted = {name: to_fixed(moved[name]).astype(np.int64) - to_fixed(seen[name]) for name in seen}
    assert all((compute_delta(state, moved)[name] == wanted[name]).all() for name in seen)


# --- With a model --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def state():
    return initial_state(get_model().layout, b"proposer")


@pytest.fixture
def proposer():
    return Proposer(get_rows(0), SHORT)


def test_training_gives_an_admissible_update_of_the_state(proposer, state):
    update = check_admission(state, proposer.make_update(get_model(), state, 1 << 20, seed=1), 1 << 20)
    assert update.parent == digest(encode_state(state))
    assert any(rows.q.any() for rows in update.rows.values())


def test_the_same_seed_gives_the_same_bytes_and_another_gives_others(proposer, state):
    one, same, other = (proposer.make_update(get_model(), state, 1 << 20, seed) for seed in (1, 1, 2))
    assert one == same != other


def test_a_low_ceiling_makes_no_honest_node_inadmissible(proposer, state):
    with pytest.raises(Inadmissible, match="norm"):
        check_admission(state, proposer.make_update(get_model(), state, 1 << 20, 1), 500)
    check_admission(state, proposer.make_update(get_model(), state, 500, 1), 500)


def test_an_attackers_tampering_is_applied_after_all_care(proposer, state):
    attacker = replace(proposer, tamper=scale_delta(3000))
    with pytest.raises(Inadmissible, match="norm"):
        check_admission(state, attacker.make_update(get_model(), state, 1 << 20, 1), 1 << 20)


@pytest.mark.parametrize("factor", [1, 10**6, 10**9])
def test_tampering_of_any_size_still_makes_an_update(proposer, state, factor):
    attacker = replace(proposer, tamper=scale_delta(factor))
    check_admission(state, attacker.make_update(get_model(), state, 1 << 20, 1), 2**60)


def test_steps_are_reported_and_no_checkpoint_is_left(proposer, state, tmp_path):
    seen = []
    watched = replace(proposer, checkpoints=tmp_path / "c", on_step=lambda step, loss: seen.append(step))
    assert watched.make_update(get_model(), state, 1 << 20, 1) == proposer.make_update(get_model(), state, 1 << 20, 1)
    assert seen == [1, 2]
    assert list(tmp_path.rglob("*.safetensors")) == []
