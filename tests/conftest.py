"""Hypothesis: no deadlines; the same examples every time on CI, a longer search with HYPOTHESIS_PROFILE=long.

Files with slow tests start first: processes get whole files, and a long one that comes last runs alone.
"""

import os

import pytest
from hypothesis import settings

settings.register_profile("default", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.register_profile("long", deadline=None, max_examples=1000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if "CI" in os.environ else "default"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put files with slow tests before the others; the order within stays."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)
