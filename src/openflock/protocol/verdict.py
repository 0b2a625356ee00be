"""Verdict: what the opened ballots add up to for one proposal. The order of opening cannot matter."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from openflock.protocol.ballot import Mark
from openflock.protocol.rules import SHARE, Rules
from openflock.protocol.types import NO_FLAGS, Flag, Judgement, Verdict

UNSCORED = Flag.UNAVAILABLE | Flag.INADMISSIBLE | Flag.ABSTAIN


@dataclass(frozen=True)
class Voice:
    """One opened ballot's word on one proposal; the proposer's own is never among the voices."""

    domain: int
    weight: int
    mark: Mark


def compute_judgement(rules: Rules, voices: Sequence[Voice], own: int, domain: int, accused: bool) -> Judgement:
    """Judge a proposal from the given domain; `own` is the weight of its proposer's opened ballot, else 0.

    What a minority can block counts `own` in the whole, so that a third of all that opened blocks nothing, whoever
    proposes. What two thirds must uphold leaves it out: a culprit is no shield to itself. `accused`: a witness stands.
    Who abstains says nothing for the proposal, so over a third abstaining leaves it UNJUDGED, which costs nobody.
    """
    others = _weigh(voices)
    opened = others + own
    if 3 * _weigh(voices, Flag.UNAVAILABLE) > opened:
        return Judgement(Verdict.UNAVAILABLE)
    if others and 3 * _weigh(voices, Flag.INADMISSIBLE) >= 2 * others:
        return Judgement(Verdict.INADMISSIBLE)
    scored = [voice for voice in voices if not voice.mark.flags & UNSCORED]
    if not scored or 3 * (others - _weigh(scored)) > opened:
        return Judgement(Verdict.UNJUDGED)
    if accused and 3 * _weigh(scored, Flag.SUSPECT) >= 2 * others:
        return Judgement(Verdict.SUSPECT)
    if is_harmful(rules, scored, opened):
        return Judgement(Verdict.HARMFUL)
    benefit = compute_benefit(rules, [voice for voice in scored if voice.domain == domain])
    if benefit:
        return Judgement(Verdict.PAID, benefit)
    return Judgement(Verdict.UNPROVEN if rules.reject_unproven else Verdict.UNPAID)


def is_harmful(rules: Rules, scored: Sequence[Voice], opened: int) -> bool:
    """Answer whether more than the quorum of the opened weight saw harm, in domains most of which saw it.

    The quorum is the share of stake that may be malicious: whatever can object alone can also object falsely.
    """
    harmed = 0
    for domain in range(rules.domains):
        own = [voice for voice in scored if voice.domain == domain]
        saw = _weigh(voice for voice in own if voice.mark.score < -rules.tolerance)
        if 2 * saw > _weigh(own):
            harmed += saw
    return SHARE * harmed > rules.domain_quorum * opened


def compute_benefit(rules: Rules, own: Sequence[Voice]) -> int:
    """Compute the benefit that other holders of the proposer's domain saw: a score up to `full_benefit`, or 0."""
    if len(own) < 2:
        return 0
    benefit = compute_lower_median(own)
    return min(benefit, rules.full_benefit) if benefit >= rules.min_benefit else 0


def compute_lower_median(voices: Iterable[Voice]) -> int:
    """Compute the least score at which half of the weight is reached.

    >>> compute_lower_median([Voice(0, 1, Mark(-5)), Voice(0, 1, Mark(7))])
    -5
    """
    ranked = sorted(voices, key=lambda voice: voice.mark.score)
    total, reached = _weigh(ranked), 0
    for voice in ranked:
        reached += voice.weight
        if 2 * reached >= total:
            return voice.mark.score
    raise ValueError("verdict: the median of no scores")


def is_witness_denied(voices: Sequence[Voice]) -> bool:
    """Answer whether two thirds of the opened weight tested the witnesses and found nothing."""
    opened = sum(voice.weight for voice in voices)
    denied = [voice for voice in voices if not voice.mark.flags & (UNSCORED | Flag.SUSPECT)]
    return 3 * _weigh(denied) >= 2 * opened > 0


def _weigh(voices: Iterable[Voice], flag: Flag = NO_FLAGS) -> int:
    return sum(voice.weight for voice in voices if voice.mark.flags & flag == flag)
