"""What a defence sees of a round, and what it makes of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import wraps
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Numbers: TypeAlias = NDArray[np.float64]
Flags: TypeAlias = NDArray[np.bool_]


@dataclass(frozen=True)
class Proposals:
    """Hold what any of the defences looks at; each takes what it needs, and only controls look at `malicious`.

    updates: (K, n) deltas; weights: (K,), positive; faulty: the share of weight that a rule is told to withstand;
    seed: of noise and of chance. history: (K, n), the sum of each proposer's earlier deltas. root: (n,), a delta
    trained on rows that the defender trusts. scores: (V, K), each voter's relative gain with each proposal, NaN where
    it abstains, with the voters' weights (V,). judge: gives the voters' relative gains (V,) with any one delta.
    """

    updates: Numbers
    weights: Numbers
    faulty: float = 0.3
    seed: int = 0
    history: Numbers | None = None
    root: Numbers | None = None
    scores: Numbers | None = None
    voters: Numbers | None = None
    judge: Callable[[Numbers], Numbers] | None = None
    malicious: Flags | None = None

    def keep(self, kept: Flags) -> "Proposals":
        """Keep some of the proposals."""
        return replace(
            self,
            updates=self.updates[kept],
            weights=self.weights[kept],
            history=None if self.history is None else self.history[kept],
            scores=None if self.scores is None else self.scores[:, kept],
            malicious=None if self.malicious is None else self.malicious[kept],
        )


@dataclass(frozen=True)
class Aggregate:
    """Hold the merged delta, which proposals count in it at all, and whose proposers lose stake."""

    delta: Numbers
    accepted: Flags
    slashed: Flags


Defence: TypeAlias = Callable[[Proposals], Aggregate]


class BadProposals(ValueError):
    """Say what a defence lacks, or what is wrong with the shapes."""


def reject_broken(defence: Callable[..., Aggregate]) -> Callable[..., Aggregate]:
    """Reject updates that are not finite, or too long for their square to be, before the defence sees any.

    One NaN would otherwise decide a median, a Krum score or a Weiszfeld step. Without updates nothing moves.
    """

    @wraps(defence)
    def guarded(proposals: Proposals, **settings: Any) -> Aggregate:
        _check_shapes(proposals)
        with np.errstate(over="ignore", invalid="ignore"):
            # The square of a sum or difference of two must be finite too.
            sound = np.isfinite(4 * np.square(proposals.updates).sum(axis=1))
        accepted, slashed = np.zeros_like(sound), np.zeros_like(sound)
        if not sound.any():
            return Aggregate(np.zeros(proposals.updates.shape[1]), accepted, slashed)
        merged = defence(proposals.keep(sound), **settings)
        accepted[sound], slashed[sound] = merged.accepted, merged.slashed
        return Aggregate(merged.delta, accepted, slashed)

    return guarded


def _check_shapes(proposals: Proposals) -> None:
    count = len(proposals.updates)
    if proposals.updates.ndim != 2 or proposals.weights.shape != (count,) or not (proposals.weights > 0).all():
        raise BadProposals("defences: updates must be (K, n), with K positive weights")
    if not 0 <= proposals.faulty < 0.5:
        raise BadProposals(f"defences: faulty is {proposals.faulty}; no rule withstands half of the weight or more")


def need(value: Any, name: str) -> Any:
    """Give what a defence cannot do without."""
    if value is None:
        raise BadProposals(f"defences: this one needs {name}")
    return value


def merge_accepted(proposals: Proposals, accepted: Flags, slashed: Flags | None = None) -> Aggregate:
    """Take the weighted mean of those accepted; with none, nothing moves."""
    return merge_shares(proposals, np.where(accepted, proposals.weights, 0.0), slashed)


def merge_shares(proposals: Proposals, shares: Numbers, slashed: Flags | None = None) -> Aggregate:
    """Take the mean of the updates by what each counts for."""
    total = shares.sum()
    delta = shares @ proposals.updates / total if total else np.zeros(proposals.updates.shape[1])
    return Aggregate(delta, shares > 0, np.zeros(len(shares), np.bool_) if slashed is None else slashed)


def merge_whole(proposals: Proposals, delta: Numbers) -> Aggregate:
    """Give a delta to which all contribute, and for which nobody pays."""
    count = len(proposals.updates)
    return Aggregate(delta, np.ones(count, np.bool_), np.zeros(count, np.bool_))


def compute_squares(left: Numbers, right: Numbers) -> Numbers:
    """Compute squared distances (K, M) between rows, row by row: differences of large squares would round."""
    squares: Numbers = np.stack([np.square(left - row).sum(axis=1) for row in right], axis=1)
    return squares


def compute_cosines(left: Numbers, right: Numbers) -> Numbers:
    """Compute the cosines (K, M) between rows; zero where a row is."""
    cosines: Numbers = np.clip(_normalise(left) @ _normalise(right).T, -1, 1)
    return cosines


def _normalise(rows: Numbers) -> Numbers:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(lengths > 0, lengths, 1)


def find_median(values: Sequence[float] | Numbers, weights: Numbers) -> float:
    """Find the weighted lower median: the least value with half of the weight at or below it."""
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(weights[order])
    # Weights are floats: without a tolerance their sum could miss an exact half.
    return float(np.asarray(values)[order[np.searchsorted(reached, reached[-1] * (0.5 - 1e-12))]])
