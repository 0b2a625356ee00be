from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from openflock.arena.attacks.labels import flip_labels
from openflock.learn.data import Row

answers = st.lists(st.sampled_from("abcd"), max_size=30)


def make_rows(completions):
    return [Row((("user", f"question {index}"),), answer) for index, answer in enumerate(completions)]


def list_flipped(before, after):
    return [right.completion for left, right in zip(before, after, strict=True) if left != right]


@given(answers, st.integers(0, 9))
def test_all_flipped_rows_answer_wrongly_unless_one_answer_is_most_of_them(completions, seed):
    rows = make_rows(completions)
    kept = len(rows) - len(list_flipped(rows, flip_labels(rows, seed=seed)))
    commonest = max(Counter(completions).values(), default=0)
    assert kept == max(0, 2 * commonest - len(rows))


@given(answers, st.floats(0, 1), st.integers(0, 9))
def test_flipping_keeps_the_prompts_and_how_often_each_answer_comes(completions, share, seed):
    rows = make_rows(completions)
    after = flip_labels(rows, share, seed)
    assert [row.messages for row in after] == [row.messages for row in rows]
    assert Counter(row.completion for row in after) == Counter(completions)
    assert len(list_flipped(rows, after)) <= round(share * len(rows))


def test_the_share_is_exact_where_all_answers_differ():
    rows = make_rows([f"answer {index}" for index in range(50)])
    assert len(list_flipped(rows, flip_labels(rows, 0.3, seed=4))) == 15
    assert flip_labels(rows, seed=1) == flip_labels(rows, seed=1) != flip_labels(rows, seed=2)
