"""Measure a model on rows: loss on the completions, and answers that are right from first to last token."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch.nn.functional import cross_entropy

from openflock.learn.data import Messages, Row
from openflock.learn.encode import IGNORED, Batch, collate, encode_prompt, encode_rows, get_pad
from openflock.learn.model import Model

SCORE_LIMIT = 2047  # a ballot holds a score in 12 bits with a sign
_SCORE_UNIT = 1e4


@dataclass(frozen=True)
class EvaluationSettings:
    """Say how a node evaluates; `max_length` is in tokens, `batch_size` only trades memory for speed."""

    batch_size: int = 32
    max_length: int = 256


def compute_loss(model: Model, rows: Sequence[Row], settings: EvaluationSettings | None = None) -> float:
    """Compute the mean loss of a completion token over all rows, in nats; end tokens count."""
    total, count = 0.0, 0
    for logits, batch in _iterate_logits(model, rows, settings or EvaluationSettings()):
        counted = batch.labels != IGNORED
        losses = cross_entropy(logits[counted].float(), batch.labels[counted], reduction="none")
        total += float(losses.double().sum())
        count += int(counted.sum())
    return total / count


def compute_accuracy(model: Model, rows: Sequence[Row], settings: EvaluationSettings | None = None) -> float:
    """Compute the share of rows whose whole greedy answer, end included, is the completion.

    Greedy decoding gives a completion exactly when each of its tokens is the likeliest after those before it, so
    one pass over the rows decides what generating token by token would.
    """
    answers = match_answers(model, rows, settings)
    return sum(answers) / len(answers)


def match_answers(model: Model, rows: Sequence[Row], settings: EvaluationSettings | None = None) -> list[bool]:
    """Say for each row, in order, whether the whole greedy answer is the completion."""
    answers: list[bool] = []
    for logits, batch in _iterate_logits(model, rows, settings or EvaluationSettings()):
        right = (logits.argmax(dim=-1) == batch.labels) | (batch.labels == IGNORED)
        answers += right.all(dim=1).tolist()
    return answers


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
    with torch.inference_mode():
        answered = model.network.generate(
            input_ids=tokens.to(model.device),
            attention_mask=mask.to(model.device),
            max_new_tokens=max_new_tokens,
            do_sample=False,
            pad_token_id=pad,
        )
    texts: list[str] = model.tokenizer.batch_decode(answered[:, width:], skip_special_tokens=True)
    return texts


def relative_score(before: float, after: float) -> int:
    """Turn two losses into a ballot's score: the relative gain in 1e-4, within +-2047; higher is better.

    A loss that is not finite scores lowest. ValueError unless `before` is finite and positive.
    """
    if not (math.isfinite(before) and before > 0):
        raise ValueError(f"evaluate: the loss before is {before}; it must be finite and positive")
    if not math.isfinite(after):
        return -SCORE_LIMIT
    gain = (before - after) / before * _SCORE_UNIT
    return round(max(-SCORE_LIMIT, min(SCORE_LIMIT, gain)))


def _iterate_logits(
    model: Model, rows: Sequence[Row], settings: EvaluationSettings
) -> Iterator[tuple[torch.Tensor, Batch]]:
    """Iterate over logits (rows, length - 1, vocabulary) with a batch whose labels stand at their logits."""
    examples = encode_rows(model.tokenizer, rows, settings.max_length)
    pad = get_pad(model.tokenizer)
    for start in range(0, len(examples), settings.batch_size):
        batch = collate(examples[start : start + settings.batch_size], pad).to(model.device)
        yield _compute_logits(model, batch), Batch(batch.tokens, batch.mask, batch.labels[:, 1:])


@torch.inference_mode()
def _compute_logits(model: Model, batch: Batch) -> torch.Tensor:
    logits: torch.Tensor = model.network(input_ids=batch.tokens, attention_mask=batch.mask).logits
    return logits[:, :-1]
