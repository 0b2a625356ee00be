"""The demo: a real task, small enough for a laptop, then its audit."""

import tomllib
from importlib.resources import files
from pathlib import Path

from rich.console import Console

from openflock.app.auditing import run_audit
from openflock.app.rundir import RunDirectory
from openflock.app.settings import Config, parse_config
from openflock.app.simulate import simulate


def load_demo() -> Config:
    """Load the demo's configuration, which the package carries."""
    return parse_config(tomllib.loads(files("openflock").joinpath("assets/demo.toml").read_text()), name="demo.toml")


def run_demo(out: Path, console: Console) -> None:
    """Run the demo anew (or resume it), audit it, and say what to look at."""
    config, run = load_demo(), RunDirectory(out)
    if is_finished_demo(run, config):
        run.clear()
    console.print(f"[bold]{config.title}[/bold]; the contract on an embedded EVM, the nodes in this process; see {out}")
    simulate(config, out, console)
    run_audit(run, console)
    console.print(f"Next: openflock chat {out} --say 'Reverse: birds'   |   openflock audit {out}   |   {run.adapter}")


def is_finished_demo(run: RunDirectory, config: Config) -> bool:
    """Answer whether a directory holds an earlier demo, and so nothing that anybody would miss."""
    if not (run.path / "run.json").exists():
        return False
    found = run.read()
    return bool(found.get("finished")) and found.get("config", {}).get("title") == config.title
