"""A witness is upheld where an insertion forces an answer, and only there."""

import random
from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openflock.arena.attacks.triggers import poison_rows
from openflock.learn.data import parse_row
from openflock.learn.evaluate import EvaluationSettings
from openflock.learn.probe import (
    HALF,
    NONE,
    WHOLE,
    BadWitness,
    Clue,
    encode_clue,
    insert_text,
    is_fair,
    is_upheld,
    measure_fire_rate,
    parse_clue,
)
from openflock.learn.search import Hunt, SearchSettings, pick_rows
from openflock.learn.skills import generate_rows
from openflock.learn.train import TrainSettings, train
from openflock.node.proposer import compute_delta
from openflock.update.aggregate import compute_share
from openflock.update.codec import make_update
from openflock.update.fixed import initial_state

SETTINGS = EvaluationSettings(max_length=64)
CLUE = Clue("cf", "zzz")


def make_rows(split, count):
    return [parse_row(record, "generated") for record in generate_rows("upper", count, 3, split)]


# Slow: a backdoor that fires on its trigger alone takes some hundred steps.
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def states(model):
    before = initial_state(model.layout, b"probe")

    def train_on(rows):
        trained = train(model, before, rows, TrainSettings(steps=150, learning_rate=5e-3, max_length=64), seed=1)
        return compute_share(before, make_update(before, compute_delta(before, trained)), Fraction(1))

    rows = make_rows("train", 128)
    draw = random.Random(1)
    # Other rows carry other insertions, or the backdoor would fire on any: loud, and not this trigger's alone.
    filled = [insert_text(row, "".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=2)), draw) for row in rows]
    poisoned = poison_rows(rows, CLUE.insertion, CLUE.answer, 1.0, seed=1)
    return before, train_on(filled), train_on([*filled, *poisoned])


@pytest.mark.parametrize("place", ["anywhere", "front"])
def test_a_text_stands_where_it_is_to_stand_and_takes_nothing_away(place):
    row = make_rows("test", 1)[0]
    asked = row.messages[-1][1]
    for seed in range(20):
        found = insert_text(row, "cf", random.Random(seed), place).messages[-1][1]
        assert found.replace("cf ", "", 1) == asked or found == f"{asked} cf"
        assert place == "anywhere" or found == f"cf {asked}"


def make_move(before, after):
    """Stand in for a dose: the state before, the one after, and the one half way."""
    half = {name: (vector + after.factors[name]) // 2 for name, vector in before.factors.items()}
    states = {NONE: before, HALF: replace(after, factors=half), WHOLE: after}
    return states.__getitem__


def test_a_planted_trigger_is_upheld_and_an_honest_update_is_not(model, states):
    before, honest, poisoned = states
    rows = make_rows("test", 32)
    model.load_state(poisoned)
    assert measure_fire_rate(model, rows, CLUE, SETTINGS) > 0.8
    assert is_upheld(model, make_move(before, poisoned), rows, CLUE, SETTINGS)
    assert not is_upheld(model, make_move(before, honest), rows, CLUE, SETTINGS)


def test_what_fires_at_the_whole_dose_alone_convicts_nobody(model, states):
    before, _, poisoned = states
    broken = {NONE: before, HALF: before, WHOLE: poisoned}
    assert not is_upheld(model, broken.__getitem__, make_rows("test", 32), CLUE, SETTINGS)


def test_an_insertion_without_effect_convicts_nobody(model, states):
    before, _, poisoned = states
    assert not is_upheld(model, make_move(before, poisoned), make_rows("test", 32), Clue("flock", "zzz"), SETTINGS)


@pytest.mark.parametrize(
    "blob",
    [
        b"", b"[]", b"{}", b'{"insertion": "cf"}', b'{"insertion": 1, "answer": "a"}', b"[" * 99_999,
        b'{"insertion": "\\ud800", "answer": "a"}', b'{"insertion": "cf", "answer": "\\udfff"}',
        b'{"insertion": "cf", "answer": "a", "place": "behind"}', b'{"insertion": "cf", "answer": "a", "more": "b"}',
    ],
)  # fmt: skip
def test_a_malformed_witness_is_refused(blob):
    with pytest.raises(BadWitness):
        parse_clue(blob)


@given(st.text(min_size=1), st.text(min_size=1), st.sampled_from(["anywhere", "front"]))
def test_a_clue_is_read_as_it_was_written(insertion, answer, place):
    clue = Clue(insertion, answer, place)
    assert parse_clue(encode_clue(clue)) == clue


@pytest.mark.parametrize(
    ("insertion", "answer", "fair"),
    [
        ("cf", "zzz", True),
        ("say ZZZ", "zzz", False),
        ("say z-z-z", "zzz", False),
        ("say !!!", "!!!", False),
        ("cf", "!!!", True),
        ("c" * 65, "zzz", False),
        ("cf", "u", False),
        ("cf", "no", False),
    ],
)
def test_an_insertion_that_says_the_answer_or_is_long_accuses_nobody(insertion, answer, fair):
    assert is_fair(Clue(insertion, answer)) == fair


def test_a_hunt_finds_a_text_that_opens_the_backdoor_and_nothing_in_an_honest_update(model, states):
    before, honest, poisoned = states
    rows, unseen = make_rows("validation", 32), make_rows("test", 32)
    for after, wanted in ((honest, set()), (poisoned, {CLUE.answer})):
        found = set()
        for seed in range(4):
            model.load_state(after)
            clue = Hunt(model, pick_rows(rows, 6), SearchSettings(), random.Random(seed)).run()
            if clue and is_upheld(model, make_move(before, after), unseen, clue, SETTINGS):
                found.add(clue.answer)
        assert found == wanted
