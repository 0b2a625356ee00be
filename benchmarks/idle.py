"""What does a node cost that waits?

One `openflock node run` process, over Anvil (a block a second), has proposed and waits a day for others that are gone;
it looks at the chain every second. Its processor seconds and the growth of its memory, once it has warmed up. Then: how
long from the start of a process until it has caught up and is ready; and how long `openflock --help` takes:
at best too, since whatever else the machine does only adds to it.
"""

import json
import subprocess
import time as wall
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import psutil
from _harness import MIB, Goal, finish, parse_arguments, show_table
from _network import OPENFLOCK, Network, Seat, start_network, wait_for

from openflock.app.settings import parse_config
from openflock.app.task.view import read_standing
from openflock.protocol.types import Phase

LONG, QUICK = 600.0, 60.0  # seconds of waiting
WARM_UP = 30.0  # seconds after which memory counts
LOOKS = 10  # at the memory, evenly
STARTS, HELPS = 3, 5
SHARE, GROWTH, HELP = 0.01, 5.0, 0.5  # goals: of a core, MiB, seconds
READY = 240.0

CONFIG: dict[str, Any] = {
    "title": "Idle", "domains": ["reverse", "shift"], "nodes_per_domain": 2, "max_length": 64, "rank": 2, "alpha": 8,
    "train": {"steps": 3, "batch_size": 4}, "stake": 200, "rules": {"min_nodes": 3, "gather": 20, "propose": 86_400},
}  # fmt: skip


def wait_alone(network: Network) -> Seat:
    """Leave one node of three alone with a round, as soon as all have joined."""
    seat, *others = network.seats
    wait_for(lambda: read_standing(network.web3, network.task)["members"] == len(network.seats), READY, "three nodes")
    for other in others:
        other.kill()
    wait_for(lambda: network.get_place()[1] == Phase.PROPOSE, READY, "the draw")
    return seat


def idle(seat: Seat, seconds: float) -> dict[str, Any]:
    """Let a node wait; give its share of a core, and its memory at even times."""
    assert seat.process is not None
    process = psutil.Process(seat.process.pid)
    wall.sleep(WARM_UP)
    before, began = sum(process.cpu_times()[:2]), wall.monotonic()
    memory = [measure_memory(process)]
    for _ in range(LOOKS):
        wall.sleep(seconds / LOOKS)
        memory.append(measure_memory(process))
    spent, passed = sum(process.cpu_times()[:2]) - before, wall.monotonic() - began
    return {"seconds": passed, "cpu_seconds": spent, "share": spent / passed, "memory_mib": memory}


def measure_memory(process: psutil.Process) -> float:
    """Measure what a process holds by itself, in MiB."""
    return float(process.memory_full_info().uss / MIB)


def restart(network: Network, seat: Seat) -> float:
    """Kill a node, start it, and measure how long it takes until it says that it is ready."""
    seat.kill()
    ready = seat.count_lines("ready")
    began = wall.monotonic()
    seat.start(network.environment)
    wait_for(lambda: seat.count_lines("ready") > ready, READY, "a node to be ready")
    return wall.monotonic() - began


def measure_help() -> float:
    """Measure how long the first thing that anybody runs takes."""
    began = wall.monotonic()
    subprocess.run([str(OPENFLOCK), "--help"], capture_output=True, check=True)
    return wall.monotonic() - began


def main() -> None:
    """Measure, print and set the goals."""
    args = parse_arguments(__doc__)
    with (
        TemporaryDirectory(prefix="openflock-idle-") as temporary,
        start_network(parse_config(CONFIG), Path(temporary), 3, 0, 1, 1) as network,
    ):
        seat = wait_alone(network)
        found = idle(seat, QUICK if args.quick else LONG)
        starts = [restart(network, seat) for _ in range(STARTS)]
    helps = [measure_help() for _ in range(HELPS)]
    grown = found["memory_mib"][-1] - found["memory_mib"][0]
    rows = [
        ("share of a core", f"{100 * found['share']:.2f} %"),
        ("memory at first, MiB", f"{found['memory_mib'][0]:.1f}"),
        ("memory, most it grew, MiB", f"{max(found['memory_mib']) - found['memory_mib'][0]:.2f}"),
        ("from start to ready, s (at best)", f"{median(starts):.2f} ({min(starts):.2f})"),
        ("openflock --help, s (at best)", f"{median(helps):.2f} ({min(helps):.2f})"),
    ]
    show_table(f"{found['seconds']:.0f} s of waiting", ("", "measured"), rows)
    print(json.dumps(found["memory_mib"]))
    goals = [
        Goal("idle node: share of a core", found["share"], f"< {SHARE}", found["share"] < SHARE),
        Goal("idle node: memory grown, MiB", grown, f"< {GROWTH}", grown < GROWTH),
        Goal("openflock --help, seconds at best", min(helps), f"< {HELP}", min(helps) < HELP),
    ]
    finish(args, goals, {"idle": found, "starts": starts, "helps": helps})


if __name__ == "__main__":
    main()
