# pragma version ==0.4.3
"""
@title Settlement: what a round's end does to proposers, voters and witnesses
@license Apache-2.0
@notice Mirrors `openflock.protocol.settlement`. Bounded by 16 proposers, 32
        voters and 64 witnesses, whoever and however many the members are.
"""


from interfaces import ITask
import ballots
import commitments
import payout
import phases
import record
import rules
import sortition
import stakes
import types
import verdict


uses: commitments
uses: payout
uses: phases
uses: record
uses: rules
uses: sortition
uses: stakes
uses: verdict


SEALED: constant(uint256) = max_value(uint256) // 65_535 * 32_768  # the last bit of each of 16


@internal
def _settle(outcome: uint256):
    """
    @dev Ends the running round: fees, slashes, witnesses, pay; the caller
         starts the next.
    """
    judged: bool = outcome == types.MERGED or outcome == types.UNCHANGED
    self._charge_proposers()
    self._charge_voters()
    if judged:
        self._punish_proposers()
    self._settle_witnesses(judged)
    spent: uint256 = 0
    if outcome == types.MERGED:
        spent = self._pay_proposers()
        record.digest = record.round.agreed.digest
    if judged or outcome == types.VETOED:
        spent += self._pay_voters()
    # Not into the pool: who stops others' pay would raise its own.
    stakes._credit(stakes.CREATOR, types.REASON_RETURN, record.round.budget - spent)
    log ITask.Settled(
        round=phases.number, outcome=outcome, digest=record.digest, spent=spent
    )


# --- Judging ---


@internal
@view
def _get_votes() -> DynArray[ballots.Vote, types.MAX_SEATS]:
    """
    @dev Reads the opened ballots, in the order of the committee.
    """
    votes: DynArray[ballots.Vote, types.MAX_SEATS] = []
    for i: uint256 in range(len(sortition.nodes[sortition.VOTERS]), bound=types.MAX_SEATS):
        if record._is_in(record.round.voted, i):
            node: address = sortition.nodes[sortition.VOTERS][i]
            votes.append(
                ballots.Vote(
                    node=node,
                    domain=stakes.nodes[node].domain,
                    weight=sortition.weights[sortition.VOTERS][i],
                    ballot=record.ballots[i],
                    sealed=record.sealed[i],
                )
            )
    return votes


@internal
def _judge(votes: DynArray[ballots.Vote, types.MAX_SEATS]) -> bool:
    """
    @dev Judges every proposal; returns whether any is merged.
    """
    merged: bool = False
    for slot: uint256 in range(types.MAX_PROPOSERS):
        if not record._is_in(record.round.published, slot):
            continue
        proposer: address = sortition.nodes[sortition.PROPOSERS][slot]
        accused: bool = record._is_in(record.round.accused, slot)
        domain: uint256 = stakes.nodes[proposer].domain
        judgement: verdict.Judgement = verdict._compute_judgement(
            votes, slot, proposer, domain, accused
        )
        word: uint256 = judgement.verdict | (judgement.benefit << 4)
        record.round.judgements |= word << (16 * slot)
        if judgement.denied:
            record.round.denied |= 1 << slot
        log ITask.Judged(slot=slot, verdict=judgement.verdict, benefit=record._get_benefit(slot))
        merged = merged or record._is_merged(slot)
    return merged


# --- Faults ---


@internal
def _charge(node: address, fault: uint256, fee: uint256):
    """
    @dev Burns a fee, as far as the round's cap and the stake allow.
    """
    charged: uint256 = record.charged[phases.number][node]
    taken: uint256 = stakes._slash(node, fault, min(fee, rules.RULES.fee_cap - charged))
    if taken > 0:
        record.charged[phases.number][node] = charged + taken
        stakes._burn(taken)


@internal
def _charge_proposers():
    """
    @dev Charges who was drawn to propose and published nothing.
    """
    nodes: DynArray[address, types.MAX_SEATS] = sortition.nodes[sortition.PROPOSERS]
    slot: uint256 = 0
    for node: address in nodes:
        if not record._is_in(record.round.published, slot):
            self._charge(node, types.FAULT_NO_SHOW, rules.RULES.no_show_fee)
        slot += 1


@internal
def _charge_voters():
    """
    @dev Charges who was drawn to vote and stayed silent in an act that took
         place; more for a ballot hidden after others opened.
    """
    phase: uint256 = phases.phase
    if phase < types.VOTE:
        return
    nodes: DynArray[address, types.MAX_SEATS] = sortition.nodes[sortition.VOTERS]
    voter: uint256 = 0
    for node: address in nodes:
        if not record._is_in(record.round.voted, voter):
            if record.round.voted != 0 and commitments._has_committed(types.BALLOT, node):
                self._charge(node, types.FAULT_HIDDEN_BALLOT, rules.RULES.hidden_ballot_fee)
            else:
                self._charge(node, types.FAULT_NO_SHOW, rules.RULES.no_show_fee)
        if phase >= types.ATTEST and not record._is_in(record.round.attested, voter):
            if not self._is_excused(node, voter):
                self._charge(node, types.FAULT_NO_SHOW, rules.RULES.no_show_fee)
        voter += 1


@internal
@view
def _is_excused(node: address, voter: uint256) -> bool:
    """
    @dev Answers whether a voter said in time that it cannot fetch, or may not
         merge, what was accepted from another.
    """
    if not record._is_in(record.round.voted, voter):
        return False
    ballot: uint256 = record.ballots[voter]
    for slot: uint256 in range(types.MAX_PROPOSERS):
        refused: uint256 = ballots._get_flags(ballot, slot) & ballots.REFUSED
        if refused != 0 and record._is_merged(slot):
            if sortition.nodes[sortition.PROPOSERS][slot] != node:
                return True
    return False


@internal
def _punish_proposers():
    """
    @dev Takes from proposers what their verdicts cost; a backdoor's accusers
         get a part of it.
    """
    for slot: uint256 in range(types.MAX_PROPOSERS):
        ruling: uint256 = record._get_verdict(slot)
        if ruling < types.VERDICT_UNAVAILABLE or ruling > types.VERDICT_SUSPECT:
            continue
        node: address = sortition.nodes[sortition.PROPOSERS][slot]
        bond: uint256 = rules.RULES.bond
        if not record.round.everybody:
            bond *= sortition.weights[sortition.PROPOSERS][slot]
        if ruling == types.VERDICT_UNAVAILABLE:
            self._charge(node, types.FAULT_UNAVAILABLE, rules.RULES.no_show_fee)
        elif ruling == types.VERDICT_INADMISSIBLE:
            amount: uint256 = bond * rules.RULES.inadmissible_slash // rules.SHARE
            stakes._burn(stakes._slash(node, types.FAULT_INADMISSIBLE, amount))
        else:
            amount: uint256 = bond * rules.RULES.backdoor_slash // rules.SHARE
            self._pay_bounties(slot, stakes._slash(node, types.FAULT_BACKDOOR, amount))


@internal
def _pay_bounties(slot: uint256, taken: uint256):
    """
    @dev Shares at most half of what was actually taken, so accusing oneself
         never pays.
    """
    witnesses: DynArray[record.Witness, types.MAX_WITNESSES] = record.witnesses[phases.number][slot]
    bounty: uint256 = taken * rules.RULES.bounty_share // rules.SHARE // len(witnesses)
    for witness: record.Witness in witnesses:
        stakes._credit(witness.account, types.REASON_BOUNTY, bounty)
    stakes._burn(taken - bounty * len(witnesses))


@internal
def _settle_witnesses(judged: bool):
    """
    @dev Burns the bonds of denied and of never opened witnesses, refunds the
         others.
    """
    for slot: uint256 in range(types.MAX_PROPOSERS):
        if not record._is_in(record.round.accused, slot):
            continue
        denied: bool = judged and record._is_in(record.round.denied, slot)
        for witness: record.Witness in record.witnesses[phases.number][slot]:
            if denied:
                stakes._burn(witness.bond)
            else:
                stakes._credit(witness.account, types.REASON_REFUND, witness.bond)
    stakes._burn(record.round.held)


# --- Pay ---


@internal
def _pay_proposers() -> uint256:
    """
    @dev Credits merged proposals for their benefit; returns what was spent.
    """
    nodes: DynArray[address, types.MAX_SEATS] = sortition.nodes[sortition.PROPOSERS]
    total: uint256 = record.round.proposer_weight
    pot: uint256 = payout._compute_proposal_pot(record.round.budget)
    spent: uint256 = 0
    slot: uint256 = 0
    for node: address in nodes:
        if self._is_paid(slot):
            amount: uint256 = payout._compute_proposal_pay(
                pot,
                sortition.weights[sortition.PROPOSERS][slot],
                total,
                record._get_benefit(slot),
                self._count_alike(slot),
            )
            stakes._credit(node, types.REASON_PROPOSAL, amount)
            spent += amount
        slot += 1
    return spent


@internal
@view
def _is_paid(slot: uint256) -> bool:
    """
    @dev Old updates are merged, but earn nothing a second time.
    """
    paid: bool = record._get_verdict(slot) == types.VERDICT_PAID
    return paid and not payout._is_stale(record.round.agreed.duplicates, slot)


@internal
@view
def _count_alike(slot: uint256) -> uint256:
    """
    @dev Counts the paid proposals that share a slot's payout, itself included.
    """
    duplicates: uint256 = record.round.agreed.duplicates
    original: uint256 = payout._get_original(duplicates, slot)
    alike: uint256 = 0
    for other: uint256 in range(types.MAX_PROPOSERS):
        if self._is_paid(other):
            if payout._get_original(duplicates, other) == original:
                alike += 1
    return alike


@internal
def _pay_voters() -> uint256:
    """
    @dev Credits opened ballots and attestations; returns what was spent.
    """
    votes: DynArray[ballots.Vote, types.MAX_SEATS] = self._get_votes()
    budget: uint256 = record.round.budget
    pot: uint256 = budget - payout._compute_proposal_pot(budget)
    total: uint256 = record.round.voter_weight
    merged: uint256 = 0
    domains: uint256 = 0
    for slot: uint256 in range(types.MAX_PROPOSERS):
        if record._is_merged(slot):
            merged |= 1 << slot
            proposer: address = sortition.nodes[sortition.PROPOSERS][slot]
            domains |= stakes.nodes[proposer].domain << (4 * slot)
    spent: uint256 = 0
    for i: uint256 in range(len(votes), bound=types.MAX_SEATS):
        vote: ballots.Vote = votes[i]
        own: uint256 = self._get_own_slot(vote.node)
        amount: uint256 = payout._compute_vote_pay(
            pot,
            vote.weight,
            total,
            self._count_halves(vote.node),
            self._compare_with_peer(votes, vote, merged & ~own, domains),
            self._count_answers(vote.ballot, record.round.published & ~own),
        )
        stakes._credit(vote.node, types.REASON_VOTE, amount)
        spent += amount
    return spent


@internal
@view
def _compare_with_peer(
    votes: DynArray[ballots.Vote, types.MAX_SEATS],
    mine: ballots.Vote,
    merged: uint256,
    domains: uint256,
) -> payout.Fraction:
    """
    @dev Compares a voter with another of its domain, or of any where sealed rows
         proved something, picked by the seed and by weight, on what was merged;
         what was refused, all knew how to rank.
    """
    total: uint256 = 0
    anybody: bool = record.round.judgements & SEALED != 0
    for vote: ballots.Vote in votes:
        if (vote.domain == mine.domain or anybody) and vote.node != mine.node:
            total += vote.weight
    draw: uint256 = convert(keccak256(abi_encode(record.round.peer_seed, mine.node)), uint256)
    point: uint256 = draw % max(1, total)
    for vote: ballots.Vote in votes:
        if (vote.domain == mine.domain or anybody) and vote.node != mine.node:
            if point < vote.weight:
                return payout._compute_agreement(
                    [mine.ballot, mine.sealed],
                    [vote.ballot, vote.sealed],
                    merged & ~self._get_own_slot(vote.node),
                    record.round.judgements,
                    domains,
                    vote.domain == mine.domain,
                )
            point -= vote.weight
    return payout.Fraction(part=0, whole=1)


@internal
@view
def _count_answers(ballot: uint256, slots: uint256) -> payout.Fraction:
    """
    @dev The share of others' proposals to which a ballot gives a score, or a
         refusal that the verdict confirms.
    """
    answers: payout.Fraction = payout.Fraction(part=0, whole=0)
    for slot: uint256 in range(types.MAX_PROPOSERS):
        if not record._is_in(slots, slot):
            continue
        answers.whole += 1
        flags: uint256 = ballots._get_flags(ballot, slot)
        ruling: uint256 = record._get_verdict(slot)
        answered: bool = flags & ballots.UNSCORED == 0
        if ruling == types.VERDICT_UNAVAILABLE:
            answered = answered or flags & types.FLAG_UNAVAILABLE != 0
        elif ruling == types.VERDICT_INADMISSIBLE:
            answered = answered or flags & types.FLAG_INADMISSIBLE != 0
        if answered:
            answers.part += 1
    answers.whole = max(1, answers.whole)
    return answers


@internal
@view
def _get_own_slot(node: address) -> uint256:
    """
    @dev Reads the bit of a node's own slot, nothing if it did not propose.
    """
    return (1 << sortition._find(sortition.PROPOSERS, node)) >> 1


@internal
@view
def _count_halves(node: address) -> uint256:
    """
    @dev A ballot earns one half; the other is for having attested what became
         final, or for free where there was no such act.
    """
    if phases.phase < types.ATTEST:
        return 2
    voter: uint256 = sortition._find(sortition.VOTERS, node) - 1
    if not record._is_in(record.round.attested, voter):
        return 1
    agreed: record.Outcome = record.round.agreed
    if agreed.digest == empty(bytes32):
        return 2
    return 2 if record.attestations[voter] == record._hash_outcome(agreed) else 1
