# pragma version ==0.4.3
"""
@title Acts: what each commits to, who may, and what opening it records
@license Apache-2.0
@notice Mirrors `openflock.protocol.acts`: updates, witnesses, ballots,
        attestations, and the appeal.
"""


from interfaces import ITask
import commitments
import errors
import phases
import record
import rules
import sortition
import stakes
import types
import vault


uses: commitments
uses: phases
uses: record
uses: rules
uses: sortition
uses: stakes
uses: vault


@external
@nonreentrant
def commit(act: uint256, commitment: bytes32, bond: uint256):
    """
    @notice See {ITask-commit}.
    """
    phases._require_act(act, False)
    commitments._commit(act, commitment)
    self._require_right_to_commit(act, bond)
    log ITask.Committed(sender=msg.sender, act=act, commitment=commitment, bond=bond)
    if act == types.WITNESS:
        record.bonds[phases.number][msg.sender] = bond
        record.round.held += bond
        vault._pull(bond)


@external
def publish(digest: bytes32, size: uint256, salt: bytes32):
    """
    @notice See {ITask-publish}.
    """
    phases._require_act(types.UPDATE, True)
    errors._require(size > 0 and size <= rules.RULES.max_size, "rounds: update too large")
    commitments._open(types.UPDATE, keccak256(abi_encode(digest, size)), salt)
    log ITask.Published(sender=msg.sender, digest=digest, size=size, salt=salt)
    record.round.published |= 1 << self._get_seat(sortition.PROPOSERS)


@external
def expose(slot: uint256, digest: bytes32, salt: bytes32):
    """
    @notice See {ITask-expose}.
    """
    phases._require_act(types.WITNESS, True)
    errors._require(record._is_in(record.round.published, slot), "rounds: no proposal in this slot")
    commitments._open(types.WITNESS, keccak256(abi_encode(slot, digest)), salt)
    log ITask.Exposed(sender=msg.sender, slot=slot, digest=digest, salt=salt)
    bond: uint256 = record.bonds[phases.number][msg.sender]
    record.round.held -= bond
    record.round.accused |= 1 << slot
    self._stand(slot, record.Witness(account=msg.sender, bond=bond))


@external
def reveal(ballot: uint256, sealed: uint256, salt: bytes32):
    """
    @notice See {ITask-reveal}.
    """
    phases._require_act(types.BALLOT, True)
    commitments._open(types.BALLOT, keccak256(abi_encode(ballot, sealed)), salt)
    log ITask.Revealed(sender=msg.sender, ballot=ballot, sealed=sealed, salt=salt)
    voter: uint256 = self._get_seat(sortition.VOTERS)
    record.ballots[voter] = ballot
    record.sealed[voter] = sealed
    record.round.voted |= 1 << voter


@external
def confirm(digest: bytes32, duplicates: uint256, veto: bool, salt: bytes32):
    """
    @notice See {ITask-confirm}.
    """
    act: uint256 = phases._get_act(True)
    errors._require(act >= types.ATTESTATION, "rounds: another act's phase")
    errors._require(digest != empty(bytes32), "rounds: empty digest")
    commitments._open(act, keccak256(abi_encode(digest, duplicates, veto)), salt)
    log ITask.Confirmed(
        sender=msg.sender, digest=digest, duplicates=duplicates, veto=veto, salt=salt
    )
    stakes._resolve_attested(msg.sender)
    outcome: record.Outcome = record.Outcome(digest=digest, duplicates=duplicates)
    stakes._remember_attested(msg.sender, record._hash_outcome(outcome))
    if act == types.APPEAL:
        # What a node has at stake now; slashed below the minimum, it has no say.
        weight: uint256 = 0
        if sortition.places[msg.sender] != 0:
            weight = stakes.nodes[msg.sender].stake
        record._weigh(act, outcome, veto, weight, record.round.total_stake)
    else:
        voter: uint256 = self._get_seat(sortition.VOTERS)
        record.attestations[voter] = record._hash_outcome(outcome)
        record.round.attested |= 1 << voter
        weight: uint256 = sortition.weights[sortition.VOTERS][voter]
        record._weigh(act, outcome, veto, weight, record.round.voter_weight)


@internal
@view
def _get_seat(committee: uint256) -> uint256:
    """
    @dev Reads the caller's position in a committee; who committed has one.
    """
    return sortition._find(committee, msg.sender) - 1


@internal
@view
def _require_right_to_commit(act: uint256, bond: uint256):
    if act == types.WITNESS:
        errors._require(bond >= rules.RULES.witness_bond, "rounds: less than the witness bond")
        errors._require(bond <= types.MAX_STAKE, "rounds: bond out of range")
        return
    errors._require(bond == 0, "rounds: only witnesses carry a bond")
    if act == types.UPDATE:
        proposes: bool = sortition._find(sortition.PROPOSERS, msg.sender) != 0
        errors._require(proposes, "rounds: not drawn as a proposer")
    elif act == types.APPEAL:
        errors._require(sortition.places[msg.sender] != 0, "rounds: no stake to attest with")
    else:
        votes: bool = sortition._find(sortition.VOTERS, msg.sender) != 0
        errors._require(votes, "rounds: not drawn as a voter")


@internal
def _stand(slot: uint256, witness: record.Witness):
    """
    @dev Keeps the witnesses with the highest bonds, ties by account, and
         refunds the one that falls out: the order of opening must not matter.
    """
    standing: DynArray[record.Witness, types.MAX_WITNESSES] = record.witnesses[phases.number][slot]
    ranked: DynArray[record.Witness, types.MAX_WITNESSES] = []
    last: record.Witness = witness
    for other: record.Witness in standing:
        if self._is_before(last, other):
            ranked.append(last)
            last = other
        else:
            ranked.append(other)
    if len(ranked) < rules.RULES.witnesses:
        ranked.append(last)
    else:
        stakes._credit(last.account, types.REASON_REFUND, last.bond)
    record.witnesses[phases.number][slot] = ranked


@internal
@pure
def _is_before(one: record.Witness, other: record.Witness) -> bool:
    if one.bond != other.bond:
        return one.bond > other.bond
    return convert(one.account, uint256) < convert(other.account, uint256)
