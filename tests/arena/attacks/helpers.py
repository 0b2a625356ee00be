"""Deltas of a small task, as its honest nodes and an attacker may have trained them."""

import numpy as np
from hypothesis import strategies as st

from openflock.update.compress import FORMS
from openflock.update.fixed import LIMIT, Layout, Module, initial_state

LAYOUT = Layout((Module("a.k", 24, 5), Module("a.q", 16, 3)), rank=2, alpha=4)
STATE = initial_state(LAYOUT, b"seed")
SIZE = LAYOUT.compute_size("B")
LARGEST = FORMS["int8"].largest


def make_delta(seed, size=SIZE, scale=10_000.0, factor="B"):
    drawn = np.random.default_rng(seed).normal(0, scale, size)
    return {factor: np.rint(drawn).clip(-LIMIT, LIMIT).astype(np.int32)}


def make_honest(seed, nodes, size=SIZE, scale=10_000.0):
    """Deltas that share a direction and differ beside it."""
    common = make_delta(seed, size, scale)["B"].astype(np.int64)
    alone = [make_delta([seed, node], size, scale)["B"].astype(np.int64) for node in range(nodes)]
    return [{"B": (common + each).clip(-LIMIT, LIMIT).astype(np.int32)} for each in alone]


def to_floats(deltas):
    return np.stack([delta["B"] for delta in deltas]).astype(np.float64)


def to_integers(delta):
    return delta["B"].astype(object)


def get_squared_distance(left, right):
    """Exact, in Python integers."""
    difference = to_integers(left) - to_integers(right)
    return int(difference @ difference)


def is_legal(delta, size=SIZE):
    """Whether a delta is what an update is made of: int32 vectors within the symmetric range."""
    return all(
        vector.dtype == np.int32 and vector.shape == (size,) and vector.min(initial=0) >= -LIMIT
        for vector in delta.values()
    )


seeds = st.integers(0, 2**32)
scales = st.sampled_from([1.0, 30.0, 1e4, 1e7, 1e9])
