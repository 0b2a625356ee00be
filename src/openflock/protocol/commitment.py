"""Commit and open: one scheme for updates, witnesses, ballots, attestations and appeals.

The hash binds chain, task, round, act and node, so a commitment copied from another place or account opens to
nothing. Contents of low entropy (a ballot) are hidden by the salt alone: 32 random bytes, never used twice.
"""

from openflock.protocol.calls import Confirm, Expose, Opening, Publish, Reveal
from openflock.protocol.hashing import hash_values
from openflock.protocol.types import Act, Address, Attestation, Digest


def compute_commitment(
    chain: int, task: Address, round_number: int, act: Act, node: Address, content: bytes, salt: bytes
) -> bytes:
    """Compute the 32-byte hash by which `node` commits to `content`."""
    types = ["uint256", "address", "uint256", "uint256", "address", "bytes32", "bytes32"]
    return hash_values(types, [chain, task, round_number, int(act), node, content, salt])


def compute_update_content(digest: Digest, size: int) -> bytes:
    """Compute what a proposer commits to."""
    return hash_values(["bytes32", "uint256"], [digest, size])


def compute_witness_content(slot: int, digest: Digest) -> bytes:
    """Compute what an accuser commits to."""
    return hash_values(["uint256", "bytes32"], [slot, digest])


def compute_ballot_content(ballot: int, sealed: int) -> bytes:
    """Compute what a voter commits to."""
    return hash_values(["uint256", "uint256"], [ballot, sealed])


def compute_attestation_content(digest: Digest, duplicates: int, veto: bool) -> bytes:
    """Compute what an attesting voter commits to."""
    return hash_values(["bytes32", "uint256", "bool"], [digest, duplicates, veto])


def compute_content(opening: Opening) -> bytes:
    """Compute what was committed to from the call that opens it."""
    match opening:
        case Publish():
            return compute_update_content(opening.digest, opening.size)
        case Expose():
            return compute_witness_content(opening.slot, opening.digest)
        case Reveal():
            return compute_ballot_content(opening.ballot, opening.sealed)
        case Confirm():
            return compute_attestation_content(opening.digest, opening.duplicates, opening.veto)


def hash_outcome(attestation: Attestation) -> bytes:
    """Hash what an attestation says the round leads to, its veto apart."""
    return hash_values(["bytes32", "uint256"], [attestation.digest, attestation.duplicates])
