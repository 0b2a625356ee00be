"""The proposer: train on private rows from the global state, and offer the difference as an update."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isqrt
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from openflock.learn.data import Row
from openflock.learn.model import Model
from openflock.learn.train import TrainSettings, train
from openflock.node.watch import Watch, watch_nothing
from openflock.update.admission import NORM_BITS, squared_norm
from openflock.update.codec import MAX_EXPONENT, Update, digest, encode_state, encode_update, quantize
from openflock.update.fixed import GlobalState, to_fixed, to_float, trained_factor

MAX_DELTA = 127 << MAX_EXPONENT

Delta = Mapping[str, NDArray[np.int64]]
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

    def make_update(self, model: Model, state: GlobalState, norm_ceiling: int, seed: int) -> bytes:
        """Train the factor whose turn it is, and encode the update to the state."""
        checkpoint = self.checkpoints / f"{seed:x}" if self.checkpoints else None
        with self.watch("training"):
            trained = train(model, state, self.rows, self.settings, seed, checkpoint, self.on_step)
        delta = compute_delta(state, trained)
        update = quantize_delta(state, self.tamper(delta)) if self.tamper else fit_ceiling(state, delta, norm_ceiling)
        return encode_update(state.layout, update)


def compute_delta(state: GlobalState, trained: Mapping[str, NDArray[np.float32]]) -> Delta:
    """Compute what training changed, in units of the state.

    Subtracts the state as training saw it, in float32: a weight that did not move gives zero.
    """
    before = state.get_factor(trained_factor(state.step))
    return {
        name: to_fixed(after).astype(np.int64) - to_fixed(to_float(before[name])) for name, after in trained.items()
    }


def quantize_delta(state: GlobalState, delta: Delta) -> Update:
    """Round a delta to an update of the state; what is beyond all that an update can hold saturates."""
    held = {name: rows.clip(-MAX_DELTA, MAX_DELTA) for name, rows in delta.items()}
    return quantize(state.layout, digest(encode_state(state)), trained_factor(state.step), held)


def fit_ceiling(state: GlobalState, delta: Delta, norm_ceiling: int) -> Update:
    """Round a delta to an update, scaled down as far as the task's norm ceiling asks.

    An honest node that learned much in one round would otherwise be slashed for it.
    """
    update = quantize_delta(state, delta)
    while (norm := isqrt(int(squared_norm(state, update) * 4**NORM_BITS)) + 1) > norm_ceiling:
        # One part in 64 less than the exact ratio, for what rounding adds; |delta| < 2**32 leaves room for 24 bits.
        ratio = (norm_ceiling * 63 << 24) // (norm * 64)
        delta = {name: np.sign(rows) * (np.abs(rows) * ratio >> 24) for name, rows in delta.items()}
        update = quantize_delta(state, delta)
    return update
