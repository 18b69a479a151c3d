"""Words beside the picture in pixel data: comments, makers' segments, bytes behind the end."""

import io
import os
import struct
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.encaps import encapsulate, generate_fragments, generate_frames
from pydicom.pixels.utils import get_expected_length

from lucency.deidentify.streams import trimmed
from lucency.read.decode import frames

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("LUCENCY_TEST_DATA", ROOT.parent / "shared" / "data"))
SECRET = b"Sister Brzezinska, Ward 3B, bed 12"
JPEGS = ["SC_rgb_jpeg_dcmtk.dcm", "SC_rgb_jpeg_gdcm.dcm", "JPEG-LL.dcm", "JPGExtended.dcm"]
JPEGS += ["MR_small_jpeg_ls_lossless.dcm", "JPEGLSNearLossless_16.dcm", "emri_small_jpeg_ls_lossless.dcm"]
J2KS = ["MR_small_jp2klossless.dcm", "693_J2KI.dcm", "examples_jpeg2k.dcm"]
J2KS += ["HTJ2KLossless_08_RGB.dcm", "HTJ2K_08_RGB.dcm"]
RLES = ["SC_rgb_rle_16bit_2frame.dcm", "MR_small_RLE.dcm", "rtdose_rle.dcm", "liver_rle.dcm"]


def real(name):
    path = get_testdata_file(name, download=False) or DATA / "dicom" / "pydicom_data" / name
    if not Path(path).is_file():
        pytest.skip("the real data are not here (LUCENCY_TEST_DATA)")
    return pydicom.dcmread(path)


def decoded(dataset, path):
    pydicom.dcmwrite(path, dataset)
    return next(iter(frames([path], ["it"])))[1]


def repacked(dataset, change):
    n = int(dataset.get("NumberOfFrames") or 1)
    old = list(generate_frames(dataset.PixelData, number_of_frames=n))
    dataset.PixelData = encapsulate([change(frame) for frame in old])
    dataset["PixelData"].is_undefined_length = True


def with_jpeg_words(frame):
    def segment(marker, body):
        return b"\xff" + bytes([marker]) + struct.pack(">H", len(body) + 2) + body

    words = segment(0xFE, SECRET) + segment(0xE1, SECRET) + segment(0xEF, SECRET)
    return frame[:2] + words + frame[2:] + SECRET


def with_j2k_words(frame):
    comment = b"\xff\x64" + struct.pack(">HH", len(SECRET) + 4, 1) + SECRET
    at = frame.index(b"\xff\x90")  # before the first tile-part, and within its header
    (psot,) = struct.unpack_from(">I", frame, at + 6)
    longer = struct.pack(">I", psot + len(comment) if psot else 0)
    part = frame[at : at + 6] + longer + frame[at + 10 : at + 12] + comment + frame[at + 12 :]
    return frame[:at] + comment + part + SECRET


@pytest.mark.parametrize(
    ("name", "change"),
    [(n, with_jpeg_words) for n in JPEGS]
    + [(n, with_j2k_words) for n in J2KS]
    + [(n, lambda frame: frame + SECRET) for n in RLES],
)
def test_words_in_a_comment_of_a_compressed_frame_were_copied(tmp_path, name, change):
    dataset = real(name)
    before = decoded(dataset, tmp_path / "before.dcm")
    repacked(dataset, change)
    assert SECRET in dataset.PixelData
    assert trimmed(dataset) == ""
    assert SECRET[:12] not in dataset.PixelData
    np.testing.assert_array_equal(decoded(dataset, tmp_path / "after.dcm"), before)


def test_words_survived_where_a_frame_lies_in_several_fragments_and_in_the_offset_tables(tmp_path):
    dataset = real("emri_small_jpeg_ls_lossless.dcm")
    before = decoded(dataset, tmp_path / "before.dcm")
    n = int(dataset.NumberOfFrames)
    old = [with_jpeg_words(f) for f in generate_frames(dataset.PixelData, number_of_frames=n)]
    dataset.PixelData = encapsulate(old, fragments_per_frame=3)
    dataset["PixelData"].is_undefined_length = True
    dataset.EncapsulatedPixelDataValueTotalLength = 7
    assert trimmed(dataset) == ""
    assert "EncapsulatedPixelDataValueTotalLength" not in dataset
    assert len(list(generate_fragments(dataset.PixelData))) == n + 1  # the table, and one for each frame
    np.testing.assert_array_equal(decoded(dataset, tmp_path / "after.dcm"), before)


def test_words_behind_the_last_native_pixel_were_copied(tmp_path):
    dataset = real("CT_small.dcm")
    before = decoded(dataset, tmp_path / "before.dcm")
    dataset.PixelData += SECRET
    assert trimmed(dataset) == ""
    assert len(dataset.PixelData) == get_expected_length(dataset)
    np.testing.assert_array_equal(decoded(dataset, tmp_path / "after.dcm"), before)


def test_the_last_pixel_of_a_big_endian_image_of_odd_length_stays():
    dataset = real("SC_rgb_small_odd_big_endian.dcm")
    before = dataset.PixelData
    assert trimmed(dataset) == ""
    assert dataset.PixelData == before


@pytest.mark.parametrize("name", ["SC_rgb_jpeg_dcmtk.dcm", "MR_small_jp2klossless.dcm", "MR_small_RLE.dcm"])
def test_a_stream_that_ends_early_is_not_taken_on_trust(name):
    dataset = real(name)
    repacked(dataset, lambda frame: frame[: len(frame) // 2])
    before = dataset.PixelData
    assert "cannot be removed" in trimmed(dataset)
    assert dataset.PixelData == before


def test_a_comment_in_a_jpeg_2000_frame_reached_the_output(room):
    dataset = real("MR_small_jp2klossless.dcm")
    repacked(dataset, with_j2k_words)
    room.put(dataset)
    assert room.clean().actions == {"written": 1}
    (written,) = room.dst.rglob("*.dcm")
    assert b"Brzezinska" not in written.read_bytes()
    assert pydicom.dcmread(io.BytesIO(written.read_bytes())).PixelData
