"""Live progress on a terminal: one line per room, finished with its time, running with a bar and the time left."""

import time
from types import TracebackType
from typing import Any, Self, TextIO

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task, TaskID, TextColumn
from rich.table import Column
from rich.text import Text

from lucency.apps.terminal import Display, Room, Rooms, spoken
from lucency.text import name, t


class TimeColumn(ProgressColumn):
    """What a finished room took, what a running one has left, or for how long it has run.

    Args:
        lang: ``"en"`` or ``"zh"``.
    """

    def __init__(self, lang: str) -> None:
        super().__init__(table_column=Column(no_wrap=True))
        self.lang = lang

    def render(self, task: Task) -> Text:
        """Return the text for one room; counts down between events."""
        room: Room = task.fields["room"]
        if room.ended is not None:
            return Text(spoken(room.ended, self.lang))
        now = time.time()
        left = room.remaining(now)
        if left is None:
            return Text(spoken(max(0.0, now - room.begun), self.lang), style="dim")
        return Text(t("cli.left", self.lang, left=spoken(left, self.lang)))


class MarkColumn(SpinnerColumn):
    """A spinner while the room runs, then how it ended."""

    def render(self, task: Task) -> RenderableType:
        """Return the sign in front of one room."""
        return Text.from_markup(task.fields["mark"]) if task.finished else super().render(task)


class Bars(Display):
    """One live line per room.

    Args:
        lang: ``"en"`` or ``"zh"``.
        stream: A terminal.
    """

    def __init__(self, lang: str, stream: TextIO) -> None:
        self.lang = lang
        self.rooms = Rooms(lang)
        self._tasks: dict[str, TaskID] = {}
        self._progress = Progress(
            MarkColumn(),
            TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True)),
            BarColumn(bar_width=24),
            TimeColumn(lang),
            # The remark is what a narrow terminal cuts short.
            TextColumn(
                "{task.fields[room].note}",
                style="dim",
                markup=False,
                table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1),
            ),
            console=Console(file=stream, highlight=False),
            # Standard output may carry the machine-readable result; it is not ours to catch.
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for title, room in self.rooms.rooms.items():
            if room.ended is None:
                room.ended, room.deadline = time.time() - room.begun, None
                self._close(title, "[green]✓[/]" if kind is None else "[red]✗[/]")
        self._progress.stop()

    def __call__(self, event: dict[str, Any]) -> None:
        """Move the bar of the event's room."""
        title = str(event["room"])
        room = self.rooms.take(event)
        for line in self.rooms.aside(event):
            self._progress.console.print(line, markup=False, soft_wrap=True)
        if title not in self._tasks:
            shown = name("room", title, self.lang)
            self._tasks[title] = self._progress.add_task(shown, total=None, room=room, mark="")
        if room.ended is not None:
            self._close(title, "[green]✓[/]")
        else:
            # A full bar is not yet a finished room: there may be more to count.
            shown_done = min(room.done, 0.999 * room.total)
            self._progress.update(self._tasks[title], completed=shown_done, total=room.total or None, room=room)

    def _close(self, title: str, mark: str) -> None:
        self._progress.update(self._tasks[title], completed=1, total=1, mark=mark, room=self.rooms.rooms[title])
