"""How long a node may work on, and wait: until it is to stop, or the time of its phase is over; how often it looks."""

import time as wall
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from math import inf
from threading import Event
from typing import Final

from openflock.node.watch import EXAMINATION, PROBE
from openflock.protocol.rules import Rules, compute_phase_times

WORK: Final = 3  # a third of a phase is for work: so long before its end nothing is waited for any more
TEST: Final = 4  # a quarter is left for witnesses: sealed rows may be many, and end before
SEND: Final = 6  # a sixth is for what must be sent: what may be left out ends before
QUICKEST, LONGEST = 1.0, 15.0  # seconds between two looks at the chain


class Stopped(BaseException):
    """Work was left half done, because the node is to stop; what lies on disk goes on from there.

    It is no error, and none of the handlers on its way may take it for one.
    """


class TooLate(Exception):
    """Work was left half done, because its time is over."""


@dataclass
class Pace:
    """What long work looks at between two steps. Times are of the monotonic clock."""

    stop: Event
    until: float = inf  # when the phase is over
    patience: float = inf  # until when a blob is waited for
    spares: Mapping[str, float] = field(default_factory=dict)  # until when there is time for what may be left out

    def begin(self, left: float, phase: float, *, voting: bool) -> None:
        """Begin to act in a phase of so many seconds, of which some are left."""
        self.until = wall.monotonic() + left
        self.patience = self.until - phase / WORK
        self.spares = {EXAMINATION: self.until - phase / TEST, PROBE: self.until - phase / SEND} if voting else {}

    def hurry(self) -> None:
        """Wait for no blob: it is on its way, and will be asked for again."""
        self.patience = 0.0

    @contextmanager
    def hurrying(self) -> Iterator[None]:
        """Hurry for a while."""
        patience = self.patience
        self.hurry()
        try:
            yield
        finally:
            self.patience = patience

    def rest(self) -> None:
        """Have all the time there is, and wait for nothing."""
        self.until, self.spares = inf, {}
        self.hurry()

    def check(self) -> None:
        """Raise Stopped or TooLate."""
        if self.stop.is_set():
            raise Stopped
        if wall.monotonic() > self.until:
            raise TooLate(
                "the phase ended before the work did: use a faster device, lower train.steps, or set probe = false"
            )

    @contextmanager
    def watch(self, activity: str) -> Iterator[None]:
        """Check before an activity; a node's Watch. What is to be probed was fetched ahead, or is left out.

        What may be left out, and all that it consists of, ends when its own time is over: a ballot is worth more.
        """
        until = self.until
        self.until = min(until, self.spares.get(activity, until))
        try:
            self.check()
            with self.hurrying() if activity == PROBE else nullcontext():
                yield
        finally:
            self.until = until


def compute_interval(rules: Rules) -> float:
    """Compute how often to look: thirty times in the shortest phase, within bounds."""
    shortest = min(seconds for seconds in compute_phase_times(rules) if seconds)
    return min(LONGEST, max(QUICKEST, shortest / 30))
