"""Compute a short history on a layout large enough for threads; print what must never change."""

import numpy as np

from openflock.update.admission import check_admission, squared_norm
from openflock.update.aggregate import compute_candidate
from openflock.update.codec import digest, encode_state, encode_update, quantize
from openflock.update.duplicates import find_duplicates
from openflock.update.fixed import Layout, Module, initial_state, trained_factor

LAYOUT = Layout((Module("layers.0.k_proj", 256, 512), Module("layers.0.q_proj", 512, 512)), rank=16, alpha=32)


def make_proposal(state, seed):
    """Make an update from integers alone: no library's random generator lasts for ever."""
    factor = trained_factor(state.step)
    delta = {}
    for i, (name, shape) in enumerate(LAYOUT.compute_shapes(factor).items()):
        n = np.arange(shape[0] * shape[1], dtype=np.int64).reshape(shape)
        # Rows of very different sizes, so that many exponents occur.
        delta[name] = ((n * 2654435761 + seed * 40503 + i) % 2**20 - 2**19) >> (n // shape[1] % 17)
    return quantize(LAYOUT, digest(encode_state(state)), factor, delta)


def tell_history():
    """List every digest and number of two steps."""
    state = initial_state(LAYOUT, b"golden")
    facts = [digest(encode_state(state)).hex()]
    for _ in range(2):
        proposals = [make_proposal(state, seed) for seed in (1, 2, 1, 3)]
        blobs = [encode_update(LAYOUT, proposal) for proposal in proposals]
        admitted = [check_admission(state, blob, norm_ceiling=2**32) for blob in blobs]
        facts += [digest(blobs[0]).hex(), str(squared_norm(state, admitted[0]))]
        facts += [repr(find_duplicates(admitted, 999))]
        state = compute_candidate(state, [(10**24 + 7 * i, update) for i, update in enumerate(admitted)])
        facts += [digest(encode_state(state)).hex()]
    return facts


if __name__ == "__main__":
    print("\n".join(tell_history()))
