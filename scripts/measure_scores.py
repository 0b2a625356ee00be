"""Measure, in a finished or running simulation, the numbers that the arena's economy draws scores from.

    python scripts/measure_scores.py runs/demo

From the opened ballots: what honest updates do to their own domain and to others, and how far voters differ. From the
stored updates, evaluated on rows that two nodes held out: what an update of two rounds ago still does, and what a
random one of the same length does. Nodes with flags against them are left out. A ballot's gains are of what the clip
leaves (`node/shares.py`); those of arena/economy/scene.py were read before it was so.
"""

import json
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from statistics import fmean, stdev

import numpy as np
import torch

from openflock.app.bases import locate_base
from openflock.app.rows import list_data_domains, share_rows
from openflock.app.settings import Config
from openflock.edge.blobs import DirectoryStore
from openflock.learn.data import Row
from openflock.learn.evaluate import EvaluationSettings, compute_loss, relative_score
from openflock.learn.model import load_model
from openflock.node.reader import Reader
from openflock.protocol.ballot import get_mark
from openflock.update.aggregate import compute_share
from openflock.update.codec import Update, decode_update
from openflock.update.fixed import GlobalState

RANDOM = 3  # random updates for each honest one


@dataclass
class Round:
    """What the log says of one round."""

    before: bytes  # the state's digest
    updates: dict[str, tuple[bytes, int]]  # proposer: digest and size
    ballots: dict[str, int]
    proposers: list[str]


def read_rounds(path: Path) -> tuple[dict[str, int], list[Round]]:
    """Read each node's domain, and the rounds that ended."""
    domains: dict[str, int] = {}
    rounds: list[Round] = []
    state = bytes.fromhex(
        json.loads((path / "run.json").read_text()).get("rules", {}).get("genesis", "00").removeprefix("0x")
    )
    current = Round(state, {}, {}, [])
    for line in map(json.loads, (path / "events.jsonl").read_text().splitlines()):
        args = line.get("args", {})
        match line["name"]:
            case "Joined":
                domains[args["sender"]] = args["domain"]
            case "Drawn":
                current.proposers = args["proposers"]
            case "Published":
                current.updates[args["sender"]] = (bytes.fromhex(args["digest"].removeprefix("0x")), args["size"])
            case "Revealed":
                current.ballots[args["sender"]] = int(args["ballot"])
            case "Settled":
                rounds.append(current)
                current = Round(bytes.fromhex(args["digest"].removeprefix("0x")), {}, {}, [])
    return domains, rounds


# --- Ballots -------------------------------------------------------------------------------------------------


def measure_ballots(domains: dict[str, int], rounds: list[Round]) -> None:
    """Print what voters saw of honest updates."""
    scores: dict[bool, list[int]] = {True: [], False: []}
    differing: list[float] = []
    for each in rounds:
        for slot, proposer in enumerate(each.proposers):
            marks = {voter: get_mark(ballot, slot) for voter, ballot in each.ballots.items() if voter != proposer}
            if any(mark.flags for mark in marks.values()):
                continue
            cells: defaultdict[int, list[int]] = defaultdict(list)
            for voter, mark in marks.items():
                scores[domains[voter] == domains[proposer]].append(mark.score)
                cells[domains[voter]].append(mark.score)
            differing += [stdev(cell) for cell in cells.values() if len(cell) > 1]
    for own, seen in scores.items():
        name = "own domain" if own else "another   "
        print(f"{name} mean {fmean(seen):6.0f}  spread {stdev(seen):4.0f}  from {min(seen)} to {max(seen)}")
    print(f"two voters of a domain differ by {fmean(differing):.0f}")


# --- Updates -------------------------------------------------------------------------------------------------


def measure_updates(path: Path, domains: dict[str, int], rounds: list[Round]) -> None:
    """Print what stale and random updates do."""
    config = Config(**json.loads((path / "run.json").read_text())["config"])
    model = load_model(locate_base(config.base), config.rank, config.alpha, "cpu", "all-linear", config.quantization)
    reader, settings = Reader(DirectoryStore(path / "blobs")), EvaluationSettings(max_length=config.max_length)
    holdings = share_rows(config, list_data_domains(config))
    fresh, stale, noise = list[int](), list[int](), list[int]()
    for old, new in zip(rounds, rounds[2:], strict=False):
        before, seen = reader.fetch_state(new.before), set[int]()
        for node in sorted(new.updates.keys() & old.updates.keys()):
            if domains[node] in seen:
                continue
            seen.add(domains[node])
            rows = [row for held in holdings if held.domain == domains[node] for row in held.held_out][:96]
            model.clear()
            base = compute_loss(model, rows, settings)
            model.load_state(before)
            loss = compute_loss(model, rows, settings)

            def score(
                update: Update,
                before: GlobalState = before,
                rows: Sequence[Row] = rows,
                loss: float = loss,
                base: float = base,
            ) -> int:
                model.load_state(compute_share(before, update, Fraction(1, len(domains))))
                return relative_score(loss, compute_loss(model, rows, settings), base)

            updates = [
                decode_update(reader.fetch_state(r.before), reader.store.fetch(*r.updates[node])) for r in (new, old)
            ]
            fresh.append(score(updates[0]))
            stale.append(score(updates[1]))
            noise += [score(update) for update in shuffle(updates[0], len(noise))]
            print(f"domain {domains[node]}: fresh {fresh[-1]}, stale {stale[-1]}, random {noise[-RANDOM:]}", flush=True)
    print(f"stale over fresh {sum(stale) / sum(fresh):.2f}; random: mean {fmean(noise):.1f}, spread {stdev(noise):.1f}")


def shuffle(update: Update, seed: int) -> Iterator[Update]:
    """Give updates of the same length whose numbers stand at random places of their blocks."""
    draw = np.random.default_rng(seed)
    for _ in range(RANDOM):
        parts = {}
        for factor, part in update.parts.items():
            codes = np.array(part.codes).reshape(len(part.scales), -1)
            parts[factor] = replace(part, codes=draw.permuted(codes, axis=1).reshape(part.codes.shape))
        yield replace(update, parts=parts)


def main() -> None:
    """Measure."""
    torch.set_num_threads(1)
    path = Path(sys.argv[1])
    domains, rounds = read_rounds(path)
    measure_ballots(domains, rounds)
    if len(rounds) > 2:
        measure_updates(path, domains, rounds)


if __name__ == "__main__":
    main()
