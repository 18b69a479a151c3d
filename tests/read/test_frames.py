"""Files with several frames: enhanced CT and MR, clips, Siemens mosaics."""

import dicom_made as made
import numpy as np
import pytest

from lucency.errors import ReadError
from lucency.read import load
from lucency.read.frames import frame_times, slices_of
from lucency.read.layout import tree_of


def outcome(folder, **options):
    tree = tree_of(folder, **options)
    return [u.source for u in tree.units], {s.path: s.reason for s in tree.skipped}, tree.notes


def numbers(image) -> list[int]:
    return [round((float(v) - 1000) / 100) for v in image.array[0, :, 0, 0]]


POSITIONS = [(-10, -20, 3.0 * n) for n in range(6)]


def test_frames_are_put_in_the_order_of_their_places(tmp_path):
    order = [4, 0, 5, 2, 1, 3]
    data = made.enhanced([POSITIONS[n] for n in order], array=np.stack([made.plane(n) for n in order]))
    made.saved(data, tmp_path / "e.dcm")
    (source,), skipped, _ = outcome(tmp_path)
    assert skipped == {}
    # Frame 2 of the file is the lowest, then frame 5, 4, 6, 1, 3.
    assert source.header["frames"] == (2, 5, 4, 6, 1, 3)
    assert source.paths == ("e.dcm",)
    image = load(source)
    assert numbers(image) == list(range(6))
    assert (image.affine @ [5, 2, 3, 1])[:3] == pytest.approx([-10 + 3 * 0.75, -20 + 2 * 0.5, 15.0])


def test_the_scale_of_each_frame_is_its_own(tmp_path):
    frames = [
        {"PixelValueTransformationSequence": made.item(RescaleSlope=1 + n, RescaleIntercept=-n, RescaleType="US")}
        for n in range(6)
    ]
    made.saved(made.enhanced(POSITIONS, "eMR", frames), tmp_path / "e.dcm")
    (source,), _, _ = outcome(tmp_path)
    image = load(source)
    for n in range(6):
        assert np.array_equal(image.array[0, n], made.plane(n) * (1.0 + n) - n)
    assert (image.unit, image.array.dtype.name) == ("1", "float32")


def test_one_shared_scale_keeps_integers_and_the_unit(tmp_path):
    shared = {"PixelValueTransformationSequence": made.item(RescaleSlope=1, RescaleIntercept=-1024, RescaleType="HU")}
    made.saved(made.enhanced(POSITIONS, shared=shared), tmp_path / "e.dcm")
    (source,), _, _ = outcome(tmp_path)
    image = load(source)
    assert (image.unit, image.array.dtype.name, source.header["dtype"]) == ("HU", "int16", "int16")
    assert image.array[0, 0, 0, 0] == 1000 - 1024


def test_a_long_stack_is_read_a_part_at_a_time(tmp_path, monkeypatch):
    from lucency.read import decode, volume

    asked = []
    original = decode.frames

    def counted(files, where, *, selected=None):
        asked.append(selected)
        return original(files, where, selected=selected)

    # Room for two frames of 6 x 8 pixels of two bytes.
    monkeypatch.setattr(volume, "AT_A_TIME", 2 * 6 * 8 * 2)
    monkeypatch.setattr(decode, "frames", counted)
    order = [4, 0, 5, 2, 1, 3]
    data = made.enhanced([POSITIONS[n] for n in order], array=np.stack([made.plane(n) for n in order]))
    made.saved(data, tmp_path / "e.dcm")
    (source,), _, _ = outcome(tmp_path)
    assert numbers(load(source)) == list(range(6))
    assert asked == [[(0, 1), (0, 4)], [(0, 3), (0, 5)], [(0, 0), (0, 2)]]


def test_two_times_in_one_file_are_two_images(tmp_path):
    positions = [p for p in POSITIONS for _ in range(2)]
    frames = [{"FrameContentSequence": made.item(TemporalPositionIndex=1 + n % 2)} for n in range(12)]
    array = np.stack([made.plane(n // 2 + 10 * (n % 2)) for n in range(12)])
    made.saved(made.enhanced(positions, "eMR", frames, array=array), tmp_path / "e.dcm")
    sources, _, notes = outcome(tmp_path)
    assert [numbers(load(s)) for s in sources] == [list(range(6)), list(range(10, 16))]
    assert sources[0].header["frames"] == (1, 3, 5, 7, 9, 11)
    assert any("told apart by temporal position" in n for n in notes)


def test_b_values_in_one_file_are_told_apart(tmp_path):
    positions = [p for p in POSITIONS for _ in range(2)]
    frames = [{"MRDiffusionSequence": made.item(DiffusionBValue=500.0 * (n % 2))} for n in range(12)]
    array = np.stack([made.plane(n // 2 + 10 * (n % 2)) for n in range(12)])
    made.saved(made.enhanced(positions, "eMR", frames, array=array), tmp_path / "e.dcm")
    sources, _, _ = outcome(tmp_path)
    assert [s.header["told_by"] for s in sources] == ["b-value", "b-value"]


def test_a_missing_frame_is_refused_and_filled_on_request(tmp_path):
    keep = [0, 1, 3, 4, 5]
    data = made.enhanced([POSITIONS[n] for n in keep], array=np.stack([made.plane(n) for n in keep]))
    made.saved(data, tmp_path / "e.dcm")
    sources, skipped, _ = outcome(tmp_path)
    assert sources == []
    assert "Gap after slice 1 is 6.00 mm, elsewhere 3.00 mm: 1 slice is missing" in skipped["e.dcm"]
    (source,), _, _ = outcome(tmp_path, fill=True)
    assert (source.header["frames"], source.header["interpolated"]) == ((1, 2, 3, 4, 5), (2,))
    assert numbers(load(source)) == list(range(6))


def test_a_tilted_stack_of_frames_is_sheared(tmp_path):
    positions = [(-10, -20 + 1.0 * n, 3.0 * n) for n in range(6)]
    made.saved(made.enhanced(positions), tmp_path / "e.dcm")
    (source,), _, _ = outcome(tmp_path)
    # One millimetre aside for three of depth: atan(1 / 3) = 18.435 degrees.
    assert source.header["tilt"] == pytest.approx(18.435, abs=1e-3)


def test_fewer_frames_described_than_stored_are_refused(tmp_path):
    data = made.enhanced(POSITIONS)
    del data.PerFrameFunctionalGroupsSequence[-1]
    made.saved(data, tmp_path / "e.dcm")
    sources, skipped, _ = outcome(tmp_path)
    assert sources == []
    assert "6 frames, and 5 of them described" in skipped["e.dcm"]


def test_a_part_of_a_concatenation_is_left_out_by_name(tmp_path):
    data = made.enhanced(POSITIONS)
    data.ConcatenationUID = "1.2.3.77"
    made.saved(data, tmp_path / "e.dcm")
    sources, _, notes = outcome(tmp_path)
    assert sources == []
    assert notes == ("1 DICOM files left out: part of an image cut into several files (concatenation).",)


def clip(**changes):
    data = made.with_pixels(made.empty("US"), np.stack([made.plane(n) for n in range(5)]))
    for keyword, value in changes.items():
        setattr(data, keyword, value)
    return data


def test_a_clip_is_read_as_time(tmp_path):
    region = made.item(
        RegionSpatialFormat=1,
        RegionDataType=1,
        PhysicalUnitsXDirection=3,
        PhysicalUnitsYDirection=3,
        PhysicalDeltaX=0.02,
        PhysicalDeltaY=0.03,
    )
    made.saved(clip(FrameTime=40, SequenceOfUltrasoundRegions=[region]), tmp_path / "c.dcm")
    (source,), _, notes = outcome(tmp_path)
    image = load(source)
    assert (image.k_axis, image.size) == ("time", (5, *made.SIZE))
    assert numbers(image) == list(range(5))
    # 0.03 cm from row to row, 0.02 cm from column to column.
    assert source.header["spacing"] == pytest.approx((1.0, 0.3, 0.2))
    assert source.header["frame_times"] == pytest.approx((0.0, 0.04, 0.08, 0.12, 0.16))
    assert np.linalg.norm(image.affine[:3, 0]) == pytest.approx(1.0)
    assert any("read as time, not as depth" in n for n in notes)


def test_a_modality_table_applies_to_every_frame(tmp_path):
    data = made.with_pixels(made.empty("US"), np.arange(96, dtype=np.uint16).reshape(2, *made.SIZE) % 4)
    table = made.item(LUTDescriptor=[4, 0, 16], ModalityLUTType="US")
    table.add_new("LUTData", "US", [100, 200, 400, 800])
    data.ModalityLUTSequence = made.Sequence([table])
    made.saved(data, tmp_path / "c.dcm")
    (source,), _, _ = outcome(tmp_path)
    assert load(source).array[0, :, 0, :4].tolist() == [[100, 200, 400, 800]] * 2


def test_a_clip_without_times_is_read_and_said(tmp_path):
    made.saved(clip(), tmp_path / "c.dcm")
    (source,), _, notes = outcome(tmp_path)
    assert "frame_times" not in source.header
    assert source.header["spacing_known"] is False
    assert any("do not say when their frames were taken" in n for n in notes)


@pytest.mark.parametrize(
    ("head", "times"),
    [
        ({"FrameTime": 50.0}, (0.0, 0.05, 0.1)),
        ({"FrameTimeVector": [0.0, 30.0, 50.0]}, (0.0, 0.03, 0.08)),
        ({"CineRate": 20}, (0.0, 0.05, 0.1)),
        ({"FrameTime": 0, "RecommendedDisplayFrameRate": 10}, (0.0, 0.1, 0.2)),
        ({"FrameTimeVector": [0.0]}, ()),
        ({}, ()),
    ],
)
def test_frame_times_are_seconds_from_the_first(head, times):
    assert frame_times(head, 3) == pytest.approx(times)


@pytest.mark.filterwarnings("ignore:The DICOM readers are highly experimental")
@pytest.mark.parametrize("normal", [(0, 0, 1.0), (0, 0, -1.0)])
@pytest.mark.parametrize("count", [1, 4, 7])
def test_a_mosaic_is_unfolded_as_nibabel_does(tmp_path, count, normal):
    from nibabel.nicom.dicomwrappers import MosaicWrapper

    data = made.mosaic(count, normal=normal)
    made.saved(data, tmp_path / "m.dcm")
    (source,), skipped, _ = outcome(tmp_path)
    assert skipped == {}
    image = load(source)
    assert image.size == (count, 6, 8)
    assert sorted(numbers(image)) == list(range(count))
    theirs = MosaicWrapper(data, n_mosaic=count)
    # nibabel orders (i, j, k) with columns first and places tile 0 first; ours runs along the normal.
    assert theirs.image_position == pytest.approx((image.affine @ [0 if normal[2] > 0 else count - 1, 0, 0, 1])[:3])
    voxels = np.asarray(theirs.get_data())
    for k, n in enumerate(numbers(image)):
        assert np.array_equal(voxels[:, :, n], image.array[0, k])
    if count > 1:
        step = (image.affine @ [1, 0, 0, 0])[:3]
        assert step == pytest.approx([0, 0, 3.0])


def test_a_mosaic_without_its_private_header_is_refused(tmp_path):
    data = made.mosaic(4)
    del data[0x00291010]
    made.saved(data, tmp_path / "m.dcm")
    sources, skipped, _ = outcome(tmp_path)
    assert sources == []
    assert "A mosaic that does not say how many images it holds" in skipped["m.dcm"]


def test_mosaics_of_one_series_are_its_times(tmp_path):
    for n in range(3):
        data = made.mosaic(4)
        data.InstanceNumber = n + 1
        made.saved(data, tmp_path / f"{n}.dcm")
    sources, _, notes = outcome(tmp_path)
    assert len(sources) == 3
    assert {s.header["size"] for s in sources} == {(4, 6, 8)}
    assert any("told apart by the file they lie in" in n for n in notes)


def test_a_cohort_that_was_written_down_loads_the_same(tmp_path):
    from lucency import record
    from lucency.case import Cohort
    from lucency.read import ReadOptions, read

    positions = [(-10, -20 + n, 3.0 * n) for n in (0, 1, 3, 4, 5)]
    made.saved(made.enhanced(positions), tmp_path / "in" / "e.dcm")
    data = clip(FrameTime=40)
    data.SeriesInstanceUID = "1.2.3.9"
    made.saved(data, tmp_path / "in" / "c.dcm")
    made.saved(made.mosaic(4), tmp_path / "in" / "m" / "m.dcm")
    cohort = read(tmp_path / "in", ReadOptions(missing_slices="interpolate"))
    record.write(tmp_path / "cohort.json", cohort)
    again = record.read(Cohort, tmp_path / "cohort.json")
    assert again.digest == cohort.digest
    for one, other in zip(cohort.cases, again.cases, strict=True):
        first, second = load(one.sources[0]), load(other.sources[0])
        assert np.array_equal(first.array, second.array)
        assert np.array_equal(first.affine, second.affine)
        assert first.k_axis == second.k_axis


def test_a_file_that_was_exchanged_since_is_refused(tmp_path):
    made.saved(made.enhanced(POSITIONS), tmp_path / "e.dcm")
    (source,), _, _ = outcome(tmp_path)
    made.saved(made.enhanced(POSITIONS[:3]), tmp_path / "e.dcm")
    with pytest.raises(ReadError, match=r"e\.dcm: .*a frame was asked for that is not among its 3"):
        load(source)


def test_a_single_image_is_one_slice():
    (one,) = slices_of("a", {"Rows": 3, "Columns": 4, "PixelSpacing": [0.1, 0.2]})
    assert (one.frame, one.size, one.spacing, one.placed) == (0, (3, 4), (0.1, 0.2), False)


@pytest.mark.parametrize(
    ("head", "spacing"),
    [
        ({"PixelSpacing": [0.3, 0.4], "ImagerPixelSpacing": [1, 1]}, (0.3, 0.4)),
        ({"ImagerPixelSpacing": [0.1, 0.1]}, (0.1, 0.1)),
        ({"NominalScannedPixelSpacing": [0.2, 0.2]}, (0.2, 0.2)),
        ({"PixelSpacing": [0.3]}, None),
        ({}, None),
    ],
)
def test_the_size_of_a_pixel_is_taken_from_the_surest_attribute(head, spacing):
    (one,) = slices_of("a", {"Rows": 3, "Columns": 4, **head})
    assert one.spacing == spacing
