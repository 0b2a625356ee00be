"""Write the tables of docs/results.md from what the arena and the benchmarks left in benchmarks/results.

    python scripts/write_results.py benchmarks/results docs/results.md

Each table stands between two marks in the text and is replaced; one of whose files none is there says so.
"""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

Cell = Mapping[str, Any]
TABLES = (
    "arena", "forgetful", "aimed", "memory", "splits", "sealed", "probe", "defences", "goals", "ablation", "synergy",
    "scale", "economics",
)  # fmt: skip
GRIDS = {  # what a table is of
    "arena": ("core",),
    "forgetful": ("more", "fresh", "acts", "text"),
    "aimed": ("aimed",),
    "memory": ("memory",),
    "splits": ("splits",),
    "sealed": ("sealed",),
    "probe": ("probe",),
    "defences": ("core", "baselines"),
    "goals": ("core", "more", "fresh", "acts", "aimed", "memory", "splits", "sealed", "probe", "ablation", "text"),
    "ablation": ("ablation",),
}
MANY = 20  # goals of a benchmark, from which on only those missed are shown


def main() -> None:
    """Replace what stands between the marks."""
    folder, page = Path(sys.argv[1]), Path(sys.argv[2])
    text = page.read_text()
    for name in TABLES:
        begin, end = f"<!-- {name} -->\n", f"<!-- /{name} -->\n"
        before, begun, rest = text.partition(begin)
        _, ended, after = rest.partition(end)
        if not (begun and ended):
            sys.exit(f"{page}: no marks {begin.strip()} and {end.strip()}")
        text = before + begin + "\n".join(build_table(folder, name)) + "\n" + end + after
    page.write_text(text)


def build_table(folder: Path, name: str) -> Iterable[str]:
    """Build one table from those of its files that are there."""
    files = [folder / "arena" / f"{grid}.json" for grid in GRIDS.get(name, ())] or [folder / f"{name}.json"]
    found = [json.loads(file.read_text()) for file in files if file.exists()]
    if not found:
        return [f"Not run: `{files[0].name}` is not there."]
    if name not in GRIDS:
        return build_goals(found[0]["goals"])
    if name == "goals":
        return build_counts({file.stem: summary["goals"] for file, summary in zip(files, found, strict=True)})
    if name == "ablation":
        return build_ablations([each for summary in found for each in summary["ablations"]])
    cells = list({(place_of(cell), cell["defence"]): cell for summary in found for cell in summary["cells"]}.values())
    build = build_defences if name in ("defences", "aimed") else build_attacks
    return build(cells, found[0]["subject"])


def build_goals(goals: Sequence[Mapping[str, Any]]) -> list[str]:
    """Build the table of a benchmark's goals; of many, of those that are missed."""
    shown = [goal for goal in goals if len(goals) < MANY or not goal["met"]]
    lines = ["| goal | measured | wanted | met |", "|---|--:|---|---|"]
    if len(shown) < len(goals):
        lines = [f"{len(goals) - len(shown)} of {len(goals)} goals are met; these are not:", "", *lines]
    return lines + [f"| {g['name']} | {show_number(g['value'])} | {g['goal']} | {show_met(g['met'])} |" for g in shown]


def build_counts(goals: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[str]:
    """Build the table of how many goals each grid meets, and of those that it does not."""
    lines = ["| grid | goals | met | missed |", "|---|--:|--:|---|"]
    for grid, asked in goals.items():
        missed = [
            f"{goal['name']}: {show_number(goal['value'])}, {goal['goal']} wanted" for goal in asked if not goal["met"]
        ]
        lines.append(f"| `arena_{grid}` | {len(asked)} | {len(asked) - len(missed)} | {'; '.join(missed) or '–'} |")
    return lines


def build_attacks(cells: Sequence[Cell], subject: str) -> list[str]:
    """Build the table of every attack on the subject, beside what it does to plain averaging."""
    by_place = {(place_of(cell), cell["defence"]): cell for cell in cells}
    lines = [
        "| world | attack | trigger | ASR, plain | works | ASR, ours | trigger costs | with trigger, behind"
        " | gain kept | worst domain | honest rejected | slashed | malicious rejected |",
        "|---|---|---|--:|---|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for (place, defence), mine in sorted(by_place.items()):
        if defence != subject:
            continue
        plain = by_place.get((place, "mean"))
        works = {True: "yes", False: "no", None: "–"}[mine["attack_works"]]
        shown = [
            f"{mine['world']}, {mine['split']}",
            mine["attack"],
            mine["trigger"],
            show_share(plain["asr"]) if plain else "–",
            works,
            show_share(mine["asr"]),
            show_share(mine["damage"]),
            show_share(mine["behind"]),
            show_share(mine["kept"]),
            show_share(mine["kept_worst"]),
            show_count(mine["false_rejects"]),
            show_count(mine["false_slashes"]),
            show_count(mine["caught"]),
        ]
        lines.append(f"| {' | '.join(shown)} |")
    return lines


def build_defences(cells: Sequence[Cell], subject: str) -> list[str]:
    """Build the table of all defences where more than the subject and plain averaging ran."""
    places: dict[tuple[str, ...], list[Cell]] = {}
    for cell in cells:
        places.setdefault(place_of(cell), []).append(cell)
    head = [
        "| world | attack | defence | seeds | ASR | trigger costs | gain kept | worst domain |",
        "|---|---|---|--:|--:|--:|--:|--:|",
    ]
    lines: list[str] = []
    for _, beside in sorted(places.items()):
        if {cell["defence"] for cell in beside} - {"mean", subject}:
            lines += [
                f"| {c['world']}, {c['split']} | {c['attack']} | {c['defence']} | {c['seeds']} "
                f"| {show_share(c['asr'])} | {show_share(c['damage'])} | {show_share(c['kept'])} "
                f"| {show_share(c['kept_worst'])} |"
                for c in sorted(beside, key=lambda c: (c["asr"]["point"] is None, c["asr"]["point"]))
            ]
    return head + lines if lines else ["Not run yet: no other defence is among the committed records."]


def build_ablations(ablations: Sequence[Mapping[str, Any]]) -> list[str]:
    """Build the table of what changes without a layer, in points, seed by seed."""
    lines = [
        "| without | change | attack | ASR | trigger costs | gain kept | worst domain |",
        "|---|---|---|--:|--:|--:|--:|",
    ]
    for each in sorted(ablations, key=lambda each: (each["layer"], each["change"], each["place"])):
        shown = (show_change(each[name]) for name in ("asr", "damage", "kept", "kept_worst"))
        lines.append(f"| {each['layer']} | `{each['change']}` | {each['place'][2]} | {' | '.join(shown)} |")
    return lines


def place_of(cell: Cell) -> tuple[str, ...]:
    """Say where a cell's figures were taken."""
    return (cell["world"], cell["split"], cell["attack"], cell["trigger"])


def show_share(interval: Mapping[str, float | None]) -> str:
    """Show a share with its bounds."""
    point, low, high = (interval[name] for name in ("point", "low", "high"))
    if point is None:
        return "–"
    if low is None or high is None:
        return f"{point:z.0%}"
    digits = 1 if 0 < high < 0.01 else 0  # what never happened is told by its bound
    return f"{point:z.0%} ({low:z.0%} to {high:z.{digits}%})"


def show_change(interval: Mapping[str, float | None]) -> str:
    """Show a difference in points with its bounds."""
    point, low, high = (interval[name] for name in ("point", "low", "high"))
    if point is None or low is None or high is None:
        return "–"
    return f"{100 * point:+.0f} ({100 * low:+.0f} to {100 * high:+.0f})"


def show_count(count: Mapping[str, int]) -> str:
    """Show how many of how many."""
    return f"{count['hits']}/{count['total']}"


def show_number(value: float | None) -> str:
    """Show a figure; what is not known is a dash."""
    return "–" if value is None else f"{value:.4g}"


def show_met(met: bool) -> str:
    """Show whether a goal is met; what is not stands out."""
    return "yes" if met else "**no**"


if __name__ == "__main__":
    main()
