"""The work list as a table."""

from collections.abc import Sequence
from pathlib import Path

from lucency.annotate.orders import Place
from lucency.annotate.room import Look
from lucency.write.rows import Cell
from lucency.write.table import write_table

#: Columns of ``worklist.csv``.
COLUMNS = ("rank", "case", "file", "suggestion", "uncertainty", "quality", "doubt", "why", "finding_en", "finding_zh")


def write_worklist(path: Path, listed: Sequence[tuple[Look, Place]]) -> None:
    """Write the work list.

    Args:
        path: Where to.
        listed: In order.

    Raises:
        OutputError: The disk cannot be written.
    """
    rows: list[tuple[Cell, ...]] = [
        (
            rank,
            one.case.id,
            one.case.sources[0].where,
            one.suggestion,
            round(one.uncertainty, 4),
            round(one.quality, 4),
            round(one.doubt, 4),
            place.why,
            one.shown.get("finding_en"),
            one.shown.get("finding_zh"),
        )
        for rank, (one, place) in enumerate(listed, start=1)
    ]
    write_table(path, COLUMNS, rows)
