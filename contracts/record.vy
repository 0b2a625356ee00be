# pragma version ==0.4.3
"""
@title Record: all that one round adds; a new round starts empty
@license Apache-2.0
@notice What is kept by account or slot is keyed by the round's number, or
        stands under a bit of the round's words, so that nothing is cleared
        in a loop. Slots are positions in the committee of proposers.
"""


import phases
import sortition
import types


uses: phases
uses: sortition


# What a round leads to, as attested.
struct Outcome:
    digest: bytes32
    duplicates: uint256  # 4 bits a slot: what it near-duplicates; above, a bit a slot: stale


# An opened accusation: whose, and with which bond.
struct Witness:
    account: address
    bond: uint256


struct Round:
    tries: uint256
    seed: bytes32
    peer_seed: bytes32  # picks each voter's peer; fixed when the ballots are open
    budget: uint256
    everybody: bool  # all members propose, so each risks the bond of one seat
    total_stake: uint256
    proposer_weight: uint256
    voter_weight: uint256
    held: uint256  # bonds of witnesses not yet opened
    published: uint256  # a bit for each slot whose update is open
    accused: uint256  # a bit for each slot against which a witness stands
    denied: uint256  # a bit for each slot whose witnesses two thirds refuted
    voted: uint256  # a bit for each voter whose ballot is open
    attested: uint256  # a bit for each voter whose attestation is open
    judgements: uint256  # 16 bits a slot: 4 of the verdict, 11 of the benefit, and if sealed rows proved it
    agreed: Outcome  # what two thirds attested in this act
    vetoes: uint256


digest: bytes32  # the global state
round: Round
ballots: uint256[types.MAX_SEATS]  # by position of the voter
sealed: uint256[types.MAX_SEATS]  # the second words of the same ballots
attestations: bytes32[types.MAX_SEATS]
bonds: HashMap[uint256, HashMap[address, uint256]]
witnesses: HashMap[uint256, HashMap[uint256, DynArray[Witness, types.MAX_WITNESSES]]]
tally: HashMap[bytes32, uint256]  # weight behind an outcome in an act
charged: HashMap[uint256, HashMap[address, uint256]]  # fees taken in a round


@deploy
def __init__(genesis: bytes32):
    """
    @param genesis Digest of the initial global state.
    """
    self.digest = genesis


@internal
def _start_round():
    """
    @dev Forgets the last round; whatever it owed has been credited.
    """
    self.round = empty(Round)
    sortition._dismiss()
    phases.number += 1


@internal
@pure
def _is_in(members: uint256, position: uint256) -> bool:
    """
    @dev Answers whether a word has the bit of a slot or a voter.
    """
    return (members >> position) & 1 == 1


@internal
@view
def _get_verdict(slot: uint256) -> uint256:
    return (self.round.judgements >> (16 * slot)) & 15


@internal
@view
def _get_benefit(slot: uint256) -> uint256:
    return (self.round.judgements >> (16 * slot + 4)) & (types.PROVEN - 1)


@internal
@view
def _is_merged(slot: uint256) -> bool:
    verdict: uint256 = self._get_verdict(slot)
    return verdict == types.VERDICT_PAID or verdict == types.VERDICT_UNPAID


@internal
def _weigh(act: uint256, outcome: Outcome, veto: bool, weight: uint256, total: uint256):
    """
    @dev Counts an attestation; what two thirds of the weight attest is agreed.
    """
    key: bytes32 = keccak256(abi_encode(phases.number, act, self._hash_outcome(outcome)))
    backing: uint256 = self.tally[key] + weight
    self.tally[key] = backing
    if veto:
        self.round.vetoes += weight
    if 3 * backing >= 2 * total:
        self.round.agreed = outcome


@internal
@pure
def _hash_outcome(outcome: Outcome) -> bytes32:
    return keccak256(abi_encode(outcome.digest, outcome.duplicates))
