"""Write a task's global state as a PEFT adapter."""

from pathlib import Path

from rich.console import Console

from openflock.app.bases import find_base, write_base
from openflock.app.settings import SettingsError
from openflock.app.source import Source, read_trained
from openflock.learn.export import export_adapter


def export_task(source: Source, out: Path, base: str | None, console: Console) -> None:
    """Export a task's global state into a new or empty directory; `base` is what the files name, else the job's."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise SettingsError(f"{out} is not empty; choose another directory")
    trained = read_trained(source)
    named = write_base(base or trained.job.base)
    if Path(named).is_dir():
        find_base(named, trained.job, trained.rules)
    else:
        console.print(f"not compared with the task's base: {named} is not fetched for this; the card has the digest")
    export_adapter(trained.state, out, named, trained.digest, trained.rules.base)
    console.print(f"wrote {out}: a PEFT adapter for {named}, after {trained.state.step} accepted steps", soft_wrap=True)
