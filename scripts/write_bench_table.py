"""Put the goals of all benchmarks, as last measured, into one table of the README.

    python scripts/write_bench_table.py FOLDER README.md

FOLDER holds the JSON files that `make bench` wrote. The table stands between two marks; nothing else is touched.
"""

import json
import sys
from datetime import UTC, datetime
from pathlib import Path

BEGIN, END = "<!-- bench -->\n", "<!-- /bench -->\n"


def build_table(folder: Path) -> str:
    """Build the table: a line a goal."""
    files = sorted(folder.glob("*.json"))
    lines = ["| benchmark | goal | measured | wanted | met |", "|---|---|---|---|---|"]
    for file in files:
        for goal in json.loads(file.read_text())["goals"]:
            met = "yes" if goal["met"] else "**no**"
            lines.append(f"| {file.stem} | {goal['name']} | {goal['value']:.4g} | {goal['goal']} | {met} |")
    written = max(file.stat().st_mtime for file in files)
    day = datetime.fromtimestamp(written, UTC).date().isoformat()
    return "\n".join([*lines, "", f"Written by `make bench` on {day}: 2 cores, no GPU, the short forms.", ""])


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
