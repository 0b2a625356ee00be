"""The proposer: train on private rows from the global state, and offer the difference as an update."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isqrt
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from openflock.learn.data import Row
from openflock.learn.model import Model
from openflock.learn.probe import Clue
from openflock.learn.train import Trained, TrainSettings, take_rows, train
from openflock.learn.vaccine import vaccinate
from openflock.node.feedback import Feedback
from openflock.node.watch import Watch, watch_nothing
from openflock.protocol.types import Digest
from openflock.update.admission import NORM_BITS, compute_squared_size
from openflock.update.codec import Update, digest, encode_update, make_update
from openflock.update.compress import FORMS
from openflock.update.fixed import PIECE, Factor, GlobalState, Vector, to_fixed, to_float

Delta = Mapping[Factor, Vector]  # by factor, in units of the state, in the layout's order
Tamper = Callable[[Delta], Delta]
OnStep = Callable[[int, float], None]  # steps done, last loss


@dataclass(frozen=True)
class Proposer:
    """What a proposer trains with. `tamper`, which only an attacker sets, changes the delta after all care."""

    rows: Sequence[Row]
    settings: TrainSettings
    checkpoints: Path | None = None
    tamper: Tamper | None = None
    on_step: OnStep | None = None
    watch: Watch = watch_nothing
    feedback: Feedback | None = None

    def make_update(
        self, model: Model, state: GlobalState, norm_ceiling: int, seed: int, clues: Sequence[Clue] = ()
    ) -> bytes:
        """Train what the round trains, also against the clues, and encode the update to the state."""
        with self.watch("training"):
            rows = take_rows(self.rows, self.settings, state.step)
            rows = vaccinate(model.tokenizer, rows, clues, seed, self.settings.max_length)
            trained = self.train_rows(model, state, rows, seed)
        delta = compute_delta(state, trained)
        if self.tamper:
            return encode_update(make_update(state, hold(state, self.tamper(delta))))
        feedback = None if state.recipe.mode == "stack" else self.feedback  # new components have no past
        if feedback:
            delta = add_rests(state, delta, feedback)
        update, held = fit_ceiling(state, delta, norm_ceiling)
        blob = encode_update(update)
        if feedback:
            offer_rests(state, update, held, feedback, digest(blob))
        return blob

    def train_rows(self, model: Model, state: GlobalState, rows: Sequence[Row], seed: int) -> Trained:
        """Train on rows, or go on where an interrupted training was."""
        checkpoint = self.checkpoints / f"{seed:x}" if self.checkpoints else None
        return train(model, state, rows, self.settings, seed, checkpoint, self.on_step)


def compute_delta(state: GlobalState, trained: Trained) -> Delta:
    """Compute what training changed, in units of the state; where updates are stacked, all of it is new.

    Subtracts the state as training saw it, in float32: a weight that did not move gives zero.
    """
    return {factor: _compute_moves(state, factor, matrices) for factor, matrices in trained.items()}


def _compute_moves(state: GlobalState, factor: Factor, trained: Mapping[str, NDArray[np.float32]]) -> Vector:
    before = {} if state.recipe.mode == "stack" else state.get_factor(factor)
    largest = FORMS[state.recipe.encoding].largest
    moves = []
    for module in state.layout.modules:
        after = to_fixed(trained[module.name]).astype(np.int64)
        move = after - to_fixed(to_float(before[module.name])) if before else after
        moves.append(move.clip(-largest, largest).astype(np.int32).ravel())
    return np.concatenate(moves)


def hold(state: GlobalState, delta: Delta) -> Delta:
    """Bring a delta to what an update can hold."""
    largest = FORMS[state.recipe.encoding].largest
    return {factor: vector.clip(-largest, largest).astype(np.int32) for factor, vector in delta.items()}


def fit_ceiling(state: GlobalState, delta: Delta, norm_ceiling: int) -> tuple[Update, Delta]:
    """Round a delta to an update, scaled down as far as the task's norm ceiling asks; give also what was rounded.

    An honest node that learned much in one round would otherwise be slashed for it.
    """
    update = make_update(state, delta)
    while (norm := isqrt(int(compute_squared_size(state, update) * 4**NORM_BITS)) + 1) > norm_ceiling:
        # One part in 64 less than the exact ratio, for what rounding adds.
        ratio = (norm_ceiling * 63 << 24) // (norm * 64)
        # Of two factors that are new one, since their product is what is measured.
        shrunk = state.trained[-1:] if state.recipe.mode == "stack" else state.trained
        delta = {**delta, **{factor: shrink(delta[factor], ratio) for factor in shrunk}}
        update = make_update(state, delta)
    return update, delta


def shrink(vector: Vector, ratio: int) -> Vector:
    """Multiply by ratio * 2**-24, towards zero; |delta| < 2**25 leaves room for 24 bits."""
    shrunk = np.empty_like(vector)
    for start in range(0, vector.size, PIECE):
        piece = vector[start : start + PIECE].astype(np.int64)
        shrunk[start : start + PIECE] = np.sign(piece) * (np.abs(piece) * ratio >> 24)
    return shrunk


# --- Error feedback ------------------------------------------------------------------------------------------


def add_rests(state: GlobalState, delta: Delta, feedback: Feedback) -> Delta:
    """Add what rounding left out of this node's last merged update of each factor."""
    rests = {factor: feedback.recall(factor, state.step, vector.size) for factor, vector in delta.items()}
    return hold(state, {factor: vector + rests[factor] for factor, vector in delta.items()})


def offer_rests(state: GlobalState, update: Update, delta: Delta, feedback: Feedback, name: Digest) -> None:
    """Write down what rounding left out of an update, by its digest."""
    for factor, vector in delta.items():
        rest = np.empty_like(vector)
        for start in range(0, vector.size, PIECE):
            stop = min(start + PIECE, vector.size)
            rest[start:stop] = vector[start:stop] - update.read(factor, start, stop).astype(np.int32)
        feedback.offer(factor, state.step, rest, name)
