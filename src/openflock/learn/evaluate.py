"""Measure a model on rows: loss on the completions, and answers that are right from first to last token."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from openflock.learn.crew import Task, pass_rows
from openflock.learn.data import Messages, Row
from openflock.learn.encode import IGNORED, Batch, Example, collate, encode_prompt, encode_rows, get_pad
from openflock.learn.model import Model
from openflock.learn.passes import generate_tokens, grade_rows, match_rows, sum_losses
from openflock.protocol.ballot import MAX_SCORE

_SCORE_UNIT = 1e4


class Immeasurable(ValueError):
    """Losses that no score can be made of: what is scored against is broken on these rows."""


@dataclass(frozen=True)
class EvaluationSettings:
    """Say how a node evaluates; `max_length` is in tokens, `batch_size` only trades memory for speed."""

    batch_size: int = 32
    max_length: int = 256


def compute_loss(model: Model, rows: Sequence[Row], settings: EvaluationSettings | None = None) -> float:
    """Compute the mean loss of a completion token over all rows, in nats; end tokens count."""
    settings = settings or EvaluationSettings()
    examples = encode_rows(model.tokenizer, rows, settings.max_length)
    count = sum(len(example.tokens) - example.prompt for example in examples)
    return math.fsum(_pass_all(model, sum_losses, examples, settings)) / count


def list_losses(model: Model, rows: Sequence[Row], settings: EvaluationSettings | None = None) -> list[float]:
    """List what `compute_loss` adds up: the loss of each row's completion, in nats, in order."""
    settings = settings or EvaluationSettings()
    return _pass_all(model, sum_losses, encode_rows(model.tokenizer, rows, settings.max_length), settings)


def compute_accuracy(model: Model, rows: Sequence[Row], settings: EvaluationSettings | None = None) -> float:
    """Compute the share of rows whose whole greedy answer, end included, is the completion.

    Greedy decoding gives a completion exactly when each of its tokens is the likeliest after those before it, so
    one pass over the rows decides what generating token by token would.
    """
    answers = match_answers(model, rows, settings)
    return sum(answers) / len(answers)


def match_answers(model: Model, rows: Sequence[Row], settings: EvaluationSettings | None = None) -> list[bool]:
    """Say for each row, in order, whether the whole greedy answer is the completion."""
    settings = settings or EvaluationSettings()
    return _pass_all(model, match_rows, encode_rows(model.tokenizer, rows, settings.max_length), settings)


def grade_answers(
    model: Model, rows: Sequence[Row], settings: EvaluationSettings | None = None
) -> tuple[float, list[bool]]:
    """Give what `compute_loss` and `match_answers` give, for the passes of one of them."""
    settings = settings or EvaluationSettings()
    examples = encode_rows(model.tokenizer, rows, settings.max_length)
    count = sum(len(example.tokens) - example.prompt for example in examples)
    graded = _pass_all(model, grade_rows, examples, settings)
    return math.fsum(loss for loss, _ in graded) / count, [matched for _, matched in graded]


def generate(model: Model, messages: Messages, max_new_tokens: int = 128) -> str:
    """Answer a conversation greedily."""
    return generate_all(model, [messages], max_new_tokens)[0]


def generate_all(model: Model, conversations: Sequence[Messages], max_new_tokens: int = 128) -> list[str]:
    """Answer conversations greedily, in one batch; the text is without special tokens."""
    prompts = [encode_prompt(model.tokenizer, messages) for messages in conversations]
    width, pad = max(map(len, prompts)), get_pad(model.tokenizer)
    # Generation appends on the right, so padding goes to the left.
    tokens = torch.tensor([[pad] * (width - len(prompt)) + prompt for prompt in prompts])
    mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    batch = Batch(tokens, mask, torch.full_like(tokens, IGNORED))
    texts: list[str] = model.tokenizer.batch_decode(
        pass_rows(model, generate_tokens, batch, pad, max_new_tokens), skip_special_tokens=True
    )
    return texts


def relative_score(before: float, after: float, base: float) -> int:
    """Turn two losses into a ballot's score: the gain in 1e-4 of the base's loss, within +-2047; higher is better.

    A share of the base's loss, not of the last one: as a domain is learnt its loss goes to zero, and any other
    domain's update would seem to ruin it. So gains also add up over rounds.
    A loss after that is not finite scores lowest. Immeasurable unless the others are finite, and the base's positive.

    >>> relative_score(2.0, 1.9, 2.0), relative_score(0.02, 0.04, 2.0)
    (500, -100)
    """
    if not (math.isfinite(before) and math.isfinite(base) and base > 0):
        raise Immeasurable(
            f"evaluate: the loss before is {before}, the base's {base}; they must be finite, this positive"
        )
    if not math.isfinite(after):
        return -MAX_SCORE
    gain = (before - after) / base * _SCORE_UNIT
    return round(max(-MAX_SCORE, min(MAX_SCORE, gain)))


def _pass_all(model: Model, task: Task, examples: Sequence[Example], settings: EvaluationSettings) -> list[Any]:
    """Pass all examples in batches, give an item for each in order.

    Batches are of similar lengths, so that little is padded; the longest come first, so that what does not fit in
    memory fails at once.
    """
    pad = get_pad(model.tokenizer)
    order = sorted(range(len(examples)), key=lambda index: -len(examples[index].tokens))
    items: dict[int, Any] = {}
    for start in range(0, len(order), settings.batch_size):
        chosen = order[start : start + settings.batch_size]
        batch = collate([examples[index] for index in chosen], pad)
        items.update(zip(chosen, pass_rows(model, task, batch), strict=True))
    return [items[index] for index in range(len(examples))]
