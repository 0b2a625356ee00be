"""Talk to a run's model."""

import sys
from pathlib import Path

import torch
from rich.console import Console

from openflock.app.exporting import read_state
from openflock.app.rundir import RunDirectory
from openflock.learn.evaluate import generate
from openflock.learn.model import Model, load_model


def run_chat(directory: Path, say: str | None, tokens: int, console: Console) -> None:
    """Answer one message, or every line of input until it ends."""
    model = load_run_model(directory)
    if say is not None:
        console.print(generate(model, (("user", say),), tokens), markup=False, highlight=False)
        return
    if sys.stdin.isatty():
        console.print("Each line is a conversation of its own; end with Ctrl-D.")
    while (line := read_line(console)) is not None:
        if line:
            console.print(generate(model, (("user", line),), tokens), markup=False, highlight=False)


def load_run_model(directory: Path) -> Model:
    """Load a run's base with its last global state."""
    torch.set_num_threads(1)
    state, _, _, base = read_state(RunDirectory(directory))
    targets = tuple(module.name for module in state.layout.modules)
    model = load_model(base, state.layout.rank, state.layout.alpha, targets=targets)
    model.load_state(state)
    return model


def read_line(console: Console) -> str | None:
    """Read a line, None at the end of input."""
    try:
        return console.input("> " if sys.stdin.isatty() else "").strip()
    except EOFError:
        return None
