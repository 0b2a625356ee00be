"""What a node must not forget: what it committed to, written down before the commitment is sent (SQLite)."""

import sqlite3
from pathlib import Path

from openflock.protocol.types import Act, Address


class Journal:
    """A crash-safe record of the contents of commitments; a content, once written, never changes.

    It holds ballots and salts before they are opened, so it belongs to its nodes alone.
    """

    def __init__(self, path: Path) -> None:
        """Open or create the journal."""
        self._database = sqlite3.connect(path, isolation_level=None)
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = FULL")
        self._database.execute(
            "CREATE TABLE IF NOT EXISTS contents"
            " (task TEXT, node TEXT, round INTEGER, act INTEGER, content BLOB NOT NULL,"
            " PRIMARY KEY (task, node, round, act)) WITHOUT ROWID"
        )

    def remember(self, task: Address, node: Address, round_number: int, act: Act, content: bytes) -> None:
        """Write down what a node is about to commit to; a second content for the same act is refused."""
        self._database.execute(
            "INSERT INTO contents VALUES (?, ?, ?, ?, ?)", (task, node, round_number, int(act), content)
        )

    def recall(self, task: Address, node: Address, round_number: int, act: Act) -> bytes | None:
        """Read what a node committed to, None if nothing was written down."""
        key = (task, node, round_number, int(act))
        found = self._database.execute(
            "SELECT content FROM contents WHERE task = ? AND node = ? AND round = ? AND act = ?", key
        ).fetchone()
        return None if found is None else bytes(found[0])

    def close(self) -> None:
        """Close the file."""
        self._database.close()
