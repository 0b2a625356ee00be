"""Deltas that break training, by the formulas of their papers, in the numbers of the trained factor.

Where a formula has a mean and a deviation, they are those of the honest deltas of the round, which an omniscient
attacker knows; defaults are byzfl's where it has the attack.
"""

from collections.abc import Sequence
from math import sqrt
from statistics import NormalDist
from typing import Literal

import numpy as np

from openflock.arena.attacks.deltas import Matrix, get_factor, lay_out, to_vector
from openflock.node.proposer import Delta
from openflock.update.fixed import FRACTION_BITS

Direction = Literal["std", "unit", "sign"]

_SLACK = 1 - 1e-9  # for the rounding of float sums


def gaussian(own: Delta, _honest: Sequence[Delta], *, seed: int, sigma: float = 1.0) -> Delta:
    """Send noise of a deviation in weights, whatever was learned (Blanchard et al. 2017, arXiv 1703.02757).

    Needs to know nothing. One, FLPoison's default, is hundreds of times what training moves a weight: it breaks any
    mean. The rules' norm ceiling refuses it; for noise that passes there is freeriding.noise.
    """
    draw = np.random.default_rng(seed)
    return {f: to_vector(draw.normal(0, sigma * 2**FRACTION_BITS, vector.size)) for f, vector in own.items()}


def sign_flip(own: Delta, _honest: Sequence[Delta], *, strength: float = 1.0) -> Delta:
    """Send the own honest delta backwards (Allen-Zhu et al. 2021, arXiv 2012.14368).

    Needs to know nothing. One keeps its norm honest; the surveys go up to 4.
    """
    factor = get_factor(own)
    return {factor: to_vector(-strength * own[factor].astype(np.float64))}


def ipm(own: Delta, honest: Sequence[Delta], *, epsilon: float = 2.0) -> Delta:
    """Send the honest mean backwards: inner product manipulation (Xie et al. 2019, arXiv 1903.03936).

    Knows the honest mean. byzfl's 2 reverses the mean from a third of attackers on; 0.5 is the paper's hidden one,
    100 its loud one.
    """
    factor, known = lay_out(own, honest)
    return {factor: to_vector(-epsilon * known.mean(axis=0))}


def alie(own: Delta, honest: Sequence[Delta], *, z: float = 1.5) -> Delta:
    """Send mean - z * deviation of each number: a little is enough (Baruch et al. 2019, arXiv 1902.06156).

    Knows mean and deviation. 1.5 is byzfl's, which adds where the paper subtracts; compute_alie_bound gives the
    paper's own for a number of nodes.
    """
    factor, known = lay_out(own, honest)
    return {factor: to_vector(known.mean(axis=0) - z * _compute_deviation(known))}


def compute_alie_bound(nodes: int, attackers: int) -> float:
    """Compute the paper's z: as far from the mean as keeps the attackers inside a majority with some honest nodes.

    >>> round(compute_alie_bound(50, 24), 3)
    1.426
    """
    supporters = nodes // 2 + 1 - attackers
    return NormalDist().inv_cdf((nodes - attackers - supporters) / (nodes - attackers))


def min_max(own: Delta, honest: Sequence[Delta], *, direction: Direction = "std") -> Delta:
    """Leave the honest mean as far as no honest delta gets farther from this one than some are apart.

    Shejwalkar and Houmansadr, NDSS 2021. Knows all honest deltas. Their search halves its way to the distance; here
    it is solved for, and holds after rounding. The deviation is their strongest direction on the whole.
    """
    factor, known = lay_out(own, honest)
    mean, push = _aim(known, direction)
    offsets = known - mean
    widest = max(float(np.linalg.norm(offsets - offset, axis=1).max()) for offset in offsets)
    room = widest * _SLACK - sqrt(known.shape[1]) / 2  # what rounding may add to a distance
    if not push.any() or room < float(np.linalg.norm(offsets, axis=1).max()):
        return mimic(own, honest)
    # |gamma * push - offset| = room for each: the larger root, and the least of them.
    square, along = push @ push, offsets @ push
    gammas = (along + np.sqrt(along**2 - square * ((offsets**2).sum(axis=1) - room**2))) / square
    return {factor: to_vector(mean + gammas.min() * push)}


def min_sum(own: Delta, honest: Sequence[Delta], *, direction: Direction = "std") -> Delta:
    """Leave the honest mean as far as the sum of squared distances is no larger than that of some honest delta.

    As min_max otherwise, and more hidden.
    """
    factor, known = lay_out(own, honest)
    mean, push = _aim(known, direction)
    squares = ((known - mean) ** 2).sum(axis=1)
    # Sums over all from the mean: those of one honest delta are this much plus n times its own distance squared.
    widest = squares.sum() + len(known) * squares.max()
    room = sqrt(widest) * _SLACK - sqrt(known.size) / 2
    if not push.any() or room**2 < squares.sum() or room < 0:
        return mimic(own, honest)
    gamma = sqrt((room**2 - squares.sum()) / (len(known) * (push @ push)))
    return {factor: to_vector(mean + gamma * push)}


def mimic(own: Delta, honest: Sequence[Delta], *, whom: int = 0) -> Delta:
    """Send what one honest node sends, so that it counts too often (Karimireddy et al. 2022, arXiv 2006.09365).

    Knows that node's delta. Hurts where data differ; byzfl copies node 0, the paper the one that lies farthest
    out along the direction in which the honest differ most, and both the same node in all rounds.
    """
    factor, known = lay_out(own, honest)
    return {factor: to_vector(known[whom])}


def _aim(known: Matrix, direction: Direction) -> tuple[Matrix, Matrix]:
    """Give the mean and the direction in which to leave it, of any length."""
    mean: Matrix = known.mean(axis=0)
    directions = {"std": _compute_deviation(known), "unit": mean, "sign": np.sign(mean)}
    return mean, -directions[direction]


def _compute_deviation(known: Matrix) -> Matrix:
    # Of a sample, as byzfl's; of a single delta there is none.
    deviation: Matrix = known.std(axis=0, ddof=1) if len(known) > 1 else np.zeros(known.shape[1])
    return deviation
