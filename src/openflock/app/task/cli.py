"""Tasks on a chain: `openflock task`."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from openflock.app.console import loading, make_console
from openflock.app.wallet_cli import PasswordFile, read_password

commands = typer.Typer(help="Create tasks on a chain, list, show, fund and cancel them.", no_args_is_help=True)

Task = Annotated[str, typer.Argument(metavar="ADDR", help="Address of the task.")]
Rpc = Annotated[
    str, typer.Option(envvar="OPENFLOCK_RPC", help="JSON-RPC URL of the chain; several with commas between.")
]
StoreUrl = Annotated[str, typer.Option("--store", help="Blob store: a directory, s3://bucket/prefix, torrent://...")]
Cache = Annotated[Path | None, typer.Option(help="Directory that keeps what goes to or comes from a remote store.")]
Wallet = Annotated[Path, typer.Option(help="The wallet's keystore; it signs and pays.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Confirmations = Annotated[int, typer.Option(min=0, help="Blocks that must lie above what is believed.")]


@commands.command()
def create(
    config: Annotated[Path, typer.Argument(metavar="CONFIG.toml", help="The task's configuration; see configs/.")],
    rpc: Rpc,
    store: StoreUrl,
    wallet: Wallet,
    password_file: PasswordFile = None,
    factory: Annotated[str | None, typer.Option(help="Factory of tasks; without one it is deployed.")] = None,
    token: Annotated[str | None, typer.Option(help="ERC-20 token of all stakes and payouts.")] = None,
    dev_token: Annotated[bool, typer.Option("--dev-token", help="Deploy play money instead, and mint some.")] = False,
    fund: Annotated[str | None, typer.Option(help="Tokens to put into the pool.")] = None,
    title: Annotated[str | None, typer.Option(help="The task's title.")] = None,
    changes: Annotated[list[str] | None, typer.Option("--set", help="key=value over the configuration.")] = None,
    cache: Cache = None,
    chest: Annotated[
        Path | None, typer.Option(help="Directory for rows.sealed, which you open round by round.")
    ] = None,
    confirmations: Annotated[int, typer.Option(min=0, help="Write this into the lines by which others join.")] = 0,
    as_json: Json = False,
) -> None:
    """Create a task from a configuration: job and first state into the store, the rules onto the chain."""
    from openflock.app.settings import load_config
    from openflock.app.words import parse_tokens

    parsed = load_config(config, changes or ())
    parsed = parsed if title is None else parsed.model_copy(update={"title": title})
    check_choices(token, dev_token, store, cache)
    amount = parse_tokens(fund) if fund else 0
    with loading():
        from openflock.app.source import open_blobs
        from openflock.app.task.creation import create as create_task
        from openflock.app.task.creation import show_created, write_command, write_opening
        from openflock.app.task.view import open_chain
        from openflock.edge.wallet import open_wallet

    console, web3 = make_console(as_json), open_chain(rpc)
    creator = open_wallet(wallet, read_password(password_file))
    with open_blobs(store, cache) as blobs:
        created = create_task(web3, creator, parsed, blobs, factory, token, amount, console, chest)
    join = write_command(created.task, rpc, store, confirmations)
    opening = write_opening(created.task, rpc, store, chest, confirmations) if parsed.rows.sealed else ""
    if as_json:
        names = ("task", "factory", "token", "domains")
        chain = {"chain": web3.eth.chain_id, "join": join, "open": opening}
        typer.echo(json.dumps({name: getattr(created, name) for name in names} | chain))
    else:
        show_created(created, parsed, join, opening, console)


@commands.command("list")
def list_all(rpc: Rpc, factory: Annotated[str, typer.Option(help="Factory of tasks.")], as_json: Json = False) -> None:
    """List the tasks that a factory created, as they stand now."""
    with loading():
        from openflock.app.task.tables import build_task_list
        from openflock.app.task.view import list_tasks, open_chain

    web3 = open_chain(rpc)
    tasks = list(list_tasks(web3, factory))
    if as_json:
        typer.echo(json.dumps(tasks))
    elif tasks:
        make_console().print(build_task_list(tasks, int(web3.eth.get_block("latest")["timestamp"])))
    else:
        typer.echo("no tasks yet: openflock task create")


@commands.command()
def show(
    task: Task,
    rpc: Rpc,
    store: Annotated[str | None, typer.Option("--store", help="Blob store, for the task's title and domains.")] = None,
    cache: Cache = None,
    confirmations: Confirmations = 0,
    as_json: Json = False,
) -> None:
    """Show a task: where it stands, who takes part, how its rounds ended, and its rules in words."""
    with loading():
        from openflock.app.source import open_blobs
        from openflock.app.task.tables import show_task
        from openflock.app.task.view import Follower, describe_task, find_task, open_chain

    web3 = open_chain(rpc)
    address = find_task(web3, task)
    if store is None:
        view = Follower(web3, address, None, confirmations).view()
    else:
        with open_blobs(store, cache) as blobs:
            view = Follower(web3, address, blobs, confirmations).view()
    if as_json:
        typer.echo(json.dumps(describe_task(view)))
    else:
        show_task(view, make_console())


@commands.command()
def fund(
    task: Task,
    amount: Annotated[str, typer.Argument(metavar="TOKENS", help="How many, as 100 or 12.5.")],
    rpc: Rpc,
    wallet: Wallet,
    password_file: PasswordFile = None,
) -> None:
    """Add tokens to the pool that pays a task's rounds; they do not come back but for what no round spends."""
    from openflock.app.words import parse_tokens

    units = parse_tokens(amount)
    with loading():
        from openflock.app.task.funding import check_gas, check_token, fund_task
        from openflock.app.task.view import find_task, open_chain
        from openflock.edge.evm_ledger import get_contract
        from openflock.edge.wallet import open_wallet

    web3 = open_chain(rpc)
    address = find_task(web3, task)
    account = open_wallet(wallet, read_password(password_file))
    sender = account.address.lower()
    check_gas(web3, sender)
    check_token(web3, get_contract(web3, "Task", address).functions.token().call(), sender, units)
    fund_task(web3, account, address, units)
    typer.echo(f"added {amount} tokens to the pool of {address}")


@commands.command()
def cancel(
    task: Task,
    rpc: Rpc,
    wallet: Wallet,
    password_file: PasswordFile = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """End a task after the round that is under way; only its creator may."""
    with loading():
        from openflock.app.settings import SettingsError
        from openflock.app.task.funding import cancel_task, explain_cancel
        from openflock.app.task.view import find_task, open_chain
        from openflock.edge.wallet import open_wallet, read_address

    web3 = open_chain(rpc)
    address = find_task(web3, task)
    typer.echo(explain_cancel(web3, address, read_address(wallet)))
    if not yes and not sys.stdin.isatty():
        raise SettingsError("nothing was cancelled: give --yes (there is no terminal to ask at)")
    if not yes and not typer.confirm("cancel it?"):
        raise SettingsError("nothing was cancelled")
    typer.echo(cancel_task(web3, address, open_wallet(wallet, read_password(password_file))))


# --- Helpers -------------------------------------------------------------------------------------------------


def check_choices(token: str | None, dev_token: bool, store: str, cache: Path | None) -> None:
    """Refuse options that contradict each other, before anything is loaded or sent."""
    from openflock.app.settings import SettingsError

    if (token is None) != dev_token:
        raise SettingsError("task: give --token ADDR, or --dev-token for play money; one of the two")
    if store.startswith("torrent:") and cache is None:
        raise SettingsError(
            "--cache: with torrents somebody must serve what is put: give --cache NODE/cache, and then run"
            " openflock node run --dir NODE (or --watch), which serves it"
        )
