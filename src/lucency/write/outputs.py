"""What ``predict`` leaves in its folder: masks on their sources' grids, one table, one notice."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from lucency.case import Case, Prediction
from lucency.errors import OutputError, UsageError
from lucency.record import write_text
from lucency.write.dicom_result import DICOM_FORMATS, Dicom, refuse, write_result
from lucency.write.nifti import write_nifti
from lucency.write.raster import write_raster
from lucency.write.table import with_quality, write_predictions, write_table

NOTICE = """Research use only, not a medical device.
研究用途，非医疗器械。

Made by lucency. predictions.csv has one row per image; masks lie on the grid of their source image.
"""

#: Formats by name.
FORMATS = ("auto", "nifti", "png", *DICOM_FORMATS, "csv")


@dataclass(frozen=True)
class Names:
    """What the model calls things.

    Args:
        classes: In the model's order.
        labels: Mask value to name.
        flat: Whether the model works on single images.
    """

    classes: tuple[str, ...] = ()
    labels: Mapping[int, str] = field(default_factory=dict)
    flat: bool = False


def write_outputs(
    predictions: Iterable[Prediction],
    cases: Iterable[Case],
    names: Names,
    folder: Path,
    form: str = "auto",
    dicom: Dicom | None = None,
) -> list[Prediction]:
    """Write predictions as they come; masks leave memory as soon as they are on the disk.

    Args:
        predictions: In any order.
        cases: Their cases; the format of a source decides the format of its mask under ``"auto"``.
        names: Of the model.
        folder: Made if absent.
        form: One of :data:`FORMATS`. ``"csv"`` writes the table alone.
        dicom: How results become DICOM; needed for the formats that are.

    Returns:
        The predictions; their masks are cut to a single background voxel.

    Raises:
        UsageError: An unknown format, PNG for volumes, or DICOM where the sources are not.
        OutputError: The disk is full or the folder cannot be written.
    """
    if form not in FORMATS:
        raise UsageError(f"No format {form!r}", expected=", ".join(FORMATS), where="--format")
    by_id = {c.id: c for c in cases}
    if form in DICOM_FORMATS:
        if dicom is None:
            raise UsageError("DICOM results without their origin", where="--format", remedy="report this as a bug")
        refuse(form, by_id.values(), names.labels, names.classes)
    kept: list[Prediction] = []
    rows: list[list[str | float | int | None]] = []
    values = sorted(names.labels)
    for prediction in predictions:
        if dicom is not None and form in DICOM_FORMATS:
            write_result(prediction, by_id[prediction.case], form, dicom, folder)
        if prediction.mask is None:
            kept.append(prediction)
            continue
        if form != "csv" and form not in DICOM_FORMATS:
            reader = by_id[prediction.case].sources[0].reader if prediction.case in by_id else ""
            _write_mask(prediction, folder, _suffix(form, reader, prediction))
        counts = [int((prediction.mask.array == v).sum()) for v in values]
        ml = abs(float(np.linalg.det(prediction.mask.affine[:3, :3]))) / 1000
        rows.append([prediction.case, *counts, *([] if names.flat else [n * ml for n in counts])])
        affine = prediction.mask.affine
        speck = replace(prediction.mask, array=np.zeros((1, 1, 1, 1), np.uint8), affine=affine)
        kept.append(replace(prediction, mask=speck))
    if rows:
        called = [names.labels[v] for v in values]
        columns = ["case", *(f"voxels_{n}" for n in called), *([] if names.flat else [f"ml_{n}" for n in called])]
        table = sorted(zip(rows, kept, strict=True), key=lambda both: both[1].case)
        write_table(folder / "predictions.csv", *with_quality(columns, [r for r, _ in table], [p for _, p in table]))
    else:
        write_predictions(folder / "predictions.csv", kept, classes=names.classes, labels=names.labels)
    write_text(folder / "README.txt", NOTICE)
    return kept


def _suffix(form: str, reader: str, prediction: Prediction) -> str:
    flat = prediction.mask is not None and prediction.mask.size[0] == 1
    if form == "png" and not flat:
        raise UsageError("PNG cannot hold a volume", where="--format", remedy="use --format nifti")
    return ".png" if form == "png" or (form == "auto" and flat and reader == "raster") else ".nii.gz"


def _write_mask(prediction: Prediction, folder: Path, suffix: str) -> None:
    if prediction.mask is None:
        raise OutputError("No mask to write", where=prediction.case)
    path = folder / f"{prediction.case}{suffix}"
    if suffix == ".png":
        write_raster(path, prediction.mask)
    else:
        write_nifti(path, prediction.mask)
