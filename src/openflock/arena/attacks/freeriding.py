"""Deltas that cost no training and are sent for the pay (Lin et al. 2019, arXiv 1911.12560; Fraboni et al. 2021)."""

from collections.abc import Sequence

import numpy as np

from openflock.arena.attacks.deltas import Measure, compute_length, fit_norm, measure_median, to_vector
from openflock.node.proposer import Delta


def zero(own: Delta, _honest: Sequence[Delta]) -> Delta:
    """Send the state back as it is: the plain free rider (Fraboni et al. 2021, arXiv 2006.11901). Knows nothing."""
    return {factor: np.zeros_like(vector) for factor, vector in own.items()}


def noise(
    own: Delta, honest: Sequence[Delta], *, seed: int, ratio: float = 1.0, measure: Measure = compute_length
) -> Delta:
    """Send noise of the honest median norm: the disguised free rider. Knows that norm; one passes for honest."""
    draw = np.random.default_rng(seed)
    drawn = {factor: to_vector(draw.normal(0, 2.0**16, vector.size)) for factor, vector in own.items()}
    return fit_norm(drawn, ratio * measure_median(own, honest, measure), measure)


def resend(own: Delta, _honest: Sequence[Delta], *, past: Delta, blur: float = 0.0, seed: int = 0) -> Delta:
    """Send an older delta anew: one's own, another's, or the last global move (delta weights, Lin et al. 2019).

    Needs only what is public. Encoded to the new state: the old bytes name another parent, and are refused. `past` must
    be of the factor that this round trains; ValueError if not. Without blur nothing is spent on hiding.
    """
    if {factor: vector.size for factor, vector in past.items()} != {f: vector.size for f, vector in own.items()}:
        raise ValueError("freeriding: the past delta is not of what this round trains")
    return _blur(past, blur, seed)


def copycat(own: Delta, honest: Sequence[Delta], *, whom: int = 0, blur: float = 0.05, seed: int = 0) -> Delta:
    """Send another's delta under some noise, so that the bytes differ.

    Knows the victim's delta, which in the protocol only its accomplices do before the commitments are made. `blur` is
    the noise's norm over the delta's: a cosine of 1 / sqrt(1 + blur**2), so 0.05 looks the same to the model, and 0.49
    is what passes under a bound on near-duplicates of 0.9.
    """
    return _blur((honest or (own,))[whom], blur, seed)


def _blur(delta: Delta, blur: float, seed: int) -> Delta:
    draw = np.random.default_rng(seed)
    blurred = {}
    for factor, vector in delta.items():
        sigma = blur * float(np.sqrt(np.mean(vector.astype(np.float64) ** 2)))
        blurred[factor] = to_vector(vector + draw.normal(0, sigma, vector.size))
    return blurred
