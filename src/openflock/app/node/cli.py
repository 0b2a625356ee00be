"""One node: `openflock node`."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from openflock.app.console import loading
from openflock.app.wallet_cli import PasswordFile, read_password

if TYPE_CHECKING:
    from eth_account.signers.local import LocalAccount

commands = typer.Typer(help="Run a node of a task, ask how it does, take its stake back.", no_args_is_help=True)

Task = Annotated[str, typer.Option(help="Address of the task.")]
Rpc = Annotated[
    str,
    typer.Option(envvar="OPENFLOCK_RPC", help="JSON-RPC URL of the chain; several with commas between, for failover."),
]  # a URL may hold a key, which arguments would show to all users of the machine
Store = Annotated[str, typer.Option(help="Where the task's blobs are: a directory, s3://, http(s):// or torrent://.")]
Wallet = Annotated[Path | None, typer.Option(help="The wallet's keystore.")]
Dir = Annotated[Path | None, typer.Option("--dir", help="The node's own directory; ./node-TASK-ADDRESS if not said.")]
Confirmations = Annotated[int, typer.Option(min=0, help="Blocks that must follow before an entry counts.")]


@commands.command()
def run(
    task: Task,
    rpc: Rpc,
    store: Store,
    data: Annotated[Path | None, typer.Option(help="JSONL file with this node's rows.")] = None,
    wallet: Wallet = None,
    password_file: PasswordFile = None,
    directory: Dir = None,
    domain: Annotated[str | None, typer.Option(help="Kind of the data; else the file's or its folder's name.")] = None,
    stake: Annotated[str | None, typer.Option(help="Tokens at stake; else twice the task's minimum.")] = None,
    base: Annotated[str | None, typer.Option(help="Directory or hub id of the base; else the job's.")] = None,
    config: Annotated[Path | None, typer.Option(help="TOML file: device, threads, held_out, probe, \\[train].")] = None,
    confirmations: Confirmations = 0,
    watch: Annotated[bool, typer.Option("--watch", help="Follow without stake or wallet.")] = False,
    metrics_port: Annotated[int | None, typer.Option(help="Serve Prometheus' metrics at 127.0.0.1:PORT.")] = None,
    chest: Annotated[Path | None, typer.Option(help="Open the sealed rows kept there, as the task's creator.")] = None,
) -> None:
    """Join a task with stake and play the roles drawn; after any interruption, run the same command again."""
    if not watch and (wallet is None or data is None):
        raise typer.BadParameter("give --data and --wallet, or --watch to follow without playing")
    account = None if watch or wallet is None else open_account(wallet, password_file)
    with loading():
        from openflock.app.node.ground import Plan
        from openflock.app.node.run import run_node, watch_task

    with starting():
        plan = Plan(task, rpc, store, data, directory, domain, stake, base, config, confirmations, metrics_port, chest)
        if account is None:
            watch_task(plan)
        else:
            run_node(plan, account)


@commands.command()
def withdraw(
    task: Task,
    rpc: Rpc,
    wallet: Annotated[Path, typer.Option(help="The wallet's keystore.")],
    password_file: PasswordFile = None,
    directory: Dir = None,
    confirmations: Confirmations = 0,
    wait: Annotated[bool, typer.Option("--wait", help="Stay until the stake is released and taken home.")] = False,
) -> None:
    """Leave a task, and take home what is owed and released; run it again for what is released later."""
    account = open_account(wallet, password_file)
    with loading():
        from openflock.app.node.ground import Plan
        from openflock.app.node.money import withdraw_stake

    with starting():
        withdraw_stake(Plan(task, rpc, directory=directory, confirmations=confirmations), account, wait)


@commands.command("top-up")
def top_up(
    tokens: Annotated[str, typer.Argument(help="Tokens to add to the stake.")],
    task: Task,
    rpc: Rpc,
    wallet: Annotated[Path, typer.Option(help="The wallet's keystore.")],
    password_file: PasswordFile = None,
    directory: Dir = None,
    confirmations: Confirmations = 0,
) -> None:
    """Add to a node's stake, as soon as the task gathers; for a node that fell under the minimum."""
    account = open_account(wallet, password_file)
    with loading():
        from openflock.app.node.ground import Plan
        from openflock.app.node.money import raise_stake

    with starting():
        raise_stake(Plan(task, rpc, directory=directory, confirmations=confirmations), account, tokens)


@commands.command()
def collect(
    task: Task,
    rpc: Rpc,
    store: Store,
    directory: Annotated[Path, typer.Option("--dir", help="The node's own directory.")],
) -> None:
    """Remove blobs that an open task needs no more from the node's directory, and from a store that is a directory."""
    with loading():
        from openflock.app.node.collect import collect_blobs
        from openflock.app.node.ground import Plan

    collect_blobs(Plan(task, rpc, store), directory)


@commands.command()
def status(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="The node's directory.")],
    rpc: Annotated[str | None, typer.Option(help="Ask the chain too.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say how a node does, by what it last wrote down and, with --rpc, by what the chain says now."""
    from openflock.app.node.show import show_status

    show_status(directory, rpc, as_json)


def open_account(wallet: Path, password_file: Path | None) -> "LocalAccount":
    """Open the wallet that signs."""
    from openflock.edge.wallet import open_wallet

    return open_wallet(wallet, read_password(password_file))


@contextmanager
def starting() -> Iterator[None]:
    """Print all that lacks before a node can start, a line each, and leave with exit code 2."""
    try:
        yield
    except ValueError as error:
        problems = getattr(error, "problems", None)
        if problems is None:
            raise
        for problem in problems:
            typer.echo(f"openflock: {problem}", err=True)
        raise typer.Exit(2) from error
