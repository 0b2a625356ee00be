"""Run a grid of attacks and defences on this machine, and write its report."""

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from inspect import signature
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from openflock.app.settings import (
    DEFAULT_RULES,
    SettingsError,
    apply_change,
    check_table,
    complete_recipe,
    read_table,
)
from openflock.arena.adversaries import DELTAS, Ring
from openflock.arena.attacks.behaviours import split_stake
from openflock.arena.attacks.bombs import BOMBS
from openflock.arena.attacks.triggers import split_trigger
from openflock.arena.cells import Record, compute_cell_digest, name_machine, run_cell
from openflock.arena.checking import choose_cells, find_differences
from openflock.arena.cluster import run_on_cluster
from openflock.arena.defences import DEFENCES
from openflock.arena.grid import Run, RunFile, run_in_processes, run_missing
from openflock.arena.layered import STAKE, bind_rules
from openflock.arena.optimizers import OPTIMIZERS, ServerSettings
from openflock.arena.report.earnings import BadEarnings, Earning, read_earnings
from openflock.arena.report.figures import draw_all
from openflock.arena.report.goals import describe_summary, list_goals
from openflock.arena.report.page import build_report
from openflock.arena.report.summary import summarize
from openflock.arena.settings import Cell, DefenceTable, GridTable, list_cells
from openflock.arena.statistics import Goal
from openflock.arena.worlds import count_malicious
from openflock.edge.blobs import write_atomically
from openflock.protocol.recipe import describe_recipe

SHOWN = 5  # differences of a record that are printed


def load_grid(path: Path, changes: Sequence[str] = ()) -> GridTable:
    """Read a grid's file and apply changes; raise SettingsError."""
    table = read_table(path)
    for change in changes:
        apply_change(table, change)
    grid = check_table(GridTable, table, str(path))
    try:
        check_functions(grid)
        grid = grid.model_copy(update={"defences": {name: agree(each) for name, each in grid.defences.items()}})
        for cell in list_cells(grid):
            check_cell(cell)
    except (TypeError, ValueError) as error:
        raise SettingsError(f"{path}: {error}") from error
    return grid


def check_functions(grid: GridTable) -> None:
    """Refuse a function that there is not, or an option that it does not have: ValueError or TypeError."""
    known: dict[str, Mapping[str, Callable[..., Any]]] = {
        "attack": DELTAS,
        "blob": {**BOMBS, "replay": Ring.forge},
        "rule": DEFENCES,
        "optimizer": dict.fromkeys(OPTIMIZERS, ServerSettings),
    }
    named = [("attack", each.delta, each.options) for each in grid.attacks.values() if each.delta]
    named += [("blob", each.blob, {}) for each in grid.attacks.values() if each.blob]
    named += [
        (each.kind, each.rule or name, each.options) for name, each in grid.defences.items() if each.kind in known
    ]
    for kind, name, options in named:
        if name not in known[kind]:
            raise ValueError(f"no {kind} {name!r}; there is {', '.join(known[kind])}")
        try:
            signature(known[kind][name]).bind_partial(**options)
        except TypeError as error:
            raise TypeError(f"{name}: {error}") from error


def check_cell(cell: Cell) -> None:
    """Refuse what could not be played, before hours of what can: ValueError."""
    attack, malicious = cell.attack, count_malicious(cell.world)
    if attack.leave > cell.world.rounds:
        raise ValueError(f"attacks.{cell.names[2]}.leave: {attack.leave}, of {cell.world.rounds} rounds")
    if attack.deal and attack.present and malicious:
        split_trigger(cell.trigger.build(), malicious)
    if cell.defence.kind == "protocol":
        rules = bind_rules(cell, bytes(32))
        split_stake(STAKE, attack.names if attack.present and malicious else 1, rules.min_stake)
        if cell.defence.recipe["mode"] == "stack":
            raise ValueError(f"defences.{cell.names[3]}: the arena compares adapters of one rank; choose another mode")


def agree(defence: DefenceTable) -> DefenceTable:
    """Write out the whole rules and recipe, so that a record of other defaults is one of another defence."""
    if defence.kind != "protocol":
        return defence
    unknown = sorted(set(defence.rules) - set(DEFAULT_RULES))
    if unknown:
        raise SettingsError(f"defences: no rule {unknown[0]!r}")
    recipe = describe_recipe(complete_recipe(defence.recipe))
    return defence.model_copy(update={"rules": {**DEFAULT_RULES, **defence.rules}, "recipe": recipe})


def choose_run(jobs: int, cluster: str | None) -> Run:
    """Choose where cells run: on a Ray cluster's machines, or in processes of this one."""
    return partial(run_in_processes, jobs=jobs) if cluster is None else partial(run_on_cluster, address=cluster)


def run_nothing(_cells: Sequence[Cell]) -> Sequence[Record]:
    """Run none, where only what is there is reported on."""
    return ()


def run_arena(grid: GridTable, out: Path, run: Run, console: Console) -> dict[str, Record]:
    """Run what is missing of a grid, with a bar."""
    cells = list_cells(grid)
    out.mkdir(parents=True, exist_ok=True)
    runs = RunFile(out / "runs.jsonl")
    columns = (TextColumn("cells"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        known = runs.read()
        bar = progress.add_task("cells", total=len(cells))
        there = sum(1 for cell in cells if compute_cell_digest(cell) in known)
        progress.update(bar, completed=there)
        console.print(f"{len(cells)} cells, {there} of them in {out} already")

        def on_record(record: Record) -> None:
            progress.advance(bar)
            console.print(describe(record))

        return run_missing(cells, runs, run, on_record)


def check_arena(grid: GridTable, path: Path, count: int, seed: int, console: Console) -> bool:
    """Run a sample of recorded cells again, and answer whether all are as recorded; SettingsError if none can be."""
    records = RunFile(path).read()
    chosen = choose_cells(list_cells(grid), records, count, seed)
    if not chosen:
        raise SettingsError(f"{path}: no record of this grid's cells that was made on this machine ({name_machine()})")
    console.print(f"{len(chosen)} of {len(records)} records again; seed {seed}", soft_wrap=True)
    same = True
    for cell in chosen:
        record = records[compute_cell_digest(cell)]
        differences = list(find_differences(record, json.loads(json.dumps(run_cell(cell)))))
        same = same and not differences
        console.print(f"{'differs' if differences else 'same'}: {describe(record)}", soft_wrap=True)
        for difference in differences[:SHOWN]:
            console.print(f"    {difference}", soft_wrap=True, markup=False)
    return same


def describe(record: Record) -> str:
    """Say in one line what came of a cell."""
    names = "/".join(str(record[name]) for name in ("world", "split", "attack", "trigger", "defence", "seed"))
    last = record["rounds"][-1]
    hits, total = last["asr"]
    accuracy = sum(last["accuracy"].values()) / len(last["accuracy"])
    return f"{names}: ASR {hits / total:.0%}, accuracy {accuracy:.0%}, {record['seconds']:.0f} s"


def load_earnings(path: Path | None) -> Sequence[Earning]:
    """Read what every strategy earned, if a file is given; raise SettingsError."""
    try:
        return read_earnings(path) if path else ()
    except (BadEarnings, OSError) as error:
        raise SettingsError(str(error)) from error


def write_results(
    grid: GridTable, records: dict[str, Record], out: Path, console: Console, earnings: Sequence[Earning] = ()
) -> dict[str, Any]:
    """Write `summary.json`, the figures and `report.html`, and print which goals are met."""
    summary = summarize(grid, records.values())
    goals = list_goals(grid, summary)
    described = describe_summary(grid, summary, goals)
    write_atomically(out / "summary.json", json.dumps(described, indent=2, allow_nan=False).encode() + b"\n")
    pictures = draw_all(grid, summary, out, earnings)
    write_atomically(out / "report.html", build_report(grid, summary, goals, pictures, earnings).encode())
    show_goals(goals, console)
    console.print(f"{out / 'report.html'}, {out / 'summary.json'}", soft_wrap=True)
    return described


def show_goals(goals: Sequence[Goal], console: Console) -> None:
    """Print the goals."""
    table = Table("goal", "measured", "wanted", "met", title="Goals", title_justify="left")
    for goal in goals:
        table.add_row(goal.name, f"{goal.value:.3g}", goal.goal, "yes" if goal.met else "NO")
    console.print(table)
