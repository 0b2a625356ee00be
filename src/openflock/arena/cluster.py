"""Run cells on the machines of a Ray cluster; each must have the same openflock, and a base or data at the same path.

Ray runs whatever it is sent, by whoever reaches it: a cluster of one's own machines, never of other parties'.
"""

import os
from collections.abc import Iterator, Sequence

from openflock.arena.cells import Record, compute_cell_digest, run_cell
from openflock.arena.settings import Cell


class ClusterError(ValueError):
    """A cluster that cannot be used."""


def run_on_cluster(cells: Sequence[Cell], address: str) -> Iterator[Record]:
    """Run cells, one a processor, on the cluster at an address (`auto`, HOST:PORT), and give records as they end.

    A machine that is lost has its cells run again elsewhere. ClusterError if there is no cluster, or if a machine
    answers for another cell than it was asked for: its openflock is another one.
    """
    if not cells:
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # what is measured here is nobody else's to know
    try:
        import ray  # an extra, and slow to load
    except ModuleNotFoundError as error:
        raise ClusterError("arena: --ray needs Ray: pip install 'openflock[ray]'") from error
    try:
        ray.init(address=address, log_to_driver=False, include_dashboard=False if address == "local" else None)
    except (ConnectionError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise ClusterError(f"arena: no Ray cluster at {address}: {reason}; ray start --head begins one") from error
    work = ray.remote(num_cpus=1)(run_cell)
    pending = {work.remote(cell): compute_cell_digest(cell) for cell in cells}
    try:
        while pending:
            [done], _ = ray.wait(list(pending), num_returns=1)
            record, asked = ray.get(done), pending.pop(done)
            if record["cell"] != asked:
                raise ClusterError(f"arena: a machine of {address} has another openflock: install the same on all")
            yield record
    finally:
        for reference in pending:
            ray.cancel(reference, force=True)
        ray.shutdown()
