# pragma version ==0.4.3
"""
@title Commitments: commit and open, one scheme for every act
@license Apache-2.0
@notice Mirrors `openflock.protocol.commitment`. The hash binds chain, task,
        round, act and node, so a commitment copied from another place or
        account opens to nothing.
"""


import errors
import phases


uses: phases


OPENED: constant(bytes32) = keccak256("commitments: opened")


commitments: HashMap[bytes32, bytes32]  # by round, act and node
committed: uint256  # in the running act
opened: uint256
salts: bytes32  # xor over all salts ever opened


@internal
def _start_act():
    """
    @dev Counts anew; what earlier acts committed stays on record.
    """
    self.committed = 0
    self.opened = 0


@internal
def _commit(act: uint256, commitment: bytes32):
    """
    @dev Takes the caller's commitment: one an act, never replaced.
    """
    phases._require_in_time()
    place: bytes32 = self._find_place(act, msg.sender)
    errors._require(self.commitments[place] == empty(bytes32), "commitments: already committed")
    errors._require(commitment != empty(bytes32), "commitments: empty")
    self.commitments[place] = commitment
    self.committed += 1


@internal
def _open(act: uint256, content: bytes32, salt: bytes32):
    """
    @dev Uses the caller's commitment up, and stirs the salt into the next seed.
    """
    phases._require_in_time()
    place: bytes32 = self._find_place(act, msg.sender)
    commitment: bytes32 = self.commitments[place]
    unopened: bool = commitment != empty(bytes32) and commitment != OPENED
    errors._require(unopened, "commitments: nothing committed")
    opened: bytes32 = keccak256(
        abi_encode(chain.id, self, phases.number, act, msg.sender, content, salt)
    )
    errors._require(commitment == opened, "commitments: does not open")
    self.commitments[place] = OPENED
    self.opened += 1
    stirred: uint256 = convert(keccak256(abi_encode(msg.sender, salt)), uint256)
    self.salts = convert(convert(self.salts, uint256) ^ stirred, bytes32)


@internal
@view
def _has_committed(act: uint256, node: address) -> bool:
    """
    @dev Answers whether a node committed to an act of this round, opened or not.
    """
    return self.commitments[self._find_place(act, node)] != empty(bytes32)


@internal
@view
def _find_place(act: uint256, node: address) -> bytes32:
    return keccak256(abi_encode(phases.number, act, node))
