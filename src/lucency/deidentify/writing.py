"""Files written whole beside the work: while one goes to the disk, the next is cleaned."""

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from lucency.record import write_bytes

#: Bytes that may wait for the disk.
MOST_BYTES = 64 << 20
#: Files on their way to the disk at a time: waiting for it takes longer than writing.
THREADS = 4


class Writer:
    """Writes files in further threads; when its ``with`` ends they are on the disk, each whole or not at all."""

    def __init__(self) -> None:
        self._pool: ThreadPoolExecutor | None = None
        self._waiting: deque[tuple[int, Future[None]]] = deque()

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, *_: object) -> None:
        try:
            while self._waiting:
                self._waiting.popleft()[1].result()
        finally:
            if self._pool is not None:
                self._pool.shutdown()

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
        if self._pool is None:
            self._pool = ThreadPoolExecutor(THREADS)
        self._waiting.append((len(content), self._pool.submit(write_bytes, path, content)))
