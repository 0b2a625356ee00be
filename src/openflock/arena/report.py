"""Write what a grid showed as one HTML file that needs nothing beside it, nor any script."""

import base64
import math
from collections.abc import Callable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from openflock.arena.goals import MOST_ASR
from openflock.arena.metrics import Count
from openflock.arena.settings import GridTable
from openflock.arena.statistics import Goal, Interval, compute_binomial
from openflock.arena.summary import Figures, Place, Summary

# A table each: its title, what a cell shows, and how bad that is, from 0 to 1.
HEATS: Sequence[tuple[str, Callable[[Figures], Interval | Count], Callable[[Figures], float]]] = (
    ("Attack success (ASR)", lambda figures: figures.asr, lambda figures: figures.asr.point),
    ("Gain kept, mean of all domains", lambda figures: figures.kept, lambda figures: 1 - figures.kept.point),
    ("Gain kept, worst domain", lambda figures: figures.kept_worst, lambda figures: 1 - figures.kept_worst.point),
    ("Honest proposals rejected", lambda figures: figures.false_rejects, lambda figures: figures.false_rejects.rate),
)


def build_report(grid: GridTable, summary: Summary, goals: Sequence[Goal], pictures: Mapping[str, Path]) -> str:
    """Build the page; the goals that are not met come first."""
    assets = files("openflock") / "assets"
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"show": show, "colour": colour, "figure": show_figure, "embed": embed}
    template = environment.from_string((assets / "report.html").read_text())
    return template.render(
        grid=grid,
        count=sum(len(runs) for runs in summary.runs.values()),
        goals=sorted(goals, key=lambda goal: goal.met),
        met=sum(goal.met for goal in goals),
        worlds=[gather(grid, summary, world, split, pictures) for world, split in list_worlds(summary)],
        heats=HEATS,
        summary=summary,
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


def show_figure(value: float) -> str:
    """Show a figure; what is not known is a dash."""
    return "–" if math.isnan(value) else f"{value:.3g}"


def colour(badness: float) -> str:
    """Colour a cell from green at 0 to red at 1; green ends where the goals do."""
    if math.isnan(badness):
        return "#f3f4f6"
    bad = min(1.0, max(0.0, badness))
    return f"hsl({140 - 30 * bad / MOST_ASR if bad < MOST_ASR else 75 - 75 * bad:.0f} 65% 84%)"


def embed(picture: Path) -> str:
    """Write a picture as the address of an image."""
    return f"data:image/png;base64,{base64.b64encode(picture.read_bytes()).decode()}"
