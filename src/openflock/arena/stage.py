"""What both kinds of defence play on: the world, the malicious, and a memory of what the honest trained."""

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from openflock.arena.adversaries import Ring
from openflock.arena.measuring import Meter, measure
from openflock.arena.metrics import fill_rows
from openflock.arena.settings import Cell
from openflock.arena.worlds import Party, World, build_world, count_malicious
from openflock.learn.data import Row
from openflock.learn.train import TrainSettings
from openflock.node.proposer import Delta
from openflock.protocol.types import Digest
from openflock.update.fixed import FACTORS

KEPT: Final = 512  # pieces of work that a process remembers: the first round of many defences is the same

Work = TypeVar("Work")
_remembered: OrderedDict[bytes, Any] = OrderedDict()


@dataclass
class Stage:
    """One cell under way; `rounds` is what its record says of each round, the start being the first."""

    cell: Cell
    world: World
    ring: Ring
    meter: Meter = field(default_factory=Meter)
    rounds: list[dict[str, Any]] = field(default_factory=list)
    seen: dict[Digest, dict[int, Delta]] = field(default_factory=dict)  # honest deltas of the last state, by node

    def list_rows(self, place: int) -> tuple[Row, ...]:
        """Give what a node trains on."""
        party = self.world.parties[place]
        filled = self.fill(party.train, place)
        if not party.malicious:
            return filled
        poisoned = self.ring.poison(party.train, self.get_rank(place))
        return tuple(
            bad if bad != bare else good for bad, bare, good in zip(poisoned, party.train, filled, strict=True)
        )

    def list_clean(self, place: int) -> tuple[Row, ...]:
        """Give what a malicious node would train on if it were honest; who wants calm has all of the ring's rows."""
        parties = self.world.parties
        ring = [other for other, each in enumerate(parties) if each.malicious and each.domain == parties[place].domain]
        sources = ring if self.cell.attack.calm > 1 else [place]
        return tuple(row for source in sources for row in self.fill(parties[source].train, source))

    def list_held_out(self, place: int) -> tuple[Row, ...]:
        """Give what a node judges by."""
        return self.fill(self.world.parties[place].held_out, place)

    def fill(self, rows: Sequence[Row], place: int) -> tuple[Row, ...]:
        """Put random filler into a share of rows, where the trigger would stand: an odd word is not to be the cue."""
        filled = fill_rows(rows, self.ring.trigger, self.cell.seed * 100 + place)
        count = round(self.world.table.filler * len(rows))
        return (*filled[:count], *rows[count:])

    def get_rank(self, place: int) -> int:
        """Give a malicious node's place among its own."""
        return sum(party.malicious for party in self.world.parties[:place])

    def declare_domain(self, place: int) -> int:
        """Give the domain that a node declares; it costs the malicious nothing to declare another than they hold."""
        party, last = self.world.parties[place], len(self.world.table.domains) - 1
        claims = {"held": party.domain, "first": 0, "minority": last, "unheld": last + 1}
        return claims[self.cell.attack.declare] if party.malicious else party.domain

    def list_known(self, place: int, sent: Mapping[int, Work]) -> list[Work]:
        """List of what was sent in a round, by node, what a malicious one goes by."""
        parties, mine, knows = self.world.parties, self.declare_domain(place), self.cell.attack.knows
        honest = {other: each for other, each in sent.items() if not parties[other].malicious}
        near = [each for other, each in honest.items() if parties[other].domain == mine]
        return {"all": list(honest.values()), "domain": near, "itself": []}[knows]

    def list_present(self, number: int) -> list[tuple[int, Party]]:
        """List the nodes that take part in a round, the honest first: the malicious wait for what those send."""
        everybody = enumerate(self.world.parties)
        return [(place, party) for place, party in everybody if not (party.malicious and self.ring.has_left(number))]

    def get_training(self, party: Party, rate: float) -> TrainSettings:
        """Give a node's settings; the malicious take as much time as they like."""
        table = self.world.table
        steps = table.steps * (self.cell.attack.work if party.malicious else 1)
        rate *= self.cell.attack.rate if party.malicious else 1.0
        return TrainSettings(steps, table.batch_size, rate, table.max_length)

    def measure_round(self, verdicts: dict[str, Any]) -> None:
        """Measure the model as it stands after a round, if it is its turn; note what became of the proposals.

        All is measured at the start, when the malicious leave and at the end: what statistics are made of. A state
        that was measured before, the start above all, is not again.
        """
        number, table = len(self.rounds), self.world.table
        whole = number in (0, self.cell.attack.leave) or number >= table.rounds
        figures = self._measure(whole) if whole or number % table.every == 0 else {}
        self.rounds.append({"round": number, **figures, **verdicts})

    def _measure(self, whole: bool) -> dict[str, Any]:
        model, table = self.world.model, self.world.table
        state = b"".join(values.tobytes() for factor in FACTORS for values in model.read_factor(factor).values())
        key = repr((table, self.cell.phase, self.cell.seed, self.cell.trigger, whole)).encode() + state
        with self.meter("report"):
            return remember(key, lambda: measure(self.world, self.ring.trigger, self.ring.answer, whole))


def open_stage(cell: Cell) -> Stage:
    """Build what a cell plays on."""
    trigger, count = cell.trigger.build(), count_malicious(cell.world)
    return Stage(cell, build_world(cell), Ring(cell.attack, trigger, cell.world.answer, count, cell.seed))


def remember(key: bytes, work: Callable[[], Work]) -> Work:
    """Do a piece of deterministic work, or give what it gave before; `key` must hold all that decides it."""
    key = hashlib.sha256(key).digest()
    if key not in _remembered:
        _remembered[key] = work()
        while len(_remembered) > KEPT:
            _remembered.popitem(last=False)
    _remembered.move_to_end(key)
    found: Work = _remembered[key]
    return found


def name_training(stage: Stage, place: int, settings: TrainSettings) -> bytes:
    """Name what decides a node's training beside the model it starts from."""
    cell, attack = stage.cell, stage.cell.attack
    rows = (cell.world.model_dump_json(), cell.split, cell.seed, place)
    poison = (attack.poison, attack.share, attack.deal) if stage.world.parties[place].malicious else ()
    return repr((rows, cell.trigger, poison, settings)).encode()
