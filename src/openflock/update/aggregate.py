"""Merge accepted updates into the next state: the same bits in any order, on any machine.

All of it goes piece by piece over the vectors, so memory grows neither with the number of updates nor with the model.
"""

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from openflock.protocol.ports import Blob
from openflock.update import stack
from openflock.update.codec import Update, build_state_header, decode_state, stream_vector, to_bytes
from openflock.update.container import release
from openflock.update.fixed import Factor, GlobalState
from openflock.update.outer import saturate, step_values, step_velocity
from openflock.update.robust import Plan, combine, reduce_weights

_NUMBERS: Final = 320 * 256  # merged at once: whole blocks of every encoding, and they stay in the processor's cache


def stream_candidate(state: GlobalState, updates: Sequence[Update], plan: Plan) -> Iterator[Blob]:
    """Give the next state's bytes in pieces: the merged delta added to what the round trains, the rest as it was."""
    if state.recipe.mode == "stack":
        yield from stack.stream_candidate(state, updates, plan)
        return
    yield build_state_header(state.layout, state.recipe, state.step + 1)
    for factor, vector in state.factors.items():
        yield from _stream_merged(state, updates, plan, factor) if factor in state.trained else stream_vector(vector)
    for factor, vector in state.velocity.items():
        yield from _stream_moved(state, updates, plan, factor) if factor in state.trained else stream_vector(vector)


def compute_candidate(state: GlobalState, updates: Sequence[Update], plan: Plan) -> GlobalState:
    """Compute the next state in memory."""
    return decode_state(b"".join(stream_candidate(state, updates, plan)))


def compute_share(state: GlobalState, update: Update, weight: int, total: int) -> GlobalState:
    """Compute what one update does in a mean of weight `total` in which the others move nothing.

    That is the dose at which it is judged: alone and whole, a specialist's update harms what its share does not.
    Neither clip nor outer optimizer has a part in it. What the round leaves alone is shared with the state, not copied.
    """
    shares = reduce_weights([weight, total - weight] if weight < total else [1])
    plan = Plan((tuple(shares[:1]),), sum(shares))
    if state.recipe.mode == "stack":
        return stack.append(state, [update], plan)
    moved = {factor: np.empty_like(state.factors[factor]) for factor in state.trained}
    for factor, vector in moved.items():
        for piece, delta in _iterate_deltas([update], plan, factor, vector.size):
            vector[piece] = saturate(state.factors[factor][piece] + delta)
    return GlobalState(state.layout, state.recipe, state.step + 1, {**state.factors, **moved}, state.velocity)


def _stream_merged(state: GlobalState, updates: Sequence[Update], plan: Plan, factor: Factor) -> Iterator[Blob]:
    values, velocity = state.factors[factor], state.velocity.get(factor)
    for piece, delta in _iterate_deltas(updates, plan, factor, values.size):
        speed = None if velocity is None else step_velocity(state.recipe, velocity[piece], delta)
        yield to_bytes(step_values(state.recipe, values[piece], speed, delta))
        release(values, 4 * piece.start, 4 * piece.stop)


def _stream_moved(state: GlobalState, updates: Sequence[Update], plan: Plan, factor: Factor) -> Iterator[Blob]:
    velocity = state.velocity[factor]
    for piece, delta in _iterate_deltas(updates, plan, factor, velocity.size):
        yield to_bytes(step_velocity(state.recipe, velocity[piece], delta))


def _iterate_deltas(
    updates: Sequence[Update], plan: Plan, factor: Factor, size: int
) -> Iterator[tuple[slice, NDArray[np.float64]]]:
    """Merge piece by piece; the deltas are integers in units of 2**-24."""
    for start in range(0, size, _NUMBERS):
        piece = slice(start, min(start + _NUMBERS, size))
        yield piece, combine(plan, np.stack([update.read(factor, piece.start, piece.stop) for update in updates]))
