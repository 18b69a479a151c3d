"""What ``predict`` leaves in its folder: masks on their sources' grids, one table, one notice."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from lucency.case import Case, Prediction
from lucency.errors import OutputError, UsageError
from lucency.record import write_text
from lucency.write.dicom_result import DICOM_FORMATS, Dicom, refuse, write_result
from lucency.write.nifti import write_nifti
from lucency.write.raster import write_raster
from lucency.write.rows import PREDICTIONS, Rows, joined, tabled
from lucency.write.synthetic import Made, write_synthetic
from lucency.write.table import write_rows, write_table

NOTICE = """Research use only, not a medical device.
研究用途，非医疗器械。

Made by lucency. predictions.csv has one row per image, boxes.csv one per box, measures.csv one per image and label;
masks lie on the grid of their source image.
"""

#: Added where images were made.
SYNTHETIC = """
Images here are SYNTHETIC: made by a network, not acquired. Lesions may be invented or erased; each has a note
(.synthetic.json) beside it and a mark in its header. Do not read a diagnosis from them.
此处的图像为合成图像：由网络生成，并非采集所得；病灶可能被凭空生成或被抹去。不得据此诊断。
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
        tables: What a prediction leaves in tables, by name of the table; None for the usual rows.
        made: Modality of synthetic images.
        given: Modalities that they are made of.
    """

    classes: tuple[str, ...] = ()
    labels: Mapping[int, str] = field(default_factory=dict)
    flat: bool = False
    tables: Callable[[Prediction], Mapping[str, Rows]] | None = None
    made: str = ""
    given: tuple[str, ...] = ()

    def rows(self, prediction: Prediction) -> Mapping[str, Rows]:
        """Return what a prediction leaves in tables."""
        if self.tables is not None:
            return self.tables(prediction)
        return tabled(prediction, self.classes, self.labels, flat=self.flat)


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
        The predictions; their masks and images are cut to a single voxel.

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
    tables: list[Mapping[str, Rows]] = []
    for prediction in predictions:
        if dicom is not None and form in DICOM_FORMATS:
            write_result(prediction, by_id[prediction.case], form, dicom, folder)
        tables.append(names.rows(prediction))
        if prediction.mask is None and prediction.image is None:
            kept.append(prediction)
            continue
        if form != "csv" and form not in DICOM_FORMATS:
            reader = by_id[prediction.case].sources[0].reader if prediction.case in by_id else ""
            path = folder / f"{prediction.case}{_suffix(form, reader, prediction)}"
            if prediction.image is not None:
                write_synthetic(path, prediction, Made(names.made, names.given, prediction.model))
            else:
                _write_mask(prediction, path)
        kept.append(_speck(prediction))
    _write_tables(tables, kept, folder)
    write_text(folder / "README.txt", NOTICE + (SYNTHETIC if any(p.image is not None for p in kept) else ""))
    return kept


def _speck(prediction: Prediction) -> Prediction:
    """Return a prediction whose mask or image is cut to one voxel."""
    whole = prediction.mask or prediction.image
    if whole is None:
        return prediction
    speck = replace(whole, array=np.zeros((1, 1, 1, 1), np.uint8))
    return replace(prediction, mask=speck) if prediction.mask is not None else replace(prediction, image=speck)


def _write_tables(tables: Sequence[Mapping[str, Rows]], predictions: Sequence[Prediction], folder: Path) -> None:
    """Write every table, sorted by case."""
    order = sorted(range(len(predictions)), key=lambda n: predictions[n].case)
    about = [predictions[n] for n in order]
    write_rows(folder / f"{PREDICTIONS}.csv", [tables[n][PREDICTIONS] for n in order], about)
    for name in dict.fromkeys(name for n in order for name in tables[n] if name != PREDICTIONS):
        table = joined([tables[n][name] for n in order if name in tables[n]], f"{name}.csv")
        write_table(folder / f"{name}.csv", table.columns, table.rows)


def _suffix(form: str, reader: str, prediction: Prediction) -> str:
    whole = prediction.mask or prediction.image
    flat = whole is not None and whole.size[0] == 1
    if form == "png" and not flat:
        raise UsageError("PNG cannot hold a volume", where="--format", remedy="use --format nifti")
    if prediction.image is not None and prediction.image.array.dtype not in (np.uint8, np.uint16):
        if form == "png":
            raise UsageError(
                f"PNG cannot hold numbers of type {prediction.image.array.dtype}",
                where="--format",
                remedy="use --format nifti",
            )
        return ".nii.gz"
    return ".png" if form == "png" or (form == "auto" and flat and reader == "raster") else ".nii.gz"


def _write_mask(prediction: Prediction, path: Path) -> None:
    if prediction.mask is None:
        raise OutputError("No mask to write", where=prediction.case)
    if path.suffix == ".png":
        write_raster(path, prediction.mask)
    else:
        write_nifti(path, prediction.mask)
