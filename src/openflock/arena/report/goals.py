"""What a grid is to show of its subject, beside what it showed."""

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from openflock.arena.report.ablation import measure_ablations
from openflock.arena.report.summary import Figures, Place, Summary, get_asr, to_plain
from openflock.arena.settings import GridTable
from openflock.arena.statistics import Goal, compute_binomial, compute_p_value, correct_holm, pair

MOST_ASR: Final = 0.05
MOST_DAMAGE: Final = 0.05
LEAST_KEPT: Final = 0.9
LEAST_KEPT_WORST: Final = 0.8
MOST_FALSE_REJECTS: Final = 0.02
LEAST_REDUCTION: Final = 0.68  # the paper's
LEVEL: Final = 0.05


def list_goals(grid: GridTable, summary: Summary) -> list[Goal]:
    """List what is asked of the grid's subject."""
    mine = [figures for (_, defence), figures in summary.figures.items() if defence == grid.subject]
    return [
        *(goal for figures in mine if figures.attack not in summary.harmless for goal in resist(figures)),
        *(goal for figures in mine if figures.attack in summary.harmless for goal in spare(figures)),
        *compare(grid, summary),
        *(show_attack(place, works) for place, works in summary.works.items()),
    ]


def name_place(figures: Figures) -> str:
    """Name where figures were taken."""
    return f"{figures.world}/{figures.split}/{figures.attack}/{figures.trigger}"


def resist(figures: Figures) -> Iterator[Goal]:
    """Ask that an attack fails, without damage, and that what the honest learn is kept."""
    where = name_place(figures)
    yield ask_most(f"{where}: upper bound of ASR", figures.asr.high, MOST_ASR)
    yield ask_most(f"{where}: what the trigger costs right answers", figures.damage.point, MOST_DAMAGE)
    yield ask_least(f"{where}: lower bound of the gain kept", figures.kept.low, LEAST_KEPT)
    yield ask_least(f"{where}: the same in the worst domain", figures.kept_worst.low, LEAST_KEPT_WORST)
    yield ask_most(f"{where}: rejected honest proposals", figures.false_rejects.rate, MOST_FALSE_REJECTS)
    yield ask_most(f"{where}: honest nodes slashed", figures.false_slashes.hits, 0)


def spare(figures: Figures) -> Iterator[Goal]:
    """Ask that without an attack nobody is rejected or slashed, in the worst domain as well."""
    where = name_place(figures)
    by_domain = figures.false_rejects_by_domain
    worst = max(by_domain, key=lambda name: by_domain[name].rate, default="")
    for what, count in (("honest proposals", figures.false_rejects), (f"those of {worst}", by_domain.get(worst))):
        if count is not None:
            yield ask_most(f"{where}: rejected {what}", count.rate, MOST_FALSE_REJECTS)
    yield ask_most(f"{where}: honest nodes slashed", figures.false_slashes.hits, 0)


def show_attack(place: Place, works: bool | None) -> Goal:
    """Ask that an attack works where nothing defends: what fails there proves nothing."""
    value = math.nan if works is None else float(works)
    return Goal(f"{'/'.join(place)}: works on plain averaging", value, "1", bool(works))


@dataclass(frozen=True)
class Reduction:
    """How much lower the subject's ASR is than an optimizer's; the p-value of its being lower by what the paper says.

    It is corrected for how many optimizers there are; the share is NaN where the optimizer's ASR is zero.
    """

    place: Place
    optimizer: str
    share: float
    p_value: float

    @property
    def is_met(self) -> bool:
        """Answer whether it is beyond what the paper says, and no chance; where there was no ASR, none was reduced."""
        return self.share > LEAST_REDUCTION and self.p_value < LEVEL


def list_reductions(grid: GridTable, summary: Summary) -> list[Reduction]:
    """Compare ASR with each federated optimizer's, on the seeds of both."""
    optimizers = {name for name, table in grid.defences.items() if table.kind == "optimizer"}
    found: list[Reduction] = []
    for (place, defence), other in summary.figures.items():
        mine = summary.figures.get((place, grid.subject))
        if defence in optimizers and mine and place[2] not in summary.harmless:
            ours, theirs = (
                {seed: get_asr(grid, place, run) for seed, run in summary.runs[place, name].items()}
                for name in (grid.subject, defence)
            )
            shared = ours.keys() & theirs.keys()
            if not shared:
                continue
            differences = pair({s: (1 - LEAST_REDUCTION) * theirs[s] for s in shared}, {s: ours[s] for s in shared})
            share = 1 - mine.asr.point / other.asr.point if other.asr.point else math.nan
            found.append(Reduction(place, defence, share, compute_p_value(differences)))
    corrected = correct_holm([each.p_value for each in found])
    return [replace(each, p_value=p_value) for each, p_value in zip(found, corrected, strict=True)]


def compare(grid: GridTable, summary: Summary) -> Iterator[Goal]:
    """Ask for the paper's reduction against each optimizer."""
    for each in list_reductions(grid, summary):
        name = f"{'/'.join(each.place)}: lower ASR than {each.optimizer} (p = {each.p_value:.2g})"
        yield Goal(name, each.share, f"> {LEAST_REDUCTION}", each.is_met)


def ask_most(name: str, value: float, most: float) -> Goal:
    """Ask for no more than this; a bound of zero may be met exactly."""
    return Goal(name, value, f"< {most}" if most else "0", value < most if most else value == 0)


def ask_least(name: str, value: float, least: float) -> Goal:
    """Ask for this or more."""
    return Goal(name, value, f">= {least}", value >= least)


def describe_summary(grid: GridTable, summary: Summary, goals: list[Goal]) -> dict[str, Any]:
    """Give the content of `summary.json`."""
    cells = []
    for (place, _), figures in summary.figures.items():
        rejected = compute_binomial(figures.false_rejects.hits, figures.false_rejects.total)
        cells.append(
            {**to_plain(figures), "false_reject_rate": asdict(rejected), "attack_works": summary.works.get(place)}
        )
    return to_plain(  # type: ignore[no-any-return]
        {
            "title": grid.title,
            "subject": grid.subject,
            "seeds": list(grid.report.seeds),
            "triggers": list(grid.report.triggers),
            "tuned_on": {"seeds": list(grid.tune.seeds), "triggers": list(grid.tune.triggers)},
            "goals": [asdict(goal) for goal in goals],
            "cells": cells,
            "ablations": [asdict(each) for each in measure_ablations(grid, summary)],
        }
    )
