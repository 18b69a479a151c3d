"""Files written whole beside the work: while one goes to the disk, the next is cleaned."""

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from pathlib import Path

from lucency.record import write_bytes

#: Bytes that may wait for the disk.
MOST_BYTES = 64 << 20
#: Files on their way to the disk at a time: waiting for it takes longer than writing.
THREADS = 4


class Writer:
    """Writes files in further threads; when its ``with`` ends they are on the disk, each whole or not at all."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[int, Future[None]]] = deque()

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, *_: object) -> None:
        failures = [f for _, future in self._waiting if (f := future.exception()) is not None]
        self._waiting.clear()
        if failures:
            raise failures[0]

    def put(self, path: Path, content: bytes) -> None:
        """Have a file written; its folder is made.

        Args:
            path: Where it goes.
            content: All of it.

        Raises:
            OutputError: An earlier file could not be written. What happens to this one is told when the ``with`` ends.
        """
        while self._waiting and sum(n for n, _ in self._waiting) + len(content) > MOST_BYTES:
            self._waiting.popleft()[1].result()
        self._waiting.append((len(content), _pool().submit(write_bytes, path, content)))


@cache
def _pool() -> ThreadPoolExecutor:
    """Return the threads of this process: to start them anew for every few files takes as long as to write one."""
    return ThreadPoolExecutor(THREADS, thread_name_prefix="lucency-write")
