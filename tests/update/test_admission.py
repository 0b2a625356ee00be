import pickle
from fractions import Fraction

import pytest
from hypothesis import given, settings

from openflock.update.admission import Inadmissible, check_admission, squared_norm
from openflock.update.codec import (
    digest,
    encode_state,
    encode_update,
    expand,
    max_update_size,
)
from openflock.update.fixed import FRACTION_BITS, GlobalState, initial_state

from .examples import PARENT, SMALL, make_update, states_with_updates

CEILING = 2**40
STATE = initial_state(SMALL, b"seed")
HERE = digest(encode_state(STATE))


def multiply_by_hand(state, update):
    """Sum the squares of every entry of the product, in exact fractions."""
    total = 0
    for name, rows in update.rows.items():
        delta = expand(rows).astype(object)
        A, B = state.A[name].astype(object), state.B[name].astype(object)
        product = delta @ A if update.factor == "B" else B @ delta
        total += int((product**2).sum())
    return Fraction(state.layout.alpha, state.layout.rank) ** 2 * Fraction(total, 2 ** (4 * FRACTION_BITS))


@given(states_with_updates(max_updates=1))
@settings(deadline=None)
def test_squared_norm_agrees_with_the_product(case):
    state, [update] = case
    assert squared_norm(state, update) == multiply_by_hand(state, update)


def test_squared_norm_counts_in_ones():
    one = 2**FRACTION_BITS
    ones = {name: array * 0 + one for name, array in STATE.A.items()}
    state = GlobalState(SMALL, 0, ones, STATE.B)
    update = make_update(SMALL, "B", one)
    # Each entry of dB @ A is rank * 1 * 1, times alpha / rank; the modules are 3 x 5 and 4 x 2.
    assert squared_norm(state, update) == SMALL.alpha**2 * (15 + 8)


def test_an_honest_update_is_admitted():
    update = make_update(SMALL, "B", 1000, HERE)
    admitted = check_admission(STATE, encode_update(SMALL, update), CEILING)
    assert encode_update(SMALL, admitted) == encode_update(SMALL, update)


def test_the_ceiling_is_exact():
    one = 2**FRACTION_BITS
    ones = {name: array * 0 + one for name, array in STATE.A.items()}
    state = GlobalState(SMALL, 0, ones, STATE.B)
    blob = encode_update(SMALL, make_update(SMALL, "B", one, digest(encode_state(state))))
    norm = 8 * 23**0.5  # sqrt(1472) = 38.36..., irrational: it lies between two ceilings
    check_admission(state, blob, int(norm * 2**16) + 1)
    with pytest.raises(Inadmissible, match="norm"):
        check_admission(state, blob, int(norm * 2**16))


def test_a_norm_equal_to_the_ceiling_is_admitted():
    quarter = 2 ** (FRACTION_BITS - 2)
    state = GlobalState(SMALL, 1, STATE.A, {name: array * 0 + quarter for name, array in STATE.B.items()})
    update = make_update(SMALL, "A", 0, digest(encode_state(state)))
    update.rows["a.q"].q[0, 0] = 64
    update.rows["a.q"].exponent[0] = 16  # one entry of 1/4: four outputs change by alpha / rank / 16 = 1/4
    blob = encode_update(SMALL, update)
    assert squared_norm(state, update) == Fraction(1, 4)
    check_admission(state, blob, 2**15)
    with pytest.raises(Inadmissible, match="norm"):
        check_admission(state, blob, 2**15 - 1)


def test_nothing_is_within_a_ceiling_of_zero_but_zero():
    check_admission(STATE, encode_update(SMALL, make_update(SMALL, "B", 0, HERE)), 0)
    with pytest.raises(Inadmissible, match="norm"):
        check_admission(STATE, encode_update(SMALL, make_update(SMALL, "B", 1, HERE)), 0)


@pytest.mark.parametrize(
    ("blob", "reason"),
    [
        (b"\0" * (max_update_size(SMALL) + 1), "over the"),
        (b"", "truncated"),
        (pickle.dumps([1, 2, 3, 4]), "pickle"),
        (encode_update(SMALL, make_update(SMALL, "B", 1, PARENT)), "parent"),
        (encode_update(SMALL, make_update(SMALL, "A", 1, HERE)), "factor"),
        (encode_update(SMALL, make_update(SMALL, "B", 1, HERE))[:-1] + b"\x80", "-128"),
    ],
)
def test_what_any_voter_can_refute_is_inadmissible(blob, reason):
    with pytest.raises(Inadmissible, match=reason):
        check_admission(STATE, blob, CEILING)
