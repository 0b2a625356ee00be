"""One node: `openflock node`."""

import typer

commands = typer.Typer(help="Run a node of a task, ask how it does, take its stake back.", no_args_is_help=True)
