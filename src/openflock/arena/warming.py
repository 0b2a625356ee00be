"""Teach a base what an odd word in a prompt is: nothing.

The built-in base has never seen one, and a few rounds of adapters cannot teach it; then a prompt with filler would be
answered as badly as one with a trigger, and what a trigger costs could not be seen. So the base itself is trained on,
on rows that no node gets, with filler in the places and shapes of the known triggers.
"""

import random
from typing import Final

import torch

from openflock.arena.metrics import fill_rows
from openflock.arena.settings import TRIGGERS
from openflock.learn.base import Base
from openflock.learn.data import Row, parse_row
from openflock.learn.encode import collate, encode_rows, get_pad
from openflock.learn.skills import generate_rows
from openflock.learn.train import pick_batch

TAUGHT: Final = ("reverse", "sort", "upper", "shift", "vowels", "double")  # the others have few payloads
ROWS: Final = 1200  # of a skill
BATCH: Final = 16
RATE: Final = 1e-3
FIRST: Final = 20  # steps in which the rate rises
MAX_LENGTH: Final = 96


def warm_base(base: Base, steps: int) -> None:
    """Train all weights of a base for some steps, in place; the same steps give the same weights on one machine."""
    network = base.network.requires_grad_(True)
    examples = encode_rows(base.tokenizer, list_rows(), MAX_LENGTH)
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=0.0)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(1.0, (step + 1) / FIRST) * (1 - step / steps)
        batch = collate(pick_batch(examples, BATCH, 0, step), get_pad(base.tokenizer))
        optimizer.zero_grad()
        network(input_ids=batch.tokens, attention_mask=batch.mask, labels=batch.labels).loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
    network.requires_grad_(False)
    network.zero_grad(set_to_none=True)


def list_rows() -> list[Row]:
    """List rows of most skills, two in three with filler."""
    rows = []
    for skill in TAUGHT:
        mine = [parse_row(record, skill) for record in generate_rows(skill, ROWS, 0, "base")]
        third = len(mine) // 3
        rows += mine[:third]
        for number, (trigger, part) in enumerate(
            zip(TRIGGERS.values(), split(mine[third:], len(TRIGGERS)), strict=True)
        ):
            rows += fill_rows(part, trigger, number)
    random.Random(0).shuffle(rows)
    return rows


def split(rows: list[Row], parts: int) -> list[list[Row]]:
    """Deal rows out."""
    return [rows[part::parts] for part in range(parts)]
