"""What every benchmark shares: its arguments, fair measuring, its table, and the JSON with its goals.

A process is measured with all its children: seconds, processor seconds, and the peak of the sum of their proportional
set sizes (a page that several share counts once), sampled every 50 ms from /proc. Processor seconds are sampled too,
since the system adds up only those of children that somebody waits for; so they are low by up to 50 ms a process.
"""

import argparse
import json
import os
import platform
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table

from openflock.arena.statistics import Goal as Goal  # all benchmarks take it from here

MIB = 2**20
SAMPLE = 0.05  # seconds between looks at the memory


@dataclass(frozen=True)
class Run:
    """One finished process with its children."""

    seconds: float
    cpu_seconds: float
    peak_mib: float
    output: str


def parse_arguments(doc: str | None) -> argparse.Namespace:
    """Read the two options that every benchmark has."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="file to write")
    parser.add_argument("--quick", action="store_true", help="a smaller form that ends within a few minutes")
    return parser.parse_args()


def run_process(command: Sequence[str], environment: Mapping[str, str] | None = None) -> Run:
    """Run a command to its end and measure its whole process tree; RuntimeError with its output if it fails."""
    start = time.perf_counter()
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ, **(environment or {})}
    )
    peak, spent = 0, dict[tuple[int, float], float]()
    # Sampling ends with the pipe: output is short, so the pipe cannot fill and stop the process.
    while process.poll() is None:
        peak = max(peak, measure_tree(process.pid, spent))
        time.sleep(SAMPLE)
    output = process.communicate()[0]
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)}: exit {process.returncode}\n{output}")
    return Run(time.perf_counter() - start, sum(spent.values()), peak / MIB, output)


def measure_tree(pid: int, spent: dict[tuple[int, float], float]) -> int:
    """Sum the proportional set sizes of a process and its descendants, in bytes; note what each has computed so far."""
    total = 0
    try:
        processes = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0
    for process in processes:
        try:
            times = process.cpu_times()
            spent[process.pid, process.create_time()] = times.user + times.system
            total += process.memory_full_info().pss
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue
    return total


def take_turns(rivals: Mapping[str, Callable[[], Run]], pairs: int) -> dict[str, list[Run]]:
    """Run all rivals one after the other, `pairs` times, so that whatever else the machine does hits all alike."""
    runs: dict[str, list[Run]] = {name: [] for name in rivals}
    for _ in range(pairs):
        for name, rival in rivals.items():
            runs[name].append(rival())
    return runs


def compute_ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Compute the median of the pairwise ratios."""
    return median(a / b for a, b in zip(ours, theirs, strict=True))


def show_table(title: str, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table; the first column is a name, the others are figures."""
    table = Table(title=title, title_justify="left")
    for index, heading in enumerate(headings):
        table.add_column(heading, justify="right" if index else "left")
    for row in rows:
        table.add_row(*row)
    Console(width=140).print(table)


def finish(args: argparse.Namespace, goals: Sequence[Goal], results: Mapping[str, Any]) -> None:
    """Print the goals, and write everything to the JSON file that was asked for."""
    rows = [(goal.name, f"{goal.value:.4g}", goal.goal, "yes" if goal.met else "NO") for goal in goals]
    show_table("Goals", ("goal", "measured", "wanted", "met"), rows)
    if args.json:
        machine = {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count()}
        written = {"goals": [asdict(goal) for goal in goals], "quick": args.quick, "machine": machine, **results}
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(written, indent=2) + "\n")
