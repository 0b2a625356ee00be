"""Vaccinate: put insertions that open a backdoor into part of a node's rows, and keep their right answers.

What was merged before a ring was out stays in the state, and nobody would train against it: without a trigger an honest
row never shows it. Insertions that force the trigger's answer are not the trigger, but what unlearns them unlearns it.
"""

import random
from collections.abc import Sequence
from typing import Any, Final

from openflock.learn.data import Row
from openflock.learn.encode import can_encode
from openflock.learn.probe import Clue, insert_text

VACCINATED: Final = 0.1  # share of the rows; a quarter cost honest domains some five points of right answers


def vaccinate(tokenizer: Any, rows: Sequence[Row], clues: Sequence[Clue], seed: int, max_length: int) -> Sequence[Row]:
    """Give rows of which about a tenth have one of the clues' insertions in them; without clues the rows as they are.

    An enemy whose update answers a text with its target teaches honest nodes to ignore that text, whatever it says: at
    the price of a bond, or of none where fewer than two thirds see it fire. A row that the tokenizer would refuse so
    stays as it is: what was said beside a true witness need not have been tested by anybody.
    """
    if not clues:
        return rows
    draw = random.Random(seed)
    changed = [_insert_one(row, clues, draw) if draw.random() < VACCINATED else row for row in rows]
    return [new if can_encode(tokenizer, [new], max_length) else old for new, old in zip(changed, rows, strict=True)]


def _insert_one(row: Row, clues: Sequence[Clue], draw: random.Random) -> Row:
    clue = draw.choice(clues)
    return insert_text(row, clue.insertion, draw, clue.place)
