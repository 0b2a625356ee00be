"""A watch is told what a node is doing, while it does it: how training, evaluation and protocol are told apart."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

Watch = Callable[[str], AbstractContextManager[object]]


def watch_nothing(_activity: str) -> AbstractContextManager[object]:
    """Watch nothing."""
    return nullcontext()
