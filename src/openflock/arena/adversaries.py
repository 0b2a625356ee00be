"""The malicious nodes of a cell: what they train on, what they send, and what they know."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from openflock.arena.attacks import freeriding, targeted, untargeted
from openflock.arena.attacks.bombs import BOMBS
from openflock.arena.attacks.labels import flip_labels
from openflock.arena.attacks.training import Numbers, hook_neurotoxin, hook_pgd, hook_pull
from openflock.arena.attacks.triggers import Trigger, plant_trigger, split_trigger
from openflock.arena.settings import AttackTable
from openflock.learn.data import Row
from openflock.learn.train import Adjust
from openflock.node.proposer import Delta
from openflock.protocol.ports import Blob
from openflock.update.fixed import FRACTION_BITS


def boost(own: Delta, _honest: Sequence[Delta], *, factor: float = 3.0) -> Delta:
    """Send a multiple of the own delta: model replacement by those who know nothing of the others.

    With 30 % of the weight a factor of 10 / 3 makes the mean of all colluders' deltas count whole.
    """
    return targeted.scale_delta(factor)(own)


def collude(own: Delta, _honest: Sequence[Delta], *, seed: int, place: int, count: int, spread: float = 1.0) -> Delta:
    """Send a share of the leader's delta, whole as many times as there are colluders; each is mostly noise."""
    whole = targeted.scale_delta(count)(own)
    return targeted.split_delta(whole, count, seed, spread)[place]


def resend(own: Delta, _honest: Sequence[Delta], *, past: Delta | None, blur: float = 0.0, seed: int = 0) -> Delta:
    """Send an honest delta of an earlier round again; the own one where there is none yet."""
    return own if past is None else freeriding.resend(own, (), past=past, blur=blur, seed=seed)


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
        targeted.aim,
        targeted.lean,
        targeted.veil,
        targeted.pgd,
        targeted.neurotoxin,
        boost,
        freeriding.zero,
        freeriding.noise,
        freeriding.copycat,
        resend,
        collude,
    )
}
_DRAWS: Final = ("gaussian", "noise", "copycat", "resend", "collude")  # take a seed
_BOMB_SIZE: Final = 2**16  # of the large ones
_USUAL: Final = {"pgd": 1.0, "neurotoxin": 0.1, "constrain_and_scale": 0.5}  # amounts of hooks


@dataclass
class Ring:
    """The malicious nodes, who tell one another everything, and know what the honest send before they send."""

    table: AttackTable
    trigger: Trigger
    answer: str
    count: int
    seed: int
    _led: dict[int, Delta] = field(default_factory=dict)
    _heard: dict[int, Delta] = field(default_factory=dict)  # an honest delta of each round, to send again
    _read: dict[int, Blob] = field(default_factory=dict)  # an honest update's bytes

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

    def hear(self, number: int, blob: Blob) -> None:
        """Keep the bytes of a round's first honest update."""
        self._read.setdefault(number, blob)

    def forge(self, number: int, own: Blob) -> Blob:
        """Give the bytes that stand in an own update's place: a bomb, or those of an older honest one."""
        if self.table.blob != "replay":
            return BOMBS[self.table.blob](bytes(own), _BOMB_SIZE)
        older = [blob for before, blob in self._read.items() if before < number]
        return older[-1] if older else own

    def offer(self, number: int, place: int, own: Delta, honest: Sequence[Delta]) -> Delta:
        """Make of an own delta what is sent in a round."""
        name = "resend" if self.table.blob == "replay" else self.table.delta
        past = [delta for before, delta in self._heard.items() if before < number and delta.keys() == own.keys()]
        if honest:
            self._heard.setdefault(number, honest[0])
        if not name:
            return own
        if self._is_lull(number) and honest:
            return honest[0]
        options: dict[str, Any] = dict(self.table.options)
        if name in _DRAWS:
            options["seed"] = (self.seed * 1000 + number) * 100 + place
        if name == "resend":
            options["past"] = past[-1] if past else None
        if name == "collude":
            own = self._led.setdefault(number, own)
            options |= {"seed": self.seed * 1000 + number, "place": place, "count": self.count}
        if name == "model_replacement":
            options["colluders"] = self.count
        return DELTAS[name](own, honest, **options)

    def _is_lull(self, number: int) -> bool:
        """Answer whether a round is one of honest work: in pairs of rounds, so that no factor is left out."""
        return bool((number - 1) // 2 % (self.table.lull + 1) < self.table.lull)

    def hook_training(self, honest: Sequence[Delta]) -> Adjust | None:
        """Give what hides a training, if any is to be hidden.

        The amount is PGD's radius over the honest median norm, Neurotoxin's masked share, or the weight of the task
        beside likeness to the honest mean. Without honest deltas there is nothing to hide among.
        """
        if not self.table.hook or not honest:
            return None
        known = np.stack([flatten_delta(delta) for delta in honest])
        amount = self.table.hook_amount or _USUAL[self.table.hook]
        if self.table.hook == "pgd":
            norms = sorted(np.linalg.norm(known, axis=1).tolist())
            return hook_pgd(amount * norms[(len(norms) - 1) // 2])
        hook = hook_neurotoxin if self.table.hook == "neurotoxin" else hook_pull
        return hook(known.mean(axis=0), amount)


def flatten_delta(delta: Delta) -> Numbers:
    """Lay a delta out in weights, in the order in which training holds its parameters."""
    flat: Numbers = np.concatenate([vector for _, vector in sorted(delta.items())]).astype(np.float64)
    return flat / 2.0**FRACTION_BITS
