"""The validator of David Clunie (dciodvfy) finds no error in any result, for any kind of source."""

import shutil
import subprocess

import numpy as np
import placed
import pytest

from lucency.image import Image
from lucency.write.capture import write_capture
from lucency.write.dicom_seg import write_seg
from lucency.write.dicom_source import measured
from lucency.write.dicom_sr import CLASSES, write_classes, write_found
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


@pytest.mark.parametrize("kind", placed.KINDS)
def test_no_error_in_segmentation_report_map_or_picture(kind, tmp_path):
    found = placed.place(kind, tmp_path)
    seen, out = measured(found.source, found.mask), tmp_path / "out"
    made = write_seg(out / "seg.dcm", found.mask, placed.NAMES, seen, placed.ORIGIN)
    for form in CLASSES:
        write_found(out / f"{form}.dcm", found.mask, placed.NAMES, seen, placed.ORIGIN, segmentation=made, form=form)
        write_classes(out / f"classes-{form}.dcm", placed.SAID, seen, placed.ORIGIN, form=form)
    if kind != "radiograph":
        heat = Image(np.random.default_rng(0).random(found.image.array.shape, np.float32), found.image.affine)
        write_parametric(out / "map.dcm", heat, seen, placed.ORIGIN)
    write_capture(out / "overlay", found.image, found.mask, seen, placed.ORIGIN)
    files = sorted(out.rglob("*.dcm"))
    assert len(files) >= 6
    assert {p.relative_to(out).as_posix(): errors(p) for p in files if errors(p)} == {}


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
