"""DICOM series out, checked by pydicom, by our own reader and, where installed, by dciodvfy."""

import shutil
import subprocess

import numpy as np
import pydicom
import pytest

from lucency.errors import GeometryError, OutputError, UsageError
from lucency.image import Image, diagonal_affine
from lucency.phantom import patient
from lucency.write.dicom_series import Identity, write_series

WHO = Identity(7, 2, age=61, sex="F")


def files(folder):
    return [pydicom.dcmread(p) for p in sorted(folder.glob("*.dcm"))]


def turned(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    affine = np.eye(4)
    affine[:3, :3] = turn * (4.5, 0.7031, 0.7031)
    affine[:3, 3] = rng.uniform(-300, 300, 3)
    return affine


@pytest.mark.parametrize("seed", range(4))
def test_every_voxel_keeps_its_place_and_its_number(tmp_path, seed):
    rng = np.random.default_rng(seed)
    image = Image(rng.integers(-1024, 3000, (1, 3, 5, 6)).astype(np.int16), turned(seed), unit="HU")
    write_series(tmp_path / "s", image, WHO)
    for k, file in enumerate(files(tmp_path / "s")):
        hu = file.pixel_array * float(file.RescaleSlope) + float(file.RescaleIntercept)
        assert np.array_equal(hu, image.array[0, k])
        row, column = np.array(file.ImageOrientationPatient, float).reshape(2, 3)
        for j, i in ((0, 0), (4, 5), (2, 1)):
            # PS3.3 C.7.6.2.1.1, equation C.7.6.2.1-1
            place = np.array(file.ImagePositionPatient, float)
            place = place + row * float(file.PixelSpacing[1]) * i + column * float(file.PixelSpacing[0]) * j
            assert place == pytest.approx((image.affine @ (k, j, i, 1))[:3], abs=1e-6)


def test_identity_is_invented_and_no_date_is_claimed(tmp_path):
    write_series(tmp_path / "s", patient(7, 2).image, WHO)
    found = files(tmp_path / "s")
    assert len(found) == 40
    for number, file in enumerate(found, start=1):
        assert file.PatientName == "PHANTOM^07"
        assert file.PatientID == "PHANTOM-07"
        assert (file.PatientAge, file.PatientSex, file.QualityControlSubject) == ("061Y", "F", "YES")
        assert file.StudyDate == file.PatientBirthDate == ""
        assert file.SOPClassUID.name == "CT Image Storage"
        assert file.InstanceNumber == number
        assert (file.BitsStored, file.HighBit, file.PixelRepresentation) == (12, 11, 0)
    assert len({f.SOPInstanceUID for f in found}) == 40
    assert len({f.SeriesInstanceUID for f in found}) == len({f.StudyInstanceUID for f in found}) == 1


def test_same_patient_gives_the_same_bytes_and_another_other_uids(tmp_path):
    image = patient(7, 2).image
    write_series(tmp_path / "a", image, WHO)
    write_series(tmp_path / "b", image, WHO)
    write_series(tmp_path / "c", image, Identity(8, 2))
    first = [p.read_bytes() for p in sorted((tmp_path / "a").iterdir())]
    assert first == [p.read_bytes() for p in sorted((tmp_path / "b").iterdir())]
    uids = [{f.SOPInstanceUID for f in files(tmp_path / n)} for n in ("a", "c")]
    assert not uids[0] & uids[1]


def test_sixteen_bits_where_twelve_do_not_hold_the_numbers(tmp_path):
    image = Image(np.array([-1024.0, 64511.0]).reshape(1, 1, 1, 2), np.eye(4), unit="HU")
    write_series(tmp_path / "s", image, WHO)
    (file,) = files(tmp_path / "s")
    assert (file.BitsStored, file.HighBit) == (16, 15)
    assert (file.pixel_array.astype(int) - 1024).ravel().tolist() == [-1024, 64511]


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.full((1, 1, 2, 2), -1025), "-1025"),
        (np.full((1, 1, 2, 2), 64512), "64512"),
        (np.full((1, 1, 2, 2), 0.5), "not whole"),
    ],
)
def test_numbers_that_do_not_fit_are_refused(tmp_path, array, message):
    with pytest.raises(OutputError, match=message):
        write_series(tmp_path / "s", Image(array, np.eye(4)), WHO)
    assert not list(tmp_path.iterdir())


def test_what_a_series_cannot_hold_is_refused(tmp_path):
    sheared = diagonal_affine((5, 1, 1))
    sheared[1, 0] = 1.0
    with pytest.raises(GeometryError, match="right angles"):
        write_series(tmp_path / "s", Image(np.zeros((1, 2, 2, 2)), sheared), WHO)
    with pytest.raises(GeometryError, match="one channel"):
        write_series(tmp_path / "s", Image(np.zeros((2, 2, 2, 2)), np.eye(4)), WHO)
    with pytest.raises(GeometryError, match="labels"):
        write_series(tmp_path / "s", patient(0, 2).mask, WHO)
    with pytest.raises(UsageError, match="out of range"):
        Identity(-1, 0)


def test_an_existing_folder_is_never_touched(tmp_path):
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "mine.txt").write_text("keep")
    with pytest.raises(OutputError, match="exists"):
        write_series(tmp_path / "s", patient(0, 2).image, WHO)
    assert [p.name for p in (tmp_path / "s").iterdir()] == ["mine.txt"]


def test_a_failure_half_way_leaves_nothing(tmp_path, monkeypatch):
    saved = []

    def full(self, *args, **kwargs):
        saved.append(1)
        if len(saved) > 3:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(pydicom.dataset.Dataset, "save_as", full)
    with pytest.raises(OutputError, match="No space left"):
        write_series(tmp_path / "s", patient(0, 2).image, WHO)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dciodvfy (dicom3tools) is not installed")
def test_dciodvfy_finds_no_error(tmp_path):
    write_series(tmp_path / "s", patient(7, 2).image, WHO)
    for path in sorted((tmp_path / "s").iterdir())[::13]:
        said = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, check=False).stderr
        assert "CTImage" in said
        assert [line for line in said.splitlines() if line.startswith("Error")] == []
