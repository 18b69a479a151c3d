"""The one stream of progress that terminal, file and web share: one JSON object per line."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lucency.errors import OutputError
from lucency.record import to_json

Listener = Callable[[dict[str, Any]], None]


class Events:
    """Appends events to ``events.jsonl`` and hands each to the listeners.

    Every event has ``time`` (s since the epoch), ``room`` and ``kind``; the rest are counted facts, never patient data.

    Args:
        path: File to append to; None keeps events off the disk.
        listeners: Called with each event, in order.
    """

    def __init__(self, path: Path | None = None, *listeners: Listener) -> None:
        self.path, self.listeners = path, listeners

    def emit(self, room: str, kind: str, **facts: object) -> None:
        """Record one event."""
        event = {"time": round(time.time(), 3), "room": room, "kind": kind, **{k: to_json(v) for k, v in facts.items()}}
        if self.path is not None:
            try:
                with self.path.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(event, ensure_ascii=False) + "\n")
            except OSError as error:
                raise OutputError(
                    f"Cannot write ({error.strerror})", where=self.path.name, remedy="free space, then run again"
                ) from error
        for listener in self.listeners:
            listener(event)


def read_events(path: Path) -> list[dict[str, Any]]:
    """Return the events of a run; a last line cut off by a crash is left out."""
    events: list[dict[str, Any]] = []
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                events.append(json.loads(line))
            except json.JSONDecodeError:
                continue
    return events


@dataclass
class Clock:
    """Working time of a run, across resumes.

    Args:
        spent: Seconds worked before this process took over.
        started: Reading of ``now`` when it did.
        now: Source of time; tests bring their own.
    """

    spent: float = 0.0
    now: Callable[[], float] = time.monotonic
    started: float = field(init=False)

    def __post_init__(self) -> None:
        self.started = self.now()

    def elapsed(self) -> float:
        """Return the seconds worked so far."""
        return self.spent + self.now() - self.started
