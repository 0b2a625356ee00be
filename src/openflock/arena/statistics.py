"""Say how sure a figure is: intervals over seeds, exact bounds on counts, and correction for many comparisons."""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final

import numpy as np
from numpy.typing import NDArray

LEVEL: Final = 0.95
RESAMPLES: Final = 9999
EXACT_FLIPS: Final = 14  # up to so many pairs all 2**n flips of signs are tried, beyond RESAMPLES of them
_HALVINGS: Final = 80
_NORMAL: Final = NormalDist()

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """Hold an estimate between its bounds; infinite bounds say that nothing is known."""

    low: float
    point: float
    high: float


@dataclass(frozen=True)
class Goal:
    """A figure beside what it should be; a figure that is not known meets nothing."""

    name: str
    value: float
    goal: str
    met: bool


def compute_bootstrap(
    values: Sequence[float], level: float = LEVEL, resamples: int = RESAMPLES, seed: int = 0
) -> Interval:
    """Bound the mean of independent values: bias-corrected and accelerated bootstrap (BCa; Efron 1987).

    Ten values give a nominal 95 % interval that holds the truth about 90 times in 100. A single value has infinite
    bounds; equal values have no width, so a rate of zero needs `estimate_rate`. ValueError without values, or when one
    is not finite.
    """
    sample = _check(values)
    point = float(sample.mean())
    if len(sample) == 1:
        return Interval(-math.inf, point, math.inf)
    if np.ptp(sample) <= 1e-12 * np.abs(sample).max():
        return Interval(point, point, point)
    draw = np.random.default_rng(seed)
    means = sample[draw.integers(0, len(sample), (resamples, len(sample)))].mean(axis=1)
    low, high = np.quantile(means, _compute_quantiles(sample, means, level))
    return Interval(float(low), point, float(high))


def _compute_quantiles(sample: Numbers, means: Numbers, level: float) -> tuple[float, float]:
    # Ties count half, and rounding may not break them. Kept off 0 and 1: beyond the resamples lie only the extremes.
    offsets, tie = means - sample.mean(), 1e-12 * np.abs(sample).max()
    below = float(((offsets < -tie).mean() + (offsets <= tie).mean()) / 2)
    bias = _NORMAL.inv_cdf(min(max(below, 1 / (2 * len(means))), 1 - 1 / (2 * len(means))))
    without = sample.mean() - (sample.sum() - sample) / (len(sample) - 1)  # the jackknife's deviations
    without /= np.abs(without).max()  # so that no power of them underflows
    acceleration = float((without**3).sum() / (6 * (without**2).sum() ** 1.5))
    first, last = (
        _NORMAL.cdf(bias + (bias + z) / (1 - acceleration * (bias + z)))
        for z in (_NORMAL.inv_cdf((1 - level) / 2), _NORMAL.inv_cdf((1 + level) / 2))
    )
    return first, last


def compute_binomial(count: int, total: int, level: float = LEVEL) -> Interval:
    """Bound a share from a count, exactly (Clopper and Pearson 1934); with nothing counted it may be anything."""
    if not 0 <= count <= total:
        raise ValueError(f"statistics: {count} of {total} is not a share")
    if not total:
        return Interval(0.0, math.nan, 1.0)
    tail = (1 - level) / 2
    # P(X >= count) grows with the share, and so does P(X > count) = 1 - P(X <= count).
    low = _find_share(count, total, tail) if count else 0.0
    high = _find_share(count + 1, total, 1 - tail) if count < total else 1.0
    return Interval(low, count / total, high)


def _find_share(least: int, total: int, wanted: float) -> float:
    """Find the share at which at least `least` of `total` come with the wanted chance."""
    ways = math.lgamma(total + 1)
    numbers = np.arange(least, total + 1)
    logs = np.array([ways - math.lgamma(k + 1) - math.lgamma(total - k + 1) for k in numbers.tolist()])
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        terms = logs + numbers * math.log(middle) + (total - numbers) * math.log1p(-middle)
        low, high = (middle, high) if np.exp(terms).sum() < wanted else (low, middle)
        if high - low < 2**-52:
            break
    return (low + high) / 2


def estimate_rate(counts: Sequence[tuple[int, int]], level: float = LEVEL, seed: int = 0) -> Interval:
    """Bound the mean rate of several seeds from (count, total) of each: bootstrap over seeds, exact where it cannot be.

    Where all seeds have one rate, as where nothing or everything happened, resampling would claim certainty: then the
    bound is the exact binomial one on all rows together. It takes rows for independent, which rows of one seed are
    only in part: with ten seeds the bound that counted seeds alone could not be below 31 %.
    """
    counts = [(count, total) for count, total in counts if total]
    rates = [count / total for count, total in counts]
    if len(set(rates)) > 1:
        return compute_bootstrap(rates, level, seed=seed)
    return compute_binomial(sum(count for count, _ in counts), sum(total for _, total in counts), level)


def pair(left: Mapping[Hashable, float], right: Mapping[Hashable, float]) -> list[float]:
    """Subtract right from left seed by seed; ValueError unless both have the same seeds."""
    if left.keys() != right.keys():
        odd = sorted(str(seed) for seed in left.keys() ^ right.keys())
        raise ValueError(f"statistics: only one side has seeds {', '.join(odd)}; run the same seeds on both")
    return [left[seed] - right[seed] for seed in left]


def compute_p_value(differences: Sequence[float], seed: int = 0) -> float:
    """Compute how often flipping the signs of paired differences gives a mean as far from zero (two-sided).

    Exact up to 14 pairs; with n of them no result is below 2**(1 - n).
    """
    sample = _check(differences)
    count = len(sample)
    if count <= EXACT_FLIPS:
        flips = (np.arange(2**count)[:, None] >> np.arange(count)) & 1
    else:
        flips = np.random.default_rng(seed).integers(0, 2, (RESAMPLES, count))
        flips = np.vstack([flips, np.zeros((1, count), flips.dtype)])  # what was seen is one of them
    sums = np.abs((1 - 2 * flips) @ sample)
    seen = abs(sample.sum())
    return float((sums >= seen - 1e-12 * np.abs(sample).sum()).mean())


def correct_holm(p_values: Sequence[float]) -> list[float]:
    """Correct p-values for being many, in their order (Holm 1979): compare each result with the level for all."""
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    corrected, reached = [0.0] * len(p_values), 0.0
    for place, index in enumerate(order):
        reached = max(reached, min(1.0, (len(p_values) - place) * p_values[index]))
        corrected[index] = reached
    return corrected


def _check(values: Sequence[float]) -> Numbers:
    sample = np.array(values, np.float64)
    if not sample.size or not np.isfinite(sample).all():
        raise ValueError("statistics: no values, or one that is not finite; leave a failed run out by name, not by NaN")
    return sample
