"""A file that cannot be de-identified is left out for the right reason."""

import random

import pytest

from lucency.deidentify import sources
from lucency.errors import ReadError

pydicom_data = pytest.importorskip("pydicom.data")
NOISE = random.Random(5).randbytes(1000)


def sound(name):
    with open(pydicom_data.get_testdata_file(name), "rb") as file:
        return file.read()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (lambda: sound("CT_small.dcm")[:-5000], "The file is cut off: it ends within its pixels"),
        (lambda: sound("CT_small.dcm")[:1500], "The file is cut off: it ends within its header, after 1500 bytes"),
        (lambda: sound("CT_small.dcm") + NOISE, "Bytes that are no DICOM follow the pixels"),
        (lambda: sound("MR_small_RLE.dcm") + NOISE, "Bytes that are no DICOM follow the pixels"),
        (lambda: b"<html><body>Please log in</body></html>", "Not DICOM but a text"),
    ],
)
def test_other_bytes_were_called_a_file_cut_off(tmp_path, content, said):
    path = tmp_path / "a.dcm"
    path.write_bytes(content())
    with pytest.raises(ReadError) as caught:
        sources.load(path, "a.dcm", pixels=True)
    assert caught.value.found == said


def test_zeros_behind_the_pixels_are_no_damage(tmp_path):
    path = tmp_path / "a.dcm"
    path.write_bytes(sound("CT_small.dcm") + b"\0" * 1000)
    assert sources.load(path, "a.dcm", pixels=True) is not None
