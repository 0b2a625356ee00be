"""Run a task on this machine: build its world, let the network play, and write down what came of it.

An interrupted run resumes by being run again: the journal remembers every content that a node committed to, so
nothing is trained twice, and the log must come out the same as far as it was written.
"""

import json
from collections.abc import Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from openflock.app.baselines import measure_baselines
from openflock.app.bases import write_base
from openflock.app.rundir import RunDirectory
from openflock.app.settings import Config
from openflock.app.stopwatch import Stopwatch
from openflock.app.story import RoundStory
from openflock.app.tables import build_loss_table, build_node_table, build_round_table
from openflock.app.world import World, build_working_nodes, build_world, list_roles
from openflock.arena.committees import warn_weak
from openflock.edge.record import Recorder
from openflock.learn.evaluate import EvaluationSettings, compute_loss
from openflock.learn.export import export_adapter
from openflock.local import Network, Workers
from openflock.protocol.encoding import to_json
from openflock.protocol.ports import Entry
from openflock.protocol.replay import Step
from openflock.protocol.types import Act, Digest, State


@dataclass
class Simulation:
    """A run under way."""

    config: Config
    run: RunDirectory
    console: Console
    world: World
    recorder: Recorder
    watch: Stopwatch
    progress: Progress
    bar: TaskID
    story: RoundStory = field(default_factory=lambda: RoundStory(1))
    stories: list[RoundStory] = field(default_factory=list)
    losses: dict[Digest, dict[str, float]] = field(default_factory=dict)

    def on_entries(self, entries: Sequence[Entry], steps: Sequence[Step]) -> None:
        """Record what the ledger logged; at a round's end measure and show it."""
        self.recorder.append(entries)
        for step in steps:
            self.story.tell(step)
            if self.story.outcome is not None:
                self.end_round(step.state)
                self.story = RoundStory(self.story.number + 1)

    def end_round(self, state: State) -> None:
        """Measure the state after a round, write its line of metrics, and print its table."""
        self.stories.append(self.story)
        losses = self.measure(state.digest)
        names = list_roles(self.world)
        rounds = state.genesis.rules.rounds
        self.console.print(build_round_table(self.story, state, self.world.domains, names, rounds))
        shown = {
            "before": self.losses[self.stories[-2].digest] if len(self.stories) > 1 else self.base,
            "after": losses,
        }
        self.console.print(build_loss_table(shown, self.world.domains, "Completion loss on validation rows"))
        self.write_metrics()

    @property
    def base(self) -> dict[str, float]:
        """Give the base's losses: the initial adapter changes nothing."""
        return self.measure(self.world.ledger.get_genesis().rules.genesis)

    def measure(self, digest: Digest) -> dict[str, float]:
        """Measure a state's loss in every domain, on rows that no node holds."""
        if digest not in self.losses:
            with self.watch("report"):
                self.world.model.load_state(self.world.reader.fetch_state(digest))
                settings = EvaluationSettings(max_length=self.config.max_length)
                rows = self.world.report_rows
                self.losses[digest] = {name: compute_loss(self.world.model, rows[name], settings) for name in rows}
        return self.losses[digest]

    def write_metrics(self) -> None:
        """Write one line a round: what became of it, and the losses after it."""
        lines = [
            {"round": story.number, "outcome": str(story.outcome), "loss": self.losses[story.digest]}
            for story in self.stories
        ]
        self.run.metrics.write_text("".join(json.dumps(line) + "\n" for line in lines))


def simulate(config: Config, out: Path, console: Console, jobs: int = 1) -> dict[str, Any]:
    """Run, resume or just show a configuration's task in directory `out`; return its summary.

    With more jobs than one, so many processes train and judge; the digest stays the same.
    """
    run = RunDirectory(out)
    started = run.open(config)
    if started["finished"]:
        console.print(f"{out} holds this task, finished; delete it or choose another --out to run again")
        show_summary(started["summary"], console)
        return dict(started["summary"])
    watch = Stopwatch()
    with build_progress(console) as progress:
        simulation = start(config, run, console, watch, progress)
        world = simulation.world
        with closing(simulation.recorder), closing(world.journal), start_workers(simulation, jobs) as workers:
            wired = (world.ledger, world.clock, world.nodes, world.creator, simulation.on_entries)
            state = Network(*wired, workers, world.unsealer).run()
        summary = summarize(simulation, state)
    export(simulation, state)
    run.write(describe_run(simulation, state, summary))  # last: what says that it is finished must be whole
    show_summary(summary, console)
    return summary


def build_progress(console: Console) -> Progress:
    """Build the progress bar that stands under the tables."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=console, transient=True)


def start(config: Config, run: RunDirectory, console: Console, watch: Stopwatch, progress: Progress) -> Simulation:
    """Build the world, with a bar that counts training steps."""
    bar = progress.add_task("building", total=None)
    done = 0

    def on_step(_steps: int, _loss: float) -> None:
        nonlocal done
        done += 1
        progress.update(bar, completed=done)

    with watch("start-up"):
        world = build_world(config, run, watch, on_step)
    genesis = world.ledger.get_genesis()
    for warning in warn_weak(genesis.rules, [node.identity.stake for node in world.nodes]):
        console.print(f"weak: {warning}", soft_wrap=True)
    total = genesis.rules.rounds * len(world.nodes) * config.train.steps
    progress.update(bar, total=total, description="training steps")
    recorder = Recorder(run.events, genesis)
    return Simulation(config, run, console, world, recorder, watch, progress, bar)


def start_workers(simulation: Simulation, jobs: int) -> AbstractContextManager[Workers | None]:
    """Start the processes that work for the nodes; with one job there are none, and the nodes work themselves."""
    if jobs == 1:
        return nullcontext()
    config, progress = simulation.config, simulation.progress

    def on_worked(act: Act) -> None:
        if act == Act.UPDATE:
            progress.advance(simulation.bar, config.train.steps)

    return Workers(jobs, partial(build_working_nodes, config, simulation.run), on_worked, simulation.watch)


# --- What is written down ------------------------------------------------------------------------------------


def summarize(simulation: Simulation, state: State) -> dict[str, Any]:
    """Sum a finished run up."""
    config, world = simulation.config, simulation.world
    baselines: dict[str, Any] = {}
    if config.baselines:
        with simulation.watch("baselines"):
            baselines = measure_baselines(world, simulation.progress)
    seconds = simulation.watch.split()
    return {
        "digest": state.digest.hex(),
        "rounds": len(simulation.stories),
        "domains": world.domains,
        "loss": {"base": simulation.base, "merged": simulation.measure(state.digest), **baselines},
        "nodes": [describe_node(simulation, state, address, name) for address, name in list_roles(world).items()],
        "seconds": seconds,
        "protocol_seconds_per_round": seconds["protocol"] / max(1, len(simulation.stories)),
    }


def describe_node(simulation: Simulation, state: State, address: str, name: str) -> dict[str, Any]:
    """Say what a node earned, lost and has."""
    return {
        "name": name,
        "address": address,
        "payout": sum(story.paid[address] for story in simulation.stories),
        "slash": sum(story.slashed[address] for story in simulation.stories),
        "stake": state.nodes[address].stake,
    }


def describe_run(simulation: Simulation, state: State, summary: dict[str, Any]) -> dict[str, Any]:
    """Give the content of `run.json`."""
    return {
        "config": simulation.config.model_dump(),
        "finished": True,
        "chain": state.genesis.chain,
        "task": state.genesis.task,
        "rules": to_json(state.genesis.rules),
        "events": {"count": simulation.recorder.count, "link": simulation.recorder.link},
        "summary": summary,
    }


def export(simulation: Simulation, state: State) -> None:
    """Write the final state as a PEFT adapter."""
    world = simulation.world
    final = world.reader.fetch_state(state.digest)
    base = write_base(world.config.base)
    export_adapter(final, simulation.run.adapter, base, state.digest, state.genesis.rules.base)


def show_summary(summary: dict[str, Any], console: Console) -> None:
    """Print what came of a run."""
    losses = {name: value for name, value in summary["loss"].items() if name != "isolated"}
    losses |= {f"{name} alone": value for name, value in summary["loss"].get("isolated", {}).items()}
    console.print(build_loss_table(losses, summary["domains"], "Completion loss on validation rows"))
    console.print(build_node_table(summary["nodes"]))
    seconds = ", ".join(f"{name} {value:.1f} s" for name, value in summary["seconds"].items())
    console.print(f"time: {seconds}")
    console.print(f"protocol: {summary['protocol_seconds_per_round']:.2f} s a round, all but training and evaluation")
    console.print(f"digest of the global state: {summary['digest']}", soft_wrap=True)
