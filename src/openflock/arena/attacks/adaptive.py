"""An attacker who knows code, rules and thresholds: search for the strongest candidate that passes."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import exp, log, sqrt
from typing import Final, Generic, TypeVar

MIN_TRIES: Final = 20

C = TypeVar("C")
Family = Callable[[float, float], C]  # scale, stealth -> candidate
Evaluate = Callable[[C], tuple[bool, float]]  # candidate -> does it pass, how strong is it


@dataclass(frozen=True)
class Try:
    """One candidate's place in the family, and what came of it."""

    scale: float
    stealth: float
    passes: bool
    strength: float


@dataclass(frozen=True)
class Found(Generic[C]):
    """The strongest candidate that passed, None if none did, and all that was tried, in order."""

    candidate: C | None
    best: Try | None
    trace: tuple[Try, ...]


def search(
    evaluate: Evaluate[C],
    family: Family[C],
    seed: int,
    scales: tuple[float, float] = (0.1, 10.0),
    stealths: Sequence[float] = (0.0, 0.5, 0.9),
    tries: int = 40,
) -> Found[C]:
    """Bisect the scale for each stealth, then spend what is left of `tries` around the best.

    Bisection supposes that a candidate which passes would do so at any smaller scale; the random tries that follow,
    a quarter of all and whatever bisection saved, do not, and half of them are drawn anywhere. The default scales,
    around the honest norm, reach from what hides in rounding to what any norm check sees; with 40 tries and three
    stealths bisection comes within 2 % of what passes, with 20 it may stop at little over half.
    constrain_and_scale(own, honest, blend=1 - stealth, ratio=scale) is a family that they fit; another trains with
    1 - stealth of the loss on the backdoor. The same arguments give the same search. ValueError under 20 tries: a
    weaker attacker than the arena promises.
    """
    if tries < MIN_TRIES or not 0 < scales[0] < scales[1] or len(stealths) * 2 > tries * 3 // 4:
        raise ValueError(f"adaptive: give at least {MIN_TRIES} tries, rising scales above 0 and fewer stealths")
    probe = _Probe(evaluate, family)
    for stealth in stealths:
        _bisect(probe, stealth, scales, tries * 3 // 4 // len(stealths))
    draw = random.Random(seed)
    while len(probe.trace) < tries:
        # Where all passes, the largest scale need not be the strongest: every other try is anywhere.
        near = probe.best if len(probe.trace) % 2 else None
        probe.attempt(*_draw_near(draw, near, scales, (min(stealths), max(stealths))))
    return Found(probe.candidate, probe.best, tuple(probe.trace))


class _Probe(Generic[C]):
    """Tries candidates and remembers the strongest that passed."""

    def __init__(self, evaluate: Evaluate[C], family: Family[C]) -> None:
        self._evaluate, self._family = evaluate, family
        self.candidate: C | None = None
        self.best: Try | None = None
        self.trace: list[Try] = []

    def attempt(self, scale: float, stealth: float) -> bool:
        candidate = self._family(scale, stealth)
        passes, strength = self._evaluate(candidate)
        done = Try(scale, stealth, passes, strength)
        self.trace.append(done)
        if passes and (self.best is None or strength > self.best.strength):
            self.candidate, self.best = candidate, done
        return passes


def _bisect(probe: _Probe[C], stealth: float, scales: tuple[float, float], most: int) -> None:
    """Close in on the largest scale that passes, by ratios; stop where both ends tell the same."""
    low, high = scales
    if probe.attempt(high, stealth) or not probe.attempt(low, stealth):
        return
    for _ in range(most - 2):
        middle = sqrt(low * high)
        low, high = (middle, high) if probe.attempt(middle, stealth) else (low, middle)


def _draw_near(
    draw: random.Random, best: Try | None, scales: tuple[float, float], stealths: tuple[float, float]
) -> tuple[float, float]:
    """Draw a place near the best one, anywhere if there is none."""
    if best is None:
        return exp(draw.uniform(*map(log, scales))), draw.uniform(*stealths)
    scale = best.scale * exp(draw.gauss(0, 0.25))
    stealth = best.stealth + draw.gauss(0, 0.25) * (stealths[1] - stealths[0])
    return min(max(scale, scales[0]), scales[1]), min(max(stealth, stealths[0]), stealths[1])
