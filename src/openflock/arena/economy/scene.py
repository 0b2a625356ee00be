"""The words in which strategies are told: offers, players, and the scene that they play in.

An update is an `Offer`: what it does to the loss in each domain. A voter that looks sees it through the noise of its
rows. The numbers are measured (`Figures`); everything else is the protocol's.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache
from random import Random
from typing import TypeVar, cast

from openflock.protocol.ballot import Mark
from openflock.protocol.recipe import Recipe
from openflock.protocol.types import Address, Digest, State, Verdict
from openflock.update.robust import list_clips, list_shares

Work = TypeVar("Work")


@dataclass(frozen=True)
class Figures:
    """The numbers that stand in for models. Scores are counts of 1e-4 of relative loss, at a twelfth of the merge.

    From `openflock demo` (12 nodes, 4 domains, 4 rounds), read by `scripts/measure_scores.py runs/demo`, where nothing
    else is said.
    """

    domains: int = 4  # three that have holders, one that nobody honest holds
    share: float = 1 / 12  # dose at which the scores below were measured; others are proportional
    own: float = 440  # what a specialist's update does to its own domain, and how far updates differ
    own_spread: float = 160
    other: float = -55  # what it does to any other domain
    other_spread: float = 100
    rows_spread: float = 36  # how far two voters of a domain differ on one update
    broad: float = 200  # what a generalist's update does to each domain it trains on; assumed
    stale: float = 0.93  # part of its effect that an update of two rounds ago, sent again, still has
    noise: float = 20  # effect of a random update as long as an honest one
    loud: float = -1_500  # effect of a poison that hides nothing; assumed
    stealth: float = 0.9  # part of its benefit that an update with a hidden backdoor keeps; assumed
    found: float = 0.0  # chance that a searcher convicts a backdoor in a round; nobody searches by default
    # Tokens: a quarter of a node's part of a round's budget, by assumption; 3:2 is how long the demo's nodes take.
    training: float = 3.0
    evaluation: float = 2.0
    search: float = 4.0  # probes are to cost at most twice the evaluation
    examination: float = 1.0  # on sealed rows, if all together they are half as many as a voter's own


@dataclass(frozen=True)
class Offer:
    """What an update does to each domain, and what else a look at it shows."""

    effect: tuple[float, ...]
    rows: float = 1.0  # how far voters' rows differ on it, beside an honest update
    length: float = 1.0  # beside an honest update
    family: str = ""  # updates of one family are near-duplicates
    stale: bool = False  # a near-duplicate of what was merged in the last rounds
    admissible: bool = True
    backdoor: bool = False


@dataclass
class Player:
    """A node with a strategy; `partners` are its coalition, itself included."""

    address: Address
    role: str
    domain: int
    stake: int
    strategy: "Strategy"
    partners: frozenset[Address]
    draw: Random  # what its rows and its coins say
    cost: float = 0.0  # tokens spent on work


@dataclass
class Scene:
    """What a strategy may see; `offers` only through `look` and what a partner knows of its own."""

    figures: Figures
    recipe: Recipe
    seed: int
    state: State
    players: Mapping[Address, Player]
    offers: dict[Digest, Offer] = field(default_factory=dict)
    verdicts: dict[Address, Verdict] = field(default_factory=dict)  # the last that each proposer got
    benefits: dict[Address, int] = field(default_factory=dict)  # likewise; public, and so free
    published: list[dict[Address, Offer]] = field(default_factory=list)  # of each round so far
    shared: dict[tuple[str, frozenset[Address]], object] = field(default_factory=dict)  # work of a coalition's round
    sealed: bool = False  # the creator opens rows of each domain in each round

    def start_draw(self, player: Player) -> Random:
        """Start the randomness of a player's update: alike in all scenarios, so that seeds are pairs."""
        return Random(f"{self.seed} {self.state.round.number} {player.address}")

    def get_offer(self, slot: int) -> Offer:
        """Give what was published in a slot."""
        return self.offers[self.state.round.proposals[slot].digest]

    def list_doses(self, slots: Iterable[int]) -> dict[int, float]:
        """List at which dose each slot counts in a merge of these, beside the one at which effects were measured.

        The recipe's clip and rule are left aside, as where voters measure; so a sum of doses is no merge by Krum.
        """
        seats = {slot: self.state.round.proposers[slot] for slot in slots}
        weights = tuple(seat.weight for seat in seats.values())
        domains = tuple(self.players[seat.node].domain for seat in seats.values())
        return dict(zip(seats, _list_doses(self.recipe, weights, domains, self.figures.share), strict=True))

    def list_clips(self, slots: Iterable[int]) -> dict[int, Fraction]:
        """List what the clip leaves of each slot's length in a merge of these."""
        slots = tuple(slots)
        weights = tuple(self.state.round.proposers[slot].weight for slot in slots)
        lengths = tuple(self.get_offer(slot).length for slot in slots)
        return dict(zip(slots, _list_clips(self.recipe, weights, lengths), strict=True))

    def share_work(self, what: str, player: Player, work: Callable[[], Work]) -> Work:
        """Do a piece of work once in a round for a whole coalition."""
        key = (what, player.partners)
        if key not in self.shared:
            self.shared[key] = work()
        return cast(Work, self.shared[key])


@dataclass(frozen=True)
class Strategy:
    """What a node does in each act."""

    offer: Callable[[Scene, Player], Offer]
    mark: Callable[[Scene, Player, int], Mark]  # of another's slot
    accuse: Callable[[Scene, Player], int | None]  # a slot, by a witness
    veto: Callable[[Scene, Player], bool]
    examine: Callable[[Scene, Player, int, Mark], int | None]  # a slot on the sealed rows, the mark being its own word


@lru_cache(maxsize=256)
def _list_clips(recipe: Recipe, weights: tuple[int, ...], lengths: tuple[float, ...]) -> tuple[Fraction, ...]:
    return tuple(list_clips(recipe, weights, [round(1000 * length) ** 2 for length in lengths]))


@lru_cache(maxsize=256)  # every voter asks for every slot
def _list_doses(
    recipe: Recipe, weights: tuple[int, ...], domains: tuple[int, ...], measured: float
) -> tuple[float, ...]:
    return tuple(float(share) / measured for share in list_shares(recipe, weights, domains))
