"""Measure, in a simulation's directory, how alike honest updates are: what `duplicate_cosine` must stay above.

    python scripts/measure_likeness.py runs/demo

Cosines of the updates' own numbers: of one node at two rounds that trained the same factor, by how many such rounds lie
between, and of two nodes of one domain in the same round. Attackers, and who sent nothing, are left out.
"""

import json
import sys
from collections import defaultdict
from itertools import combinations
from math import isqrt
from pathlib import Path

from measure_scores import read_rounds

from openflock.edge.blobs import DirectoryStore
from openflock.node.reader import Reader
from openflock.update.codec import Update, decode_update
from openflock.update.fixed import GlobalState
from openflock.update.geometry import compute_dots


def compute_cosine(state: GlobalState, one: Update, other: Update) -> float:
    """Compute the cosine of two updates that train what a state's round trains."""
    dots = compute_dots(state, [one, other])
    return int(dots[0, 1]) / (isqrt(int(dots[0, 0] * dots[1, 1])) or 1)


def measure(path: Path) -> None:
    """Print the cosines of a run."""
    nodes = json.loads((path / "run.json").read_text())["summary"]["nodes"]
    honest = {node["address"] for node in nodes if "attacker" not in node["name"]}
    domains, rounds = read_rounds(path)
    reader = Reader(DirectoryStore(path / "blobs"))
    found: defaultdict[str, list[float]] = defaultdict(list)
    seen: defaultdict[tuple[str, ...], list[dict[str, Update]]] = defaultdict(list)
    for each in rounds:
        state = reader.fetch_state(each.before)
        updates = {
            node: decode_update(state, reader.store.fetch(*name))
            for node, name in each.updates.items()
            if node in honest
        }
        for one, other in combinations(sorted(updates), 2):
            kind = "one domain" if domains[one] == domains[other] else "two domains"
            found[f"same round, {kind}"].append(compute_cosine(state, updates[one], updates[other]))
        for age, before in enumerate(reversed(seen[state.trained]), 1):
            for node in sorted(updates.keys() & before.keys()):
                found[f"one node, {age} back"].append(compute_cosine(state, updates[node], before[node]))
        seen[state.trained].append(updates)
    for name, cosines in sorted(found.items()):
        cosines.sort()
        print(f"{name:26} {len(cosines):4}  median {cosines[len(cosines) // 2]:.3f}  largest {cosines[-1]:.3f}")


if __name__ == "__main__":
    measure(Path(sys.argv[1]))
