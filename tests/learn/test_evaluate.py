import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from openflock.learn.data import parse_row
from openflock.learn.encode import collate, encode_row
from openflock.learn.evaluate import (
    EvaluationSettings,
    compute_accuracy,
    compute_loss,
    generate,
    generate_all,
    grade_answers,
    match_answers,
    relative_score,
)
from openflock.learn.skills import SKILLS, generate_rows
from openflock.protocol.ballot import MAX_SCORE

losses = st.floats(1e-6, 1e3)


@pytest.fixture(scope="module")
def rows():
    drawn = [generate_rows(skill, 6, 1, "validation") for skill in SKILLS]
    return [parse_row(row, "x:1") for group in drawn for row in group]


@pytest.fixture(autouse=True)
def _at_start(model, start):
    model.load_state(start)


def test_the_loss_is_the_mean_over_completion_tokens(model, rows):
    total, count = 0.0, 0
    for row in rows:
        example = encode_row(model.tokenizer, row, 256)
        batch = collate([example], 0)
        with torch.no_grad():
            mean = model.network(input_ids=batch.tokens, labels=batch.labels).loss.item()
        learnt = len(example.tokens) - example.prompt
        total, count = total + mean * learnt, count + learnt
    assert compute_loss(model, rows) == pytest.approx(total / count, abs=1e-5)


def test_the_size_of_a_batch_changes_the_time_and_not_the_answer(model, rows):
    whole = compute_loss(model, rows)
    for size in (1, 5):
        settings = EvaluationSettings(batch_size=size)
        assert compute_loss(model, rows, settings) == pytest.approx(whole, abs=1e-5)
        assert match_answers(model, rows, settings) == match_answers(model, rows)
    assert compute_loss(model, rows) == whole


def test_accuracy_in_one_pass_is_what_generation_gives(model, rows):
    answers = generate_all(model, [row.messages for row in rows], max_new_tokens=20)
    matches = [answer == row.completion for answer, row in zip(answers, rows, strict=True)]
    assert match_answers(model, rows) == matches
    assert 0 < compute_accuracy(model, rows) == sum(matches) / len(matches) < 1


def test_an_answer_does_not_depend_on_its_company(model, rows):
    together = generate_all(model, [row.messages for row in rows[:6]], max_new_tokens=12)
    assert together == [generate(model, row.messages, max_new_tokens=12) for row in rows[:6]]


@given(losses, losses, losses)
def test_a_score_is_the_gain_in_ten_thousandths_of_the_base_s_loss(before, after, base):
    score = relative_score(before, after, base)
    assert -MAX_SCORE <= score <= MAX_SCORE
    assert (score > 0) <= (after < before)
    assert (score < 0) <= (after > before)
    if abs(score) < MAX_SCORE:
        assert score == round((before - after) / base * 1e4)


def test_scores_at_the_edges():
    assert relative_score(1.0, 1.0, 1.0) == 0
    assert relative_score(2.0, 1.9, 2.0) == 500
    assert relative_score(1.0, 0.0, 1.0) == MAX_SCORE
    for after in (math.nan, math.inf, -math.inf):
        assert relative_score(1.0, after, 1.0) == -MAX_SCORE
    for before, base in ((math.nan, 1.0), (math.inf, 1.0), (1.0, math.nan), (1.0, math.inf), (1.0, 0.0), (1.0, -1.0)):
        with pytest.raises(ValueError, match="must be finite, this positive"):
            relative_score(before, 1.0, base)


def test_what_is_nearly_learnt_is_not_ruined_by_a_little():
    assert relative_score(0.02, 0.04, 2.0) == -100


def test_a_base_of_the_repository_knows_the_form_and_solves_only_a_part(model):
    for skill in ("reverse", "sort", "upper", "shift", "double"):
        judged = [parse_row(row, skill) for row in generate_rows(skill, 100, 2, "validation")]
        assert 0.02 < compute_accuracy(model, judged) < 0.7
        assert 0.15 < compute_loss(model, judged) < 1.7


def test_one_pass_gives_the_loss_and_the_answers_that_two_give(model, rows):
    assert grade_answers(model, rows) == (compute_loss(model, rows), match_answers(model, rows))
