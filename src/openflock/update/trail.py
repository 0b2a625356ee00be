"""Compare proposers by what their last updates did on average.

Two honest holders of a domain differ by chance, in each round anew; who steers, steers one way. So a liar that lies
nearer to an honest update than the other honest one does, in every single round, falls behind as rounds add up: what
differs by chance grows with the root of their number, and what does not with the number (learning from history,
Karimireddy et al., arXiv 2012.10333). There workers send a momentum of their own; here nobody needs to be believed,
since what was merged is public.

Who was not merged before is known by one update alone, and so looks further off than it is: a new name gains nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import lcm

import numpy as np
from numpy.typing import NDArray

from openflock.update.codec import Update
from openflock.update.fixed import Factor, GlobalState, Layout
from openflock.update.geometry import compute_products


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
    state: GlobalState, updates: Sequence[Update], earlier: Sequence[Sequence[Update]]
) -> NDArray[np.object_]:
    """Compute all inner products of the proposers' mean updates, in one unit, as Python integers.

    `earlier` are, for each update, its proposer's of rounds before that trained the same factors; 63 at most.
    """
    trails = [Trail((update, *before)) for update, before in zip(updates, earlier, strict=True)]
    whole = lcm(*(len(trail.updates) for trail in trails))
    shares = np.array([whole // len(trail.updates) for trail in trails], object)
    products: NDArray[np.object_] = shares[:, None] * compute_products(state, trails) * shares
    return products
