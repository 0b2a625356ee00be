"""Sum a grid up, from the seeds and triggers that nothing was tuned on: figures with intervals, controls and goals."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from openflock.arena.cells import Record
from openflock.arena.metrics import (
    Count,
    Kept,
    add_counts,
    compute_durability,
    compute_kept,
    count,
    count_caught,
    count_false,
)
from openflock.arena.settings import AttackTable, GridTable
from openflock.arena.statistics import Interval, compute_bootstrap, estimate_rate

MEAN: Final = "mean"  # plain averaging, on which an attack has to work
WORKS: Final = 0.9  # ASR from which an attack is one
BREAKS: Final = 0.5  # share of the gain kept, below which training counts as broken
NOT_PROBES: Final = ("evaluation", "report", "root", "training")
LEAST_SHARE: Final = -10.0  # of a gain that is kept; a broken model has any

Place = tuple[str, str, str, str]  # world, split, attack, trigger
Runs = Mapping[int, Record]  # by seed


@dataclass(frozen=True)
class Figures:
    """What the seeds of one attack and one defence add up to; NaN where it cannot be said."""

    world: str
    split: str
    attack: str
    trigger: str
    defence: str
    seeds: int
    asr: Interval  # in the last round with malicious nodes
    floor: Interval  # the same, of the start
    fire: Interval  # with filler for the trigger
    durability: Interval  # of the ASR, after the malicious left
    damage: Interval  # what the attack makes the trigger cost right answers, beyond what it makes filler cost them
    behind: Interval  # what all of it costs triggered prompts: right answers that the unattacked reference has more
    score: dict[str, Interval]
    kept: Interval
    kept_worst: Interval
    worst_domains: list[str]
    false_rejects: Count
    false_rejects_by_domain: dict[str, Count]
    false_slashes: Count
    caught: Count
    lost_rounds: Count
    upheld_false: Count  # of the witnesses that stood against the honest
    upheld_true: Count  # of those against the malicious
    denied: Count  # of all that stood
    exposed: Count  # witnesses that were opened, those outbid among them, of as many rounds
    evaluation_passes: float  # rows that voters passed through the network to score, in a round
    probe_passes: float  # and what else nodes passed: to search for witnesses, and to test them again
    seconds: float


@dataclass(frozen=True)
class Summary:
    """Figures by place and defence, and which attacks were shown to work on plain averaging."""

    figures: dict[tuple[Place, str], Figures]
    runs: dict[tuple[Place, str], Runs]
    works: dict[Place, bool | None]  # None: there is no run that says
    harmless: set[str] = field(default_factory=set)  # attacks by nobody


def summarize(grid: GridTable, records: Iterable[Record]) -> Summary:
    """Sum up the records of the phase `report`."""
    runs: dict[tuple[Place, str], dict[int, Record]] = {}
    for record in records:
        if record["phase"] == "report":
            place = (record["world"], record["split"], record["attack"], record["trigger"])
            runs.setdefault((place, record["defence"]), {})[record["seed"]] = record
    figures = {key: compute_figures(grid, runs, key) for key in sorted(runs)}
    harmless = {name for name, table in grid.attacks.items() if table.is_harmless}
    works = {
        place: is_attack(grid.attacks[place[2]], figures.get((place, MEAN)))
        for place, _ in figures
        if grid.attacks[place[2]].is_meant_to_spoil
    }
    return Summary(figures, dict(runs), works, harmless)


def is_attack(table: AttackTable, plain: Figures | None) -> bool | None:
    """Answer whether an attack does what it is for where nothing defends; None if that was not run.

    Of a backdoor it is not asked that it keeps quiet without its trigger (`fire`): one that always answers breaks
    training, which is enough of other attacks.
    """
    if plain is None:
        return None
    return plain.asr.point > WORKS if table.poison == "trigger" else plain.kept.point < BREAKS


def compute_figures(grid: GridTable, runs: Mapping[tuple[Place, str], Runs], key: tuple[Place, str]) -> Figures:
    """Compute the figures of one attack and one defence."""
    (world, split, attack, trigger), defence = key
    mine = runs[key]
    last = grid.attacks[attack].leave or len(next(iter(mine.values()))["rounds"]) - 1
    reference = find_reference(grid, runs, key)
    kept = [measure_kept(grid, reference, record) for record in mine.values()]

    def rate(name: str, number: int) -> Interval:
        return estimate_rate([tuple(record["rounds"][number][name]) for record in mine.values()])

    return Figures(
        *(world, split, attack, trigger, defence, len(mine)),
        asr=rate("asr", last),
        floor=rate("asr", 0),
        fire=rate("fire", last),
        durability=bound(measure_durability(record, last) for record in mine.values()),
        damage=bound(measure_damage(grid, reference, record, last) for record in mine.values()),
        behind=bound(measure_behind(grid, reference, record) for record in mine.values()),
        score={
            name: bound(score(grid, record, -1)[name] for record in mine.values())
            for name in grid.worlds[world].domains
        },
        kept=bound(max(each.macro, LEAST_SHARE) for each in kept),
        kept_worst=bound(max(each.worst, LEAST_SHARE) for each in kept),
        worst_domains=[each.worst_domain for each in kept],
        **count_all(list(mine.values())),
        evaluation_passes=average(mine, lambda r: r["passes"].get("evaluation", 0) / (len(r["rounds"]) - 1)),
        probe_passes=average(mine, lambda r: count_probes(r["passes"]) / (len(r["rounds"]) - 1)),
        seconds=average(mine, lambda r: r["seconds"]),
    )


def bound(values: Iterable[float]) -> Interval:
    """Bound a mean over seeds; NaN if any of them is."""
    known = list(values)
    if not known or not all(map(math.isfinite, known)):
        return Interval(math.nan, math.nan, math.nan)
    return compute_bootstrap(known)


def average(mine: Runs, get: Callable[[Record], float]) -> float:
    """Average over seeds."""
    return sum(map(get, mine.values())) / len(mine)


# --- One run -------------------------------------------------------------------------------------------------


def score(grid: GridTable, record: Record, number: int) -> dict[str, float]:
    """Give the scores by domain in a round; higher is better, and a loss that is not finite the worst."""
    table = grid.worlds[record["world"]]
    figures = record["rounds"][number][table.score]
    if table.score == "accuracy":
        return dict(figures)
    return {name: -math.inf if loss is None else -loss for name, loss in figures.items()}


def find_reference(grid: GridTable, runs: Mapping[tuple[Place, str], Runs], key: tuple[Place, str]) -> Runs:
    """Find what plain averaging reaches without the malicious nodes, with the same rows and seeds."""
    (world, split, _, trigger), _ = key
    alone = [name for name, table in grid.attacks.items() if not table.present]
    found = [
        runs[(world, split, name, trigger), MEAN] for name in alone if ((world, split, name, trigger), MEAN) in runs
    ]
    return found[0] if found else {}


def get_asr(grid: GridTable, place: Place, record: Record) -> float:
    """Give a run's ASR in the last round with malicious nodes."""
    return Count(*record["rounds"][grid.attacks[place[2]].leave or -1]["asr"]).rate


def measure_kept(grid: GridTable, reference: Runs, record: Record) -> Kept:
    """Measure what a run kept of the gain of the reference of its seed; NaN where there is none."""
    other = reference.get(record["seed"])
    if other is None:
        return Kept(math.nan, math.nan, "", {})
    return compute_kept(score(grid, record, 0), score(grid, other, -1), score(grid, record, -1))


def measure_durability(record: Record, last: int) -> float:
    """Measure what is left of the ASR at the end; NaN where the malicious never left, or had none."""
    if last == len(record["rounds"]) - 1:
        return math.nan
    floor, leaving, later = (Count(*record["rounds"][number]["asr"]) for number in (0, last, -1))
    return compute_durability(leaving, later, floor)


def measure_damage(grid: GridTable, reference: Runs, record: Record, number: int) -> float:
    """Measure what an attack makes a trigger cost: beyond what the phrase costs the reference, which nobody attacked.

    NaN where there is no reference: some phrases are harder to read past than filler is.
    """
    other = reference.get(record["seed"])
    return math.nan if other is None else compare_filler(grid, record, number) - compare_filler(grid, other, -1)


def measure_behind(grid: GridTable, reference: Runs, record: Record) -> float:
    """Measure by how much triggered prompts are answered worse in the end than by the reference, whatever that is from.

    In points, or relative loss; NaN where there is no reference.
    """
    other = reference.get(record["seed"])
    if other is None:
        return math.nan
    mine, theirs = record["rounds"][-1], other["rounds"][-1]
    if grid.worlds[record["world"]].score == "accuracy":
        return float(Count(*theirs["triggered"]).rate - Count(*mine["triggered"]).rate)
    ours, reached = mine["triggered_loss"], theirs["triggered_loss"]
    return math.nan if ours is None or reached is None else float(ours / reached - 1)


def compare_filler(grid: GridTable, record: Record, number: int) -> float:
    """Compute by how much a triggered prompt is answered worse than one with filler: in points, or relative loss."""
    figures = record["rounds"][number]
    if grid.worlds[record["world"]].score == "accuracy":
        return float(Count(*figures["filled"]).rate - Count(*figures["triggered"]).rate)
    filled, triggered = figures["filled_loss"], figures["triggered_loss"]
    return math.nan if filled is None or triggered is None else float(triggered / filled - 1)


def count_all(records: Sequence[Record]) -> dict[str, Any]:
    """Count verdicts over all rounds and seeds."""
    false, slashed, caught, by_domain = [], [], [], dict[str, list[Count]]()
    lost = []
    for record in records:
        bad = set(record["malicious"])
        for current in record["rounds"][1:]:
            lost.append(current.get("outcome", "MERGED") != "MERGED")
            nodes = [each["node"] for each in current["proposals"]]
            rejected = [not each["accepted"] for each in current["proposals"]]
            malicious = [node in bad for node in nodes]
            false.append(count_false(rejected, malicious))
            caught.append(count_caught(rejected, malicious))
            fined = current.get("slashed", [each["node"] for each in current["proposals"] if each["slashed"]])
            everybody = range(len(record["domains"]))
            slashed.append(count_false([node in fined for node in everybody], [node in bad for node in everybody]))
            for node, refused in zip(nodes, rejected, strict=True):
                if node not in bad:
                    by_domain.setdefault(record["domains"][node], []).append(Count(int(refused), 1))
    return {
        "false_rejects": add_counts(false),
        "false_rejects_by_domain": {name: add_counts(counts) for name, counts in sorted(by_domain.items())},
        "false_slashes": add_counts(slashed),
        "caught": add_counts(caught),
        "lost_rounds": Count(sum(lost), len(lost)),
        **count_witnesses(records),
    }


def count_witnesses(records: Sequence[Record]) -> dict[str, Any]:
    """Count what became of witnesses, over all rounds and seeds."""
    rounds = [(set(record["malicious"]), current) for record in records for current in record["rounds"][1:]]
    stood = [(each["node"] in bad, each) for bad, current in rounds for each in current.get("witnesses", [])]
    return {
        "upheld_false": count([each["upheld"] for guilty, each in stood if not guilty]),
        "upheld_true": count([each["upheld"] for guilty, each in stood if guilty]),
        "denied": count([each["denied"] for _, each in stood]),
        "exposed": Count(sum(current.get("exposed", 0) for _, current in rounds), len(rounds)),
    }


def count_probes(passes: Mapping[str, int]) -> int:
    """Count the rows that were passed for anything but scoring, training and measuring."""
    return sum(rows for activity, rows in passes.items() if activity not in NOT_PROBES)


# --- Writing -------------------------------------------------------------------------------------------------


def to_plain(value: Any) -> Any:
    """Give what JSON can hold: what is not finite is null."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {name: to_plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(each) for each in value]
    return to_plain(asdict(value)) if isinstance(value, Figures) else value
