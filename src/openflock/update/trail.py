"""Compare proposers by what they did on average in the rounds in which both took part.

Two honest holders of a domain differ by chance, in each round anew; who steers, steers one way. So a liar that lies
nearer to an honest update than the other honest one does, in every single round, falls behind as rounds add up: what
differs by chance grows with the root of their number, and what does not with the number (learning from history,
Karimireddy et al., arXiv 2012.10333). There workers send a momentum of their own; here nobody needs to be believed,
since what was merged is public.

The fewer rounds two have in common, the further apart chance leaves them: a new name gains nothing. And who has a long
past is no nearer to one without for it: of the two only what they did together counts.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import lcm

import numpy as np
from numpy.typing import NDArray

from openflock.update.codec import Update
from openflock.update.compared import Compared
from openflock.update.fixed import Factor, GlobalState, Layout
from openflock.update.geometry import compute_products

Rounds = frozenset[int]


@dataclass(frozen=True)
class Trail:
    """The sum of some updates of one proposer, read as if it were one."""

    updates: Sequence[Update]

    @property
    def layout(self) -> Layout:
        """Say what the numbers are of."""
        return self.updates[0].layout

    def read(self, factor: Factor, start: int, stop: int) -> NDArray[np.float64]:
        """Give the numbers start to stop of a factor: integers, below 2**25 times the number of updates."""
        first, *others = (each.read(factor, start, stop) for each in self.updates)
        return sum(others, start=first)


def compare_trails(
    state: GlobalState, updates: Sequence[Update], earlier: Sequence[Mapping[int, Update]], domains: Sequence[int]
) -> Compared:
    """Compare the mean updates of each two proposers of a domain, over the rounds in which both were merged and now.

    `earlier` are, for each update, its proposer's of rounds before that trained the same factors, by how long ago.
    All are in one unit, as Python integers; between domains nothing is compared, and all is zero.
    """
    shared: dict[tuple[int, Rounds], list[tuple[int, int]]] = defaultdict(list)
    for one, other in combinations(range(len(updates)), 2):
        if domains[one] == domains[other]:
            both = frozenset(earlier[one].keys() & earlier[other].keys())
            shared[domains[one], both].append((one, other))
    whole = lcm(*(len(rounds) + 1 for _, rounds in shared)) ** 2
    squares, products = (np.zeros((len(updates), len(updates)), object) for _ in range(2))
    for (_, rounds), pairs in shared.items():
        members = sorted({place for pair in pairs for place in pair})
        trails = [Trail((updates[place], *(earlier[place][ago] for ago in sorted(rounds)))) for place in members]
        found = compute_products(state, trails) * (whole // len(trails[0].updates) ** 2)
        for pair in pairs:
            one, other = (members.index(place) for place in pair)
            squares[pair], squares[pair[::-1]] = found[one, one], found[other, other]
            products[pair] = products[pair[::-1]] = found[one, other]
    return Compared(squares, products)
