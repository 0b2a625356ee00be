"""Sortition: seats drawn by stake, in O(log n) a seat.

The sum tree is a heap: node 1 is the total, the leaf of member `i` is node `MAX_NODES + i`. It is kept as a
sparse mapping, as a contract's storage is.
"""

from collections.abc import Sequence

from openflock.protocol.hashing import hash_values
from openflock.protocol.types import MAX_NODES, SEED_WINDOW, Address, Seat

Tree = dict[int, int]


def set_leaf(tree: Tree, position: int, value: int) -> None:
    """Change a member's stake and every sum above it."""
    node = MAX_NODES + position
    change = value - tree.get(node, 0)
    while node >= 1:
        tree[node] = tree.get(node, 0) + change
        node //= 2


def get_total(tree: Tree) -> int:
    """Read the sum of all leaves."""
    return tree.get(1, 0)


def find_leaf(tree: Tree, point: int) -> int:
    """Find the member whose stretch of [0, total) holds `point`."""
    node = 1
    while node < MAX_NODES:
        node *= 2
        left = tree.get(node, 0)
        if point >= left:
            point -= left
            node += 1
    return node - MAX_NODES


def compute_target(first: int, block: int) -> int:
    """Compute whose hash seeds the draw at `block`: each missed target is followed by another, as fixed as the first.

    >>> [compute_target(100, block) for block in (101, 356, 357, 613)]
    [100, 100, 356, 612]
    """
    return first + (block - 1 - first) // SEED_WINDOW * SEED_WINDOW


def compute_seed(blockhash: bytes, salts: bytes, round_number: int) -> bytes:
    """Mix a block's hash with the salts of the last round; neither is known to who closed the snapshot."""
    return hash_values(["bytes32", "bytes32", "uint256"], [blockhash, salts, round_number])


def compute_committee(
    tree: Tree, members: Sequence[Address], seats: int, seed: bytes, committee: int
) -> tuple[Seat, ...]:
    """Draw a committee: seats by stake with replacement, or everybody by stake where the seats suffice for all.

    The two agree in expectation, so splitting a stake over several nodes gains nothing in either.
    """
    if len(members) <= seats:
        return tuple(Seat(node, tree[MAX_NODES + i]) for i, node in enumerate(members))
    drawn: dict[Address, int] = {}
    for ticket in range(seats):
        point = compute_ticket(seed, committee, ticket) % get_total(tree)
        node = members[find_leaf(tree, point)]
        drawn[node] = drawn.get(node, 0) + 1
    return tuple(Seat(node, weight) for node, weight in drawn.items())


def compute_ticket(seed: bytes, committee: int, ticket: int) -> int:
    """Compute the random number of one seat; its remainder by the total is biased by less than 2**-128."""
    return int.from_bytes(hash_values(["bytes32", "uint256", "uint256"], [seed, committee, ticket]), "big")
