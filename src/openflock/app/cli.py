"""The command line. Heavy libraries are imported by the command that needs them, so that `--help` is quick."""

import json
import os
import sys
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from openflock.app import wallet_cli
from openflock.app.console import loading, make_console
from openflock.app.devnet import cli as devnet_cli
from openflock.app.node import cli as node_cli
from openflock.app.task import cli as task_cli

if TYPE_CHECKING:
    from openflock.app.source import Source

INTERRUPTED = 130
DEMO_OUT = Path("runs/demo")

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(wallet_cli.commands, name="wallet")
app.add_typer(task_cli.commands, name="task")
app.add_typer(node_cli.commands, name="node")
app.add_typer(devnet_cli.commands, name="devnet")
Out = Annotated[Path, typer.Option("--out", help="Run directory; an unfinished run in it is resumed.")]
Changes = Annotated[list[str] | None, typer.Option("--set", help="key=value over the configuration; repeatable.")]
# Where a task is, for who has no run directory of it.
Task = Annotated[str | None, typer.Option(help="Address of a task on a chain, instead of DIR.")]
Rpc = Annotated[
    str | None, typer.Option(envvar="OPENFLOCK_RPC", help="JSON-RPC URL of that chain; several with commas between.")
]
Store = Annotated[str | None, typer.Option(help="The task's blob store: a directory, s3://, torrent://...")]
Confirmations = Annotated[int, typer.Option(min=0, help="Blocks that must lie above what is believed.")]
Cache = Annotated[Path | None, typer.Option(help="Directory that keeps what a remote store gives.")]
Base = Annotated[str | None, typer.Option(help="Directory or hub id of the base; else the job's.")]


def show_version(wanted: bool) -> None:
    """Print the version and leave."""
    if wanted:
        typer.echo(f"openflock {version('openflock')}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def start(
    context: typer.Context,
    _version: Annotated[bool, typer.Option("--version", callback=show_version, is_eager=True)] = False,
) -> None:
    """Fine-tune one language model together with parties whom you need not trust."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command()
def demo(out: Out = DEMO_OUT) -> None:
    """Run a real task end to end on this machine: twelve nodes, four skills, one attacker; then audit it."""
    with loading():
        from openflock.app.demo import run_demo

    run_demo(out, make_console())


@app.command()
def simulate(
    config: Annotated[Path, typer.Argument(help="TOML file; see configs/.")],
    out: Out,
    changes: Changes = None,
    jobs: Annotated[int, typer.Option(min=1, help="Processes that train and judge; each loads the base.")] = 1,
) -> None:
    """Run any task on this machine; resumes if DIR holds an unfinished one."""
    from openflock.app.settings import load_config

    parsed = load_config(config, changes or ())
    with loading():
        from openflock.app.simulate import simulate as run_simulation

    run_simulation(parsed, out, make_console(), jobs)


@app.command()
def arena(
    config: Annotated[Path, typer.Argument(help="TOML file of a grid; see configs/arena_smoke.toml.")],
    out: Annotated[Path, typer.Option("--out", help="Directory; cells that are in it already are not run again.")],
    changes: Changes = None,
    jobs: Annotated[int, typer.Option(min=1, help="Processes, of one thread each.")] = os.cpu_count() or 1,
    ray: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Run on this Ray cluster (`auto`, HOST:PORT) instead.")
    ] = None,
    report_only: Annotated[bool, typer.Option("--report-only", help="Run nothing; report on what is there.")] = False,
    economics: Annotated[Path | None, typer.Option(help="JSON of benchmarks/economics.py, to report profits.")] = None,
    check: Annotated[int | None, typer.Option(min=1, help="Run N of DIR's cells again, and compare.")] = None,
    seed: Annotated[int, typer.Option(help="Which cells --check draws.")] = 0,
) -> None:
    """Play attacks against defences, and report what each did; resumes what DIR holds."""
    with loading():
        from openflock.app.arena import (
            check_arena,
            choose_run,
            load_earnings,
            load_grid,
            run_arena,
            run_nothing,
            write_results,
        )

    if ray is not None and (report_only or check is not None):
        raise typer.BadParameter("--ray goes with neither --check nor --report-only, which run here")
    grid, console, earnings = load_grid(config, changes or ()), make_console(), load_earnings(economics)
    if check is not None:
        raise typer.Exit(0 if check_arena(grid, out / "runs.jsonl", check, seed, console) else 1)
    run = run_nothing if report_only else choose_run(jobs, ray)
    write_results(grid, run_arena(grid, out, run, console), out, console, earnings)


@app.command()
def audit(
    context: typer.Context,
    run: Annotated[Path | None, typer.Argument(metavar="[DIR]", help="A run directory.")] = None,
    task: Task = None,
    rpc: Rpc = None,
    store: Store = None,
    confirmations: Confirmations = 0,
    cache: Cache = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Replay a task from its log and blobs; exit 0, or 1 and the first thing that differs."""
    with loading():
        from openflock.app.auditing import run_audit

    result = run_audit(find_source(context, run, task, rpc, store, confirmations, cache), make_console(quiet=as_json))
    if as_json:
        typer.echo(json.dumps(result))
    if not result["clean"]:
        raise typer.Exit(1)


@app.command()
def export(
    context: typer.Context,
    paths: Annotated[list[Path], typer.Argument(metavar="[DIR] OUT", help="A run directory, and where to write.")],
    task: Task = None,
    rpc: Rpc = None,
    store: Store = None,
    confirmations: Confirmations = 0,
    cache: Cache = None,
    base: Base = None,
) -> None:
    """Write the global state of a run, or of a task on a chain, as a PEFT adapter."""
    with loading():
        from openflock.app.exporting import export_task

    *runs, out = paths
    if len(runs) > 1:
        raise typer.BadParameter(f"give one run directory, and one to write; these are {len(paths)}")
    if not runs and task is None and (out / "run.json").exists():
        raise typer.BadParameter(f"name where to write: openflock export {out} OUT")
    run = runs[0] if runs else None
    export_task(find_source(context, run, task, rpc, store, confirmations, cache), out, base, make_console())


@app.command()
def chat(
    context: typer.Context,
    run: Annotated[Path | None, typer.Argument(metavar="[DIR]", help="A run directory.")] = None,
    task: Task = None,
    rpc: Rpc = None,
    store: Store = None,
    confirmations: Confirmations = 0,
    cache: Cache = None,
    base: Base = None,
    say: Annotated[str | None, typer.Option(help="Say one thing, print the answer, and leave.")] = None,
    tokens: Annotated[int, typer.Option(min=1, help="Longest answer.")] = 128,
) -> None:
    """Talk to the model of a run, or of a task on a chain."""
    with loading():
        from openflock.app.chat import run_chat

    run_chat(find_source(context, run, task, rpc, store, confirmations, cache), base, say, tokens, make_console())


@app.command()
def doctor() -> None:
    """Say what is missing on this machine, and how to mend it."""
    with loading():
        from openflock.app.doctor import run_doctor

    if not run_doctor(make_console()):
        raise typer.Exit(1)


def find_source(
    context: typer.Context,
    run: Path | None,
    task: str | None,
    rpc: str | None,
    store: str | None,
    confirmations: int,
    cache: Path | None,
) -> "Source":
    """Say where a command's task is: in a run directory, or where its options say."""
    from openflock.app.rundir import RunDirectory
    from openflock.app.settings import SettingsError
    from openflock.app.source import OnChain

    source = context.get_parameter_source("rpc")  # in the environment it may stand for other commands
    if run is not None and not (task or store or (source and source.name == "COMMANDLINE")):
        return RunDirectory(run)
    if run is None and task and rpc and store:
        return OnChain(task, rpc, store, confirmations, cache)
    raise SettingsError(f"{context.info_name}: give a run directory, or --task, --rpc and --store")


def run_command() -> int:
    """Run the command and give its exit code; raise KeyboardInterrupt, of which typer makes an exit code."""
    code = int(app(standalone_mode=False) or 0)
    if code == INTERRUPTED:
        raise KeyboardInterrupt
    return code


def run_crew() -> None:
    """Run the command in the leader, while its followers share the model's passes."""
    from openflock.learn.crew import dismiss, follow, get_number
    from openflock.learn.model import load_model

    if get_number() > 0:
        follow(load_model)
        return
    code = run_command()
    dismiss()  # not after an error: the others may be amid a pass, and the launcher ends them
    sys.exit(code)


def main() -> None:
    """Run a command; what a user can mend ends in one line and exit code 2, an OSError's too.

    Of the processes that a launcher starts (torchrun), only the leader runs the command; see docs/large-models.md.
    """
    from openflock.app.failures import explain

    try:
        if "WORLD_SIZE" in os.environ:
            run_crew()
        else:
            sys.exit(run_command())
    except (KeyboardInterrupt, typer.Abort):
        typer.echo("interrupted; run the same command again to go on", err=True)
        sys.exit(INTERRUPTED)
    except Exception as error:
        reason = explain(error)
        if reason is None:
            raise
        typer.echo(f"openflock: {reason}", err=True)
        sys.exit(2)
