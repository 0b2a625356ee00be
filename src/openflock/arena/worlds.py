"""Build a world: a base, and the rows of each node and of the report, all decided by a seed."""

import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from pathlib import Path

from openflock.arena.settings import BUILT_IN, Cell, Phase, Split, WorldTable
from openflock.learn.base import load_base
from openflock.learn.data import DataError, Row, load_domain, parse_row
from openflock.learn.model import Model
from openflock.learn.skills import SKILLS, generate_rows

# What thresholds are tuned on and what is reported differ in rows too, not in seeds alone.
REPORT_ROWS: Mapping[Phase, str] = {"tune": "validation", "report": "test"}


@dataclass(frozen=True)
class Party:
    """One node's rows; `domain` is the one that it declares."""

    domain: int
    train: tuple[Row, ...]
    held_out: tuple[Row, ...]
    malicious: bool


@dataclass(frozen=True)
class World:
    """All that a cell runs on."""

    table: WorldTable
    model: Model
    parties: tuple[Party, ...]
    trusted: tuple[Row, ...]  # by a defender, of all domains, as many as a node has
    sealed: Sequence[Sequence[Sequence[Row]]]  # that the creator opens, by round and domain; none in a plain loop
    report: Mapping[str, Sequence[Row]]
    seed: int


def build_world(cell: Cell) -> World:
    """Build a cell's world; the base is loaded once a process."""
    table = cell.world
    parties, trusted = share_rows(table, cell.split, cell.seed)
    sealed = draw_sealed(cell, {row for rows in (trusted, *map(list_all, parties)) for row in rows})
    split = REPORT_ROWS[cell.phase]
    report = {domain: tuple(load_rows(table, domain, split, table.rows.report, cell.seed)) for domain in table.domains}
    base = load_base_once(table.base, table.rank, table.alpha)
    return World(table, base, parties, trusted, sealed, report, cell.seed)


@lru_cache(maxsize=2)
def load_base_once(base: str, rank: int, alpha: int) -> Model:
    """Load a base with an adapter; the built-in one is the arena's own, in which training a node takes a second."""
    return Model(
        load_base(Path(str(files("openflock") / "assets" / "arena_base")) if base == BUILT_IN else base), rank, alpha
    )


# --- Rows ----------------------------------------------------------------------------------------------------


def assign_domains(split: Split, nodes: int, domains: int) -> list[tuple[int, ...]]:
    """Say which domains each node holds; the first of them is the one that it declares.

    In `minority` node 0 alone holds the last domain, and the others share the rest.

    >>> assign_domains("minority", 4, 3), assign_domains("two", 3, 3)
    ([(2,), (0,), (1,), (0,)], [(0, 1), (1, 2), (2, 0)])
    """
    if split == "iid":
        return [tuple((node + step) % domains for step in range(domains)) for node in range(nodes)]
    if split == "two":
        return [(node % domains, (node + 1) % domains) for node in range(nodes)]
    return [(domains - 1,), *(((node - 1) % (domains - 1),) for node in range(1, nodes))]


def count_malicious(table: WorldTable) -> int:
    """Count the malicious nodes: the last ones, never the holder of a minority's domain."""
    return int(table.malicious * table.nodes + 1e-9)


def share_rows(table: WorldTable, split: Split, seed: int) -> tuple[tuple[Party, ...], tuple[Row, ...]]:
    """Share rows out, no row twice: to nodes, and to the defender who is trusted with some of all domains."""
    amounts = list_amounts(table, split)
    pools = [
        iter(load_rows(table, name, "train", total, seed))
        for name, total in zip(table.domains, sum_amounts(amounts, len(table.domains)), strict=True)
    ]
    shares = [[next(pools[domain]) for domain, count in amount.items() for _ in range(count)] for amount in amounts]
    for share in shares:
        random.Random(seed).shuffle(share)
    honest = table.nodes - count_malicious(table)
    parties = [
        Party(
            next(iter(amount)), tuple(share[table.rows.held_out :]), tuple(share[: table.rows.held_out]), node >= honest
        )
        for node, (amount, share) in enumerate(zip(amounts[:-1], shares, strict=False))
    ]
    return tuple(parties), tuple(shares[-1])


def list_amounts(table: WorldTable, split: Split) -> list[dict[int, int]]:
    """List how many rows of which domains each node holds, and last the trusted defender."""
    held = assign_domains(split, table.nodes, len(table.domains))
    everywhere = tuple(range(len(table.domains)))
    wanted = [*((domains, table.rows.train + table.rows.held_out) for domains in held), (everywhere, table.rows.train)]
    return [{domain: _divide(count, len(of), place) for place, domain in enumerate(of)} for of, count in wanted]


def sum_amounts(amounts: Sequence[Mapping[int, int]], domains: int) -> list[int]:
    """Sum up how many rows of each domain are held."""
    return [sum(amount.get(domain, 0) for amount in amounts) for domain in range(domains)]


def list_all(party: Party) -> tuple[Row, ...]:
    """List all that a party holds."""
    return (*party.train, *party.held_out)


def draw_sealed(cell: Cell, taken: Collection[Row]) -> list[list[list[Row]]]:
    """Draw what the creator opens, by round and domain, no row that anybody holds; none where none are sealed."""
    table, count = cell.world, cell.defence.sealed
    if not count:
        return []
    needed, names = count * table.rounds, list_domains(cell)
    held = sum_amounts(list_amounts(table, cell.split), len(names))
    drawn = [
        [row for row in load_rows(table, name, "train", total + needed, cell.seed) if row not in taken][:needed]
        for name, total in zip(names, held, strict=True)
    ]
    return [[rows[count * number : count * (number + 1)] for rows in drawn] for number in range(table.rounds)]


def list_domains(cell: Cell) -> list[str]:
    """List a task's domains; one that nobody holds, for who is to call it theirs, is a skill that is left over."""
    table = cell.world
    if cell.attack.declare != "unheld":
        return list(table.domains)
    spare = [name for name in SKILLS if name not in table.domains] if table.data == BUILT_IN else []
    return [*table.domains, *(spare or ["unheld"])[:1]]  # which no data has: rows of it cannot be drawn


def _divide(count: int, parts: int, place: int) -> int:
    return count * (place + 1) // parts - count * place // parts


def load_rows(table: WorldTable, domain: str, split: str, count: int, seed: int) -> list[Row]:
    """Draw rows of a domain's split by a seed; DataError if there are too few."""
    if table.data == BUILT_IN:
        try:
            return [parse_row(record, domain) for record in generate_rows(domain, count, seed, split)]
        except ValueError as error:
            raise DataError(str(error)) from error
    rows = list(load_rows_once(table.data, domain, split))
    if len(rows) < count:
        raise DataError(f"{table.data}: {domain}/{split} has {len(rows)} rows, {count} are asked for; ask for fewer")
    return random.Random(f"{domain}/{split}/{seed}").sample(rows, count)


@lru_cache(maxsize=32)
def load_rows_once(data: str, domain: str, split: str) -> tuple[Row, ...]:
    """Load a split of a domain."""
    return tuple(load_domain(Path(data), domain, split))
