"""Keys: `openflock wallet`."""

import typer

commands = typer.Typer(help="Create a wallet, or show its address.", no_args_is_help=True)
