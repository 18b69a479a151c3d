"""Parametric maps and secondary captures, read back by highdicom, by pydicom and by hand."""

import tracemalloc

import highdicom
import numpy as np
import placed
import pydicom
import pytest

from lucency.errors import GeometryError, OutputError
from lucency.image import Image
from lucency.write.capture import Look, with_banner, write_capture
from lucency.write.dicom_source import measured
from lucency.write.parametric import SALIENCY, write_parametric
from lucency.write.vocabulary import COLOURS


def heat_of(found, seed=0):
    rng = np.random.default_rng(seed)
    return Image(rng.random(found.image.array.shape).astype(np.float32), found.image.affine)


@pytest.mark.parametrize("kind", [k for k in placed.KINDS if k != "radiograph"])
def test_map_comes_back_number_for_number_at_its_place(kind, tmp_path):
    found = placed.place(kind, tmp_path)
    heat = heat_of(found)
    write_parametric(tmp_path / "a.dcm", heat, measured(found.source, found.mask), placed.ORIGIN, name="nodule")
    file = pydicom.dcmread(tmp_path / "a.dcm")
    shape = (file.NumberOfFrames, file.Rows, file.Columns)
    assert np.array_equal(np.frombuffer(file.FloatPixelData, "<f4").reshape(shape), heat.array[0])
    shared = file.SharedFunctionalGroupsSequence[0]
    row, column = (float(v) for v in shared.PixelMeasuresSequence[0].PixelSpacing)
    turn = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float)
    for k, frame in enumerate(file.PerFrameFunctionalGroupsSequence):
        origin = np.array(frame.PlanePositionSequence[0].ImagePositionPatient, float)
        corner = origin + turn[:3] * column * 10 + turn[3:] * row * 8
        assert np.abs(corner - (found.image.affine @ (k, 8, 10, 1))[:3]).max() < 1e-4


@pytest.mark.parametrize("kind", ["axial", "oblique", "reversed", "multi-frame"])
def test_highdicom_reads_the_same_map(kind, tmp_path):
    found = placed.place(kind, tmp_path)
    heat = heat_of(found)
    write_parametric(tmp_path / "a.dcm", heat, measured(found.source, found.mask), placed.ORIGIN, quantity=SALIENCY)
    image = highdicom.imread(tmp_path / "a.dcm")
    back = image.get_frames(apply_real_world_transform=True, dtype=np.float32)
    assert np.array_equal(back, heat.array[0])
    volume = image.get_volume(apply_real_world_transform=True)
    step = np.linalg.inv(volume.affine) @ found.image.affine
    for k, j, i in ((0, 0, 0), (5, 8, 10), (2, 3, 4)):
        place = np.rint((step @ (k, j, i, 1))[:3]).astype(int)
        assert volume.array[tuple(place)] == heat.array[0, k, j, i]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_map_was_held_in_memory_three_times(dtype, tmp_path):
    found = placed.place("axial", tmp_path, size=(24, 128, 160))
    heat = Image(np.random.default_rng(0).random((1, 24, 128, 160)).astype(dtype), found.image.affine)
    seen = measured(found.source, found.mask)
    write_parametric(tmp_path / "first.dcm", heat, seen, placed.ORIGIN)  # imports come before the counting
    tracemalloc.start()
    try:
        write_parametric(tmp_path / "a.dcm", heat, seen, placed.ORIGIN)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # Stored, it is 24 x 128 x 160 x 4 bytes; a frame is a 24th of it, and the header's objects take some more.
    stored = 24 * 128 * 160 * 4
    assert (tmp_path / "a.dcm").stat().st_size > stored
    assert most < stored / 2
    back = np.frombuffer(pydicom.dcmread(tmp_path / "a.dcm").FloatPixelData, "<f4").reshape(24, 128, 160)
    assert np.array_equal(back, heat.array[0].astype(np.float32))


def test_map_says_what_its_numbers_are(tmp_path):
    found = placed.place("axial", tmp_path)
    write_parametric(tmp_path / "a.dcm", heat_of(found), measured(found.source, found.mask), placed.ORIGIN, name="x")
    file = pydicom.dcmread(tmp_path / "a.dcm")
    mapping = file.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence[0]
    assert mapping.QuantityDefinitionSequence[0].ConceptCodeSequence[0].CodeValue == "110854"
    assert (mapping.RealWorldValueSlope, mapping.RealWorldValueIntercept) == (1, 0)
    window = file.SharedFunctionalGroupsSequence[0].FrameVOILUTSequence[0]
    assert (float(window.WindowCenter), float(window.WindowWidth)) == (0.5, 1.0)
    assert "Research use only" in file.SeriesDescription
    assert file.ContentQualification == "RESEARCH"


def test_map_without_a_place_and_map_of_labels_are_refused(tmp_path):
    found = placed.place("radiograph", tmp_path)
    seen = measured(found.source, found.mask)
    with pytest.raises(OutputError, match=r"frame of reference.*secondary capture"):
        write_parametric(tmp_path / "a.dcm", heat_of(found), seen, placed.ORIGIN)
    with pytest.raises(OutputError, match="one channel of numbers"):
        write_parametric(tmp_path / "a.dcm", found.mask, seen, placed.ORIGIN)


@pytest.mark.parametrize("kind", placed.KINDS)
def test_pictures_are_of_the_slices_with_something_on_them(kind, tmp_path):
    found = placed.place(kind, tmp_path)
    seen = measured(found.source, found.mask)
    paths = write_capture(tmp_path / "sc", found.image, found.mask, seen, placed.ORIGIN)
    held = np.flatnonzero(found.mask.array[0].any(axis=(1, 2)))
    assert [p.name for p in paths] == [f"overlay-{k + 1:04d}.dcm" for k in held]
    files = [pydicom.dcmread(p) for p in paths]
    assert len({f.SeriesInstanceUID for f in files}) == 1
    assert len({f.SOPInstanceUID for f in files}) == len(files)
    for k, file in zip(held, files, strict=True):
        assert (file.BurnedInAnnotation, file.PhotometricInterpretation) == ("YES", "RGB")
        assert file.InstanceNumber == k + 1
        seen_frame = seen.frames[k]
        if seen_frame.uid:
            assert file.SourceImageSequence[0].ReferencedSOPInstanceUID == seen_frame.uid
        else:
            assert "SourceImageSequence" not in file


def test_colours_lie_where_the_labels_are_and_nowhere_else(tmp_path):
    found = placed.place("axial", tmp_path)
    seen = measured(found.source, found.mask)
    look = Look(window=(-1000, 2000), strength=1.0)
    for path in write_capture(tmp_path / "sc", found.image, found.mask, seen, placed.ORIGIN, look=look):
        file = pydicom.dcmread(path)
        k = file.InstanceNumber - 1
        times = file.Columns // 11
        picture = file.pixel_array[: 9 * times : times, ::times].astype(int)
        grey = np.rint((found.image.array[0, k] + 1000) / 3000 * 255)
        labels = found.mask.array[0, k]
        assert np.array_equal(picture[labels == 0], np.repeat(grey[labels == 0][:, None], 3, axis=1))
        for value in (1, 2):
            assert (picture[labels == value] == COLOURS[value - 1]).all()


def test_hotter_is_brighter_and_zero_is_clear(tmp_path):
    found = placed.place("axial", tmp_path)
    array = np.zeros(found.image.array.shape, np.float32)
    array[0, 2, 4] = np.linspace(0, 1, 11)
    heat = Image(array, found.image.affine)
    seen = measured(found.source, found.mask)
    flat = found.image.with_array(np.zeros_like(found.image.array))
    (path,) = write_capture(tmp_path, flat, heat, seen, placed.ORIGIN, look=Look(window=(0, 1)))
    file = pydicom.dcmread(path)
    times = file.Columns // 11
    row = file.pixel_array[4 * times, ::times].astype(int).sum(axis=1)
    assert row[0] == 0
    assert (np.diff(row) > 0).all()


@pytest.mark.parametrize("width", [11, 64, 512, 1000])
def test_banner_stands_below_the_picture_and_fits(width):
    picture = np.full((20, width, 3), 0.5)
    drawn = with_banner(picture)
    times = drawn.shape[1] // width
    assert drawn.shape[1] >= 384
    assert (drawn[: 20 * times] == 128).all()
    strip = drawn[20 * times :]
    ink = (strip > 100).any(axis=2)
    assert 0.02 < ink.mean() < 0.5
    # A word that is cut off touches the edge.
    assert not ink[:, :3].any()
    assert not ink[:, -3:].any()
    assert not ink[0].any()
    assert not ink[-1].any()


def test_two_grids_and_odd_channels_are_refused(tmp_path):
    found = placed.place("axial", tmp_path)
    seen = measured(found.source, found.mask)
    moved = found.mask.affine.copy()
    moved[0, 3] += 1
    with pytest.raises(GeometryError, match="two grids"):
        write_capture(tmp_path, found.image, Image(found.mask.array, moved, "labels"), seen, placed.ORIGIN)
    double = Image(np.zeros((2, *placed.SIZE)), found.image.affine)
    with pytest.raises(OutputError, match="2 channels under 1"):
        write_capture(tmp_path, double, found.mask, seen, placed.ORIGIN)


def test_nothing_over_the_image_is_no_picture(tmp_path):
    found = placed.place("axial", tmp_path)
    empty = found.mask.with_array(np.zeros_like(found.mask.array))
    assert write_capture(tmp_path / "sc", found.image, empty, measured(found.source, empty), placed.ORIGIN) == ()
    assert not (tmp_path / "sc").exists()
