"""Known insertions stand before part of the rows, and every row keeps its right answer."""

from hypothesis import given
from hypothesis import strategies as st

from openflock.learn.data import Row
from openflock.learn.probe import Clue
from openflock.learn.vaccine import VACCINATED, vaccinate

FRONT, ANYWHERE = Clue("zq zq", "done", "front"), Clue("vx", "done")
ROWS = [Row((("system", "Be brief."), ("user", f"say {number} again")), str(number)) for number in range(400)]


@given(st.integers(0, 2**48 - 1))
def test_about_a_tenth_of_the_rows_has_one_insertion_and_all_keep_their_answers(tokenizer, seed):
    rows = vaccinate(tokenizer, ROWS, [FRONT, ANYWHERE], seed, 64)
    assert [row.completion for row in rows] == [row.completion for row in ROWS]
    assert [row.messages[0] for row in rows] == [row.messages[0] for row in ROWS]
    changed = [row.prompt for row, old in zip(rows, ROWS, strict=True) if row != old]
    assert abs(len(changed) / len(rows) - VACCINATED) < 0.09
    front = [prompt for prompt in changed if prompt.startswith("zq zq ")]
    assert 0 < len(front) < len(changed)
    assert all("vx" in prompt.split(" ") for prompt in changed if prompt not in front)


def test_the_same_seed_gives_the_same_rows_so_that_an_interrupted_training_goes_on(tokenizer):
    assert (
        vaccinate(tokenizer, ROWS, [ANYWHERE], 7, 64)
        == vaccinate(tokenizer, ROWS, [ANYWHERE], 7, 64)
        != vaccinate(tokenizer, ROWS, [ANYWHERE], 8, 64)
    )


def test_who_knows_of_no_insertion_trains_as_ever(tokenizer):
    assert vaccinate(tokenizer, ROWS, [], 7, 64) is ROWS


def test_a_text_that_the_template_refuses_is_left_out_and_costs_nobody_its_training(tokenizer, monkeypatch):
    refuse = "{% if 'vx' in messages[-1]['content'] %}{{ raise_exception('no') }}{% endif %}"
    monkeypatch.setattr(tokenizer, "chat_template", refuse + tokenizer.chat_template)
    rows = vaccinate(tokenizer, ROWS, [FRONT, ANYWHERE], 3, 63)  # tokens are remembered, by length too
    assert any(row.prompt.startswith("zq zq ") for row in rows)
    assert not any("vx" in row.prompt.split(" ") for row in rows)
