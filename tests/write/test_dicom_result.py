"""From what the reader gives to what lies in the output folder, for every kind of source and every format."""

import importlib
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import highdicom
import numpy as np
import placed
import pydicom
import pytest

from lucency.case import Case, Prediction, Source
from lucency.errors import OutputError, ReadError, UsageError
from lucency.image import Image
from lucency.read import ReadOptions, load, read, read_inputs
from lucency.write.dicom_object import Origin
from lucency.write.dicom_result import DICOM_FORMATS, Dicom, encoded, refuse, write_result
from lucency.write.dicom_source import grid_of
from lucency.write.outputs import FORMATS, Names, write_outputs

LABELS = {1: "nodule", 2: "kidney"}
HOW = Dicom(placed.ORIGIN, LABELS)
READ = [k for k in placed.KINDS if k not in ("mosaic", "filled in")]  # these two need what only their makers write


def case_of(kind, folder):
    placed.place(kind, folder)
    (case,) = read_inputs(folder)
    return case, load(case.sources[0])


def speck(image) -> Prediction:
    """A mask whose voxels are known by their places: one in the second slice, a few in the last."""
    array = np.zeros((1, *image.size), np.uint8)
    array[0, min(1, image.size[0] - 1), 2, 3] = 1
    array[0, -1, 5:7, 8:10] = 2
    return Prediction("c1", "0", mask=Image(array, image.affine, kind="labels", k_axis=image.k_axis))


def places(mask: Image, value: int) -> np.ndarray:
    voxels = np.argwhere(mask.array[0] == value)
    return np.sort((mask.affine @ np.c_[voxels, np.ones(len(voxels))].T)[:3].T.round(3), axis=0)


def places_in(file, segment) -> np.ndarray:
    shared = file.SharedFunctionalGroupsSequence[0]
    row, column = (float(v) for v in shared.PixelMeasuresSequence[0].PixelSpacing)
    turn = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float)
    found = []
    frames = file.pixel_array.reshape(-1, file.Rows, file.Columns)
    for plane, own in zip(frames, file.PerFrameFunctionalGroupsSequence, strict=True):
        if own.SegmentIdentificationSequence[0].ReferencedSegmentNumber == segment:
            origin = np.array(own.PlanePositionSequence[0].ImagePositionPatient, float)
            found += [origin + turn[:3] * column * i + turn[3:] * row * j for j, i in np.argwhere(plane)]
    return np.sort(np.array(found).round(3), axis=0)


@pytest.mark.parametrize("kind", [k for k in READ if k != "radiograph"])
def test_what_the_reader_gave_goes_back_to_the_same_place_in_the_patient(kind, tmp_path):
    case, image = case_of(kind, tmp_path)
    said = speck(image)
    (path,) = write_result(said, case, "dicom-seg", HOW, tmp_path / "out")
    file = pydicom.dcmread(path)
    for value in LABELS:
        assert np.abs(places_in(file, value) - places(said.mask, value)).max() <= 0.0015  # rounded twice


@pytest.mark.parametrize("form", DICOM_FORMATS)
@pytest.mark.parametrize("kind", ["axial", "tilted", "radiograph"])
def test_each_format_leaves_its_files(kind, form, tmp_path):
    case, image = case_of(kind, tmp_path)
    paths = write_result(speck(image), case, form, HOW, tmp_path / "out")
    names = sorted(p.relative_to(tmp_path / "out").as_posix() for p in paths)
    slices = [1] if kind == "radiograph" else [2, 6]
    assert (
        names
        == {
            "dicom-seg": ["c1-seg.dcm"],
            "dicom-sr": ["c1-seg.dcm", "c1-sr.dcm"],
            "dicom-sc": [f"c1-overlay/overlay-{n:04d}.dcm" for n in slices],
        }[form]
    )
    assert sorted(p for p in (tmp_path / "out").rglob("*.dcm")) == sorted(paths)


@pytest.mark.parametrize("form", DICOM_FORMATS)
def test_nothing_found_is_a_report_whatever_was_asked_for(form, tmp_path):
    case, image = case_of("axial", tmp_path)
    empty = image.with_array(np.zeros((1, *image.size), np.uint8), kind="labels")
    (path,) = write_result(Prediction("c1", "0", mask=empty), case, form, HOW, tmp_path / "out")
    assert path.name == "c1-sr.dcm"
    assert pydicom.dcmread(path).Modality == "SR"
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["c1-sr.dcm"]


def test_old_results_of_a_case_do_not_stand_beside_a_new_one(tmp_path):
    case, image = case_of("axial", tmp_path)
    out = tmp_path / "out"
    for form in ("dicom-sc", "dicom-sr"):
        write_result(speck(image), case, form, HOW, out)
    assert sorted(p.name for p in out.iterdir()) == ["c1-seg.dcm", "c1-sr.dcm"]
    (out / "c10-seg.dcm").write_text("another case")
    (out / "c1-overlay").mkdir()
    (out / "c1-overlay" / "mine.txt").write_text("mine")
    empty = image.with_array(np.zeros((1, *image.size), np.uint8), kind="labels")
    write_result(Prediction("c1", "0", mask=empty), case, "dicom-seg", HOW, out)
    assert sorted(p.name for p in out.iterdir()) == ["c1-overlay", "c1-sr.dcm", "c10-seg.dcm"]
    assert (out / "c1-overlay" / "mine.txt").exists()


def test_report_refers_to_the_segmentation_beside_it(tmp_path):
    case, image = case_of("oblique", tmp_path)
    seg, report = write_result(speck(image), case, "dicom-sr", HOW, tmp_path / "out")
    groups = highdicom.sr.srread(report).content.get_volumetric_roi_measurement_groups()
    segments = pydicom.dcmread(seg).SegmentSequence
    assert [(g.tracking_identifier, g.tracking_uid) for g in groups] == [
        (s.TrackingID, s.TrackingUID) for s in segments
    ]
    assert {g.referenced_segment.referenced_sop_instance_uid for g in groups} == {pydicom.dcmread(seg).SOPInstanceUID}


def test_boxes_are_a_report_with_what_was_not_found(tmp_path):
    case, _ = case_of("axial", tmp_path)
    how = replace(HOW, classes=("nodule", "left kidney", "cyst"))
    write_outputs([replace(placed.BOXED, case=case.id)], [case], Names(how.classes), tmp_path / "out", "dicom-sr", how)
    (path,) = (tmp_path / "out").glob("*.dcm")
    groups = highdicom.sr.srread(path).content.get_volumetric_roi_measurement_groups()
    assert [g.get_measurements()[0].value for g in groups] == [0.75, 0.5]
    (absent,) = highdicom.sr.srread(path).content.get_image_measurement_groups()
    assert absent.finding_type.meaning == "Cyst"
    assert (tmp_path / "out" / "boxes.csv").exists()


def test_classes_are_a_report(tmp_path):
    case, _ = case_of("radiograph", tmp_path)
    (path,) = write_result(placed.SAID, case, "dicom-sr", HOW, tmp_path / "out")
    assert pydicom.dcmread(path).PatientID == pydicom.dcmread(case.sources[0].files[0]).PatientID


def test_frames_of_a_clip_are_told_apart_by_their_numbers(tmp_path):
    placed.place("axial", tmp_path)
    files = sorted((tmp_path / "series").iterdir())
    data = pydicom.dcmread(files[0])
    data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.3.1"
    data.Modality, data.NumberOfFrames, data.FrameTime = "US", 6, "40"
    data.PixelData = b"".join(pydicom.dcmread(f).PixelData for f in files)
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "FrameOfReferenceUID", "PixelSpacing"):
        delattr(data, keyword)
    for file in files:
        file.unlink()
    data.save_as(tmp_path / "series" / "clip.dcm")
    (case,) = read_inputs(tmp_path)
    image = load(case.sources[0])
    assert image.k_axis == "time"
    (path,) = write_result(speck(image), case, "dicom-seg", HOW, tmp_path / "out")
    file = pydicom.dcmread(path)
    assert "FrameOfReferenceUID" not in file
    numbers = [f.FrameContentSequence[0].InStackPositionNumber for f in file.PerFrameFunctionalGroupsSequence]
    assert numbers == [2, 6]
    seen = [f.DerivationImageSequence[0].SourceImageSequence[0] for f in file.PerFrameFunctionalGroupsSequence]
    assert [s.ReferencedFrameNumber for s in seen] == [2, 6]


def test_table_and_notice_are_written_as_ever(tmp_path):
    case, image = case_of("axial", tmp_path)
    said = Prediction(case.id, "0", mask=speck(image).mask)
    write_outputs([said], [case], Names(labels=LABELS), tmp_path / "out", "dicom-sr", HOW)
    names = {p.name for p in (tmp_path / "out").iterdir()}
    assert names == {f"{case.id}-seg.dcm", f"{case.id}-sr.dcm", "predictions.csv", "README.txt"}
    assert (tmp_path / "out" / "predictions.csv").read_text().startswith("case,voxels_nodule,voxels_kidney,ml_nodule")
    assert set(DICOM_FORMATS) <= set(FORMATS)


def test_what_cannot_become_dicom_is_refused_before_anything_is_predicted(tmp_path):
    other = Case("a", "p", {"image": (Source(("a.nii.gz",), "", "nifti"),)}, None)

    def never():
        raise AssertionError("predicted")
        yield

    with pytest.raises(UsageError, match=r"1 of the images are not DICOM.*--format nifti"):
        write_outputs(never(), [other], Names(labels=LABELS), tmp_path / "out", "dicom-seg", HOW)
    case, _ = case_of("axial", tmp_path)
    with pytest.raises(UsageError, match=r"gives classes.*dicom-sr"):
        refuse("dicom-seg", [case], {}, ("a", "b"))
    refuse("dicom-sr", [case], {}, ("a", "b"))
    with pytest.raises(OutputError, match="single number"):
        write_result(Prediction("c1", "0", value=1.5), case, "dicom-sr", HOW, tmp_path / "out")
    # Of ten patients one has a file without a study: better known now than after nine predictions.
    path = case.sources[0].files[0]
    data = pydicom.dcmread(path)
    del data.StudyInstanceUID
    data.save_as(path)
    with pytest.raises(ReadError, match=r"lacks StudyInstanceUID.*--format nifti"):
        write_outputs(never(), [case], Names(labels=LABELS), tmp_path / "out", "dicom-sr", HOW)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", READ)
def test_grid_of_a_source_needs_no_pixels(kind, tmp_path):
    case, image = case_of(kind, tmp_path)
    grid = grid_of(case.sources[0])
    assert grid is not None
    assert grid.same_grid(image)
    assert grid.k_axis == image.k_axis


def test_encodings_are_settled_by_name():
    assert encoded(placed.ORIGIN, LABELS, {}) == HOW
    made = encoded(placed.ORIGIN, LABELS, {"seg": "labelmap", "sr": "enhanced"})
    assert (made.seg, made.sr) == ("labelmap", "enhanced")
    for wrong, said in (
        ({"seg": "x"}, "binary or labelmap"),
        ({"sr": "x"}, "comprehensive-3d or enhanced"),
        ({"y": "x"}, "seg or sr"),
    ):
        with pytest.raises(UsageError, match=said):
            encoded(placed.ORIGIN, LABELS, wrong)
    with pytest.raises(UsageError, match="1 to 64"):
        Origin("0", datetime(2026, 1, 1), "x" * 65)


def test_a_slice_that_the_reader_filled_in_has_its_place_and_no_source(tmp_path):
    found = placed.place("oblique", tmp_path)
    found.source.files[3].unlink()
    (case,) = read(tmp_path, ReadOptions(missing_slices="interpolate")).cases
    image = load(case.sources[0])
    assert image.size == placed.SIZE
    array = np.ones((1, *image.size), np.uint8)
    said = Prediction("c1", "0", mask=Image(array, image.affine, kind="labels"))
    (path,) = write_result(said, case, "dicom-seg", HOW, tmp_path / "out")
    file = pydicom.dcmread(path)
    uids = {str(pydicom.dcmread(f).SOPInstanceUID): f for f in case.sources[0].files}
    bare = []
    for k, frame in enumerate(file.PerFrameFunctionalGroupsSequence):
        here = np.array(frame.PlanePositionSequence[0].ImagePositionPatient, float)
        assert np.abs(here - (image.affine @ (k, 0, 0, 1))[:3]).max() < 1e-4
        if not frame.DerivationImageSequence:
            bare.append(k)
            continue
        source = uids[frame.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID]
        assert np.abs(here - np.array(pydicom.dcmread(source).ImagePositionPatient, float)).max() < 1e-4
    assert bare == [int(k) for k in case.sources[0].header["interpolated"]]
    assert len(bare) == 1


@pytest.mark.parametrize("up", [1.0, -1.0])
def test_tiles_of_a_mosaic_lie_where_the_reader_puts_them(tmp_path, monkeypatch, up):
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[1] / "read"))
    dicom_made = importlib.import_module("dicom_made")
    data = dicom_made.mosaic(5, normal=(0, 0, up))
    (tmp_path / "in").mkdir()
    data.save_as(tmp_path / "in" / "m.dcm", enforce_file_format=True)
    (case,) = read_inputs(tmp_path / "in")
    image = load(case.sources[0])
    assert image.size[0] == 5
    said = speck_of(image)
    (path,) = write_result(said, case, "dicom-seg", HOW, tmp_path / "out")
    file = pydicom.dcmread(path)
    for value in LABELS:
        assert np.abs(places_in(file, value) - places(said.mask, value)).max() <= 0.0015
    seen = file.PerFrameFunctionalGroupsSequence[0].DerivationImageSequence[0].SourceImageSequence[0]
    assert seen.SpatialLocationsPreserved == "NO"


def speck_of(image) -> Prediction:
    """As :func:`speck`, for images of a few pixels."""
    array = np.zeros((1, *image.size), np.uint8)
    array[0, 1, 2, 3], array[0, -1, 1:3, 4:6] = 1, 2
    return Prediction("c1", "0", mask=Image(array, image.affine, kind="labels"))
