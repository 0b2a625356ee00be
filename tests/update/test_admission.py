import pickle
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings

from openflock.protocol.recipe import Recipe
from openflock.update.admission import Inadmissible, check_admission, compute_squared_size
from openflock.update.codec import encode_update, make_update, max_update_size
from openflock.update.fixed import FRACTION_BITS, initial_state
from openflock.update.geometry import compute_squared_norm

from .examples import SMALL, fill_update, states_with_updates

CEILING = 2**40
STATE = initial_state(SMALL, b"seed")


def fill_factor(state, factor, value):
    return replace(state, factors={**state.factors, factor: np.full(14, value, np.int32)})


@given(states_with_updates(max_updates=1))
@settings(max_examples=50)
def test_any_legal_update_within_the_ceiling_is_admitted_and_none_beyond(case):
    state, [update] = case
    square = compute_squared_size(state, update) * 4**16
    ceiling = 1
    while ceiling**2 < square:
        ceiling *= 2
    blob = encode_update(update)
    assert encode_update(check_admission(state, blob, ceiling)) == blob
    if ceiling > 1:
        with pytest.raises(Inadmissible, match="norm"):
            check_admission(state, blob, ceiling // 2 - (ceiling**2 == 4 * square))


def test_the_ceiling_is_exact():
    # One in 2**-24 fits no level of int8; as a ternary level it does.
    state = fill_factor(initial_state(SMALL, b"", Recipe(encoding="ternary")), "A", 2**FRACTION_BITS)
    blob = encode_update(fill_update(state, 2**FRACTION_BITS))
    norm = 8 * 23**0.5  # sqrt(1472) = 38.36..., irrational: it lies between two ceilings
    check_admission(state, blob, int(norm * 2**16) + 1)
    with pytest.raises(Inadmissible, match="norm"):
        check_admission(state, blob, int(norm * 2**16))


def test_a_norm_equal_to_the_ceiling_is_admitted():
    quarter = 2 ** (FRACTION_BITS - 2)
    state = replace(fill_factor(STATE, "B", 2 * quarter), step=1)
    delta = np.zeros(14, np.int64)
    delta[10] = quarter  # one entry of 1/4 in a.q: four outputs change by alpha / rank / 8 = 1/2
    update = make_update(state, {"A": delta})
    assert compute_squared_norm(state, update) == 1
    check_admission(state, encode_update(update), 2**16)
    with pytest.raises(Inadmissible, match="norm"):
        check_admission(state, encode_update(update), 2**16 - 1)


def test_nothing_is_within_a_ceiling_of_zero_but_zero():
    check_admission(STATE, encode_update(fill_update(STATE, 0)), 0)
    with pytest.raises(Inadmissible, match="norm"):
        check_admission(STATE, encode_update(fill_update(STATE, 1)), 0)


def test_stacked_updates_are_held_to_the_norm_of_both_factors():
    state = initial_state(SMALL, b"", Recipe("stack"))
    blob = encode_update(fill_update(state, 64 << 14, width=1))  # 2**-4 in each: 23 entries of 4 * 2**-8
    check_admission(state, blob, int(23**0.5 * 2**10) + 1)
    with pytest.raises(Inadmissible, match="norm"):
        check_admission(state, blob, int(23**0.5 * 2**10))


GOOD = encode_update(fill_update(STATE, 1))


@pytest.mark.parametrize(
    ("blob", "reason"),
    [
        (b"\0" * (max_update_size(STATE) + 1), "over the"),
        (b"", "truncated"),
        (pickle.dumps([1, 2, 3, 4]), "pickle"),
        (encode_update(fill_update(initial_state(SMALL, b"other"), 1)), "parent"),
        (encode_update(fill_update(replace(STATE, step=1), 1)), "unexpected tensor"),
        (GOOD[:-2] + b"\x80" + GOOD[-1:], "means nothing"),
        (GOOD[:-1] + b"\1", "not minimal"),
        (GOOD[:-2] + b"\1" + GOOD[-1:], "not filled up"),
    ],
)
def test_what_any_voter_can_refute_is_inadmissible(blob, reason):
    with pytest.raises(Inadmissible, match=reason):
        check_admission(STATE, blob, CEILING)


@pytest.mark.parametrize(("step", "frozen"), [(0, "A"), (1, "B")])
def test_a_large_delta_is_refused_though_the_frozen_factor_is_zero(step, frozen):
    state = replace(fill_factor(STATE, frozen, 0), step=step)
    large = fill_update(state, 127 << 18)
    assert compute_squared_norm(state, large) == 0
    reach = 14 * (127 / 64) ** 2 * (8 / 2) ** 2 / 3  # of 14 numbers, beside components of squared norm 1/3
    check_admission(state, encode_update(large), int(reach**0.5 * 2**16) + 1)
    with pytest.raises(Inadmissible, match="norm"):
        check_admission(state, encode_update(large), int(reach**0.5 * 2**16))
