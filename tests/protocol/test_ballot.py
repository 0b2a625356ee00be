import pytest
from hypothesis import given
from hypothesis import strategies as st

from openflock.protocol.ballot import (
    MAX_SCORE,
    MIN_SCORE,
    Mark,
    choose_sealed_score,
    compute_ballot,
    compute_sealed_word,
    get_mark,
    get_sealed_score,
)
from openflock.protocol.types import Flag

marks = st.builds(Mark, st.integers(MIN_SCORE, MAX_SCORE), st.integers(0, 15).map(Flag))


@given(st.integers(0, 2**256 - 1))
def test_every_word_is_a_ballot(word):
    assert compute_ballot([get_mark(word, slot) for slot in range(16)]) == word


@given(st.lists(marks, max_size=16))
def test_marks_come_back(written):
    ballot = compute_ballot(written)
    assert 0 <= ballot < 2**256
    assert [get_mark(ballot, slot) for slot in range(16)] == written + [Mark()] * (16 - len(written))


@given(st.integers())
def test_scores_beyond_twelve_bits_are_clipped(score):
    assert get_mark(compute_ballot([Mark(score)]), 0).score == max(-2048, min(2047, score))


def test_a_seventeenth_mark_is_refused():
    with pytest.raises(ValueError, match="17 slots, at most 16"):
        compute_ballot([Mark()] * 17)


@given(st.lists(st.none() | st.integers(MIN_SCORE, MAX_SCORE), max_size=16))
def test_the_second_word_gives_back_every_score_and_where_there_is_none(scores):
    """No gain is the least loss: 0 is kept for none."""
    word = compute_sealed_word(scores)
    assert 0 <= word < 2**256
    written = [0 if score is None else score or -1 for score in scores]
    assert [get_sealed_score(word, slot) for slot in range(16)] == written + [0] * (16 - len(scores))


@given(st.integers(0, 2**256 - 1), st.integers(0, 15))
def test_every_word_is_a_second_word(word, slot):
    assert MIN_SCORE <= get_sealed_score(word, slot) <= MAX_SCORE


@pytest.mark.parametrize(("score", "kept"), [(2048, 2047), (-2049, -2048), (10**9, 2047)])
def test_a_score_on_sealed_rows_is_clipped_too(score, kept):
    assert get_sealed_score(compute_sealed_word([score]), 0) == kept


@given(st.lists(st.integers(-2047, 2047), min_size=1, max_size=5), st.integers(0, 4), st.integers(0, 2047))
def test_a_score_is_of_the_own_domain_unless_another_loses_more_than_it_gains(scores, domain, tolerance):
    domain %= len(scores)
    chosen = choose_sealed_score(scores, domain, tolerance)
    assert chosen in (min(scores), scores[domain])
    assert (chosen != scores[domain]) <= (min(scores) < -tolerance and min(scores) + scores[domain] < 0)


def test_a_specialist_that_costs_others_less_than_it_gains_is_no_harm():
    assert choose_sealed_score([800, -600], 0, 500) == 800
    assert choose_sealed_score([500, -600], 0, 500) == -600
    assert choose_sealed_score([100, -500], 0, 500) == 100
