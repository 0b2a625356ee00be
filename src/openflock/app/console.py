"""What all commands share at the terminal: the console they print to, and quick imports."""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console


@contextmanager
def loading() -> Iterator[None]:
    """Import without looking for garbage: what is imported stays, and looking takes a sixth of the time."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def make_console(quiet: bool = False) -> Console:
    """Make the console that all commands print to; a pipe gets wide lines without control codes."""
    return Console(quiet=quiet, width=None if sys.stdout.isatty() else 160)
