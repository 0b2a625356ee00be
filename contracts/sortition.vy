# pragma version ==0.4.3
"""
@title Sortition: seats drawn by stake, in O(log n) a seat
@license Apache-2.0
@notice Mirrors `openflock.protocol.sortition`. The sum tree is a heap: node 1
        is the total, the leaf of member `i` is node `MAX_NODES + i`.
"""


import errors
import phases
import types


uses: phases


PROPOSERS: constant(uint256) = 0
VOTERS: constant(uint256) = 1
LEVELS: constant(uint256) = 12  # MAX_NODES == 2**LEVELS
TAG: constant(uint256) = 64  # above any position in a committee


members: DynArray[address, types.MAX_NODES]  # who can be drawn
places: HashMap[address, uint256]  # a member's position and 1
tree: uint256[2 * types.MAX_NODES]

nodes: DynArray[address, types.MAX_SEATS][2]  # each committee, in order of its draw
weights: DynArray[uint256, types.MAX_SEATS][2]  # seats drawn, or stake if all are drawn
tags: HashMap[uint256, HashMap[address, uint256]]  # round and position, so never cleared


@internal
def _place(account: address, stake: uint256):
    """
    @dev Makes an account a member with `stake`, or with none no member.
    """
    place: uint256 = self.places[account]
    if stake == 0:
        if place != 0:
            self._remove(account, place - 1)
        return
    if place == 0:
        errors._require(len(self.members) < types.MAX_NODES, "stakes: the task is full")
        self.members.append(account)
        place = len(self.members)
        self.places[account] = place
    self._set_leaf(place - 1, stake)


@internal
def _remove(account: address, position: uint256):
    """
    @dev The last member moves into the place of the one taken out.
    """
    last: address = self.members.pop()
    stake: uint256 = self.tree[types.MAX_NODES + len(self.members)]
    self._set_leaf(len(self.members), 0)
    self.places[account] = 0
    if position < len(self.members):
        self.members[position] = last
        self.places[last] = position + 1
        self._set_leaf(position, stake)


@internal
def _set_leaf(position: uint256, stake: uint256):
    """
    @dev Changes a member's stake and every sum above it.
    """
    node: uint256 = types.MAX_NODES + position
    before: uint256 = self.tree[node]
    if stake == before:
        return
    for level: uint256 in range(LEVELS + 1):
        self.tree[node] = self.tree[node] + stake - before
        node //= 2


@internal
@view
def _find_leaf(ticket: uint256) -> uint256:
    """
    @dev Finds the member whose stretch of [0, total) holds `ticket`.
    """
    point: uint256 = ticket
    node: uint256 = 1
    for level: uint256 in range(LEVELS):
        node *= 2
        left: uint256 = self.tree[node]
        if point >= left:
            point -= left
            node += 1
    return node - types.MAX_NODES


@internal
@pure
def _compute_target(first: uint256, number: uint256) -> uint256:
    """
    @dev Each missed target is followed by another, as fixed as the first.
    """
    return number - 1 - (number - 1 - first) % types.SEED_WINDOW


@internal
def _draw(committee: uint256, seats: uint256, seed: bytes32) -> uint256:
    """
    @dev Draws seats by stake with replacement, or takes everybody by stake
         where the seats suffice for all; returns the weight of the whole.
    """
    total: uint256 = self.tree[1]
    if len(self.members) <= seats:
        for i: uint256 in range(len(self.members), bound=types.MAX_SEATS):
            self._seat(committee, self.members[i], self.tree[types.MAX_NODES + i])
        return total
    for ticket: uint256 in range(seats, bound=types.MAX_SEATS):
        draw: uint256 = convert(keccak256(abi_encode(seed, committee, ticket)), uint256)
        self._seat(committee, self.members[self._find_leaf(draw % total)], 1)
    return seats


@internal
def _seat(committee: uint256, node: address, weight: uint256):
    """
    @dev Gives a node a seat, or one more; only the last adds to its weight.
    """
    seat: uint256 = self._find(committee, node)
    if seat != 0:
        self.weights[committee][seat - 1] += weight
        return
    self.nodes[committee].append(node)
    self.weights[committee].append(weight)
    self.tags[committee][node] = phases.number * TAG + len(self.nodes[committee])


@internal
@view
def _find(committee: uint256, node: address) -> uint256:
    """
    @dev Finds a node's position in a committee and 1, or 0 if it has no seat.
    """
    tag: uint256 = self.tags[committee][node]
    return tag % TAG if tag // TAG == phases.number else 0


@internal
def _dismiss():
    """
    @dev Empties both committees; the tags grow stale by themselves.
    """
    self.nodes[PROPOSERS] = []
    self.nodes[VOTERS] = []
    self.weights[PROPOSERS] = []
    self.weights[VOTERS] = []
