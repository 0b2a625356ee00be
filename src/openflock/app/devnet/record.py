"""What a devnet's directory says of it: `devnet.json`, with each process by its number and when it was started."""

import json
import os
import shutil
import signal
import tempfile
import time as wall
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openflock.app.settings import SettingsError
from openflock.edge.blobs import write_atomically
from openflock.edge.processes import GRACE, get_start
from openflock.protocol.encoding import parse_json

FILE = "devnet.json"
FOLDERS = ("blobs", "cache", "data", "logs", "nodes", "s3")
FILES = (FILE, "node.toml")
SECRETS = "openflock-devnet-"  # directories of keys begin so, beside all run directories
SAME = 1.0  # seconds by which two readings of one process's start may differ
OVERALL = 60.0  # seconds in which a devnet ends what it started


@dataclass(frozen=True)
class Record:
    """The directory of a devnet."""

    out: Path

    def read(self) -> dict[str, Any]:
        """Read what was written; raise SettingsError if there is nothing to be read."""
        try:
            found = parse_json((self.out / FILE).read_bytes())
        except FileNotFoundError as error:
            raise SettingsError(
                f"{self.out}: no devnet was ever started here: openflock devnet up --out DIR"
            ) from error
        except ValueError as error:
            raise SettingsError(f"{self.out / FILE}: not JSON: {error}") from error
        if not isinstance(found, dict) or not isinstance(found.get("processes"), list):
            raise SettingsError(f"{self.out / FILE}: not what a devnet writes")
        return found

    def write(self, content: dict[str, Any]) -> None:
        """Replace what is written."""
        write_atomically(self.out / FILE, json.dumps(content, indent=2).encode() + b"\n")

    def open(self, fresh: bool) -> None:
        """Make the directory; what an earlier devnet left is removed if that is wished, and nothing else ever is."""
        if (self.out / FILE).exists():
            earlier = self.read()
            if list_running(earlier):
                raise SettingsError(f"{self.out}: a devnet runs there: openflock devnet down --out {self.out}")
            if not fresh:
                state = "finished" if earlier.get("summary") else "unfinished, and its chain is gone"
                raise SettingsError(f"{self.out}: holds a devnet, {state}: --fresh starts anew, in its place")
            self.clear()
        if self.out.exists() and any(self.out.iterdir()):
            raise SettingsError(f"{self.out} holds other files; choose another --out")
        self.out.mkdir(parents=True, exist_ok=True)

    def clear(self) -> None:
        """Remove what a devnet wrote, and nothing that lies beside it."""
        for name in FOLDERS:
            shutil.rmtree(self.out / name, ignore_errors=True)
        for name in FILES:
            (self.out / name).unlink(missing_ok=True)


def describe_process(name: str, pid: int) -> dict[str, Any]:
    """Say which process this is, so that it can be told from any other that gets its number."""
    return {"name": name, "pid": pid, "started": get_start(pid)}


def list_running(content: dict[str, Any]) -> list[dict[str, Any]]:
    """List the processes that are still those that were written down."""
    return [process for process in content["processes"] if is_same(process)]


def is_same(process: Any) -> bool:
    """Answer whether a process still runs: its number alone may have gone to another."""
    try:
        pid, started = int(process["pid"]), float(process["started"])
    except (KeyError, TypeError, ValueError):
        return False
    found = get_start(pid) if pid > 0 else None
    return found is not None and abs(found - started) < SAME


def end_all(content: dict[str, Any]) -> list[str]:
    """End what still runs of a devnet, and return the names; the first, if it is there, ends the others itself."""
    ended = []
    running = list_running(content)
    if running and running[0] == content["processes"][0]:
        ended.append(end(running[0], OVERALL))
    for process in list_running(content):
        ended.append(end(process, GRACE))
    remove_secrets(content.get("secrets"))
    return ended


def end(process: dict[str, Any], patience: float) -> str:
    """Ask a process to end, and end it if it does not."""
    deadline = wall.monotonic() + patience
    for number in (signal.SIGTERM, signal.SIGCONT):
        send(process, number)
    while is_same(process) and wall.monotonic() < deadline:
        wall.sleep(0.1)
    send(process, signal.SIGKILL)
    return str(process["name"])


def send(process: dict[str, Any], number: signal.Signals) -> None:
    """Send a signal to a process, if it is still the same."""
    if is_same(process):
        try:
            os.kill(int(process["pid"]), number)
        except ProcessLookupError:
            return  # it ended in between


def remove_secrets(place: object) -> None:
    """Remove a directory of throw-away keys that this program made."""
    if isinstance(place, str) and Path(place).name.startswith(SECRETS):
        directory = Path(tempfile.gettempdir()) / Path(place).name
        if directory.is_dir() and not directory.is_symlink() and directory.stat().st_uid == os.getuid():
            shutil.rmtree(directory)
