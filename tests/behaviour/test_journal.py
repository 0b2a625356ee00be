import sqlite3
import subprocess
import sys

import pytest

from openflock.edge.journal import Journal, JournalLocked, NotAJournal, Transaction, hold_journal, remove_journal
from openflock.protocol.types import Act

TASK, NODE, OTHER = "0x" + "1" * 40, "0x" + "2" * 40, "0x" + "3" * 40


@pytest.fixture
def path(tmp_path):
    return tmp_path / "journal.db"


def test_nothing_is_recalled_before_it_was_written(path):
    assert Journal(path).recall(TASK, NODE, 1, Act.UPDATE) is None


@pytest.mark.parametrize("content", [b"content", b"", bytes(range(256))])
def test_what_was_written_is_recalled_after_opening_again(path, content):
    first = Journal(path)
    first.remember(TASK, NODE, 1, Act.BALLOT, content)
    first.close()
    assert Journal(path).recall(TASK, NODE, 1, Act.BALLOT) == content


def test_task_node_round_and_act_are_kept_apart(path):
    journal = Journal(path)
    keys = [(task, node, number, act) for task in (TASK, OTHER) for node in (NODE, OTHER) for number in (1, 2)
            for act in Act]  # fmt: skip
    for position, key in enumerate(keys):
        journal.remember(*key, str(position).encode())
    assert [journal.recall(*key) for key in keys] == [str(position).encode() for position in range(len(keys))]


def test_a_second_content_for_the_same_act_is_refused_and_the_first_stands(path):
    journal = Journal(path)
    journal.remember(TASK, NODE, 1, Act.BALLOT, b"first")
    with pytest.raises(sqlite3.IntegrityError):
        journal.remember(TASK, NODE, 1, Act.BALLOT, b"second")
    assert journal.recall(TASK, NODE, 1, Act.BALLOT) == b"first"


DIE = """
import os, sys
from pathlib import Path
from openflock.edge.journal import Journal, JournalLocked, NotAJournal, Transaction
from openflock.protocol.types import Act
Journal(Path(sys.argv[1])).remember("task", "node", 7, Act.UPDATE, b"written")
os._exit(9)
"""


def test_what_was_written_outlives_a_process_that_dies_at_once(path):
    assert subprocess.run([sys.executable, "-c", DIE, path], check=False).returncode == 9
    assert Journal(path).recall("task", "node", 7, Act.UPDATE) == b"written"


# --- One process at a time -----------------------------------------------------------------------------------

HOLD = """
import sys, time
from pathlib import Path
from openflock.edge.journal import Journal
journal = Journal(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(60)
"""


def test_a_journal_that_another_process_holds_is_refused_until_that_one_is_killed(path):
    with subprocess.Popen([sys.executable, "-c", HOLD, path], stdout=subprocess.PIPE) as holder:
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(JournalLocked, match="in use by another process") as caught:
            Journal(path)
        assert "\n" not in str(caught.value)
        holder.kill()
    assert Journal(path).recall(TASK, NODE, 1, Act.UPDATE) is None


def test_a_second_journal_on_the_same_file_is_refused_until_the_first_is_closed(path):
    first = Journal(path)
    with pytest.raises(JournalLocked):
        Journal(path)
    first.close()
    first.close()
    Journal(path).close()


def test_a_journal_is_read_by_its_owner_alone(path):
    Journal(path).remember(TASK, NODE, 1, Act.BALLOT, b"secret")
    for file in path.parent.iterdir():
        assert file.stat().st_mode & 0o077 == 0, file


def test_a_file_that_is_no_journal_is_refused_and_left_as_it_is(path):
    path.write_bytes(b"my thesis, chapter one" * 100)
    with pytest.raises(NotAJournal, match="is no journal"):
        Journal(path)
    assert path.read_bytes() == b"my thesis, chapter one" * 100


# --- Transactions --------------------------------------------------------------------------------------------


def make_transaction(nonce, purpose, form=0, sender=NODE, chain=1):
    mark = f"{chain}/{sender}/{nonce}/{purpose}/{form}".encode()
    return Transaction(chain, sender, nonce, purpose, mark, b"raw " + mark, 1_700_000_000.5)


def test_what_is_under_way_is_listed_by_nonce_and_then_by_age(path):
    first, second, third = make_transaction(4, "a"), make_transaction(3, "b"), make_transaction(4, "a", 1)
    journal = Journal(path)
    for item in (first, second, third):
        journal.write(item)
    journal.close()
    assert Journal(path).list_open(1, NODE) == [second, first, third]


def test_chains_and_accounts_are_kept_apart(path):
    journal = Journal(path)
    items = [make_transaction(0, "a", 0, sender, chain) for sender in (NODE, OTHER) for chain in (1, 2)]
    for item in items:
        journal.write(item)
    assert [journal.list_open(item.chain, item.sender) for item in items] == [[item] for item in items]


def test_the_same_transaction_is_not_written_twice(path):
    journal = Journal(path)
    journal.write(make_transaction(0, "a"))
    with pytest.raises(sqlite3.IntegrityError):
        journal.write(make_transaction(0, "a"))


def test_what_is_settled_is_no_longer_open_and_what_shared_its_nonce_is_lost(path):
    journal = Journal(path)
    for item in (
        make_transaction(0, "a"),
        make_transaction(0, "a", 1),
        make_transaction(0, "b"),
        make_transaction(1, "b"),
    ):
        journal.write(item)
    journal.settle(1, NODE, 0, "a")
    assert journal.list_open(1, NODE) == [make_transaction(1, "b")]
    states = journal._database.execute("SELECT purpose, nonce, state FROM transactions ORDER BY rowid").fetchall()
    assert states == [("a", 0, "settled"), ("a", 0, "settled"), ("b", 0, "lost"), ("b", 1, "open")]


def test_what_is_lost_leaves_others_of_its_nonce_open(path):
    journal = Journal(path)
    for item in (make_transaction(0, "a"), make_transaction(0, "b")):
        journal.write(item)
    journal.lose(1, NODE, 0, "a")
    assert journal.list_open(1, NODE) == [make_transaction(0, "b")]


# --- Removing ------------------------------------------------------------------------------------------------


def test_a_journal_that_is_held_opens_for_nobody(path):
    with hold_journal(path), pytest.raises(JournalLocked):
        Journal(path)
    Journal(path).close()


def test_a_journal_that_is_open_is_not_held(path):
    journal = Journal(path)
    with pytest.raises(JournalLocked), hold_journal(path):
        pass
    journal.close()


def test_a_removed_journal_leaves_nothing_and_forgets_all(path):
    first = Journal(path)
    first.remember(TASK, NODE, 1, Act.BALLOT, b"content")
    first.close()
    with hold_journal(path):
        remove_journal(path)
        assert list(path.parent.iterdir()) == []
    assert Journal(path).recall(TASK, NODE, 1, Act.BALLOT) is None
