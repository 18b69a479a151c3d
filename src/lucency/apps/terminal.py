"""Progress for people: live bars on a terminal, plain lines in a file or a pipe, from the one stream of events."""

import math
import sys
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, TextIO

from lucency.text import name, sentence, t

#: Events after which a room has nothing more to do.
LAST = ("end", "kept")

#: Events whose remark tells what a room found, and those that tell what it is at.
LASTING, PASSING = ("found", "kept"), ("epoch", "resumed", "baseline")


@dataclass
class Room:
    """What is known of one room.

    Args:
        begun: Seconds since the epoch, of its first event.
        counting: The same, of the first event of the count that runs; a room may count several times.
        done: Work done, in ``total``'s unit.
        total: All work, or 0 while unknown.
        deadline: Seconds since the epoch when the room itself expects to be done, or None.
        note: Latest remark.
        lasting: The remark still holds when the room has ended.
        ended: Seconds the room took, or None while it runs.
    """

    begun: float
    counting: float
    done: float = 0.0
    total: float = 0.0
    deadline: float | None = None
    note: str = ""
    lasting: bool = False
    ended: float | None = None

    def count(self, done: float, total: float, now: float) -> None:
        """Take in how far the room is; a smaller number or another total begins a new count."""
        if done < self.done or total != self.total:
            self.counting = now if self.total else self.begun
        self.done, self.total = done, total

    def remaining(self, now: float) -> float | None:
        """Return the seconds left: the room's own word, else in proportion to the work done; None when unknown."""
        if self.deadline is not None:
            return max(0.0, self.deadline - now)
        if not 0 < self.done <= self.total or self.counting >= now:
            return None
        return (now - self.counting) * (self.total - self.done) / self.done


class Rooms:
    """Turns events into the state of the rooms, in the order in which they began.

    Args:
        lang: ``"en"`` or ``"zh"``.
    """

    def __init__(self, lang: str) -> None:
        self.lang = lang
        self.rooms: dict[str, Room] = {}

    def take(self, event: dict[str, Any]) -> Room:
        """Take in one event and return its room."""
        now, kind = float(event.get("time", time.time())), event["kind"]
        room = self.rooms.get(event["room"])
        if room is None or (room.ended is not None and kind not in LAST):
            room = self.rooms[event["room"]] = Room(begun=now, counting=now)
        total = event.get("of", event.get("total"))
        if "done" in event and total is not None:
            room.count(float(event["done"]), float(total), now)
        elif "step" in event and "steps" in event:
            room.count(float(event["step"]), float(event["steps"]), now)
        if event.get("seconds_left") is not None:
            room.deadline = now + float(event["seconds_left"])
        room.note = self._note(event) or room.note
        room.lasting = kind in LASTING or (room.lasting and kind not in PASSING)
        if kind in LAST and room.ended is None:
            # What the room was at is no result of it.
            room.note = room.note if room.lasting else ""
            room.ended = float(event.get("seconds", now - room.begun))
        return room

    def aside(self, event: dict[str, Any]) -> list[str]:
        """Return sentences that are worth a line of their own: warnings, forecasts, what was done about memory."""
        if event["kind"] == "memory":
            found, action = (sentence(str(event.get(k, "")), self.lang) for k in ("found", "action"))
            return [t("cli.aside", self.lang, text=t("report.pair", self.lang, head=found, text=action))]
        told = [*(event.get("warnings") or ()), *(event.get("says") or ())]
        return [t("cli.aside", self.lang, text=sentence(str(w), self.lang)) for w in told]

    def _note(self, event: dict[str, Any]) -> str:
        kind = event["kind"]
        if kind == "kept":
            return t("cli.kept", self.lang)
        if kind == "epoch":
            return self._epoch(event)
        if kind == "resumed":
            return t("cli.resumed", self.lang, step=event.get("step", 0))
        if kind == "baseline":
            return name("baseline", str(event.get("name", "")), self.lang)
        if kind == "found" and "patients" in event and "cases" in event:
            layout = name("layout", str(event.get("layout", "")), self.lang)
            return t("cli.found", self.lang, cases=event["cases"], patients=event["patients"], layout=layout)
        if kind == "found" and "verdict" in event:
            return t(f"synthesize.{str(event['verdict']).lower()}", self.lang)
        if kind == "found" and "network" in event:
            network = name("network", str(event["network"]), self.lang)
            return t(
                "cli.planned", self.lang, network=network, steps=event.get("steps", 0), members=event.get("members", 1)
            )
        return ""

    def _epoch(self, event: dict[str, Any]) -> str:
        """Return one point of the loss curve in words; the held-out loss only where there is one."""
        held = event.get("val_loss")
        known = held is not None and math.isfinite(float(held))
        early = event.get("stage") == "pretrain"
        return t(
            "cli.epoch_early" if early else "cli.epoch" if known else "cli.epoch_alone",
            self.lang,
            fold=f"{float(event.get('member', 0)):.0f}",
            epoch=f"{float(event.get('epoch', 0)):.1f}",
            step=f"{float(event.get('step', 0)):.0f}",
            steps=f"{float(event.get('steps', 0)):.0f}",
            loss=f"{float(event.get('loss', math.nan)):.4f}",
            held=f"{float(held):.4f}" if known and held is not None else "",
        )


def spoken(seconds: float, lang: str) -> str:
    """Return a time as people say it.

    Example:
        >>> spoken(4.24, "en"), spoken(75, "en"), spoken(3720, "en")
        ('4.2 s', '1 min 15 s', '1 h 02 min')
    """
    if seconds < 9.95:
        return t("cli.seconds", lang, s=f"{seconds:.1f}")
    whole = round(seconds)
    if whole < 60:
        return t("cli.seconds", lang, s=whole)
    if whole < 3600:
        return t("cli.minutes", lang, min=whole // 60, s=f"{whole % 60:02d}")
    return t("cli.hours", lang, h=whole // 3600, min=f"{whole % 3600 // 60:02d}")


class Display:
    """A listener that is entered before the first event and left after the last, also on failure; it shows nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def __call__(self, event: dict[str, Any]) -> None:
        """Show one event."""


class Lines(Display):
    """One plain line for each room that is finished and for each epoch.

    Args:
        lang: ``"en"`` or ``"zh"``.
        stream: Where to.
    """

    def __init__(self, lang: str, stream: TextIO) -> None:
        self.lang, self.stream = lang, stream
        self.rooms = Rooms(lang)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for title, room in self.rooms.rooms.items():
            # Prediction only counts; when all went well it is over with the display.
            if room.ended is None and kind is None:
                room.ended = time.time() - room.begun
                self._over(title, room)

    def __call__(self, event: dict[str, Any]) -> None:
        """Write a line where there is something to say."""
        title = str(event["room"])
        before = self.rooms.rooms.get(title)
        room = self.rooms.take(event)
        for line in self.rooms.aside(event):
            self._say(line)
        if event["kind"] in ("epoch", "resumed"):
            left = room.remaining(float(event["time"])) if event["kind"] == "epoch" else None
            tail = t("cli.tail", self.lang, left=spoken(left, self.lang)) if left is not None else ""
            self._say(t("report.pair", self.lang, head=name("room", title, self.lang), text=f"{room.note}{tail}"))
            # The last epoch is no news when the room ends.
            room.note = ""
        elif room.ended is not None and (before is not room or event["kind"] in LAST):
            self._over(title, room)

    def _over(self, title: str, room: Room) -> None:
        shown, took = name("room", title, self.lang), spoken(room.ended or 0.0, self.lang)
        key = "cli.room_done_note" if room.note else "cli.room_done"
        self._say(t(key, self.lang, room=shown, time=took, note=room.note))

    def _say(self, line: str) -> None:
        self.stream.write(line + "\n")
        self.stream.flush()


def display(lang: str, *, quiet: bool = False, stream: TextIO | None = None) -> Display:
    """Return what suits the stream.

    Args:
        lang: ``"en"`` or ``"zh"``.
        quiet: Show nothing.
        stream: Where to; standard error by default.
    """
    stream = stream or sys.stderr
    if quiet:
        return Display()
    if not stream.isatty():
        return Lines(lang, stream)
    from lucency.apps.bars import Bars  # noqa: PLC0415 - rich is not needed for --help, nor in a pipe

    return Bars(lang, stream)
