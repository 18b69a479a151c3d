"""From a DICOM series with awkward geometry to masks on its own slices."""

import sys
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest

from lucency.apps.boundary import settings_of
from lucency.fit import predict_folder
from lucency.read import load, read, read_inputs

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "read"))
import dicom_made as made

MODEL = Path(__file__).resolve().parents[1] / "data" / "model-v0.1" / "segment"
#: 14 slices of 24 x 24 pixels, 1 mm apart along the table, leaning by 20 degrees; a bright ball in the middle.
N, SIZE, TILT = 14, (24, 24), np.radians(20.0)


def series(folder, without=()):
    turn = [1.0, 0.0, 0.0, 0.0, float(np.cos(TILT)), float(np.sin(TILT))]
    j, i = np.mgrid[: SIZE[0], : SIZE[1]]
    slices = []
    for n in range(N):
        at = np.stack([i, j * np.cos(TILT), n + j * np.sin(TILT)], axis=-1)
        ball = np.linalg.norm(at - (12, 12 * np.cos(TILT), 7 + 12 * np.sin(TILT)), axis=-1) < 5
        plane = np.where(ball, 1200, 100).astype(np.uint16)
        slices.append(made.one_slice(n, (0, 0, float(n)), "MR", array=plane, ImageOrientationPatient=turn))
        slices[-1].PixelSpacing = [1, 1]
    made.write(folder, [s for n, s in enumerate(slices) if n not in without])


def test_a_mask_lies_on_the_leaning_slices_of_its_source(tmp_path):
    series(tmp_path / "in")
    (case,) = read_inputs(tmp_path / "in")
    image = load(case.sources[0])
    assert case.sources[0].header["tilt"] == pytest.approx(20.0, abs=1e-3)
    (found,) = predict_folder(MODEL, tmp_path / "in", tmp_path / "out")
    mask = nibabel.load(tmp_path / "out" / f"{found.case}.nii.gz")
    assert mask.shape == (*SIZE[::-1], N)
    # RAS of NIfTI beside LPS of DICOM: the first two axes change sign.
    ras = np.diag([-1, -1, 1, 1]) @ image.affine[:, [2, 1, 0, 3]]
    assert mask.affine == pytest.approx(ras, abs=1e-4)


def test_leaning_series_with_leaning_masks_can_be_learnt_from(tmp_path):
    from lucency.image import Image
    from lucency.inspect import inspect, settle
    from lucency.profile import profile
    from lucency.write.nifti import write_nifti

    for number in range(12):
        folder = tmp_path / "images" / f"p{number:02d}"
        series(folder)
        for file in folder.iterdir():
            data = pydicom.dcmread(file)
            data.SeriesInstanceUID, data.PatientID = f"1.2.3.{number}", f"P{number}"
            noise = np.random.default_rng(number).integers(0, 200, SIZE).astype(np.uint16)
            made.with_pixels(data, data.pixel_array + noise)
            data.save_as(file)
        image = load(read_inputs(folder)[0].sources[0])
        mask = Image((image.array > 700).astype(np.uint8), image.affine, kind="labels")
        write_nifti(tmp_path / "labels" / f"p{number:02d}.nii.gz", mask)
    cohort = read(tmp_path)
    assert (cohort.layout, cohort.labels) == ("pairs", {1: "1"})
    settled = settle(cohort, inspect(cohort))
    assert (len(settled.trainable) + len(settled.locked), len(settled.left_out)) == (12, 0)
    assert profile(settled).n_cases == len(settled.trainable)


def test_a_hole_is_refused_and_on_request_filled_and_said(tmp_path):
    series(tmp_path / "in" / "whole")
    hole = tmp_path / "in" / "hole"
    series(hole, without=(5,))
    for file in hole.iterdir():
        data = pydicom.dcmread(file)
        data.SeriesInstanceUID = "1.2.3.99"
        data.save_as(file)
    assert len(predict_folder(MODEL, tmp_path / "in", tmp_path / "out")) == 1
    told = (tmp_path / "out" / "skipped.csv").read_text("utf-8")
    assert "1 slice is missing" in told
    assert "hole/" in told
    asked = settings_of(["missing_slices=interpolate"])
    found = predict_folder(MODEL, tmp_path / "in", tmp_path / "out", missing_slices=asked["missing_slices"])
    assert len(found) == 2
    assert not (tmp_path / "out" / "skipped.csv").exists()
    assert "filled in by interpolation, as asked" in (tmp_path / "out" / "notes.txt").read_text("utf-8")
    for one in found:
        assert nibabel.load(tmp_path / "out" / f"{one.case}.nii.gz").shape == (*SIZE[::-1], N)


def test_a_walk_fills_in_holes_when_asked_and_reads_anew_when_the_answer_changes(tmp_path):
    from lucency.errors import DataError, UsageError
    from lucency.fit import fit
    from lucency.walk import Settings

    for number in range(12):
        folder = tmp_path / "in" / ("well", "ill")[number % 2] / f"p{number:02d}"
        series(folder, without=(5,) if number < 6 else ())
        for file in folder.iterdir():
            data = pydicom.dcmread(file)
            data.SeriesInstanceUID, data.PatientID = f"1.2.3.{number}", f"P{number}"
            noise = np.random.default_rng(number).integers(0, 200, SIZE).astype(np.uint16)
            made.with_pixels(data, data.pixel_array + noise)
            data.save_as(file)
    run = tmp_path / "run"
    with pytest.raises(
        DataError, match=r"6 of 12 files or series cannot be used.*1 slice is missing.*--set missing_slices=interpolate"
    ):
        fit(tmp_path / "in", run, settings=Settings(), upto="profile")
    asked = Settings(values={"missing_slices": "interpolate", "network": "cnn"})
    fit(tmp_path / "in", run, settings=asked, upto="read")
    told = (run / "cohort.json").read_text("utf-8")
    assert "Missing slices were filled in by interpolation, as asked, in 6 DICOM images" in told
    # The planner is told of the plan's own keys only.
    assert asked.planned == {"network": "cnn"}
    with pytest.raises(DataError, match="6 of 12 files or series cannot be used"):
        fit(tmp_path / "in", run, settings=Settings(), upto="profile")
    with pytest.raises(UsageError, match="missing_slices = 'maybe'"):
        fit(tmp_path / "in", run, settings=Settings(values={"missing_slices": "maybe"}), upto="read")
