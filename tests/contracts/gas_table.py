"""The gas table: measured figures, the file that CI compares with, and the page that people read.

`python -m tests.contracts.gas_table` measures everything and writes `gas.json` and `docs/gas.md`; it takes two minutes.
With keys (numbers of nodes, or "largest") and `--json` it writes the figures of these alone to a file. The table names
the contract that it is of, so that a new one cannot ship with old figures.
"""

import argparse
import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path

from . import chain
from .gas import FIRST, LARGEST, LATER, PROPOSERS, SIZES, VOTERS, Chapter, Figure, Figures, measure, measure_largest

COMMITTED = Path(__file__).with_name("gas.json")
PAGE = Path(__file__).parents[2] / "docs" / "gas.md"
COMMAND = "python -m tests.contracts.gas_table"
FALL = 0.01  # a fall beyond this asks for a new table
UNCHANGED = "unchanged"
KEYS = (*map(str, SIZES), "largest")

Table = dict[str, Figures]  # by key

INTRODUCTION = f"""# Gas

What each call burns on an EVM, as a transaction of its own: the fixed 21,000, calldata and refunds count, storage
starts cold. `{COMMAND}` measured it on the contract and wrote this page; a test fails when a
figure rises.

The same task is played with 16, 256 and 4,096 registered nodes, {PROPOSERS} proposer seats and {VOTERS} voter seats.
Each seat falls on a node of its own, and all nodes are of one domain: the dearest that such a round can be. Two numbers
are the median and the maximum; one number stands for both.

With 16 nodes all vote, by their stake, and proposers vote too; after the first round everybody has voted before. So
less storage is new there, and rounds cost less. Between 256 and 4,096 nodes only what touches the tree of stakes
costs more, by one level for each doubling: joins, leaves, draws, slashes. A later round also pays for whoever
never voted or earned before, of whom 4,096 nodes have more.
"""


# --- The file ------------------------------------------------------------------------------------------------


def name_contract() -> str:
    """Name the contract that ships, by its bytes."""
    return sha256(chain.load("Task")["bytecode"].encode()).hexdigest()


def dump(table: Table) -> str:
    plain = {
        size: {title: {call: asdict(figure) for call, figure in chapter.items()} for title, chapter in figures.items()}
        for size, figures in table.items()
    }
    return json.dumps({"contract": name_contract(), "figures": plain}, indent=1) + "\n"


def load(text: str) -> Table:
    return {
        size: {
            title: {call: Figure(**figure) for call, figure in chapter.items()} for title, chapter in figures.items()
        }
        for size, figures in json.loads(text)["figures"].items()
    }


def compare(key: str, measured: Figures) -> list[str]:
    """Say in what measured figures differ from the committed ones: what rose, fell much, came or went."""
    old, new = (
        {(title, call): figure for title, chapter in figures.items() for call, figure in chapter.items()}
        for figures in (load(COMMITTED.read_text())[key], measured)
    )
    lines = [f"{', '.join(name)}: not in both tables" for name in old.keys() ^ new.keys()]
    lines += [f"{', '.join(name)}, {describe(old[name], new[name])}" for name in old.keys() & new.keys()]
    return sorted(line for line in lines if not line.endswith(UNCHANGED))


def describe(old: Figure, new: Figure) -> str:
    """Tell the first thing that changed, the worst before the rest."""
    for kind in ("worst", "typical", "total", "calls"):
        before, after = getattr(old, kind), getattr(new, kind)
        if after > before or after < (1 - FALL) * before:
            verb = "rose" if after > before else "fell"
            return f"{kind}: {verb} from {before:,} to {after:,} ({after - before:+,})"
    return UNCHANGED


def check(key: str, measured: Figures) -> None:
    """Fail with every figure that differs."""
    differences = compare(key, measured)
    assert not differences, "\n".join([f"if this must be, run `{COMMAND}` and say why in the commit:", *differences])


# --- The page ------------------------------------------------------------------------------------------------


def render(table: Table) -> str:
    """Write the page."""
    sizes = {key: table[key] for key in map(str, SIZES)}
    headings = [f"{size:,} nodes" for size in SIZES]
    parts = [INTRODUCTION, "## A whole round", render_table("", headings, render_rounds(sizes))]
    for title in sizes[KEYS[0]]:
        rows = render_calls([figures[title] for figures in sizes.values()])
        parts += [f"## {title[0].upper()}{title[1:]}", render_table("call", headings, rows)]
    parts.append(f"## The largest committees\n\n16 proposer and 32 voter seats, drawn from {LARGEST} nodes.")
    parts.append(render_table("call", list(table["largest"]), render_calls(list(table["largest"].values()))))
    return "\n\n".join(part.strip() for part in parts) + "\n"


def render_table(corner: str, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [[corner, *headings], ["---", *["--:" for _ in headings]], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def render_rounds(sizes: Mapping[str, Figures]) -> list[list[str]]:
    rows = []
    for title in (FIRST, LATER):
        shares = [compute_shares(figures[title], int(size)) for size, figures in sizes.items()]
        rows += [[f"{title}, {name}", *(f"{share[name]:,}" for share in shares)] for name in shares[0]]
    return rows


def render_calls(chapters: Sequence[Chapter]) -> list[list[str]]:
    calls = dict.fromkeys(call for chapter in chapters for call in chapter)
    return [[call, *(render_figure(chapter.get(call)) for chapter in chapters)] for call in calls]


def render_figure(figure: Figure | None) -> str:
    if figure is None:
        return ""
    return f"{figure.typical:,}" + (f" / {figure.worst:,}" if figure.worst > figure.typical else "")


def compute_shares(chapter: Chapter, nodes: int) -> dict[str, int]:
    """Compute who pays how much of a round."""
    totals = {call: figure.total for call, figure in chapter.items()}
    proposing = totals["commit update"] + totals["publish"]
    advancing = sum(gas for call, gas in totals.items() if call.startswith("advance"))
    total = sum(totals.values())
    return {
        "in all": total,
        "a participant": total // min(nodes, PROPOSERS + VOTERS),
        "a proposer's calls": proposing // PROPOSERS,
        "a voter's calls": (total - proposing - advancing) // VOTERS,
        "whoever moves it on": advancing,
    }


# --- The command ---------------------------------------------------------------------------------------------


def measure_key(key: str) -> Figures:
    """Measure one column of the table."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the EVM's, about its own dependencies
        return measure_largest() if key == "largest" else measure(int(key))[1]


def main() -> None:
    """Measure, and write what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("keys", nargs="*", default=KEYS)
    parser.add_argument("--json", type=Path, help="write figures there, and leave the committed table alone")
    args = parser.parse_args()
    table = {key: measure_key(key) for key in args.keys}
    if args.json:
        args.json.write_text(dump(table))
    elif tuple(args.keys) == KEYS:
        COMMITTED.write_text(dump(table))
        PAGE.write_text(render(table))
    else:
        parser.error("the table is written as a whole: name no keys, or a file with --json")


if __name__ == "__main__":
    main()
