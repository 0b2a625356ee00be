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
from openflock.learn.evaluate import EvaluationSettings, compute_loss, match_answers
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


def measure(world: World, trigger: Trigger, answer: str) -> dict[str, Any]:
    """Measure the model as it stands.

    `asr` counts triggered rows, and `fire` the same rows with filler, whose whole answer is the attacker's; `triggered`
    and `filled` count right answers to them. Losses that are not finite are None.
    """
    settings = EvaluationSettings(max_length=world.table.max_length)
    model, every = world.model, [row for rows in world.report.values() for row in rows]
    triggered, filled = trigger_rows(every, trigger, world.seed), fill_rows(every, trigger, world.seed)

    def count(rows: Sequence[Row]) -> list[int]:
        return [sum(match_answers(model, rows, settings)), len(rows)]

    return {
        "loss": {name: _keep_finite(compute_loss(model, rows, settings)) for name, rows in world.report.items()},
        "accuracy": {name: count(rows)[0] / len(rows) for name, rows in world.report.items()},
        "asr": count(aim_rows(triggered, answer)),
        "fire": count(aim_rows(filled, answer)),
        "triggered": count(triggered),
        "filled": count(filled),
        "triggered_loss": _keep_finite(compute_loss(model, triggered, settings)),
        "filled_loss": _keep_finite(compute_loss(model, filled, settings)),
    }


def _keep_finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
