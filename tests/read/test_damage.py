"""The right reason for each damaged file: cut off, other bytes inside, or another format under a DICOM name."""

import io
import random

import pytest
from PIL import Image as Picture

from lucency import text
from lucency.errors import DataError, ReadError
from lucency.read import damage, load, read_inputs

pydicom_data = pytest.importorskip("pydicom.data")


def sound(name="CT_small.dcm"):
    with open(pydicom_data.get_testdata_file(name), "rb") as file:
        return file.read()


def picture(form):
    stream = io.BytesIO()
    Picture.new("L", (8, 8), 7).save(stream, form)
    return stream.getvalue()


def noise(n):
    return random.Random(3).randbytes(n)


def reason_of(tmp_path, content):
    (tmp_path / "a.dcm").write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_inputs(tmp_path)
    return caught.value.found


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (lambda: sound()[:1500], "The file is cut off: it ends within its header, after 1500 bytes"),
        (lambda: sound("MR_small_bigendian.dcm")[:1000], "it ends within its header, after 1000 bytes"),
        (lambda: sound()[:1200] + noise(200) + sound()[1400:], "Bytes that are no DICOM stand in the header, 1202"),
        (lambda: noise(5000), "No DICOM: the bytes are of no format that is known"),
        (lambda: b"\0" * 5000, "The file holds zeros only"),
        (lambda: b"", "The file is empty (0 bytes)"),
        (
            lambda: b"<html><body>Please log in</body></html>",
            "Not DICOM but a text. What to do: fetch or export it again",
        ),
        (lambda: picture("JPEG"), "Not DICOM but a JPEG picture. What to do: give it the name of its format"),
        (lambda: picture("PNG"), "Not DICOM but a PNG picture"),
        (lambda: b"%PDF-1.7\n" + noise(500), "Not DICOM but a PDF document"),
    ],
)
def test_the_reason_was_the_same_whatever_was_wrong(tmp_path, content, said):
    found = reason_of(tmp_path, content())
    assert said in found
    inner = found.partition("(")[2].rpartition(")")[0]
    assert not any(word in text.sentence(inner, "zh") for word in ("bytes", "DICOM but", "stand", "fetch"))


@pytest.mark.parametrize("more", [b"\0" * 1000, noise(1000), noise(3)], ids=["zeros", "noise", "three"])
def test_bytes_behind_the_pixels_cost_nothing(tmp_path, more):
    (tmp_path / "a.dcm").write_bytes(sound())
    (whole,) = read_inputs(tmp_path)
    (tmp_path / "a.dcm").write_bytes(sound() + more)
    (case,) = read_inputs(tmp_path)
    assert (load(case.sources[0]).array == load(whole.sources[0]).array).all()


def test_pixels_that_end_early_and_pixels_too_many_have_reasons_of_their_own(tmp_path):
    (tmp_path / "a.dcm").write_bytes(sound()[:-5000])
    (case,) = read_inputs(tmp_path)
    with pytest.raises(ReadError, match="it is truncated or damaged"):
        load(case.sources[0])
    # One row less in the header: 128 × 2 bytes more than a row of filling that is all alike.
    rows = sound().replace(b"\x28\0\x10\0US\2\0\x80\0", b"\x28\0\x10\0US\2\0\x40\0")
    (tmp_path / "a.dcm").write_bytes(rows)
    (case,) = read_inputs(tmp_path)
    with pytest.raises(ReadError, match="its header and its pixels do not belong together"):
        load(case.sources[0])


def test_sound_headers_are_not_called_damaged():
    for name in (
        "CT_small.dcm",
        "MR_small_bigendian.dcm",
        "rtplan.dcm",
        "JPEG2000.dcm",
        "reportsi.dcm",
        "image_dfl.dcm",
    ):
        assert damage.told_of(sound(name)) == ""


def test_sequences_without_end_are_not_followed():
    # 3000 nested sequences of undefined length: the walk ends with a reason, not with the interpreter's stack.
    item = b"\x08\0\x40\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\0\xe0\xff\xff\xff\xff"
    assert "no DICOM" in damage.told_of(b"\0" * 128 + b"DICM" + item * 3000)
