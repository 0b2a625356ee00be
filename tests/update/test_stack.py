from fractions import Fraction
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openflock.protocol.recipe import Recipe
from openflock.update.aggregate import compute_candidate, stream_candidate
from openflock.update.codec import decode_state, encode_state, get_digest
from openflock.update.fixed import FACTORS, initial_state
from openflock.update.plan import Plan
from openflock.update.stack import append

from .examples import SMALL, fill_update, plan_mean, read_matrices, recipes, stakes, states_with_updates

STACK = recipes(modes=("stack",))
START = initial_state(SMALL, b"", Recipe("stack"))


def list_shares(plan):
    return [Fraction(share, plan.divisor) for share in plan.rows[0]]


def multiply(state):
    """Form every module's effective change, in units of 2**-48, from Python integers."""
    B, A = ([matrix.astype(object) for matrix in state.get_factor(factor).values()] for factor in ("B", "A"))
    return [b @ a for b, a in zip(B, A, strict=True)]


@given(states_with_updates(wanted=STACK), st.data())
@settings(max_examples=60)
def test_components_are_appended_and_only_b_is_scaled_and_rounded(case, data):
    state, drawn = case
    plan = plan_mean(state.recipe, data.draw(st.lists(stakes, min_size=len(drawn), max_size=len(drawn))))
    candidate = compute_candidate(state, drawn, plan)
    for index in range(len(state.layout.modules)):
        old, new = ({f: list(each.get_factor(f).values())[index] for f in FACTORS} for each in (state, candidate))
        rows = [row for update in drawn for row in read_matrices(update, "A")[index].tolist()]
        assert new["A"].tolist() == old["A"].tolist() + rows
        columns = [
            [round(share * n) for n in column]
            for update, share in zip(drawn, list_shares(plan), strict=True)
            for column in read_matrices(update, "B")[index].T.tolist()
        ]
        assert new["B"].T.tolist() == old["B"].T.tolist() + columns


@given(states_with_updates(wanted=STACK), st.data())
@settings(max_examples=30)
def test_the_weights_move_by_the_mean_of_the_changes_but_for_half_a_unit_of_b(case, data):
    state, drawn = case
    plan = plan_mean(state.recipe, data.draw(st.lists(stakes, min_size=len(drawn), max_size=len(drawn))))
    after, before = multiply(compute_candidate(state, drawn, plan)), multiply(state)
    factors = [(read_matrices(update, "B"), read_matrices(update, "A")) for update in drawn]
    for index, (new, old) in enumerate(zip(after, before, strict=True)):
        wanted, bound = old, 0
        for (B, A), share in zip(factors, list_shares(plan), strict=True):
            wanted = wanted + share * (B[index] @ A[index])
            bound = bound + Fraction(1, 2) * np.abs(A[index]).sum(axis=0)
        assert (np.abs(new - wanted) <= bound).all()


@given(states_with_updates(wanted=STACK))
@settings(max_examples=30)
def test_a_state_grows_by_the_widths_of_what_is_merged(case):
    state, drawn = case
    candidate = compute_candidate(state, drawn, plan_mean(state.recipe, [1] * len(drawn)))
    assert candidate.layout == state.layout.resize(state.layout.width + sum(update.layout.width for update in drawn))
    assert (candidate.step, candidate.recipe) == (state.step + 1, state.recipe)


@given(states_with_updates(wanted=STACK))
@settings(max_examples=30)
def test_the_stream_is_the_candidate_s_bytes(case):
    state, drawn = case
    plan = plan_mean(state.recipe, [1] * len(drawn))
    blob = b"".join(stream_candidate(state, drawn, plan))
    assert blob == encode_state(append(state, drawn, plan)) == encode_state(decode_state(blob))


def test_every_order_is_another_state_of_the_same_weights():
    drawn = [fill_update(START, value, width=width) for value, width in ((1, 1), (20, 2), (127, 1))]
    states = [append(START, order, Plan(((1, 1, 1),), 3)) for order in permutations(drawn)]
    assert len({get_digest(state) for state in states}) == 6
    weights = [[change.tolist() for change in multiply(state)] for state in states]
    assert all(each == weights[0] for each in weights)


def test_ties_go_to_even_and_the_largest_numbers_are_exact():
    for value, weights, wanted in [(1, (1, 1), 0), (3, (1, 1), 2), (127 << 18, (2**25 - 1, 1), (127 << 18) - 1)]:
        plan = plan_mean(START.recipe, weights)
        state = append(START, [fill_update(START, value, width=1)] * 2, plan)
        assert state.get_factor("B")["a.k"][:, 0].tolist() == [wanted] * 3
        assert state.get_factor("A")["a.k"][0].tolist() == [value] * 5


@pytest.mark.parametrize("count", [2, 5])
def test_a_task_of_many_rounds_adds_all_of_them_up(count):
    state = START
    for value in range(1, count + 1):
        state = append(state, [fill_update(state, value)], Plan(((1,),), 1))
    total = sum(value**2 for value in range(1, count + 1))
    assert [change.tolist() for change in multiply(state)] == [[[2 * total] * 5] * 3, [[2 * total] * 2] * 4]
