"""Does cheating pay? The whole protocol on the specification, cheats of every kind, measured scores instead of models.

Each line of the JSONL beside the JSON is one task: a scenario, a seed, what each role earned, lost and spent. What is
there already for the same rules, recipe and figures is not played again, so an interrupted run resumes. Amounts are
tokens a round for each 100 tokens at stake. `over honesty` is the profit less that of the same seats, held honestly, on
the same seed. `merged` is the share of rounds that moved the state, `rejected` that of honest proposals that were not
merged.

The full form plays 1,000 rounds on 20 seeds: a little over an hour on 2 cores. Stopped by Ctrl-C it reports on the
seeds that are whole.
"""

import json
import os
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Any

from _harness import Goal, finish, parse_arguments, show_table

from openflock.app.settings import DEFAULT_RULES, complete_recipe
from openflock.arena.economy.profits import Finding, demand_all, describe, find_all, open_market, to_line
from openflock.arena.economy.scenarios import SCENARIOS, Scenario
from openflock.arena.economy.scene import Figures
from openflock.arena.statistics import Interval
from openflock.edge.processes import Executor
from openflock.protocol.recipe import describe_recipe

SEEDS, ROUNDS = range(100, 120), 1000
QUICK_SEEDS, QUICK_ROUNDS = range(100, 103), 32
FIGURES = Figures()
RECIPE = complete_recipe({"memory": 0})  # of a recipe only shares and clips count here

Job = tuple[Scenario, int, int]  # with seed and rounds


def run(job: Job) -> dict[str, Any]:
    """Play one task."""
    scenario, seed, rounds = job
    played = open_market(scenario, DEFAULT_RULES, RECIPE, rounds, seed, FIGURES).run()
    return {**describe(scenario, played, rounds, seed), "key": get_key(job)}


def get_key(job: Job) -> str:
    """Name all that a line depends on but the code."""
    scenario, seed, rounds = job  # by name: a strategy's functions print another address in each process
    said = (
        scenario.name,
        scenario.rules,
        scenario.figures,
        seed,
        rounds,
        sorted(DEFAULT_RULES.items()),
        describe_recipe(RECIPE),
        FIGURES,
    )
    return sha256(repr(said).encode()).hexdigest()[:16]


def run_all(jobs: list[Job], file: Path | None) -> Iterator[dict[str, Any]]:
    """Give every task's line: from the file, or played, on all cores that this process may use."""
    kept = [json.loads(line) for line in file.read_text().splitlines()] if file and file.exists() else []
    wanted = {get_key(job) for job in jobs}
    yield from (line for line in kept if line["key"] in wanted)
    missing = [job for job in jobs if get_key(job) not in {line["key"] for line in kept}]
    with Executor(len(os.sched_getaffinity(0))) as executor:
        for done, future in enumerate([executor.submit(run, job) for job in missing], 1):
            line = future.result()
            if file:
                file.parent.mkdir(parents=True, exist_ok=True)
                with file.open("a") as lines:
                    lines.write(json.dumps(line) + "\n")
            if done % 20 == 0:
                print(f"{done} of {len(missing)} tasks", flush=True)
            yield line


def show(findings: list[Finding]) -> None:
    """Print what each role earned."""
    heads = ("scenario", "role", "earned", "lost", "work", "profit", "over honesty", "merged", "rejected")
    rows = [
        (each.scenario, each.role, f"{each.earned.point:.2f}", f"{each.lost.point:.2f}", f"{each.cost.point:.2f}",
         *(write(interval) for interval in (each.profit, each.advantage)),
         f"{each.merged:.0%}", f"{each.rejected:.1%}")
        for each in findings
    ]  # fmt: skip
    show_table("Tokens a round for each 100 at stake (95 % intervals over seeds)", heads, rows)


def write(interval: Interval | None) -> str:
    """Write an estimate with its interval."""
    return f"{interval.point:.2f} ({interval.low:.2f}, {interval.high:.2f})" if interval else ""


def main() -> None:
    """Play; print table and goals."""
    args = parse_arguments(__doc__)
    seeds, rounds = (QUICK_SEEDS, QUICK_ROUNDS) if args.quick else (SEEDS, ROUNDS)
    lines: defaultdict[str, dict[int, dict[str, Any]]] = defaultdict(dict)
    # All scenarios of a seed before the next seed: what is there of an interrupted run can be compared.
    jobs = [(scenario, seed, rounds) for seed in seeds for scenario in SCENARIOS]
    try:
        for line in run_all(jobs, args.json.with_suffix(".jsonl") if args.json else None):
            lines[line["scenario"]][line["seed"]] = line
    except KeyboardInterrupt:
        print("stopped: what follows is of the seeds that were played whole")
    whole = [seed for seed in seeds if all(seed in lines[scenario.name] for scenario in SCENARIOS)]
    if not whole:
        sys.exit("economics: no seed was played whole yet; run the same command again, it goes on where it was")
    findings = find_all({name: {seed: played[seed] for seed in whole} for name, played in lines.items()})
    show(findings)
    cheats = [each for each in findings if each.advantage]
    losing = sum(each.profit.high < 0 for each in cheats)
    print(f"{losing} of {len(cheats)} cheating strategies end below what staying away would leave them.")
    goals = [Goal(**asdict(demand)) for demand in demand_all(findings)]
    results = {
        "rounds": rounds,
        "seeds": whole,
        "figures": asdict(FIGURES),
        "rules": DEFAULT_RULES,
        "recipe": describe_recipe(RECIPE),
    }
    finish(args, goals, results | {"findings": [to_line(each) for each in findings]})


if __name__ == "__main__":
    main()
