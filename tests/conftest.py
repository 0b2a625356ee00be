"""Hypothesis: no deadlines; the same examples every time on CI, a longer search with HYPOTHESIS_PROFILE=long.

Files with slow tests start first: processes get whole files, and a long one that comes last runs alone.
"""

import os
import signal

import pytest
from hypothesis import settings

settings.register_profile("default", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.register_profile("long", deadline=None, max_examples=1000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if "CI" in os.environ else "default"))

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a shell has it for what it runs behind: children inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put files with slow tests before the others; the order within stays."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)
