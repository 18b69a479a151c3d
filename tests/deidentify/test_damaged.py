"""Files that are damaged or made to do harm cost themselves, and nothing of the patient leaks through them."""

import zlib

import numpy as np
import planted
import pydicom
import pytest

from lucency.deidentify import Options
from lucency.deidentify import whole as whole_object

HEADERS = Options(clean=Options().clean - {"pixels"})


@pytest.mark.parametrize("seed", range(4))
def test_mutated_files_leak_nothing_and_stop_nothing(room, seed):
    rng = np.random.default_rng(seed)
    planted.every_attribute(room.home / "whole.dcm")
    whole = (room.home / "whole.dcm").read_bytes()
    room.src.mkdir()
    for number in range(40):
        content = bytearray(whole)
        for _ in range(int(rng.integers(1, 10))):
            place = int(rng.integers(132, 6000))
            if number % 3:
                content[place : place + 4] = rng.integers(0, 256, 4, dtype=np.uint8).tobytes()
            else:
                del content[place : place + int(rng.integers(1, 20))]
        (room.src / f"{number}.dcm").write_bytes(bytes(content))
    report = room.clean(HEADERS)
    assert sum(report.actions.values()) == 40
    assert report.left == ()
    for path in room.dst.rglob("*.dcm"):
        content = path.read_bytes().upper()
        assert not [s for s in (b"SMITHSON", b"HARRIET", b"4471902", b"99999.7") if s in content]


def test_a_file_cut_off_within_its_meta_information_became_an_empty_object(room, image):
    whole = room.put(image).read_bytes()
    ends = 144 + int.from_bytes(whole[140:144], "little")
    (room.src / "a.dcm").unlink()
    cuts = [*range(133, ends, 7), ends - 1, ends]
    for n in cuts:
        (room.src / f"cut{n}").write_bytes(whole[:n])
    report = room.clean(HEADERS)
    assert report.actions == {"left out": len(cuts)}
    assert report.exit_status == 3
    assert not list(room.dst.rglob("*"))
    assert set(report.reasons) >= {whole_object.EMPTY}


@pytest.mark.parametrize("lacking", ["StudyInstanceUID", "SeriesInstanceUID"])
def test_an_object_of_no_study_or_series_was_written_as_one_of_nobody(room, image, lacking):
    room.put(image, "well.dcm")
    del image[lacking]
    image.SOPInstanceUID += ".1"
    image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
    room.put(image, "less.dcm")
    report = room.clean(HEADERS)
    assert report.actions == {"written": 1, "left out": 1}
    said = {"StudyInstanceUID": "no Study Instance UID", "SeriesInstanceUID": "no Series Instance UID"}[lacking]
    assert any(said in reason for reason in report.reasons)


def test_a_palette_belongs_to_no_study_and_is_no_damage(room, image):
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID"):
        del image[keyword]
    image.SOPClassUID = image.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.39.1"
    room.put(image)
    assert room.clean(HEADERS).actions == {"written": 1}


def test_uids_that_only_the_meta_information_has_are_taken_from_there(room, image):
    known = image.SOPClassUID
    room.put(image)
    content = pydicom.dcmread(room.src / "a.dcm")
    for keyword in ("SOPClassUID", "SOPInstanceUID"):
        del content[keyword]
    with pydicom.config.disable_value_validation():
        pydicom.dcmwrite(room.src / "a.dcm", content, enforce_file_format=False)
    report = room.clean(HEADERS)
    assert report.actions == {"written": 1}, report.reasons
    assert room.cleaned()[0].SOPClassUID == known


def test_twenty_thousand_nested_sequences_are_left_out(room, image):
    whole = room.put(image).read_bytes()
    start = b"\x08\x00\x40\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
    place = whole.index(b"\x08\x00\x60\x00CS")
    (room.src / "deep.dcm").write_bytes(whole[:place] + start * 20_000 + whole[place:])
    report = room.clean(HEADERS)
    assert report.actions == {"written": 1, "left out": 1}


def test_forty_nine_levels_are_too_many_and_twenty_are_not(room, image):
    from pydicom.dataset import Dataset
    from pydicom.sequence import Sequence

    def nested(levels):
        item = Dataset()
        item.PatientName = planted.NAME
        for _ in range(levels):
            outer = Dataset()
            outer.AnatomicRegionSequence = Sequence([item])
            item = outer
        return item.AnatomicRegionSequence

    image.AnatomicRegionSequence = nested(20)
    room.put(image, "well.dcm")
    image.SOPInstanceUID += "1"
    image.AnatomicRegionSequence = nested(52)
    room.put(image, "deep.dcm")
    report = room.clean(HEADERS)
    assert report.actions == {"written": 1, "left out": 1}
    assert any("nested" in reason for reason in report.reasons)
    (path,) = room.dst.rglob("*.dcm")
    assert b"Smithson" not in path.read_bytes()


def test_a_deflated_bomb_is_left_out_without_being_unpacked(room, image):
    room.put(image, "well.dcm")
    image.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1.99"
    content = room.put(image, "bomb.dcm").read_bytes()
    end = 144 + int.from_bytes(content[140:144], "little")
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = b"".join(packer.compress(bytes(1 << 20)) for _ in range(3000)) + packer.flush()
    (room.src / "bomb.dcm").write_bytes(content[:end] + bomb)
    report = room.clean(HEADERS)
    assert report.actions == {"written": 1, "left out": 1}


@pytest.mark.skipif(not hasattr(__import__("os"), "symlink"), reason="no links here")
def test_a_link_is_not_followed(room, image):
    outside = room.put(image)
    moved = room.home / "outside.dcm"
    outside.rename(moved)
    room.put(planted.image(), "well.dcm")
    try:
        (room.src / "link.dcm").symlink_to(moved)
    except OSError:
        pytest.skip("this user may not make links")
    report = room.clean(HEADERS)
    assert report.actions == {"written": 1, "left out": 1}
    assert any("link" in reason for reason in report.reasons)
