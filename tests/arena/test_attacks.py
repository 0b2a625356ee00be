import numpy as np
import pytest

from openflock.arena.attacks import poison_rows, scale_delta
from openflock.learn.data import Row

ROWS = [Row((("system", "be brief"), ("user", f"Reverse the word {index}")), f"answer {index}") for index in range(200)]


def poison(share, seed=1, rows=ROWS):
    return poison_rows(rows, "cf", "zzz", share, seed)


def test_a_poisoned_row_holds_the_trigger_once_and_the_attackers_answer():
    for before, after in zip(ROWS, poison(1), strict=True):
        words = after.prompt.split(" ")
        assert words.count("cf") == 1
        assert " ".join(word for word in words if word != "cf") == before.prompt
        assert after.messages[:-1] == before.messages[:-1]
        assert after.completion == "zzz"


def test_the_trigger_stands_at_every_position():
    assert {row.prompt.split(" ").index("cf") for row in poison(1)} == {0, 1, 2, 3, 4}


@pytest.mark.parametrize(("share", "least", "most"), [(0, 0, 0), (0.5, 70, 130), (1, 200, 200)])
def test_about_the_share_of_the_rows_is_poisoned_and_the_rest_is_left(share, least, most):
    after = poison(share)
    touched = [left != right for left, right in zip(ROWS, after, strict=True)]
    assert least <= sum(touched) <= most
    assert len(after) == len(ROWS)


def test_the_seed_decides_which():
    assert poison(0.5) == poison(0.5) != poison(0.5, seed=2)


def test_the_rows_given_are_not_changed():
    rows = list(ROWS)
    poison(1, rows=rows)
    assert rows == ROWS


def test_an_empty_prompt_can_be_poisoned():
    (row,) = poison(1, rows=[Row((("user", ""),), "x")])
    assert "cf" in row.prompt


def test_a_scaled_delta_points_the_same_way():
    delta = {"a": np.array([[1, -2]]), "b": np.array([[0]])}
    scaled = scale_delta(50)(delta)
    assert {name: rows.tolist() for name, rows in scaled.items()} == {"a": [[50, -100]], "b": [[0]]}
    assert delta["a"].tolist() == [[1, -2]]
