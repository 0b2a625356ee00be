"""Talk to a task's model."""

import sys

import torch
from rich.console import Console

from openflock.app.bases import find_base
from openflock.app.source import Source, read_trained
from openflock.learn.evaluate import generate
from openflock.learn.model import Model, load_model


def run_chat(source: Source, base: str | None, say: str | None, tokens: int, console: Console) -> None:
    """Answer one message, or every line of input until it ends."""
    model = load_trained(source, base)
    if say is not None:
        console.print(generate(model, (("user", say),), tokens), markup=False, highlight=False)
        return
    if sys.stdin.isatty():
        console.print("Each line is a conversation of its own; end with Ctrl-D.")
    while (line := read_line(console)) is not None:
        if line:
            console.print(generate(model, (("user", line),), tokens), markup=False, highlight=False)


def load_trained(source: Source, base: str | None) -> Model:
    """Load a task's base, whose files must be those that the rules name, with its last global state."""
    torch.set_num_threads(1)
    trained = read_trained(source)
    state, path = trained.state, find_base(base, trained.job, trained.rules)
    targets = tuple(module.name for module in state.layout.modules)
    model = load_model(path, state.layout.rank, state.layout.alpha, targets=targets)
    model.load_state(state)
    return model


def read_line(console: Console) -> str | None:
    """Read a line, None at the end of input."""
    try:
        return console.input("> " if sys.stdin.isatty() else "").strip()
    except EOFError:
        return None
