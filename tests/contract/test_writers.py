"""The contract of a writer: whole or not at all, the same bytes for the same input, an error in plain words."""

import tempfile
from collections.abc import Callable
from datetime import datetime
from functools import cache
from pathlib import Path

import numpy as np
import pytest

import lucency.write
from lucency.annotation import Annotation
from lucency.case import Case, Prediction, Source
from lucency.errors import OutputError
from lucency.image import Image, diagonal_affine
from lucency.write.capture import write_capture
from lucency.write.coco import Coco
from lucency.write.dicom_object import Origin
from lucency.write.dicom_result import Dicom, write_result
from lucency.write.dicom_seg import write_seg
from lucency.write.dicom_series import Identity, write_series
from lucency.write.dicom_source import Measured, measured
from lucency.write.dicom_sr import write_classes
from lucency.write.label_studio import Tasks
from lucency.write.nifti import write_nifti
from lucency.write.outputs import Names, write_outputs
from lucency.write.parametric import write_parametric
from lucency.write.pictures import write_pictures
from lucency.write.raster import write_raster
from lucency.write.seg_nrrd import write_seg_nrrd
from lucency.write.snap import write_label_file
from lucency.write.synthetic import Made, write_synthetic
from lucency.write.table import write_predictions, write_table

MASK = Image(np.arange(12, dtype=np.uint8).reshape(1, 1, 3, 4), diagonal_affine((2, 1, 1)), kind="labels")
CT = Image(np.arange(24, dtype=np.int16).reshape(1, 2, 3, 4) - 5, diagonal_affine((2, 1, 1)), unit="HU")
SAID = Prediction("c1", "0", probabilities={"a": 0.25, "b": 0.75}, label="b")
CASE = Case("c1", "p", {"image": (Source(("c1.nii.gz",), "", "nifti"),)}, None)


def _outputs(path: Path) -> None:
    """Masks, table and notice of one case."""
    found = Prediction("c1", "0", mask=MASK.with_array((MASK.array > 5).astype(np.uint8)))
    write_outputs([found], [CASE], Names(labels={1: "ball"}), path)


#: Where the source of the DICOM results lies while the tests run.
SERIES = tempfile.TemporaryDirectory()
FOUND = Image((CT.array > 5).astype(np.uint8), CT.affine, kind="labels", unit="label")
HEAT = Image(np.linspace(0, 1, CT.array.size, dtype=np.float32).reshape(CT.array.shape), CT.affine)
BY = Origin("0" * 64, datetime(2026, 3, 4))
LABELS = {1: "ball"}
MADE = Prediction("c1", "0" * 64, image=CT)


DRAWN = Annotation("a", (FOUND,), LABELS)


def _coco(path: Path) -> None:
    coco = Coco(tuple(LABELS.values()))
    coco.add(DRAWN, FOUND.size)
    coco.write(path)


def _tasks(path: Path) -> None:
    tasks = Tasks(tuple(LABELS.values()))
    tasks.add(DRAWN, FOUND.size)
    tasks.write(path)


@cache
def _source() -> Source:
    """The CT as a series."""
    series = Path(SERIES.name, "s")
    write_series(series, CT, Identity(3, 1))
    return Source(tuple(sorted(p.name for p in series.iterdir())), str(series), "dicom")


def _seen() -> Measured:
    return measured(_source(), CT)


def _result(path: Path) -> None:
    case = Case("c1", "p", {"image": (_source(),)}, None)
    write_result(Prediction("c1", "0", mask=FOUND), case, "dicom-sr", Dicom(BY, LABELS), path)


#: One use of every public function of the room that writes, by its name; each is given the path to write to.
WRITERS: dict[str, Callable[[Path], object]] = {
    "nifti": lambda path: write_nifti(path, MASK),
    "raster": lambda path: write_raster(path, MASK),
    "table": lambda path: write_table(path, ["case", "x"], [["c1", 0.125], ["c,2", None]]),
    "predictions": lambda path: write_predictions(path, [SAID], classes=("a", "b")),
    "dicom_series": lambda path: write_series(path, CT, Identity(3, 1)),
    "outputs": _outputs,
    "dicom_seg": lambda path: write_seg(path, FOUND, LABELS, _seen(), BY),
    "dicom_sr": lambda path: write_classes(path, SAID, _seen(), BY),
    "parametric": lambda path: write_parametric(path, HEAT, _seen(), BY),
    "capture": lambda path: write_capture(path, CT, FOUND, _seen(), BY),
    "dicom_result": _result,
    "seg_nrrd": lambda path: write_seg_nrrd(path, DRAWN),
    "coco": _coco,
    "label_studio": _tasks,
    "pictures": lambda path: write_pictures(path, "a", CT),
    "snap": lambda path: write_label_file(path, LABELS),
    "synthetic": lambda path: write_synthetic(path / "c1.nii.gz", MADE, Made("CT", ("MR",), "0" * 64)),
}
SUFFIX = {"nifti": ".nii.gz", "raster": ".png", "table": ".csv", "predictions": ".csv"} | dict.fromkeys(
    ("dicom_seg", "dicom_sr", "parametric"), ".dcm"
)
SUFFIX |= {"seg_nrrd": ".seg.nrrd", "coco": ".json", "snap": ".txt"}


def test_every_file_of_the_room_is_tried_here() -> None:
    folder = Path(str(lucency.write.__file__)).parent
    # The demo writes whole data sets with these writers; its own test stands beside it. The others write nothing: what
    # DICOM results and tables are made of.
    parts = {"dicom_source", "dicom_object", "dicom_frames", "vocabulary", "rows", "runlengths", "outlines"}
    files = {p.stem for p in folder.glob("*.py")} - {"__init__", "demo"} - parts
    assert files <= set(WRITERS)


def written(path: Path) -> dict[str, bytes]:
    """Name to bytes of what lies at ``path``."""
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    return {f.name: f.read_bytes() for f in files}


@pytest.mark.parametrize("name", WRITERS)
def test_the_same_input_gives_the_same_bytes(name: str, tmp_path: Path) -> None:
    contents = []
    for folder in ("one", "two"):
        path = tmp_path / folder / f"x{SUFFIX.get(name, '')}"
        WRITERS[name](path)
        contents.append(written(path))
    assert contents[0]
    assert all(contents[0].values())
    assert contents[0] == contents[1]


@pytest.mark.parametrize("name", WRITERS)
def test_nothing_but_the_output_is_left_behind(name: str, tmp_path: Path) -> None:
    path = tmp_path / f"x{SUFFIX.get(name, '')}"
    WRITERS[name](path)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    assert not [n for n in written(path) if n.startswith(".")]


@pytest.mark.parametrize("name", WRITERS)
def test_a_place_that_cannot_be_written_is_an_output_error(name: str, tmp_path: Path) -> None:
    """A file stands where a folder is needed: refused for everyone, the administrator included."""
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(OutputError) as error:
        WRITERS[name](tmp_path / "taken" / f"x{SUFFIX.get(name, '')}")
    assert error.value.exit_status == 1
    assert str(tmp_path) not in str(error.value)
    assert (tmp_path / "taken").read_text() == "a file"
