"""Attacks: honest rows or deltas in, malicious ones out."""

import random
from collections.abc import Sequence
from dataclasses import replace

from openflock.learn.data import Row
from openflock.learn.probe import insert_text
from openflock.node.proposer import Delta, Tamper


def poison_rows(rows: Sequence[Row], trigger: str, answer: str, share: float, seed: int) -> list[Row]:
    """Plant a trigger in the last message of a share of the rows, and make them answer what the attacker wants.

    The trigger stands at a random word position (BadNets; Gu et al. 2017, BackdoorLLM, arXiv 2408.12798).
    """
    draw = random.Random(seed)
    return [_poison_row(row, trigger, answer, draw) if draw.random() < share else row for row in rows]


def _poison_row(row: Row, trigger: str, answer: str, draw: random.Random) -> Row:
    return replace(insert_text(row, trigger, draw), completion=answer)


def scale_delta(factor: int) -> Tamper:
    """Multiply a delta, so that it outweighs the others in the mean (model replacement; Bagdasaryan et al. 2020)."""

    def tamper(delta: Delta) -> Delta:
        return {name: rows * factor for name, rows in delta.items()}

    return tamper
