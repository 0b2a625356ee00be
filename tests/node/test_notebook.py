"""What a node knows of insertions survives a restart; junk does not push out what it tested itself."""

import pytest

from openflock.learn.probe import Clue
from openflock.node.notebook import LENGTH, Notebook

HEARD, TESTED = Clue("heard", "answer"), Clue("tested", "answer", "front")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "notebooks" / "node.json"


def test_what_a_node_tested_comes_last_whenever_it_was_and_a_restart_forgets_nothing(path):
    notebook = Notebook(path)
    notebook.note(TESTED, tested=True)
    notebook.note(HEARD, tested=False)
    notebook.note(TESTED, tested=False)  # hearsay makes nothing less sure
    assert notebook.read() == Notebook(path).read() == (HEARD, TESTED)


def test_what_was_heard_first_and_tested_then_is_known_once(path):
    notebook = Notebook(path)
    for clue in (HEARD, TESTED):
        notebook.note(clue, tested=False)
    notebook.note(HEARD, tested=True)
    assert notebook.read() == (TESTED, HEARD)


def test_a_flood_of_hearsay_leaves_what_a_node_tested_where_it_was(path):
    notebook = Notebook(path)
    notebook.note(TESTED, tested=True)
    for number in range(3 * LENGTH):
        notebook.note(Clue(f"junk {number}", "answer"), tested=False)
    assert notebook.read()[-1] == TESTED
    assert len(notebook.read()) == LENGTH + 1


@pytest.mark.parametrize("tested", [True, False])
def test_what_is_struck_out_is_gone(path, tested):
    notebook = Notebook(path)
    notebook.note(TESTED, tested=tested)
    notebook.strike(HEARD)
    assert notebook.read() == (TESTED,)
    notebook.strike(TESTED)
    assert notebook.read() == ()


@pytest.mark.parametrize("content", ["", "[", "[[], [], []]", "{}", "7", '[[{"insertion": 1}], []]', "[" * 100_000])
def test_a_broken_notebook_is_an_empty_one_and_can_be_written_again(path, content):
    path.parent.mkdir()
    path.write_text(content)
    notebook = Notebook(path)
    assert notebook.read() == ()
    notebook.note(TESTED, tested=True)
    assert notebook.read() == (TESTED,)
