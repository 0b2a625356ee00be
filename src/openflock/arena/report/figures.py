"""Draw what a report shows as pictures; where matplotlib is not installed there are none, and the tables say it all."""

import importlib.util
from collections.abc import Callable, Iterable, Sequence
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from openflock.arena.cells import Record
from openflock.arena.report.ablation import measure_ablations
from openflock.arena.report.earnings import Bounds, Earning
from openflock.arena.report.summary import Place, Runs, Summary, score
from openflock.arena.settings import GridTable
from openflock.arena.statistics import Interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Track = Callable[[Record, int], float]  # what a run shows after a round


def draw_all(grid: GridTable, summary: Summary, out: Path, earnings: Sequence[Earning] = ()) -> dict[str, Path]:
    """Draw heat maps, rounds, ablations and profits as PNG files; give them by name."""
    if importlib.util.find_spec("matplotlib") is None:
        return {}
    import matplotlib as mpl

    mpl.use("agg")
    folder = out / "figures"
    folder.mkdir(exist_ok=True)
    drawn = {}
    for world, split in sorted({(place[0], place[1]) for place, _ in summary.figures}):
        name = f"heat-{world}-{split}"
        drawn[name] = draw_heat(summary, world, split, folder / f"{name}.png")
    for place in sorted({place for place, _ in summary.figures}):
        name = "rounds-" + "-".join(place)
        drawn[name] = draw_rounds(grid, summary, place, folder / f"{name}.png")
    ablations = [each for each in measure_ablations(grid, summary) if isfinite(each.asr.point)]
    if ablations:
        bars = [(f"{each.layer}: {each.place[2]} ({each.place[3]})", each.asr) for each in ablations]
        drawn["ablation"] = draw_bars(bars, "ASR without a layer, less ASR with it", folder / "ablation.png")
    if earnings:
        profits = [(f"{each.scenario} ({each.role})", each.profit) for each in earnings]
        drawn["profits"] = draw_bars(profits, "tokens a round for each 100 at stake", folder / "profits.png")
    return drawn


def draw_heat(summary: Summary, world: str, split: str, path: Path) -> Path:
    """Draw ASR, attack by defence."""
    import matplotlib.pyplot as plt
    import numpy as np

    chosen = {key: each for key, each in summary.figures.items() if key[0][:2] == (world, split)}
    rows = sorted({(place[2], place[3]) for place, _ in chosen})
    columns = list(dict.fromkeys(defence for _, defence in chosen))
    values = np.full((len(rows), len(columns)), np.nan)
    for (place, defence), each in chosen.items():
        values[rows.index((place[2], place[3])), columns.index(defence)] = each.asr.point
    figure, axes = plt.subplots(figsize=(2.6 + 0.9 * len(columns), 1.6 + 0.42 * len(rows)), layout="constrained")
    axes.imshow(values, vmin=0, vmax=1, cmap="RdYlGn_r", aspect="auto")
    axes.set_xticks(range(len(columns)), columns, rotation=40, ha="right")
    axes.set_yticks(range(len(rows)), [f"{attack} ({trigger})" for attack, trigger in rows])
    for (row, column), value in np.ndenumerate(values):
        if not np.isnan(value):
            axes.text(column, row, f"{value:.0%}", ha="center", va="center", fontsize=8)
    axes.set_title(f"Attack success, {world}, {split}", fontsize=10)
    figure.savefig(path, dpi=110)
    plt.close(figure)
    return path


def draw_rounds(grid: GridTable, summary: Summary, place: Place, path: Path) -> Path:
    """Draw what `list_tracks` lists over the rounds, a line a defence; domains in a row of their own."""
    import matplotlib.pyplot as plt

    defences = [defence for other, defence in summary.figures if other == place]
    summed, by_domain = list_tracks(grid, place[0])
    columns, palette = max(len(summed), len(by_domain)), plt.get_cmap("tab20")
    figure, panels = plt.subplots(2, columns, figsize=(3.6 * columns, 5.6), squeeze=False, layout="constrained")
    for row, tracks in zip(panels, (summed, by_domain), strict=True):
        for panel, (title, measure) in zip(row, tracks.items(), strict=False):
            for index, defence in enumerate(defences):
                style: dict[str, Any] = {"color": palette(index % 20), "linestyle": "--" if index >= 20 else "-"}
                style |= {"color": "black", "linewidth": 2.4} if defence == grid.subject else {}
                draw_line(panel, summary.runs[place, defence], measure, label=defence, **style)
            panel.set_title(title, fontsize=10)
            panel.set_xlabel("round", fontsize=8)
            panel.xaxis.get_major_locator().set_params(integer=True)
            panel.grid(alpha=0.3)
        for panel in row[len(tracks) :]:
            panel.set_visible(False)
    panels[0][0].set_ylim(-0.03, 1.03)
    figure.legend(*panels[0][0].get_legend_handles_labels(), loc="outside right upper", fontsize=8)
    figure.savefig(path, dpi=110)
    plt.close(figure)
    return path


def list_tracks(grid: GridTable, world: str) -> tuple[dict[str, Track], dict[str, Track]]:
    """List what is followed over a world's rounds, by its title: of all domains together, and of each."""
    kind = "accuracy" if grid.worlds[world].score == "accuracy" else "-loss"  # higher is better
    summed: dict[str, Track] = {
        "ASR": asr,
        f"mean {kind}": lambda run, number: average(score(grid, run, number).values()),
        f"{kind} in the worst domain": lambda run, number: min(score(grid, run, number).values()),
    }

    def follow(domain: str) -> Track:
        return lambda run, number: score(grid, run, number)[domain]

    return summed, {f"{kind}, {name}": follow(name) for name in grid.worlds[world].domains}


def draw_bars(bars: Sequence[tuple[str, Interval | Bounds]], title: str, path: Path) -> Path:
    """Draw named values with their intervals, below each other."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(9, 1.2 + 0.26 * len(bars)), layout="constrained")
    for row, (_, value) in enumerate(bars):
        axes.barh(row, value.point, color="#3b7a57" if value.point >= 0 else "#b04a3a")
        if isfinite(value.low) and isfinite(value.high):
            axes.plot([value.low, value.high], [row, row], color="black", linewidth=1)
    axes.set_yticks(range(len(bars)), [name for name, _ in bars], fontsize=7)
    axes.invert_yaxis()
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_title(title, fontsize=10)
    figure.savefig(path, dpi=110)
    plt.close(figure)
    return path


def draw_line(panel: "Axes", runs: Runs, measure: Track, **style: Any) -> None:
    """Draw the mean over seeds, and what all seeds span; `style` is that of the line."""
    rounds = list_measured(next(iter(runs.values())))
    columns = [[measure(run, number) for run in runs.values()] for number in rounds]
    panel.plot(rounds, [average(column) for column in columns], **{"linewidth": 1.2} | style)
    low, high = [min(column) for column in columns], [max(column) for column in columns]
    panel.fill_between(rounds, low, high, alpha=0.08, color=style["color"])


def list_measured(record: Record) -> list[int]:
    """List the rounds of a record after which the model was measured, from the start."""
    return [number for number, current in enumerate(record["rounds"]) if "asr" in current]


def asr(record: Record, number: int) -> float:
    """Give the ASR after a round."""
    hits, total = record["rounds"][number]["asr"]
    return float(hits / total)


def average(values: Iterable[float]) -> float:
    """Average some numbers."""
    known = list(values)
    return sum(known) / len(known)
