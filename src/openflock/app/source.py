"""Where a task's record is, a run directory or a chain and a store, and the global state that it has led to."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from openflock.app.rundir import RunDirectory
from openflock.app.settings import SettingsError
from openflock.edge.blobs import DirectoryStore
from openflock.edge.record import read_record
from openflock.edge.stores import Store, open_store
from openflock.node.reader import Reader
from openflock.protocol.calls import Settled
from openflock.protocol.job import MAX_JOB_SIZE, Job, decode_job
from openflock.protocol.rules import Rules
from openflock.protocol.types import Digest
from openflock.update.fixed import GlobalState


@dataclass(frozen=True)
class OnChain:
    """Where a task and its blobs are, for who knows nothing else."""

    task: str
    rpc: str
    store: str
    confirmations: int = 0
    cache: Path | None = None  # of a remote store; for the time of the command, if none is named


Source = RunDirectory | OnChain


@dataclass(frozen=True)
class Trained:
    """What a task has led to so far: its global state, of which task."""

    state: GlobalState
    digest: Digest
    job: Job
    rules: Rules


def read_trained(source: Source) -> Trained:
    """Read the last global state that was settled; the log is followed by its rules, nothing is computed again."""
    return _read_chain(source) if isinstance(source, OnChain) else _read_directory(source)


@contextmanager
def open_blobs(url: str, cache: Path | None) -> Iterator[Store]:
    """Open a store whose cache, unless one is named, is gone afterwards."""
    with TemporaryDirectory(prefix="openflock-") as temporary, closing(open_store(url, cache or Path(temporary))) as it:
        yield it


@contextmanager
def open_source(where: OnChain) -> Iterator[Store]:
    """Open a store to read what must be there already."""
    if "://" not in where.store and not Path(where.store).is_dir():
        raise SettingsError(f"--store {where.store}: no such directory")
    with open_blobs(where.store, where.cache) as store:
        yield store


def _read_directory(run: RunDirectory) -> Trained:
    run.read()  # names a directory that holds no run
    genesis, entries, _ = read_record(run.events)
    settled = [entry.item.digest for entry in entries if isinstance(entry.item, Settled)]
    last, store = settled[-1] if settled else genesis.rules.genesis, DirectoryStore(run.blobs)
    job = decode_job(store.fetch(genesis.rules.job, MAX_JOB_SIZE))
    return Trained(Reader(store).fetch_state(last), last, job, genesis.rules)


def _read_chain(where: OnChain) -> Trained:
    from openflock.app.task.view import Follower, find_task, open_chain

    with open_source(where) as store:
        web3 = open_chain(where.rpc)
        follower = Follower(web3, find_task(web3, where.task), store, where.confirmations)
        state = follower.view().state
        job = decode_job(store.fetch(state.genesis.rules.job, MAX_JOB_SIZE))
        return Trained(Reader(store).fetch_state(state.digest), state.digest, job, state.genesis.rules)
