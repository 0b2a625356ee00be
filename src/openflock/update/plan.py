"""Say how updates become one, in a few small integers, and do it: piece by piece, and exactly."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Plan:
    """Say how updates x become one: virtual update m is sum(rows[m][k] * x[k]) / divisor.

    Without `coordinate` there is one row, and it is the merged delta. Otherwise each coordinate of the merged
    delta is the weighted lower median of the virtual updates' coordinates, or their weighted mean after weight
    `trim` was cut off at either end. Rows are not negative, and none sums to more than the divisor.
    """

    rows: tuple[tuple[int, ...], ...]
    divisor: int
    coordinate: Literal["median", "trimmed_mean"] | None = None
    weights: tuple[int, ...] = ()  # of the virtual updates
    trim: int = 0


@dataclass(frozen=True)
class Group:
    """Say which updates share a domain, what they count for together, and how they become one among themselves."""

    members: tuple[int, ...]
    weight: int
    plan: Plan


@dataclass(frozen=True)
class Grouped:
    """Say how updates become one where each domain merges its own: the groups' results are averaged by weight.

    The weights sum to at most 2**25.
    """

    groups: tuple[Group, ...]


AnyPlan = Plan | Grouped


def combine(plan: AnyPlan, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Merge updates by a plan: (K, n) integers up to 2**25 in size give (n,) integers, each rounded once, half-even.

    By groups each is rounded twice: in its group, then in the mean of the groups. Any part of the columns may be
    merged alone. A zero may be -0.0. A plan of one row needs memory for (n,) beside its input; the others for some of
    (K, n), and are fastest on parts that fit the cache, n of about 2**14.
    """
    if isinstance(plan, Grouped):
        return _average(plan, values)
    # Every sum stays below 2**51, so float64 holds it exactly, whatever the order in which BLAS adds.
    # One division then rounds once: n / d lies on a half-integer h, which float64 holds, or |n / d - h| is at
    # least 1 / 2d, more than half an ulp of n / d while |n| < 2**52. So the quotient never reaches a tie that
    # is none, and np.rint, which is half-even, sees on which side it lies.
    virtual: NDArray[np.float64] = np.array(plan.rows, np.float64) @ values  # times the divisor
    if plan.coordinate is None:
        total, divisor = virtual[0], plan.divisor
    elif plan.coordinate == "median":
        total, divisor = _sort_out_median(plan, virtual), plan.divisor
    else:
        total, divisor = _sum_trimmed(plan, virtual), plan.divisor * (sum(plan.weights) - 2 * plan.trim)
    total /= divisor
    merged: NDArray[np.float64] = np.rint(total, out=total)
    return merged


def _average(plan: Grouped, values: NDArray[np.float64]) -> NDArray[np.float64]:
    # Integers up to 2**25 times weights that sum to 2**25: exact in every order, and divided once, as above.
    total = np.zeros(values.shape[1])
    for group in plan.groups:
        total += group.weight * combine(group.plan, values[list(group.members)])
    total /= sum(group.weight for group in plan.groups)
    merged: NDArray[np.float64] = np.rint(total, out=total)
    return merged


def _sort_out_median(plan: Plan, virtual: NDArray[np.float64]) -> NDArray[np.float64]:
    order, reached = _sort(plan, virtual)
    middle = (2 * reached < sum(plan.weights)).sum(axis=0)[None]  # the first place at which half is reached
    median: NDArray[np.float64] = np.take_along_axis(virtual, np.take_along_axis(order, middle, 0), 0)[0]
    return median


def _sum_trimmed(plan: Plan, virtual: NDArray[np.float64]) -> NDArray[np.float64]:
    order, reached = _sort(plan, virtual)
    reached.clip(plan.trim, sum(plan.weights) - plan.trim, out=reached)
    kept = np.diff(reached, axis=0, prepend=float(plan.trim))
    kept *= np.take_along_axis(virtual, order, 0)
    total: NDArray[np.float64] = kept.sum(axis=0)
    return total


def _sort(plan: Plan, virtual: NDArray[np.float64]) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    order = virtual.argsort(axis=0)
    reached = np.array(plan.weights, np.float64)[order]
    for place in range(1, len(reached)):  # ten times as fast as cumsum, which walks down each column
        reached[place] += reached[place - 1]
    return order, reached
