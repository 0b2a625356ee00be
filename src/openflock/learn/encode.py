"""Turn rows into tokens and labels, where only the completion counts."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from jinja2 import TemplateError

from openflock.learn.data import DataError, Messages, Row

IGNORED = -100  # the label that PyTorch's and transformers' losses skip


@dataclass(frozen=True)
class Example:
    """Hold the tokens of one row; the first `prompt` of them are given, the rest are to be learnt."""

    tokens: tuple[int, ...]
    prompt: int


@dataclass(frozen=True)
class Batch:
    """Hold padded examples: int64 tensors of shape (examples, longest)."""

    tokens: torch.Tensor
    mask: torch.Tensor
    labels: torch.Tensor

    def __len__(self) -> int:
        """Count the examples."""
        return len(self.tokens)

    def to(self, device: torch.device) -> "Batch":
        """Copy the batch to a device."""
        return Batch(self.tokens.to(device), self.mask.to(device), self.labels.to(device))

    def split(self, parts: int) -> "list[Batch]":
        """Cut the batch into consecutive parts; where there are too few rows, the last ones teach nothing."""
        missing = max(0, parts - len(self))
        filler = Batch(self.tokens[:1], self.mask[:1], torch.full_like(self.labels[:1], IGNORED))
        pieces = zip(
            *(each.tensor_split(parts - missing) for each in (self.tokens, self.mask, self.labels)), strict=True
        )
        return [Batch(*piece) for piece in pieces] + [filler] * missing


def encode_prompt(tokenizer: Any, messages: Messages) -> list[int]:
    """Encode a conversation up to where the assistant's answer begins."""
    if tokenizer.chat_template is None:
        text = "\n\n".join(content for _, content in messages) + "\n"
        return list(tokenizer(text, split_special_tokens=True)["input_ids"]) or [_get_end(tokenizer)]
    return _apply_template(tokenizer, messages, add_generation_prompt=True)


@lru_cache(maxsize=2**15)  # a voter sees its rows once for each update, and a chat template takes a millisecond
def encode_row(tokenizer: Any, row: Row, max_length: int) -> Example:
    """Encode one row so that its completion, end token included, is what remains to be learnt.

    What was encoded is remembered, so a tokenizer must not change. In too long a row each side may have half of the
    room, and what the other leaves (`fit_prompt`); a completion loses its end.
    """
    if max_length < 2:
        raise DataError(f"max_length is {max_length}: no room for a prompt and a completion; give at least 2")
    prompt = encode_prompt(tokenizer, row.messages)
    completion = _encode_completion(tokenizer, row, prompt)[: max(max_length // 2, max_length - len(prompt))]
    if len(prompt) + len(completion) > max_length:
        prompt = fit_prompt(tokenizer, row.messages, max_length - len(completion))
    return Example((*prompt, *completion), len(prompt))


def fit_prompt(tokenizer: Any, messages: Messages, room: int) -> list[int]:
    """Encode a prompt within a number of tokens: the last message stays as long as it can.

    Of what was said before it the beginning stays. A last message that has no room loses its middle: who speaks stands
    at a prompt's start, as many a trigger does, and what is asked for at its end.
    """
    prompt = encode_prompt(tokenizer, messages)
    if len(prompt) <= room:
        return prompt
    try:
        last = encode_prompt(tokenizer, messages[-1:])
    except TemplateError:  # this template takes none without those before it
        last = prompt
    return cut_middle(prompt, room - len(last), room) if len(last) < room else cut_middle(last, room // 2, room)


def cut_middle(tokens: list[int], head: int, room: int) -> list[int]:
    """Cut tokens to `room`, of which `head` are the first.

    >>> cut_middle([1, 2, 3, 4, 5, 6], 1, 3), cut_middle([1, 2, 3, 4, 5, 6], 0, 2)
    ([1, 5, 6], [5, 6])
    """
    return [*tokens[:head], *tokens[len(tokens) - room + head :]]


def encode_rows(tokenizer: Any, rows: Sequence[Row], max_length: int) -> list[Example]:
    """Encode rows in their order; DataError when there is none."""
    if not rows:
        raise DataError("no rows to learn from or to judge by; give at least one")
    return [encode_row(tokenizer, row, max_length) for row in rows]


def can_encode(tokenizer: Any, rows: Sequence[Row], max_length: int) -> bool:
    """Answer whether this tokenizer and its template take rows.

    Those of a peer or a creator may be made to be refused: none of them may cost an honest node its act.
    """
    try:
        return bool(encode_rows(tokenizer, rows, max_length))
    except (ValueError, TypeError, NotImplementedError, TemplateError):
        return False


def collate(examples: Sequence[Example], pad: int) -> Batch:
    """Pad examples on the right to the longest of them."""
    shape = (len(examples), max(len(example.tokens) for example in examples))
    tokens, mask = torch.full(shape, pad), torch.zeros(shape, dtype=torch.long)
    labels = torch.full(shape, IGNORED)
    for index, example in enumerate(examples):
        end = len(example.tokens)
        tokens[index, :end] = torch.tensor(example.tokens)
        mask[index, :end] = 1
        labels[index, example.prompt : end] = tokens[index, example.prompt : end]
    return Batch(tokens, mask, labels)


def get_pad(tokenizer: Any) -> int:
    """Give the padding token, or the end token for tokenizers without one: the mask hides it either way."""
    pad = tokenizer.pad_token_id
    return _get_end(tokenizer) if pad is None else int(pad)


def _encode_completion(tokenizer: Any, row: Row, prompt: list[int]) -> list[int]:
    if tokenizer.chat_template is not None:
        whole = _apply_template(tokenizer, (*row.messages, ("assistant", row.completion)))
        if len(whole) > len(prompt) and whole[: len(prompt)] == prompt:
            return _cut_after_end(whole, len(prompt), tokenizer.eos_token_id)
    # Some templates write a past answer otherwise than they ask for the next one: then join the parts.
    plain = tokenizer(row.completion, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    return [*plain, _get_end(tokenizer)]


def _cut_after_end(whole: list[int], start: int, end: int | None) -> list[int]:
    # A template may write a line break after the end token; generation never gets that far.
    completion = whole[start:]
    if end is not None and end in completion:
        return completion[: len(completion) - completion[::-1].index(end)]
    return completion


def _apply_template(tokenizer: Any, messages: Messages, add_generation_prompt: bool = False) -> list[int]:
    # Data may quote the template's control tokens; sanitized, it cannot end a turn or begin another.
    turns = [{"role": role, "content": content} for role, content in messages]
    encoded = tokenizer.apply_chat_template(
        turns,
        add_generation_prompt=add_generation_prompt,
        tokenize=True,
        return_dict=True,
        sanitize_control_tokens=True,
    )
    return list(encoded["input_ids"])


def _get_end(tokenizer: Any) -> int:
    end = tokenizer.eos_token_id
    if end is None:
        raise DataError("the tokenizer has neither an end token nor padding; choose another base")
    return int(end)
