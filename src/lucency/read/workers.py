"""Worker processes for compressed frames: as many as cores, made when first needed, replaced when one fails.

A worker is :mod:`lucency.read.decoder` run as a program. It is given one frame at a time with a limit of memory and of
time, and what it answers is believed no further than its length. One that ends or exceeds its limits costs that frame.
"""

import atexit
import os
import queue
import subprocess
import sys
import threading
import time
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import BinaryIO, cast

from lucency.read import decoder

#: Seconds that a worker may take to start; a tenth is usual, a cold disk under load takes longer.
START_S = 120.0

#: Seconds between two looks at the workers.
LOOK_S = 0.05

#: Bytes of a pipe where the system lets us choose: fewer switches between the processes for a frame of 512 KiB.
PIPE_BYTES = 1 << 20

#: Linux, fcntl.h: sets the size of a pipe.
F_SETPIPE_SZ = 1031


#: Frames that a worker is given before it has answered the first.
DEPTH = 2

#: Windows, winbase.h: no console window opens beside a windowed program.
CREATE_NO_WINDOW = 0x08000000


class Allowance:
    """Seconds of work that one file may cost, over all its frames and workers."""

    def __init__(self, seconds: float) -> None:
        self._left, self._lock = seconds, threading.Lock()

    @property
    def left(self) -> float:
        """Seconds that remain."""
        return self._left

    def spend(self, seconds: float) -> None:
        """Take off what was used."""
        with self._lock:
            self._left -= seconds


@dataclass
class Task:
    """One frame to decode.

    Args:
        frame: What the header says of it.
        data: Compressed bytes.
        target: (frame.n_bytes,) writable bytes; filled when the result is ``""``.
        allowance: Shared by the frames of a file.
        result: ``""``, or why there is nothing: a code of the worker's, or one of this module's.
        number: Unlike that of any other task; the answer bears it.
    """

    frame: decoder.Frame
    data: bytes
    target: memoryview
    allowance: Allowance
    result: "Future[str]" = field(default_factory=Future)
    number: int = field(default_factory=count().__next__)


class Worker:
    """One process and the thread's side of it. Only the thread that owns it sends and receives."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._deadline, self._memory, self.why = float("inf"), 0, ""
        self._lock = threading.Lock()
        self._room = 0

    def fits(self, task: Task) -> bool:
        """Tell whether a task may be sent while another is under way: only if the pipe takes the whole of it.

        Else both sides could wait for each other, one with a request and one with an answer.
        """
        return len(task.data) + decoder.MAX_HEAD < self._room

    def send(self, task: Task, *, behind: bool = False) -> bool:
        """Hand over a frame; False where the process is gone.

        Args:
            task: What to decode.
            behind: Another frame is under way, so only the process that has it will do, not a new one.
        """
        try:
            process = self._process if behind else self._running()
            if process is None:
                return False
            source = cast(BinaryIO, process.stdin)
            decoder.send(source, decoder.head_of(task.frame, len(task.data), task.number))
            decoder.send(source, task.data)
        except (OSError, EOFError, ValueError, TypeError):
            self.close()
            return False
        return True

    def receive(self, task: Task) -> str:
        """Wait for the oldest frame that was sent; return the result's code. A process that fails is ended."""
        began = time.monotonic()
        try:
            self._watch(began + task.allowance.left, task.frame.memory)
            return self._received(task)
        except (OSError, EOFError, ValueError, TypeError, KeyError):
            self.close()
            return self.why or "died"
        finally:
            self._watch(float("inf"), 0)
            if self.why:
                self.close()  # the clock may strike just after the answer; the next task needs another process
            task.allowance.spend(time.monotonic() - began)

    @property
    def alive(self) -> bool:
        """Whether what was sent may still be answered."""
        return self._process is not None

    def look(self) -> None:
        """End the process if it is over its time, or over its memory where the system does not see to that."""
        with self._lock:
            process, deadline, memory = self._process, self._deadline, self._memory
            if process is None or deadline == float("inf"):
                return
            if time.monotonic() > deadline:
                self.why = "time"
            elif memory and sys.platform != "linux" and _resident(process.pid) > memory:
                self.why = "memory"
            else:
                return
            process.kill()

    def close(self) -> None:
        """End the process, if there is one."""
        with self._lock:
            process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                stream.close()
        process.wait()

    def _watch(self, deadline: float, memory: int) -> None:
        with self._lock:
            self._deadline, self._memory = deadline, memory

    def _running(self) -> "subprocess.Popen[bytes]":
        if self._process is not None and self._process.poll() is None:
            return self._process
        self.close()
        self.why = "start"
        # -P: what lies beside the program cannot stand in for a library; -B: nothing is written.
        command = [sys.executable, "-P", "-B", str(_program())]
        flags = CREATE_NO_WINDOW if sys.platform == "win32" else 0
        process = subprocess.Popen(  # noqa: S603 - our own program
            command,
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            creationflags=flags,
        )
        with self._lock:
            self._process, self._deadline = process, time.monotonic() + START_S
        self._room = _widened(process)
        decoder.received(cast(BinaryIO, process.stdout))
        self._watch(float("inf"), 0)
        self.why = ""
        return process

    def _received(self, task: Task) -> str:
        if self._process is None:
            raise EOFError
        source = cast(BinaryIO, self._process.stdout)
        said = decoder.received(source)
        if said["number"] != task.number:
            raise ValueError("the answer to another frame")
        if said["error"]:
            return str(said["error"])
        if said["bytes"] != task.target.nbytes:
            raise ValueError("another size than asked for")
        decoder.fill(source, task.target)
        return ""


class Pool:
    """Threads, each with its worker, that take tasks from one queue.

    Args:
        size: Most workers.
    """

    def __init__(self, size: int) -> None:
        self.size, self.pid = size, os.getpid()
        self._tasks: queue.SimpleQueue[Task] = queue.SimpleQueue()
        self._workers: list[Worker] = []
        self._lock, self._waiting = threading.Lock(), 0

    def submit(self, task: Task) -> None:
        """Put a task into the queue; its ``result`` tells when it is done."""
        with self._lock:
            self._waiting += 1
            if len(self._workers) < min(self.size, self._waiting):
                self._begin()
        self._tasks.put(task)

    def close(self) -> None:
        """End all workers; tasks under way end as ``"died"``."""
        if self.pid != os.getpid():
            return  # a forked child leaves its parent's workers alone
        for worker in self._workers:
            worker.close()

    def _begin(self) -> None:
        worker = Worker()
        if not self._workers:
            threading.Thread(target=self._look, name="lucency-decode-watch", daemon=True).start()
        self._workers.append(worker)
        threading.Thread(target=self._serve, args=(worker,), name="lucency-decode", daemon=True).start()

    def _serve(self, worker: Worker) -> None:
        while True:
            taken: deque[Task] = deque()
            try:
                self._flow(worker, taken)
            except Exception:
                # Whatever fails on this side, nobody may wait for ever.
                worker.close()
                for task in taken:
                    self._done(task, "died")

    def _flow(self, worker: Worker, taken: "deque[Task]") -> None:
        """Keep one frame under way and one ready, so that the process never waits for this one."""
        n_sent = 0
        while True:
            while len(taken) < DEPTH and (task := self._next(block=not taken)) is not None:
                taken.append(task)
            while n_sent < len(taken) and (not n_sent or worker.fits(taken[n_sent])):
                if not worker.send(taken[n_sent], behind=n_sent > 0):
                    break
                n_sent += 1
            if not n_sent and not worker.send(taken[0]):
                # A process that ended while nobody looked is replaced, one that ends at once is not tried for ever.
                self._done(taken.popleft(), worker.why or "died")
                continue
            code = worker.receive(taken[0])
            # What lay ready in a process that failed is not to blame, and goes to the next.
            n_sent = max(0, n_sent - 1) if worker.alive else 0
            self._done(taken.popleft(), code)

    def _next(self, *, block: bool) -> Task | None:
        """Take a task; without ``block`` only where enough are left for the other workers."""
        while block or self._tasks.qsize() >= self.size:
            try:
                task = self._tasks.get(block)
            except queue.Empty:
                return None
            if not task.result.set_running_or_notify_cancel():
                self._counted()
            elif task.allowance.left <= 0:
                self._done(task, "time")
            else:
                return task
        return None

    def _done(self, task: Task, code: str) -> None:
        self._counted()
        task.result.set_result(code)

    def _counted(self) -> None:
        with self._lock:
            self._waiting -= 1

    def _look(self) -> None:
        while True:
            time.sleep(LOOK_S)
            for worker in self._workers:
                worker.look()


#: The last is this process's own, those before it a parent's.
_pools: list[Pool] = []
_making = threading.Lock()


def pool() -> Pool:
    """Return this process's pool. A forked child makes its own, for its parent's workers answer its parent."""
    with _making:
        if not _pools or _pools[-1].pid != os.getpid():
            _pools.append(Pool(cores()))
            atexit.register(_pools[-1].close)
        return _pools[-1]


def cores() -> int:
    """Return how many cores this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return max(1, len(affinity(0)) if affinity is not None else os.cpu_count() or 1)


def _program() -> Path:
    """Return the worker's program, compiled where this process found it so."""
    compiled = Path(decoder.__spec__.cached or "") if decoder.__spec__ is not None else Path()
    return compiled if compiled.suffix == ".pyc" and compiled.is_file() else Path(decoder.__file__)


def _resident(pid: int) -> int:
    import psutil  # noqa: PLC0415 - not needed on Linux

    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return 0


def _widened(process: "subprocess.Popen[bytes]") -> int:
    """Make the pipes larger where the system can; return how many bytes one takes for certain, 0 if unknown."""
    if sys.platform != "linux":
        return 0
    import fcntl  # noqa: PLC0415 - not there on Windows

    try:
        return min(
            fcntl.fcntl(stream.fileno(), F_SETPIPE_SZ, PIPE_BYTES)
            for stream in (process.stdin, process.stdout)
            if stream is not None
        )
    except OSError:
        return 0  # a user's share of pipe memory is used up; the pipes are only smaller
