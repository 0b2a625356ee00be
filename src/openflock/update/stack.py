"""Append the components of updates to the state's: exact for any mixture of ranks (FLoRA, arXiv 2409.05976).

sum p_k B_k A_k is one product: the A_k stand below one another, the B_k, each times its share p_k, beside one
another. Only p_k B_k is rounded, to the state's units. What it costs: the state grows by the sum of the ranks in every
merge.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from openflock.protocol.ports import Blob
from openflock.update.codec import Update, build_state_header, decode_state
from openflock.update.fixed import FACTORS, Factor, GlobalState
from openflock.update.outer import saturate
from openflock.update.plan import Plan


def stream_candidate(state: GlobalState, updates: Sequence[Update], plan: Plan) -> Iterator[Blob]:
    """Give the bytes of the state with all updates' components appended, in the order given, module by module."""
    width = state.layout.width + sum(update.layout.width for update in updates)
    yield build_state_header(state.layout.resize(width), state.recipe, state.step + 1)
    for factor in FACTORS:
        for index, old in enumerate(state.get_factor(factor).values()):
            added = [_read_scaled(update, plan, position, factor, index) for position, update in enumerate(updates)]
            yield np.concatenate([old, *added], axis=0 if factor == "A" else 1).astype("<i4").tobytes()


def append(state: GlobalState, updates: Sequence[Update], plan: Plan) -> GlobalState:
    """Compute the state with the updates' components appended, in memory."""
    return decode_state(b"".join(stream_candidate(state, updates, plan)))


def _read_scaled(update: Update, plan: Plan, position: int, factor: Factor, index: int) -> NDArray[np.int32]:
    start, rows, columns = update.layout.list_spans(factor)[index]
    values = update.read(factor, start, start + rows * columns).reshape(rows, columns)
    if factor == "B":  # below 2**25 times 2**25, and rounded once, half-even
        values = np.rint(values * plan.rows[0][position] / plan.divisor)
    return saturate(values)
