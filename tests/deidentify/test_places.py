"""What has to fit before a session begins, and what a source may be."""

import errno
import json
import shutil
import zipfile
from dataclasses import replace

import planted
import pydicom
import pytest
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from typer.testing import CliRunner

from lucency.apps.cli import app
from lucency.deidentify import Options, deidentify, places, work
from lucency.deidentify.keys import Keys
from lucency.deidentify.report import without_path
from lucency.errors import ModelError, OutputError, ReadError, UsageError
from lucency.read.head import silent


def files(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def cleaned_once(room, image):
    room.put(image)
    room.clean()
    (head,) = room.key.parent.glob("*.audit")
    return head


def test_stale_head_of_an_audit_log_beside_a_new_key_was_noticed_after_all_the_work(room, image):
    cleaned_once(room, image)
    room.key.unlink()
    shutil.rmtree(room.dst)
    shutil.rmtree(room.records)
    with pytest.raises(UsageError, match="signed end of an audit log of an earlier key") as refused:
        room.clean()
    assert "move this file away" in refused.value.remedy
    assert not room.key.exists()
    assert not room.dst.exists()


def test_a_key_of_the_same_name_that_did_not_sign_the_log_is_refused_before_any_work(room, image):
    cleaned_once(room, image)
    room.key.unlink()
    shutil.rmtree(room.dst)
    shutil.rmtree(room.records)
    Keys.create(room.key)
    with pytest.raises(UsageError, match="written with another key"):
        room.clean()
    assert not room.dst.exists()


def test_a_map_of_another_key_is_refused_before_any_work(room, image):
    cleaned_once(room, image).unlink()
    room.key.unlink()
    shutil.rmtree(room.dst)
    shutil.rmtree(room.records)
    with pytest.raises(UsageError, match="a map of pseudonyms of an earlier key"):
        room.clean()
    Keys.create(room.key)
    with pytest.raises(UsageError, match="cannot be opened"):
        room.clean()
    assert not room.dst.exists()


def test_a_log_without_its_signed_end_was_emptied_in_silence(room, image):
    head = cleaned_once(room, image)
    log = room.records / "audit.jsonl"
    before = log.read_bytes()
    head.unlink()
    with pytest.raises(ModelError, match="signed end of the audit log is missing"):
        room.clean()
    assert log.read_bytes() == before


def test_a_lost_log_is_noticed_at_the_start(room, image):
    cleaned_once(room, image)
    (room.records / "audit.jsonl").unlink()
    with pytest.raises(ModelError, match="audit log is gone"):
        room.clean()


def test_a_session_killed_before_its_log_was_written_goes_on(room, image, monkeypatch):
    room.put(image)

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(work, "done", killed)
        with pytest.raises(KeyboardInterrupt):
            room.clean()
    assert room.clean().exit_status == 0


@pytest.mark.parametrize("name", ["study.zip", "STUDY.ZIP"])
def test_a_zip_archive_as_source_was_taken_for_one_unknown_file(room, image, name):
    path = room.put(image)
    with zipfile.ZipFile(room.home / name, "w") as box:
        box.write(path, "Smithson Harriet/IM1")
        box.writestr("Smithson Harriet/letter.txt", "x")
    report = deidentify(room.home / name, room.dst, room.key)
    assert report.actions == {"written": 1, "left out": 1}
    assert report.left == ()
    (written,) = files(room.dst)
    assert "mith" not in written.lower()
    assert pydicom.dcmread(room.dst / written).PixelData == image.PixelData


def test_a_damaged_zip_archive_as_source_is_refused(room):
    room.home.joinpath("study.zip").write_bytes(b"PK\3\4 nothing")
    with pytest.raises(ReadError, match="zip archive"):
        deidentify(room.home / "study.zip", room.dst, room.key)
    assert not room.key.exists()


def test_one_dicom_file_as_source_leaves_its_neighbours_alone(room, image):
    path = room.put(image, "IM1")
    (room.src / "letter.docx").write_bytes(b"x")
    report = deidentify(path, room.dst, room.key)
    assert report.actions == {"written": 1}
    assert len(files(room.dst)) == 1


def disc(room, *named):
    """Write a DICOMDIR that names files, each given by the parts of its path."""
    record = planted.image()
    record.SOPClassUID = "1.2.840.10008.1.3.10"
    items = []
    for components in named:
        item = Dataset()
        item.add(DataElement(0x00041500, "CS", list(components), validation_mode=pydicom.config.IGNORE))
        items.append(item)
    record.DirectoryRecordSequence = Sequence(items)
    with silent():
        return room.put(record, "DICOMDIR")


def test_a_dicomdir_as_source_stands_for_the_files_it_names(room, image):
    room.put(image, "images/im1")
    image.SOPInstanceUID = f"{planted.ROOT}.4.2"
    room.put(image, "IMAGES/IM2.dcm")
    image.SOPInstanceUID = f"{planted.ROOT}.4.3"
    room.put(image, "elsewhere/IM3")
    (room.home / "secret").write_bytes((room.src / "elsewhere/IM3").read_bytes())
    path = disc(room, ["IMAGES", "IM1"], ["IMAGES", "IM2"], ["IMAGES", "IM9"], ["..", "secret"])
    report = deidentify(path, room.dst, room.key)
    # The DICOMDIR itself, IM9, which is not there, and the file outside are left out; IM3 is not on the disc.
    assert report.actions == {"written": 2, "left out": 3}
    told = (room.records / "left-out.csv").read_text(encoding="utf-8")
    assert "IMAGES/IM9" in told
    assert "file 4, outside its folder" in told


@pytest.mark.parametrize("folder", ["out", "out-records"])
def test_a_folder_that_cannot_be_written_is_noticed_before_the_first_file(room, image, monkeypatch, folder):
    room.put(image)
    once = places.tempfile.TemporaryFile

    def refusing(*arguments, dir, **more):
        if dir.name == folder:
            raise OSError(errno.EROFS, "Read-only file system")
        return once(*arguments, dir=dir, **more)

    monkeypatch.setattr(places.tempfile, "TemporaryFile", refusing)
    with pytest.raises(OutputError, match="cannot be written") as refused:
        room.clean()
    assert "Read-only" in refused.value.found
    assert ("--records" in refused.value.remedy) == (folder == "out-records")
    assert "--out" not in str(refused.value)
    assert not (room.records / "journal.jsonl").exists()


@pytest.mark.parametrize(
    "full", ["out", "audit.jsonl", "hospital.key.map", "journal.jsonl", "report.json", "left-out.csv"]
)
def test_remedy_for_a_full_disk_named_an_option_that_this_command_lacks(room, image, monkeypatch, full):
    import os
    from pathlib import Path

    room.put(image)

    def is_full(path):
        path = Path(path)
        return path.name == full or (full == "out" and room.dst in path.parents and path.name.startswith(".writing-"))

    def refuse():
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path_open, os_open, replaced = Path.open, os.open, os.replace
    monkeypatch.setattr(Path, "open", lambda p, *a, **k: refuse() if is_full(p) else path_open(p, *a, **k))
    monkeypatch.setattr(os, "open", lambda p, *a, **k: refuse() if is_full(p) else os_open(p, *a, **k))
    monkeypatch.setattr(os, "replace", lambda a, b: refuse() if is_full(b) else replaced(a, b))
    said = CliRunner().invoke(app, ["deidentify", str(room.src), str(room.dst), "--key", str(room.key)])
    assert said.exit_code == 1
    assert "No space left" in said.output
    assert "What to do: " in said.output
    assert "--out" not in said.output
    monkeypatch.undo()
    assert room.clean().exit_status == 0


def test_dst_that_is_a_file_is_refused(room, image):
    room.put(image)
    room.dst.write_text("x")
    with pytest.raises(UsageError, match="DST is a file"):
        room.clean()


def test_a_file_in_dst_is_no_source(room, image):
    path = room.put(image)
    with pytest.raises(UsageError, match="SRC is a file in DST"):
        deidentify(path, room.src, room.key)


@pytest.mark.parametrize(
    ("sentence", "path", "told"),
    [
        ("Smith/ct1.dcm is cut off", "Smith/ct1.dcm", "(file) is cut off"),
        ("SMITH_JOHN: 3 axes", "data/Smith_John.nii.gz", "(file): 3 axes"),
        ("Not readable as DICOM (ValueError)", "DICOM/smith/a.dcm", "Not readable as DICOM (ValueError)"),
        ("study.zip/Smith/ct1.dcm: damaged", "study.zip/Smith/ct1.dcm", "(file): damaged"),
        ("It has 2 frames", "a/b/2.dcm", "It has 2 frames"),
    ],
)
def test_notes_of_the_report_quoted_paths_that_hold_names(sentence, path, told):
    assert without_path(sentence, path) == told


def test_no_reason_or_remark_of_the_report_holds_a_name_of_the_path(room, image, monkeypatch):
    room.put(image, "Smithson/Harriet.dcm")
    once = work.done

    def quoting(task, place):
        return replace(once(task, place), reason=f"{task.path}: odd", remarks=(f"{place.src / task.path} odd",))

    monkeypatch.setattr(work, "done", quoting)
    report = room.clean()
    told = (room.records / "report.json").read_text(encoding="utf-8") + "\n".join(report.lines())
    assert "odd" in told
    assert "Smithson" not in told
    assert "Harriet" not in told


def test_an_output_made_before_an_option_existed_is_gone_on_with(room, image):
    room.put(image)
    room.clean()
    known = room.records / "session.json"
    told = json.loads(known.read_text(encoding="utf-8"))
    del told["options"]["shear"]
    known.write_text(json.dumps(told), encoding="utf-8")
    assert room.clean().exit_status == 0
    with pytest.raises(UsageError, match="other options"):
        room.clean(Options(shear=True))
