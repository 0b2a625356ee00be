"""What a node must not forget: what it commits to, and what it signs, written down before it is sent (SQLite)."""

import fcntl
import os
import sqlite3
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from pathlib import Path

from openflock.protocol.types import Act, Address

SCHEMA = """
CREATE TABLE IF NOT EXISTS contents (
    task TEXT, node TEXT, round INTEGER, act INTEGER, content BLOB NOT NULL,
    PRIMARY KEY (task, node, round, act)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS transactions (
    chain INTEGER, sender TEXT, nonce INTEGER, purpose TEXT, hash BLOB UNIQUE, raw BLOB NOT NULL, time REAL,
    state TEXT NOT NULL DEFAULT 'open'
);
CREATE INDEX IF NOT EXISTS open_transactions ON transactions (chain, sender) WHERE state = 'open';
"""


class JournalLocked(ValueError):
    """A journal that another process holds."""


class NotAJournal(ValueError):
    """A file that is something else, or damaged."""


@dataclass(frozen=True)
class Transaction:
    """A signed transaction, as it was before it was sent; `purpose` says in words what it is to do."""

    chain: int
    sender: Address
    nonce: int
    purpose: str
    hash: bytes
    raw: bytes
    time: float  # when it was signed, by this machine's clock


def take_lock(path: Path) -> int:
    """Lock a journal until what this returns is closed; raise JournalLocked while another process has it open.

    The kernel gives the lock up when the process ends, however it ends. SQLite's own would let two take turns.
    """
    lock = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise JournalLocked(
            f"{path} is in use by another process: end that one, or give each node a directory of its own"
        ) from None
    except OSError:
        os.close(lock)
        raise
    if os.fstat(lock).st_nlink == 0:  # who removed the journal held it: this lock is of a file that is gone
        os.close(lock)
        return take_lock(path)
    return lock


@contextmanager
def hold_journal(path: Path) -> Iterator[None]:
    """Keep all processes from opening a journal; raise JournalLocked while another one has it open."""
    lock = take_lock(path)
    try:
        yield
    finally:
        os.close(lock)


def remove_journal(path: Path) -> None:
    """Remove a journal that is held, with all that lies beside it for it."""
    for suffix in ("", "-wal", "-shm", ".lock"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)


class Journal:
    """A crash-safe record of the contents of commitments and of signed transactions; nothing written ever changes.

    It holds ballots and salts before they are opened, so it belongs to its nodes alone, and to one process at a time.
    """

    def __init__(self, path: Path) -> None:
        """Open or create the journal; raise JournalLocked while another process has it open."""
        self._unlock = weakref.finalize(self, os.close, take_lock(path))
        self.path = path
        path.touch(mode=0o600)
        self._database = sqlite3.connect(path, isolation_level=None)
        try:
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = FULL")
            self._database.executescript(SCHEMA)
        except sqlite3.OperationalError:  # a full disk, say, of a journal that is one
            self.close()
            raise
        except sqlite3.DatabaseError as error:
            self.close()
            raise NotAJournal(f"{path} is no journal ({error}): move it away, or name another directory") from error

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

    def write(self, transaction: Transaction) -> None:
        """Write down, durably, a transaction that is about to be sent."""
        self._database.execute(
            "INSERT INTO transactions (chain, sender, nonce, purpose, hash, raw, time) VALUES (?, ?, ?, ?, ?, ?, ?)",
            astuple(transaction),
        )

    def list_open(self, chain: int, sender: Address) -> list[Transaction]:
        """List an account's transactions that are neither settled nor lost, by nonce and then by age."""
        rows = self._database.execute(
            "SELECT chain, sender, nonce, purpose, hash, raw, time FROM transactions"
            " WHERE chain = ? AND sender = ? AND state = 'open' ORDER BY nonce, rowid",
            (chain, sender),
        )
        return [Transaction(*row) for row in rows]

    def settle(self, chain: int, sender: Address, nonce: int, purpose: str) -> None:
        """Write down that a purpose was served under a nonce; all else of that nonce is lost."""
        self._database.execute(
            "UPDATE transactions SET state = CASE WHEN purpose = ? THEN 'settled' ELSE 'lost' END"
            " WHERE chain = ? AND sender = ? AND nonce = ? AND state = 'open'",
            (purpose, chain, sender, nonce),
        )

    def lose(self, chain: int, sender: Address, nonce: int, purpose: str) -> None:
        """Write down that the chain took something else under a nonce."""
        self._database.execute(
            "UPDATE transactions SET state = 'lost' WHERE chain = ? AND sender = ? AND nonce = ? AND purpose = ?",
            (chain, sender, nonce, purpose),
        )

    def close(self) -> None:
        """Close the file, and let others open it."""
        self._database.close()
        self._unlock()
