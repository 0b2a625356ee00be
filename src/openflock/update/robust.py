"""Choose what each update counts for, so that a faulty minority cannot steer the result, in exact integers.

A rule sees only the updates' weights and the inner products of what they do to the model. Its answer is a plan, by
which any number of coordinates is then merged. Where the recipe says so, each declared domain is merged by the rule
for itself: specialists of other domains are far from one another, and no reason to doubt any of them.
"""

from collections.abc import Sequence
from fractions import Fraction
from itertools import accumulate, pairwise
from math import gcd, isqrt, lcm
from typing import Final, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from openflock.protocol.recipe import Recipe
from openflock.update.plan import Group, Grouped, Plan

MAX_UPDATES: Final = 2**20
WEIGHT_BITS: Final = 24
ROW_LIMIT: Final = 2**25  # of a row's sum and divisor, where the plan has one row
MIX_LIMIT: Final = 2**12  # the same, where coordinates are sorted
SORT_LIMIT: Final = 2**13  # of the sum of the weights by which sorted coordinates are cut
SORT_TOTAL: Final = 8000  # the largest multiple of 1000 below it: any permille of it is whole

_CLIP: Final = 2**16  # a factor of one
_STEPS: Final = 64
_ONE: Final = 2**24  # the geometric median's coefficients sum to it

Integers: TypeAlias = NDArray[np.object_]
Number = TypeVar("Number", int, float)


def compute_plan(
    recipe: Recipe,
    weights: Sequence[int],
    products: Integers,
    digests: Sequence[bytes],
    directions: Integers | None = None,
) -> Plan:
    """Plan the merge of updates from their weights and inner products: clip, mix, then apply the recipe's rule.

    products: (K, K) Python ints in any unit, squared norms on the diagonal. Where `directions` are given, updates are
    compared by these, and clipped by `products`. Digests break ties, and nothing else depends on order; equal digests
    mean equal updates, compared alike. A copy under a second name gains nothing: weight counts, heads do not. Splitting
    weight between copies changes no number while reduced weights sum to at most 2**25 (2**13 where coordinates are
    sorted); beyond, and for mixed or clipped updates, where the coefficients are rounded, it moves them by a unit of
    2**-24 (of 2**-12 where coordinates are sorted).
    """
    _check(weights, products, digests)
    if recipe.grouping:
        raise ValueError("robust: this recipe merges by domain")
    factors = _compute_factors(recipe.clip, reduce_weights(weights), products.diagonal().tolist())
    return _plan_clipped(recipe, weights, _clip(factors, products, directions), digests, factors)


def compute_grouped_plan(
    recipe: Recipe,
    weights: Sequence[int],
    products: Integers,
    digests: Sequence[bytes],
    domains: Sequence[int],
    directions: Integers | None = None,
) -> Grouped:
    """Plan the merge of updates domain by domain: clip to the median of all, then apply the rule among a domain's own.

    What an enemy with less than the recipe's faulty share in a domain sends moves no coordinate beyond what others of
    that domain sent. What it keeps: a domain where it is alone or has the most, at that domain's weight, clipped. A
    captured domain's honest holders would add theirs to it, so none counts for more than the recipe's grouping lets it.
    """
    _check(weights, products, digests)
    if len(domains) != len(weights):
        raise ValueError(f"robust: {len(weights)} updates of {len(domains)} domains")
    factors = _compute_factors(recipe.clip, reduce_weights(weights), products.diagonal().tolist())
    groups = [[k for k, other in enumerate(domains) if other == domain] for domain in sorted(set(domains))]
    shares = reduce_weights(_cap([sum(weights[k] for k in own) for own in groups], recipe.grouping))
    inner = _clip(factors, products, directions)
    plans = [
        _plan_clipped(
            recipe,
            [weights[k] for k in own],
            inner[np.ix_(own, own)],
            [digests[k] for k in own],
            [factors[k] for k in own],
        )
        for own in groups
    ]
    return Grouped(
        tuple(Group(tuple(own), share, plan) for own, share, plan in zip(groups, shares, plans, strict=True))
    )


def list_shares(recipe: Recipe, weights: Sequence[int], domains: Sequence[int]) -> list[Fraction]:
    """List what each update is of the merge of all, clip and rule left aside: in sum one, but for Krum's.

    Of Krum's the winner is merged whole, and where domains are merged apart is all that its domain counts for.

    >>> [str(share) for share in list_shares(Recipe(grouping=250), [1, 1, 2], [0, 0, 1])]
    ['1/4', '1/4', '1/2']
    >>> [str(share) for share in list_shares(Recipe(grouping=300), [1, 1, 1, 1], [0, 0, 0, 1])]
    ['2/11', '2/11', '2/11', '5/11']
    """
    groups = domains if recipe.grouping else [0] * len(weights)
    held = dict.fromkeys(groups, 0)
    for group, weight in zip(groups, weights, strict=True):
        held[group] += weight
    counted = dict(zip(held, _cap(list(held.values()), recipe.grouping or 1000), strict=True))
    total = sum(counted.values())
    if recipe.aggregator == "krum":
        return [Fraction(counted[group], total) for group in groups]
    return [
        Fraction(weight * counted[group], held[group] * total) for group, weight in zip(groups, weights, strict=True)
    ]


def list_clips(recipe: Recipe, weights: Sequence[int], squares: Sequence[int]) -> list[Fraction]:
    """List what the clip leaves of each update's length, by squared norms, in a merge of all.

    >>> [str(left) for left in list_clips(Recipe(clip=1000), [1, 1, 1], [4, 4, 16])]
    ['1', '1', '1/2']
    """
    return [Fraction(factor, _CLIP) for factor in _compute_factors(recipe.clip, reduce_weights(weights), squares)]


def _cap(weights: Sequence[int], permille: int) -> list[int]:
    """Cut weights at a share of their sum; where all are cut, all count alike.

    >>> _cap([5, 2, 2, 1], 300)
    [3000, 2000, 2000, 1000]
    """
    return [min(1000 * weight, permille * sum(weights)) for weight in weights]


def _clip(factors: Sequence[int], products: Integers, directions: Integers | None) -> Integers:
    """Give inner products of the clipped updates, or those of the directions that they are compared by."""
    if directions is not None:
        return directions
    scales = np.array(factors, object)
    inner: Integers = scales[:, None] * products * scales
    return inner


def _plan_clipped(
    recipe: Recipe, weights: Sequence[int], products: Integers, digests: Sequence[bytes], factors: Sequence[int]
) -> Plan:
    # All that follows works in the order of the digests: ties break by position, and sums are rounded by it.
    order = sorted(range(len(weights)), key=lambda k: digests[k])
    reduced = reduce_weights([weights[k] for k in order])
    scales, products = np.array([factors[k] for k in order], object), products[np.ix_(order, order)]
    rows, unit = np.eye(len(reduced), dtype=object) * scales, _CLIP  # virtual m is sum(rows[m][k] * x[k]) / unit
    if recipe.mixing:
        nearest = _take_nearest(recipe.faulty, reduced, products)
        rows, unit = nearest @ rows, sum(nearest[0]) * unit
        products = nearest @ products @ nearest.T
    if recipe.aggregator == "median" or recipe.aggregator == "trimmed_mean":
        trimmed = recipe.faulty if recipe.aggregator == "trimmed_mean" else 0
        fitted, divisor = _fit(rows, unit, MIX_LIMIT)
        return Plan(_restore(fitted, order), divisor, recipe.aggregator, *_compute_cut(trimmed, reduced))
    shares = _compute_shares(recipe, reduced, products)
    fitted, divisor = _fit((shares @ rows)[None], sum(shares) * unit, ROW_LIMIT)
    return Plan(_restore(fitted, order), divisor)


def reduce_weights(weights: Sequence[int]) -> list[int]:
    """Scale weights down to a sum of at most 2**25, so that sums of weighted deltas stay exact in float64.

    Divides by the greatest common divisor; if the sum is still above 2**25, shifts it right to WEIGHT_BITS, but
    keeps every weight at 1 or more: dust gains about 2**-23 of the mean. ValueError if there is no weight, or
    one is not positive.
    """
    if not 0 < len(weights) <= MAX_UPDATES:
        raise ValueError(f"robust: {len(weights)} updates, not 1 to {MAX_UPDATES}")
    if min(weights) < 1:
        raise ValueError("robust: a weight is not positive")
    divisor = gcd(*weights)
    total = sum(weights) // divisor
    shift = total.bit_length() - WEIGHT_BITS if total > ROW_LIMIT else 0
    return [max(1, weight // divisor >> shift) for weight in weights]


def _check(weights: Sequence[int], products: Integers, digests: Sequence[bytes]) -> None:
    count = len(weights)
    if products.shape != (count, count) or len(digests) != count:
        raise ValueError(f"robust: {count} weights, {len(digests)} digests and products of shape {products.shape}")
    if count and ((products != products.T).any() or min(products.diagonal()) < 0):
        raise ValueError("robust: products are not symmetric with squared norms on the diagonal")


def _compute_factors(permille: int, weights: Sequence[int], squares: Sequence[int]) -> list[int]:
    """Compute what each update is scaled by, in 2**-16, to be no longer than permille of the median norm.

    The lower median, by weight: who has less than half of it cannot raise the limit past an honest norm. Half
    that sends nothing lowers it to zero, and clips all to nothing. Rounded down, so an update 2**16 times as long
    as the limit counts for nothing.
    """
    if not permille:
        return [_CLIP] * len(weights)
    limit = _CLIP**2 * permille**2 * find_median(weights, squares)
    return [min(_CLIP, isqrt(limit // (square * 10**6))) if square else _CLIP for square in squares]


def find_median(weights: Sequence[int], values: Sequence[Number]) -> Number:
    """Find the lower median: the least value with half of the weight at or below it."""
    order = sorted(range(len(values)), key=lambda k: values[k])
    reached = accumulate(weights[k] for k in order)
    return next(values[k] for k, weight in zip(order, reached, strict=True) if 2 * weight >= sum(weights))


def _take(faulty: int, weights: Sequence[int], order: Sequence[int]) -> list[int]:
    """Take weight, in thousandths, in the order given until only the faulty share is left.

    Of the last one only the part that is needed: so it counts how much weight stands at a place, not in how
    many pieces, and at equal weights, where K * faulty / 1000 = f is whole, exactly K - f are taken.
    """
    left = (1000 - faulty) * sum(weights)
    taken = [0] * len(weights)
    for k in order:
        taken[k] = min(1000 * weights[k], left)
        left -= taken[k]
    return taken


def _take_nearest(faulty: int, weights: Sequence[int], products: Integers) -> Integers:
    """Take for each update the weight nearest to it, its own included (NNM, arXiv 2302.01772)."""
    count = range(len(weights))
    distances = _compute_distances(products)
    return np.array([_take(faulty, weights, sorted(count, key=lambda k: row[k])) for row in distances], object)


def _compute_distances(products: Integers) -> Integers:
    squares = products.diagonal()
    distances: Integers = squares[:, None] - 2 * products + squares
    return distances


def _compute_shares(recipe: Recipe, weights: Sequence[int], products: Integers) -> Integers:
    """Compute what each virtual update counts for, relative to the sum of all."""
    if recipe.aggregator == "mean":
        shares = list(weights)
    elif recipe.aggregator == "geometric_median":
        shares = _find_geometric_median(weights, products)
    else:
        scores = _compute_scores(recipe.faulty, weights, products)
        order = sorted(range(len(weights)), key=lambda k: scores[k])
        if recipe.aggregator == "multi_krum":
            shares = _take(recipe.faulty, weights, order)
        else:
            shares = [int(k == order[0]) for k in range(len(weights))]
    return np.array(shares, object)


def _compute_scores(faulty: int, weights: Sequence[int], products: Integers) -> Sequence[int]:
    """Sum each update's squared distances to the weight nearest to it: Krum's score (arXiv 1703.02757).

    Its own weight is part of that, at distance zero. Krum as published leaves out one neighbour more; this is
    byzfl's. Who holds more weight than 1 - faulty scores zero and wins.
    """
    scores: Sequence[int] = (_take_nearest(faulty, weights, products) * _compute_distances(products)).sum(axis=1)
    return scores


def _find_geometric_median(weights: Sequence[int], products: Integers) -> list[int]:
    """Find coefficients, in 2**-24, of the point with the least weighted sum of distances to all updates.

    Weiszfeld's steps from the mean (RFA, arXiv 1912.13445): a faulty share f that lies far off is left behind by a
    factor of f / (1 - f) a step. The smoothing, 2**-14 of the median distance, frees a step from an update on
    which it lands; without it, who sits on the mean would keep it there. An update more than 2**20 times as long
    as the others gains by the rounding of its coefficient: clip against that.
    """
    coefficients = _apportion(weights, sum(weights), _ONE)
    for _ in range(_STEPS):
        distances = _compute_distances_from(coefficients, products)
        smoothing = 1 + (find_median(weights, distances) >> 14)
        scale = (max(distances) + smoothing) << 32
        pulls = [
            weight * (scale // (distance + smoothing)) for weight, distance in zip(weights, distances, strict=True)
        ]
        coefficients = _apportion(pulls, sum(pulls), _ONE)
    return coefficients


def _compute_distances_from(coefficients: Sequence[int], products: Integers) -> list[int]:
    # |sum(c x) / s - x_i|**2 * s**2 = c P c - 2 s (P c)_i + s**2 P_ii, for coefficients that sum to s.
    c = np.array(coefficients, object)
    s, inner = sum(coefficients), products @ c
    # Below zero where no points have such distances: each two were compared by something of their own.
    return [isqrt(max(0, square)) for square in c @ inner - 2 * s * inner + s**2 * products.diagonal()]


def _apportion(parts: Sequence[int], whole: int, total: int) -> list[int]:
    """Give each part its share of `total`, in integers that sum to the share of all parts, rounded down.

    Rounds the running sum, so neighbours' shares add up to what one in their place would get: no copy gains.

    >>> _apportion([1, 1, 1], 3, 8)
    [2, 3, 3]
    """
    ends = (reached * total // whole for reached in accumulate(parts, initial=0))
    return [end - start for start, end in pairwise(ends)]


def _fit(rows: Integers, unit: int, limit: int) -> tuple[list[list[int]], int]:
    # Exact if the fractions' common denominator is within the limit, else rounded to 1 / limit.
    divisor = min(limit, unit // gcd(unit, *rows.flat))
    return [_apportion(row, unit, divisor) for row in rows], divisor


def _restore(rows: list[list[int]], order: Sequence[int]) -> tuple[tuple[int, ...], ...]:
    places = sorted(range(len(order)), key=lambda place: order[place])
    return tuple(tuple(row[place] for place in places) for row in rows)


def _compute_cut(faulty: int, weights: Sequence[int]) -> tuple[tuple[int, ...], int]:
    # A total of which the faulty permille is whole: exact if there is one within the limit.
    total = lcm(sum(weights), 1000 // gcd(1000, faulty))
    total = total if total <= SORT_LIMIT else SORT_TOTAL
    return tuple(_apportion(weights, sum(weights), total)), total * faulty // 1000
