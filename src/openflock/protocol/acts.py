"""The four acts of a round (and the appeal): what each commits to, who may, and what opening it records."""

from collections.abc import Mapping
from dataclasses import replace

from openflock.protocol.calls import Commit, Confirm, Expose, Publish, Reveal
from openflock.protocol.commitment import (
    compute_attestation_content,
    compute_ballot_content,
    compute_commitment,
    compute_update_content,
    compute_witness_content,
    hash_outcome,
)
from openflock.protocol.hashing import hash_values
from openflock.protocol.settlement import rank_witnesses
from openflock.protocol.stakes import Events, credit, require, resolve_attested
from openflock.protocol.types import (
    MAX_STAKE,
    ZERO_DIGEST,
    Act,
    Address,
    Attestation,
    Attested,
    Moment,
    Phase,
    Proposal,
    Reason,
    Seat,
    State,
    Witness,
    commit_phase,
    open_phase,
)

# --- Helpers -------------------------------------------------------------------------------------------------


def find_weight(seats: tuple[Seat, ...], node: Address) -> int:
    """Find a node's weight in a committee, 0 if it has no seat."""
    return next((seat.weight for seat in seats if seat.node == node), 0)


def find_slot(state: State, node: Address) -> int:
    """Find a proposer's slot; it must have one."""
    slots = [slot for slot, seat in enumerate(state.round.proposers) if seat.node == node]
    require(bool(slots), "rounds: not drawn as a proposer")
    return slots[0]


def get_act(state: State, opening: bool) -> Act:
    """Read which act the task is in, committing or opening."""
    phases: Mapping[Phase, Act] = {(open_phase if opening else commit_phase)(act): act for act in Act}
    require(state.phase in phases, "rounds: nothing to open now" if opening else "rounds: nothing to commit now")
    return phases[state.phase]


def open_commitment(state: State, moment: Moment, act: Act, node: Address, content: bytes, salt: bytes) -> None:
    """Check an opening against its commitment, use the commitment up, and stir the salt into the next seed."""
    require(moment.time <= state.deadline, "rounds: the deadline has passed")
    key = (act, node)
    require(state.round.commitments.get(key, b"") != b"", "commitments: nothing committed")
    task = state.genesis
    opened = compute_commitment(task.chain, task.task, state.round.number, act, node, content, salt)
    require(state.round.commitments[key] == opened, "commitments: does not open")
    state.round.commitments[key] = b""
    state.round.opened[act] = state.round.opened.get(act, 0) + 1
    stirred = hash_values(["address", "bytes32"], [node, salt])
    state.salts = bytes(a ^ b for a, b in zip(state.salts, stirred, strict=True))


def remember(before: Attested | None, number: int, attestation: Attestation) -> Attested:
    """Remember what a node attested; who said two things in a round is right in neither, so forcing an appeal costs."""
    outcome = hash_outcome(attestation)
    if before is not None and before.round == number and before.outcome != outcome:
        outcome = bytes(32)
    return Attested(number, outcome)


def weigh_attestation(state: State, act: Act, attestation: Attestation, weight: int, total: int) -> None:
    """Count an attestation; what two thirds of the weight attest is agreed."""
    key = (act, attestation.digest, attestation.duplicates)
    state.round.tally[key] = state.round.tally.get(key, 0) + weight
    state.round.vetoes += weight if attestation.veto else 0
    if 3 * state.round.tally[key] >= 2 * total:
        state.round.agreed = attestation


# --- Transitions ---------------------------------------------------------------------------------------------


def process_commit(state: State, call: Commit, moment: Moment) -> None:
    """Take a commitment from who may act; one an act, never replaced."""
    require(call.act == get_act(state, opening=False), "rounds: another act's phase")
    require(moment.time <= state.deadline, "rounds: the deadline has passed")
    require((call.act, call.sender) not in state.round.commitments, "commitments: already committed")
    require(call.commitment != bytes(32), "commitments: empty")
    _require_right_to_commit(state, call)
    state.round.commitments[call.act, call.sender] = call.commitment
    state.round.committed[call.act] = state.round.committed.get(call.act, 0) + 1
    if call.act == Act.WITNESS:
        state.round.bonds[call.sender] = call.bond
        state.round.held += call.bond


def _require_right_to_commit(state: State, call: Commit) -> None:
    if call.act == Act.WITNESS:
        require(call.bond >= state.genesis.rules.witness_bond, "rounds: less than the witness bond")
        require(call.bond <= MAX_STAKE, "rounds: bond out of range")
        return
    require(call.bond == 0, "rounds: only witnesses carry a bond")
    if call.act == Act.UPDATE:
        find_slot(state, call.sender)
    elif call.act == Act.APPEAL:
        require(call.sender in state.members, "rounds: no stake to attest with")
    else:
        require(find_weight(state.round.voters, call.sender) > 0, "rounds: not drawn as a voter")


def process_publish(state: State, call: Publish, moment: Moment) -> None:
    """Open an update."""
    require(get_act(state, opening=True) == Act.UPDATE, "rounds: another act's phase")
    require(0 < call.size <= state.genesis.rules.max_size, "rounds: update too large")
    content = compute_update_content(call.digest, call.size)
    open_commitment(state, moment, Act.UPDATE, call.sender, content, call.salt)
    domain = state.nodes[call.sender].domain
    state.round.proposals[find_slot(state, call.sender)] = Proposal(call.digest, call.size, domain)


def process_expose(state: State, events: Events, call: Expose, moment: Moment) -> None:
    """Open a witness; only those with the highest bonds stand, the others are refunded at once."""
    require(get_act(state, opening=True) == Act.WITNESS, "rounds: another act's phase")
    require(call.slot in state.round.proposals, "rounds: no proposal in this slot")
    content = compute_witness_content(call.slot, call.digest)
    open_commitment(state, moment, Act.WITNESS, call.sender, content, call.salt)
    bond = state.round.bonds.pop(call.sender)
    state.round.held -= bond
    standing = (*state.round.witnesses.get(call.slot, ()), Witness(call.sender, bond, call.digest))
    standing = rank_witnesses(standing)
    kept = state.genesis.rules.witnesses
    for witness in standing[kept:]:
        credit(state, events, witness.account, Reason.REFUND, witness.bond)
    state.round.witnesses[call.slot] = standing[:kept]


def process_reveal(state: State, call: Reveal, moment: Moment) -> None:
    """Open a ballot."""
    require(get_act(state, opening=True) == Act.BALLOT, "rounds: another act's phase")
    content = compute_ballot_content(call.ballot, call.sealed)
    open_commitment(state, moment, Act.BALLOT, call.sender, content, call.salt)
    state.round.ballots[call.sender], state.round.sealed[call.sender] = call.ballot, call.sealed


def process_confirm(state: State, events: Events, call: Confirm, moment: Moment) -> None:
    """Open an attestation; in the appeal it weighs what its node has at stake now."""
    act = get_act(state, opening=True)
    require(act in (Act.ATTESTATION, Act.APPEAL), "rounds: another act's phase")
    require(call.digest != ZERO_DIGEST, "rounds: empty digest")
    attestation = Attestation(call.digest, call.duplicates, call.veto)
    content = compute_attestation_content(call.digest, call.duplicates, call.veto)
    open_commitment(state, moment, act, call.sender, content, call.salt)
    resolve_attested(state, events, call.sender)
    node = state.nodes[call.sender]
    state.nodes[call.sender] = replace(node, attested=remember(node.attested, state.round.number, attestation))
    if act == Act.APPEAL:
        weight = node.stake if call.sender in state.members else 0
        weigh_attestation(state, act, attestation, weight, state.round.total_stake)
    else:
        state.round.attestations[call.sender] = attestation
        total = sum(seat.weight for seat in state.round.voters)
        weigh_attestation(state, act, attestation, find_weight(state.round.voters, call.sender), total)
