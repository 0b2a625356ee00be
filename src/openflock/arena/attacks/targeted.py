"""Carry a delta that holds a backdoor past the others and past the checks: boosted, bounded, masked or in shares.

`own` is what training on poisoned rows gave. Norms are of the trained factor's numbers, unless `measure` is
deltas.measure_effect(state): then they are of the product, as admission and clipping see them.
"""

from collections.abc import Sequence

import numpy as np

from openflock.arena.attacks.deltas import (
    Measure,
    compute_length,
    fit_norm,
    lay_out,
    measure_median,
    scale,
    to_vector,
)
from openflock.node.proposer import Delta, Tamper
from openflock.update.fixed import LIMIT, Factor, Vector


def model_replacement(own: Delta, honest: Sequence[Delta], *, factor: float = 20.0, colluders: int = 1) -> Delta:
    """Send factor * own less a colluder's part of all the others', so that the mean is the own delta.

    Bagdasaryan et al. 2020 (arXiv 1807.00459). Without `honest` the others count for nothing, as the paper assumes near
    convergence. The factor that replaces exactly is all weight over the colluders', divided by the outer rate; 20 is
    FLPoison's. Each of the colluders takes off an equal part of the honest sum: all of it each would take it off more
    than once.
    """
    if not honest:
        return scale(own, factor)
    name, known = lay_out(own, honest)
    return {name: to_vector(factor * own[name].astype(np.float64) - known.sum(axis=0) / colluders)}


def scale_delta(factor: float) -> Tamper:
    """Give model replacement by one who knows nobody else's delta."""
    return lambda delta: model_replacement(delta, (), factor=factor)


def constrain_and_scale(
    own: Delta,
    honest: Sequence[Delta],
    *,
    blend: float = 0.5,
    ratio: float = 1.0,
    measure: Measure = compute_length,
) -> Delta:
    """Send the best trade between backdoor and likeness to the honest mean, scaled to the honest median norm.

    Bagdasaryan et al. 2020 train on blend * L_task + (1 - blend) * L_anomaly. With squares of the distances to the own
    delta and to the honest mean for the losses, the least is blend * own + (1 - blend) * mean. Knows all honest deltas.
    0.5 weighs both alike; a ratio of one is what clipping to the median leaves whole. The scaling goes up too.
    """
    name, known = lay_out(own, honest)
    blended = {name: to_vector(blend * own[name] + (1 - blend) * known.mean(axis=0))}
    return fit_norm(blended, ratio * measure_median(own, honest, measure), measure)


def aim(own: Delta, honest: Sequence[Delta], *, reach: float = 0.9) -> Delta:
    """Send an honest delta moved towards the own one, by less than honest deltas differ: against mixing and trimming.

    This project's own. As the nearest neighbour of an honest delta it is mixed with that one, and as two of three then
    agree, no trimmed mean leaves them out. Nothing else of it differs from honest work. Of the honest deltas, with whom
    it is merged, it takes the one that already lies furthest towards the own; `reach` is what it moves, in distances to
    the nearest other honest delta. Who knows less than two sends its own. On a chain nobody knows them in time: updates
    are opened when all are committed to.
    """
    if len(honest) < 2:
        return own
    name, known = lay_out(own, honest)
    way = own[name].astype(np.float64) - known.mean(axis=0)
    anchor = int(np.argmax(known @ way))
    gap = min(float(np.linalg.norm(known[anchor] - other)) for place, other in enumerate(known) if place != anchor)
    return {name: to_vector(known[anchor] + reach * gap * way / (np.linalg.norm(way) or 1.0))}


def veil(own: Delta, honest: Sequence[Delta], *, reach: float = 0.5) -> Delta:
    """Send what it would send if it were honest, moved by a share of its length towards the own delta.

    This project's own: what is left of `aim` for who knows nothing of the others, as on a chain. The first of `honest`
    is its own honest delta; without it, the own one is sent.
    """
    if not honest:
        return own
    name, (clean, *_) = lay_out(own, honest)
    way = own[name] - clean
    return {name: to_vector(clean + reach * float(np.linalg.norm(clean)) * way / (np.linalg.norm(way) or 1.0))}


def lean(own: Delta, honest: Sequence[Delta]) -> Delta:
    """Send in each number the honest value that lies furthest towards the own one: against trimming alone.

    This project's own. No number is beyond what an honest delta holds, so of three the median is this one; it moves a
    merge by half of what the honest differ in each number. Who knows less than two sends its own.
    """
    if len(honest) < 2:
        return own
    name, known = lay_out(own, honest)
    ahead = own[name] > known.mean(axis=0)
    return {name: to_vector(np.where(ahead, known.max(axis=0), known.min(axis=0)))}


def pgd(own: Delta, honest: Sequence[Delta], *, ratio: float = 1.0, measure: Measure = compute_length) -> Delta:
    """Project onto the ball around the state whose radius is the honest median norm (Wang et al. 2020, 2007.05084).

    Knows that norm, and nothing else of the others. The published radii (0.25, 0.083) are those of other models; a
    ratio of one passes any norm check that half of the honest pass. Projecting after each step of training is
    stronger than once at the end.
    """
    radius = ratio * measure_median(own, honest, measure)
    return own if measure(own) <= radius else fit_norm(own, radius, measure)


def neurotoxin(own: Delta, honest: Sequence[Delta], *, last: Delta | None = None, share: float = 0.1) -> Delta:
    """Leave alone what honest training moves most, so that it does not wash the backdoor out (arXiv 2206.10341).

    `last` is the last global move of the same factor: two rounds ago where factors alternate. Without it, the honest
    mean of this round, which only an omniscient attacker knows. Zeroes round(share * numbers), the largest of `last`;
    a tenth is what surveys mask, and a stronger mask weakens the backdoor itself. Projecting each step of training is
    stronger than once at the end.
    """
    name, known = lay_out(own, honest)
    moves = known.mean(axis=0) if last is None else last[name].astype(np.float64)
    masked = own[name].copy()
    masked[np.argsort(-np.abs(moves), kind="stable")[: round(share * masked.size)]] = 0
    return {name: masked}


def split_delta(delta: Delta, nodes: int, seed: int, spread: float = 1.0) -> list[Delta]:
    """Split a delta into shares for colluding nodes, each mostly noise, that sum to it exactly.

    After colluding LoRA (arXiv 2603.12681), whose adapters pass each review and act in sum; there the shares are
    trained, here they are additive shares of one delta. Each attacker needs only its own. `spread` is the noise's
    norm over the delta's: with m nodes, a share's cosine with the delta is 1 / sqrt(1 + (m * spread)**2).
    """
    shares: list[dict[Factor, Vector]] = [{} for _ in range(nodes)]
    draw = np.random.default_rng(seed)
    for factor, vector in delta.items():
        whole = vector.astype(np.int64)
        parts = np.array([whole * (node + 1) // nodes - whole * node // nodes for node in range(nodes)])
        # Each takes one noise and gives another: all cancel. Bounded, so that no share leaves the integers' range.
        sigma = spread * np.sqrt(np.mean(whole.astype(np.float64) ** 2) / 2)
        most = (LIMIT - np.abs(parts).max(axis=0)) // 2
        noise = np.rint(draw.normal(0, sigma, parts.shape)).clip(-most, most).astype(np.int64)
        for share, part in zip(shares, parts + noise - np.roll(noise, 1, axis=0), strict=True):
            share[factor] = part.astype(np.int32)
    return list(shares)
