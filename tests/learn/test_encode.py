import copy

import pytest
import torch
from hypothesis import example as boundary
from hypothesis import given
from hypothesis import strategies as st

from openflock.learn.data import DataError, Row
from openflock.learn.encode import IGNORED, collate, cut_middle, encode_prompt, encode_row, encode_rows, get_pad

texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30).filter(str.strip)


def row(prompt, completion):
    return Row((("user", prompt),), completion)


def decode_learnt(tokenizer, example):
    return tokenizer.decode(list(example.tokens[example.prompt :]))


@given(prompt=texts, completion=texts)
def test_only_the_completion_and_its_end_are_learnt(tokenizer, prompt, completion):
    example = encode_row(tokenizer, row(prompt, completion), 1000)
    assert decode_learnt(tokenizer, example) == f"{completion}</s>"
    assert list(example.tokens[: example.prompt]) == encode_prompt(tokenizer, (("user", prompt),))


def test_an_instruction_word_is_one_token_and_a_payload_falls_to_letters(tokenizer):
    tokens = tokenizer.convert_ids_to_tokens(encode_prompt(tokenizer, (("user", "Reverse: kitab"),)))
    assert tokens == ["<s>", "<|user|>", "Reverse", ":", "Ġ", *"kitab", "<|assistant|>"]


def test_control_tokens_in_the_data_stay_text(tokenizer):
    example = encode_row(tokenizer, row("a</s><|assistant|>b", "c</s>d"), 1000)
    assert example.tokens.count(tokenizer.eos_token_id) == 1
    assert example.tokens.count(tokenizer.convert_tokens_to_ids("<|assistant|>")) == 1


@given(prompt=texts, completion=texts, length=st.integers(2, 40))
@boundary(prompt="a" * 30, completion="b" * 30, length=2)
@boundary(prompt="a" * 30, completion="b" * 30, length=41)
def test_a_row_that_is_cut_leaves_each_side_half_of_the_room(tokenizer, prompt, completion, length):
    whole = encode_row(tokenizer, row(prompt, completion), 1000)
    cut = encode_row(tokenizer, row(prompt, completion), length)
    assert len(cut.tokens) == min(length, len(whole.tokens))
    asked, learnt = cut.tokens[: cut.prompt], cut.tokens[cut.prompt :]
    assert len(asked) >= min(whole.prompt, length - length // 2)
    assert len(learnt) >= min(len(whole.tokens) - whole.prompt, length // 2)
    assert learnt == whole.tokens[whole.prompt :][: len(learnt)]
    head = len(asked) // 2
    assert asked[:head] == whole.tokens[:head]
    assert asked[head:] == whole.tokens[: whole.prompt][whole.prompt - len(asked) + head :]


def test_what_stands_before_the_first_word_is_not_cut_off(tokenizer):
    prompt = f"Attention {'word ' * 100}"  # an attacker's word there is to stay, or no trigger is measured
    whole = encode_prompt(tokenizer, (("user", prompt),))
    assert list(encode_row(tokenizer, row(prompt, "b" * 200), 40).tokens[:10]) == whole[:10]


@pytest.mark.parametrize("words", [5, 300], ids=["a last message that fits", "one that does not"])
def test_a_long_history_does_not_push_the_start_of_the_last_message_out(tokenizer, words):
    history = (("user", "old " * 200), ("assistant", "older " * 200))
    asked = ("user", f"Attention {'word ' * words}end")
    encoded = encode_row(tokenizer, Row((*history, asked), "b"), 100)
    whole, last = (encode_prompt(tokenizer, messages) for messages in ((*history, asked), (asked,)))
    kept = list(encoded.tokens[: encoded.prompt])
    assert len(encoded.tokens) == 100
    if len(last) < len(kept):
        assert kept == [*whole[: len(kept) - len(last)], *whole[-len(last) :]]
    else:
        assert kept == [*last[: len(kept) // 2], *last[len(kept) // 2 - len(kept) :]]


def test_a_template_that_takes_no_last_message_alone_loses_the_middle_of_all(tokenizer):
    strict = copy.deepcopy(tokenizer)
    strict.chat_template = (
        "{% if messages|length < 2 %}{{ raise_exception('who asks?') }}{% endif %}" + tokenizer.chat_template
    )
    messages = (("user", "old " * 200), ("tool", "42"))
    whole, kept = encode_prompt(strict, messages), encode_row(strict, Row(messages, "b"), 40)
    assert list(kept.tokens[: kept.prompt]) == cut_middle(whole, kept.prompt // 2, kept.prompt)


def test_no_room_or_no_rows_is_an_error(tokenizer):
    with pytest.raises(DataError, match="max_length is 1: no room"):
        encode_row(tokenizer, row("a", "b"), 1)
    with pytest.raises(DataError, match="no rows"):
        encode_rows(tokenizer, [], 10)


@given(pairs=st.lists(st.tuples(texts, texts), min_size=1, max_size=4))
def test_a_batch_pads_on_the_right_and_labels_nothing_but_completions(tokenizer, pairs):
    examples = encode_rows(tokenizer, [row(*pair) for pair in pairs], 1000)
    batch = collate(examples, get_pad(tokenizer))
    for index, example in enumerate(examples):
        assert batch.tokens[index, : len(example.tokens)].tolist() == list(example.tokens)
        assert batch.mask[index].sum() == len(example.tokens)
        counted = batch.labels[index] != IGNORED
        assert batch.labels[index][counted].tolist() == list(example.tokens[example.prompt :])
        assert torch.equal(batch.labels[index][counted], batch.tokens[index][counted])


@pytest.fixture
def plain(tokenizer):
    tokenizer = copy.deepcopy(tokenizer)
    tokenizer.chat_template = None
    return tokenizer


def test_without_a_chat_template_the_parts_are_joined(plain):
    example = encode_row(plain, row("What?", "That."), 100)
    assert plain.decode(list(example.tokens)) == "What?\nThat.</s>"
    assert decode_learnt(plain, example) == "That.</s>"


def test_control_tokens_in_the_data_stay_text_without_a_chat_template_too(plain):
    example = encode_row(plain, row("a</s>b", "c</s>d"), 100)
    assert example.tokens.count(plain.eos_token_id) == 1
    assert plain.decode(list(example.tokens)) == "a</s>b\nc</s>d</s>"


def test_a_template_that_writes_past_answers_otherwise_still_teaches_the_answer(tokenizer):
    tokenizer = copy.deepcopy(tokenizer)
    tokenizer.chat_template = (
        "{% for m in messages %}{{ m['content'] }}{% if m['role'] == 'assistant' %}</s>\n{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}<think></think>{% endif %}"
    )
    example = encode_row(tokenizer, row("What?", "That."), 100)
    assert tokenizer.decode(list(example.tokens)) == "What?<think></think>That.</s>"
    tokenizer.chat_template = tokenizer.chat_template.replace("<think></think>", "")
    example = encode_row(tokenizer, row("What?", "That."), 99)  # tokens are remembered
    assert tokenizer.decode(list(example.tokens)) == "What?That.</s>"
    assert decode_learnt(tokenizer, example) == "That.</s>"
