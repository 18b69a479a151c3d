"""Made images say what they are, in every format, and their numbers come back."""

import json
from dataclasses import replace

import nibabel
import numpy as np
import placed
import pydicom
import pytest
from PIL import Image as Picture

from lucency.case import Case, Prediction
from lucency.errors import OutputError, UsageError
from lucency.image import Image, diagonal_affine
from lucency.write.dicom_result import Dicom, write_result
from lucency.write.dicom_source import measured
from lucency.write.outputs import Names, write_outputs
from lucency.write.rows import Rows
from lucency.write.synthetic import MARK, Made, write_synthetic, write_synthetic_series

MADE = Made("T2", ("T1",), "cd" * 32)


def prediction(array, affine=None, unit="1"):
    image = Image(array, diagonal_affine((1, 1, 1)) if affine is None else affine, unit=unit)
    return Prediction("c1", MADE.model, image=image)


def table(found):
    return {"predictions": Rows(("case", "synthetic"), ((found.case, "yes"),))}


NAMES = Names(tables=table, made="T2", given=("T1",))


def test_nifti_says_so_in_its_header_and_beside_it(tmp_path):
    array = np.arange(-60, 60, dtype=np.int16).reshape(1, 4, 5, 6)
    write_synthetic(tmp_path / "c1.nii.gz", prediction(array, unit="HU"), MADE)
    back = nibabel.load(tmp_path / "c1.nii.gz")
    said = bytes(back.header["descrip"]).rstrip(b"\0").decode()
    assert said == f"{MARK}; Lucency model {MADE.model[:16]}"
    assert np.array_equal(np.asarray(back.dataobj).transpose(2, 1, 0), array[0])
    note = json.loads((tmp_path / "c1.synthetic.json").read_text())
    assert (note["synthetic"], note["modality"], note["made_of"]) == (True, "T2", ["T1"])
    assert (note["file"], note["model_sha256"], note["unit"]) == ("c1.nii.gz", MADE.model, "HU")
    assert "invented or erased" in note["warning"]


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_png_says_so_in_chunks_of_text(kind, tmp_path):
    array = np.arange(30, dtype=kind).reshape(1, 1, 5, 6) * 8
    write_synthetic(tmp_path / "c1.png", prediction(array), MADE)
    with Picture.open(tmp_path / "c1.png") as back:
        assert back.info["Synthetic"] == "yes"
        assert back.info["Description"] == MADE.sentence
        assert np.array_equal(np.asarray(back), array[0, 0])


@pytest.mark.parametrize("kind", ["axial", "oblique", "reversed", "tilted", "multi-frame", "radiograph"])
def test_dicom_says_so_and_lies_at_its_source(kind, tmp_path):
    found = placed.place(kind, tmp_path)
    rng = np.random.default_rng(0)
    made = Image(rng.integers(-1000, 2000, found.image.array.shape).astype(np.int16), found.image.affine, unit="HU")
    source = measured(found.source, found.mask)
    files = write_synthetic_series(tmp_path / "out", made, source, placed.ORIGIN, modality="CT", given=("MR",))
    assert len(files) == made.size[0]
    seen = set()
    for k, path in enumerate(files):
        file = pydicom.dcmread(path)
        assert list(file.ImageType) == ["DERIVED", "SECONDARY", "SYNTHETIC"]
        assert file.DerivationDescription.startswith(f"{MARK}; CT from MR")
        assert placed.ORIGIN.model in file.DerivationDescription
        assert (file.ImageComments, file.SyntheticData, file.Modality) == (MARK, "YES", "OT")
        assert file.StudyInstanceUID == source.head.StudyInstanceUID
        assert file.SeriesInstanceUID != source.head.SeriesInstanceUID
        numbers = file.pixel_array * float(file.RescaleSlope) + float(file.RescaleIntercept)
        assert np.array_equal(numbers, made.array[0, k])
        if "ImagePositionPatient" in file:
            assert np.abs(np.array(file.ImagePositionPatient, float) - found.corner(k)).max() < 1e-4
        assert "Synthetic CT" in file.SeriesDescription
        seen.add(file.SOPInstanceUID)
    assert len(seen) == len(files)


@pytest.mark.parametrize("said", ["YES", "NO", None])
def test_words_that_are_burned_into_the_source_may_come_through(said, tmp_path):
    found = placed.place("radiograph", tmp_path)
    source = measured(found.source, found.mask)
    source.head.BurnedInAnnotation = said
    made = Image(np.zeros(found.image.array.shape, np.int16), found.image.affine)
    files = write_synthetic_series(tmp_path / "out", made, source, placed.ORIGIN, modality="CT", given=("MR",))
    assert pydicom.dcmread(files[0]).get("BurnedInAnnotation") == said


def test_numbers_with_a_fraction_come_back_within_a_step(tmp_path):
    found = placed.place("axial", tmp_path)
    made = Image(np.random.default_rng(0).normal(0, 3, found.image.array.shape).astype(np.float32), found.image.affine)
    source = measured(found.source, found.mask)
    files = write_synthetic_series(tmp_path / "out", made, source, placed.ORIGIN, modality="T2", given=("T1",))
    step = np.ptp(made.array) / 65535
    for k, path in enumerate(files):
        file = pydicom.dcmread(path)
        numbers = file.pixel_array * float(file.RescaleSlope) + float(file.RescaleIntercept)
        assert np.abs(numbers - made.array[0, k]).max() <= step


def test_other_dicom_formats_are_refused_and_an_old_series_goes(tmp_path):
    found = placed.place("axial", tmp_path)
    case = Case("c1", "p", {"image": (found.source,)})
    made = replace(prediction(found.image.array.astype(np.int16), found.image.affine), case="c1")
    dicom = Dicom(placed.ORIGIN, made="T2", given=("T1",))
    with pytest.raises(UsageError, match=r"makes images.*dicom-sc"):
        write_result(made, case, "dicom-seg", dicom, tmp_path / "out")
    files = write_result(made, case, "dicom-sc", dicom, tmp_path / "out")
    assert len(files) == found.image.size[0]
    stale = files[0].with_name("slice-0099.dcm")
    stale.write_bytes(b"old")
    write_result(made, case, "dicom-sc", dicom, tmp_path / "out")
    assert not stale.exists()
    assert json.loads((tmp_path / "out" / "c1.synthetic.json").read_text())["file"] == "c1-synthetic"


def test_outputs_choose_a_format_that_holds_the_numbers(tmp_path):
    raster = placed.Source(("a.png",), "", "raster")
    case = Case("c1", "p", {"image": (raster,)})
    flat = prediction(np.zeros((1, 1, 4, 4), np.uint8))
    kept = write_outputs([flat], [case], NAMES, tmp_path / "png")
    assert (tmp_path / "png" / "c1.png").exists()
    assert kept[0].image is not None
    assert kept[0].image.array.size == 1
    assert "SYNTHETIC" in (tmp_path / "png" / "README.txt").read_text(encoding="utf-8")
    assert (tmp_path / "png" / "predictions.csv").read_text(encoding="utf-8").splitlines()[1] == "c1,yes"
    signed = prediction(np.full((1, 1, 4, 4), -5, np.int16))
    write_outputs([signed], [case], NAMES, tmp_path / "nii")
    assert (tmp_path / "nii" / "c1.nii.gz").exists()
    with pytest.raises(UsageError, match="PNG cannot hold numbers of type int16"):
        write_outputs([signed], [case], NAMES, tmp_path / "no", "png")


def test_a_prediction_without_an_image_is_refused(tmp_path):
    with pytest.raises(OutputError, match="No image to write"):
        write_synthetic(tmp_path / "c1.png", Prediction("c1", "0", value=1.0), MADE)
