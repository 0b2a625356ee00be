"""Verdict: what the opened ballots add up to for one proposal. The order of opening cannot matter."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from openflock.protocol.ballot import Mark
from openflock.protocol.rules import SHARE, Rules
from openflock.protocol.types import NO_FLAGS, Flag, Judgement, Round, Verdict

MERGED_VERDICTS = (Verdict.PAID, Verdict.UNPAID)
UNSCORED = Flag.UNAVAILABLE | Flag.INADMISSIBLE | Flag.ABSTAIN


@dataclass(frozen=True)
class Voice:
    """One opened ballot's word on one proposal; the proposer's own is never among the voices."""

    domain: int
    weight: int
    mark: Mark
    sealed: int = 0  # score on the rows that the creator sealed; 0: has none


def list_accepted(current: Round) -> list[int]:
    """List the slots whose updates a judged round merges."""
    return [slot for slot, judgement in enumerate(current.judgements) if judgement.verdict in MERGED_VERDICTS]


def compute_judgement(rules: Rules, voices: Sequence[Voice], own: int, domain: int, accused: bool) -> Judgement:
    """Judge a proposal from the given domain; `own` is the weight of its proposer's opened ballot, else 0.

    What a minority can block counts `own` in the whole, so that a third of all that opened blocks nothing, whoever
    proposes. What two thirds must uphold leaves it out: a culprit is no shield to itself. `accused`: a witness stands.
    Who abstains says nothing for the proposal, so over a third abstaining leaves it UNJUDGED, which costs nobody.
    What sealed rows could have proven and did not is not merged: without them a lone holder can prove nothing.
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
    proven = compute_proven(rules, scored, opened)
    if proven:
        return Judgement(Verdict.PAID, proven, sealed=True)
    if 2 * _weigh(voice for voice in scored if voice.sealed and voice.sealed < rules.min_benefit) > opened:
        return Judgement(Verdict.UNPROVEN)
    benefit = compute_benefit(rules, [voice for voice in scored if voice.domain == domain])
    if benefit:
        return Judgement(Verdict.PAID, benefit)
    return Judgement(Verdict.UNPROVEN if rules.reject_unproven else Verdict.UNPAID)


def is_harmful(rules: Rules, scored: Sequence[Voice], opened: int) -> bool:
    """Answer whether more than the quorum of the opened weight saw harm, in domains most of which saw it.

    The quorum is the share of stake that may be malicious: whatever can object alone can also object falsely. On sealed
    rows all see the same, so there over half of the opened weight must see it.
    """
    if 2 * _weigh(voice for voice in scored if voice.sealed < -rules.tolerance) > opened:
        return True
    harmed = 0
    for domain in range(rules.domains):
        own = [voice for voice in scored if voice.domain == domain]
        saw = _weigh(voice for voice in own if voice.mark.score < -rules.tolerance)
        if 2 * saw > _weigh(own):
            harmed += saw
    return SHARE * harmed > rules.domain_quorum * opened


def compute_proven(rules: Rules, scored: Sequence[Voice], opened: int) -> int:
    """Compute the benefit that over half of the opened weight saw on sealed rows, or 0.

    Of all that opened, not of those who looked: else a third could decide where others have not seen the rows.
    """
    reached = 0
    for voice in sorted(scored, key=lambda voice: -voice.sealed):
        reached += voice.weight
        if 2 * reached > opened:
            return _cut(rules, voice.sealed) if len(scored) > 1 else 0
    return 0


def compute_benefit(rules: Rules, own: Sequence[Voice]) -> int:
    """Compute the benefit that other holders of the proposer's domain saw: a score up to `full_benefit`, or 0."""
    return _cut(rules, compute_lower_median((voice.mark.score, voice.weight) for voice in own)) if len(own) > 1 else 0


def _cut(rules: Rules, score: int) -> int:
    return min(score, rules.full_benefit) if score >= rules.min_benefit else 0


def compute_lower_median(scores: Iterable[tuple[int, int]]) -> int:
    """Compute the least score at which half of the weight is reached, from scores with their weights.

    >>> compute_lower_median([(-5, 1), (7, 1)])
    -5
    """
    ranked = sorted(scores)
    total, reached = sum(weight for _, weight in ranked), 0
    for score, weight in ranked:
        reached += weight
        if 2 * reached >= total:
            return score
    raise ValueError("verdict: the median of no scores")


def is_witness_denied(voices: Sequence[Voice]) -> bool:
    """Answer whether two thirds of the opened weight tested the witnesses and found nothing."""
    opened = sum(voice.weight for voice in voices)
    denied = [voice for voice in voices if not voice.mark.flags & (UNSCORED | Flag.SUSPECT)]
    return 3 * _weigh(denied) >= 2 * opened > 0


def _weigh(voices: Iterable[Voice], flag: Flag = NO_FLAGS) -> int:
    return sum(voice.weight for voice in voices if voice.mark.flags & flag == flag)
