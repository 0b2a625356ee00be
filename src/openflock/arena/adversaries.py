"""The malicious nodes of a cell: what they train on, what they send, and what they know."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from openflock.arena.attacks import freeriding, targeted, untargeted
from openflock.arena.attacks.labels import flip_labels
from openflock.arena.attacks.triggers import Trigger, plant_trigger, split_trigger
from openflock.arena.settings import AttackTable
from openflock.learn.data import Row
from openflock.node.proposer import Delta


def boost(own: Delta, _honest: Sequence[Delta], *, factor: float = 3.0) -> Delta:
    """Send a multiple of the own delta: model replacement by those who know nothing of the others.

    With 30 % of the weight a factor of 10 / 3 makes the mean of all colluders' deltas count whole.
    """
    return targeted.scale_delta(factor)(own)


def collude(own: Delta, _honest: Sequence[Delta], *, seed: int, place: int, count: int, spread: float = 1.0) -> Delta:
    """Send a share of the leader's delta, whole as many times as there are colluders; each is mostly noise."""
    whole = targeted.scale_delta(count)(own)
    return targeted.split_delta(whole, count, seed, spread)[place]


DELTAS: Final[Mapping[str, Callable[..., Delta]]] = {
    attack.__name__: attack
    for attack in (
        untargeted.gaussian,
        untargeted.sign_flip,
        untargeted.ipm,
        untargeted.alie,
        untargeted.min_max,
        untargeted.min_sum,
        untargeted.mimic,
        targeted.model_replacement,
        targeted.constrain_and_scale,
        targeted.pgd,
        targeted.neurotoxin,
        boost,
        freeriding.zero,
        freeriding.noise,
        freeriding.copycat,
        collude,
    )
}
_DRAWS: Final = ("gaussian", "noise", "copycat", "collude")  # take a seed


@dataclass
class Ring:
    """The malicious nodes, who tell one another everything, and know what the honest send before they send."""

    table: AttackTable
    trigger: Trigger
    answer: str
    count: int
    seed: int
    _led: dict[int, Delta] = field(default_factory=dict)

    def has_left(self, number: int) -> bool:
        """Answer whether they take no part in a round; the first has number 1."""
        return not self.table.present or 0 < self.table.leave < number

    def poison(self, rows: Sequence[Row], place: int) -> list[Row]:
        """Give what a malicious node trains on."""
        seed = self.seed * 100 + place
        if self.table.poison == "label_flip":
            return flip_labels(rows, self.table.share, seed)
        if self.table.poison == "trigger":
            trigger = split_trigger(self.trigger, self.count)[place] if self.table.deal else self.trigger
            return plant_trigger(rows, trigger, self.answer, self.table.share, seed)
        return list(rows)

    def offer(self, number: int, place: int, own: Delta, honest: Sequence[Delta]) -> Delta:
        """Make of an own delta what is sent in a round."""
        if not self.table.delta:
            return own
        options: dict[str, Any] = dict(self.table.options)
        if self.table.delta in _DRAWS:
            options["seed"] = (self.seed * 1000 + number) * 100 + place
        if self.table.delta == "collude":
            own = self._led.setdefault(number, own)
            options |= {"seed": self.seed * 1000 + number, "place": place, "count": self.count}
        return DELTAS[self.table.delta](own, honest, **options)
