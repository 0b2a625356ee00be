"""Measure what the same rows and steps give without OpenFlock: alone, and by plain float averaging."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from rich.progress import Progress

from openflock.app.world import World, compute_adapter_seed
from openflock.learn.baselines import FloatAdapter, average_plain, read_adapter, train_plain, write_adapter
from openflock.learn.evaluate import EvaluationSettings, compute_loss
from openflock.learn.train import TrainSettings
from openflock.update.fixed import initial_state


def measure_baselines(world: World, progress: Progress) -> dict[str, Any]:
    """Measure the baselines that the configuration names; honest nodes' rows only."""
    wanted, results = world.config.baselines, dict[str, Any]()
    bar = progress.add_task("baselines", total=None)
    if "isolated" in wanted:
        results["isolated"] = {}
        for index, domain in enumerate(world.domains):
            results["isolated"][domain] = measure_isolated(world, index)
            progress.advance(bar)
    if "average" in wanted:
        results["average"] = measure_average(world, lambda: progress.advance(bar))
    progress.remove_task(bar)
    return results


def measure_isolated(world: World, domain: int) -> dict[str, float]:
    """Train one adapter on one domain alone, all its honest rows, for as many steps as a node takes in all rounds."""
    rows = [row for each in world.holdings if each.domain == domain and not each.attacker for row in each.train]
    rounds = world.ledger.get_genesis().rules.rounds
    settings = replace(get_settings(world), steps=world.config.train.steps * rounds)
    return measure_adapter(world, train_plain(world.model, get_start(world), rows, settings, seed=domain))


def measure_average(world: World, on_node: Any) -> dict[str, float]:
    """Average what the honest nodes train, with the same rows, rounds and steps."""
    shares = [each.train for each in world.holdings if not each.attacker]
    rounds = world.ledger.get_genesis().rules.rounds
    return measure_adapter(
        world, average_plain(world.model, get_start(world), shares, get_settings(world), rounds, on_node)
    )


def get_settings(world: World) -> TrainSettings:
    """Give a baseline's training settings: the nodes' own, at the learning rate that suits Adam on both factors."""
    train = world.config.train.model_dump() | {
        "learning_rate": world.config.baseline_learning_rate,
        "optimizer": "adam",
    }
    return TrainSettings(**train, max_length=world.config.max_length)


def get_start(world: World) -> FloatAdapter:
    """Give the adapter that a task of the default recipe begins with."""
    return read_adapter(initial_state(world.model.layout, compute_adapter_seed(world.config)))


def measure_adapter(world: World, adapter: FloatAdapter) -> dict[str, float]:
    """Measure an adapter's loss in every domain."""
    write_adapter(world.model, adapter)
    settings = EvaluationSettings(max_length=world.config.max_length)
    rows: Mapping[str, Any] = world.report_rows
    return {domain: compute_loss(world.model, rows[domain], settings) for domain in world.domains}
