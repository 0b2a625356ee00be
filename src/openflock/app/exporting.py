"""Write a run's global state as a PEFT adapter."""

from pathlib import Path

from rich.console import Console

from openflock.app.rundir import RunDirectory
from openflock.app.settings import Config, SettingsError
from openflock.app.world import locate_base
from openflock.edge.blobs import DirectoryStore
from openflock.edge.record import read_record
from openflock.learn.base import resolve_base
from openflock.learn.export import export_adapter
from openflock.protocol.calls import Settled
from openflock.protocol.types import Digest, Genesis
from openflock.update.codec import decode_state
from openflock.update.fixed import GlobalState


def read_state(run: RunDirectory) -> tuple[GlobalState, Digest, Genesis, Path]:
    """Read a run's last global state, with its digest, its task, and where its base is."""
    config = Config.model_validate(run.read().get("config", {}))
    genesis, entries, _ = read_record(run.events)
    settled = [entry.item.digest for entry in entries if isinstance(entry.item, Settled)]
    last = settled[-1] if settled else genesis.rules.genesis
    state = decode_state(DirectoryStore(run.blobs).fetch(last, 2**40))
    return state, last, genesis, resolve_base(locate_base(config))


def export_run(directory: Path, out: Path, console: Console) -> None:
    """Export the global state of a run directory into another, new or empty one."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise SettingsError(f"{out} is not empty; choose another directory")
    state, last, genesis, base = read_state(RunDirectory(directory))
    export_adapter(state, out, str(base.resolve()), last, genesis.rules.base)
    console.print(f"wrote {out}: a PEFT adapter for {base}, after {state.step} accepted steps", soft_wrap=True)
