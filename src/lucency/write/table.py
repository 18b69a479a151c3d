"""``predictions.csv``: one row per case, ``case`` first, for people and spreadsheets."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from lucency.case import Prediction
from lucency.errors import OutputError
from lucency.record import write_text

Cell = str | int | float | None

#: Nearest cases of an index that stand in a table of predictions.
SHOWN_NEIGHBOURS = 10


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

    Classes give ``case, label, p_<class> …``; numbers ``case, value, lower, upper``; masks
    ``case, voxels_<label> …`` and, for volumes, ``ml_<label> …`` (see also :mod:`lucency.write.outputs`); nearest cases
    ``case, label, nearest_1 …``. Where the quality of images was judged, ``quality`` and ``reason`` stand at the end.

    Args:
        path: Where to.
        predictions: At least one; the files of their masks are written elsewhere.
        classes: Class names in the model's order; needed for probabilities.
        labels: Mask value to name; needed for masks.

    Raises:
        OutputError: No predictions, payloads of two kinds, a class or label without a name, or a disk that
            cannot be written.
    """
    if not predictions:
        raise OutputError("No predictions to write", where=path.name, remedy="choose a folder that holds images")
    kinds = {_kind(p) for p in predictions}
    if len(kinds) > 1:
        raise OutputError(f"Predictions of {len(kinds)} kinds", expected="one", where=path.name)
    ordered = sorted(predictions, key=lambda p: p.case)
    if kinds == {"classes"}:
        columns, rows = _class_rows(ordered, classes, path)
    elif kinds == {"value"}:
        columns = ["case", "value", "lower", "upper"]
        rows = [[p.case, p.value, p.lower, p.upper] for p in ordered]
    elif kinds == {"neighbours"}:
        n = max(len(p.neighbours or ()) for p in ordered)
        n = min(n, SHOWN_NEIGHBOURS)
        columns = ["case", "label", *(f"nearest_{k + 1}" for k in range(n))]
        rows = [[p.case, p.label, *_first(p.neighbours or (), n)] for p in ordered]
    else:
        columns, rows = _mask_rows(ordered, labels or {}, path)
    write_table(path, *with_quality(columns, rows, ordered))


def with_quality(
    columns: Sequence[str], rows: Sequence[Sequence[Cell]], predictions: Sequence[Prediction]
) -> tuple[list[str], list[list[Cell]]]:
    """Return a table with the columns ``quality`` and ``reason`` at its end, if any image was judged.

    Args:
        columns: Names.
        rows: One per prediction, in their order.
        predictions: What the rows are about.
    """
    if not any(p.quality for p in predictions):
        return list(columns), [list(row) for row in rows]
    judged = [[*row, p.quality, p.reason] for row, p in zip(rows, predictions, strict=True)]
    return [*columns, "quality", "reason"], judged


def _kind(prediction: Prediction) -> str:
    if prediction.probabilities is not None:
        return "classes"
    if prediction.neighbours is not None:
        return "neighbours"
    return "value" if prediction.mask is None else "mask"


def _first(neighbours: Sequence[str], n: int) -> list[Cell]:
    return [neighbours[k] if k < len(neighbours) else None for k in range(n)]


def _class_rows(
    predictions: Sequence[Prediction], classes: Sequence[str], path: Path
) -> tuple[list[str], list[list[Cell]]]:
    rows: list[list[Cell]] = []
    for prediction in predictions:
        chances = prediction.probabilities or {}
        if set(chances) != set(classes):
            raise OutputError(
                f"Classes {sorted(chances)}", expected=f"{sorted(classes)}", where=f"{path.name}, {prediction.case}"
            )
        rows.append([prediction.case, prediction.label, *(chances[c] for c in classes)])
    return ["case", "label", *(f"p_{c}" for c in classes)], rows


def _mask_rows(
    predictions: Sequence[Prediction], labels: Mapping[int, str], path: Path
) -> tuple[list[str], list[list[Cell]]]:
    names = [labels[v] for v in sorted(labels)]
    volumes = any(p.mask is not None and p.mask.size[0] > 1 for p in predictions)
    rows: list[list[Cell]] = []
    for prediction in predictions:
        assert prediction.mask is not None
        values, counts = np.unique(prediction.mask.array, return_counts=True)
        found = dict(zip(values.tolist(), counts.tolist(), strict=True))
        unknown = sorted(set(found) - set(labels) - {0})
        if unknown:
            raise OutputError(
                f"Labels {unknown}", expected=f"{sorted(labels)}", where=f"{path.name}, {prediction.case}"
            )
        voxels = [int(found.get(v, 0)) for v in sorted(labels)]
        ml = abs(float(np.linalg.det(prediction.mask.affine[:3, :3]))) / 1000
        flat = prediction.mask.size[0] == 1
        rows.append([prediction.case, *voxels, *([None if flat else n * ml for n in voxels] if volumes else [])])
    return ["case", *(f"voxels_{n}" for n in names), *(f"ml_{n}" for n in names if volumes)], rows


def _text(cell: Cell) -> str:
    if cell is None:
        return ""
    if isinstance(cell, float | np.floating):
        return f"{cell:.8g}" if np.isfinite(cell) else ""
    return str(cell)
