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
ALL: constant(uint256) = 16  # in a domain's place: everybody, on sealed rows


struct Judgement:
    verdict: uint256
    benefit: uint256  # score units; 0 unless PAID; above them, if sealed rows proved it
    denied: bool  # two thirds tested the witnesses and found nothing


# Weights of what the voters say, the proposer's own voice left out.
struct Count:
    own: uint256  # of the proposer's opened ballot
    others: uint256
    unavailable: uint256
    inadmissible: uint256
    scored: uint256
    suspect: uint256
    proven: uint256  # scores on sealed rows that are a benefit
    unproven: uint256  # and those that are none, or harm
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
    elif 2 * count.unproven > opened:
        judgement.verdict = types.VERDICT_UNPROVEN
    else:
        # Over half of all that opened must see a benefit on sealed rows: else
        # a third could decide where others have not seen them.
        if 2 * count.proven > opened:
            half: uint256 = (2 * count.scored - opened + 1) // 2
            judgement.benefit = self._compute_benefit(votes, slot, proposer, ALL, half)
        if judgement.benefit > 0:
            judgement.benefit |= types.PROVEN
        else:
            half: uint256 = (count.scoring[domain] + 1) // 2
            judgement.benefit = self._compute_benefit(votes, slot, proposer, domain, half)
        if judgement.benefit > 0:
            judgement.verdict = types.VERDICT_PAID
        elif rules.RULES.reject_unproven == 1:
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
        sealed: uint256 = ballots._get_score(vote.sealed, slot)
        if sealed >= ballots.ZERO + rules.RULES.min_benefit:
            count.proven += vote.weight
        elif sealed != ballots.ZERO:
            count.unproven += vote.weight
            if sealed < ballots.ZERO - rules.RULES.tolerance:
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
@view
def _compute_benefit(
    votes: DynArray[ballots.Vote, types.MAX_SEATS],
    slot: uint256,
    proposer: address,
    domain: uint256,
    half: uint256,
) -> uint256:
    """
    @dev Computes the least score that voices of so much weight do not exceed,
         of the other holders of a domain or of ALL: 0 below `min_benefit` or
         seen by one, at most `full_benefit`. With half of their weight that
         is their lower median.
    """
    # Gathered once, a score over its weight: bisection goes over them up to a
    # dozen times, and a call would copy all votes each time.
    scores: DynArray[uint256, types.MAX_SEATS] = []
    for vote: ballots.Vote in votes:
        if domain != ALL and vote.domain != domain or vote.node == proposer:
            continue
        if ballots._get_flags(vote.ballot, slot) & ballots.UNSCORED == 0:
            word: uint256 = vote.sealed if domain == ALL else vote.ballot
            scores.append(ballots._get_score(word, slot) << 128 | vote.weight)
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
