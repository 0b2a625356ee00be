"""Put the goals of all benchmarks, as last measured, into one table of the README.

    python scripts/write_bench_table.py FOLDER README.md

FOLDER holds the JSON files that `make bench` wrote. The table stands between two marks; nothing else is touched.
"""

import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Any

Goal = dict[str, Any]
BEGIN, END = "<!-- bench -->\n", "<!-- /bench -->\n"
MOST = 3  # goals alike that have a line each


def build_table(folder: Path) -> str:
    """Build the table: a line a goal, but one line for many of a benchmark that ask the same and are all met."""
    files = sorted(folder.glob("*.json"))
    lines = ["| benchmark | goal | measured | wanted | met |", "|---|---|---|---|---|"]
    for file in files:
        for name, goal in join_alike(json.loads(file.read_text())["goals"]):
            met = "yes" if goal["met"] else "**no**"
            lines.append(f"| {file.stem} | {name} | {goal['value']:.4g} | {goal['goal']} | {met} |")
    written = max(file.stat().st_mtime for file in files)
    day = datetime.fromtimestamp(written, UTC).date().isoformat()
    return "\n".join([*lines, "", f"Written by `make bench` on {day}: 2 cores, no GPU, the short forms.", ""])


def join_alike(goals: list[Goal]) -> Iterator[tuple[str, Goal]]:
    """Name each goal that gets a line; of many alike that are met only the one that is nearest to its bound."""
    for wanted, group in groupby(goals, lambda goal: str(goal["goal"])):
        alike = list(group)
        if len(alike) <= MOST or not all(goal["met"] for goal in alike):
            yield from ((goal["name"], goal) for goal in alike)
            continue
        pick = min if wanted.startswith(">") else max
        nearest = pick(alike, key=lambda goal: float(goal["value"]))
        yield f"{len(alike)} figures, of which the nearest to its bound: {nearest['name']}", nearest


def main() -> None:
    """Replace what stands between the marks."""
    folder, readme = Path(sys.argv[1]), Path(sys.argv[2])
    before, _, rest = readme.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    if not after:
        sys.exit(f"{readme}: no marks {BEGIN.strip()} and {END.strip()}")
    readme.write_text(before + BEGIN + build_table(folder) + END + after)


if __name__ == "__main__":
    main()
