"""The daemon: observe, decide, act, over and over. It knows ports, a clock and its duties, and nothing of the world."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import uniform
from threading import Event
from typing import Any, Protocol

from openflock.learn.train import TrainError
from openflock.node.duties import Duty
from openflock.node.pace import LONGEST, Stopped, TooLate, compute_interval
from openflock.protocol.calls import Call
from openflock.protocol.ports import BlobCorrupt, BlobMissing, Clock, Ledger, Unreachable
from openflock.protocol.replay import Divergence, Replica, Step
from openflock.protocol.types import Phase, Revert, State

Place = tuple[int, Phase, int]


class Log(Protocol):
    """Where a daemon says what it does: one line an event, its fields beside it."""

    def info(self, event: str, **fields: Any) -> object:
        """Say what goes as it should."""

    def warning(self, event: str, **fields: Any) -> object:
        """Say what does not, but mends itself."""

    def exception(self, event: str, **fields: Any) -> object:
        """Say what nobody foresaw, with its traceback."""


@dataclass
class Daemon:
    """One account's process on one task: its duties are asked in order, and the first call wanted is made.

    `on_step` sees every call of the log with what followed, `on_look` the daemon before each look; `is_over` says when
    there is nothing left to stay for.
    A `fatal` exception ends the daemon: what the ledger says can then not be relied on.
    """

    ledger: Ledger
    clock: Clock
    duties: Sequence[Duty]
    log: Log
    is_over: Callable[[State], bool]
    on_step: Callable[[Step], None] = lambda _: None
    on_look: Callable[["Daemon"], None] = lambda _: None
    stop: Event = field(default_factory=Event)
    fatal: tuple[type[Exception], ...] = (Divergence,)
    interval: float = 0.0  # seconds between two looks; 0 follows from the task's shortest phase

    replica: Replica = field(init=False)
    time: int = field(init=False)  # of the chain, when it was last looked at
    calls: int = 0
    errors: int = 0
    last_error: str = ""
    _failures: int = 0  # in a row
    _asked: tuple[Place, Call] | None = None  # made, and not seen in the log yet

    def __post_init__(self) -> None:
        """Start before the first entry of the log."""
        genesis = self.ledger.get_genesis()
        self.replica, self.time = Replica(genesis), self.clock.get_time()
        self.interval = self.interval or compute_interval(genesis.rules)

    @property
    def state(self) -> State:
        """Give the task's state as this daemon has replayed it."""
        return self.replica.state

    @property
    def place(self) -> Place:
        """Say where the task stands."""
        return self.state.round.number, self.state.phase, self.state.deadline

    def run(self) -> None:
        """Play until there is nothing left to stay for, or until somebody stops us: the only endless loop."""
        pause = 0.0
        while pause >= 0 and not self.stop.wait(pause):
            pause = self.step()
        self.on_look(self)

    def step(self) -> float:
        """Observe, decide and act once; answer after how many seconds to look again, below zero for never."""
        try:
            self.on_look(self)
            self.observe()
            call = self.decide()
            pause = self.rest() if call is None else self.act(call)
            self._failures = 0
        except Stopped:
            pause = -1.0
        except self.fatal:
            raise
        except Exception as error:  # a fault in one act must not cost the stake of all acts after it
            pause = self.endure(error)
        return pause

    def observe(self) -> None:
        """Read the time, then the log, and check every event of it against the rules."""
        self.time = self.clock.get_time()
        for step in self.replica.follow(self.ledger.read(self.replica.position)):
            if self._asked and step.call == self._asked[1]:
                self._asked = None
            self.on_step(step)

    def decide(self) -> Call | None:
        """Say what to call now: what was asked already stands, until the log shows it or the task moves on."""
        if self._asked and self._asked[0] == self.place:
            return self._asked[1]
        self._asked = None
        wanted = (duty(self.state, self.time) for duty in self.duties)
        return next((call for call in wanted if call is not None), None)

    def act(self, call: Call) -> float:
        """Make a call; asked again for the same one, the ledger does not make it twice."""
        fresh = self._asked is None
        if fresh:
            self.log.info("calls", **self.describe(), call=type(call).__name__, **describe_call(call))
        self._asked = (self.place, call)
        self.ledger.submit(call)
        self.calls += fresh
        return 0.0 if fresh else self.interval

    def rest(self) -> float:
        """Say how long nothing can happen."""
        return -1.0 if self.is_over(self.state) else compute_pause(self.state, self.time, self.interval)

    def endure(self, error: Exception) -> float:
        """Log what went wrong, and say how long to wait before the next try."""
        known = isinstance(error, Revert | Unreachable | BlobMissing | BlobCorrupt | TooLate | TrainError)
        text = " ".join(str(error).split()) or type(error).__name__
        if isinstance(error, Revert):  # somebody was quicker, or we were too late: look again, decide anew
            self._asked = None
        if not known:
            self.log.exception("failed", **self.describe())
        elif text != self.last_error or not self._failures:
            self.log.warning(NAMES.get(type(error), "waits"), **self.describe(), reason=text)
        self.errors, self.last_error = self.errors + (not isinstance(error, Revert)), text
        self._failures += 1
        return compute_backoff(self._failures, self.interval) * uniform(0.5, 1)  # not all at once

    def describe(self) -> dict[str, Any]:
        """Say where the task stands, as every line of the log does, and how long it will."""
        number, phase, deadline = self.place
        left = "block" if phase == Phase.DRAW else "left"
        shown = deadline if phase == Phase.DRAW else deadline - self.time
        return {"round": number, "phase": phase.name} | ({left: shown} if phase != Phase.FINISHED else {})


NAMES: dict[type[Exception], str] = {
    Revert: "refused",
    Unreachable: "unreachable",
    TooLate: "too late",
    TrainError: "diverged",
}


def describe_call(call: Call) -> dict[str, Any]:
    """Give what a log may show of a call: neither salts nor what they still hide."""
    shown = {name: value for name, value in vars(call).items() if name in ("act", "digest", "size", "amount", "veto")}
    return {name: getattr(value, "name", value) for name, value in shown.items()}


def compute_pause(state: State, now: int, interval: float) -> float:
    """Compute how long to sleep; nothing ends a gathering or a probe early, so who waits for one may sleep longer."""
    if state.phase not in (Phase.GATHER, Phase.PROBE):
        return interval
    return max(interval, min(LONGEST, state.deadline + 1 - now))


def compute_backoff(failures: int, interval: float) -> float:
    """Compute how long to wait after some failures in a row: longer each time, never long beside a phase."""
    return float(min(interval * 2 ** min(failures - 1, 8), 8 * interval, 60))
