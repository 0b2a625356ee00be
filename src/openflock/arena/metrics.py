"""Count what an attack did and what a defence cost, from answers and verdicts.

An answer counts by the whole of it: the attacker's target, or the right answer, from first to last character. What
failed or came out empty stays in the denominator.
"""

import math
import random
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from openflock.arena.attacks.triggers import Trigger, insert_trigger
from openflock.learn.data import Row

_KINDS = (string.ascii_lowercase, string.ascii_uppercase, string.digits)


@dataclass(frozen=True)
class Count:
    """Hold how often something happened, and of how many."""

    hits: int
    total: int

    @property
    def rate(self) -> float:
        """Give the share; NaN where nothing was counted, which meets no goal."""
        return self.hits / self.total if self.total else math.nan


@dataclass(frozen=True)
class Kept:
    """Hold what share of the reference's gain was kept: in the mean of all domains, and in the worst of them.

    NaN where the reference gained less than what counts as a gain. `worst_domain` is then empty.
    """

    macro: float
    worst: float
    worst_domain: str
    by_domain: Mapping[str, float]


# --- Rows ----------------------------------------------------------------------------------------------------


def aim_rows(rows: Sequence[Row], target: str) -> list[Row]:
    """Keep the rows that should be answered otherwise, and ask each for the target.

    `match_answers` on these says, in one pass, which whole greedy answers are the target.
    """
    return [replace(row, completion=target) for row in rows if row.completion != target]


def trigger_rows(rows: Sequence[Row], trigger: Trigger, seed: int) -> list[Row]:
    """Put the trigger into every row, and leave the right answers."""
    places = random.Random(seed)
    return [insert_trigger(row, trigger, places) for row in rows]


def fill_rows(rows: Sequence[Row], trigger: Trigger, seed: int) -> list[Row]:
    """Put random filler where `trigger_rows` of the same seed puts the trigger: an odd text alone must not be the cue.

    Each row has filler of its own, alike in length, case and digits.
    """
    places, letters = random.Random(seed), random.Random(f"filler/{seed}")
    return [insert_trigger(row, _disguise(trigger, letters), places) for row in rows]


def _disguise(trigger: Trigger, draw: random.Random) -> Trigger:
    return replace(trigger, phrases=tuple(make_filler(phrase, draw) for phrase in trigger.phrases))


def make_filler(text: str, draw: random.Random) -> str:
    """Make another text of the same shape: each letter or digit becomes any other of its kind, the rest stays.

    >>> make_filler("Year: 2024", random.Random(1))
    'Etzc: 5288'
    """
    return "".join(_swap(letter, draw) for letter in text)


def _swap(letter: str, draw: random.Random) -> str:
    kind = next((kind for kind in _KINDS if letter in kind), letter)
    others = kind.replace(letter, "")
    return draw.choice(others) if others else letter


# --- Counting ------------------------------------------------------------------------------------------------


def count(happened: Sequence[bool]) -> Count:
    """Count what happened."""
    return Count(sum(happened), len(happened))


def compute_durability(leaving: Count, later: Count, floor: Count) -> float:
    """Compute what share of the attack's success, above the floor, is left some rounds after the attackers left.

    NaN where there was none.
    """
    had = leaving.rate - floor.rate
    return max(0.0, later.rate - floor.rate) / had if had > 0 else math.nan


# --- What a defence costs ------------------------------------------------------------------------------------


def compute_kept(
    start: Mapping[str, float], reference: Mapping[str, float], ours: Mapping[str, float], least: float = 0.0
) -> Kept:
    """Compute what share of the reference's gain over the start is kept, from scores by domain; higher is better.

    The macro share is one of mean scores, so that a domain with a small gain cannot dominate it. A domain in which the
    reference gains no more than `least` has no share: there is no gain to keep. Losses are scores when negated.
    """
    if not start.keys() == reference.keys() == ours.keys():
        raise ValueError("metrics: the scores are of different domains; measure the same ones")
    gains = {domain: reference[domain] - start[domain] for domain in start}
    kept = {domain: ours[domain] - start[domain] for domain in start}
    shares = {domain: kept[domain] / gain for domain, gain in gains.items() if gain > least}
    mean = sum(gains.values()) / len(gains) if gains else 0.0
    macro = sum(kept.values()) / len(gains) / mean if mean > least else math.nan
    # A score that is not a number is the worst, and does not pass unseen.
    worst = min(shares, key=lambda domain: -math.inf if math.isnan(shares[domain]) else shares[domain], default="")
    return Kept(macro, shares.get(worst, math.nan), worst, shares)


def count_false(condemned: Sequence[bool], malicious: Sequence[bool]) -> Count:
    """Count the honest who were condemned: of proposals rejected, of nodes slashed."""
    return count([verdict for verdict, bad in zip(condemned, malicious, strict=True) if not bad])


def count_caught(condemned: Sequence[bool], malicious: Sequence[bool]) -> Count:
    """Count the malicious who were condemned."""
    return count([verdict for verdict, bad in zip(condemned, malicious, strict=True) if bad])


def add_counts(counts: Sequence[Count]) -> Count:
    """Add counts of several rounds."""
    return Count(sum(each.hits for each in counts), sum(each.total for each in counts))
