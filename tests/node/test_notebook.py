"""What a node knows of insertions survives a restart; junk does not push out what it tested itself."""

import json
from dataclasses import asdict

import pytest

from openflock.learn.probe import MAX_INSERTION, Clue
from openflock.node.notebook import LENGTH, Notebook

HEARD, TESTED = Clue("heard", "answer"), Clue("tested", "answer", "front")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "notebooks" / "node.json"


def note_all(notebook, insertions, *, tested):
    for insertion in insertions:
        notebook.note(Clue(insertion, "answer"), tested=tested)


def list_insertions(notebook):
    return [clue.insertion for clue in notebook.read()]


def test_hearsay_counts_while_nothing_fired_for_the_node_itself_and_a_restart_forgets_nothing(path):
    notebook = Notebook(path)
    assert notebook.read() == ()
    notebook.note(HEARD, tested=False)
    assert notebook.read() == Notebook(path).read() == (HEARD,)
    notebook.note(TESTED, tested=True)
    notebook.note(TESTED, tested=False)  # hearsay makes nothing less sure
    assert notebook.read() == Notebook(path).read() == (TESTED,)


def test_what_was_heard_first_and_tested_then_counts_as_tested(path):
    notebook = Notebook(path)
    note_all(notebook, "ab", tested=False)
    note_all(notebook, "a", tested=True)
    assert list_insertions(notebook) == ["a"]


def test_what_fires_again_is_the_last_and_what_is_heard_again_is_not(path):
    notebook = Notebook(path)
    note_all(notebook, "abca", tested=False)
    assert list_insertions(notebook) == ["a", "b", "c"]
    note_all(notebook, "abca", tested=True)
    assert list_insertions(notebook) == ["b", "c", "a"]


@pytest.mark.parametrize("tested", [True, False])
def test_the_oldest_make_room(path, tested):
    notebook = Notebook(path)
    note_all(notebook, map(str, range(LENGTH + 1)), tested=tested)
    assert list_insertions(notebook) == [str(number) for number in range(1, LENGTH + 1)]


def test_a_flood_of_hearsay_leaves_what_a_node_tested_where_it_was(path):
    notebook = Notebook(path)
    notebook.note(TESTED, tested=True)
    note_all(notebook, [f"junk {number}" for number in range(3 * LENGTH)] + ["[" * 60], tested=False)
    assert notebook.read() == (TESTED,)


@pytest.mark.parametrize("tested", [True, False])
@pytest.mark.parametrize(
    ("clue", "is_kept"),
    [
        (Clue("x" * MAX_INSERTION, "answer"), True),
        (Clue("x" * (MAX_INSERTION + 1), "answer"), False),
        (Clue("say answer", "answer"), False),
        (Clue("words", "["), False),
        (Clue("words", "[" * 3900), True),
    ],
)
def test_what_no_re_test_would_uphold_is_not_written_down(path, clue, is_kept, tested):
    Notebook(path).note(clue, tested=tested)
    assert Notebook(path).read() == ((clue,) if is_kept else ())


@pytest.mark.parametrize("tested", [True, False])
def test_what_is_struck_out_is_gone(path, tested):
    notebook = Notebook(path)
    notebook.note(TESTED, tested=tested)
    notebook.strike(HEARD)
    assert notebook.read() == (TESTED,)
    notebook.strike(TESTED)
    assert notebook.read() == ()


@pytest.mark.parametrize("line", ["", "[", "[[], []]", "{}", "7", '{"tested": 1}', '{"insertion": "a"}', "[" * 100_000])
def test_a_broken_line_is_lost_alone(path, line):
    path.parent.mkdir()
    path.write_text(line + "\n" + json.dumps({**asdict(TESTED), "tested": True}))
    assert Notebook(path).read() == (TESTED,)


def test_a_notebook_that_can_be_neither_read_nor_written_is_an_empty_one(path):
    path.mkdir(parents=True)
    notebook = Notebook(path)
    notebook.note(TESTED, tested=True)
    assert notebook.read() == ()
