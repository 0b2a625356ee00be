"""Merge accepted updates into the next state: the same bits in any order, on any machine.

All of it goes piece by piece over the vectors, so memory grows neither with the number of updates nor with the model.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray

from openflock.protocol.ports import Blob
from openflock.protocol.recipe import compute_rate
from openflock.update import stack
from openflock.update.ahead import map_ahead
from openflock.update.codec import Update, build_state_header, decode_state, stream_vector, to_bytes
from openflock.update.compress import FORMS, expand
from openflock.update.container import release
from openflock.update.fixed import Factor, GlobalState, Vector, list_vectors
from openflock.update.outer import Numbers, step_alone, step_rms, step_values, step_velocity
from openflock.update.plan import AnyPlan, Plan, combine
from openflock.update.robust import reduce_weights

_UNIT: Final = 320  # numbers; a whole number of blocks in every encoding
_TOGETHER: Final = 1024  # times as many are expanded at once, of all updates: they stay in the processor's cache
_PIECE: Final = 32 * 1024 * _UNIT  # numbers of all updates given out at once: worth a thread of its own

_DOSE_UNIT: Final = 2**10


def stream_candidate(state: GlobalState, updates: Sequence[Update], plan: AnyPlan) -> Iterator[Blob]:
    """Give the next state's bytes in pieces: the merged delta added to what the round trains, the rest as it was."""
    if state.recipe.mode == "stack":
        assert isinstance(plan, Plan)  # no recipe that stacks merges by domain
        yield from stack.stream_candidate(state, updates, plan)
        return
    yield build_state_header(state.layout, state.recipe, state.step + 1)
    vectors = state.vectors
    for kind, factor in list_vectors(state.recipe):
        if factor not in state.trained:
            yield from stream_vector(vectors[kind, factor])
        elif kind == "value":
            yield from _stream_merged(state, updates, plan, factor)
        else:
            step = step_rms if kind == "rms" else partial(step_velocity, state.recipe)
            yield from _stream_moment(updates, plan, factor, vectors[kind, factor], step)


def compute_candidate(state: GlobalState, updates: Sequence[Update], plan: AnyPlan) -> GlobalState:
    """Compute the next state in memory."""
    return decode_state(b"".join(stream_candidate(state, updates, plan)))


def compute_share(state: GlobalState, update: Update, share: Fraction) -> GlobalState:
    """Compute what one update does in a merge of which it is a share, above 0 and up to 1; the others move nothing.

    That is the dose at which it is judged: alone and whole, a specialist's update harms what its share does not.
    The outer rate counts; clip, the recipe's rule and momentum do not.
    What the round leaves alone is shared with the state, not copied.
    """
    shares = reduce_weights([1] if share == 1 else [share.numerator, share.denominator - share.numerator])
    return _move_alone(state, update, shares[0], sum(shares), compute_rate(state.recipe, state.count))


def compute_dosed(state: GlobalState, update: Update, dose: Fraction) -> GlobalState:
    """Compute what a multiple of one update does alone, below 2**10: what hides in small doses shows in large ones.

    At the recipe's first rate, however far it has fallen: a dose that shrank with it would show less.
    """
    return _move_alone(state, update, max(1, round(dose * _DOSE_UNIT)), _DOSE_UNIT, state.recipe.rate)


def _move_alone(state: GlobalState, update: Update, numerator: int, divisor: int, rate: int) -> GlobalState:
    plan = Plan(((numerator,),), divisor)
    if state.recipe.mode == "stack":
        return stack.append(state, [update], plan)
    if state.rms:  # what adam makes of the whole update is dosed: of any part it would make as much
        plan = Plan(((1,),), 1)
    moved = {factor: np.empty_like(state.factors[factor]) for factor in state.trained}
    for factor, vector in moved.items():
        for whole in _cut(slice(0, vector.size), _choose_piece([update])):
            for piece, delta in _iterate_deltas([update], plan, factor, whole):
                rms = state.rms[factor][piece] if state.rms else None
                old, dose = state.factors[factor][piece], numerator / divisor
                vector[piece] = step_alone(rate, old, delta, rms, state.count, dose)
    return replace(state, step=state.step + 1, factors={**state.factors, **moved})


def _stream_merged(state: GlobalState, updates: Sequence[Update], plan: AnyPlan, factor: Factor) -> Iterator[Blob]:
    values, velocity, rms = state.factors[factor], state.velocity.get(factor), state.rms.get(factor)

    def merge(whole: slice) -> Blob:
        merged = np.empty(whole.stop - whole.start, np.int32)
        for piece, delta in _iterate_deltas(updates, plan, factor, whole):
            speed = None if velocity is None else step_velocity(state.recipe, velocity[piece], delta)
            root = None if rms is None else step_rms(rms[piece], delta)
            moved = step_values(state.recipe, values[piece], speed, delta, root, state.count)
            merged[piece.start - whole.start : piece.stop - whole.start] = moved
        for vector in (values, velocity, rms):
            if vector is not None:
                release(vector, 4 * whole.start, 4 * whole.stop)
        return to_bytes(merged)

    return map_ahead(merge, _cut(slice(0, values.size), _choose_piece(updates)))


def _stream_moment(
    updates: Sequence[Update], plan: AnyPlan, factor: Factor, moment: Vector, step: Callable[[Vector, Numbers], Vector]
) -> Iterator[Blob]:
    for whole in _cut(slice(0, moment.size), _choose_piece(updates)):
        for piece, delta in _iterate_deltas(updates, plan, factor, whole):
            yield to_bytes(step(moment[piece], delta))
        release(moment, 4 * whole.start, 4 * whole.stop)


def _iterate_deltas(
    updates: Sequence[Update], plan: AnyPlan, factor: Factor, whole: slice
) -> Iterator[tuple[slice, NDArray[np.float64]]]:
    """Merge piece by piece; the deltas are integers in units of 2**-24."""
    form = FORMS[updates[0].encoding]
    first = whole.start // form.block
    parts = [update.copy_blocks(factor, first, -(-whole.stop // form.block)) for update in updates]
    values = np.empty((len(updates), _UNIT * max(1, _TOGETHER // len(updates))))
    for piece in _cut(whole, values.shape[1]):
        blocks = slice(piece.start // form.block - first, -(-piece.stop // form.block) - first)
        for row, part in zip(values, parts, strict=True):
            expand(form, part.scales[blocks], part.codes[blocks], row[: (blocks.stop - blocks.start) * form.block])
        yield piece, combine(plan, values[:, : piece.stop - piece.start])


def _choose_piece(updates: Sequence[Update]) -> int:
    """Choose how much is merged at once, so that memory does not grow with the number of updates."""
    return _PIECE // max(8, len(updates)) // _UNIT * _UNIT


def _cut(whole: slice, size: int) -> Iterator[slice]:
    return (slice(start, min(start + size, whole.stop)) for start in range(whole.start, whole.stop, size))
