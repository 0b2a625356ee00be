"""Play one task of virtual nodes, and print what it took as a line of JSON: `_virtual.py NODES JOBS ROUNDS LEDGER`.

As `openflock simulate`, less its reports. Activities are seconds of the clock; with several jobs, those in which this
process waited for the others. Processor seconds are this process's alone.
"""

import json
import sys
import time
from collections.abc import Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from openflock.app.rundir import RunDirectory
from openflock.app.settings import Config
from openflock.app.stopwatch import Stopwatch
from openflock.app.world import World, build_working_nodes, build_world
from openflock.edge.embedded_chain import EmbeddedChain
from openflock.edge.record import Recorder
from openflock.local import Network, Workers
from openflock.protocol.calls import Advance, Drawn, Settled
from openflock.protocol.ports import Entry
from openflock.protocol.replay import Step
from openflock.protocol.types import State

SKILLS = ["reverse", "shift", "add", "sort"]
RULES = {"proposer_seats": 16, "voter_seats": 31}
LOOKS = 5


@dataclass
class Witness:
    """Notes what has been spent, at the start and whenever a committee was drawn or a round settled."""

    recorder: Recorder
    file: Path
    watch: Stopwatch
    marks: list[dict[str, Any]] = field(default_factory=list)
    digests: list[str] = field(default_factory=list)

    def on_entries(self, entries: Sequence[Entry], steps: Sequence[Step]) -> None:
        """Record, as a simulation does."""
        self.recorder.append(entries)
        for step in steps:
            if isinstance(step.call, Advance) and any(isinstance(event, Drawn | Settled) for event in step.events):
                self.mark(entries[-1].block)
            self.digests += [event.digest.hex() for event in step.events if isinstance(event, Settled)]

    def mark(self, block: int) -> None:
        """Note what has been spent so far."""
        clocks = {"seconds": time.perf_counter(), "cpu_seconds": time.process_time()}
        self.marks.append(clocks | self.watch.split() | {"log_bytes": self.file.stat().st_size, "block": block})


def build_config(nodes: int, rounds: int, ledger: str) -> Config:
    """Describe a task in which nodes have few rows and train a few steps; committees are the rules' own."""
    return Config.model_validate(
        {
            "title": "Virtual nodes", "domains": SKILLS, "nodes_per_domain": nodes // len(SKILLS), "ledger": ledger,
            "max_length": 64, "rank": 4, "alpha": 8, "train": {"steps": 8, "batch_size": 8},
            "rows": {"train": 8, "held_out": 4, "report": 1}, "rules": RULES | {"rounds": rounds},
        }
    )  # fmt: skip


def play(config: Config, jobs: int, directory: Path) -> dict[str, Any]:
    """Play a task to its end."""
    start = time.perf_counter()
    run, watch = RunDirectory(directory / "run"), Stopwatch()
    run.open(config)
    world = build_world(config, run, watch, lambda _steps, _loss: None)
    witness = Witness(Recorder(run.events, world.ledger.get_genesis()), run.events, watch)
    witness.mark(0)
    build = partial(build_working_nodes, config, run)
    with closing(world.journal), Workers(jobs, build, watch=watch) if jobs > 1 else nullcontext() as workers:
        wired = (world.ledger, world.clock, world.nodes, world.creator, witness.on_entries, workers)
        state = Network(*wired, unsealer=world.unsealer).run()
    spent = [
        {name: after[name] - before.get(name, 0) for name in after}
        for before, after in zip(witness.marks, witness.marks[1:], strict=False)
    ]
    return {
        "build_seconds": witness.marks[0]["seconds"] - start,
        "gathering": spent[::2],  # from a settlement to the next draw; the first holds all the joining
        "playing": spent[1::2],
        "idle_seconds": time_idle(world, state),
        "chain": measure_chain(world, witness.marks[1]["block"]) if config.ledger == "evm" else {},
        "digests": witness.digests,
    }


def time_idle(world: World, state: State) -> float:
    """Time one node's look at a state in which it has nothing to do."""
    spent = []
    for _ in range(LOOKS):
        start = time.process_time()
        for node in world.nodes:
            node.decide(state)
        spent.append(time.process_time() - start)
    return median(spent) / len(world.nodes)


def measure_chain(world: World, drawn: int) -> dict[str, dict[str, int]]:
    """Add up gas and calldata: of all until the first committee was drawn, deploying included, and of all after."""
    totals = {name: {"transactions": 0, "gas": 0, "calldata_bytes": 0} for name in ("joining", "rounds")}
    assert isinstance(world.clock, EmbeddedChain)
    web3 = world.clock.web3
    for number in range(web3.eth.block_number + 1):
        block: Any = web3.eth.get_block(number, full_transactions=True)
        total = totals["joining" if number <= drawn else "rounds"]
        total["transactions"] += len(block["transactions"])
        total["gas"] += block["gasUsed"]
        # What others call a transaction's input is its data here.
        total["calldata_bytes"] += sum(len(each["data"]) for each in block["transactions"])
    return totals


def main() -> None:
    """Play, and print."""
    nodes, jobs, rounds, ledger = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    with TemporaryDirectory() as directory:
        print(json.dumps(play(build_config(nodes, rounds, ledger), jobs, Path(directory))))


if __name__ == "__main__":
    main()
