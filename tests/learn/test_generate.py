import pytest

from openflock.learn.data import parse_row
from openflock.learn.evaluate import EvaluationSettings, generate, match_answers
from openflock.learn.generate import answer_rows
from openflock.learn.skills import SKILLS, generate_rows


@pytest.fixture(scope="module")
def rows():
    drawn = [generate_rows(skill, 4, 1, "validation") for skill in SKILLS]
    return [parse_row(row, "x:1") for group in drawn for row in group]


@pytest.fixture(autouse=True)
def _at_start(model, start):
    model.load_state(start)


def test_the_size_of_a_batch_and_its_company_do_not_change_an_answer(model, rows):
    alone = [generate(model, row.messages, 20) for row in rows[:5]]
    for size in (1, 7, 64):
        answers = answer_rows(model, rows, EvaluationSettings(batch_size=size), max_new_tokens=20)
        assert len(answers) == len(rows)
        assert answers[:5] == alone


def test_whole_answers_are_right_where_one_pass_says_so(model, rows):
    right = [answer == row.completion for answer, row in zip(answer_rows(model, rows), rows, strict=True)]
    assert right == match_answers(model, rows)
    assert any(right)


def test_an_answer_that_was_cut_short_is_not_taken_for_a_whole_one(model, rows):
    whole = answer_rows(model, rows)
    longest = max(whole, key=len)
    row = rows[whole.index(longest)]
    assert longest.startswith(generate(model, row.messages, 1))
    assert generate(model, row.messages, 1) != longest


def test_no_rows_have_no_answers(model):
    assert answer_rows(model, []) == []
