"""A whole session: links, interruptions, secrets and refusals."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import planted
import pydicom
import pytest

from lucency.deidentify import Options, audit, deidentify, pseudonyms, rescan
from lucency.deidentify.keys import Keys
from lucency.deidentify.work import Place
from lucency.deidentify.workers import Workers
from lucency.errors import ModelError, UsageError


def digests(folder):
    return {
        p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(folder.rglob("*"))
        if p.is_file()
    }


def references(dataset):
    return {e.value for e in dataset.iterall() if e.keyword == "ReferencedSOPInstanceUID"}


def test_segmentation_and_report_still_point_at_every_image(room):
    planted.series(room.src, 12, 64)
    report = room.clean()
    assert report.actions == {"written": 14}
    assert report.left == ()
    after = room.cleaned()
    images = {d.SOPInstanceUID for d in after if d.Modality == "CT"}
    assert len(images) == 12
    for modality in ("SEG", "SR"):
        (one,) = [d for d in after if d.Modality == modality]
        assert references(one) == images
        assert one.StudyInstanceUID == next(d for d in after if d.Modality == "CT").StudyInstanceUID
    assert len({d.get("FrameOfReferenceUID") for d in after} - {None}) == 1
    assert not any(planted.ROOT.encode() in p.read_bytes() for p in room.dst.rglob("*.dcm"))


def test_the_reader_of_this_program_reads_what_was_written(room):
    from lucency import read

    planted.series(room.src, 5, 64, reports=False)
    room.clean()
    before, after = (read.read_inputs(folder) for folder in (room.src, room.dst))
    assert len(before) == len(after) == 1
    images = [read.load(next(iter(case.images.values()))[0]) for (case,) in (before, after)]
    np.testing.assert_array_equal(images[0].array, images[1].array)
    np.testing.assert_allclose(images[0].affine, images[1].affine)


def test_images_and_their_segmentation_cleaned_apart_still_belong_together(room):
    paths = planted.series(room.src, 4, 64)
    rest = room.home / "rest"
    rest.mkdir()
    shutil.move(paths[-2], rest / "seg.dcm")
    room.clean()
    deidentify(rest, room.home / "rest-out", room.key)
    images = {d.SOPInstanceUID for d in room.cleaned() if d.Modality == "CT"}
    (path,) = (room.home / "rest-out").rglob("*.dcm")
    assert references(pydicom.dcmread(path)) == images


def test_two_runs_and_several_processes_write_the_same_bytes(room, monkeypatch):
    from lucency.deidentify import workers

    planted.series(room.src, 30, 32)
    room.clean()
    first = digests(room.dst)
    deidentify(room.src, room.home / "two", room.key)
    assert digests(room.home / "two") == first
    monkeypatch.setattr(workers, "ALONE", 10)
    deidentify(room.src, room.home / "three", room.key, n_workers=2)
    assert digests(room.home / "three") == first


@pytest.mark.parametrize("seed", [3, 9, 17])
def test_a_session_that_was_killed_goes_on_where_it_was(room, seed):
    planted.series(room.src, 20, 32)
    code = (
        "import sys, os\n"
        "from pathlib import Path\n"
        "from lucency.deidentify import deidentify, work\n"
        "once = work.done\n"
        "left = [int(sys.argv[4])]\n"
        "def done(task, place):\n"
        "    left[0] -= 1\n"
        "    if left[0] < 0: os._exit(9)\n"
        "    return once(task, place)\n"
        "work.done = done\n"
        "deidentify(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]))\n"
    )
    arguments = [str(room.src), str(room.dst), str(room.key), str(seed)]
    assert subprocess.run([sys.executable, "-c", code, *arguments], check=False).returncode == 9
    assert len(list(room.dst.rglob("*.dcm"))) == seed
    report = room.clean()
    assert report.actions == {"written": 22}
    assert report.left == ()
    again = room.home / "again"
    deidentify(room.src, again, room.key)
    assert digests(room.dst) == digests(again)
    assert not list(room.dst.rglob(".writing-*"))


def test_a_second_run_does_nothing_twice_and_takes_new_files(room, image):
    room.put(image)
    room.clean()
    before = {p: p.stat().st_mtime_ns for p in room.dst.rglob("*.dcm")}
    image.SOPInstanceUID = f"{planted.ROOT}.4.2"
    room.put(image, "b.dcm")
    report = room.clean()
    assert report.actions == {"written": 2}
    assert {p: p.stat().st_mtime_ns for p in before} == before
    assert len(list(room.dst.rglob("*.dcm"))) == 2


def test_a_corrupt_file_costs_one_file_and_is_not_copied(room, image):
    whole = room.put(image)
    (room.src / "cut.dcm").write_bytes(whole.read_bytes()[:-900])
    (room.src / "empty.dcm").write_bytes(b"")
    (room.src / "noise.dcm").write_bytes(bytes(128) + b"DICM" + b"\xff" * 300)
    (room.src / "notes.docx").write_bytes(b"Harriet Smithson")
    report = room.clean()
    assert report.actions == {"written": 1, "left out": 4}
    assert len(digests(room.dst)) == 1
    told = (room.records / "left-out.csv").read_text()
    for name in ("cut.dcm", "empty.dcm", "noise.dcm", "notes.docx"):
        assert name in told
    assert "Smithson" not in (room.records / "report.json").read_text()


def test_names_of_files_and_folders_do_not_come_from_the_source(room, image):
    room.put(image, "Smithson Harriet/MRN-4471902/knee.dcm")
    room.clean()
    (path,) = room.dst.rglob("*.dcm")
    told = path.relative_to(room.dst).as_posix()
    assert "mith" not in told.lower()
    assert "knee" not in told


def test_the_same_object_twice_is_written_once_and_another_with_its_uid_beside_it(room, image):
    room.put(image, "a.dcm")
    room.put(image, "b.dcm")
    image.InstanceNumber = 7
    room.put(image, "c.dcm")
    report = room.clean()
    assert report.actions == {"written": 2, "duplicate": 1}
    assert {d.InstanceNumber for d in room.cleaned()} == {1, 7}


def test_files_in_a_zip_archive_are_cleaned_in_place(room, image):
    import zipfile

    path = room.put(image)
    with zipfile.ZipFile(room.src / "study.zip", "w") as box:
        box.write(path, "inner/Smithson.dcm")
    path.unlink()
    report = room.clean()
    assert report.actions == {"written": 1}
    assert report.left == ()


def test_dicomdir_is_not_copied_and_that_is_said(room, image):
    room.put(image)
    folder = planted.image()
    folder.SOPClassUID = "1.2.840.10008.1.3.10"
    room.put(folder, "DICOMDIR")
    report = room.clean()
    assert report.actions == {"written": 1, "left out": 1}
    assert any("DICOMDIR" in reason for reason in report.reasons)


def test_key_is_made_once_and_a_lost_key_is_not_replaced(room, image):
    room.put(image)
    assert room.clean().new_key
    assert not room.clean().new_key
    room.key.unlink()
    with pytest.raises(UsageError, match="The key file is missing"):
        room.clean()
    assert not room.key.exists()
    Keys.create(room.key)
    with pytest.raises(UsageError, match="made with another key"):
        room.clean()


def test_other_options_want_another_folder(room, image):
    room.put(image)
    room.clean()
    with pytest.raises(UsageError, match="other options"):
        room.clean(Options(dates="remove"))


@pytest.mark.parametrize(
    ("dst", "key", "match"),
    [
        ("in", "safe/k", "SRC and DST are the same"),
        ("in/out", "safe/k", "DST lies inside SRC"),
        (".", "safe/k", "SRC lies inside DST"),
        ("out", "out/k", "The key would lie in the output"),
        ("out", "in/k", "The key lies in the source"),
    ],
)
def test_folders_that_would_mix_are_refused_before_anything_is_written(room, image, dst, key, match):
    room.put(image)
    before = digests(room.home)
    with pytest.raises(UsageError, match=match):
        deidentify(room.src, room.home / dst, room.home / key)
    assert digests(room.home) == before


def test_an_output_folder_with_other_files_is_refused(room, image):
    room.put(image)
    room.clean()
    other = room.home / "other"
    other.mkdir()
    (other / "letter.txt").write_text("x")
    with pytest.raises(UsageError, match="not from this program"):
        deidentify(room.src, other, room.key)


def test_map_leads_back_with_the_key_and_not_without_it(room, image):
    room.put(image)
    room.clean()
    path = room.key.with_name("hospital.key.map")
    content = path.read_bytes()
    assert b"Smithson" not in content
    assert planted.ROOT.encode() not in content
    found = pseudonyms.load(path, Keys.load(room.key))
    (after,) = room.cleaned()
    assert found["patients"][after.PatientID].endswith(planted.NUMBER)
    assert found["uids"][after.SOPInstanceUID] == image.SOPInstanceUID
    for broken in (content[:-1], content[:40] + bytes([content[40] ^ 1]) + content[41:], b"x"):
        path.write_bytes(broken)
        with pytest.raises(UsageError, match="cannot be opened"):
            pseudonyms.load(path, Keys.load(room.key))
    path.write_bytes(content)
    with pytest.raises(UsageError, match="another key"):
        pseudonyms.load(path, Keys(bytes(32)))


def test_map_grows_by_what_is_new_only(tmp_path):
    keys = Keys(bytes(32))
    assert pseudonyms.add(tmp_path / "m", keys, {"patients": {"P1": "a"}}) == 1
    size = (tmp_path / "m").stat().st_size
    assert pseudonyms.add(tmp_path / "m", keys, {"patients": {"P1": "a"}}) == 0
    assert (tmp_path / "m").stat().st_size == size
    assert pseudonyms.add(tmp_path / "m", keys, {"patients": {"P1": "a", "P2": "b"}}) == 1
    assert pseudonyms.load(tmp_path / "m", keys) == {"patients": {"P1": "a", "P2": "b"}}


def logged(room):
    (head,) = room.key.parent.glob("*.audit")
    return room.records / "audit.jsonl", head


def test_log_holds_counts_and_no_identity(room, image):
    room.put(image)
    room.clean()
    log, head = logged(room)
    assert audit.verify(log, head, Keys.load(room.key)) == 2
    assert audit.verify(log, head) == 2
    text = log.read_text()
    for secret in ("mithson", planted.NUMBER, planted.ROOT, "a.dcm", str(room.home)):
        assert secret not in text
    assert json.loads(text.splitlines()[0])["uid"].startswith("2.25.")
    room.clean()
    assert audit.verify(log, head, Keys.load(room.key)) > 2


@pytest.mark.parametrize(
    "change",
    [
        lambda lines: lines[:-1],
        lambda lines: lines[1:],
        lambda lines: [lines[1], lines[0], *lines[2:]],
        lambda lines: [lines[0].replace("written", "Written"), *lines[1:]],
        lambda lines: [*lines[:-1], lines[-1].replace('"left": 0', '"left": 1')],
        lambda lines: [*lines, lines[-1]],
        lambda lines: [],
    ],
    ids=["tail cut", "first dropped", "order", "line changed", "last changed", "line added", "emptied"],
)
def test_a_log_that_was_altered_is_found_out(room, image, change):
    room.put(image)
    room.clean()
    log, head = logged(room)
    lines = log.read_text().splitlines()
    log.write_text("\n".join(change(lines)) + "\n" * bool(change(lines)))
    with pytest.raises(ModelError, match="restore it"):
        audit.verify(log, head)


def test_a_forged_end_of_the_log_is_found_out(room, image):
    room.put(image)
    room.clean()
    log, head = logged(room)
    forged = audit.append(room.home / "l", room.home / "h", Keys(bytes(32)), [{"event": "x"}])
    assert audit.verify(room.home / "l", room.home / "h") == forged.lines
    shutil.copy(room.home / "l", log)
    shutil.copy(room.home / "h", head)
    with pytest.raises(ModelError, match="signature"):
        audit.verify(log, head, Keys.load(room.key))


def test_bytes_changed_after_they_were_written_are_made_again(room):
    planted.series(room.src, 3, 64, reports=False)
    room.clean()
    before = digests(room.dst)
    file = next(room.dst.rglob("*.dcm"))
    content = file.read_bytes()
    file.write_bytes(content[:-50] + b"x" * 50)  # as long as before
    assert room.clean().left == ()
    assert digests(room.dst) == before


def test_bytes_changed_before_the_second_look_are_a_finding(room):
    planted.series(room.src, 3, 64, reports=False)
    room.clean()
    known, written = rescan.Known({}, frozenset()), digests(room.dst)
    with Workers(Place(room.src, room.dst, room.home, Keys(bytes(32)), Options()), 1) as workers:
        workers.meet(known)
        assert workers.rescanned(written) == []
        file = next(room.dst.rglob("*.dcm"))
        file.write_bytes(file.read_bytes()[:-50] + b"x" * 50)
        (found,) = workers.rescanned(written)
    assert found.kind == "bytes other than those that were written"
    assert room.dst / found.output == file


def test_a_table_half_written_when_the_run_was_killed_became_a_stray_file(room, image, monkeypatch):
    room.put(image)
    (room.src / "b.csv").write_text("age,score\n40,1\n", encoding="utf-8")
    replace = os.replace

    def killed(old, new):
        if str(new).endswith(".csv") and room.dst in Path(new).parents:
            raise KeyboardInterrupt
        replace(old, new)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            room.clean()
    assert [p for p in room.dst.rglob(".*") if p.is_file()]
    report = room.clean()
    assert report.left == ()
    assert report.actions == {"written": 2}
