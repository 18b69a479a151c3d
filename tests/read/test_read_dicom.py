import numpy as np
import pytest
from pydicom.uid import generate_uid

from lucency.case import pseudonym
from lucency.errors import DataError
from lucency.read import ReadOptions, load, read, read_inputs

SECRET = "SECRET-NAME"


def test_a_series_is_ordered_along_its_normal_and_keeps_integers(folder):
    stored = folder.slices("s", depths=(4.0, 0.0, 2.0))
    (case,) = read_inputs(folder.root)
    (source,) = case.sources
    image = load(source)
    assert image.unit == "HU"
    assert image.array.dtype == np.int16
    assert source.header["size"] == (3, 5, 6)
    assert source.header["spacing"] == pytest.approx((2.0, 0.5, 0.75))
    for k, depth in enumerate((0.0, 2.0, 4.0)):
        assert np.array_equal(image.array[0, k], stored[depth].astype(int) - 1024)
    # Row 3 lies 3 x 0.5 mm behind the first, column 4 lies 4 x 0.75 mm to the left of it.
    assert image.affine @ [1, 3, 4, 1] == pytest.approx([-10 + 4 * 0.75, -20 + 3 * 0.5, 2.0, 1])


def test_slope_makes_floats_and_no_scale_keeps_the_stored_type(folder):
    folder.slices("a", RescaleSlope=2.5, PatientID="A")
    folder.slices("b", RescaleIntercept=0, PatientID="B")
    kinds = {load(c.sources[0]).array.dtype.name for c in read_inputs(folder.root)}
    assert kinds == {"float32", "uint16"}


def test_monochrome1_numbers_are_kept(folder):
    stored = folder.slices("s", depths=(0.0,), PhotometricInterpretation="MONOCHROME1", RescaleIntercept=0)
    assert np.array_equal(load(read_inputs(folder.root)[0].sources[0]).array[0, 0], stored[0.0])


def test_ids_and_patients_are_salted_digests_and_nothing_else_shows(folder):
    series = generate_uid()
    folder.slices("s", series=series)
    cohort = read(folder.root, ReadOptions(salt=b"pepper"))
    (case,) = cohort.cases
    assert case.id == pseudonym(b"pepper", series)
    assert case.patient == pseudonym(b"pepper", SECRET)
    assert case.facts == {"age": 45.0, "sex": "F", "scanner": "Acme", "modality": "CT"}
    assert cohort.patient_key == "DICOM Patient ID"
    assert SECRET not in repr(cohort)
    assert series not in repr(cohort)


@pytest.mark.parametrize(
    ("depths", "changes", "words"),
    [
        ((0.0, 1.0, 2.0, 4.0), {}, r"Gap after slice 2 is 2\.00 mm, elsewhere 1\.00 mm"),
        ((0.0, 1.0, 1.0), {}, "Slices 1 and 2 lie at the same place"),
        ((0.0, 1.0), {"ImageOrientationPatient": ([1, 0, 0, 0, 1, 0], [0, 1, 0, 0, 0, -1])}, "more than one direction"),
        ((0.0, 1.0), {"PixelSpacing": ([0.5, 0.75], [0.6, 0.75])}, "Pixel spacings that differ"),
        ((0.0, 5.0), {"ImagePositionPatient": ([0, 0, 0], [0, 1, 5])}, r"shift sideways by 1\.0 mm.*gantry tilt"),
    ],
)
def test_a_series_with_wrong_geometry_is_left_out_and_named(folder, depths, changes, words):
    folder.slices("good")
    folder.slices("bad", depths=depths, **changes)
    inputs = read_inputs(folder.root)
    assert len(inputs) == 1
    assert {s.path.split("/")[0] for s in inputs.skipped} == {"bad"}
    with pytest.raises(DataError, match=words) as caught:
        read(folder.root)
    assert SECRET not in str(caught.value)


def test_localizers_colour_and_frames_are_counted_and_left_out(folder):
    folder.slices("good")
    folder.slices("scout", depths=(0.0,), ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    folder.slices("cine", depths=(0.0,), NumberOfFrames=4)
    inputs = read_inputs(folder.root)
    assert len(inputs) == 1
    assert set(inputs.notes) == {
        "1 DICOM files left out: localizer.",
        "1 DICOM files left out: several frames in one file.",
    }


def test_truncated_pixels_are_refused_when_loaded(folder):
    folder.slices("s", depths=(0.0, 1.0))
    file = sorted((folder.root / "s").iterdir())[0]
    file.write_bytes(file.read_bytes()[:-20])
    from lucency.errors import ReadError

    with pytest.raises(ReadError, match=r"s/098\.dcm: The pixels cannot be read"):
        load(read_inputs(folder.root)[0].sources[0])


def test_class_folders_of_series_and_a_table_of_series_give_targets(folder):
    for label in ("benign", "malignant"):
        for n in range(3):
            folder.slices(f"{label}/{label}{n}", PatientID=f"{label}{n}")
    cohort = read(folder.root)
    assert (cohort.layout, cohort.classes, len(cohort.cases)) == ("classes", ("benign", "malignant"), 6)
    lines = "".join(f"{label}{n},{label[0]}\n" for label in ("benign", "malignant") for n in range(3))
    folder.text("truth.csv", "PatientID,diagnosis\n" + lines)
    cohort = read(folder.root, ReadOptions(target="diagnosis"))
    assert (cohort.layout, cohort.classes, len(cohort.trainable) + len(cohort.locked)) == ("table", ("b", "m"), 6)
