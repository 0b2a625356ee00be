import sqlite3
import subprocess
import sys

import pytest

from openflock.edge.journal import Journal
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
from openflock.edge.journal import Journal
from openflock.protocol.types import Act
Journal(Path(sys.argv[1])).remember("task", "node", 7, Act.UPDATE, b"written")
os._exit(9)
"""


def test_what_was_written_outlives_a_process_that_dies_at_once(path):
    assert subprocess.run([sys.executable, "-c", DIE, path], check=False).returncode == 9
    assert Journal(path).recall("task", "node", 7, Act.UPDATE) == b"written"
