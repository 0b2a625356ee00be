"""What every rival computes: a client's training and evaluation of a small LoRA adapter, with torch and peft alone.

Nothing here knows of rounds, of Flower or of OpenFlock. One process holds one model, whoever's client it trains.
"""

import json
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

CLIENTS, DOMAINS = 8, 2
STEPS, BATCH, LENGTH = 10, 8, 64
TRAIN_ROWS, HELD_OUT_ROWS = 80, 8  # of one client
RANK, ALPHA, LEARNING_RATE = 8, 16, 2e-3
TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj")

T = TypeVar("T")
Weights = dict[str, torch.Tensor]
Span = tuple[float, float]  # when something began and ended, seconds of one clock that all processes share


@dataclass(frozen=True)
class Rows:
    """One client's rows as tokens; labels of the prompt are -100."""

    train: list[tuple[torch.Tensor, torch.Tensor]]
    held_out: tuple[torch.Tensor, torch.Tensor]


@cache
def load_model(directory: str) -> Any:
    """Load the base with a fresh adapter; every process gets the same."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    base = AutoModelForCausalLM.from_pretrained(Path(directory, "base"), local_files_only=True)
    config = LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=list(TARGETS), lora_dropout=0.0)
    return get_peft_model(base, config)


@cache
def load_rows(directory: str, client: int) -> Rows:
    """Load a client's rows: those that OpenFlock would share out to it."""
    tokenizer = AutoTokenizer.from_pretrained(Path(directory, "base"), local_files_only=True)
    domain, position = divmod(client, CLIENTS // DOMAINS)
    lines = Path(directory, "data", str(domain), "train.jsonl").read_text().splitlines()
    size = TRAIN_ROWS + HELD_OUT_ROWS
    records = [json.loads(line) for line in lines[position * size : (position + 1) * size]]
    encoded = [encode(tokenizer, record) for record in records]
    batches = [stack(encoded[start : start + BATCH]) for start in range(HELD_OUT_ROWS, size, BATCH)]
    return Rows(batches, stack(encoded[:HELD_OUT_ROWS]))


def encode(tokenizer: Any, record: dict[str, str]) -> tuple[list[int], list[int]]:
    """Encode a row as the base's chat template has it, learning the completion only."""
    prompt = tokenizer(f"<s><|user|>{record['prompt']}<|assistant|>")["input_ids"]
    answer = tokenizer(f"{record['completion']}</s>")["input_ids"]
    return prompt + answer, [-100] * len(prompt) + answer


def stack(encoded: list[tuple[list[int], list[int]]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Stack rows, which are all of one length."""
    tokens, labels = zip(*encoded, strict=True)
    return torch.tensor(tokens), torch.tensor(labels)


def read_weights(model: Any) -> Weights:
    """Copy the adapter out."""
    return {name: weight.detach().clone() for name, weight in model.named_parameters() if weight.requires_grad}


def write_weights(model: Any, weights: Weights) -> None:
    """Copy an adapter in."""
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name in weights:
                weight.copy_(weights[name])


def train(model: Any, rows: Rows, weights: Weights) -> Weights:
    """Train an adapter from `weights` on a client's rows."""
    write_weights(model, weights)
    model.train()
    optimizer = torch.optim.AdamW(
        (weight for weight in model.parameters() if weight.requires_grad), lr=LEARNING_RATE, weight_decay=0.0
    )
    for step in range(STEPS):
        tokens, labels = rows.train[step % len(rows.train)]
        loss = model(input_ids=tokens, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return read_weights(model)


@torch.inference_mode()
def evaluate(model: Any, rows: Rows, weights: Weights) -> float:
    """Measure an adapter's loss on the rows that a client holds out."""
    write_weights(model, weights)
    model.eval()
    tokens, labels = rows.held_out
    return float(model(input_ids=tokens, labels=labels).loss)


def measure(work: Callable[..., T], *args: object) -> tuple[T, Span]:
    """Do some work; give what it gave and when it was done."""
    start = time.time()
    result = work(*args)
    return result, (start, time.time())


def cover(spans: Iterable[Span]) -> float:
    """Sum the seconds in which at least one span ran.

    >>> cover([(0, 2), (1, 3), (5, 6)])
    4
    """
    total, end = 0.0, float("-inf")
    for first, last in sorted(spans):
        total += max(0, last - max(first, end))
        end = max(end, last)
    return total


def report(training: list[Span], evaluation: list[Span], finished: float, losses: list[float]) -> None:
    """Print where the seconds between the first training and the last round's end went, as one line of JSON."""
    began = min(start for start, _ in training)
    busy = cover(training + evaluation)
    trained = cover(training)
    seconds = {"training": trained, "evaluation": busy - trained, "protocol": finished - began - busy}
    print(json.dumps({"seconds": seconds, "losses": losses}))
