"""What each layer of the protocol pays: the subject beside itself without one layer, seed by seed."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from openflock.arena.report.summary import (
    Place,
    Runs,
    Summary,
    bound,
    find_reference,
    get_asr,
    measure_damage,
    measure_kept,
)
from openflock.arena.settings import DefenceTable, GridTable
from openflock.arena.statistics import Interval, pair

# Keys of a defence's table that make one layer together; any other key is a layer by itself.
TOGETHER: Final = {
    "recipe.mixing": "aggregator",
    "recipe.aggregator": "aggregator",
    "recipe.faulty": "aggregator",
    "recipe.memory": "aggregator",
    "recipe.clip": "clip",
}


@dataclass(frozen=True)
class Ablation:
    """One attack against the subject without a layer; differences are without less with, paired by seed."""

    place: Place
    layer: str
    change: str
    without: str  # the defence's name
    asr: Interval  # above zero: the layer helps
    damage: Interval  # the same
    kept: Interval  # above zero: the layer costs
    kept_worst: Interval


def list_ablations(grid: GridTable) -> dict[str, tuple[str, str]]:
    """List the defences that differ from the subject by one layer: which, and by what."""
    subject = grid.defences.get(grid.subject)
    if subject is None or subject.kind != "protocol":
        return {}
    found = {}
    for name, table in grid.defences.items():
        changes = compare_tables(subject, table)
        layers = {TOGETHER.get(key, key.rpartition(".")[2]) for key in changes}
        if len(layers) == 1:
            found[name] = (layers.pop(), ", ".join(f"{key.rpartition('.')[2]} = {changes[key]}" for key in changes))
    return found


def compare_tables(subject: DefenceTable, other: DefenceTable) -> dict[str, Any]:
    """Give what the other says otherwise, by key; nothing unless both are the protocol, on one schedule."""
    if other.kind != "protocol" or other.schedule != subject.schedule:
        return {}
    mine, theirs = flatten_table(subject.model_dump()), flatten_table(other.model_dump())
    return {key: theirs.get(key) for key in sorted(mine | theirs) if mine.get(key) != theirs.get(key)}


def flatten_table(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Name each value of nested tables by its whole key."""
    flat: dict[str, Any] = {}
    for key, value in table.items():
        flat |= flatten_table(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat


def measure_ablations(grid: GridTable, summary: Summary) -> Iterator[Ablation]:
    """Measure every ablation at each place where the subject ran too, on the seeds of both."""
    for without, (layer, change) in list_ablations(grid).items():
        for place in sorted({place for place, defence in summary.runs if defence == without}):
            if (place, grid.subject) not in summary.runs:
                continue
            theirs, mine = (measure_runs(grid, summary, place, name) for name in (without, grid.subject))
            differences = {name: bound(subtract(theirs[name], mine[name])) for name in mine}
            yield Ablation(place, layer, change, without, **differences)


def measure_runs(grid: GridTable, summary: Summary, place: Place, defence: str) -> dict[str, dict[int, float]]:
    """Give what is compared, by seed."""
    runs: Runs = summary.runs[place, defence]
    reference, last = find_reference(grid, summary.runs, (place, defence)), grid.attacks[place[2]].leave or -1
    kept = {seed: measure_kept(grid, reference, run) for seed, run in runs.items()}
    return {
        "asr": {seed: get_asr(grid, place, run) for seed, run in runs.items()},
        "damage": {seed: measure_damage(grid, reference, run, last) for seed, run in runs.items()},
        "kept": {seed: each.macro for seed, each in kept.items()},
        "kept_worst": {seed: each.worst for seed, each in kept.items()},
    }


def subtract(left: Mapping[int, float], right: Mapping[int, float]) -> list[float]:
    """Subtract on the seeds that both have."""
    shared = sorted(left.keys() & right.keys())
    return pair({seed: left[seed] for seed in shared}, {seed: right[seed] for seed in shared})
