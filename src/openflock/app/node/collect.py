"""Remove blobs that nobody needs any more from what this machine holds."""

from contextlib import closing
from pathlib import Path

import typer

from openflock.app.node.ground import Plan, open_task
from openflock.edge.blobs import DirectoryStore
from openflock.edge.stores import open_store
from openflock.protocol.needed import list_needed
from openflock.protocol.replay import Replica
from openflock.protocol.rules import compute_phase_times


def collect_blobs(plan: Plan, directory: Path) -> None:
    """Keep what the task still needs and what is younger than two rounds; print how many bytes the rest had."""
    chain = open_task(plan, {}, None)
    genesis = chain.state.genesis
    age = 2 * sum(compute_phase_times(genesis.rules))
    needed = list_needed(genesis, Replica(genesis).follow(chain.ledger.read(0)))
    with closing(open_store(plan.store, directory / "cache")) as store:
        freed = store.collect(needed, age)
    if (directory / "outbox").is_dir():
        freed += DirectoryStore(directory / "outbox", private=True).collect((), age)
    typer.echo(f"removed {freed:,} bytes; kept {len(needed)} blobs of the task and all younger than {age} s")
