"""The ledger's log as a file: `events.jsonl`, one entry a line, each linked to the one before by a hash.

A changed line breaks its own link and a dropped one the next; a cut tail shows against the count and the last
link that `run.json` holds. The first line is the task's genesis.
"""

import json
import os
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

from openflock.protocol.calls import LOG_TYPES, Call, Event, get_log_name
from openflock.protocol.encoding import from_json, parse_json, to_json
from openflock.protocol.ports import Entry
from openflock.protocol.rules import BadRules
from openflock.protocol.types import Genesis

GENESIS = "Genesis"
START = bytes(32).hex()


class BadRecord(ValueError):
    """A log file that nobody wrote like this; the text names the line."""


# --- Lines ---------------------------------------------------------------------------------------------------


def encode_line(fields: dict[str, Any], link: str) -> tuple[bytes, str]:
    """Encode one line that follows the line with the given link; return it with its own link."""
    own = compute_link(fields, link)
    return json.dumps({**fields, "link": own}).encode() + b"\n", own


def compute_link(fields: dict[str, Any], link: str) -> str:
    """Compute a line's link: the SHA-256 of the link before and of the line's content."""
    content = json.dumps(fields, sort_keys=True, separators=(",", ":"))
    return sha256((link + content).encode()).hexdigest()


def describe_entry(entry: Entry) -> dict[str, Any]:
    """Give the fields of an entry's line."""
    args = {name: to_json(value) for name, value in vars(entry.item).items()}
    return {"time": entry.time, "block": entry.block, "name": get_log_name(entry.item), "args": args}


def parse_entry(fields: dict[str, Any]) -> Entry:
    """Read an entry back from its line's fields."""
    item: Call | Event = from_json(LOG_TYPES[fields["name"]], fields["args"])
    return Entry(from_json(int, fields["time"]), from_json(int, fields["block"]), item)


# --- Files ---------------------------------------------------------------------------------------------------


class Recorder:
    """Append a ledger's log to `events.jsonl`, durably, a call with all its events at once."""

    def __init__(self, path: Path, genesis: Genesis) -> None:
        """Continue the file if it holds entries of this task, or start it."""
        self.count, self.link = 0, START
        if path.exists():
            self.count, self.link = _recover(path, genesis)
        self._file = path.open("ab")
        if not self.count:
            self._write([{"name": GENESIS, "args": to_json(genesis)}])

    def append(self, entries: list[Entry]) -> None:
        """Append entries."""
        self._write([describe_entry(entry) for entry in entries])

    def _write(self, lines: list[dict[str, Any]]) -> None:
        data, link = b"", self.link
        for fields in lines:
            line, link = encode_line(fields, link)
            data += line
        start = self._file.tell()
        try:
            self._file.write(data)
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError:
            os.ftruncate(self._file.fileno(), start)
            raise
        self.count, self.link = self.count + len(lines), link

    def __enter__(self) -> "Recorder":
        """Enter the context of the open file."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close the file."""
        self._file.close()


def _recover(path: Path, genesis: Genesis) -> tuple[int, str]:
    """Find where a file's last whole line ends, drop what a crash left after it, and return count and link."""
    data = path.read_bytes()
    whole = data.rfind(b"\n") + 1
    if whole < len(data):
        os.truncate(path, whole)
    if not whole:
        return 0, START
    found, _, links = read_record(path)
    if found != genesis:
        raise BadRecord(f"{path} is the log of another task; choose another --out")
    return len(links), links[-1]


def read_record(path: Path) -> tuple[Genesis, list[Entry], list[str]]:
    """Read a log file, checking every link; return genesis, entries, and the link of every line."""
    lines = list(_read_lines(path))
    if not lines or lines[0][0].get("name") != GENESIS:
        raise BadRecord(f"{path.name}:1: the log does not begin with its task's genesis")
    try:
        genesis = from_json(Genesis, lines[0][0]["args"])
    except (KeyError, TypeError, ValueError, BadRules) as error:
        raise BadRecord(f"{path.name}:1: not a genesis: {error}") from error
    entries = []
    for number, (fields, _) in enumerate(lines[1:], 2):
        try:
            entries.append(parse_entry(fields))
        except (KeyError, TypeError, ValueError) as error:
            raise BadRecord(f"{path.name}:{number}: not an entry: {error}") from error
    return genesis, entries, [link for _, link in lines]


def _read_lines(path: Path) -> Iterator[tuple[dict[str, Any], str]]:
    link = START
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                fields = parse_json(line)
                found = fields.pop("link")
            except (ValueError, KeyError, AttributeError) as error:
                raise BadRecord(f"{path.name}:{number}: not a line of a log: {error}") from error
            link = compute_link(fields, link)
            if found != link:
                raise BadRecord(
                    f"{path.name}:{number}: the hash chain breaks: this line was changed, or one before it dropped"
                )
            yield fields, link
