"""A watch is told what a node is doing, while it does it: how training, evaluation and protocol are told apart.

It may break work off before it begins (`pace.py`).
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Final

PROBE: Final = "probe"  # the activity that other work goes before
EXAMINATION: Final = "examination"  # all that is done with sealed rows; what it consists of is told apart as elsewhere

Watch = Callable[[str], AbstractContextManager[object]]


def watch_nothing(_activity: str) -> AbstractContextManager[object]:
    """Watch nothing."""
    return nullcontext()
