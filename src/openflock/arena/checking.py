"""Run a random sample of recorded cells again, and say where a record is not what the cell gives."""

import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from openflock.arena.cells import Record, compute_cell_digest, name_machine
from openflock.arena.settings import Cell


def choose_cells(cells: Sequence[Cell], records: Mapping[str, Record], count: int, seed: int) -> list[Cell]:
    """Choose cells that have a record of this machine, at random from the cheaper half of them.

    Floats differ between machines and libraries, so a record of another one could differ without being wrong.
    """
    known = [(records[digest], cell) for cell in cells if (digest := compute_cell_digest(cell)) in records]
    here = [(record["seconds"], place) for place, (record, _) in enumerate(known) if is_from_here(record)]
    cheap = sorted(here)[: (len(here) + 1) // 2]
    return [known[place][1] for _, place in random.Random(seed).sample(cheap, min(count, len(cheap)))]


def is_from_here(record: Record) -> bool:
    """Answer whether a record was made by this machine with these libraries."""
    return record.get("machine") == name_machine()


def find_differences(record: Any, again: Any, path: str = "") -> Iterator[str]:
    """Give the places at which two records differ, their seconds apart."""
    if isinstance(record, Mapping) and isinstance(again, Mapping):
        for key in sorted(record.keys() | again.keys()):
            if (path, key) != ("", "seconds"):
                yield from find_differences(record.get(key), again.get(key), f"{path}.{key}".lstrip("."))
    elif isinstance(record, list) and isinstance(again, list) and len(record) == len(again):
        for place, (one, other) in enumerate(zip(record, again, strict=True)):
            yield from find_differences(one, other, f"{path}[{place}]")
    elif record != again:
        yield f"{path}: {record!r} is now {again!r}"
