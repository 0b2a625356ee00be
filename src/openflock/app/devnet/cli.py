"""A local network of real processes: `openflock devnet`."""

import json
import signal
from pathlib import Path
from typing import Annotated, Literal

import typer

from openflock.app.console import loading, make_console

commands = typer.Typer(
    help="Run a whole network on this machine, each node a process of its own.", no_args_is_help=True
)

Out = Annotated[Path, typer.Option("--out", help="Directory of the devnet: blobs, nodes, logs, devnet.json.")]
OUT = Path("runs/devnet")


@commands.command()
def up(
    out: Out = OUT,
    nodes: Annotated[int, typer.Option(min=3, max=32, help="How many node processes.")] = 6,
    rounds: Annotated[int, typer.Option(min=1, help="How many rounds.")] = 4,
    store: Annotated[
        Literal["directory", "s3", "torrent"], typer.Option(help="How blobs travel: all on this machine.")
    ] = "directory",
    block_time: Annotated[float, typer.Option(min=0.1, help="Seconds between two blocks.")] = 1,
    confirmations: Annotated[int, typer.Option(min=0, help="Blocks that must lie above what nodes believe.")] = 0,
    config: Annotated[Path | None, typer.Option(help="TOML file; configs/devnet.toml, if none is given.")] = None,
    changes: Annotated[list[str] | None, typer.Option("--set", help="key=value over the configuration.")] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Start anew where an earlier devnet ended.")] = False,
) -> None:
    """Start a chain, a task and its nodes, show them until the task is over, audit it, and end them all.

    The chain lives in memory: what is interrupted cannot be gone on with, only started anew.
    """
    with loading():
        from openflock.app.devnet.network import Plan, run_devnet

    plan = Plan(out, nodes, rounds, store, block_time, confirmations, config, tuple(changes or ()), fresh)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends as Ctrl-C does
    try:
        well = run_devnet(plan, make_console())
    except KeyboardInterrupt as error:
        typer.echo(f"interrupted: all that was started has ended; to start anew: --fresh --out {out}", err=True)
        raise SystemExit(130) from error  # said here already
    if not well:
        raise typer.Exit(1)


@commands.command()
def status(
    out: Out = OUT, as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False
) -> None:
    """Say how a devnet stands, or what came of it."""
    with loading():
        from openflock.app.devnet.status import describe_devnet, show_devnet

    found = describe_devnet(out)
    if as_json:
        typer.echo(json.dumps(found))
    else:
        show_devnet(found, make_console())


@commands.command()
def down(out: Out = OUT) -> None:
    """End the processes that a devnet started, and only those; its files stay."""
    with loading():
        from openflock.app.devnet.record import Record, end_all

    record = Record(out)
    ended = end_all(record.read())
    typer.echo(f"ended {', '.join(ended)}" if ended else f"nothing of {out} runs")
