"""Where the time of a run goes."""

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Stopwatch:
    """Seconds by activity; what no activity claims is the protocol's."""

    def __init__(self) -> None:
        """Start now."""
        self._start = time.perf_counter()
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, activity: str) -> Iterator[None]:
        """Time one stretch of an activity; stretches do not nest."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[activity] = self.seconds.get(activity, 0.0) + time.perf_counter() - start

    def split(self) -> dict[str, float]:
        """Give the seconds so far by activity, with the rest as `protocol`."""
        total = time.perf_counter() - self._start
        return {**self.seconds, "protocol": total - sum(self.seconds.values())}
