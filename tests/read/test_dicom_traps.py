"""The traps of DICOM geometry, each with its decided outcome and the sentence that the user reads."""

import dicom_made as made
import numpy as np
import pytest

from lucency.case import pseudonym
from lucency.errors import DataError, UsageError
from lucency.read import ReadOptions, load, read, read_inputs

DEPTHS = tuple(2.0 * n for n in range(8))


def outcome(folder, **options):
    """The images of a folder, or an empty list with the reasons."""
    from lucency.read.layout import tree_of

    tree = tree_of(folder, **options)
    return [u.source for u in tree.units], {s.path: s.reason for s in tree.skipped}, tree.notes


def refused(folder) -> str:
    sources, skipped, _ = outcome(folder)
    assert sources == []
    (why,) = skipped.values()
    assert made.empty().PatientID not in why
    return why


def numbers(image) -> list[int]:
    """Which plane each slice holds, by its first pixel."""
    return [round((float(v) - 1000) / 100) for v in image.array[0, :, 0, 0]]


def test_a_missing_slice_is_refused_with_its_gap_and_where_to_ask_for_filling(tmp_path):
    made.write(tmp_path, made.stack([z for z in DEPTHS if z != 6.0]))
    why = refused(tmp_path)
    assert "Gap after slice 2 is 4.00 mm, elsewhere 2.00 mm: 1 slice is missing." in why
    assert "--set missing_slices=interpolate" in why
    assert "The series of 7 files is left out." in why


def test_missing_slices_are_filled_in_on_request_and_named(tmp_path):
    kept = [n for n in range(8) if n not in (3, 5, 6)]
    slices = made.stack(DEPTHS)
    made.write(tmp_path, [slices[n] for n in kept])
    (source,), skipped, notes = outcome(tmp_path, fill=True)
    assert skipped == {}
    assert source.header["interpolated"] == (3, 5, 6)
    assert len(source.paths) == 5
    image = load(source)
    assert image.size == (8, *made.SIZE)
    # Slice 3 lies half-way between 2 and 4, slice 5 a third of the way from 4 to 7.
    assert np.array_equal(image.array[0], np.stack([made.plane(n) for n in range(8)]))
    assert any("slices 3, 5, 6" in n and "by interpolation, as asked" in n for n in notes)
    (case,) = read_inputs(tmp_path, missing_slices="interpolate")
    assert case.sources[0].header["interpolated"] == (3, 5, 6)


def test_filling_is_asked_for_in_words_that_are_checked(tmp_path):
    with pytest.raises(UsageError, match=r"missing_slices = 'guess'\. Expected: refuse or interpolate"):
        ReadOptions(missing_slices="guess")


def test_filling_never_makes_up_most_of_a_series(tmp_path):
    made.write(tmp_path, made.stack([0.0, 2.0, 40.0]))
    sources, skipped, _ = outcome(tmp_path, fill=True)
    assert sources == []
    assert "resample the series to one slice spacing" in next(iter(skipped.values()))


def test_a_duplicate_with_the_same_pixels_is_left_out_and_said(tmp_path):
    slices = made.stack(DEPTHS)
    slices.append(made.one_slice(4, (-10, -20, 8.0), InstanceNumber=9))
    made.write(tmp_path, slices)
    (source,), skipped, notes = outcome(tmp_path)
    assert skipped == {}
    assert numbers(load(source)) == list(range(8))
    assert any(n.startswith("1 DICOM files or frames are copies of others, pixel for pixel") for n in notes)


def test_a_duplicate_with_other_pixels_is_refused(tmp_path):
    slices = made.stack(DEPTHS)
    slices.append(made.one_slice(11, (-10, -20, 8.0), InstanceNumber=9))
    made.write(tmp_path, slices)
    assert "Slices 4 and 5 lie at the same place and show different pixels" in refused(tmp_path)


def test_a_copied_folder_counts_once(tmp_path):
    slices = made.stack(DEPTHS)
    made.write(tmp_path / "a", slices)
    made.write(tmp_path / "b", slices)
    (source,), skipped, notes = outcome(tmp_path)
    assert {p.split("/")[0] for p in source.paths} == {"a"}
    assert skipped == {}
    assert any(n.startswith("8 DICOM files or frames are copies") for n in notes)


def test_one_identity_with_two_pictures_is_refused(tmp_path):
    slices = made.stack(DEPTHS)
    twin = made.one_slice(11, (-10, -20, 0.0), SOPInstanceUID=slices[0].SOPInstanceUID)
    twin.file_meta.MediaStorageSOPInstanceUID = twin.SOPInstanceUID
    made.write(tmp_path, [*slices, twin])
    assert "Two files say that they are the same instance and show different pixels" in refused(tmp_path)


def test_uneven_spacing_is_refused(tmp_path):
    made.write(tmp_path, made.stack([0, 2, 4, 6.5, 9, 14.2]))
    why = refused(tmp_path)
    assert "Gap after slice 2 is 2.50 mm" in why or "Gap after slice 0 is 2.00 mm" in why
    assert "slices at even distances" in why


@pytest.mark.parametrize("tilt", [-22.0, 8.0])
def test_gantry_tilt_is_kept_as_a_sheared_stack(tmp_path, tilt):
    turn = np.radians(tilt)
    # The table moves along z while the slices lean by the tilt about x.
    orientation = [1, 0, 0, 0, np.cos(turn), np.sin(turn)]
    slices = [
        made.one_slice(n, (-10, -20, 2.0 * n), ImageOrientationPatient=[round(float(c), 8) for c in orientation])
        for n in range(8)
    ]
    made.write(tmp_path, slices)
    (source,), _, notes = outcome(tmp_path)
    image = load(source)
    assert source.header["tilt"] == pytest.approx(abs(tilt), abs=1e-3)
    for n in (0, 3, 7):
        assert (image.affine @ [n, 0, 0, 1])[:3] == pytest.approx([-10, -20, 2.0 * n], abs=1e-6)
        place = np.array([-10, -20, 2.0 * n]) + 5 * 0.5 * np.array(orientation[3:]) + 7 * 0.75 * np.array([1, 0, 0])
        assert (image.affine @ [n, 5, 7, 1])[:3] == pytest.approx(place, abs=1e-6)
    assert numbers(image) == list(range(8))
    assert any("tilted gantry" in n and f"{abs(tilt):.1f} degrees" in n for n in notes)


def test_slices_off_their_line_are_refused(tmp_path):
    slices = made.stack(DEPTHS)
    slices[3].ImagePositionPatient = [-10, -19, 6.0]
    made.write(tmp_path, slices)
    assert "Slice 3 lies 1.00 mm beside the line of the others" in refused(tmp_path)


def test_a_localizer_inside_the_series_is_left_aside(tmp_path):
    across = made.one_slice(99, (0, -20, 0), ImageOrientationPatient=[0, 1, 0, 0, 0, -1])
    made.write(tmp_path, [*made.stack(DEPTHS), across])
    (source,), skipped, notes = outcome(tmp_path)
    assert numbers(load(source)) == list(range(8))
    assert skipped == {}
    assert any(n.startswith("1 DICOM slices in another direction") and "localizers" in n for n in notes)


PHASES = [
    ("TemporalPositionIdentifier", (1, 2), "temporal position"),
    ("AcquisitionNumber", (1, 2), "acquisition number"),
    ("EchoTime", (2.3, 4.6), "echo time"),
    ("DiffusionBValue", (0.0, 1000.0), "b-value"),
    ("ImageType", (["ORIGINAL", "PRIMARY", "M"], ["ORIGINAL", "PRIMARY", "P"]), "type of image"),
    ("ContentTime", ("101500", "101530"), "content time"),
    ("NominalPercentageOfCardiacPhase", (0.0, 50.0), "cardiac phase"),
]


@pytest.mark.parametrize(("keyword", "values", "word"), PHASES, ids=lambda p: p if isinstance(p, str) else "")
def test_two_phases_become_two_images(tmp_path, keyword, values, word):
    slices = [
        made.one_slice(n + 10 * phase, (-10, -20, 2.0 * n), "MR", **{keyword: value})
        for n in range(8)
        for phase, value in enumerate(values)
    ]
    made.write(tmp_path, slices)
    sources, skipped, notes = outcome(tmp_path)
    assert skipped == {}
    assert [numbers(load(s)) for s in sources] == [list(range(8)), list(range(10, 18))]
    assert {s.header["told_by"] for s in sources} == {word}
    assert len({c.id for c in read_inputs(tmp_path)}) == 2
    assert any(f"told apart by {word}" in n for n in notes)


def test_trigger_times_that_drift_from_slice_to_slice_still_tell_phases_apart(tmp_path):
    rng = np.random.default_rng(1)
    slices = [
        made.one_slice(
            n + 10 * phase, (-10, -20, 8.0 * n), "MR", TriggerTime=round(40.0 * phase + rng.uniform(0, 9), 3)
        )
        for n in range(5)
        for phase in range(4)
    ]
    made.write(tmp_path, slices)
    sources, skipped, _ = outcome(tmp_path)
    assert skipped == {}
    assert [numbers(load(s)) for s in sources] == [[n + 10 * p for n in range(5)] for p in range(4)]
    assert {s.header["told_by"] for s in sources} == {"trigger time"}


def test_diffusion_is_told_apart_by_b_value_and_gradient(tmp_path):
    directions = [(0.0, None), (1000.0, [1.0, 0.0, 0.0]), (1000.0, [0.0, 1.0, 0.0])]
    slices = []
    for volume, (b, gradient) in enumerate(directions):
        for n in range(6):
            more = {} if gradient is None else {"DiffusionGradientOrientation": gradient}
            slices.append(made.one_slice(n + 10 * volume, (-10, -20, 2.0 * n), "MR", DiffusionBValue=b, **more))
    made.write(tmp_path, slices)
    sources, skipped, _ = outcome(tmp_path)
    assert skipped == {}
    assert sorted(numbers(load(s))[0] for s in sources) == [0, 10, 20]
    assert all(len(s.paths) == 6 for s in sources)


def test_phases_between_each_other_are_not_one_stack_of_half_the_gap(tmp_path):
    slices = [
        made.one_slice(n + 10 * phase, (-10, -20, 2.0 * n + phase), "MR", TemporalPositionIdentifier=phase + 1)
        for n in range(6)
        for phase in range(2)
    ]
    made.write(tmp_path, slices)
    sources, _, _ = outcome(tmp_path)
    assert [s.header["spacing"][0] for s in sources] == [2.0, 2.0]


def test_acquisitions_one_behind_the_other_stay_one_stack(tmp_path):
    made.write(tmp_path, made.stack(DEPTHS, AcquisitionNumber=tuple(1 + n // 4 for n in range(8))))
    (source,), _, _ = outcome(tmp_path)
    assert source.header["size"] == (8, *made.SIZE)


def test_an_incomplete_phase_is_left_out_and_the_other_kept(tmp_path):
    slices = [
        made.one_slice(n + 10 * phase, (-10, -20, 2.0 * n), "MR", TemporalPositionIdentifier=phase + 1)
        for n in range(8)
        for phase in range(2)
        if (n, phase) != (4, 1)
    ]
    made.write(tmp_path, slices)
    (source,), skipped, _ = outcome(tmp_path)
    assert numbers(load(source)) == list(range(8))
    (why,) = skipped.values()
    assert "1 slice is missing" in why
    assert "This part of its series is left out." in why


def test_two_pixel_spacings_make_two_stacks(tmp_path):
    spacings = tuple([0.5, 0.75] if n < 4 else [0.6, 0.9] for n in range(8))
    made.write(tmp_path, made.stack(DEPTHS, PixelSpacing=spacings))
    sources, _, notes = outcome(tmp_path)
    assert [s.header["spacing"] for s in sources] == [pytest.approx((2, 0.6, 0.9)), pytest.approx((2, 0.5, 0.75))]
    assert any("told apart by size, pixel spacing or direction" in n for n in notes)


def test_one_slice_of_another_pixel_spacing_is_refused(tmp_path):
    spacings = tuple([0.6, 0.9] if n == 3 else [0.5, 0.75] for n in range(8))
    made.write(tmp_path, made.stack(DEPTHS, PixelSpacing=spacings))
    assert "Pixel spacings that differ in one series, and one of them stands alone" in refused(tmp_path)


def test_a_pixel_spacing_that_differs_in_the_last_digit_is_one(tmp_path):
    spacings = tuple([0.5, 0.75 + 1e-6 * (n % 2)] for n in range(8))
    made.write(tmp_path, made.stack(DEPTHS, PixelSpacing=spacings))
    assert len(outcome(tmp_path)[0]) == 1


def test_two_sizes_make_two_stacks(tmp_path):
    arrays = tuple(made.plane(n) if n < 4 else made.plane(n, (5, 5)) for n in range(8))
    made.write(tmp_path, made.stack(DEPTHS, array=arrays))
    assert sorted(s.header["size"] for s in outcome(tmp_path)[0]) == [(4, 5, 5), (4, 6, 8)]


def test_three_directions_make_three_stacks(tmp_path):
    coronal, sagittal = [1, 0, 0, 0, 0, -1], [0, 1, 0, 0, 0, -1]
    slices = made.stack(DEPTHS[:3])
    slices += [made.one_slice(10 + n, (0, 5.0 * n, 0), ImageOrientationPatient=coronal) for n in range(3)]
    slices += [made.one_slice(20 + n, (5.0 * n, 0, 0), ImageOrientationPatient=sagittal) for n in range(3)]
    made.write(tmp_path, slices)
    sources, _, _ = outcome(tmp_path)
    assert sorted(numbers(load(s))[0] // 10 for s in sources) == [0, 1, 2]
    assert {s.header["size"][0] for s in sources} == {3}


def test_slices_without_a_place_are_refused(tmp_path):
    made.write(tmp_path, made.stack(DEPTHS, ImagePositionPatient=None))
    assert "8 of 8 slices do not say where they lie" in refused(tmp_path)


def test_one_slice_without_a_place_among_others_costs_the_series(tmp_path):
    slices = made.stack(DEPTHS)
    del slices[2].ImagePositionPatient
    made.write(tmp_path, slices)
    assert "1 of 8 slices do not say where they lie" in refused(tmp_path)


def test_a_saved_screen_among_slices_is_left_aside(tmp_path):
    screen = made.with_pixels(made.empty("SC"), made.plane(77))
    made.write(tmp_path, [*made.stack(DEPTHS), screen])
    (source,), skipped, notes = outcome(tmp_path)
    assert numbers(load(source)) == list(range(8))
    assert skipped == {}
    assert any(n.startswith("1 DICOM pictures without a place lie in a series of slices") for n in notes)


def test_saved_screens_by_themselves_are_images(tmp_path):
    made.write(tmp_path, [made.with_pixels(made.empty("SC"), made.plane(n)) for n in range(3)])
    sources, _, _ = outcome(tmp_path)
    assert sorted(numbers(load(s))[0] for s in sources) == [0, 1, 2]


def test_two_series_in_one_folder_are_two_images(tmp_path):
    made.write(tmp_path, made.stack(DEPTHS), [f"a{n}.dcm" for n in range(8)])
    made.write(tmp_path, made.stack(DEPTHS[:5], SeriesInstanceUID="1.2.3.9"), [f"b{n}.dcm" for n in range(5)])
    assert sorted(len(s.paths) for s in outcome(tmp_path)[0]) == [5, 8]


def test_one_series_number_of_two_patients_is_two_images(tmp_path):
    made.write(tmp_path / "a", made.stack(DEPTHS))
    made.write(tmp_path / "b", made.stack(DEPTHS, PatientID="OTHER"))
    cases = read_inputs(tmp_path)
    assert len(cases) == len({c.id for c in cases}) == len({c.patient for c in cases}) == 2
    assert all(len({p[0] for p in c.sources[0].paths}) == 1 for c in cases)
    assert any(n.startswith("1 DICOM series numbers are used by several patients;") for n in cases.notes)


def test_a_file_without_a_series_number_is_an_image_whose_id_hides_its_name(tmp_path):
    made.write(tmp_path, made.stack(DEPTHS[:2], SeriesInstanceUID=None), ["WANG.dcm", "LI.dcm"])
    cases = read_inputs(tmp_path)
    assert len(cases) == 2
    assert not any("WANG" in c.id or "LI" in c.id for c in cases)


def test_several_frames_of_reference_in_one_stack_are_said(tmp_path):
    made.write(tmp_path, made.stack(DEPTHS, FrameOfReferenceUID=tuple(f"1.2.5.{n // 4}" for n in range(8))))
    (source,), _, notes = outcome(tmp_path)
    assert source.header["size"] == (8, *made.SIZE)
    assert any("1 DICOM images name several frames of reference" in n for n in notes)


def test_jitter_of_a_hundredth_is_accepted(tmp_path):
    rng = np.random.default_rng(0)
    made.write(tmp_path, made.stack([z + rng.choice([-0.01, 0.01]) for z in DEPTHS]))
    (source,), _, _ = outcome(tmp_path)
    assert source.header["spacing"][0] == pytest.approx(2.0, abs=0.003)
    assert "tilt" not in source.header


def test_a_jitter_beyond_a_hundredth_is_refused(tmp_path):
    made.write(tmp_path, made.stack([0, 2, 4.06, 6, 8]))
    assert "Gap after slice 1 is 2.06 mm, elsewhere 2.00 mm" in refused(tmp_path)


@pytest.mark.parametrize("seed", range(3))
def test_oblique_slices_in_any_order_keep_their_place(tmp_path, seed):
    rng = np.random.default_rng(seed)
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    along_row, along_column, normal = turn[:, 0], turn[:, 1], np.cross(turn[:, 0], turn[:, 1])
    start = rng.uniform(-200, 200, 3)
    slices = [
        made.one_slice(
            n,
            start + 1.5 * n * normal,
            ImageOrientationPatient=[float(f"{c:.12f}") for c in (*along_row, *along_column)],
            InstanceNumber=100 - n,
        )
        for n in rng.permutation(7)
    ]
    made.write(tmp_path, slices)
    (source,), _, _ = outcome(tmp_path)
    image = load(source)
    assert numbers(image) == list(range(7))
    place = start + 1.5 * 5 * normal + 3 * 0.5 * along_column + 2 * 0.75 * along_row
    assert (image.affine @ [5, 3, 2, 1])[:3] == pytest.approx(place, abs=1e-4)


def test_a_rescale_of_its_own_for_each_slice_keeps_decimals(tmp_path):
    slopes = tuple(1.0 + 0.1 * n for n in range(8))
    made.write(tmp_path, made.stack(DEPTHS, RescaleSlope=slopes, RescaleIntercept=-3))
    (source,), _, notes = outcome(tmp_path)
    image = load(source)
    assert image.array.dtype == np.float32
    for n, slope in enumerate(slopes):
        assert image.array[0, n] == pytest.approx(made.plane(n) * slope - 3, rel=1e-6)
    assert any("a rescale of their own for each slice" in n for n in notes)


def test_a_late_slice_with_another_scale_turns_the_earlier_ones_into_decimals_too(tmp_path):
    slopes = tuple(1.0 if n < 7 else 0.5 for n in range(8))
    made.write(tmp_path, made.stack(DEPTHS, RescaleSlope=slopes, RescaleIntercept=-1024))
    (source,), _, _ = outcome(tmp_path)
    image = load(source)
    assert image.array[0, 0, 0, 0] == 1000 - 1024
    assert image.array[0, 7, 0, 0] == 1700 * 0.5 - 1024


@pytest.mark.parametrize(
    ("stored", "intercept", "kind", "value"),
    [
        (np.uint16(65535), -32768, "int16", 32767),
        (np.uint16(65535), -1024, "float32", 64511.0),
        (np.int16(-32768), -1, "float32", -32769.0),
        (np.uint8(255), -1024, "int16", -769),
        (np.uint16(7), 0, "uint16", 7),
        (np.uint16(7), 0.5, "float32", 7.5),
    ],
)
def test_integers_stay_where_they_are_exact(tmp_path, stored, intercept, kind, value):
    array = np.full(made.SIZE, stored)
    slices = made.stack(DEPTHS, array=array, RescaleSlope=1, RescaleIntercept=intercept)
    # The number that decides stands in the last slice only.
    slices[0] = made.one_slice(0, (-10, -20, 0), array=array * 0, RescaleSlope=1, RescaleIntercept=intercept)
    made.write(tmp_path, slices)
    (source,), _, _ = outcome(tmp_path)
    image = load(source)
    assert (image.array.dtype.name, image.array[0, 7, 0, 0]) == (kind, value)
    assert image.array[0, 0, 0, 0] == intercept


def test_monochrome1_keeps_its_numbers_and_says_that_it_is_inverted(tmp_path):
    made.write(tmp_path, made.stack(DEPTHS, PhotometricInterpretation="MONOCHROME1"))
    (source,), _, notes = outcome(tmp_path)
    assert source.header["inverted"] is True
    assert numbers(load(source)) == list(range(8))
    assert any("stored inverted (MONOCHROME1)" in n for n in notes)


@pytest.mark.parametrize(
    ("center", "width", "implausible"),
    [
        (40, 400, False),
        (-30000, 10, True),
        (40, 0, True),
        (40, -5, True),
        (2_000_000, 100, True),
        ([40, 300], [400, 9], 0),
    ],
)
def test_windows_that_show_nothing_are_flagged(tmp_path, center, width, implausible):
    made.write(
        tmp_path,
        made.stack(DEPTHS, WindowCenter=center, WindowWidth=width, RescaleSlope=1, RescaleIntercept=-1024),
    )
    (source,), _, notes = outcome(tmp_path)
    assert bool(source.header.get("window_implausible")) is bool(implausible)
    assert any("a display window that shows none" in n for n in notes) is bool(implausible)
    assert source.header["window_width"] == (width if isinstance(width, int) else 400)


def test_overlays_are_noticed(tmp_path):
    slices = made.stack(DEPTHS)
    for data in slices:
        for group in (0x6000, 0x6002):
            data.add_new((group, 0x0010), "US", made.SIZE[0])
            data.add_new((group, 0x0011), "US", made.SIZE[1])
            data.add_new((group, 0x3000), "OW", bytes(made.SIZE[0] * made.SIZE[1] // 8))
    made.write(tmp_path, slices)
    (source,), _, notes = outcome(tmp_path)
    assert source.header["overlays"] == 2
    assert any(n.startswith("1 DICOM images carry overlay planes") for n in notes)


def test_a_missing_modality_is_taken_from_the_storage_class(tmp_path):
    made.write(tmp_path, made.stack(DEPTHS, Modality=None))
    (source,), _, notes = outcome(tmp_path)
    assert (source.header["modality"], load(source).unit) == ("CT", "HU")
    assert any("do not say their modality" in n for n in notes)


def test_colour_has_three_channels(tmp_path):
    rng = np.random.default_rng(0)
    arrays = tuple(rng.integers(0, 256, (*made.SIZE, 3), dtype=np.uint8) for _ in DEPTHS)
    made.write(tmp_path, made.stack(DEPTHS, array=arrays))
    (source,), _, _ = outcome(tmp_path)
    assert source.header["channels"] == 3
    image = load(source)
    for n, array in enumerate(arrays):
        assert np.array_equal(image.array[:, n], array.transpose(2, 0, 1))


def test_a_modality_table_is_looked_up(tmp_path):
    data = made.one_slice(0, (0, 0, 0), array=np.arange(48, dtype=np.uint16).reshape(made.SIZE) % 4)
    table = made.item(LUTDescriptor=[4, 0, 16], ModalityLUTType="US")
    table.add_new("LUTData", "US", [100, 200, 400, 800])
    data.ModalityLUTSequence = made.Sequence([table])
    made.saved(data, tmp_path / "a.dcm")
    (source,), _, _ = outcome(tmp_path)
    image = load(source)
    assert image.array[0, 0, 0, :4].tolist() == [100, 200, 400, 800]
    assert image.array.dtype.name == source.header["dtype"] == "uint16"


@pytest.mark.parametrize("encoding", [None, "ISO_IR 100", "ISO 2022 IR 87", "ISO_IR 192", "GB18030", "NO SUCH SET"])
def test_character_sets_never_break_reading_and_keep_the_patient(tmp_path, encoding):
    slices = made.stack(DEPTHS, SpecificCharacterSet="ISO_IR 100", PatientName="X^Y")
    names = {"ISO 2022 IR 87": b"\x1b$B;3ED\x1b(B^A", "GB18030": "王^小东".encode("gb18030")}
    raw = names.get(encoding or "", "Wang^小东".encode()).ljust(16, b" ")[:16]
    said = (encoding or "").encode()
    said += b" " * (len(said) % 2)
    for file in made.write(tmp_path, slices):
        content = file.read_bytes().replace(b"PN\x04\0X^Y ", b"PN\x10\0" + raw)
        # Bytes in the file, not pydicom's writer: nothing corrects what a scanner wrote.
        content = content.replace(b"CS\x0a\0ISO_IR 100", b"CS" + len(said).to_bytes(2, "little") + said)
        assert raw in content
        file.write_bytes(content)
    cohort = read(tmp_path, ReadOptions(salt=b"s"))
    (case,) = cohort.cases
    assert case.patient == pseudonym(b"s", "SECRET-ID")
    assert len(case.sources[0].paths) == 8


def test_one_patient_in_two_character_sets_is_one_and_broken_bytes_stay_apart(tmp_path):
    ids = {"a": ("ISO_IR 192", "李四"), "b": ("GB18030", "李四"), "c": ("ISO_IR 192", None), "d": ("ISO_IR 192", None)}
    for number, (name, (encoding, word)) in enumerate(ids.items()):
        slices = made.stack(DEPTHS[:2], SeriesInstanceUID=f"1.2.{number}", SpecificCharacterSet=encoding)
        for data in slices:
            data.PatientID = word or "QQ"
        for file in made.write(tmp_path / name, slices):
            # Bytes that are no UTF-8, of two patients.
            broken = {"c": b"\xff\xfe", "d": b"\xfe\xff"}.get(name, b"QQ")
            file.write_bytes(file.read_bytes().replace(b"LO\x02\0QQ", b"LO\x02\0" + broken))
    patients = {c.sources[0].where[0]: c.patient for c in read_inputs(tmp_path)}
    assert patients["a"] == patients["b"]
    assert len({patients["a"], patients["c"], patients["d"]}) == 3


def test_a_truncated_slice_is_named_when_it_is_loaded(tmp_path):
    files = made.write(tmp_path, made.stack(DEPTHS))
    files[3].write_bytes(files[3].read_bytes()[:-30])
    (source,), _, _ = outcome(tmp_path)
    with pytest.raises(DataError, match=r"897\.dcm: The pixels cannot be read"):
        load(source)


@pytest.mark.parametrize("kept", [10, 200, 400, 650])
def test_a_slice_cut_off_in_its_header_costs_the_series_and_is_named(tmp_path, kept):
    files = made.write(tmp_path, made.stack(DEPTHS))
    assert files[3].stat().st_size > 800
    files[3].write_bytes(files[3].read_bytes()[:kept])
    sources, skipped, _ = outcome(tmp_path)
    assert sources == []
    assert "897.dcm" in skipped
    assert "8 files" in skipped["897.dcm"] or "7 files" in skipped["897.dcm"]


def test_cases_of_one_series_keep_their_patient_and_have_names_of_their_own(tmp_path):
    slices = [
        made.one_slice(n + 10 * phase, (-10, -20, 2.0 * n), "MR", EchoTime=2.0 + phase)
        for n in range(4)
        for phase in range(3)
    ]
    made.write(tmp_path, slices)
    cases = read_inputs(tmp_path, salt=b"x")
    assert len({c.id for c in cases}) == 3
    assert len({c.patient for c in cases}) == 1
    assert [c.id for c in cases] == [c.id for c in read_inputs(tmp_path, salt=b"x")]
