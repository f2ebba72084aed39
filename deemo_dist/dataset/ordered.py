"""Threads whose results come in the order of the work, with only so much of it in memory at once."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_order(function: Callable[[Item], Result], items: Iterable[Item], at_once: int) -> Iterator[Result]:
    """``function`` of each item, in the order of ``items``, by ``at_once`` threads and never further ahead than twice
    as many. What it raises comes at its item's turn; what has not begun by then, or when the caller stops, is left."""
    waiting: deque[Future[Result]] = deque()
    pool = ThreadPoolExecutor(at_once, thread_name_prefix="deemo-ordered")
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) >= 2 * at_once:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
