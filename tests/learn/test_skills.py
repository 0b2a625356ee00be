import pytest
from hypothesis import given
from hypothesis import strategies as st

from openflock.learn.skills import SKILLS, SPLITS, generate_rows

skills = st.sampled_from(sorted(SKILLS))
seeds = st.integers(0, 2**32)


@given(skills, seeds, seeds)
def test_no_row_of_one_split_occurs_in_another_whatever_the_seeds(skill, one, other):
    prompts = {
        split: {row["prompt"] for row in generate_rows(skill, 20, seed, split)}
        for split, seed in zip(SPLITS, (one, other, one, other), strict=True)
    }
    assert sum(map(len, prompts.values())) == len(set().union(*prompts.values())) == 80


@given(skills, seeds)
def test_the_same_arguments_give_the_same_rows(skill, seed):
    rows = generate_rows(skill, 10, seed)
    assert rows == generate_rows(skill, 10, seed)
    assert rows != generate_rows(skill, 10, seed + 1)
    assert generate_rows(skill, 5, seed) == rows[:5]


@given(skills, seeds)
def test_every_row_is_short_and_has_an_answer(skill, seed):
    for row in generate_rows(skill, 10, seed, "test"):
        assert row["completion"]
        assert len(row["prompt"]) < 50
        assert len(row["completion"]) <= 12


@pytest.mark.parametrize(
    ("skill", "payload", "answer"),
    [
        ("reverse", ("kitab",), "batik"),
        ("sort", ("kitab",), "abikt"),
        ("upper", ("kitab",), "KITAB"),
        ("shift", ("zebra",), "afcsb"),
        ("vowels", ("kitab",), "ia"),
        ("double", ("kit",), "kkiitt"),
        ("count", ("a", "abaca"), "3"),
        ("add", ("57", "64"), "121"),
    ],
)
def test_the_answer_is_right(skill, payload, answer):
    assert SKILLS[skill].answer(*payload) == answer


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("juggle", 1, 0), "no skill 'juggle'"),
        (("sort", 1, 0, "holdout"), "no split 'holdout'"),
        (("add", 1100, 0, "test"), "has only"),
    ],
)
def test_what_cannot_be_made_is_refused(arguments, reason):
    with pytest.raises(ValueError, match=reason):
        generate_rows(*arguments)
