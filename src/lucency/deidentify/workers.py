"""The work of a session done here, or in further processes where there are enough files."""

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

from lucency.deidentify import rescan, sources, work
from lucency.deidentify.sources import Source
from lucency.deidentify.work import Done, Place, Task

#: Files handed to a process at a time.
CHUNK = 20
#: Fewer files are done here: a further process takes about a second to start.
ALONE = 150


class Workers:
    """Surveys, cleans and looks again, in that order; use it in ``with``.

    Args:
        place: Where to work and with what.
        n: Processes.
    """

    def __init__(self, place: Place, n: int) -> None:
        self.place, self.n = place, n
        self.known: rescan.Known | None = None
        self._pool: Any = None

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None

    def meet(self, known: rescan.Known) -> None:
        """Tell every process who is in the run: cleaning and the second look both need to know."""
        self.__exit__()
        self.known = known

    def surveyed(self, paths: list[str]) -> Iterator[Source]:
        """Yield what each file is."""
        yield from self._map(_survey_some, paths)

    def done(self, tasks: list[Task]) -> Iterator[Done]:
        """Yield what became of each file; files that share a UID come after all others."""
        alone = [t for t in tasks if t.twin]
        yield from self._map(_do_some, [t for t in tasks if not t.twin])
        _adopt(self.place, self.known)
        yield from _do_some(alone)

    def rescanned(self, outputs: list[str]) -> list[rescan.Finding]:
        """Return what is left in the output."""
        return list(self._map(_rescan_some, outputs))

    def _map(self, function: Callable[[list[Any]], Any], items: list[Any]) -> Iterator[Any]:
        if self.n <= 1 or len(items) < ALONE:
            _adopt(self.place, self.known)
            for one in items:
                yield from function([one])
            return
        if self._pool is None:
            import multiprocessing  # noqa: PLC0415 - only where further processes pay
            from concurrent.futures import ProcessPoolExecutor  # noqa: PLC0415

            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(self.n, context, _adopt, (self.place, self.known))
        chunks = _batched(items, CHUNK)
        waiting: list[Any] = [self._pool.submit(function, c) for c in islice(chunks, 2 * self.n)]
        while waiting:
            result = waiting.pop(0).result()
            waiting += [self._pool.submit(function, c) for c in islice(chunks, 1)]
            yield from result


def _batched(items: list[Any], n: int) -> Iterator[list[Any]]:
    yield from (items[i : i + n] for i in range(0, len(items), n))


#: What a process holds: set when it starts.
_HERE: list[tuple[Place, rescan.Known | None]] = []


def _adopt(place: Place, known: rescan.Known | None) -> None:
    if known is not None:
        place.engine.scrubber.everybody = known.everybody.plain
    _HERE[:] = [(place, known)]


def _survey_some(paths: list[str]) -> list[Source]:
    return [sources.surveyed(_HERE[0][0].src, p) for p in paths]


def _do_some(tasks: list[Task]) -> list[Done]:
    return [work.done(t, _HERE[0][0]) for t in tasks]


def _rescan_some(outputs: list[str]) -> list[rescan.Finding]:
    place, known = _HERE[0]
    assert known is not None
    return [f for o in outputs for f in rescan.left_in(place.dst, o, known, place.options)]
