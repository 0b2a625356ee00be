"""Write docs/committees.md: the exact chances of a coalition in a committee, by its size.

python scripts/write_committee_table.py [--check]
"""

import sys
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

from openflock.arena.committees import (
    Chances,
    Decides,
    can_block,
    can_decide,
    can_veto,
    compute_chance,
    distribute_with_replacement,
    distribute_without_replacement,
    format_chance,
    is_all,
    repeat,
)

FILE = Path(__file__).resolve().parent.parent / "docs" / "committees.md"
SIZES = range(3, 33)
SHARES = [Fraction(percent, 100) for percent in range(10, 50, 5)]
POOLS = (40, 100)  # members of equal stake, for the comparison
TASKS = (4, 100, 1000)  # rounds
EVENTS: tuple[tuple[str, str, Decides], ...] = (
    (
        "Over a third: it blocks",
        "It can void rounds by silence, leave proposals unjudged, and force appeals.",
        can_block,
    ),
    ("Half or more: it vetoes", "In a committee of odd size this is a majority. It can veto every merge.", can_veto),
    ("Two thirds or more: it decides", "It can attest any digest and slash any proposer.", can_decide),
    ("All seats", "Of proposers: nothing honest is offered in that round. Verdicts and vetoes still hold.", is_all),
)
HEAD = """# Committees: how likely is a captured one?

Written by `python scripts/write_committee_table.py`; a test compares this file with what the script writes. All chances
are exact (`src/openflock/arena/committees.py`), rounded to two figures only here.

Seats are drawn by stake **with replacement** ([protocol.md](protocol.md), 2.1), so the number of seats that fall to a
coalition with the share s of the stake is binomial(seats, s), whatever the number of its nodes. A chance is that of
**one round**; the last table has those of whole tasks. **Where a committee has a seat for every member nobody is
drawn**: everybody sits with its stake as weight, a coalition of 30 % has 30 % in every round, and none of this applies.
**A coalition can end that**: under as many names as `min_stake` allows there may be more members than seats, and then
luck decides. Where honest members and the coalition's stake over `min_stake` are more than `voter_seats` together,
take these tables as they are; a `min_stake` near to what nodes usually stake leaves it few names.

`openflock simulate` and `openflock task create` warn where 30 % of the stake gets two thirds of the votes in more
than 0.1 % of such tasks, half of them in more than 5 % of rounds, over a third in more than 50 % of rounds, or
all proposer seats in more than 5 % of rounds; and, where everybody votes, where 30 % of the nodes can hold over a
third of the stake, or could force a draw that is weak.
"""


def build_page() -> str:
    """Build the whole file."""
    sections = [HEAD, *(build_section(*event) for event in EVENTS), build_tasks(), build_comparison()]
    return "\n".join(sections)


def build_section(title: str, meaning: str, decides: Decides) -> str:
    """Build the table of one event: sizes down, shares across."""
    rows = [
        [
            str(size),
            *(format_chance(compute_chance(distribute_with_replacement(size, share), decides)) for share in SHARES),
        ]
        for size in SIZES
    ]
    return f"## {title}\n\n{meaning}\n\n{build_table(['seats', *map(format_share, SHARES)], rows)}"


def build_tasks() -> str:
    """Build the table of whole tasks."""
    rows = []
    for size in (7, 15, 21, 31):
        for share in (Fraction(2, 10), Fraction(3, 10), Fraction(4, 10)):
            chances = distribute_with_replacement(size, share)
            cells = [
                format_chance(repeat(compute_chance(chances, decides), rounds))
                for decides in (can_veto, can_decide)
                for rounds in TASKS
            ]
            rows.append([str(size), format_share(share), *cells])
    heads = [f"{what} in {rounds}" for what in ("half", "two thirds") for rounds in TASKS]
    text = "The chance that it happens at least once in so many rounds.\n\n"
    return f"## In a whole task\n\n{text}{build_table(['seats', 's', *heads], rows)}"


def build_comparison() -> str:
    """Build the table beside drawing distinct nodes."""
    rows = []
    for size in (7, 15, 21, 31):
        for share in (Fraction(2, 10), Fraction(3, 10), Fraction(4, 10)):
            draws: list[Chances] = [distribute_with_replacement(size, share)]
            draws += [distribute_without_replacement(size, pool, int(share * pool)) for pool in POOLS]
            rows.append(
                [str(size), format_share(share)]
                + [
                    format_chance(compute_chance(chances, decides))
                    for decides in (can_veto, can_decide)
                    for chances in draws
                ]
            )
    heads = [f"{what}, {how}" for what in ("half", "two thirds") for how in ("as drawn", *(f"of {p}" for p in POOLS))]
    text = (
        "What drawing distinct nodes would give, among 40 or 100 members of equal stake (hypergeometric). It is safer\n"
        "where the committee is a large part of the members; but a stake split over more nodes would gain seats,\n"
        "unless each draw counts the stake that is left, which no contract can do cheaply.\n\n"
    )
    return f"## Beside a draw without replacement\n\n{text}{build_table(['seats', 's', *heads], rows)}"


def build_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Build a Markdown table of figures."""
    lines = [heads, ["--:"] * len(heads), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def format_share(share: Fraction) -> str:
    """Write a coalition's share."""
    return f"{float(share):.0%}".replace("%", " %")


def main() -> None:
    """Write the file, or compare it."""
    page = build_page()
    if "--check" not in sys.argv[1:]:
        FILE.write_text(page)
    elif FILE.read_text() != page:
        sys.exit(f"{FILE}: not what this script writes; run it again without --check")


if __name__ == "__main__":
    main()
