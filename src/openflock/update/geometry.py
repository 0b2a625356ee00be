"""Measure updates by what they do to the model: exact inner products of the changes of the effective weights.

A change is B @ A of a module, outputs x inputs, and is never formed: with k components on both sides,
<B1 A1, B2 A2> = sum(B1.T @ B2 * (A1 @ A2.T)), two matrices of k x k. On a step that trains one factor, the other is
the state's. Where both are merged, each for itself, the change is dB (A + dA) + B dA: twice as many components. But
that is not linear in the update: who sends -2B and -2A changes nothing whole, and half of it erases the adapter. So
there updates are compared by their own numbers, and the change is for the ceiling alone.
"""

from collections.abc import Iterator, Sequence
from fractions import Fraction
from threading import Lock
from typing import Final, Protocol
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from openflock.update.codec import Update
from openflock.update.container import release
from openflock.update.fixed import FACTORS, FRACTION_BITS, Factor, GlobalState, Layout
from openflock.update.gram import multiply_exact

_NUMBERS: Final = 2**16  # of each update at once
_frozen: WeakKeyDictionary[GlobalState, list[NDArray[np.object_]]] = WeakKeyDictionary()
_norms: WeakKeyDictionary[Update, tuple[int, int]] = WeakKeyDictionary()  # of the change, of the delta itself
_lock = Lock()


class Readable(Protocol):
    """What has the numbers of a delta: an update, or a sum of some."""

    @property
    def layout(self) -> Layout:
        """Say what the numbers are of."""

    def read(self, factor: Factor, start: int, stop: int) -> NDArray[np.float64]:
        """Give the numbers start to stop of a factor: integers below 2**31."""


def compute_squared_norm(state: GlobalState, update: Update) -> Fraction:
    """Compute the squared Frobenius norm of the change of the effective weights over all modules, exactly."""
    return _compute_norms(state, update)[0] * compute_unit(state.layout)


def compute_norm(state: GlobalState, update: Update) -> int:
    """Compute the squared norm in the unit of compute_products; once for each update: clipping has it already."""
    change, own = _compute_norms(state, update)
    return own if state.recipe.mode == "separate" else change


def compute_squared_reach(state: GlobalState, update: Update) -> Fraction:
    """Compute the squared norm of the change that an update would make beside a frozen factor of the initial A's size.

    The components of the initial A are nearly orthogonal, of squared norm 1/3 each. So on the first step this is about
    the norm itself, and on a later one it does not shrink where the frozen factor is near zero. Where updates are
    stacked no factor is frozen, and it is the norm.
    """
    if state.recipe.mode == "stack":
        return compute_squared_norm(state, update)
    scale = Fraction(state.layout.alpha**2, state.layout.rank**2 << 2 * FRACTION_BITS)
    return _compute_norms(state, update)[1] * scale / 3


def _compute_norms(state: GlobalState, update: Update) -> tuple[int, int]:
    # Both from one reading of the update: the diagonal of its Gram matrices holds its own squared norm.
    if update not in _norms:
        change = own = 0
        if state.recipe.mode == "separate":
            change, own = _compute_joint_change(state, update), compute_dots(state, [update])[0, 0]
        else:
            for left, right in zip(*(_list_grams(state, [update], factor) for factor in ("B", "A")), strict=True):
                change += (left * right).sum()
                own += (left if "B" in state.trained else right).trace()
        _norms[update] = change, own
    return _norms[update]


def _compute_joint_change(state: GlobalState, update: Update) -> int:
    """Compute the squared norm of dB (A + dA) + B dA: the components of dB beside B's, those of A + dA beside dA's."""
    change = 0
    spans = zip(*(state.layout.list_spans(factor) for factor in FACTORS), strict=True)
    olds = zip(*(state.get_factor(factor).values() for factor in FACTORS), strict=True)
    for places, (a, b) in zip(spans, olds, strict=True):
        da, db = (
            update.read(factor, start, start + rows * columns).reshape(rows, columns)
            for factor, (start, rows, columns) in zip(FACTORS, places, strict=True)
        )
        left, right = np.concatenate([db.T, b.T]), np.concatenate([a + da, da])
        change += int((multiply_exact(left, left) * multiply_exact(right, right)).sum())
        for old in (a, b):
            release(old, 0, old.nbytes)
    return change


def compute_unit(layout: Layout) -> Fraction:
    """Give what 1 in compute_products of changes means: four factors of 2**-24, and the scale alpha / rank twice."""
    return Fraction(layout.alpha**2, layout.rank**2 << 4 * FRACTION_BITS)


def compute_products(state: GlobalState, updates: Sequence[Readable]) -> NDArray[np.object_]:
    """Compute all inner products of the updates' changes as Python integers; the diagonal holds squared norms.

    Where both factors are merged, each for itself, those of the updates' own numbers.
    """
    if state.recipe.mode == "separate":
        return compute_dots(state, updates)
    bounds = np.cumsum([0, *(update.layout.width for update in updates)])
    total = np.zeros((len(updates), len(updates)), object)
    for left, right in zip(_list_grams(state, updates, "B"), _list_grams(state, updates, "A"), strict=True):
        product = left * right
        for i, j in np.ndindex(total.shape):
            total[i, j] += product[bounds[i] : bounds[i + 1], bounds[j] : bounds[j + 1]].sum()
    return total


def compute_dots(state: GlobalState, updates: Sequence[Readable]) -> NDArray[np.object_]:
    """Compute all inner products of the updates' own numbers as Python integers; updates of one width."""
    total = np.zeros((len(updates), len(updates)), object)
    for factor in state.trained:
        size = updates[0].layout.compute_size(factor)
        for start in range(0, size, _NUMBERS):
            rows = np.stack([update.read(factor, start, min(start + _NUMBERS, size)) for update in updates])
            total += multiply_exact(rows, rows)
    return total


def _list_grams(state: GlobalState, updates: Sequence[Readable], factor: Factor) -> Iterator[NDArray[np.object_]]:
    """Multiply, module by module, all components of all updates with one another: (sum of widths) squared."""
    if factor not in state.trained:
        for gram in _list_frozen_grams(state, factor):
            yield np.tile(gram, (len(updates), len(updates)))
        return
    for spans in zip(*(update.layout.list_spans(factor) for update in updates), strict=True):
        matrices = [
            update.read(factor, start, start + rows * columns).reshape(rows, columns)
            for update, (start, rows, columns) in zip(updates, spans, strict=True)
        ]
        components = np.concatenate(matrices if factor == "A" else [matrix.T for matrix in matrices])
        yield multiply_exact(components, components)


def _list_frozen_grams(state: GlobalState, factor: Factor) -> list[NDArray[np.object_]]:
    """Multiply the components of the factor that a step leaves alone; once for all updates to a state."""
    with _lock:  # a merge admits several at once, and all want the same
        if state not in _frozen:
            grams = []
            for matrix in state.get_factor(factor).values():
                components = matrix if factor == "A" else matrix.T
                grams.append(multiply_exact(components, components))
                release(matrix, 0, matrix.nbytes)
            _frozen[state] = grams
        return _frozen[state]
