"""Compare proposers by the direction in which they went over the rounds in which both took part.

Two honest holders of a domain differ by chance, in each round anew; who steers, steers one way. So a liar that lies
nearer to an honest update than the other honest one does, in every single round, falls behind as rounds add up: what
differs by chance grows with the root of their number, and what does not with the number (learning from history,
Karimireddy et al., arXiv 2012.10333). There workers send a momentum of their own; here nobody needs to be believed,
since what was merged is public.

Directions, and not differences: updates of one domain are nearly at right angles to one another, and of such the
shortest is nearest to all. So who sends more than is merged of it, and is clipped, would be drawn near by its length.
And all rounds count alike: who sends ten times as much while it is honest hides nothing.

The fewer rounds two have in common, the nearer to a right angle chance leaves them: a new name gains nothing. And who
has a long past is no nearer to one without for it: of the two only what they did together counts.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import isqrt
from typing import Final

import numpy as np
from numpy.typing import NDArray

from openflock.update.codec import Update
from openflock.update.fixed import Factor, GlobalState, Layout
from openflock.update.geometry import compute_products

UNIT: Final = 2**30  # the inner product of a direction with itself
_LARGEST: Final = 2**28 - 1  # of a scaled number: of eight rounds' at most the sum is within an int32

Rounds = frozenset[int]


@dataclass(frozen=True)
class Trail:
    """The sum of some updates of one proposer, each scaled, read as if it were one."""

    updates: Sequence[Update]
    scales: Sequence[float]

    @property
    def layout(self) -> Layout:
        """Say what the numbers are of."""
        return self.updates[0].layout

    def read(self, factor: Factor, start: int, stop: int) -> NDArray[np.float64]:
        """Give the numbers start to stop of a factor: integers, each round's rounded half-even and saturated."""
        total = np.zeros(stop - start)
        for update, scale in zip(self.updates, self.scales, strict=True):
            total += np.rint(scale * update.read(factor, start, stop)).clip(-_LARGEST, _LARGEST)
        return total


def compare_trails(
    state: GlobalState, updates: Sequence[Update], earlier: Sequence[Mapping[int, Update]], domains: Sequence[int]
) -> NDArray[np.object_]:
    """Compute the inner products of directions: of each two proposers of a domain, over the rounds of both, and now.

    `earlier` are, for each update, its proposer's of rounds before that trained the same factors, by how long ago. All
    are scaled to the length of the longest. (K, K) Python integers, with UNIT on the diagonal; between domains nothing
    is compared, and all is zero. What is zero has no direction, and is at right angles to all. Each two go by something
    of their own, so there need not be points anywhere that have these products.
    """
    sent = [{0: update, **before} for update, before in zip(updates, earlier, strict=True)]
    scales = _list_scales(state, sent)
    shared: dict[tuple[int, Rounds], list[tuple[int, int]]] = defaultdict(list)
    for one, other in combinations(range(len(updates)), 2):
        if domains[one] == domains[other]:
            shared[domains[one], frozenset(sent[one].keys() & sent[other].keys())].append((one, other))
    directions = np.zeros((len(updates), len(updates)), object)
    np.fill_diagonal(directions, UNIT)
    for (_, rounds), pairs in shared.items():
        members, agos = sorted({place for pair in pairs for place in pair}), sorted(rounds)
        trails = [Trail([sent[k][ago] for ago in agos], [scales[k][ago] for ago in agos]) for k in members]
        products = compute_products(state, trails)
        for pair in pairs:
            one, other = (members.index(place) for place in pair)
            length = isqrt(products[one, one] * products[other, other])
            cosine = products[one, other] * UNIT // length if length else 0
            directions[pair] = directions[pair[::-1]] = cosine
    return directions


def _list_scales(state: GlobalState, sent: Sequence[Mapping[int, Update]]) -> list[dict[int, float]]:
    """List what makes all updates as long as the longest, beside the frozen factor of now; zero where there is none.

    Measured one by one, since many at once need their number squared in memory. Each is one division of integers, so
    it is the same float everywhere.
    """
    squares = [{ago: compute_products(state, [each])[0, 0] for ago, each in mine.items()} for mine in sent]
    longest = max(square for mine in squares for square in mine.values())
    return [
        {ago: isqrt((longest << 64) // square) / 2**32 if square else 0.0 for ago, square in mine.items()}
        for mine in squares
    ]
