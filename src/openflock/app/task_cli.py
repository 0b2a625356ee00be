"""Tasks on a chain: `openflock task`."""

import typer

commands = typer.Typer(help="Create tasks on a chain, list, show, fund and cancel them.", no_args_is_help=True)
