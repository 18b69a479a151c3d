"""The work of a session: done here, and in further processes beside this one where there are enough files."""

import gc
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from lucency.deidentify import rescan, sources, work
from lucency.deidentify.sources import Source
from lucency.deidentify.work import Done, Place, Task
from lucency.deidentify.writing import Writer
from lucency.record import write_bytes

#: Files handed to a process at a time, and handfuls that it has before it has answered the first.
CHUNK, AHEAD = 8, 2
#: Fewer files are done here: a further process takes about a second to start.
ALONE = 150
#: Fewer headers are surveyed here: they are read in less time than a further process takes to start.
SURVEYED = 800
#: Objects made before Python looks for circles among them. The elements of a header are tens of thousands and are in
#: none; looked for after every 700, as is usual, they take a twelfth of the time of cleaning.
COLLECTED = 100_000
#: What ends a process again when it meets a file alone costs that file.
ENDED = "Reading it ended the process"


class Workers:
    """Surveys, cleans and looks again, in that order; use it in ``with``.

    Args:
        place: Where to work and with what.
        n: Processes, this one included.
    """

    def __init__(self, place: Place, n: int) -> None:
        self.place, self.n = place, n
        self._collected = gc.get_threshold()
        self.known: rescan.Known | None = None
        self._others: list[_Other] = []
        self._looked: dict[str, rescan.Look] = {}

    def __enter__(self) -> "Workers":
        gc.set_threshold(COLLECTED, *self._collected[1:])
        return self

    def __exit__(self, *_: object) -> None:
        gc.set_threshold(*self._collected)
        for other in self._others:
            other.end()
        self._others = []

    def meet(self, known: rescan.Known) -> None:
        """Tell every process who is in the run: cleaning and the second look both need to know."""
        self.known = known
        for other in self._others:
            other.tell(self.place, known)

    def surveyed(self, paths: list[str]) -> Iterator[Source]:
        """Yield what each file is; where they are few, further processes start meanwhile and are not waited for."""
        if len(paths) >= SURVEYED:
            yield from self._map(_survey_some, paths)
            return
        if self.n > 1 and len(paths) >= ALONE:
            self._start()
        _adopt(self.place, self.known)
        for path in paths:
            yield from _survey_some([path])

    def done(self, tasks: list[Task]) -> Iterator[Done]:
        """Yield what became of each file, looked at again where it was written; shared UIDs come after all others."""
        alone = [t for t in tasks if t.twin]
        for one, look in self._map(_do_some, [t for t in tasks if not t.twin]):
            if look is not None:
                self._looked[one.output] = look
            yield one
        _adopt(self.place, self.known)
        for task in alone:
            (one, look), *_ = _do_some([task])
            if look is not None:
                self._looked[one.output] = look
            yield one

    def rescanned(self, written: Mapping[str, str]) -> list[rescan.Finding]:
        """Return what is left in the output.

        A file that was looked at in this session and has not changed since is not looked at twice.

        Args:
            written: Path below the output folder to the SHA-256 of what was written there.
        """
        waiting: list[tuple[str, str]] = []
        found: list[rescan.Finding] = []
        for output, sha256 in sorted(written.items()):
            look = self._looked.get(output)
            if look is not None and look.state == rescan.state_of(self.place.dst / output):
                found += look.findings
            else:
                waiting.append((output, sha256))
        return found + [f for look in self._map(_rescan_some, waiting) for f in look.findings]

    def _map(self, function: Callable[[list[Any]], list[Any]], items: list[Any]) -> Iterator[Any]:
        """Yield the function's answer to each item, in their order."""
        _adopt(self.place, self.known)
        if self.n <= 1 or len(items) < ALONE:
            for one in items:
                yield from function([one])
            return
        self._start()
        with _one_thread():
            yield from self._shared(function, items)

    def _start(self) -> None:
        while len(self._others) < self.n - 1:
            self._others.append(_Other(self.place, self.known))

    def _shared(self, function: Callable[[list[Any]], list[Any]], items: list[Any]) -> Iterator[Any]:
        """Hand files out, do some here, and pass answers on in the order of the files."""
        answers: dict[int, list[Any]] = {}
        upcoming, given = 0, 0
        while given < len(items):
            for other in self._others:
                while other.n_waiting < AHEAD and upcoming < len(items):
                    # Handfuls get smaller towards the end, so that all end together.
                    n = max(1, min(CHUNK, (len(items) - upcoming) // (4 * self.n)))
                    other.ask(function, upcoming, items[upcoming : upcoming + n])
                    upcoming += n
                for first, answer in other.answered(wait=False):
                    answers[first] = answer
            if upcoming < len(items):
                n = max(1, min(CHUNK // 2, (len(items) - upcoming) // (8 * self.n)))
                answers[upcoming] = function(items[upcoming : upcoming + n])
                upcoming += n
            elif given not in answers:
                for other in self._others:
                    for first, answer in other.answered(wait=True):
                        answers[first] = answer
            while given in answers:
                answer = answers.pop(given)
                given += len(answer)
                yield from answer


class _Other:
    """One further process, and what it was asked."""

    def __init__(self, place: Place, known: rescan.Known | None) -> None:
        self._place, self._known = place, known
        self._asked: deque[tuple[Callable[[list[Any]], list[Any]], int, list[Any]]] = deque()
        self._begin()

    @property
    def n_waiting(self) -> int:
        """How many handfuls have no answer yet."""
        return len(self._asked)

    def tell(self, place: Place, known: rescan.Known) -> None:
        """Hand over who is in the run."""
        self._place, self._known = place, known
        self._send(("meet", place, known))

    def ask(self, function: Callable[[list[Any]], list[Any]], first: int, items: list[Any]) -> None:
        """Hand files over; the answer comes later."""
        self._asked.append((function, first, items))
        self._send(("do", function, items))

    def answered(self, *, wait: bool) -> Iterator[tuple[int, list[Any]]]:
        """Yield what has been answered: the number of the first file and what became of each of them.

        Raises:
            Exception: What the function raised there.
        """
        while self._asked and (wait or self._pipe.poll()):
            function, first, items = self._asked[0]
            try:
                good, answer = self._pipe.recv()
            except (EOFError, OSError):
                answer = self._one_by_one(function, items)
                good = True
                self._asked.popleft()
                for waiting in self._asked:
                    self._send(("do", waiting[0], waiting[2]))
                yield first, answer
                continue
            self._asked.popleft()
            if not good:
                raise answer
            yield first, answer

    def end(self) -> None:
        """Let the process end, at once if it is not idle."""
        if self._asked:
            self._process.terminate()
        self._pipe.close()
        self._process.join()

    def _begin(self) -> None:
        import multiprocessing  # noqa: PLC0415 - only where further processes pay

        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, self._place, self._known), daemon=True)
        self._process.start()
        theirs.close()

    def _send(self, message: tuple[Any, ...]) -> None:
        try:
            self._pipe.send(message)
        except OSError:
            return  # it has ended; whoever waits for the answer finds out

    def _one_by_one(self, function: Callable[[list[Any]], list[Any]], items: list[Any]) -> list[Any]:
        """Give the files of a process that ended to new ones, each alone; what ends its process again is left out."""
        answers = []
        self._begin()
        for item in items:
            self._send(("do", function, [item]))
            try:
                good, answer = self._pipe.recv()
            except (EOFError, OSError):
                self._begin()
                good, answer = True, [LOST[function.__name__](item)]
            if not good:
                raise answer
            answers += answer
        return answers


def _serve(pipe: Any, place: Place, known: rescan.Known | None) -> None:
    """Answer until the pipe closes; end at once when the process that asks is gone."""
    # Ctrl-C goes to every process of a terminal; the first one decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    gc.set_threshold(COLLECTED)
    _adopt(place, known)
    with _one_thread():
        while True:
            try:
                what, *rest = pipe.recv()
                if what == "meet":
                    _adopt(*rest)
                    continue
                function, items = rest
                try:
                    answer = True, function(items)
                except Exception as error:
                    answer = False, error
                pipe.send(answer)
            except (EOFError, OSError):
                return


def _end_with_parent() -> None:
    import multiprocessing.connection  # noqa: PLC0415 - only in a further process
    import os  # noqa: PLC0415

    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)


def _one_thread() -> Any:
    """Keep linear algebra on one thread: the processes are as many as the cores."""
    from threadpoolctl import threadpool_limits  # noqa: PLC0415 - only where further processes pay

    return threadpool_limits(1)


#: What a process holds: set when it starts.
_HERE: list[tuple[Place, rescan.Known | None]] = []


def _adopt(place: Place, known: rescan.Known | None) -> None:
    if known is not None:
        place.engine.scrubber.everybody = known.everybody.plain
    _HERE[:] = [(place, known)]


def _survey_some(paths: list[str]) -> list[Source]:
    return [sources.surveyed(_HERE[0][0].src, p) for p in paths]


def _do_some(tasks: list[Task]) -> list[tuple[Done, rescan.Look | None]]:
    """Clean files, and look at each that was written once it is on the disk."""
    place, known = _HERE[0]
    with Writer() as writer:
        place.write = writer.put
        try:
            done = [work.done(t, place) for t in tasks]
        finally:
            place.write = write_bytes
    if known is None:
        return [(d, None) for d in done]
    return [(d, _look(d.output, d.sha256) if d.action == "written" else None) for d in done]


def _rescan_some(written: list[tuple[str, str]]) -> list[rescan.Look]:
    return [_look(output, sha256) for output, sha256 in written]


def _look(output: str, sha256: str) -> rescan.Look:
    place, known = _HERE[0]
    assert known is not None
    state = rescan.state_of(place.dst / output)
    return rescan.Look(state, tuple(rescan.left_in(place.dst, output, known, place.options, sha256)))


#: What is said of a file that ends every process that meets it.
LOST: dict[str, Callable[[Any], Any]] = {
    "_survey_some": lambda path: Source(path, "broken", reason=ENDED),
    "_do_some": lambda task: (Done(task.path, "left out", ENDED), None),
    "_rescan_some": lambda one: rescan.Look((), (rescan.Finding(one[0], "file that cannot be read", "file"),)),
}
