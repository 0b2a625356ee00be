"""Write what a grid showed as one HTML file that needs nothing beside it, nor any script."""

import base64
import math
from collections.abc import Callable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from openflock.arena.metrics import Count
from openflock.arena.report.ablation import measure_ablations
from openflock.arena.report.earnings import Earning
from openflock.arena.report.goals import LEAST_REDUCTION, MOST_ASR, Reduction, list_reductions
from openflock.arena.report.summary import Figures, Place, Summary
from openflock.arena.settings import GridTable
from openflock.arena.statistics import Goal, Interval, compute_binomial

# A table each: its title, what a cell shows, and how bad that is, from 0 to 1.
HEATS: Sequence[tuple[str, Callable[[Figures], Interval | Count], Callable[[Figures], float]]] = (
    ("Attack success (ASR)", lambda figures: figures.asr, lambda figures: figures.asr.point),
    ("Gain kept, mean of all domains", lambda figures: figures.kept, lambda figures: 1 - figures.kept.point),
    ("Gain kept, worst domain", lambda figures: figures.kept_worst, lambda figures: 1 - figures.kept_worst.point),
    ("Honest proposals rejected", lambda figures: figures.false_rejects, lambda figures: figures.false_rejects.rate),
)


def build_report(
    grid: GridTable,
    summary: Summary,
    goals: Sequence[Goal],
    pictures: Mapping[str, Path],
    earnings: Sequence[Earning] = (),
) -> str:
    """Build the page; the goals that are not met come first."""
    assets = files("openflock") / "assets"
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {
        "show": show,
        "colour": colour,
        "change": show_change,
        "figure": show_figure,
        "share": show_share,
        "embed": embed,
    }
    template = environment.from_string((assets / "report.html").read_text())
    return template.render(
        grid=grid,
        count=sum(len(runs) for runs in summary.runs.values()),
        goals=sorted(goals, key=lambda goal: goal.met),
        met=sum(goal.met for goal in goals),
        worlds=[gather(grid, summary, world, split, pictures) for world, split in list_worlds(summary)],
        heats=HEATS,
        summary=summary,
        reductions=gather_reductions(grid, summary),
        paper=LEAST_REDUCTION,
        ablations=list(measure_ablations(grid, summary)),
        earnings=earnings,
        whole={name: pictures[name] for name in ("ablation", "profits") if name in pictures},
    )


def list_worlds(summary: Summary) -> list[tuple[str, str]]:
    """List the worlds and splits that something ran in."""
    return sorted({(place[0], place[1]) for place, _ in summary.figures})


def gather(
    grid: GridTable, summary: Summary, world: str, split: str, pictures: Mapping[str, Path]
) -> dict[str, object]:
    """Gather what the page shows of one world in one split; the subject is the first column."""
    mine = {key: each for key, each in summary.figures.items() if key[0][:2] == (world, split)}
    places: list[Place] = sorted({place for place, _ in mine})
    defences = sorted({defence for _, defence in mine}, key=lambda name: (name != grid.subject, name))
    prefix = f"rounds-{world}-{split}-"
    return {
        "name": f"{world}, {split}",
        "places": places,
        "defences": defences,
        "figures": mine,
        "pictures": {name.removeprefix(prefix): file for name, file in pictures.items() if name.startswith(prefix)},
    }


def gather_reductions(grid: GridTable, summary: Summary) -> dict[Place, dict[str, Reduction]]:
    """Gather by place what each optimizer's ASR is reduced by."""
    gathered: dict[Place, dict[str, Reduction]] = {}
    for each in list_reductions(grid, summary):
        gathered.setdefault(each.place, {})[each.optimizer] = each
    return gathered


# --- Filters -------------------------------------------------------------------------------------------------


def show(value: Interval | Count) -> Markup:
    """Show a share with its bounds below it."""
    if isinstance(value, Count):
        if not value.total:
            return Markup("&ndash;")
        bound = compute_binomial(value.hits, value.total).high
        return Markup("{:.1%}<small>{}/{}, below {:.1%}</small>").format(value.rate, value.hits, value.total, bound)
    if math.isnan(value.point):
        return Markup("&ndash;")
    if math.isinf(value.low):
        return Markup("{:.0%}<small>one seed</small>").format(value.point)
    return Markup("{:.0%}<small>{:.0%} to {:.0%}</small>").format(value.point, value.low, value.high)


def show_change(value: Interval) -> Markup:
    """Show a difference in points with its bounds below it."""
    if math.isnan(value.point):
        return Markup("&ndash;")
    if math.isinf(value.low):
        return Markup("{:+.1f}<small>one seed</small>").format(100 * value.point)
    return Markup("{:+.1f}<small>{:+.1f} to {:+.1f}</small>").format(
        *(100 * v for v in (value.point, value.low, value.high))
    )


def show_figure(value: float) -> str:
    """Show a figure; what is not known is a dash."""
    return "–" if math.isnan(value) else f"{value:.3g}"


def show_share(value: float) -> str:
    """Show a share; what is not known is a dash."""
    return "–" if math.isnan(value) else f"{value:.0%}"


def colour(badness: float) -> str:
    """Colour a cell from green at 0 to red at 1; green ends where the goals do."""
    if math.isnan(badness):
        return "#f3f4f6"
    bad = min(1.0, max(0.0, badness))
    return f"hsl({140 - 30 * bad / MOST_ASR if bad < MOST_ASR else 75 - 75 * bad:.0f} 65% 84%)"


def embed(picture: Path) -> str:
    """Write a picture as the address of an image."""
    return f"data:image/png;base64,{base64.b64encode(picture.read_bytes()).decode()}"
