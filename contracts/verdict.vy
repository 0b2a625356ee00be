# pragma version ==0.4.3
"""
@title Verdict: what the opened ballots add up to for one proposal
@license Apache-2.0
@notice Mirrors `openflock.protocol.verdict`. Sums replace its sorted lists:
        a lower median is under a bound exactly if half of the weight is, and
        the one median that pays is found by bisection.
"""


import ballots
import rules
import types


uses: rules


WEIGHT: constant(uint256) = 2**128 - 1


struct Judgement:
    verdict: uint256
    benefit: uint256  # score units; 0 unless PAID
    denied: bool  # two thirds tested the witnesses and found nothing


# Weights of what the voters say, the proposer's own voice left out.
struct Count:
    own: uint256  # of the proposer's opened ballot
    others: uint256
    unavailable: uint256
    inadmissible: uint256
    scored: uint256
    suspect: uint256
    sealed: uint256  # with a score on sealed rows
    sealed_harmed: uint256
    harmed: uint256[16]  # by domain: scores below what noise explains
    scoring: uint256[16]


@internal
@view
def _compute_judgement(
    votes: DynArray[ballots.Vote, types.MAX_SEATS],
    slot: uint256,
    proposer: address,
    domain: uint256,
    accused: bool,
) -> Judgement:
    """
    @dev What a minority can block counts the proposer's own weight in the
         whole, so that a third of all that opened blocks nothing, whoever
         proposes. What two thirds must uphold leaves it out: a culprit is no
         shield to itself. Who abstains says nothing for the proposal, so
         over a third abstaining leaves it UNJUDGED, which costs nobody. What
         sealed rows could have proven and did not is not merged: without
         them a lone holder can prove nothing.
    """
    count: Count = self._count(votes, slot, proposer)
    opened: uint256 = count.others + count.own
    denied: bool = count.others > 0 and 3 * (count.scored - count.suspect) >= 2 * count.others
    judgement: Judgement = Judgement(verdict=types.VERDICT_UNPAID, benefit=0, denied=denied)
    if 3 * count.unavailable > opened:
        judgement.verdict = types.VERDICT_UNAVAILABLE
    elif count.others > 0 and 3 * count.inadmissible >= 2 * count.others:
        judgement.verdict = types.VERDICT_INADMISSIBLE
    elif count.scored == 0 or 3 * (count.others - count.scored) > opened:
        judgement.verdict = types.VERDICT_UNJUDGED
    elif accused and 3 * count.suspect >= 2 * count.others:
        judgement.verdict = types.VERDICT_SUSPECT
    elif self._is_harmful(count):
        judgement.verdict = types.VERDICT_HARMFUL
    else:
        seen: bool = 2 * count.sealed > opened
        weight: uint256 = count.sealed if seen else count.scoring[domain]
        scores: DynArray[uint256, types.MAX_SEATS] = self._gather(
            votes, slot, proposer, domain, seen
        )
        judgement.benefit = self._compute_benefit(scores, (weight + 1) // 2)
        if judgement.benefit > 0:
            judgement.verdict = types.VERDICT_PAID
        elif seen or rules.RULES.reject_unproven == 1:
            judgement.verdict = types.VERDICT_UNPROVEN
    return judgement


@internal
@view
def _count(
    votes: DynArray[ballots.Vote, types.MAX_SEATS], slot: uint256, proposer: address
) -> Count:
    """
    @dev Counts one slot of every ballot.
    """
    count: Count = empty(Count)
    for vote: ballots.Vote in votes:
        if vote.node == proposer:
            count.own = vote.weight
            continue
        count.others += vote.weight
        flags: uint256 = ballots._get_flags(vote.ballot, slot)
        if flags & types.FLAG_UNAVAILABLE != 0:
            count.unavailable += vote.weight
        if flags & types.FLAG_INADMISSIBLE != 0:
            count.inadmissible += vote.weight
        if flags & ballots.UNSCORED != 0:
            continue
        count.scored += vote.weight
        count.scoring[vote.domain] += vote.weight
        if flags & types.FLAG_SUSPECT != 0:
            count.suspect += vote.weight
        if ballots._get_score(vote.ballot, slot) < ballots.ZERO - rules.RULES.tolerance:
            count.harmed[vote.domain] += vote.weight
        if ballots._get_flags(vote.sealed, slot) != 0:
            count.sealed += vote.weight
            if ballots._get_score(vote.sealed, slot) < ballots.ZERO - rules.RULES.tolerance:
                count.sealed_harmed += vote.weight
    return count


@internal
@view
def _is_harmful(count: Count) -> bool:
    """
    @dev Answers whether more than the quorum of the opened weight saw harm, in
         domains most of which saw it. The quorum is the share of stake that
         may be malicious: whatever can object alone can also object falsely.
         On sealed rows all see the same, so there over half of the opened
         weight must see it.
    """
    if 2 * count.sealed_harmed > count.others + count.own:
        return True
    harmed: uint256 = 0
    for domain: uint256 in range(16):
        if 2 * count.harmed[domain] > count.scoring[domain]:
            harmed += count.harmed[domain]
    return rules.SHARE * harmed > rules.RULES.domain_quorum * (count.others + count.own)


@internal
@pure
def _gather(
    votes: DynArray[ballots.Vote, types.MAX_SEATS],
    slot: uint256,
    proposer: address,
    domain: uint256,
    sealed: bool,
) -> DynArray[uint256, types.MAX_SEATS]:
    """
    @dev Gathers the scores that prove a benefit, each over its weight: all on
         sealed rows, or those of the other holders of the proposer's domain.
    """
    scores: DynArray[uint256, types.MAX_SEATS] = []
    for vote: ballots.Vote in votes:
        if vote.node == proposer or ballots._get_flags(vote.ballot, slot) & ballots.UNSCORED != 0:
            continue
        word: uint256 = vote.sealed if sealed else vote.ballot
        if ballots._get_flags(word, slot) != 0 if sealed else vote.domain == domain:
            scores.append(ballots._get_score(word, slot) << 128 | vote.weight)
    return scores


@internal
@view
def _compute_benefit(scores: DynArray[uint256, types.MAX_SEATS], half: uint256) -> uint256:
    """
    @dev Computes the lower median of scores over their weights: 0 below
         `min_benefit` or seen by one, at most `full_benefit`.
    """
    # Gathered once: bisection goes over them up to a dozen times, and a call
    # would copy all votes each time.
    if len(scores) < 2:
        return 0
    low: uint256 = rules.RULES.min_benefit - 1
    high: uint256 = rules.RULES.full_benefit
    for bit: uint256 in range(11):
        if low == high:
            break
        middle: uint256 = (low + high) // 2
        weight: uint256 = 0
        for score: uint256 in scores:
            if score >> 128 <= ballots.ZERO + middle:
                weight += score & WEIGHT
        if weight >= half:
            high = middle
        else:
            low = middle + 1
    return low if low >= rules.RULES.min_benefit else 0
