"""Pixels come out of every syntax with exactly the numbers that went in, or that other people's decoders find."""

import warnings
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pixel_files import COMPRESSED, NATIVE, dataset_of, dcmtk, written
from pydicom.encaps import encapsulate, encapsulate_extended, fragment_frame

from lucency.errors import ReadError
from lucency.read import decode

TEST_FILES = Path(pydicom.__file__).parent / "data" / "test_files"

#: Why a file of pydicom's or of the real data gives no pixels; everything else must.
UNREADABLE = {
    "0_ORIGINAL_no_pixels.dcm": "holds no pixels",
    "JPEG2000-embedded-sequence-delimiter.dcm": "another size than the header says",
    "MR_truncated.dcm": "8130 of 8192 bytes",
    "badVR.dcm": "NumberOfFrames is damaged",
}

#: What pydicom does not decode, or not rightly, and who else says that we do.
OTHER_ORACLE = {
    "JPEG-lossy.dcm": "dcmdjpeg",
    "JPGExtended.dcm": "dcmdjpeg",
    "OBXXXX1A_expb.dcm": "OBXXXX1A.dcm",  # pydicom leaves the palette's words in big-endian order
    "liver_rle.dcm": "liver.dcm",
    "liver_nonbyte_aligned_rle.dcm": "liver_nonbyte_aligned.dcm",
    "liver_deflate.dcm": "liver.dcm",
    "liver_nonbyte_aligned_deflate.dcm": "liver_nonbyte_aligned.dcm",
}


def pixels(file, **options):
    """Decode one file."""
    ((_, array),) = decode.frames([file], [file.name], **options)
    return array


def by_pydicom(data):
    """What pydicom makes of it, in our shape."""
    array = np.asarray(data.pixel_array)
    samples = int(data.get("SamplesPerPixel", 1))
    if data.PhotometricInterpretation == "PALETTE COLOR" and not data.SOPClassUID.startswith(
        "1.2.840.10008.5.1.4.1.1.66."
    ):
        array, samples = pydicom.pixels.apply_color_lut(array, data)[..., :3], 3
    return array.reshape(-1, data.Rows, data.Columns, samples)


def check_like_pydicom(file):
    """Compare with pydicom, or with the oracle that is named; tell whether there was anything to compare."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            data = pydicom.dcmread(file, force=True)
            if "Rows" not in data:
                return False
        except Exception:  # what pydicom cannot parse is not an image to compare
            return False
        if file.name in UNREADABLE:
            with pytest.raises(ReadError, match=UNREADABLE[file.name]):
                pixels(file)
            return True
        found = pixels(file)
        if file.name in OTHER_ORACLE:
            other = file.parent / OTHER_ORACLE[file.name]
            assert not other.exists() or np.array_equal(found, pixels(other))
            return True
        if "TransferSyntaxUID" not in data.file_meta:
            data.file_meta.TransferSyntaxUID = pydicom.uid.ImplicitVRLittleEndian
        expected = by_pydicom(data)
    assert found.dtype.isnative
    assert found.dtype == expected.dtype.newbyteorder("=")
    assert np.array_equal(found, expected, equal_nan=found.dtype.kind == "f")
    return True


def test_every_file_of_pydicom_gives_the_numbers_that_pydicom_finds():
    compared = [check_like_pydicom(f) for f in sorted(TEST_FILES.glob("*.dcm"))]
    assert sum(compared) > 40


def test_every_real_file_gives_the_numbers_that_pydicom_finds(real):
    compared = [check_like_pydicom(f) for f in sorted((real / "dicom").rglob("*")) if f.is_file()]
    assert sum(compared) > 150


@pytest.mark.parametrize("name", ["JPGExtended.dcm", "JPEG-lossy.dcm"])
def test_twelve_bit_jpeg_is_what_dcmtk_makes_of_it(name, tmp_path):
    dcmtk("dcmdjpeg", TEST_FILES / name, tmp_path / "plain.dcm")
    assert np.array_equal(pixels(TEST_FILES / name), pixels(tmp_path / "plain.dcm"))


@pytest.mark.parametrize("flags", [["+e1"], ["+el", "+sv", "4"]], ids=["sv1", "predictor 4"])
@pytest.mark.parametrize("stored", [8, 12, 16])
def test_lossless_jpeg_of_dcmtk_comes_back_bit_by_bit(flags, stored, tmp_path):
    dtype = np.uint8 if stored == 8 else np.uint16
    array = noise((1, 37, 41, 1), stored, dtype)
    dcmtk("dcmcjpeg", *flags, written(tmp_path / "a.dcm", array, stored=stored), tmp_path / "b.dcm")
    assert np.array_equal(pixels(tmp_path / "b.dcm"), array)


def test_lossless_jpeg_keeps_the_sign(tmp_path):
    array = noise((1, 37, 41, 1), 16, np.int16)
    dcmtk("dcmcjpeg", "+e1", written(tmp_path / "a.dcm", array), tmp_path / "b.dcm")
    assert np.array_equal(pixels(tmp_path / "b.dcm"), array)


@pytest.mark.parametrize("flags", [["+eb"], ["+eb", "+cr"], ["+ee", "+bs"]], ids=["422", "RGB", "extended"])
def test_lossy_jpeg_in_colour_is_near_what_dcmtk_makes_of_it(flags, tmp_path):
    j, i = np.mgrid[:48, :64]
    array = np.stack([4 * j, 3 * i, 255 - 2 * j - i], axis=-1).astype(np.uint8)[None]
    flags = [f for f in flags if f != "+bs"]
    dcmtk("dcmcjpeg", *flags, "+q", "95", written(tmp_path / "a.dcm", array), tmp_path / "b.dcm")
    dcmtk("dcmdjpeg", "+cn" if "+cr" in flags else "+ca", tmp_path / "b.dcm", tmp_path / "c.dcm")
    found = pixels(tmp_path / "b.dcm")
    # Two decoders of lossy JPEG may round differently; the original is a few levels away, a wrong colour model far.
    assert np.abs(found.astype(int) - pixels(tmp_path / "c.dcm")).max() <= 3
    assert np.abs(found.astype(int) - array).mean() < 4


def noise(shape, stored, dtype, seed=0):
    """Integers that use all of the stored bits."""
    low, high = (-(2 ** (stored - 1)), 2 ** (stored - 1)) if np.dtype(dtype).kind == "i" else (0, 2**stored)
    array = np.random.default_rng(seed).integers(low, high, shape).astype(dtype)
    array.reshape(-1)[:2] = low, high - 1
    return array


@pytest.mark.parametrize("syntax", [*NATIVE, *COMPRESSED])
@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2"])
@pytest.mark.parametrize("shape", [(1, 33, 35, 1), (3, 64, 40, 1)], ids=["one", "three"])
def test_what_was_written_is_read(syntax, dtype, shape, tmp_path):
    for stored in {8 * np.dtype(dtype).itemsize, 8 * np.dtype(dtype).itemsize - 4}:
        array = noise(shape, stored, dtype)
        found = pixels(written(tmp_path / "a.dcm", array, syntax, stored))
        assert found.dtype == array.dtype
        assert np.array_equal(found, array)


@pytest.mark.parametrize("syntax", [*NATIVE, *COMPRESSED])
@pytest.mark.parametrize("dtype", ["u1", "u2"])
def test_colours_are_read_pixel_by_pixel(syntax, dtype, tmp_path):
    array = noise((2, 35, 37, 3), 8 * np.dtype(dtype).itemsize, dtype)
    assert np.array_equal(pixels(written(tmp_path / "a.dcm", array, syntax)), array)


@pytest.mark.parametrize("syntax", ["explicit", "big"])
def test_colours_that_lie_plane_by_plane_are_turned(syntax, tmp_path):
    array = noise((2, 6, 8, 3), 8, "u1")
    data = dataset_of(array, PlanarConfiguration=1)
    data.PixelData = np.ascontiguousarray(np.moveaxis(array, -1, 1)).tobytes()
    data.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    assert np.array_equal(pixels(tmp_path / "a.dcm"), array)


def test_bytes_in_big_endian_words_are_turned(tmp_path):
    array = np.arange(1, 28, dtype=np.uint8).reshape(1, 3, 3, 3)
    data = dataset_of(array)
    # Words of 16 bits, each turned round: 2 1 4 3 ... and the byte that fills the last word before 27.
    words = np.append(array.reshape(-1), 0).astype(np.uint8).reshape(-1, 2)[:, ::-1]
    data.PixelData = words.tobytes()
    data["PixelData"].VR = "OW"
    data.file_meta.TransferSyntaxUID = NATIVE["big"]
    data.save_as(tmp_path / "a.dcm", implicit_vr=False, little_endian=False, enforce_file_format=True)
    assert np.array_equal(pixels(tmp_path / "a.dcm"), array)


@pytest.mark.parametrize(
    ("signed", "stored", "high", "raw", "value"),
    [
        (0, 12, 11, 0xF123, 0x123),  # an overlay in the upper bits
        (1, 12, 11, 0x0FFF, -1),  # the sign is bit 11, not filled up
        (1, 12, 11, 0xF7FF, 2047),
        (1, 16, 15, 0x8000, -32768),
    ],
)
def test_only_stored_bits_count(signed, stored, high, raw, value, tmp_path):
    array = np.full((1, 2, 2, 1), raw, np.uint16)
    data = dataset_of(array, PixelRepresentation=signed, BitsStored=stored, HighBit=high)
    data.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    assert set(pixels(tmp_path / "a.dcm").reshape(-1).tolist()) == {value}


@pytest.mark.parametrize("signed", [0, 1])
def test_a_high_bit_that_is_not_below_bits_stored_is_believed_where_the_pixels_agree(signed, tmp_path):
    values = noise((1, 8, 8, 1), 12, np.int16 if signed else np.uint16)

    def found(array):
        data = dataset_of(array, BitsStored=12, HighBit=15)
        data.save_as(tmp_path / "a.dcm", enforce_file_format=True)
        return pixels(tmp_path / "a.dcm")

    # Twelve bits at the top of sixteen; twelve at the bottom, under a wrong header; numbers that are neither, or both.
    assert np.array_equal(found(values * values.dtype.type(16)), values)
    assert np.array_equal(found(values), values)
    for array in (values | values.dtype.type(0x4000), np.full_like(values, 16)):
        with pytest.raises(ReadError, match="high bit does not fit their bits"):
            found(array)


def test_frames_of_single_bits_follow_each_other_without_a_gap(tmp_path):
    array = noise((3, 5, 5, 1), 1, "u1")
    data = dataset_of(array, BitsAllocated=1, BitsStored=1, HighBit=0)
    data.PixelData = np.packbits(array.reshape(-1), bitorder="little").tobytes()
    data.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    assert np.array_equal(pixels(tmp_path / "a.dcm"), array)
    assert np.array_equal(pixels(tmp_path / "a.dcm", selected=[(0, 2), (0, 1)]), array[[2, 1]])


def test_full_range_ybr_becomes_rgb(tmp_path):
    # Y 100, Cb 128 + 10, Cr 128 - 20 (PS3.3, C.7.6.3.1.2):
    # R = 100 - 20 * 1.402 = 71.96, G = 100 - 10 * .344 + 20 * .714 = 110.84, B = 100 + 10 * 1.772 = 117.72.
    array = np.full((1, 2, 2, 3), (100, 138, 108), np.uint8)
    dataset_of(array, PhotometricInterpretation="YBR_FULL").save_as(tmp_path / "a.dcm", enforce_file_format=True)
    assert pixels(tmp_path / "a.dcm")[0, 1, 1].tolist() == [72, 111, 118]


def test_pairs_of_pixels_share_their_colour_in_ybr_full_422(tmp_path):
    data = dataset_of(np.zeros((1, 1, 4, 3), np.uint8), PhotometricInterpretation="YBR_FULL_422")
    # Y Y Cb Cr for each pair; grey first, then Cr 20 above the middle.
    data.PixelData = bytes([10, 200, 128, 128, 50, 60, 128, 148])
    data.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    # 20 * 1.402 = 28.04 and 20 * .714 = 14.28.
    expected = [[10, 10, 10], [200, 200, 200], [78, 36, 50], [88, 46, 60]]
    assert pixels(tmp_path / "a.dcm")[0, 0].tolist() == expected


def palette(data, bits, tables, segmented="", first=0, entries=0):
    for colour, table in zip(("Red", "Green", "Blue"), tables, strict=True):
        setattr(data, f"{colour}PaletteColorLookupTableDescriptor", [entries or len(table), first, bits])
        raw = np.asarray(table, "<u2" if bits == 16 else "u1").tobytes()
        setattr(data, f"{segmented}{colour}PaletteColorLookupTableData", raw + b"\0" * (len(raw) % 2))


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("syntax", ["explicit", "rle"])
def test_palette_gives_colours_and_ends_at_its_ends(bits, syntax, tmp_path):
    # The table begins at 3: below it counts the first entry, above it the last (PS3.3, C.7.6.3.1.5).
    array = np.array([0, 3, 4, 5, 6, 255], np.uint8).reshape(1, 2, 3, 1)
    data = dataset_of(array, PhotometricInterpretation="PALETTE COLOR")
    palette(data, bits, [[10, 20, 30, 40], [1, 2, 3, 4], [5, 6, 7, 8]], first=3)
    if syntax == "rle":
        data.compress(COMPRESSED["rle"])
    data.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    found = pixels(tmp_path / "a.dcm")
    assert found.dtype == (np.uint8 if bits == 8 else np.uint16)
    assert found[..., 0].reshape(-1).tolist() == [10, 10, 20, 30, 40, 40]
    assert found[..., 2].reshape(-1).tolist() == [5, 5, 6, 7, 8, 8]


def test_palette_with_a_negative_beginning(tmp_path):
    array = np.array([-2, -1, 0, 1], np.int16).reshape(1, 2, 2, 1)
    data = dataset_of(array, PhotometricInterpretation="PALETTE COLOR")
    palette(data, 16, [[7, 8, 9, 65535]] * 3)
    for colour in ("Red", "Green", "Blue"):
        data.add_new(pydicom.tag.Tag(f"{colour}PaletteColorLookupTableDescriptor"), "SS", [4, -2, 16])
    data.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    assert pixels(tmp_path / "a.dcm")[..., 1].reshape(-1).tolist() == [7, 8, 9, 65535]


@pytest.mark.parametrize("bits", [8, 16])
def test_segmented_palette_is_expanded(bits, tmp_path):
    # Discrete 0 10, linear to 50 in 4 steps, discrete 60 70, then the linear segment at words 4-6 once more: from 70
    # back to 50 in 4 steps (PS3.3, C.7.9.2).
    offset = [8, 0] if bits == 16 else [4, 0, 0, 0]
    words = [0, 2, 0, 10, 1, 4, 50, 0, 2, 60, 70, 2, 1, *offset]
    array = np.arange(12, dtype=np.uint8).reshape(1, 3, 4, 1)
    data = dataset_of(array, PhotometricInterpretation="PALETTE COLOR")
    palette(data, bits, [words] * 3, "Segmented", entries=12)
    data.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    expected = [0, 10, 20, 30, 40, 50, 60, 70, 65, 60, 55, 50]
    assert pixels(tmp_path / "a.dcm")[..., 0].reshape(-1).tolist() == expected


def test_labels_with_a_palette_stay_labels(tmp_path):
    array = noise((1, 4, 4, 1), 3, "u1")
    data = dataset_of(array, PhotometricInterpretation="PALETTE COLOR")
    palette(data, 8, [[10, 20, 30, 40, 50, 60, 70, 80]] * 3)
    data.SOPClassUID = "1.2.840.10008.5.1.4.1.1.66.7"
    data.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    assert np.array_equal(pixels(tmp_path / "a.dcm"), array)


def test_monochrome1_is_not_turned(tmp_path):
    array = noise((1, 4, 5, 1), 12, "u2")
    dataset_of(array, PhotometricInterpretation="MONOCHROME1").save_as(tmp_path / "a.dcm", enforce_file_format=True)
    assert np.array_equal(pixels(tmp_path / "a.dcm"), array)


@pytest.mark.parametrize("keyword", ["FloatPixelData", "DoubleFloatPixelData"])
@pytest.mark.parametrize("syntax", ["explicit", "implicit"])
def test_floating_point_pixels(keyword, syntax, tmp_path):
    values = np.array([[0.5, -1.25], [3e9, np.nan]])
    data = dataset_of(np.zeros((1, 2, 2, 1), np.uint16))
    bits = 32 if keyword == "FloatPixelData" else 64
    del data.PixelData, data.BitsStored, data.HighBit, data.PixelRepresentation
    data.BitsAllocated = bits
    setattr(data, keyword, values.astype(f"<f{bits // 8}").tobytes())
    data.file_meta.TransferSyntaxUID = NATIVE[syntax]
    data.save_as(tmp_path / "a.dcm", implicit_vr=syntax == "implicit", little_endian=True, enforce_file_format=True)
    found = pixels(tmp_path / "a.dcm")
    assert found.dtype == f"f{bits // 8}"
    assert np.array_equal(found[0, ..., 0], values.astype(found.dtype), equal_nan=True)


@pytest.mark.parametrize("table", ["none", "basic", "extended"])
@pytest.mark.parametrize("pieces", [1, 3])
def test_frames_are_put_together_from_fragments(table, pieces, tmp_path):
    if table == "extended" and pieces > 1:
        pytest.skip("the extended table forbids fragments (PS3.3, C.7.6.3.1.8)")
    array = noise((4, 40, 41, 1), 16, "u2")
    data = dataset_of(array)
    data.compress(COMPRESSED["jpeg2000"], encoding_plugin="pylibjpeg")
    streams = list(pydicom.encaps.generate_frames(data.PixelData, number_of_frames=4))
    if table == "extended":
        data.PixelData, data.ExtendedOffsetTable, data.ExtendedOffsetTableLengths = encapsulate_extended(streams)
    elif table == "basic":
        data.PixelData = encapsulate(streams, fragments_per_frame=pieces, has_bot=True)
    else:
        parts = [p for s in streams for p in fragment_frame(s, pieces)]
        data.PixelData = encapsulate(parts, has_bot=False)
    data["PixelData"].is_undefined_length = True
    data.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    assert np.array_equal(pixels(tmp_path / "a.dcm"), array)
    assert np.array_equal(pixels(tmp_path / "a.dcm", selected=[(0, 3), (0, 0)]), array[[3, 0]])


def test_selected_frames_of_several_files(tmp_path):
    arrays = [noise((4, 5, 6, 1), 16, "u2", seed) for seed in range(2)]
    files = [
        written(tmp_path / f"{n}.dcm", a, s) for n, (a, s) in enumerate(zip(arrays, ("explicit", "rle"), strict=True))
    ]
    found = [a for _, a in decode.frames(files, ["a", "b"], selected=[(1, 3), (0, 2), (1, 1)])]
    assert np.array_equal(found[0], arrays[0][[2]])
    assert np.array_equal(found[1], arrays[1][[3, 1]])
    with pytest.raises(ReadError, match="not among its 4"):
        list(decode.frames(files, ["a", "b"], selected=[(0, 4)]))


def test_files_come_in_order_whatever_their_syntax(tmp_path):
    syntaxes = [*COMPRESSED, *NATIVE] * 3
    arrays = [noise((1, 35 + n, 40, 1), 16, "u2", n) for n in range(len(syntaxes))]
    files = [written(tmp_path / f"{n}.dcm", a, s) for n, (a, s) in enumerate(zip(arrays, syntaxes, strict=True))]
    found = [a for _, a in decode.frames(files, [f.name for f in files])]
    assert all(np.array_equal(a, b) for a, b in zip(found, arrays, strict=True))


def test_the_dataset_comes_without_its_pixels(tmp_path):
    for syntax in ("explicit", "deflated", "jpegls"):
        file = written(tmp_path / "a.dcm", noise((1, 40, 41, 1), 8, "u1"), syntax, RescaleSlope=2)
        ((data, _),) = decode.frames([file], ["a"])
        assert "PixelData" not in data
        assert data.RescaleSlope == 2
        assert data.file_meta.TransferSyntaxUID == {**NATIVE, **COMPRESSED}[syntax]


def test_a_long_header_is_read_to_its_end(tmp_path):
    array = noise((1, 5, 6, 1), 16, "u2")
    long = dataset_of(array)
    long.add_new(0x00091010, "OB", bytes(200_000))
    long.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    assert np.array_equal(pixels(tmp_path / "a.dcm"), array)


def test_pixels_inside_a_zip_archive(tmp_path):
    import zipfile

    arrays = [noise((1, 30, 31, 1), 16, "u2", n) for n in range(2)]
    files = [
        written(tmp_path / f"{n}.dcm", a, s)
        for n, (a, s) in enumerate(zip(arrays, ("explicit", "jpegls"), strict=True))
    ]
    with zipfile.ZipFile(tmp_path / "study.zip", "w", zipfile.ZIP_DEFLATED) as box:
        for file in files:
            box.write(file, f"inner/{file.name}")
    inside = [tmp_path / "study.zip" / "inner" / f.name for f in files]
    found = [a for _, a in decode.frames(inside, [f.name for f in inside])]
    assert all(np.array_equal(a, b) for a, b in zip(found, arrays, strict=True))
