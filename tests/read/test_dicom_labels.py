"""Objects drawn on real images: dcmqi, rt-utils, highdicom and pydicom wrote them, not we."""

import json
import shutil

import numpy as np
import pydicom
import pytest
from drawing import boxes, segmentation, study
from skimage.measure import points_in_poly
from test_rtstruct import structures

from lucency.errors import DataError, UsageError
from lucency.inspect import inspect
from lucency.read import ReadOptions, load, read, read_inputs


def unpacked(path):
    """The frames of a binary SEG by (segment, position), in pure pydicom."""
    data = pydicom.dcmread(path)
    bits = np.unpackbits(np.frombuffer(data.PixelData, np.uint8), bitorder="little")
    n, size = int(data.NumberOfFrames), data.Rows * data.Columns
    frames = bits[: n * size].reshape(n, data.Rows, data.Columns)
    found = {}
    for group, frame in zip(data.PerFrameFunctionalGroupsSequence, frames, strict=True):
        number = group.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        found[number, tuple(float(v) for v in group.PlanePositionSequence[0].ImagePositionPatient)] = frame
    return found


@pytest.mark.parametrize("size", ["23x38x3", "24x38x3"])
@pytest.mark.parametrize("images", ["image", "multiframe"])
def test_a_segmentation_of_dcmqi_lies_on_its_images(real, tmp_path, size, images):
    place = real / "dicom/dcmqi/segmentations" / size
    for part in (images, "seg"):
        shutil.copytree(place / part, tmp_path / part)
    cohort = read(tmp_path)
    (case,) = cohort.cases
    assert cohort.labels == {1: "Liver"}
    truth = load(case.target)
    assert truth.same_grid(load(case.sources[0]))
    frames = unpacked(place / "seg/label.seg")
    assert len(frames) == truth.size[0] == 3
    for (_, position), frame in frames.items():
        k, j, i = np.rint(np.linalg.solve(truth.affine, [*position, 1.0])[:3]).astype(int)
        assert (j, i) == (0, 0)
        assert np.array_equal(truth.array[0, k], frame)


def test_structures_of_dcmqi_that_overlap_are_refused_and_can_be_chosen(real, tmp_path):
    place = real / "dicom/dcmqi/segmentations"
    shutil.copytree(place / "ct-3slice", tmp_path / "ct")
    shutil.copy(place / "partial_overlaps.dcm", tmp_path)
    with pytest.raises(DataError, match=r"shares \d+% of its voxels"):
        read(tmp_path)
    frames = unpacked(place / "partial_overlaps.dcm")
    for number, name in enumerate(("GREEN", "ORANGE", "PURPLE", "LIGHT_BLUE", "DARK_BLUE"), start=1):
        cohort = read(tmp_path, ReadOptions(target=name))
        truth = load(cohort.cases[0].target).array
        assert np.count_nonzero(truth) == sum(int(f.sum()) for (n, _), f in frames.items() if n == number) > 0
    with pytest.raises(UsageError, match="No structure or measurement 'RED'"):
        read(tmp_path, ReadOptions(target="RED"))


def test_one_frame_on_a_real_slice_agrees_with_highdicom(real, tmp_path):
    import highdicom

    place = real / "dicom/highdicom"
    for name in ("ct_image.dcm", "seg_image_ct_binary_single_frame.dcm"):
        shutil.copy(place / name, tmp_path)
    (case,) = read(tmp_path).cases
    theirs = highdicom.seg.segread(tmp_path / "seg_image_ct_binary_single_frame.dcm")
    truth = theirs.get_volume(combine_segments=True).array
    assert np.array_equal(load(case.target).array[0], truth)


def test_a_structure_set_of_rt_utils_is_used_for_its_planes_fit(real, tmp_path):
    place = real / "dicom/rt_utils_phantom/tests/mock_data"
    for name in ("ct_1.dcm", "ct_2.dcm", "rt.dcm"):
        shutil.copy(place / name, tmp_path)
    cohort = read(tmp_path)
    (case,) = cohort.cases
    # It names a frame of reference that rt-utils made up; the contours lie in the planes of the images they name.
    assert any("rt.dcm names a frame of reference of its own" in n for n in cohort.notes)
    truth, inside = load(case.target), np.zeros((512, 512), bool)
    for contour in pydicom.dcmread(place / "rt.dcm").ROIContourSequence[0].ContourSequence:
        points = np.array(contour.ContourData, float).reshape(-1, 3)
        voxels = (points - truth.affine[:3, 3]) @ np.linalg.inv(truth.affine[:3, :3]).T
        j, i = np.meshgrid(np.arange(512), np.arange(512), indexing="ij")
        pixels = np.stack([j.ravel(), i.ravel()], axis=1)
        inside ^= points_in_poly(pixels, voxels[:, 1:]).reshape(512, 512)
        assert np.allclose(voxels[:, 0], 0, atol=1e-6)
    assert inside.sum() > 1000
    assert np.array_equal(truth.array[0, 0] == 1, inside)
    moved = pydicom.dcmread(place / "rt.dcm")
    for contour in moved.ROIContourSequence[0].ContourSequence:
        contour.ContourData = [float(v) + 1.5 * (n % 3 == 2) for n, v in enumerate(contour.ContourData)]
    moved.save_as(tmp_path / "rt.dcm")
    with pytest.raises(DataError, match="frame of reference is not that of the images"):
        read(tmp_path)


@pytest.mark.parametrize("name", ["liver", "liver_deflate", "liver_j2k", "liver_rle"])
def test_every_compression_of_a_segmentation_holds_the_same_mask(real, tmp_path, folder, name):
    place = real / "dicom/pydicom_data"
    truth = unpacked(place / "liver.dcm")
    seg = pydicom.dcmread(place / f"{name}.dcm")
    (position, *_) = sorted(p for _, p in truth)
    # The images it was drawn on are not in the set; empty ones at their places stand in.
    shared = seg.SharedFunctionalGroupsSequence[0]
    folder.slices(
        "ct",
        depths=tuple(p[2] for _, p in truth),
        Rows=512,
        Columns=512,
        PixelData=bytes(512 * 512 * 2),
        PixelSpacing=list(shared.PixelMeasuresSequence[0].PixelSpacing),
        ImageOrientationPatient=list(shared.PlaneOrientationSequence[0].ImageOrientationPatient),
        ImagePositionPatient=tuple(list(p) for _, p in truth),
        FrameOfReferenceUID=seg.FrameOfReferenceUID,
        PatientID=seg.PatientID,
    )
    shutil.copy(place / f"{name}.dcm", folder.root / "seg.dcm")
    (case,) = read(folder.root).cases
    mask = load(case.target)
    assert len(position) == 3
    for (_, at), frame in truth.items():
        k = int(np.rint(np.linalg.solve(mask.affine, [*at, 1.0])[0]))
        assert np.array_equal(mask.array[0, k], frame)


def test_regions_of_a_structure_set_become_named_labels(folder):
    images = study(folder, "ct")
    (case,) = read_inputs(folder.root)
    affine = load(case.sources[0]).affine
    square = [[2, 0.5, 0.5], [2, 0.5, 3.5], [2, 3.5, 3.5], [2, 3.5, 0.5]]
    regions = {
        "Heart": [("CLOSED_PLANAR", square)],
        "marker": [("POINT", [[1, 1, 1]])],
        "GTV": [("CLOSED_PLANAR", [[4, *p[1:]] for p in square])],
    }
    data = structures(folder.root / "rt.dcm", regions, affine)
    place = pydicom.Dataset()
    place.FrameOfReferenceUID = images[0].FrameOfReferenceUID
    data.ReferencedFrameOfReferenceSequence = [place]
    data.save_as(folder.root / "rt.dcm")
    cohort = read(folder.root)
    assert cohort.labels == {1: "GTV", 2: "Heart"}
    assert any(n == "1 points and open contours enclose nothing and were left out." for n in cohort.notes)
    mask = boxes((6, 5, 6), ((4, 1, 1), (5, 4, 4)), ((2, 1, 1), (3, 4, 4)))
    assert np.array_equal(load(cohort.cases[0].target).array[0], mask)
    assert read(folder.root, ReadOptions(target="gtv, heart")).labels == {1: "GTV", 2: "Heart"}
    assert read(folder.root, ReadOptions(target="heart")).labels == {1: "Heart"}


def test_a_folder_of_series_with_segmentations_is_ready_to_train_on(folder):
    rng = np.random.default_rng(0)
    truths = {}
    for n in range(14):
        images = study(folder, f"p{n:02d}/ct", PatientID=f"P{n}", FrameOfReferenceUID=f"1.2.3.{n}")
        j, i = rng.integers(0, 2, 2)
        mask = boxes((6, 5, 6), ((1, j, i), (5, j + 3, i + 4)))
        segmentation(folder.root / f"p{n:02d}/seg.dcm", images, mask, ["Lesion"])
        truths[f"p{n:02d}"] = mask
    cohort = read(folder.root, ReadOptions(salt=b"s"))
    assert (cohort.layout, cohort.labels, cohort.target_name) == ("dicom", {1: "Lesion"}, "Lesion")
    assert cohort.patient_key == "DICOM Patient ID"
    assert len(cohort.trainable) + len(cohort.locked) == 14
    found = inspect(cohort)
    assert found.left_out == {}
    assert found.skipped == ()
    for case in cohort.cases:
        assert np.array_equal(load(case.target).array[0], truths[case.target.where[:3]])
    assert read(folder.root, ReadOptions(salt=b"other")).digest == cohort.digest


def test_label_objects_are_no_images_to_predict_on(folder):
    images = study(folder, "ct")
    segmentation(folder.root / "seg.dcm", images, boxes((6, 5, 6), ((1, 1, 1), (3, 3, 3))), ["a"])
    inputs = read_inputs(folder.root)
    assert len(inputs) == 1
    assert inputs[0].target is None
    assert inputs.skipped == ()
    assert inputs.notes == ("1 DICOM segmentations, structure sets or reports are no images and were left out.",)


def test_a_cohort_with_labels_survives_its_file(folder, tmp_path):
    from lucency import record
    from lucency.case import Cohort

    images = study(folder, "ct")
    segmentation(folder.root / "seg.dcm", images, boxes((6, 5, 6), ((1, 1, 1), (3, 3, 3))), ["a"])
    cohort = read(folder.root)
    record.write(tmp_path / "cohort.json", cohort)
    again = record.read(Cohort, tmp_path / "cohort.json")
    assert np.array_equal(load(again.cases[0].target).array, load(cohort.cases[0].target).array)
    assert "SECRET" not in json.dumps(record.to_json(cohort))


@pytest.mark.parametrize("seed", range(4))
def test_a_mutated_label_object_ends_in_words(folder, seed):
    images = study(folder, "ct")
    path = folder.root / "label.dcm"
    segmentation(path, images, boxes((6, 5, 6), ((1, 1, 1), (4, 3, 4))), ["a"])
    whole = path.read_bytes()
    rng = np.random.default_rng(seed)
    outcomes = set()
    for _ in range(12):
        changed = bytearray(whole[: int(rng.integers(200, len(whole)))] if rng.random() < 0.3 else whole)
        for place in rng.integers(132, len(changed), int(rng.integers(1, 12))):
            changed[place] = int(rng.integers(0, 256))
        path.write_bytes(changed)
        try:
            (case,) = read(folder.root).cases
            outcomes.add("unlabelled" if case.target is None else "read" if load(case.target).size else "")
        except DataError as error:
            outcomes.add("named" if "SECRET" in str(error) else "refused")
    assert outcomes <= {"read", "refused", "unlabelled"}
    assert len(outcomes) > 1
