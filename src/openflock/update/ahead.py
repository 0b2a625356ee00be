"""Compute a few items ahead in threads: numpy and SHA-256 let go of the interpreter while they work."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Final, TypeVar

THREADS: Final = min(4, os.cpu_count() or 1)

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_ahead(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Give function(item) for each item, in order, at most twice THREADS of them computed before they are wanted.

    >>> list(map_ahead(abs, [-1, 2, -3]))
    [1, 2, 3]
    """
    with ThreadPoolExecutor(THREADS) as pool:
        waiting = iter(items)
        running: deque[Future[Result]] = deque(pool.submit(function, item) for item in islice(waiting, 2 * THREADS))
        try:
            while running:
                yield running.popleft().result()
                running.extend(pool.submit(function, item) for item in islice(waiting, 1))
        finally:
            for future in running:
                future.cancel()
