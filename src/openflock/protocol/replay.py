"""Replay: fold a ledger's log through the specification, trusting nothing that can be computed.

What cannot be computed are the calls themselves, when they happened, and the hash of the seed's block. All else,
from the seats drawn to the last payout, must come out as the log says.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from openflock.protocol.calls import Call, Event, Seeded
from openflock.protocol.ports import Entry
from openflock.protocol.round import create_state, process
from openflock.protocol.types import Genesis, Moment, Revert, State


class Divergence(ValueError):
    """A log that the rules could not have produced; `entry` is the position of what first differs."""

    def __init__(self, entry: int, reason: str) -> None:
        super().__init__(f"entry {entry}: {reason}")
        self.entry = entry


@dataclass(frozen=True)
class Step:
    """One call of the log with what followed, and the state after it."""

    entry: int
    time: int
    call: Call
    events: tuple[Event, ...]
    state: State


class Replica:
    """A state kept up with a ledger's log; each node holds one and believes no other summary."""

    def __init__(self, genesis: Genesis) -> None:
        """Start before the first entry."""
        self.state = create_state(genesis)
        self.position = 0
        self._last = (genesis.time, 0)

    def apply(self, entries: Sequence[Entry]) -> list[Step]:
        """Apply the next entries and return their steps; raise Divergence at the first that differs."""
        return list(self.follow(entries))

    def follow(self, entries: Sequence[Entry]) -> Iterator[Step]:
        """Apply the next entries call by call, as each step is asked for.

        The entries must hold whole calls: a call's events may not be cut from it.
        """
        start = 0
        while start < len(entries):
            step = self._apply_call(entries, start)
            start += 1 + len(step.events)
            yield step

    def _apply_call(self, entries: Sequence[Entry], start: int) -> Step:
        first = entries[start]
        if not isinstance(first.item, Call):
            raise Divergence(self.position, f"{describe(first.item)} does not follow from the call before it")
        if (first.time, first.block) < self._last:
            raise Divergence(self.position, "time runs backwards")
        logged = _take_events(entries, start)
        try:
            state, events = process(self.state, first.item, _recall_moment(first, logged))
        except Revert as error:
            raise Divergence(self.position, f"{describe(first.item)} is refused: {error}") from error
        for offset in range(max(len(events), len(logged))):
            self._compare(self.position + 1 + offset, events[offset : offset + 1], logged[offset : offset + 1])
        step = Step(self.position, first.time, first.item, events, state)
        self.state = state
        self.position += 1 + len(events)
        self._last = (first.time, first.block)
        return step

    def _compare(self, position: int, computed: Sequence[Event], logged: Sequence[Event]) -> None:
        if list(computed) != list(logged):
            expected = describe(computed[0]) if computed else "no further event"
            found = describe(logged[0]) if logged else "nothing"
            raise Divergence(position, f"the rules give {expected}, the log has {found}")


def describe(item: Call | Event) -> str:
    """Write a call or an event on one line, bytes in hex."""
    shown = ", ".join(
        f"{name}={value.hex() if isinstance(value, bytes) else value}" for name, value in vars(item).items()
    )
    return f"{type(item).__name__}({shown})"


def _take_events(entries: Sequence[Entry], start: int) -> list[Event]:
    first, events = entries[start], []
    for index in range(start + 1, len(entries)):
        entry = entries[index]
        if not isinstance(entry.item, Event) or (entry.time, entry.block) != (first.time, first.block):
            break
        events.append(entry.item)
    return events


def _recall_moment(entry: Entry, events: Sequence[Event]) -> Moment:
    """Give the moment of a call: its time, its block, and the block hash it captured, if any."""
    hashes = {event.target: event.blockhash for event in events if isinstance(event, Seeded)}
    return Moment(entry.time, entry.block, hashes)
