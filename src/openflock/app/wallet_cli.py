"""Keys: `openflock wallet`."""

import json
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from openflock.app.console import loading, make_console

commands = typer.Typer(help="Create a wallet, show what it has, send tokens from it.", no_args_is_help=True)
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


@commands.command()
def send(
    wallet: Wallet,
    to: Annotated[str, typer.Argument(metavar="ADDR", help="Address of who gets them.")],
    amount: Annotated[str, typer.Argument(metavar="TOKENS", help="How many, as 100 or 12.5.")],
    token: Annotated[str, typer.Option(help="Address of the ERC-20 token.")],
    rpc: Annotated[str, typer.Option(envvar="OPENFLOCK_RPC", help="JSON-RPC URL of the chain.")],
    password_file: PasswordFile = None,
) -> None:
    """Send tokens to an account, as a stake for one that has none; not from one whose node is running."""
    from openflock.app.words import parse_tokens

    units = parse_tokens(amount)
    with loading():
        from openflock.app.task.funding import check_gas, check_token, send_tokens
        from openflock.app.task.view import check_address, open_chain
        from openflock.edge.wallet import open_wallet

    receiver, web3 = check_address(to, "ADDR"), open_chain(rpc)
    account = open_wallet(wallet, read_password(password_file))
    sender = account.address.lower()
    check_gas(web3, sender)
    send_tokens(web3, account, check_token(web3, token, sender, units), receiver, units)
    typer.echo(f"sent {amount} tokens to {receiver}")


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
