"""Merge adapters as other frameworks do, in floats: for comparison only, never on a ledger.

An adapter here is, by module, a pair (A, B) whose effect is scale * B @ A; shares sum to one.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]
Adapter = Mapping[str, tuple[Matrix, Matrix]]


def average_separately(adapters: Sequence[Adapter], shares: Sequence[float]) -> Adapter:
    """Average A and B each by itself (FedIT, OpenFedLLM, Flower, NVFlare): not the average of the products."""

    def average(name: str, side: int) -> Matrix:
        pairs = zip(shares, adapters, strict=True)
        return np.sum([share * adapter[name][side] for share, adapter in pairs], axis=0)  # type: ignore[no-any-return]

    return {name: (average(name, 0), average(name, 1)) for name in adapters[0]}


def average_svd(adapters: Sequence[Adapter], shares: Sequence[float], rank: int) -> Adapter:
    """Give the best adapter of a rank for the average product (FlexLoRA, HLoRA): what is beyond the rank is lost.

    QR of both stacks leaves a small core to decompose; a product of outputs x inputs is never formed.
    """
    return {name: _truncate([adapter[name] for adapter in adapters], shares, rank) for name in adapters[0]}


def _truncate(pairs: Sequence[tuple[Matrix, Matrix]], shares: Sequence[float], rank: int) -> tuple[Matrix, Matrix]:
    left, left_core = np.linalg.qr(np.hstack([share * B for share, (_, B) in zip(shares, pairs, strict=True)]))
    right, right_core = np.linalg.qr(np.vstack([A for A, _ in pairs]).T)
    U, sigma, V = np.linalg.svd(left_core @ right_core.T, full_matrices=False)
    root = np.sqrt(sigma[:rank])
    return (root[:, None] * (V[:rank] @ right.T), (left @ U[:, :rank]) * root)


def compute_error(adapter: Adapter, adapters: Sequence[Adapter], shares: Sequence[float]) -> float:
    """Compute the relative Frobenius error of B @ A against the average product, over all modules."""
    wrong = right = 0.0
    for name, (A, B) in adapter.items():
        truth = sum(share * each[name][1] @ each[name][0] for share, each in zip(shares, adapters, strict=True))
        wrong += float(np.square(B @ A - truth).sum())
        right += float(np.square(truth).sum())
    return float(np.sqrt(wrong / right))
