"""A map that works ahead in threads, in order and bounded.

::

    items      9 10 11 …      taken by the calling thread
    threads    [7] [8]        function(item)
    results    … 4 5 6        handed on in the order of the items; at most 4 × threads wait

For work that releases the GIL: Arrow, numpy, decompression.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

_ITEMS_AHEAD = 4


def in_threads(function: Callable[[Item], Result], items: Iterable[Item], *, num_threads: int) -> Iterator[Result]:
    """``map(function, items)``, worked on ahead of the consumer.

    Args:
        function: Must be safe to call from several threads at once.
        items: Advanced by the calling thread, ahead of the results by at most four items a thread.
        num_threads: 1 maps in the calling thread.

    Raises:
        Exception: Whatever the function or the iterator raises, in the place of the result.
    """
    if num_threads == 1:
        yield from map(function, items)
        return
    remaining = iter(items)
    with ThreadPoolExecutor(num_threads, thread_name_prefix="ahead") as pool:
        pending: deque[Future[Result]] = deque()
        try:
            while True:
                wanted = _ITEMS_AHEAD * num_threads - len(pending)
                pending.extend(pool.submit(function, item) for item in islice(remaining, wanted))
                if not pending:
                    return
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()
