"""Settlement: what a round's end does to its proposers, voters and witnesses, and to the budget."""

from collections.abc import Iterator

from openflock.protocol import payout
from openflock.protocol.ballot import get_mark, get_sealed_score
from openflock.protocol.calls import Settled
from openflock.protocol.hashing import hash_values
from openflock.protocol.recipe import LONGEST_MEMORY
from openflock.protocol.rules import SHARE
from openflock.protocol.stakes import Events, burn, credit, slash
from openflock.protocol.types import (
    Act,
    Address,
    Amount,
    Fault,
    Flag,
    Judgement,
    Merged,
    Outcome,
    Phase,
    Reason,
    Seat,
    State,
    Verdict,
    Witness,
)
from openflock.protocol.verdict import (
    MERGED_VERDICTS,
    UNSCORED,
    Voice,
    compute_judgement,
    is_witness_denied,
    list_accepted,
)

KEPT_MERGES = 2 * (LONGEST_MEMORY - 1)  # rounds that a merge may look back: as many of each factor as a memory has
JUDGED_OUTCOMES = (Outcome.MERGED, Outcome.UNCHANGED)


def settle(state: State, events: Events, outcome: Outcome) -> None:
    """End the running round: fees, slashes, witnesses, pay; the caller starts the next."""
    charge_no_shows(state, events)
    if outcome in JUDGED_OUTCOMES:
        punish_proposers(state, events)
    settle_witnesses(state, events, judged=outcome in JUDGED_OUTCOMES)
    spent = pay_proposers(state, events) if outcome == Outcome.MERGED else 0
    if outcome in (*JUDGED_OUTCOMES, Outcome.VETOED):
        spent += pay_voters(state, events)
    # Not into the pool: who stops others' pay would raise its own.
    credit(state, events, state.genesis.creator, Reason.RETURN, state.round.budget - spent)
    if outcome == Outcome.MERGED and state.round.agreed:
        accepted = list_accepted(state.round)
        merged = tuple(state.round.proposals[slot] for slot in accepted)
        nodes = tuple(state.round.proposers[slot].node for slot in accepted)
        state.merged = (*state.merged, Merged(state.digest, merged, nodes))[-KEPT_MERGES:]
        state.digest = state.round.agreed.digest
    events.append(Settled(state.round.number, outcome, state.digest, spent))


# --- Judging -------------------------------------------------------------------------------------------------


def get_voices(state: State, slot: int) -> list[Voice]:
    """Read what the opened ballots, save the proposer's own, say of a slot."""
    current = state.round
    return [
        Voice(
            state.nodes[seat.node].domain,
            seat.weight,
            get_mark(current.ballots[seat.node], slot),
            get_sealed_score(current.sealed[seat.node], slot),
        )
        for seat in current.voters
        if seat.node in current.ballots and seat.node != current.proposers[slot].node
    ]


def get_own_weight(state: State, slot: int) -> int:
    """Read the weight of the proposer's own opened ballot: it counts, but says nothing of its own slot."""
    proposer, ballots = state.round.proposers[slot].node, state.round.ballots
    return sum(seat.weight for seat in state.round.voters if seat.node == proposer and seat.node in ballots)


def judge_slot(state: State, slot: int) -> Judgement:
    """Judge one slot; without a proposal there is nothing to judge."""
    if slot not in state.round.proposals:
        return Judgement(Verdict.NONE)
    domain = state.nodes[state.round.proposers[slot].node].domain
    voices, own = get_voices(state, slot), get_own_weight(state, slot)
    return compute_judgement(state.genesis.rules, voices, own, domain, slot in state.round.witnesses)


# --- Faults --------------------------------------------------------------------------------------------------


def charge(state: State, events: Events, node: Address, fault: Fault, fee: Amount) -> None:
    """Burn a fee, as far as the round's cap and the stake allow."""
    charged = state.round.charged.get(node, 0)
    taken = slash(state, events, node, fault, min(fee, state.genesis.rules.fee_cap - charged))
    state.round.charged[node] = charged + taken
    burn(state, events, taken)


def charge_no_shows(state: State, events: Events) -> None:
    """Charge who was drawn and stayed silent in an act that took place."""
    rules, current = state.genesis.rules, state.round
    for slot, seat in enumerate(current.proposers):
        if slot not in current.proposals:
            charge(state, events, seat.node, Fault.NO_SHOW, rules.no_show_fee)
    for seat in current.voters:
        if state.phase >= Phase.VOTE and seat.node not in current.ballots:
            hidden = (Act.BALLOT, seat.node) in current.commitments and current.ballots
            fault, fee = (
                (Fault.HIDDEN_BALLOT, rules.hidden_ballot_fee) if hidden else (Fault.NO_SHOW, rules.no_show_fee)
            )
            charge(state, events, seat.node, fault, fee)
        silent = state.phase >= Phase.ATTEST and seat.node not in current.attestations
        if silent and not is_excused(state, seat.node):
            charge(state, events, seat.node, Fault.NO_SHOW, rules.no_show_fee)


def is_excused(state: State, node: Address) -> bool:
    """Answer whether a voter said in time that it cannot fetch, or may not merge, what was accepted from another."""
    ballot = state.round.ballots.get(node, 0)
    return any(
        judgement.verdict in MERGED_VERDICTS
        and get_mark(ballot, slot).flags & (Flag.UNAVAILABLE | Flag.INADMISSIBLE)
        and state.round.proposers[slot].node != node
        for slot, judgement in enumerate(state.round.judgements)
    )


def compute_bond(state: State, seat: Seat) -> Amount:
    """Compute what a proposer puts at risk: the bond of each seat drawn, or of one where everybody proposes."""
    return state.genesis.rules.bond * (1 if state.round.everybody else seat.weight)


def punish_proposers(state: State, events: Events) -> None:
    """Take from proposers what their verdicts cost; a backdoor's accusers get a part of it."""
    rules = state.genesis.rules
    for slot, judgement in enumerate(state.round.judgements):
        seat = state.round.proposers[slot]
        bond = compute_bond(state, seat)
        if judgement.verdict == Verdict.UNAVAILABLE:
            charge(state, events, seat.node, Fault.UNAVAILABLE, rules.no_show_fee)
        elif judgement.verdict == Verdict.INADMISSIBLE:
            amount = bond * rules.inadmissible_slash // SHARE
            burn(state, events, slash(state, events, seat.node, Fault.INADMISSIBLE, amount))
        elif judgement.verdict == Verdict.SUSPECT:
            taken = slash(state, events, seat.node, Fault.BACKDOOR, bond * rules.backdoor_slash // SHARE)
            pay_bounties(state, events, slot, taken)


def pay_bounties(state: State, events: Events, slot: int, taken: Amount) -> None:
    """Share at most half of what was actually taken among the accusers, so accusing oneself never pays."""
    witnesses = state.round.witnesses[slot]
    bounty = taken * state.genesis.rules.bounty_share // SHARE // len(witnesses)
    for witness in witnesses:
        credit(state, events, witness.account, Reason.BOUNTY, bounty)
    burn(state, events, taken - bounty * len(witnesses))


def settle_witnesses(state: State, events: Events, *, judged: bool) -> None:
    """Burn the bonds of denied and of never opened witnesses, refund the others."""
    for slot, witnesses in sorted(state.round.witnesses.items()):
        denied = judged and is_witness_denied(get_voices(state, slot))
        for witness in witnesses:
            if denied:
                burn(state, events, witness.bond)
            else:
                credit(state, events, witness.account, Reason.REFUND, witness.bond)
    burn(state, events, state.round.held)


def rank_witnesses(witnesses: tuple[Witness, ...]) -> tuple[Witness, ...]:
    """Order witnesses by bond, ties by account: the order of opening must not matter."""
    return tuple(sorted(witnesses, key=lambda witness: (-witness.bond, witness.account)))


# --- Pay -----------------------------------------------------------------------------------------------------


def pay_proposers(state: State, events: Events) -> Amount:
    """Credit merged proposals for their benefit; return what was spent."""
    current, spent = state.round, 0
    total = sum(seat.weight for seat in current.proposers)
    duplicates = current.agreed.duplicates if current.agreed else 0
    for slot, judgement in enumerate(current.judgements):
        if payout.is_paid(judgement, duplicates, slot):
            seat = current.proposers[slot]
            alike = payout.count_alike(current.judgements, duplicates, slot)
            rules, benefit = state.genesis.rules, judgement.benefit
            amount = payout.compute_proposal_pay(rules, current.budget, seat.weight, total, benefit, alike)
            credit(state, events, seat.node, Reason.PROPOSAL, amount)
            spent += amount
    return spent


def pay_voters(state: State, events: Events) -> Amount:
    """Credit opened ballots and attestations; return what was spent."""
    current, spent = state.round, 0
    total = sum(seat.weight for seat in current.voters)
    for seat in current.voters:
        if seat.node in current.ballots:
            halves = 1 + has_attested(state, seat.node)
            shares = compute_peer_agreement(state, seat.node), count_answers(state, seat.node)
            rules, budget = state.genesis.rules, current.budget
            amount = payout.compute_vote_pay(rules, budget, seat.weight, total, halves, *shares)
            credit(state, events, seat.node, Reason.VOTE, amount)
            spent += amount
    return spent


def has_attested(state: State, node: Address) -> bool:
    """Answer whether a voter earned the second half: it attested what became final, or there was no such act."""
    if state.phase < Phase.ATTEST:
        return True
    mine, agreed = state.round.attestations.get(node), state.round.agreed
    if mine is None:
        return False
    return agreed is None or (mine.digest, mine.duplicates) == (agreed.digest, agreed.duplicates)


def count_answers(state: State, node: Address) -> payout.Fraction:
    """Count the proposals of others that a voter answered, of all that there were; (0, 1) where there was none."""
    current = state.round
    slots = [slot for slot in current.proposals if current.proposers[slot].node != node]
    answered = sum(
        payout.is_answer(get_mark(current.ballots[node], slot), current.judgements[slot].verdict) for slot in slots
    )
    return answered, max(1, len(slots))


def pick_peer(state: State, node: Address) -> Address | None:
    """Pick by the seed, and by weight, another opened ballot of a voter's own domain; None if there is none.

    Of any domain where sealed rows proved something: all see the same there, and who has a domain to itself would
    always meet itself.
    """
    anybody = any(judgement.sealed for judgement in state.round.judgements)
    seats = [
        seat
        for seat in state.round.voters
        if seat.node in state.round.ballots and seat.node != node and (anybody or is_near(state, node, seat.node))
    ]
    draw = int.from_bytes(hash_values(["bytes32", "address"], [state.round.peer_seed, node]), "big")
    point = draw % max(1, sum(seat.weight for seat in seats))
    for seat in seats:
        if point < seat.weight:
            return seat.node
        point -= seat.weight
    return None


def is_near(state: State, node: Address, other: Address) -> bool:
    """Answer whether two nodes are of one domain: only then do their own rows show the same."""
    return state.nodes[other].domain == state.nodes[node].domain


def compute_peer_agreement(state: State, node: Address) -> payout.Fraction:
    """Compare how a voter and its peer rank what was merged; what was refused, all knew how to rank."""
    peer = pick_peer(state, node)
    return payout.compute_agreement(_pair_scores(state, node, peer)) if peer else (0, 1)


def _pair_scores(state: State, node: Address, peer: Address) -> Iterator[tuple[tuple[int, bool], int, int]]:
    """Pair what two voters say of what was merged, on own rows if they are near, and on sealed ones that proved it.

    Who has no score on sealed rows says 0 of all: not to look earns nothing.
    """
    current = state.round
    for slot, judgement in enumerate(current.judgements):
        proposer = current.proposers[slot].node
        mine, theirs = (get_mark(current.ballots[voter], slot) for voter in (node, peer))
        if (
            judgement.verdict not in MERGED_VERDICTS
            or proposer in (node, peer)
            or (mine.flags | theirs.flags) & UNSCORED
        ):
            continue
        domain = state.nodes[proposer].domain
        if is_near(state, node, peer):
            yield (domain, False), mine.score, theirs.score
        if judgement.sealed:
            mine_there, theirs_there = (get_sealed_score(current.sealed[voter], slot) for voter in (node, peer))
            yield (domain, True), mine_there, theirs_there
