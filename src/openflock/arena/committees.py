"""Committees: exact chances that a coalition gets so many seats that it decides. No sampling, no rounding.

The protocol draws seats by stake with replacement, so how many fall to a coalition is binomial in its share of the
stake, however it splits it. Where the seats suffice for all members everybody sits with its stake as weight: there is
no draw, and what counts is which nodes collude.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from fractions import Fraction
from math import comb, expm1, gcd, log1p

from openflock.protocol.rules import Rules

Chances = list[Fraction]  # of 0, 1, 2 ... seats
Decides = Callable[[int, int], bool]  # whether a part of a whole is enough

HOSTILE = Fraction(3, 10)  # the coalition that the arena's attacks are run at
GRAIN = 1_000  # stakes of many sizes are compared to about this part of their sum


# --- What a part of the weight can do ------------------------------------------------------------------------


def can_block(part: int, whole: int) -> bool:
    """Answer whether nobody has two thirds against it: it voids rounds, and leaves proposals unjudged."""
    return 3 * part > whole


def can_veto(part: int, whole: int) -> bool:
    """Answer whether it can veto every merge: half is enough. Of an odd number of seats half is a majority."""
    return 2 * part >= whole


def can_decide(part: int, whole: int) -> bool:
    """Answer whether it alone makes two thirds: any digest, any slash."""
    return 3 * part >= 2 * whole


def is_all(part: int, whole: int) -> bool:
    """Answer whether nobody else has a seat; of proposers: nothing honest is offered in that round."""
    return part == whole


# --- Distributions -------------------------------------------------------------------------------------------


def distribute_with_replacement(seats: int, share: Fraction) -> Chances:
    """Give the chances of each number of seats for a share of the stake, drawn as the protocol draws.

    >>> distribute_with_replacement(2, Fraction(1, 3))
    [Fraction(4, 9), Fraction(4, 9), Fraction(1, 9)]
    """
    return [comb(seats, k) * share**k * (1 - share) ** (seats - k) for k in range(seats + 1)]


def distribute_without_replacement(seats: int, members: int, bad: int) -> Chances:
    """Give the chances of each number of bad seats if distinct members of equal stake were drawn (hypergeometric)."""
    counts = count_sums([1] * bad + [0] * (members - bad), seats)
    return [Fraction(counts[k], comb(members, seats)) for k in range(seats + 1)]


def count_sums(values: Sequence[int], taken: int) -> Counter[int]:
    """Count the ways to take `taken` of the values, by their sum, one value after another.

    >>> sorted(count_sums([1, 2, 3], 2).items())
    [(3, 1), (4, 1), (5, 1)]
    """
    sums: list[Counter[int]] = [Counter({0: 1}), *(Counter() for _ in range(taken))]
    for value in values:
        for size in range(taken, 0, -1):
            for total, ways in sums[size - 1].items():
                sums[size][total + value] += ways
    return sums[taken]


# --- Chances -------------------------------------------------------------------------------------------------


def compute_chance(chances: Chances, decides: Decides) -> Fraction:
    """Add up the chances of all numbers of seats that are enough."""
    seats = len(chances) - 1
    return sum((chance for k, chance in enumerate(chances) if decides(k, seats)), Fraction(0))


def compute_coalition_chance(stakes: Sequence[int], nodes: int, decides: Decides) -> Fraction:
    """Compute the chance that `nodes` nodes, any with equal chance, hold enough of all stake.

    Exact for the given stakes; where they have a large sum and no large common divisor, for stakes rounded to
    a part in `GRAIN` of their sum, since every sum must be told apart.
    """
    stakes = _coarsen(stakes)
    ways = count_sums(stakes, nodes)
    enough = sum(count for total, count in ways.items() if decides(total, sum(stakes)))
    return Fraction(enough, comb(len(stakes), nodes))


def _coarsen(stakes: Sequence[int]) -> list[int]:
    unit, total = gcd(*stakes), sum(stakes)
    if total > 10 * GRAIN * unit:
        return [max(1, round(Fraction(stake * GRAIN, total))) for stake in stakes]
    return [stake // unit for stake in stakes]


def repeat(chance: Fraction, rounds: int) -> float:
    """Compute the chance that something happens in at least one of so many rounds, in floats: they may be many."""
    return 1.0 if chance == 1 else -expm1(rounds * log1p(-float(chance)))


# --- Warnings ------------------------------------------------------------------------------------------------

# What is weak: a coalition that decides at all, in a whole task; that stops a round, in more rounds than this.
DECIDES_IN_TASK, VETOES_IN_ROUND, BLOCKS_IN_ROUND, FILLS_IN_ROUND = 0.001, 0.05, 0.5, 0.05


def warn_weak(rules: Rules, stakes: Sequence[int] = ()) -> list[str]:
    """Say, one line each, where rules are weak against 30 % of the stake; nothing if they are not.

    Without stakes there are more members than seats. With them, and a seat for each, the figures are those of
    30 % of the nodes, whichever they are; and of a draw, where these could force one.
    """
    few = 0 < len(stakes) <= rules.voter_seats
    warnings = _warn_of_coalitions(stakes) if few else _warn_of_draws(rules)
    if few and can_force_draw(rules, stakes):
        warnings += [f"under many names, {line}" for line in _warn_of_draws(rules)]
    if not 0 < len(stakes) <= rules.proposer_seats:
        seats = rules.proposer_seats
        chance = compute_chance(distribute_with_replacement(seats, HOSTILE), is_all)
        if chance > FILLS_IN_ROUND:
            warnings.append(_say_seats("proposer", seats, "all of the proposer seats", chance))
    return warnings


def can_force_draw(rules: Rules, stakes: Sequence[int]) -> bool:
    """Answer whether 30 % of the stake, under as many names as it can have, leaves no seat for each: seats are drawn.

    Then luck decides, which everybody's vote left no room for.
    """
    honest = len(stakes) - int(HOSTILE * len(stakes))
    return honest + int(HOSTILE * sum(stakes)) // max(1, rules.min_stake) > rules.voter_seats


def _warn_of_draws(rules: Rules) -> list[str]:
    seats, warnings = rules.voter_seats, []
    chances = distribute_with_replacement(seats, HOSTILE)
    decides = compute_chance(chances, can_decide)
    if repeat(decides, rules.rounds) > DECIDES_IN_TASK:
        task = format_chance(repeat(decides, rules.rounds))
        line = _say_seats("voter", seats, "two thirds of the votes, which decide everything,", decides)
        warnings.append(f"{line}, and in {task} of tasks of {rules.rounds} rounds")
    for decide, limit, what in (
        (can_veto, VETOES_IN_ROUND, "half of the votes, which veto,"),
        (can_block, BLOCKS_IN_ROUND, "over a third of the votes, which block,"),
    ):
        chance = compute_chance(chances, decide)
        if chance > limit:
            warnings.append(_say_seats("voter", seats, what, chance))
    return warnings


def _say_seats(committee: str, seats: int, what: str, chance: Fraction) -> str:
    return f"{committee}_seats = {seats}: 30 % of the stake gets {what} in {format_chance(chance)} of rounds"


def _warn_of_coalitions(stakes: Sequence[int]) -> list[str]:
    count, warnings = max(1, int(HOSTILE * len(stakes))), []
    for decides, what in (
        (can_decide, "two thirds of the stake, which decide everything"),
        (can_veto, "half of the stake, which vetoes every round"),
        (can_block, "over a third of the stake, which blocks every round"),
    ):
        chance = compute_coalition_chance(stakes, count, decides)
        if chance:
            some = f"{count} of the {len(stakes)} nodes" if count > 1 else f"one of the {len(stakes)} nodes"
            warnings.append(f"stakes: {some}, drawn by lot, hold {what}, in {format_chance(chance)} of cases")
    return warnings


def format_chance(chance: float | Fraction) -> str:
    """Write a chance in percent, with two figures; a very small one as a power of ten.

    >>> format_chance(0.1234), format_chance(0.0012), format_chance(2e-7), format_chance(0)
    ('12 %', '0.12 %', '2e-07', '0')
    """
    if not chance:
        return "0"
    value = float(chance)
    if value < 1e-5:
        return f"{value:.0e}"
    percent = f"{100 * value:.2g}" if value < 0.995 else f"{100 * value:.4g}"
    return f"{percent} %"
