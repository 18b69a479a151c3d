"""``predictions.csv``: one row per case, ``case`` first, for people and spreadsheets."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from lucency.case import Prediction
from lucency.errors import OutputError
from lucency.foreign import FALSE_ALARM
from lucency.record import write_text
from lucency.write.rows import PREDICTIONS, Cell, Rows, joined, tabled


def write_table(path: Path, columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> None:
    """Write a CSV file: UTF-8, commas, text quoted where it needs to be, numbers with eight digits.

    Text is kept as it is, so a class named ``=1`` comes back as ``=1``.

    Args:
        path: Where to.
        columns: Names of the columns.
        rows: As many cells as columns; None and NaN are left empty.

    Raises:
        OutputError: A row of another length, or a disk that cannot be written.

    Source:
        RFC 4180, doi:10.17487/RFC4180.
    """
    for number, row in enumerate(rows, start=1):
        if len(row) != len(columns):
            raise OutputError(f"Row {number} has {len(row)} cells", expected=f"{len(columns)}", where=path.name)
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_text(cell) for cell in row] for row in rows)
    write_text(path, buffer.getvalue())


def write_predictions(
    path: Path,
    predictions: Sequence[Prediction],
    *,
    classes: Sequence[str] = (),
    labels: Mapping[int, str] | None = None,
) -> None:
    """Write ``predictions.csv`` for predictions that all hold the same payload, sorted by case.

    The columns are those of :func:`lucency.write.rows.tabled`. Where the quality of the images was judged, ``quality``
    and ``reason`` stand at the end.

    Args:
        path: Where to.
        predictions: At least one; the files of their masks are written elsewhere.
        classes: Class names in the model's order; needed for probabilities.
        labels: Mask value to name; needed for masks.

    Raises:
        OutputError: No predictions, payloads of two kinds, a class or label without a name, or a disk that
            cannot be written.
    """
    ordered = sorted(predictions, key=lambda p: p.case)
    write_rows(path, [tabled(p, classes, labels)[PREDICTIONS] for p in ordered], ordered)


def write_rows(path: Path, parts: Sequence[Rows], predictions: Sequence[Prediction]) -> None:
    """Write ``predictions.csv`` from the rows of predictions.

    Args:
        path: Where to.
        parts: One row each, in the order of the table.
        predictions: What the rows are about; masks may be cut away.

    Raises:
        OutputError: As for :func:`write_predictions`.
    """
    if not parts:
        raise OutputError("No predictions to write", where=path.name, remedy="choose a folder that holds images")
    table = joined(parts, path.name)
    write_table(path, *with_quality(table.columns, table.rows, predictions))


def with_quality(
    columns: Sequence[str], rows: Sequence[Sequence[Cell]], predictions: Sequence[Prediction]
) -> tuple[list[str], list[list[Cell]]]:
    """Return a table with what is thought of the images at its end, if any image was judged.

    The columns are ``quality`` and ``reason``, and ``foreign`` (yes or no) and ``likeness``, the chance that an image
    of the model's own kind looks as unlike its training images.

    Args:
        columns: Names.
        rows: One per prediction, in their order.
        predictions: What the rows are about.
    """
    heads, table = list(columns), [list(row) for row in rows]
    if any(p.quality for p in predictions):
        heads += ["quality", "reason"]
        table = [[*row, p.quality, p.reason] for row, p in zip(table, predictions, strict=True)]
    if any(p.likeness is not None for p in predictions):
        heads += ["foreign", "likeness"]
        table = [[*row, foreign(p), p.likeness] for row, p in zip(table, predictions, strict=True)]
    return heads, table


def foreign(prediction: Prediction) -> str:
    """Return ``"yes"`` where an image is of another kind than the training images, at the stated false alarm."""
    if prediction.likeness is None:
        return ""
    return "yes" if prediction.likeness <= FALSE_ALARM else "no"


def _text(cell: Cell) -> str:
    if cell is None:
        return ""
    if isinstance(cell, float | np.floating):
        return f"{cell:.8g}" if np.isfinite(cell) else ""
    return str(cell)
