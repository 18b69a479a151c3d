"""The validator of David Clunie (dciodvfy) finds no error in any result, for any kind of source."""

import os
import shutil
import subprocess
import warnings
from pathlib import Path

import numpy as np
import placed
import pydicom
import pytest

from lucency.case import Prediction
from lucency.errors import LucencyError
from lucency.image import Image
from lucency.read import load, read_inputs
from lucency.write.capture import write_capture
from lucency.write.dicom_result import Dicom, write_result
from lucency.write.dicom_seg import write_seg
from lucency.write.dicom_source import measured
from lucency.write.dicom_sr import CLASSES, write_boxes, write_classes, write_found
from lucency.write.parametric import write_parametric

pytestmark = pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dciodvfy (dicom3tools) is not installed")

#: What the validator of 2022 says of a label map, whose kind is younger: it does not know it, and so neither that a
#: label map describes its background as segment 0.
UNKNOWN_KIND = ("Information Object Not found", "SegmentNumber not monotonically increasing from one by one")


def errors(path) -> list[str]:
    """Its exit status is no verdict; its words on standard error are."""
    done = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, errors="replace", check=False)
    assert done.stderr.strip(), "it said nothing at all"
    return [line for line in done.stderr.splitlines() if line.startswith("Error")]


@pytest.mark.parametrize("bare", [False, True])
@pytest.mark.parametrize("kind", placed.KINDS)
def test_no_error_in_segmentation_report_map_or_picture(kind, bare, tmp_path):
    found = placed.place(kind, tmp_path)
    for path in found.source.files if bare else ():
        strip(path)
    seen, out = measured(found.source, found.mask), tmp_path / "out"
    made = write_seg(out / "seg.dcm", found.mask, placed.NAMES, seen, placed.ORIGIN)
    for form in CLASSES:
        write_found(out / f"{form}.dcm", found.mask, placed.NAMES, seen, placed.ORIGIN, segmentation=made, form=form)
        write_classes(out / f"classes-{form}.dcm", placed.SAID, seen, placed.ORIGIN, form=form)
        names = tuple(placed.NAMES.values())
        write_boxes(out / f"boxes-{form}.dcm", placed.BOXED, names, found.image, seen, placed.ORIGIN, form=form)
    if kind != "radiograph":
        heat = Image(np.random.default_rng(0).random(found.image.array.shape, np.float32), found.image.affine)
        write_parametric(out / "map.dcm", heat, seen, placed.ORIGIN)
    write_capture(out / "overlay", found.image, found.mask, seen, placed.ORIGIN)
    files = sorted(out.rglob("*.dcm"))
    assert len(files) >= 8
    assert {p.relative_to(out).as_posix(): errors(p) for p in files if errors(p)} == {}


def strip(path) -> None:
    """Leave a source as old or careless equipment writes it."""
    data = pydicom.dcmread(path)
    for keyword in ("BodyPartExamined", "PatientAge", "ReferringPhysicianName", "AccessionNumber", "Manufacturer"):
        delattr(data, keyword)
    data.Laterality = "L"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data.StudyDate, data.StudyTime = "1997.04.24", "14:04:38"
    data.PatientIdentityRemoved = "YES"
    data.save_as(path)


#: Whole collections of real files whose own identity is not valid DICOM; the results repeat it, as they must.
INVALID_SOURCES = ("Illegal root for UID", "StudyInstanceUID has same value as FrameOfReferenceUID")
#: A real file with another fault of its own: its study is no UID.
FAULTY = ("bad_sequence.dcm",)


@pytest.mark.journey
@pytest.mark.filterwarnings("ignore")  # what pydicom remarks on odd values is not the matter here
def test_no_error_that_a_real_source_does_not_have_itself(tmp_path):
    data = Path(os.environ.get("LUCENCY_TEST_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
    if not (data / "dicom").is_dir():
        pytest.skip("the real data are not here (LUCENCY_TEST_DATA)")
    tried, found, refused = 0, {}, []
    for number, case in enumerate(read_inputs(data / "dicom")):
        source, out = case.sources[0], tmp_path / str(number)
        try:
            image = load(source) if source.reader == "dicom" else None
        except LucencyError:
            image = None
        if image is None or source.paths[0].endswith(FAULTY):
            continue
        array = (np.random.default_rng(0).random((1, *image.size)) < 0.02).astype(np.uint8)
        array[0, 0, 0, 0] = 2
        said = Prediction("c", "0", mask=Image(array, image.affine, kind="labels", k_axis=image.k_axis))
        how = Dicom(placed.ORIGIN, {1: "nodule", 2: "左肺"})
        try:
            paths = [p for f in ("dicom-sr", "dicom-sc") for p in write_result(said, case, f, how, out)[:2]]
        except LucencyError as error:
            refused.append(str(error))
            continue
        tried += 1
        wrong = [e for p in paths for e in errors(p) if not any(words in e for words in INVALID_SOURCES)]
        found |= {source.paths[0]: wrong} if wrong else {}
    assert tried >= 40
    assert found == {}
    # Files without the UIDs that a result refers to, and a series number that two studies share.
    assert all("lacks" in r or "several studies" in r for r in refused)


def test_of_a_label_map_it_only_says_that_it_does_not_know_the_kind(tmp_path):
    found = placed.place("axial", tmp_path)
    seen = measured(found.source, found.mask)
    write_seg(tmp_path / "a.dcm", found.mask, placed.NAMES, seen, placed.ORIGIN, form="labelmap")
    other = [e for e in errors(tmp_path / "a.dcm") if not any(words in e for words in UNKNOWN_KIND)]
    assert other == []


def test_the_validator_does_find_what_is_wrong(tmp_path):
    found = placed.place("axial", tmp_path)
    write_seg(tmp_path / "a.dcm", found.mask, placed.NAMES, measured(found.source, found.mask), placed.ORIGIN)
    placed.change(tmp_path / "a.dcm", SegmentationType="TERNARY", Manufacturer="")
    assert errors(tmp_path / "a.dcm")
