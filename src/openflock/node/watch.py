"""A watch is told what a node is doing, while it does it: how training, evaluation and protocol are told apart.

It may break work off before it begins, by TooLate.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

Watch = Callable[[str], AbstractContextManager[object]]


class TooLate(Exception):
    """Work was left half done, because its time is over."""


def watch_nothing(_activity: str) -> AbstractContextManager[object]:
    """Watch nothing."""
    return nullcontext()
