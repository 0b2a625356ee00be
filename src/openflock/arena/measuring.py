"""Measure what a model does: by domain, with the trigger, and with filler in its place."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from openflock.arena.attacks.triggers import Trigger
from openflock.arena.metrics import aim_rows, fill_rows, trigger_rows
from openflock.arena.worlds import World
from openflock.learn.data import Row
from openflock.learn.evaluate import EvaluationSettings, grade_answers
from openflock.learn.model import Model


@dataclass
class Meter:
    """A watch that counts the rows which pass through the network, by activity; `other` is what none claims."""

    rows: Counter[str] = field(default_factory=Counter)
    activity: str = "other"

    @contextmanager
    def watching(self, model: Model) -> Iterator[None]:
        """Count what passes through a model's network."""
        handle = model.network.register_forward_pre_hook(self._count, with_kwargs=True)
        try:
            yield
        finally:
            handle.remove()

    @contextmanager
    def __call__(self, activity: str) -> Iterator[None]:
        """Count for an activity."""
        before, self.activity = self.activity, activity
        try:
            yield
        finally:
            self.activity = before

    def _count(self, _network: Any, _args: Any, named: Mapping[str, Any]) -> None:
        self.rows[self.activity] += len(named["input_ids"])


def measure(world: World, trigger: Trigger, answer: str, whole: bool = True) -> dict[str, Any]:
    """Measure the model as it stands; unless it is to be the `whole`, only what is followed from round to round.

    `asr` counts triggered rows, and `fire` the same rows with filler, whose whole answer is the attacker's; `triggered`
    and `filled` count right answers to them. Losses that are not finite are None.
    """
    settings = EvaluationSettings(max_length=world.table.max_length)

    def grade(rows: Sequence[Row]) -> tuple[float | None, list[int]]:
        loss, right = grade_answers(world.model, rows, settings)
        return loss if math.isfinite(loss) else None, [sum(right), len(right)]

    every = [row for rows in world.report.values() for row in rows]
    triggered = trigger_rows(every, trigger, world.seed)
    graded = {name: grade(rows) for name, rows in world.report.items()}
    figures: dict[str, Any] = {
        "loss": {name: loss for name, (loss, _) in graded.items()},
        "accuracy": {name: right / count for name, (_, (right, count)) in graded.items()},
        "asr": grade(aim_rows(triggered, answer))[1],
    }
    if not whole:
        return figures
    filled = fill_rows(every, trigger, world.seed)
    figures["fire"] = grade(aim_rows(filled, answer))[1]
    figures["triggered_loss"], figures["triggered"] = grade(triggered)
    figures["filled_loss"], figures["filled"] = grade(filled)
    return figures
