"""The demo's data: layout, resumption, and that image and truth lie on one grid."""

import nibabel
import numpy as np
import pydicom
import pytest

from lucency.errors import OutputError
from lucency.phantom import patient
from lucency.write.demo import write_demo


def snapshot(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo") / "data"
    write_demo(folder, n_patients=2, seed=5)
    return folder


def test_layout_is_one_series_folder_and_one_mask_of_the_same_name_per_patient(demo):
    assert sorted(p.name for p in demo.iterdir()) == ["README.txt", "images", "labels", "labels.json"]
    assert sorted(p.name for p in (demo / "images").iterdir()) == ["chest-01", "chest-02"]
    assert sorted(p.name for p in (demo / "labels").iterdir()) == ["chest-01.nii.gz", "chest-02.nii.gz"]
    assert "patients who never lived" in (demo / "README.txt").read_text(encoding="utf-8")


def test_mask_lies_on_the_grid_of_the_series(demo):
    truth = patient(2, 5)
    mask = nibabel.load(demo / "labels" / "chest-02.nii.gz")
    assert np.array_equal(np.asarray(mask.dataobj).T, truth.mask.array[0])
    first = pydicom.dcmread(sorted((demo / "images" / "chest-02").iterdir())[0])
    assert mask.affine[:3, 3] * (-1, -1, 1) == pytest.approx(np.array(first.ImagePositionPatient, float), abs=1e-3)
    assert np.array_equal(first.pixel_array.astype(int) - 1024, truth.image.array[0, 0])
    assert first.PatientAge == f"{truth.age:03d}Y"


def test_what_is_missing_is_added_and_the_rest_stays(tmp_path):
    folder = tmp_path / "data"
    write_demo(folder, n_patients=2, seed=5)
    whole = snapshot(folder)
    (folder / "labels" / "chest-01.nii.gz").unlink()
    stays = folder / "images" / "chest-02" / "slice-0001.dcm"
    before = stays.stat().st_mtime_ns
    write_demo(folder, n_patients=2, seed=5)
    assert snapshot(folder) == whole
    assert stays.stat().st_mtime_ns == before


def test_a_folder_of_something_else_is_left_alone(tmp_path, demo):
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(OutputError, match="other files"):
        write_demo(tmp_path, n_patients=1, seed=5)
    with pytest.raises(OutputError, match="other files"):
        write_demo(demo, n_patients=2, seed=6)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]
