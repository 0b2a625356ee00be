"""Run cells on the machines of a Ray cluster; each must have the same openflock, and a base or data at the same path.

Ray runs whatever it is sent, by whoever reaches it: a cluster of one's own machines, never of other parties'.
"""

import os
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from typing import Final

from openflock.arena.cells import Record, run_cell
from openflock.arena.settings import Cell

AHEAD: Final = 1024  # cells that are with the cluster at a time


class ClusterError(ValueError):
    """A cluster that cannot be used."""


def run_on_cluster(cells: Sequence[Cell], address: str) -> Iterator[Record]:
    """Run cells, one a processor, on the cluster at an address (`auto`, HOST:PORT), and give records as they end.

    A machine that is lost has its cells run again elsewhere. ClusterError if there is no cluster, if a machine cannot
    run a cell (no openflock there, say), or if it has another version of openflock. Other code of the same version is
    not noticed.
    """
    if not cells:
        return
    if not address:
        raise ClusterError("arena: --ray names no cluster; give HOST:PORT, or auto on one of its machines")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # what is measured here is nobody else's to know
    try:
        import ray  # an extra, and slow to load
    except ModuleNotFoundError as error:
        raise ClusterError("arena: --ray needs Ray: pip install '/path/to/checkout[ray]'") from error
    try:
        ray.init(address=address, log_to_driver=False)
    except (ConnectionError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise ClusterError(f"arena: no Ray cluster at {address}: {reason}; ray start --head begins one") from error
    work, waiting, running = (
        ray.remote(num_cpus=1)(run_versioned),
        list(reversed(cells)),
        list[ray.ObjectRef[tuple[str, Record]]](),
    )
    try:
        while waiting or running:
            while waiting and len(running) < AHEAD:
                running.append(work.remote(waiting.pop()))
            [done], running = ray.wait(running, num_returns=1)
            there, record = ray.get(done)
            if there != version("openflock"):
                raise ClusterError(f"arena: a machine of {address} has openflock {there}: install the same on all")
            yield record
    except ray.exceptions.RayError as error:
        reason = str(error).strip().splitlines()[-1]
        raise ClusterError(f"arena: a machine of {address} cannot run a cell: {reason}") from error
    finally:
        for reference in running:
            ray.cancel(reference, force=True)
        ray.shutdown()


def run_versioned(cell: Cell) -> tuple[str, Record]:
    """Run a cell on a machine of the cluster, and say by which openflock."""
    return version("openflock"), run_cell(cell)
