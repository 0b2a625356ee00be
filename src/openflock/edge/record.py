"""The ledger's log as a file: `events.jsonl`, one entry a line, each linked to the one before by a hash.

A changed line breaks its own link and a dropped one the next; a cut tail shows against the count and the last
link that `run.json` holds. The first line is the task's genesis.
"""

import json
import os
import re
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from openflock.protocol.calls import LOG_TYPES, Call, Event, get_log_name
from openflock.protocol.encoding import from_json, parse_json, to_json
from openflock.protocol.ports import Entry
from openflock.protocol.rules import BadRules
from openflock.protocol.types import Genesis

GENESIS = "Genesis"
ADDRESS = re.compile(r"0x[0-9a-f]{40}")
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
    entry = Entry(from_json(int, fields["time"]), from_json(int, fields["block"]), item)
    for value in (entry.time, entry.block, *vars(item).values()):
        check_value(value)
    return entry


def check_value(value: object) -> None:
    """Raise ValueError at a value that no contract logs: the rules were never made to answer it."""
    match value:
        case tuple():
            for part in value:
                check_value(part)
        case str() if not ADDRESS.fullmatch(value):
            raise ValueError(f"{value[:80]!r} is no address")
        case bytes() if len(value) != 32:
            raise ValueError(f"{len(value)} bytes, not 32")
        case int() if not 0 <= value < 2**256:
            raise ValueError(f"a number outside [0, 2**256): {value:.3e}")


# --- Files ---------------------------------------------------------------------------------------------------


class Recorder:
    """Write a ledger's log to `events.jsonl`, durably, a call with all its events at once.

    A file that is there already is gone through first: the entries must be the same again, then new ones follow.
    """

    def __init__(self, path: Path, genesis: Genesis) -> None:
        """Open the file and write, or compare, the genesis."""
        self._path = path
        self._known = _recover(path)
        self._file = path.open("ab", buffering=0)  # what a full disk refused must not be written at the close
        self.count, self.link = 0, START
        try:
            self._write(self._add({"name": GENESIS, "args": to_json(genesis)}))
        except BaseException:
            self.close()
            raise

    def append(self, entries: Sequence[Entry]) -> None:
        """Add entries; raise BadRecord if the file continues otherwise."""
        start, count, link = self._file.tell(), self.count, self.link
        try:
            self._write(b"".join([self._add(describe_entry(entry)) for entry in entries]))
        except OSError:
            os.ftruncate(self._file.fileno(), start)
            self.count, self.link = count, link
            raise

    def _add(self, fields: dict[str, Any]) -> bytes:
        line, link = encode_line(fields, self.link)
        known = self.count < len(self._known)
        if known and self._known[self.count] != link:
            raise BadRecord(f"{self._path}:{self.count + 1}: this run continues otherwise; choose another --out")
        self.count, self.link = self.count + 1, link
        return b"" if known else line

    def _write(self, data: bytes) -> None:
        while data:
            data = data[self._file.write(data) :]
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _recover(path: Path) -> list[str]:
    """Drop what a crash left after a file's last whole line, and give the link of every line."""
    if not path.exists():
        return []
    data = path.read_bytes()
    os.truncate(path, data.rfind(b"\n") + 1)
    return [link for _, link in _read_lines(path)]


def read_record(path: Path) -> tuple[Genesis, list[Entry], list[str]]:
    """Read a log file, checking every link; return genesis, entries, and the link of every line."""
    lines = list(_read_lines(path))
    if not lines or lines[0][0].get("name") != GENESIS:
        raise BadRecord(f"{path.name}:1: the log does not begin with its task's genesis")
    try:
        genesis = from_json(Genesis, lines[0][0]["args"])
        for value in (genesis.chain, genesis.task, genesis.token, genesis.creator, genesis.time):
            check_value(value)
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
            except (ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
                raise BadRecord(f"{path.name}:{number}: not a line of a log: {error}") from error
            link = compute_link(fields, link)
            if found != link:
                raise BadRecord(
                    f"{path.name}:{number}: the hash chain breaks: this line was changed, or one before it dropped"
                )
            yield fields, link
