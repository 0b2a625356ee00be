"""What a node says of itself in `status.json`, for `openflock node status` and whoever watches."""

import json
import os
import time as wall
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import Any

from openflock.app.settings import SettingsError
from openflock.edge.blobs import write_atomically
from openflock.node.daemon import Daemon
from openflock.protocol.calls import Credited, Slashed
from openflock.protocol.encoding import parse_json
from openflock.protocol.ports import Unreachable
from openflock.protocol.replay import Step
from openflock.protocol.types import Address, Amount, Fault, Phase, Reason

EARNED = (Reason.PROPOSAL, Reason.VOTE, Reason.BOUNTY)
FILE = "status.json"
COUNTED = 60.0  # seconds between two looks into the purse
STALE = 30.0  # seconds after which what stands there is written again, so that its time says that the node lives


@dataclass
class Status:
    """What became of one node so far, kept up with the log; written down when it changes."""

    me: Address | None
    directory: Path
    earned: Amount = 0
    slashed: Counter[Fault] = field(default_factory=Counter)
    coins: float = 0.0  # what the wallet pays gas with
    purse: Callable[[], float] | None = None  # asks the chain for it
    _written: dict[str, Any] = field(default_factory=dict)
    _time: float = 0.0
    _counted: float = -inf  # when the coins were counted

    def follow(self, step: Step) -> None:
        """Add one step of the log."""
        for event in step.events:
            match event:
                case Credited() if event.account == self.me and event.reason in EARNED:
                    self.earned += event.amount
                case Slashed() if event.node == self.me:
                    self.slashed[event.fault] += event.amount

    def describe(self, daemon: Daemon) -> dict[str, Any]:
        """Give the status as JSON; amounts are in the token's smallest unit."""
        state, me = daemon.state, self.me or ""
        node = state.nodes.get(me)
        return {
            "task": state.genesis.task,
            "chain": state.genesis.chain,
            "node": self.me,
            "pid": os.getpid(),
            "round": state.round.number,
            "rounds": state.genesis.rules.rounds,
            "phase": state.phase.name.lower(),
            "deadline": state.deadline,
            "digest": state.digest.hex(),
            "entries": daemon.replica.position,
            "member": me in state.members,
            "stake": node.stake if node else 0,
            "release": node.release if node else 0,
            "owed": state.payable.get(me, 0),
            "earned": self.earned,
            "slashed": self.slashed.total(),
            "faults": {fault.name.lower(): amount for fault, amount in sorted(self.slashed.items())},
            "gas_coins": self.coins,
            "calls": daemon.calls,
            "errors": daemon.errors,
            "last_error": daemon.last_error,
            "finished": state.phase == Phase.FINISHED,
        }

    def write(self, daemon: Daemon) -> None:
        """Write the status if it changed, or if what stands there is old."""
        self.count_coins()
        status, now = self.describe(daemon), wall.time()
        if status == self._written and now - self._time < STALE:
            return
        self._written, self._time = status, now
        content = {**status, "chain_time": daemon.time, "written": int(now)}
        write_atomically(self.directory / FILE, json.dumps(content, indent=2).encode() + b"\n", 0o600)

    def count_coins(self) -> None:
        """Ask now and then what the wallet has for gas."""
        if self.purse and wall.monotonic() - self._counted > COUNTED:
            self._counted = wall.monotonic()
            with suppress(Unreachable):
                self.coins = self.purse()


def read_status(directory: Path) -> dict[str, Any]:
    """Read what a node wrote of itself; raise SettingsError if there is nothing to be read."""
    file = directory / FILE
    try:
        status = parse_json(file.read_bytes())
    except FileNotFoundError as error:
        raise SettingsError(f"{directory}: no node ever ran here; give the --dir of openflock node run") from error
    except ValueError as error:
        raise SettingsError(f"{file}: not JSON: {error}") from error
    if not isinstance(status, dict):
        raise SettingsError(f"{file}: not an object")
    return status | {"running": is_running(status.get("pid"))}


def is_running(pid: object) -> bool:
    """Answer whether a process with this number runs; its number may have gone to another since."""
    if not isinstance(pid, int) or pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
