"""Is the one adapter that nodes train together better than each trained alone, and as good as one of all data pooled?

Four nodes hold one domain each. `global` is the final state of a whole task: nodes, stakes, ballots and merges on the
specification. `alone` trains both factors on one node's rows for as many steps as that node takes in the task;
`pooled` on all rows for as many as all nodes take together. All start from the same adapter. Recipe and rates, and
which of them fall, were chosen on seeds below 50 and validation rows; the figures are of others, each with rows,
batches and an initial adapter of its own. Losses are of completions, on test rows that nobody trained on; differences
are paired by seed (BCa intervals, 95 %).

The rows and the base are those beside this repository, ../shared; `--quick` needs neither: it takes the built-in
skills and base, three seeds, and proves nothing. Each line of the JSONL beside the JSON is one seed, not run again.
"""

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from hashlib import sha256
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from _harness import Goal, finish, parse_arguments, show_table

from openflock.app.baselines import get_start
from openflock.app.rundir import RunDirectory
from openflock.app.settings import Config
from openflock.app.world import World, build_world
from openflock.arena.statistics import Interval, compute_bootstrap
from openflock.learn.baselines import train_plain, write_adapter
from openflock.learn.evaluate import EvaluationSettings, compute_loss
from openflock.learn.train import TrainSettings
from openflock.local import Network
from openflock.node.watch import watch_nothing

SHARED = Path(__file__).resolve().parents[2] / "shared"
SEEDS, QUICK_SEEDS = range(180, 200), range(120, 123)
GOAL_HOME, GOAL_POOLED = 0.02, 0.95

Losses = dict[str, float]  # by domain
Line = dict[str, Any]


@dataclass(frozen=True)
class Rate:
    """A learning rate, and whether it falls linearly to zero."""

    first: float
    falls: bool = False

    def compute_multiplier(self, step: int, steps: int) -> float:
        """Give what the first rate is multiplied by at a step."""
        return 1 - step / steps if self.falls else 1.0


@dataclass(frozen=True)
class Setting:
    """A task, the rates that suited training both factors without it, and how many rows are drawn from each split."""

    config: dict[str, Any]
    rates: Mapping[str, Rate]  # of `alone` and `pooled`
    sizes: Mapping[str, int]


# A gradient of every node in each round, and Adam's step on what they make together (docs/decisions/0022): beta .9, a
# rate of 3e-3 that 96 rounds bring to two fifths. Only gradients over twice the median's length are cut.
TOGETHER = {
    "mode": "separate", "memory": 0, "clip": 2000, "optimizer": "adam", "momentum": 58_982, "rate": 197, "decay": 983,
}  # fmt: skip
REAL = Setting(
    {
        "title": "Synergy", "base": str(SHARED / "base"), "ledger": "spec", "nodes_per_domain": 1, "max_length": 64,
        "train": {"steps": 1, "batch_size": 2, "learning_rate": 1.0, "optimizer": "sgd"},
        "rows": {"train": 256, "held_out": 4, "report": 96},
        "recipe": TOGETHER, "rules": {"rounds": 96},
    },
    {"alone": Rate(1e-3), "pooled": Rate(2e-3, falls=True)},
    {"train": 260, "validation": 96},
)  # fmt: skip
SKILLS = Setting(
    {
        "title": "Synergy", "domains": ["reverse", "shift", "add", "sort"], "ledger": "spec", "nodes_per_domain": 1,
        "max_length": 64, "train": {"steps": 1, "batch_size": 4, "learning_rate": 1.0, "optimizer": "sgd"},
        "rows": {"train": 128, "held_out": 8, "report": 32},
        "recipe": TOGETHER, "rules": {"rounds": 24},
    },
    {"alone": Rate(1e-3), "pooled": Rate(2e-3, falls=True)},
    {},
)  # fmt: skip


def draw_data(seed: int, sizes: Mapping[str, int], folder: Path) -> None:
    """Write a folder of domains, rows drawn by the seed; what a task reports on are test rows."""
    for domain in sorted(path.name for path in (SHARED / "data").iterdir() if path.is_dir()):
        (folder / domain).mkdir(parents=True)
        for split, source in (("train", "train"), ("validation", "test")):
            # Not splitlines(): a row may hold what Unicode calls the end of a line.
            lines = (SHARED / "data" / domain / f"{source}.jsonl").read_text().rstrip("\n").split("\n")
            drawn = random.Random(f"{seed} {domain} {split}").sample(lines, sizes[split])
            (folder / domain / f"{split}.jsonl").write_text("".join(line + "\n" for line in drawn))


def play(setting: Setting, seed: int) -> Line:
    """Play a seed: the task, every adapter alone, and all rows pooled."""
    torch.set_num_threads(1)
    with TemporaryDirectory() as directory:
        changes: dict[str, Any] = {"seed": seed}
        if setting.sizes:
            draw_data(seed, setting.sizes, Path(directory) / "data")
            changes["data"] = str(Path(directory) / "data")
        config = Config.model_validate(setting.config | changes)
        run = RunDirectory(Path(directory) / "run")
        run.open(config)
        world = build_world(config, run, watch_nothing, lambda _steps, _loss: None)
        write_adapter(world.model, get_start(world))
        base = measure(world)
        wired = (world.ledger, world.clock, world.nodes, world.creator, lambda _entries, _steps: None)
        state = Network(*wired, unsealer=world.unsealer).run()
        world.model.load_state(world.reader.fetch_state(state.digest))
        merged = measure(world)
        return {
            "seed": seed,
            "base": base,
            "global": merged,
            "digest": state.digest.hex(),
            **train_rivals(world, setting),
        }


def train_rivals(world: World, setting: Setting) -> Line:
    """Train without the protocol, from the same start, the same steps."""
    config, shares = world.config, [each.train for each in world.holdings]
    steps = config.train.steps * world.ledger.get_genesis().rules.rounds

    def train(kind: str, rows: Any, steps: int) -> Losses:
        rate = setting.rates[kind]
        settings = TrainSettings(steps, config.train.batch_size, rate.first, config.max_length)
        multiplier = partial(rate.compute_multiplier, steps=steps)
        trained = train_plain(world.model, get_start(world), rows, settings, config.seed, multiplier=multiplier)
        write_adapter(world.model, trained)
        return measure(world)

    alone = {name: train("alone", rows, steps) for name, rows in zip(world.domains, shares, strict=True)}
    return {"alone": alone, "pooled": train("pooled", list(chain.from_iterable(shares)), steps * len(shares))}


def measure(world: World) -> Losses:
    """Measure the model as it stands, by domain."""
    settings = EvaluationSettings(max_length=world.config.max_length)
    return {name: compute_loss(world.model, rows, settings) for name, rows in world.report_rows.items()}


def play_all(setting: Setting, seeds: Sequence[int], file: Path | None) -> list[Line]:
    """Give every seed's line: from the file, or played."""
    key = sha256(repr(setting).replace(str(SHARED), "shared").encode()).hexdigest()[:16]  # wherever this stands
    lines = [json.loads(line) for line in file.read_text().splitlines()] if file and file.exists() else []
    known = {line["seed"]: line for line in lines if line["key"] == key}
    for seed in seeds:
        if seed not in known:
            known[seed] = {"key": key, **play(setting, seed)}
            if file:
                file.parent.mkdir(parents=True, exist_ok=True)
                with file.open("a") as out:
                    out.write(json.dumps(known[seed]) + "\n")
            print(
                f"seed {seed}: macro {macro(known[seed]['base']):.3f} -> {macro(known[seed]['global']):.3f}", flush=True
            )
    return [known[seed] for seed in seeds]


def macro(losses: Losses) -> float:
    """Average over domains."""
    return sum(losses.values()) / len(losses)


def compare(lines: Sequence[Line]) -> dict[str, dict[str, Interval]]:
    """Compare the global adapter with each rival."""
    domains = list(lines[0]["base"])
    return {
        "macro loss below that of each alone": {
            name: compute_bootstrap([macro(line["alone"][name]) - macro(line["global"]) for line in lines])
            for name in domains
        },
        "loss at home over that of each alone": {
            name: compute_bootstrap([line["global"][name] / line["alone"][name][name] - 1 for line in lines])
            for name in domains
        },
        "gain over 95 % of the pooled one's": {
            "macro": compute_bootstrap(
                [get_gain(line, "global") - GOAL_POOLED * get_gain(line, "pooled") for line in lines]
            )
        },
    }


def get_gain(line: Line, kind: str) -> float:
    """Give by how much an adapter lowers the base's macro loss."""
    return macro(line["base"]) - macro(line[kind])


def list_goals(lines: Sequence[Line], compared: Mapping[str, Mapping[str, Interval]]) -> list[Goal]:
    """Decide by the bounds that speak against us: the worst domain's, and the whole's."""
    better, home, pooled = compared.values()
    low = min(interval.low for interval in better.values())
    high = max(interval.high for interval in home.values())
    share = sum(get_gain(line, "global") for line in lines) / sum(get_gain(line, "pooled") for line in lines)
    reached = pooled["macro"].low >= 0
    return [
        Goal("macro loss below that of each adapter alone, lower bound of the closest", low, "> 0", low > 0),
        Goal(
            "loss at home over that of the adapter alone, upper bound of the worst", high, "<= 0.02", high <= GOAL_HOME
        ),
        Goal("share of the pooled adapter's gain (met by the bound of the difference)", share, ">= 0.95", reached),
    ]


def show(lines: Sequence[Line], compared: Mapping[str, Mapping[str, Interval]]) -> None:
    """Print mean losses, and the comparisons."""
    domains = list(lines[0]["base"])
    kinds = {kind: [line[kind] for line in lines] for kind in ("base", "global", "pooled")}
    kinds |= {f"{name} alone": [line["alone"][name] for line in lines] for name in domains}
    rows = []
    for kind, losses in kinds.items():
        means = {name: sum(each[name] for each in losses) / len(losses) for name in domains}
        rows.append((kind, *(f"{value:.3f}" for value in means.values()), f"{macro(means):.3f}"))
    show_table(f"Loss on test rows, mean of {len(lines)} seeds", ("adapter", *domains, "macro"), rows)
    for title, intervals in compared.items():
        rows = [
            (name, f"{each.point:+.4f}", f"{each.low:+.4f}", f"{each.high:+.4f}") for name, each in intervals.items()
        ]
        show_table(title, ("", "mean", "low", "high"), rows)


def main() -> None:
    """Play; print tables and goals."""
    args = parse_arguments(__doc__)
    setting, seeds = (SKILLS, QUICK_SEEDS) if args.quick else (REAL, SEEDS)
    lines = play_all(setting, seeds, args.json.with_suffix(".jsonl") if args.json else None)
    compared = compare(lines)
    show(lines, compared)
    bounds = {title: {name: vars(each) for name, each in intervals.items()} for title, intervals in compared.items()}
    finish(args, list_goals(lines, compared), {"setting": asdict(setting), "seeds": lines, "compared": bounds})


if __name__ == "__main__":
    main()
