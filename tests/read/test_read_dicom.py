import re

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
        ((0.0, 1.0), {"PixelSpacing": ([0.5, 0.75], [0.6, 0.75])}, "Pixel spacings that differ"),
        ((0.0, 5.0), {"ImagePositionPatient": ([0, 0, 0], [0, 20, 5])}, r"shift sideways by 20\.0 mm for each 5\.0 mm"),
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


def test_localizers_are_counted_and_frames_without_a_place_are_refused(folder):
    folder.slices("good")
    folder.slices("scout", depths=(0.0,), ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    folder.slices("cine", depths=(0.0,), NumberOfFrames=4)
    inputs = read_inputs(folder.root)
    assert len(inputs) == 1
    assert inputs.notes == ("1 DICOM files left out: localizer.",)
    (lost,) = inputs.skipped
    assert lost.path == "cine/099.dcm"
    assert lost.reason.startswith("4 frames that say neither where they lie nor when they were taken.")


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


def test_one_unreadable_slice_costs_its_series_and_counts_once(folder):
    for n in range(30):
        folder.slices(f"{'ab'[n % 2]}/{n:02d}-{'ab'[n % 2]}x", depths=tuple(float(k) for k in range(6)))
    for name in ("094.dcm", "097.dcm"):
        (folder.root / "a" / "00-ax" / name).write_bytes(b"")
    cohort = read(folder.root)
    assert len(cohort.cases) == 29
    (lost,) = cohort.skipped
    assert lost.path == "a/00-ax/094.dcm"
    assert "0 bytes" in lost.reason
    assert "The series of 6 files is left out with it" in lost.reason


def test_one_unreadable_radiograph_in_a_folder_of_many_costs_itself_only(folder):
    for n in range(4):
        folder.slices("films", depths=(0.0,), SOPInstanceUID=generate_uid())
        (folder.root / "films" / "099.dcm").rename(folder.root / "films" / f"{n}.dcm")
    (folder.root / "films" / "2.dcm").write_bytes(b"")
    inputs = read_inputs(folder.root)
    assert len(inputs) == 3
    assert [s.path for s in inputs.skipped] == ["films/2.dcm"]


SIZE = (3, 5, 6)


def pairs_of_series(folder, n=12, *, series="images/p{0:02d}", mask="labels/p{0:02d}.nii.gz", shift=0.0):
    """Series of 3 slices, 2 mm apart, with a mask on the same grid: LPS (-10, -20, 0) is RAS (10, 20, 0)."""
    affine = np.diag([-0.75, -0.5, 2.0, 1.0])
    affine[:3, 3] = (10 + shift, 20, 0)
    for number in range(n):
        folder.slices(series.format(number), PatientID=f"P{number}")
        array = np.zeros(SIZE[::-1], np.uint8)
        array[1:4, 1:3, number % 3] = 1
        folder.nifti(mask.format(number), array, affine)


@pytest.mark.parametrize(
    ("series", "mask", "target"),
    [
        ("images/p{0:02d}", "labels/p{0:02d}.nii.gz", "labels"),
        ("images/p{0:02d}", "labels/p{0:02d}.nrrd", "labels"),
        ("images/p{0:02d}/ct", "labels/p{0:02d}.mha", "labels"),
        ("scans/p{0:02d}_ct", "truth/p{0:02d}_seg.nii.gz", "truth"),
        ("train/images/p{0:02d}", "train/labels/p{0:02d}.nii.gz", "labels"),
        ("p{0:02d}", "p{0:02d}_mask.nii.gz", "mask"),
        ("p{0:02d}/dicom", "p{0:02d}/mask.nii.gz", "mask"),
    ],
)
def test_a_folder_for_each_series_finds_its_mask(folder, series, mask, target):
    pairs_of_series(folder, series=series, mask=mask if mask.endswith("gz") else "tmp.nii")
    if not mask.endswith("gz"):
        import SimpleITK

        (folder.root / "tmp.nii").unlink()
        for number in range(12):
            array = np.zeros(SIZE, np.uint8)
            array[number % 3, 1:3, 1:4] = 1
            image = SimpleITK.GetImageFromArray(array)
            image.SetSpacing((0.75, 0.5, 2.0))
            image.SetOrigin((-10, -20, 0))
            SimpleITK.WriteImage(image, folder.place(mask.format(number)))
    cohort = read(folder.root, ReadOptions(salt=b"pepper"))
    assert (cohort.layout, cohort.target_name, cohort.labels) == ("pairs", target, {1: "1"})
    assert cohort.patient_key == "DICOM Patient ID"
    assert len(cohort.trainable) + len(cohort.locked) == 12
    for case in cohort.cases:
        image, truth = load(case.sources[0]), load(case.target)
        assert image.same_grid(truth)
        number = int(case.target.where.split("/")[-1][1:3]) if "dicom" not in series else int(case.target.where[1:3])
        # The mask lies in the slice that its number says, so it is the right patient's.
        assert np.flatnonzero(truth.array[0].any(axis=(1, 2))).tolist() == [number % 3]
        assert case.patient == pseudonym(b"pepper", f"P{number}")
        assert case.facts["age"] == 45.0
    inputs = read_inputs(folder.root, salt=b"pepper")
    assert [c.id for c in inputs] == [c.id for c in cohort.cases]


def test_a_mask_beside_its_series_is_refused_with_both_places(folder):
    from lucency.inspect import inspect

    pairs_of_series(folder, shift=3.0)
    with pytest.raises(DataError, match=r"labels/p\d\d\.nii\.gz: 12 of 12 .*mask on another grid") as caught:
        inspect(read(folder.root))
    assert caught.value.exit_status == 3
    assert "the first at (-13.0, -20.0, 0.0) mm" in str(caught.value)
    assert re.search(r"its image images/p\d\d/099\.dcm", str(caught.value))
    assert SECRET not in str(caught.value)


def test_the_demo_walks_from_its_folder_to_a_profile(tmp_path):
    from lucency.inspect import inspect, settle
    from lucency.profile import profile
    from lucency.write.demo import write_demo

    write_demo(tmp_path / "demo", n_patients=12, seed=1)
    cohort = read(tmp_path / "demo")
    assert cohort.layout == "pairs"
    assert all(load(c.sources[0]).same_grid(load(c.target)) for c in cohort.cases)
    assert all(set(c.facts) >= {"age", "sex", "scanner"} for c in cohort.cases)
    settled = settle(cohort, inspect(cohort))
    found = profile(settled)
    assert (len(settled.trainable) + len(settled.locked), len(settled.left_out)) == (12, 0)
    assert found.n_cases == len(settled.trainable)


@pytest.mark.parametrize(
    ("place", "named"),
    [("scans/{0}", "{0}"), ("scans/{0}/CT/1", "{0}"), ("scans/{0}/CT", "scans/{0}/CT/099.dcm")],
    ids=["its folder", "a folder above", "its first file"],
)
def test_a_table_names_series_by_folder_or_file(folder, place, named):
    rows = []
    for n in range(12):
        name = f"case-{n:02d}"
        folder.slices(place.format(name), PatientID=f"P{n}")
        rows.append(f"{named.format(name)},{('well', 'ill')[n % 2]},{('train', 'test')[n > 8]}")
    folder.text("truth.csv", "\n".join(["scan,outcome,part", *rows]) + "\n")
    cohort = read(folder.root, ReadOptions(target="outcome", salt=b"pepper"))
    assert (cohort.layout, cohort.classes, cohort.patient_key) == ("table", ("ill", "well"), "DICOM Patient ID")
    for case in cohort.cases:
        number = int(re.search(r"case-(\d\d)", case.sources[0].where)[1])
        assert (case.target, case.part) == (("well", "ill")[number % 2], ("train", "test")[number > 8])
        assert case.patient == pseudonym(b"pepper", f"P{number}")


def test_a_table_row_for_a_patient_speaks_of_all_series_of_theirs(folder):
    for n in range(12):
        folder.slices(f"{n:02d}/first", PatientID=f"P{n}")
        folder.slices(f"{n:02d}/second", PatientID=f"P{n}")
    rows = [f"P{n},{('well', 'ill')[n % 2]}" for n in range(12)]
    folder.text("truth.csv", "\n".join(["PatientID,diagnosis", *rows]) + "\n")
    cohort = read(folder.root)
    assert (cohort.layout, cohort.target_name, len(cohort.cases)) == ("table", "diagnosis", 24)
    assert all(c.target is not None for c in cohort.cases)
    # Both series of a patient lie on one side of every split; Cohort checks it, 12 patients prove it is asked.
    assert len({c.patient for c in cohort.cases}) == 12
