"""Segmentations read back by code that shares nothing with what wrote them: pydicom's bytes, and highdicom."""

import shutil
import zipfile
from dataclasses import replace
from datetime import datetime

import highdicom
import numpy as np
import PIL.Image
import placed
import pydicom
import pytest
from PIL import ImageCms

from lucency.errors import GeometryError, OutputError, ReadError, UsageError
from lucency.image import Image
from lucency.write.dicom_object import Origin, uid_of
from lucency.write.dicom_seg import write_seg
from lucency.write.dicom_source import measured
from lucency.write.vocabulary import COLOURS, finding_of, lab_of, property_of

NEAR_MM = 1e-4


@pytest.fixture(params=placed.KINDS)
def found(request, tmp_path):
    return placed.place(request.param, tmp_path)


def written(found, path, form="binary"):
    return write_seg(path, found.mask, placed.NAMES, measured(found.source, found.mask), placed.ORIGIN, form=form)


def unpacked(file) -> np.ndarray:
    """(frames, rows, columns): bits least significant first, frames without gaps (PS3.5, D.2)."""
    shape = (file.NumberOfFrames, file.Rows, file.Columns)
    bits = [byte >> n & 1 for byte in file.PixelData for n in range(8)]
    return np.array(bits[: int(np.prod(shape))]).reshape(shape)


def groups_of(file, number):
    shared, own = file.SharedFunctionalGroupsSequence[0], file.PerFrameFunctionalGroupsSequence[number]

    def item(name):
        return (own if name in own else shared)[name].value[0]

    return item


def slice_of(found, file, number) -> int:
    """Which slice a frame was found in, by the source's own files; a filled one by where it lies."""
    item = groups_of(file, number)
    derivation = file.PerFrameFunctionalGroupsSequence[number].DerivationImageSequence
    seen = derivation[0].SourceImageSequence[0] if derivation else None
    if seen is None or ("frames" in found.source.header and "ReferencedFrameNumber" not in seen):
        position = np.array(item("PlanePositionSequence").ImagePositionPatient, float)
        return int(np.argmin([np.abs(position - found.corner(k)).max() for k in range(found.image.size[0])]))
    if "ReferencedFrameNumber" in seen:
        return int(found.source.header["frames"].index(seen.ReferencedFrameNumber))
    uids = [str(pydicom.dcmread(f).SOPInstanceUID) for f in found.source.files]
    k = uids.index(seen.ReferencedSOPInstanceUID)
    return k + sum(k >= n for n in found.source.header.get("interpolated", ()))


def test_binary_comes_back_voxel_for_voxel_from_its_bytes(found, tmp_path):
    written(found, tmp_path / "a.dcm")
    file = pydicom.dcmread(tmp_path / "a.dcm")
    assert (file.BitsAllocated, file.SegmentationType) == (1, "BINARY")
    back = np.zeros(found.mask.array.shape[1:], int)
    for number, plane in enumerate(unpacked(file)):
        segment = groups_of(file, number)("SegmentIdentificationSequence").ReferencedSegmentNumber
        assert plane.any()
        back[slice_of(found, file, number)][plane == 1] = segment
    assert np.array_equal(back, found.mask.array[0])


def test_label_map_comes_back_voxel_for_voxel(found, tmp_path):
    written(found, tmp_path / "a.dcm", "labelmap")
    file = pydicom.dcmread(tmp_path / "a.dcm")
    assert file.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.4.80"
    assert file.file_meta.MediaStorageSOPInstanceUID == file.SOPInstanceUID
    back = np.zeros(found.mask.array.shape[1:], int)
    for number, plane in enumerate(file.pixel_array.reshape(-1, file.Rows, file.Columns)):
        back[slice_of(found, file, number)] = plane
    assert np.array_equal(back, found.mask.array[0])


@pytest.mark.parametrize("form", ["binary", "labelmap"])
def test_every_frame_lies_where_its_source_lies(found, tmp_path, form):
    written(found, tmp_path / "a.dcm", form)
    file = pydicom.dcmread(tmp_path / "a.dcm")
    if "FrameOfReferenceUID" not in file:
        assert found.image.size[0] == 1
        assert "PlanePositionSequence" not in file.PerFrameFunctionalGroupsSequence[0]
        return
    for number in range(file.NumberOfFrames):
        item, k = groups_of(file, number), slice_of(found, file, number)
        origin = np.array(item("PlanePositionSequence").ImagePositionPatient, float)
        turn = np.array(item("PlaneOrientationSequence").ImageOrientationPatient, float)
        row, column = (float(v) for v in item("PixelMeasuresSequence").PixelSpacing)
        for j, i in ((0, 0), (0, found.mask.size[2] - 1), (found.mask.size[1] - 1, 0), (4, 5)):
            # PS3.3 C.7.6.2.1.1, equation C.7.6.2.1-1
            here = origin + turn[:3] * column * i + turn[3:] * row * j
            assert np.abs(here - (found.image.affine @ (k, j, i, 1))[:3]).max() < NEAR_MM


@pytest.mark.parametrize("form", ["binary", "labelmap"])
def test_highdicom_reads_the_same_voxels(found, tmp_path, form):
    written(found, tmp_path / "a.dcm", form)
    seg = highdicom.seg.segread(tmp_path / "a.dcm")
    assert [seg.get_segment_description(n).segment_label for n in (1, 2, 3)] == list(placed.NAMES.values())
    mask, frames = found.mask.array[0], found.source.header.get("frames", ())
    filled = [int(k) for k in found.source.header.get("interpolated", ())]
    if len(frames) and pydicom.dcmread(found.source.files[0]).get("NumberOfFrames") is None:
        pytest.skip("highdicom has no notion of the tiles of a mosaic; positions are tested above")
    if frames:
        back = seg.get_pixels_by_source_frame(
            str(pydicom.dcmread(found.source.files[0]).SOPInstanceUID),
            [int(n) for n in frames],
            combine_segments=True,
            ignore_spatial_locations=False,
            assert_missing_frames_are_empty=True,
        )
    else:
        uids = [str(pydicom.dcmread(f).SOPInstanceUID) for f in found.source.files]
        back = seg.get_pixels_by_source_instance(uids, combine_segments=True, assert_missing_frames_are_empty=True)
        mask = np.delete(mask, filled, axis=0)
    assert np.array_equal(back, mask)


@pytest.mark.parametrize("kind", ["axial", "sagittal", "coronal", "oblique", "reversed", "mosaic", "filled in"])
def test_highdicom_builds_a_volume_at_the_same_place(kind, tmp_path):
    found = placed.place(kind, tmp_path)
    written(found, tmp_path / "a.dcm")
    volume = highdicom.seg.segread(tmp_path / "a.dcm").get_volume(combine_segments=True)
    step = np.linalg.inv(volume.affine) @ found.image.affine
    for k, j, i in np.argwhere(found.mask.array[0]):
        place = step @ (k, j, i, 1)
        assert np.abs(place - np.rint(place)).max() < 1e-3
        assert volume.array[tuple(np.rint(place[:3]).astype(int))] == found.mask.array[0, k, j, i]
    assert int((volume.array > 0).sum()) == int((found.mask.array > 0).sum())


def test_a_filled_slice_has_a_place_and_no_source(tmp_path):
    found = placed.place("filled in", tmp_path)
    written(found, tmp_path / "a.dcm")
    file = pydicom.dcmread(tmp_path / "a.dcm")
    sources = [len(f.DerivationImageSequence) for f in file.PerFrameFunctionalGroupsSequence]
    # Label 2 is in slices 2 to 4, and slice 3 has no file.
    assert sources == [1, 1, 1, 0, 1]


def test_same_mask_same_uids_and_another_mask_model_or_source_others(tmp_path):
    found = placed.place("axial", tmp_path)
    seen = measured(found.source, found.mask)
    later = Origin(placed.ORIGIN.model, datetime(2031, 1, 1))
    other = replace(found, mask=placed.mask_on(found.image, seed=3))
    made = [
        written(found, tmp_path / "a.dcm"),
        write_seg(tmp_path / "b.dcm", found.mask, placed.NAMES, seen, later),
        write_seg(tmp_path / "c.dcm", found.mask, placed.NAMES, seen, Origin("cd" * 32, later.made)),
        written(other, tmp_path / "d.dcm"),
        written(placed.place("oblique", tmp_path / "e"), tmp_path / "e.dcm"),
    ]
    assert made[0].uid == made[1].uid
    assert made[0].segments == made[1].segments
    assert len({m.uid for m in made[:4]}) == 3
    file = pydicom.dcmread(tmp_path / "b.dcm")
    assert (file.ContentDate, file.SeriesDate, file.InstanceCreationDate) == ("20310101",) * 3
    tracked = [s.TrackingUID for f in "acd" for s in pydicom.dcmread(tmp_path / f"{f}.dcm").SegmentSequence]
    assert len(set(tracked)) == 9


def test_segments_keep_their_numbers_and_say_what_they_are(tmp_path):
    found = placed.place("axial", tmp_path)
    made = written(found, tmp_path / "a.dcm")
    file = pydicom.dcmread(tmp_path / "a.dcm")
    assert [(s.number, s.name, s.frames) for s in made.segments] == [
        (1, "nodule", 2),
        (2, "left kidney", 3),
        (3, "nothing of it", 0),
    ]
    first, second, third = file.SegmentSequence
    assert first.SegmentedPropertyTypeCodeSequence[0].CodeValue == "27925004"
    kidney = second.SegmentedPropertyTypeCodeSequence[0]
    assert (kidney.CodeMeaning, kidney.SegmentedPropertyTypeModifierCodeSequence[0].CodeMeaning) == ("Kidney", "Left")
    assert (third.SegmentLabel, third.SegmentedPropertyTypeCodeSequence[0].CodeMeaning) == ("nothing of it", "Tissue")
    for segment, told in zip(file.SegmentSequence, made.segments, strict=True):
        assert segment.SegmentAlgorithmType == "AUTOMATIC"
        assert segment.SegmentAlgorithmName == "Lucency segment unet"
        assert "ab" * 32 in segment.SegmentationAlgorithmIdentificationSequence[0].AlgorithmParameters
        assert (segment.TrackingID, segment.TrackingUID) == (told.tracking_id, told.tracking_uid)


def test_patient_and_study_are_those_of_the_source_and_the_banner_is_there(tmp_path):
    found = placed.place("axial", tmp_path)
    for path in found.source.files:
        data = pydicom.dcmread(path)
        data.SpecificCharacterSet = "GB18030"
        data.PatientName = "Wang^XiaoDong=王^小东"
        data.IssuerOfPatientID = "华山"
        data.save_as(path)
    label = {1: "结节", 2: "肝脏", 3: "x"}
    write_seg(tmp_path / "a.dcm", found.mask, label, measured(found.source, found.mask), placed.ORIGIN)
    file, source = pydicom.dcmread(tmp_path / "a.dcm"), pydicom.dcmread(found.source.files[0])
    assert file.SpecificCharacterSet == "ISO_IR 192"
    assert str(file.PatientName) == "Wang^XiaoDong=王^小东"
    assert file.IssuerOfPatientID == "华山"
    for keyword in ("PatientID", "PatientSex", "PatientAge", "StudyInstanceUID", "FrameOfReferenceUID", "StudyID"):
        assert file[keyword].value == source[keyword].value
    assert file.SeriesInstanceUID != source.SeriesInstanceUID
    assert "Research use only" in file.SeriesDescription
    assert file.ContentQualification == "RESEARCH"
    assert [s.SegmentLabel for s in file.SegmentSequence] == ["结节", "肝脏", "x"]
    assert file.SegmentSequence[1].SegmentedPropertyTypeCodeSequence[0].CodeMeaning == "Liver"


def test_values_of_the_mask_need_not_count_from_one(tmp_path):
    found = placed.place("axial", tmp_path)
    array = np.where(found.mask.array == 1, 255, np.where(found.mask.array == 2, 128, 0)).astype(np.uint8)
    mask = found.mask.with_array(array)
    made = write_seg(
        tmp_path / "a.dcm", mask, {255: "lesion", 128: "edema"}, measured(found.source, mask), placed.ORIGIN
    )
    assert [(s.value, s.number, s.name) for s in made.segments] == [(128, 1, "edema"), (255, 2, "lesion")]
    seg = highdicom.seg.segread(tmp_path / "a.dcm")
    uids = [str(pydicom.dcmread(f).SOPInstanceUID) for f in found.source.files]
    back = seg.get_pixels_by_source_instance(uids, combine_segments=True, assert_missing_frames_are_empty=True)
    assert np.array_equal(np.array([0, 128, 255])[back], array[0])


def test_frames_of_several_bytes_follow_without_gaps(tmp_path):
    # 8 × 8 pixels fill whole bytes, 9 × 11 do not; the other tests have those.
    found = placed.place("axial", tmp_path, size=(6, 8, 8))
    written(found, tmp_path / "a.dcm")
    file = pydicom.dcmread(tmp_path / "a.dcm")
    assert np.array_equal(unpacked(file), file.pixel_array)
    assert len(file.PixelData) == 8 * file.NumberOfFrames


def test_a_series_in_a_zip_archive_is_read_where_it_lies(tmp_path):
    found = placed.place("axial", tmp_path)
    with zipfile.ZipFile(tmp_path / "study.zip", "w") as box:
        for path in found.source.files:
            box.write(path, f"inner/{path.name}")
    zipped = replace(
        found, source=replace(found.source, paths=tuple(f"study.zip/inner/{f.name}" for f in found.source.files))
    )
    plain = written(found, tmp_path / "a.dcm")
    shutil.rmtree(tmp_path / "series")
    assert written(zipped, tmp_path / "b.dcm") == plain
    assert (tmp_path / "a.dcm").read_bytes() == (tmp_path / "b.dcm").read_bytes()


def test_a_mask_that_is_not_on_the_grid_of_its_source_is_refused(tmp_path):
    found = placed.place("axial", tmp_path)
    flipped = found.image.affine.copy()
    flipped[:3, 3] = found.corner(found.image.size[0] - 1)
    flipped[:3, 0] *= -1
    with pytest.raises(GeometryError, match=r"Slice 0 of the result lies 12\.50 mm away"):
        measured(found.source, Image(found.mask.array, flipped, kind="labels"))
    with pytest.raises(GeometryError, match=r"5 slices.*6 as in the source"):
        measured(found.source, Image(found.mask.array[:, :5], found.mask.affine, kind="labels"))
    with pytest.raises(GeometryError, match=r"9 × 10 pixels.*9 × 11"):
        measured(found.source, Image(found.mask.array[..., :10], found.mask.affine, kind="labels"))


def test_what_cannot_be_written_is_refused_in_words(tmp_path):
    found = placed.place("axial", tmp_path)
    seen = measured(found.source, found.mask)
    empty = found.mask.with_array(np.zeros_like(found.mask.array))
    with pytest.raises(OutputError, match=r"empty.*report"):
        write_seg(tmp_path / "a.dcm", empty, placed.NAMES, seen, placed.ORIGIN)
    with pytest.raises(OutputError, match="a name for each"):
        write_seg(tmp_path / "a.dcm", found.mask, {1: "nodule"}, seen, placed.ORIGIN)
    with pytest.raises(UsageError, match="binary or labelmap"):
        write_seg(tmp_path / "a.dcm", found.mask, placed.NAMES, seen, placed.ORIGIN, form="surface")
    with pytest.raises(OutputError, match=r"not DICOM.*--format nifti"):
        measured(replace(found.source, reader="nifti"), found.mask)
    assert not (tmp_path / "a.dcm").exists()


def test_a_source_that_is_gone_or_has_no_uid_is_named(tmp_path):
    found = placed.place("axial", tmp_path)
    data = pydicom.dcmread(found.source.files[2])
    del data.StudyInstanceUID
    data.save_as(found.source.files[2])
    with pytest.raises(ReadError, match=r"series/slice-0003\.dcm: The file lacks StudyInstanceUID"):
        measured(found.source, found.mask)
    found.source.files[1].unlink()
    with pytest.raises(ReadError, match=r"series/slice-0002\.dcm: The file is not there"):
        measured(found.source, found.mask)


@pytest.mark.parametrize(
    ("name", "kind", "category", "side"),
    [
        ("Liver", "Liver", "Anatomical Structure", None),
        ("Left_Kidney", "Kidney", "Anatomical Structure", "Left"),
        ("kidneys", "Kidney", "Anatomical Structure", None),
        ("rightLung", "Lung", "Anatomical Structure", "Right"),
        ("left ventricle", "Left ventricle", "Anatomical Structure", None),
        ("tumour", "Neoplasm", "Morphologically Abnormal Structure", None),
        ("肝脏", "Liver", "Anatomical Structure", None),
        ("ball", "Tissue", "Tissue", None),
    ],
)
def test_names_become_codes_of_the_standard(name, kind, category, side):
    found = property_of(name)
    assert (found.kind.meaning, found.category.meaning) == (kind, category)
    assert (found.side.meaning if found.side else None) == side
    assert found.known == (name != "ball")


def test_a_class_without_a_code_has_a_private_one_that_bears_its_name():
    assert finding_of("nodule").scheme == "SCT"
    first, second = finding_of("stage 2"), finding_of("stage 3")
    assert (first.scheme, first.meaning) == ("99LUCENCY", "stage 2")
    assert first.value != second.value
    assert len(first.value) <= 16


@pytest.mark.parametrize("number", range(1, 13))
def test_colours_are_those_of_a_colour_engine(number):
    picture = PIL.Image.new("RGB", (1, 1), COLOURS[number - 1])
    engine = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
    lightness, a, b = np.frombuffer(ImageCms.applyTransform(picture, engine).tobytes(), np.uint8).astype(float)
    a, b = ((v + 128) % 256 for v in (a, b))  # stored as signed bytes
    ours = [v * 255 / 65535 for v in lab_of(number)]
    assert ours == pytest.approx([lightness, a, b], abs=1.5)


def test_uids_are_valid_and_of_their_words():
    uid = uid_of("a", "b")
    assert pydicom.uid.UID(uid).is_valid
    assert uid.startswith("2.25.")
    assert uid != uid_of("ab")
