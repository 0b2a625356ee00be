"""Keys: `openflock wallet`."""

import json
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from openflock.app.console import loading, make_console

commands = typer.Typer(help="Create a wallet, or show its address.", no_args_is_help=True)
PASSWORD = "OPENFLOCK_PASSWORD"  # noqa: S105  # the variable's name

Wallet = Annotated[Path, typer.Argument(metavar="FILE", help="The wallet's keystore.")]
PasswordFile = Annotated[
    Path | None,
    typer.Option("--password-file", help=f"File with the wallet's password; else ${PASSWORD}, else a prompt."),
]


@commands.command()
def new(wallet: Wallet, password_file: PasswordFile = None) -> None:
    """Create a key, keep it in FILE under a password, and print its address."""
    from openflock.edge.wallet import WalletError, create_wallet

    if wallet.exists():  # before anybody thinks of a password
        raise WalletError(f"{wallet}: there is a file already; nothing was written: choose another name")
    typer.echo(create_wallet(wallet, read_password(password_file, twice=True)))
    typer.echo(f"keep {wallet} and its password: without both, what the address owns is lost", err=True)


@commands.command()
def show(
    wallet: Wallet,
    rpc: Annotated[str | None, typer.Option(help="JSON-RPC URL of a chain: show the balance for gas too.")] = None,
    task: Annotated[str | None, typer.Option(help="A task on that chain: show tokens, stake and pay too.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Print a wallet's address; no password is needed."""
    from openflock.edge.wallet import read_address

    address = read_address(wallet)
    if rpc is None and task is None and not as_json:
        typer.echo(address)
        return
    with loading():
        from openflock.app.task.tables import show_account
        from openflock.app.task.view import describe_account

    account = describe_account(address, rpc, task)
    if as_json:
        typer.echo(json.dumps(account))
    else:
        show_account(account, make_console())


def read_password(file: Path | None, twice: bool = False) -> str:
    """Read a password from a file, else from the environment, else by a prompt (`twice` for a new one)."""
    from openflock.edge.wallet import WalletError

    if file is not None:
        try:
            return file.read_text().rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise WalletError(f"{file}: not a file with a password: it is not text") from error
    if PASSWORD in os.environ:
        return os.environ[PASSWORD]
    if not sys.stdin.isatty():
        raise WalletError(f"no password: give --password-file FILE or set {PASSWORD} (there is no terminal to ask at)")
    return str(typer.prompt("password", hide_input=True, confirmation_prompt=twice, err=True))
