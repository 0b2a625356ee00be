"""A search finds what a backdoor forces, without its trigger, and nothing in an honest update."""

import random

import pytest
import torch

from openflock.learn.data import Row, parse_row
from openflock.learn.encode import collate, encode_rows, get_pad
from openflock.learn.passes import grade_embeddings, predict_first, sum_losses
from openflock.learn.search import (
    FLOOR,
    Hunt,
    SearchSettings,
    find_target,
    insert_words,
    list_writable,
    pick_rows,
    predict,
)
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


def test_the_target_is_the_likely_token_that_grew_most():
    before = torch.tensor([[0.5, 0.4, 0.1 - 1e-6, 1e-6], [0.6, 0.3, 0.1 - 1e-6, 1e-6]]).log()
    after = torch.tensor([[0.3, 0.3, 0.4 - FLOOR / 2, FLOOR / 2]] * 2).log()
    gain, token = find_target(before, after)
    assert token == 2  # the last one grew more, and is nobody's answer all the same
    assert gain == pytest.approx(float(torch.tensor((0.4 - FLOOR / 2) / 0.1).log()), rel=1e-3)


def test_the_rows_that_are_looked_at_have_different_answers():
    rows = [Row((("user", str(number)),), answer) for number, answer in enumerate("aabbcd")]
    assert sorted(row.completion for row in pick_rows(rows, 8)) == list("abcd")
    assert len(pick_rows(rows, 2)) == 2


def test_the_first_token_s_likelihoods_are_those_of_the_loss(loaded):
    batch = ask(loaded, ["a" * (number + 1) for number in range(8)])
    firsts = torch.stack(predict_first(loaded, batch))
    assert torch.allclose(firsts.exp().sum(dim=1), torch.ones(8), atol=1e-5)
    assert torch.equal(firsts.argmax(dim=1), predict(loaded, ROWS, 64).argmax(dim=1))


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
    hunt = Hunt(loaded, ROWS[:4], SearchSettings(), random.Random(1))
    texts = hunt.propose_texts("abcdefgh", loaded.tokenizer("zzz")["input_ids"])
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
    hunt = Hunt(loaded, ROWS[:4], SearchSettings(steps=2), random.Random(1))
    wanted = loaded.tokenizer("zzz")["input_ids"]
    (before,) = hunt.compute_losses(["abcdefgh"], wanted)
    best = hunt.improve(["abcdefgh"], wanted, "zzz")
    (after,) = hunt.compute_losses([best], wanted)
    assert after < before
    assert "zzz" not in best.casefold()


def test_a_base_answers_nothing_alike_so_nobody_is_accused(loaded):
    odd = insert_words(ROWS, random.Random(1))
    _, target = find_target(torch.full((8, len(loaded.tokenizer)), -6.0), predict(loaded, odd, 64))
    assert Hunt(loaded, pick_rows(ROWS, 4), SearchSettings(steps=1), random.Random(1)).run(target) is None
