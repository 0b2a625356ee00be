"""A search finds what a backdoor forces, without its trigger, and nothing in an honest update."""

import random
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from openflock.learn.data import Row, parse_row
from openflock.learn.encode import collate, encode_row, encode_rows, get_pad
from openflock.learn.passes import grade_embeddings, predict_first, sum_losses
from openflock.learn.probe import Clue, is_fair
from openflock.learn.search import Hunt, SearchSettings, list_writable, make_text, pick_rows
from openflock.learn.skills import generate_rows
from openflock.update.fixed import initial_state

ROWS = [parse_row(record, "generated") for record in generate_rows("upper", 8, 3, "test")]


def ask(model, answers):
    rows = [Row(row.messages, answer) for row, answer in zip(ROWS, answers, strict=True)]
    return collate(encode_rows(model.tokenizer, rows, 64), get_pad(model.tokenizer))


@pytest.fixture(scope="module")
def loaded(model):
    model.load_state(initial_state(model.layout, b"search"))
    return model


def hunt(model, rows=ROWS[:4], **settings):
    return Hunt(model, rows, SearchSettings(**settings), random.Random(1))


def test_what_rows_agree_on_is_the_token_that_is_likeliest_for_all_of_them_together(loaded):
    texts = ["abcdefgh", "Cf", "2718"]
    found = hunt(loaded).choose_text(texts)
    means = []
    for text in texts:
        rows = [replace(row, messages=(("user", f"{text} {row.messages[-1][1]}"),)) for row in ROWS[:4]]
        batch = collate(encode_rows(loaded.tokenizer, rows, 64), get_pad(loaded.tokenizer))
        means.append(torch.stack(predict_first(loaded, batch)).mean(dim=0))
    best = max(range(3), key=lambda place: means[place].max())
    assert (found.text, found.token) == (texts[best], int(means[best].argmax()))
    assert found.likelihood == pytest.approx(float(means[best].max()), abs=1e-4)


def test_more_steps_never_agree_less(loaded):
    likelihoods = [hunt(loaded, steps=steps).find_accord().likelihood for steps in (0, 1, 2)]
    assert likelihoods == sorted(likelihoods)
    assert likelihoods[0] < likelihoods[-1]


@given(st.integers())
def test_odd_texts_are_short_and_can_be_typed(seed):
    text = make_text(random.Random(seed))
    assert text.isprintable()
    assert 2 <= len(text) <= 16


def test_the_rows_that_are_looked_at_have_different_answers():
    rows = [Row((("user", str(number)),), answer) for number, answer in enumerate("aabbcd")]
    assert sorted(row.completion for row in pick_rows(rows, 8)) == list("abcd")
    assert len(pick_rows(rows, 2)) == 2


def test_the_first_token_s_likelihoods_are_those_of_the_loss(loaded):
    batch = ask(loaded, ["a" * (number + 1) for number in range(8)])
    firsts = torch.stack(predict_first(loaded, batch))
    assert torch.allclose(firsts.exp().sum(dim=1), torch.ones(8), atol=1e-5)
    losses = sum_losses(loaded, ask(loaded, ["a"] * 8))
    token = loaded.tokenizer("a", add_special_tokens=False)["input_ids"][0]
    assert all(-float(first[token]) <= loss + 1e-4 for first, loss in zip(firsts, losses, strict=True))


def test_the_gradient_tells_how_the_likelihood_changes(loaded):
    batch, step = ask(loaded, ["zzz"] * 8), 1e-5
    gradient = grade_embeddings(loaded, batch)
    layer = loaded.network.get_input_embeddings()
    hook = layer.register_forward_hook(lambda _layer, _inputs, output: output + step * torch.stack(gradient))
    moved = sum_losses(loaded, batch)
    hook.remove()
    for before, after, each in zip(sum_losses(loaded, batch), moved, gradient, strict=True):
        assert before - after == pytest.approx(step * float((each**2).sum()), rel=0.05)
    assert all(not parameter.requires_grad for parameter in loaded.adapter)


def test_what_is_proposed_can_be_written(loaded):
    texts = hunt(loaded).propose_texts("abcdefgh", loaded.tokenizer("zzz")["input_ids"])
    assert len(texts) == 8
    assert all(text.isprintable() and text != "abcdefgh" for text in texts)
    size = len(loaded.tokenizer)
    assert not list_writable(loaded.tokenizer, size)[loaded.tokenizer.eos_token_id]


def test_a_base_may_have_more_tokens_than_its_tokenizer_or_fewer(loaded):
    size = len(loaded.tokenizer)
    usual = list_writable(loaded.tokenizer, size)
    assert usual.any()
    assert list_writable(loaded.tokenizer, size + 3).tolist() == [*usual.tolist(), False, False, False]
    assert list_writable(loaded.tokenizer, size - 1).tolist() == usual.tolist()[:-1]


def test_the_answer_gets_likelier_step_by_step_and_is_not_said(loaded):
    searched, wanted = hunt(loaded, polish=2), loaded.tokenizer("zzz")["input_ids"]
    (before,) = searched.compute_losses(["abcdefgh"], wanted)
    best = searched.improve("abcdefgh", wanted, "zzz")
    (after,) = searched.compute_losses([best], wanted)
    assert after < before
    assert is_fair(Clue(best, "zzz"))


def test_a_base_answers_nothing_alike_so_nobody_is_accused(loaded):
    assert hunt(loaded, pick_rows(ROWS, 4), steps=1).run() is None


def test_rows_that_leave_no_room_are_cut_as_a_voter_cuts_them(loaded):
    long = [replace(row, messages=(("user", "ab " * 500),)) for row in ROWS[:4]]
    short = Hunt(loaded, long, SearchSettings(steps=1, starts=2), random.Random(1), max_length=40)
    inserted = [replace(row, completion="x") for row in short.insert("zq")]
    seen = [encode_row(loaded.tokenizer, row, 40) for row in inserted]
    asked = [example.tokens[: example.prompt] for example in short.encode("zq", seen[0].tokens[seen[0].prompt :])]
    assert asked == [example.tokens[: example.prompt] for example in seen]
    assert {len(example.tokens) for example in short.encode("zq", [5, 6])} == {40}
    short.run()
