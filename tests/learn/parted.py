"""What test_sharded.py runs: processes that meet, part, and say by their exit whether a thread outlived the crew."""

import sys
from pathlib import Path

from openflock.learn.crew import dismiss, follow, get_number, order


def list_threads():
    return [task.joinpath("comm").read_text().strip() for task in Path("/proc/self/task").iterdir()]


if __name__ == "__main__":
    if get_number() > 0:
        follow(print)
    else:
        order("a base")
        assert any("gloo" in name for name in list_threads())
        dismiss()
    sys.exit(any("gloo" in name for name in list_threads()))
