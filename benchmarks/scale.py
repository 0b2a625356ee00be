"""What does a task of 100, 300 and 1,000 virtual nodes cost on this machine, and what does a second process save?

All that `openflock simulate` does: stakes, sortition from all nodes (16 proposers, 31 voters), real training on the
built-in base, every update judged by every voter, journal, blobs and log on the disk. Each task runs in a process of
its own with one torch thread; memory is that of all its processes. A task plays two rounds, and the second is
reported: in the first, caches and worker processes are cold. The same task on the embedded EVM gives gas and calldata.

The speed-up compares the second round's seconds with one and with two processes, in turns. No program can beat the
machine, so beside it stands what two independent tasks at once gain over two in a row: 2 on two idle cores.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from _harness import Goal, Run, finish, parse_arguments, run_process, show_table

CHILD = Path(__file__).with_name("_virtual.py")
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
SIZES, QUICK_SIZES = (100, 300, 1000), (20, 60)
PAIRS, QUICK_PAIRS = 5, 1
PAIRED, QUICK_PAIRED = 100, 20  # nodes of the speed-up's tasks, and of the chain's
ROUNDS = 2
GOAL_SPEED_UP = 1.8


def play(nodes: int, jobs: int = 1, ledger: str = "spec") -> tuple[Run, dict[str, Any]]:
    """Play one task in a process of its own."""
    command = [sys.executable, str(CHILD), str(nodes), str(jobs), str(ROUNDS), ledger]
    run = run_process(command, ENVIRONMENT)
    (line,) = (line for line in run.output.splitlines() if line.startswith('{"build_seconds"'))
    return run, json.loads(line)


def measure(nodes: int) -> dict[str, Any]:
    """Measure a task of one size."""
    run, played = play(nodes)
    joined, last = played["gathering"][0], played["playing"][-1]
    return {
        "nodes": nodes,
        "peak_mib": run.peak_mib,
        "build_seconds": played["build_seconds"],
        "join_seconds": joined["seconds"],
        "join_cpu_seconds": joined["cpu_seconds"],
        "join_bytes": joined["log_bytes"],
        "round_seconds": last["seconds"],
        "round_cpu_seconds": last["cpu_seconds"],
        "round_bytes": last["log_bytes"],
        "shares": {name: last[name] / last["seconds"] for name in ("training", "evaluation", "protocol")},
        "protocol_seconds": last["protocol"],
        "idle_seconds": played["idle_seconds"],
    }


def measure_speed_up(nodes: int, pairs: int) -> dict[str, Any]:
    """Play the same task with one process and with two, in turns; then two tasks at once."""
    seconds: dict[int, list[float]] = {1: [], 2: []}
    digests, loads = set(), []
    for _ in range(pairs):
        for jobs, found in seconds.items():
            loads.append(os.getloadavg()[0])
            _, played = play(nodes, jobs)
            found.append(played["playing"][-1]["seconds"])
            digests.add(tuple(played["digests"]))
    ratios = [one / two for one, two in zip(seconds[1], seconds[2], strict=True)]
    with ThreadPoolExecutor(2) as both:
        beside = [played["playing"][-1]["seconds"] for _, played in both.map(play, (nodes, nodes))]
    return {
        "nodes": nodes,
        "seconds": seconds,
        "ratios": ratios,
        "speed_up": median(ratios),
        "ceiling": 2 * median(seconds[1]) / max(beside),
        "same_digests": len(digests) == 1,
        "load_before": loads,
    }


def measure_chain(nodes: int) -> dict[str, Any]:
    """Play a task on the embedded EVM."""
    start = time.perf_counter()
    _, played = play(nodes, ledger="evm")
    return {"nodes": nodes, "seconds": time.perf_counter() - start, **played["chain"]}


def show_part(name: str, each: dict[str, Any]) -> str:
    """Write the share of a round that goes into a part of it."""
    return f"{each['shares'][name]:.0%}"


def show(sizes: Sequence[dict[str, Any]], speed: dict[str, Any], chain: dict[str, Any]) -> None:
    """Print what each size takes."""
    columns: dict[str, Callable[[dict[str, Any]], str]] = {
        "all joining (s)": lambda each: f"{each['join_seconds']:.1f}",
        "a round (s)": lambda each: f"{each['round_seconds']:.1f}",
        "processor seconds": lambda each: f"{each['round_cpu_seconds']:.1f}",
        **{name: partial(show_part, name) for name in sizes[0]["shares"]},
        "an idle node's look (µs)": lambda each: f"{each['idle_seconds'] * 1e6:.0f}",
        "memory (MiB)": lambda each: f"{each['peak_mib']:.0f}",
        "log: joining (kB)": lambda each: f"{each['join_bytes'] / 1e3:.0f}",
        "log: a round (kB)": lambda each: f"{each['round_bytes'] / 1e3:.0f}",
    }
    rows = [(name, *(write(each) for each in sizes)) for name, write in columns.items()]
    show_table("A task on one process", ("", *(f"{each['nodes']:,} nodes" for each in sizes)), rows)
    rows = [
        (name, f"{chain[name]['transactions']:,}", f"{chain[name]['gas']:,}", f"{chain[name]['calldata_bytes']:,}")
        for name in ("joining", "rounds")
    ]
    title = f"{chain['nodes']} nodes and {ROUNDS} rounds on the embedded EVM, in {chain['seconds']:.0f} s"
    show_table(title, ("", "transactions", "gas", "calldata bytes"), rows)
    print(f"Two processes for one: {speed['speed_up']:.2f}x; two tasks at once gain {speed['ceiling']:.2f}x here.")


def list_goals(sizes: Sequence[dict[str, Any]], speed: dict[str, Any]) -> list[Goal]:
    """Decide what is fast enough, and what grows too fast."""
    first, last = sizes[0], sizes[-1]
    grown = last["nodes"] / first["nodes"]
    joining = last["join_cpu_seconds"] / first["join_cpu_seconds"] / grown
    protocol = last["protocol_seconds"] / first["protocol_seconds"] / grown
    value, ceiling = speed["speed_up"], speed["ceiling"]
    name = f"speed-up from 1 to 2 processes, where the machine allows {ceiling:.2f}"
    between = f"from {first['nodes']:,} to {last['nodes']:,} nodes, over linear"
    return [
        Goal(name, value, f">= {GOAL_SPEED_UP}", value >= GOAL_SPEED_UP),
        Goal("digests with one process and with two are the same", speed["same_digests"], "yes", speed["same_digests"]),
        Goal(f"growth of joining, {between}", joining, "<= 1.5", joining <= 1.5),
        Goal(f"growth of a round's protocol, {between}", protocol, "<= 1", protocol <= 1),
    ]


def main() -> None:
    """Measure; print tables and goals."""
    args = parse_arguments(__doc__)
    load = os.getloadavg()[0]
    sizes = [measure(nodes) for nodes in (QUICK_SIZES if args.quick else SIZES)]
    paired = QUICK_PAIRED if args.quick else PAIRED
    speed = measure_speed_up(paired, QUICK_PAIRS if args.quick else PAIRS)
    chain = measure_chain(paired)
    show(sizes, speed, chain)
    results = {"load_at_start": load, "sizes": sizes, "speed_up": speed, "chain": chain}
    finish(args, list_goals(sizes, speed), results)


if __name__ == "__main__":
    main()
