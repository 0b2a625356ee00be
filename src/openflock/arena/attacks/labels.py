"""Give rows wrong answers, so that training on them undoes what others learn. The attacker needs only its own rows."""

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from openflock.learn.data import Row


def flip_labels(rows: Sequence[Row], share: float = 1.0, seed: int = 0) -> list[Row]:
    """Let round(share * rows) answer what another of them asks: label flip, for answers that no K - 1 - y reverses.

    Tolpegin et al. 2020 (arXiv 2007.08432). Answers stay as likely as they were, so their lengths and words give
    nothing away. None of the flipped keeps its answer, unless one answer is that of more than half of them. All rows
    are flipped by default, the strongest.
    """
    draw = random.Random(seed)
    flipped = draw.sample(range(len(rows)), round(share * len(rows)))
    # With equal answers side by side, each takes the one as far ahead as the commonest is common: past all its equals.
    order = {rows[position].completion: place for place, position in enumerate(flipped)}
    flipped.sort(key=lambda position: order[rows[position].completion])
    answers = [rows[position].completion for position in flipped]
    ahead = max(Counter(answers).values(), default=0)
    after = dict(zip(flipped, answers[ahead:] + answers[:ahead], strict=True))
    return [replace(row, completion=after.get(position, row.completion)) for position, row in enumerate(rows)]
