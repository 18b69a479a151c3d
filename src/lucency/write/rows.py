"""What a prediction leaves in tables: one row in ``predictions.csv``, and a row for each box in ``boxes.csv``."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lucency.boxes import Box
from lucency.case import Prediction
from lucency.errors import OutputError

Cell = str | int | float | None

#: The table with one row for every case.
PREDICTIONS = "predictions"

#: Nearest cases of an index that stand in a table of predictions.
SHOWN_NEIGHBOURS = 10


@dataclass(frozen=True)
class Rows:
    """Rows of one table.

    Args:
        columns: Names; the first is ``case``.
        rows: As many cells each as there are columns; None is left empty.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


def tabled(
    prediction: Prediction, classes: Sequence[str] = (), labels: Mapping[int, str] | None = None, *, flat: bool = False
) -> dict[str, Rows]:
    """Return the rows of one prediction, by table.

    Classes give ``case, label, p_<class> …``; numbers ``case, value, lower, upper``; courses ``case, risk,
    median_days``; nearest cases ``case, label, nearest_1 …``; masks ``case, voxels_<label> …`` and, for volumes,
    ``ml_<label> …``; boxes ``case, boxes, highest_score, told`` and the table ``boxes``.

    Args:
        prediction: With its payload.
        classes: Class names in the model's order; needed for probabilities.
        labels: Mask value to name; needed for masks.
        flat: Whether the model works on single images, whose boxes have no third axis.

    Raises:
        OutputError: A class or label without a name.
    """
    p = prediction
    if p.probabilities is not None:
        return _one(["label", *(f"p_{c}" for c in classes)], [p.label, *_chances(p, classes)], p)
    if p.value is not None:
        return _one(["value", "lower", "upper"], [p.value, p.lower, p.upper], p)
    if p.course is not None:
        return _one(["risk", "median_days"], [p.course.risk, p.course.median_days], p)
    if p.neighbours is not None:
        nearest = p.neighbours[:SHOWN_NEIGHBOURS]
        return _one(["label", *(f"nearest_{n + 1}" for n in range(len(nearest)))], [p.label, *nearest], p)
    if p.boxes is not None:
        highest = max((b.score for b in p.boxes), default=None)
        every = tuple((p.case, *_box(b, flat=flat)) for b in p.boxes)
        told = sum(b.told for b in p.boxes)
        line = _one(["boxes", "highest_score", "told"], [len(p.boxes), highest, told], p)
        return line | {"boxes": Rows(box_columns(flat), every)}
    return _mask(p, labels or {})


def box_columns(flat: bool) -> tuple[str, ...]:
    """Return the columns of ``boxes.csv``: edges in the source's pixels, then in mm (LPS), and whether it is told."""
    axes = "xy" if flat else "xyz"
    pixels = ["xmin", "ymin", "xmax", "ymax", *([] if flat else ["zmin", "zmax"])]
    return ("case", "label", "score", *pixels, *(f"{a}min_mm" for a in axes), *(f"{a}max_mm" for a in axes), "told")


def _box(box: Box, *, flat: bool) -> list[Cell]:
    (k, j, i), (k_end, j_end, i_end) = box.low, box.high
    n = 2 if flat else 3
    none = (None,) * n
    pixels = [i, j, i_end, j_end, *([] if flat else [k, k_end])]
    return [box.label, box.score, *pixels, *(box.low_mm[:n] or none), *(box.high_mm[:n] or none), int(box.told)]


def _one(columns: Sequence[str], cells: Sequence[Cell], prediction: Prediction) -> dict[str, Rows]:
    return {PREDICTIONS: Rows(("case", *columns), ((prediction.case, *cells),))}


def _chances(prediction: Prediction, classes: Sequence[str]) -> list[float]:
    chances = prediction.probabilities or {}
    if set(chances) != set(classes):
        raise OutputError(f"Classes {sorted(chances)}", expected=f"{sorted(classes)}", where=prediction.case)
    return [chances[c] for c in classes]


def _mask(prediction: Prediction, labels: Mapping[int, str]) -> dict[str, Rows]:
    if prediction.mask is None:
        raise OutputError("A prediction without a payload", where=prediction.case, remedy="report this as a bug")
    values, counts = np.unique(prediction.mask.array, return_counts=True)
    found = dict(zip(values.tolist(), counts.tolist(), strict=True))
    unknown = sorted(set(found) - set(labels) - {0})
    if unknown:
        raise OutputError(f"Labels {unknown}", expected=f"{sorted(labels)}", where=prediction.case)
    named = sorted(labels)
    voxels = [int(found.get(v, 0)) for v in named]
    columns = [f"voxels_{labels[v]}" for v in named]
    if prediction.mask.size[0] == 1:
        return _one(columns, voxels, prediction)
    ml = abs(float(np.linalg.det(prediction.mask.affine[:3, :3]))) / 1000
    return _one([*columns, *(f"ml_{labels[v]}" for v in named)], [*voxels, *(n * ml for n in voxels)], prediction)


def joined(parts: Sequence[Rows], where: str) -> Rows:
    """Return one table of the rows of many predictions; a row of fewer columns has its last ones empty.

    Args:
        parts: In the order of the table, at least one.
        where: Name of the file, for errors.

    Raises:
        OutputError: Parts of different kinds.
    """
    widest = max((p.columns for p in parts), key=len)
    kinds = {p.columns for p in parts}
    if any(widest[: len(columns)] != columns for columns in kinds):
        raise OutputError(f"Predictions of {len(kinds)} kinds", expected="one", where=where)
    empty: tuple[Cell, ...] = (None,) * len(widest)
    return Rows(widest, tuple((*row, *empty[len(row) :]) for part in parts for row in part.rows))
