"""Run the cells of a grid on all cores, one line a cell in `runs.jsonl`, and skip those that are there."""

import fcntl
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import as_completed
from pathlib import Path

from openflock.arena.cells import Record, compute_cell_digest, run_cell
from openflock.arena.settings import Cell
from openflock.edge.processes import Executor

OnRecord = Callable[[Record], None]
Run = Callable[[Sequence[Cell]], Iterable[Record]]


class BadRuns(ValueError):
    """A file of runs that something else wrote."""


class RunFile:
    """The records of a grid, in the order in which they ended; each is on the disk before the next begins."""

    def __init__(self, path: Path) -> None:
        """Keep records in a file."""
        self.path = path

    def read(self) -> dict[str, Record]:
        """Read all records by their cells' digests; a last line that was cut is as if it were not there."""
        if not self.path.exists():
            return {}
        *lines, _ = self.path.read_bytes().split(b"\n")
        return {record["cell"]: record for record in map(self._parse, lines)}

    def append(self, record: Record) -> None:
        """Add a record, durably, and drop a last line that was cut: only who writes may, one at a time."""
        with self.path.open("ab+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            file.truncate(file.read().rfind(b"\n") + 1)
            file.write(json.dumps(record, allow_nan=False).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def _parse(self, line: bytes) -> Record:
        try:
            record = json.loads(line)
            if isinstance(record["cell"], str):
                return dict(record)
        except (ValueError, KeyError, TypeError):
            pass
        raise BadRuns(f"{self.path}: a line is no record of a run; choose another --out, or delete that line")


def run_missing(cells: Sequence[Cell], runs: RunFile, run: Run, on_record: OnRecord) -> dict[str, Record]:
    """Run the cells that have no record, write each down as it ends, and give all of theirs."""
    known = runs.read()
    for record in run([cell for cell in cells if compute_cell_digest(cell) not in known]):
        runs.append(record)
        known[record["cell"]] = record
        on_record(record)
    return {digest: known[digest] for digest in map(compute_cell_digest, cells) if digest in known}


def run_in_processes(cells: Sequence[Cell], jobs: int) -> Iterator[Record]:
    """Run cells on so many processes of one thread each, and give records as they end; one job is this process."""
    if jobs == 1 or not cells:
        yield from map(run_cell, cells)
        return
    # Whatever ends this, an interrupt above all, does not wait for cells that take minutes: they run again.
    with Executor(min(jobs, len(cells)), needs=__name__) as executor:
        for done in as_completed([executor.submit(run_cell, cell) for cell in cells]):
            yield done.result()
