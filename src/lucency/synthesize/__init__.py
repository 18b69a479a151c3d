"""Generated images, accepted only with evidence: how good they are, whom they give away, and whether they help."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lucency.events import Listener

if TYPE_CHECKING:
    from lucency.synthesize.asked import Ask
    from lucency.synthesize.walked import Synthesis


def synthesize(
    data: str | Path,
    out: str | Path | None = None,
    *,
    ask: "Ask | None" = None,
    listeners: "Sequence[Listener]" = (),
) -> "Synthesis":
    """Train generators, audit them, find out whether their images help on real patients, and write the report.

    Called again with the same folders it goes on where it stopped.

    Args:
        data: Folder or file in any layout, or a run folder to go on with.
        out: Run folder; None is ``runs/<name of data>`` in the current folder.
        ask: What the user says: :class:`lucency.synthesize.asked.Ask`; None goes on as an earlier walk was begun.
        listeners: Called with every event.

    Returns:
        The verdict and what it rests on; ``RUN/report/synthesis.html`` tells it.

    Raises:
        UsageError: The call is wrong, the folder holds a walk that was begun otherwise, or the budget is too small for
            a verdict; the message says what it would take.
        DataError: No image can be generated from these data; the message says why.
        LucencyError: Disk full, memory short, another process at work in the folder.
    """
    from lucency.fit import folder_of  # noqa: PLC0415 - torch takes seconds; other parts of the room do without
    from lucency.synthesize.asked import Ask, asked_before  # noqa: PLC0415
    from lucency.synthesize.page import write_page  # noqa: PLC0415
    from lucency.synthesize.walked import walked  # noqa: PLC0415

    ask = ask or asked_before(folder_of(data, out)) or Ask()
    found = walked(data, out, ask, listeners)
    write_page(found.folder, found.verdict, found.design, found.looked, found.runs, ask.settings.lang)
    return found
