"""Parsing and writing of straightforward files, against pydicom's own, on files of every kind."""

import io
import os
import warnings
from pathlib import Path

import planted
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import ImplicitVRLittleEndian, RLELossless

from lucency.deidentify import Options, encoding, parsing
from lucency.deidentify.engine import Engine
from lucency.deidentify.keys import Keys
from lucency.deidentify.work import _grey, _is_plain_grey, _stored

DATA = Path(os.environ.get("LUCENCY_TEST_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))


def every_file():
    """Return pydicom's test files that are on this computer, and those of the real data."""
    folders = Path(pydicom.__file__).parent / "data" / "test_files", DATA / "dicom"
    return sorted(f for folder in folders for f in folder.rglob("*") if f.is_file())


def same(a, b):
    """Tell whether two datasets hold the same elements, as raw or as parsed."""
    assert a._dict.keys() == b._dict.keys()
    for tag, one in a._dict.items():
        other = b._dict[tag]
        if one.VR == "SQ" and not one.is_raw:
            for mine, theirs in zip(one.value, other.value, strict=True):
                same(mine, theirs)
        elif one.is_raw and other.is_raw:
            assert one == other
        else:
            assert a[tag].value == b[tag].value
    assert a.original_encoding == b.original_encoding
    assert a.original_character_set == b.original_character_set


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("pixels", [True, False])
def test_a_parsed_file_is_what_pydicom_reads(pixels):
    n_parsed = 0
    for file in every_file():
        content = file.read_bytes()
        mine = parsing.parsed(content, pixels=pixels)
        if mine is None:
            continue
        theirs = pydicom.dcmread(io.BytesIO(content), stop_before_pixels=not pixels)
        same(mine, theirs)
        same(mine.file_meta, theirs.file_meta)
        assert mine.preamble == theirs.preamble
        n_parsed += 1
    assert n_parsed > 20


@pytest.mark.filterwarnings("ignore")
def test_a_file_is_written_as_pydicom_writes_it():
    n_written, engine = 0, Engine(Keys(bytes(32)), Options())
    for file in every_file():
        content = file.read_bytes()
        mine, theirs = parsing.parsed(content, pixels=True), parsing.parsed(content, pixels=True)
        if mine is None or "SOPInstanceUID" not in mine:
            continue
        for dataset in (mine, theirs):
            dataset.file_meta = engine.meta(dataset, dataset.file_meta.TransferSyntaxUID)
        try:
            theirs.preamble = bytes(128)
            encoding._with_representations(theirs)
            stream = io.BytesIO()
            pydicom.dcmwrite(stream, theirs, enforce_file_format=True)
        except Exception as error:
            with pytest.raises(type(error)):
                encoding.written(mine)
            continue
        assert encoding.written(mine) == stream.getvalue(), file.name
        n_written += 1
    assert n_written > 20


def stored(dataset, **how):
    stream = io.BytesIO()
    pydicom.dcmwrite(stream, dataset, enforce_file_format=True, **how)
    return stream.getvalue()


def test_what_is_not_straightforward_is_left_to_pydicom(image):
    whole = stored(image)
    assert parsing.parsed(whole, pixels=True) is not None
    assert parsing.parsed(whole[132:], pixels=True) is None  # no preamble
    assert parsing.parsed(whole[:-2], pixels=True) is None  # cut off
    assert parsing.parsed(whole + b"\x10\x00\x10\x00!!\x02\x00ab", pixels=True) is None  # no such representation
    image.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    assert parsing.parsed(stored(image, implicit_vr=True, little_endian=True), pixels=True) is None


def test_a_beginning_is_enough_only_if_the_pixels_begin_within_it(image):
    whole = stored(image)
    place = whole.index(b"\xe0\x7f\x10\x00OW")
    found = parsing.parsed(whole[: place + 12], pixels=False, whole=False)
    assert found is not None
    assert "PixelData" not in found
    assert parsing.parsed(whole[:place], pixels=False, whole=False) is None
    assert parsing.parsed(whole[: place - 3], pixels=False, whole=False) is None


def test_sequences_of_undefined_length_and_encapsulated_pixels_are_kept(image):
    inner = Dataset()
    inner.CodeValue = "1"
    inner.is_undefined_length_sequence_item = True
    image.ProcedureCodeSequence = Sequence([inner])
    image["ProcedureCodeSequence"].is_undefined_length = True
    image.file_meta.TransferSyntaxUID = RLELossless
    image.PixelData = encapsulate([bytes(64)])
    image["PixelData"].is_undefined_length = True
    image["PixelData"].VR = "OB"
    whole = stored(image)
    found = parsing.parsed(whole, pixels=True)
    assert found is not None
    assert encoding.written(found) == whole


def test_an_odd_number_of_pixels_is_filled_up(image):
    image.Rows, image.Columns, image.BitsAllocated, image.BitsStored, image.HighBit = 3, 3, 8, 8, 7
    image.PixelData, image["PixelData"].VR = bytes(range(1, 10)), "OB"
    whole = stored(image)
    found = parsing.parsed(whole, pixels=True)
    raw = found._dict[0x7FE00010]
    found._dict[raw.tag] = raw._replace(value=raw.value[:9], length=9)
    assert encoding.written(found) == whole


def test_grey_pixels_at_hand_are_those_that_the_decoder_gives():
    n_grey = 0
    for file in every_file():
        content = file.read_bytes()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = parsing.parsed(content, pixels=True)
            if dataset is None or not _is_plain_grey(dataset):
                continue
            expected, found = _stored(file, file.name), _grey(dataset)
        assert found.dtype == expected.dtype
        assert found.shape == expected.shape
        assert (found == expected).all()
        n_grey += 1
    assert n_grey > 3


def test_pixels_with_spare_bits_in_use_are_not_at_hand():
    image = planted.image()
    image.BitsStored, image.HighBit, image.PixelRepresentation = 12, 11, 0
    image.PixelData = bytes([0, 0x05]) * (64 * 64)
    assert _is_plain_grey(parsing.parsed(stored(image), pixels=True))
    image.PixelData = bytes([0, 0x15]) * (64 * 64)
    assert not _is_plain_grey(parsing.parsed(stored(image), pixels=True))
