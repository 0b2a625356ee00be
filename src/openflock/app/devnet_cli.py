"""A local network of real processes: `openflock devnet`."""

import typer

commands = typer.Typer(
    help="Run a whole network on this machine, each node a process of its own.", no_args_is_help=True
)
