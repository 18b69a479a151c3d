import json
import shutil
import sqlite3
import threading
import zipfile

import pydicom
import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian, ImplicitVRLittleEndian, generate_uid

from lucency.case import pseudonym
from lucency.read import ReadOptions, files, headers, read
from lucency.read.headers import digests, heads, looks_headerless

SALT = b"pepper"


def all_of(folder, **options):
    return heads(folder.root, files.listing(folder.root), salt=SALT, **options)


def test_dicom_is_found_in_any_nesting_whatever_its_name(folder):
    series = generate_uid()
    folder.slices("a/b/c", series=series)
    names = sorted((folder.root / "a/b/c").iterdir())
    names[0].rename(names[0].with_name("IM0001"))
    names[1].rename(names[1].with_name("scan.seg"))
    # Without preamble and file header, as old archives keep them.
    data = pydicom.dcmread(names[2])
    names[2].unlink()
    pydicom.dcmwrite(names[2].with_name("bare"), _bare(data), implicit_vr=True, little_endian=True)
    folder.text("a/readme", "no DICOM at all, only text")
    folder.text("a/notes.json", "{}")
    found = all_of(folder)
    assert sorted(found.found) == ["a/b/c/IM0001", "a/b/c/bare", "a/b/c/scan.seg"]
    assert {h["SeriesInstanceUID"] for h in found.found.values()} == {pseudonym(SALT, series)}
    assert found.others == {"a/readme", "a/notes.json"}
    assert found.broken == {}


def _bare(data):
    bare = pydicom.Dataset()
    bare.update({e.tag: e for e in data})
    return bare


@pytest.mark.parametrize(
    ("start", "verdict"),
    [
        (b"\x08\0\x05\0CS\x0a\0ISO_IR 100", True),
        (b"\x08\0\x05\0\x0a\0\0\0ISO_IR 100", True),
        (b"\0\x08\0\x05CS\0\x0aISO_IR 100", True),
        (b"\x08\0\x05\0\xff\xff\xff\x7fISO_IR 100", False),
        (b"\x08\0" * 20, False),
        (b"%PDF-1.4 something else", False),
        (b"", False),
    ],
)
def test_a_bare_dataset_is_told_by_its_first_element(start, verdict):
    assert looks_headerless(start) is verdict


def test_broken_files_are_named_and_the_others_are_read(folder):
    folder.slices("s")
    folder.place("s/empty.dcm").write_bytes(b"")
    folder.place("s/text.dcm").write_bytes(b"this is not DICOM, whatever its name says" * 10)
    folder.place("s/torn").write_bytes(bytes(128) + b"DICM\x02\0\0\0UL")
    found = all_of(folder)
    assert len(found.found) == 3
    assert "0 bytes" in found.broken["s/empty.dcm"]
    assert {"s/empty.dcm", "s/text.dcm", "s/torn"} == set(found.broken)
    assert all(str(folder.root) not in why and "fetch" in why for why in found.broken.values())


def test_no_identifier_leaves_the_pass_or_enters_the_cache(folder, tmp_path):
    study, series, place = generate_uid(), generate_uid(), generate_uid()
    folder.slices("s", series=series, StudyInstanceUID=study, FrameOfReferenceUID=place, PatientName="Doe^Jane")
    cache = tmp_path / "headers.sqlite"
    found = all_of(folder, cache=cache)
    (first, *_) = found.found.values()
    assert first["PatientID"] == pseudonym(SALT, "SECRET-NAME")
    assert first["StudyInstanceUID"] == pseudonym(SALT, study)
    assert first["FrameOfReferenceUID"] == pseudonym(SALT, place)
    # Of the standard's own UIDs there is nothing to hide.
    assert first["SOPClassUID"] == pydicom.uid.CTImageStorage
    assert first["TransferSyntaxUID"] == pydicom.uid.ExplicitVRLittleEndian
    stored = b"".join(p.read_bytes() for p in tmp_path.glob("headers.sqlite*"))
    for secret in ("SECRET-NAME", "Doe^Jane", study, series, place, str(folder.root)):
        assert secret.encode() not in stored
        assert secret not in json.dumps(found.found)
    assert b"PixelSpacing" in stored


def test_references_in_lists_are_disguised_as_the_instances_are():
    uid = "1.3.6.1.4.1.5962.1.1.0.0.0.1168.1"
    head = {"ReferencedInstanceUIDs": [uid], "PerFrame": {"X": [[uid, None]]}, "A": {"SeriesInstanceUID": uid}}
    head |= {"SOPClassUID": "1.2.840.113619.4.27", "SoftwareVersions": "5.4.2", "ImageType": ["ORIGINAL"]}
    mine = pseudonym(SALT, uid)
    assert headers._disguised(head, SALT) == {
        "ReferencedInstanceUIDs": [mine],
        "PerFrame": {"X": [[mine, None]]},
        "A": {"SeriesInstanceUID": mine},
        "SOPClassUID": "1.2.840.113619.4.27",
        "SoftwareVersions": "5.4.2",
        "ImageType": ["ORIGINAL"],
    }


def test_a_second_pass_reads_only_what_changed(folder, tmp_path):
    cache = tmp_path / "headers.sqlite"
    folder.slices("s")
    folder.text("readme", "text")
    folder.place("s/bad.dcm").write_bytes(b"bad")
    first = all_of(folder, cache=cache)
    assert first.n_read == 5
    second = all_of(folder, cache=cache)
    assert second.n_read == 0
    assert (second.found, second.broken, second.others) == (first.found, first.broken, first.others)
    changed = min((folder.root / "s").glob("0*.dcm"))
    data = pydicom.dcmread(changed)
    data.PatientAge = "050Y"
    data.save_as(changed)
    third = all_of(folder, cache=cache)
    assert third.n_read == 1
    assert third.found[f"s/{changed.name}"]["PatientAge"] == "050Y"
    changed.unlink()
    assert len(all_of(folder, cache=cache).found) == 2
    # Asked for all the same, a file that is gone is named.
    gone = heads(folder.root, [f"s/{changed.name}"], salt=SALT, cache=cache)
    assert "not there" in gone.broken[f"s/{changed.name}"]


def test_another_salt_or_another_folder_takes_nothing_from_the_cache(folder, tmp_path):
    cache = tmp_path / "headers.sqlite"
    folder.slices("s")
    all_of(folder, cache=cache)
    other = tmp_path / "other"
    shutil.copytree(folder.root, other)
    assert heads(other, files.listing(other), salt=SALT, cache=cache).n_read == 3
    assert all_of(folder, cache=cache).n_read == 0
    salted = heads(folder.root, files.listing(folder.root), salt=b"salt", cache=cache)
    assert salted.n_read == 3
    assert all(h["PatientID"] == pseudonym(b"salt", "SECRET-NAME") for h in salted.found.values())


@pytest.mark.parametrize("damage", ["text", "middle", "tail", "schema"])
def test_a_damaged_cache_is_thrown_away_and_said(folder, tmp_path, damage):
    cache = tmp_path / "headers.sqlite"
    folder.slices("s", depths=tuple(float(n) for n in range(40)))
    whole = all_of(folder, cache=cache)
    assert whole.notes == ()
    raw = bytearray(cache.read_bytes())
    if damage == "text":
        cache.write_bytes(b"this is no database" * 100)
    elif damage == "middle":
        raw[4096:] = bytes(b ^ 0x5A for b in raw[4096:])
        cache.write_bytes(raw)
    elif damage == "tail":
        cache.write_bytes(raw[: len(raw) // 2])
    else:
        base = sqlite3.connect(cache)
        base.execute("DROP TABLE head")
        base.execute("CREATE TABLE head (something TEXT)")
        base.commit()
        base.close()
    again = all_of(folder, cache=cache)
    assert again.found == whole.found
    assert len(again.notes) == 1
    assert "header" in again.notes[0]
    assert all_of(folder, cache=cache).found == whole.found
    if damage != "schema":
        assert "thrown away" in again.notes[0]
        assert all_of(folder, cache=cache).n_read == 0


def test_a_cache_that_cannot_be_written_costs_nothing_but_time(folder, tmp_path):
    folder.slices("s")
    found = all_of(folder, cache=tmp_path / "absent" / "headers.sqlite")
    assert len(found.found) == 3
    assert "not used" in found.notes[0]


def test_many_files_are_read_by_further_processes_with_the_same_answer(folder, monkeypatch):
    folder.slices("s", depths=tuple(float(n) for n in range(30)))
    folder.place("s/bad.dcm").write_bytes(b"bad")
    alone = all_of(folder)
    monkeypatch.setattr(headers, "ALONE", 5)
    monkeypatch.setattr(headers, "CHUNK", 4)
    monkeypatch.setattr(headers, "cores", lambda: 2)
    started = []
    popen = headers.subprocess.Popen
    monkeypatch.setattr(headers.subprocess, "Popen", lambda *a, **k: started.append(1) or popen(*a, **k))
    together = all_of(folder)
    assert 1 <= len(started) <= 2
    assert (together.found, together.broken) == (alone.found, alone.broken)


def test_a_file_that_kills_its_process_costs_one_file(folder, monkeypatch):
    folder.slices("s", depths=tuple(float(n) for n in range(6)))
    victim = sorted(files.listing(folder.root))[2]
    program = (
        "import json,os,sys\nsys.path[:]=json.loads(sys.argv[1])\nfrom lucency.read import headers as h\n"
        f"old=h._attempt\nh._attempt=lambda r,p,s: os._exit(9) if p=={victim!r} else old(r,p,s)\nh.serve()"
    )
    monkeypatch.setattr(headers._Workers, "PROGRAM", program)
    monkeypatch.setattr(headers, "ALONE", 1)
    monkeypatch.setattr(headers, "cores", lambda: 2)
    found = all_of(folder)
    assert len(found.found) == 5
    assert list(found.broken) == [victim]
    assert "ended the process" in found.broken[victim]


def test_a_file_that_hangs_costs_one_file(folder, monkeypatch):
    folder.slices("s", depths=tuple(float(n) for n in range(6)))
    victim = sorted(files.listing(folder.root))[2]
    once, woken = headers._attempt, threading.Event()

    def hang(root, path, salt):
        return (woken.wait(60), path, "")[1:] if path == victim else once(root, path, salt)

    monkeypatch.setattr(headers, "_attempt", hang)
    monkeypatch.setattr(headers, "FILE_S", 2.0)
    found = all_of(folder)
    woken.set()
    assert len(found.found) == 5
    assert list(found.broken) == [victim]
    assert "took too long" in found.broken[victim]


def test_a_file_that_hangs_in_a_further_process_costs_one_file(folder, monkeypatch):
    folder.slices("s", depths=tuple(float(n) for n in range(6)))
    victim = sorted(files.listing(folder.root))[2]
    program = (
        "import json,sys,time\nsys.path[:]=json.loads(sys.argv[1])\nfrom lucency.read import headers as h\n"
        f"old=h._attempt\nh._attempt=lambda r,p,s: time.sleep(600) if p=={victim!r} else old(r,p,s)\nh.serve()"
    )
    monkeypatch.setattr(headers._Workers, "PROGRAM", program)
    monkeypatch.setattr(headers, "ALONE", 1)
    monkeypatch.setattr(headers, "cores", lambda: 2)
    # A process needs its time to start on a busy machine.
    monkeypatch.setattr(headers, "FILE_S", 15.0)
    monkeypatch.setattr(headers, "CHUNK_S", 15.0)
    found = all_of(folder)
    assert len(found.found) == 5
    assert list(found.broken) == [victim]
    assert "took too long" in found.broken[victim]


def test_what_breaks_in_the_thread_that_reads_is_raised_where_its_answers_are(folder, monkeypatch):
    folder.slices("s", depths=(0.0, 1.0))

    def broken(root, path, salt):
        raise RuntimeError("of the program, not of a file")

    monkeypatch.setattr(headers, "_attempt", broken)
    with pytest.raises(RuntimeError, match="of the program"):
        all_of(folder)


def test_a_deflated_file_is_read_and_a_bomb_is_refused(folder, monkeypatch):
    folder.slices("s")
    for file in (folder.root / "s").iterdir():
        data = pydicom.dcmread(file)
        data.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
        data.save_as(file)
    found = all_of(folder)
    assert {h["TransferSyntaxUID"] for h in found.found.values()} == {DeflatedExplicitVRLittleEndian}
    assert {h["Rows"] for h in found.found.values()} == {5}
    monkeypatch.setattr(headers, "MAX_INFLATED", 300)
    bombs = all_of(folder)
    assert len(bombs.broken) == 3
    assert all("deflated" in why for why in bombs.broken.values())


def test_a_value_of_unbelievable_size_is_refused(folder, monkeypatch):
    folder.slices("s", depths=(0.0,))
    (file,) = (folder.root / "s").iterdir()
    data = pydicom.dcmread(file)
    data.FrameTimeVector = ["33.25"] * 1000
    data.save_as(file)
    assert len(all_of(folder).found) == 1
    monkeypatch.setattr(headers, "MAX_VALUE", 4000)
    assert "in front of the pixels" in next(iter(all_of(folder).broken.values()))


def test_zip_entries_have_heads_and_digests_like_files(folder, tmp_path):
    stored = folder.slices("s")
    assert len(stored) == 3
    names = files.listing(folder.root)
    box = tmp_path / "study.zip"
    with zipfile.ZipFile(box, "w", zipfile.ZIP_DEFLATED) as out:
        for name in names:
            out.write(folder.root / name, name)
    cache = tmp_path / "headers.sqlite"
    inside = [f"study.zip/{n}" for n in names]
    packed = heads(tmp_path, inside, salt=SALT, cache=cache)
    assert list(packed.found.values()) == list(all_of(folder).found.values())
    assert heads(tmp_path, inside, salt=SALT, cache=cache).n_read == 0
    sums = digests(tmp_path, inside, salt=SALT, cache=cache)
    assert list(sums.values()) == [files.digest_of([folder.root / n]) for n in names]


def test_digests_are_kept_until_a_file_changes(folder, tmp_path, monkeypatch):
    folder.slices("s")
    names = list(files.listing(folder.root))
    cache = tmp_path / "headers.sqlite"
    assert digests(folder.root, names) == {}
    first = digests(folder.root, names, cache=cache)
    assert first == {n: files.digest_of([folder.root / n]) for n in names}
    (folder.root / names[0]).write_bytes(b"changed")
    monkeypatch.setattr(files, "digest_of", lambda paths: f"read {paths[0].name}")
    second = digests(folder.root, names, cache=cache)
    assert second == {**first, names[0]: f"read {(folder.root / names[0]).name}"}


def test_an_implicit_file_without_suffix_needs_a_class(folder):
    folder.place("x").write_bytes(b"\x08\0\x05\0\x0a\0\0\0ISO_IR 100" + bytes(40))
    assert all_of(folder).others == {"x"}
    data = pydicom.Dataset()
    data.SOPClassUID = pydicom.uid.MRImageStorage
    data.file_meta = pydicom.dataset.FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    pydicom.dcmwrite(folder.place("y"), _bare(data), implicit_vr=True, little_endian=True)
    assert list(all_of(folder).found) == ["y"]


def test_reading_a_folder_twice_opens_no_file_twice(folder, tmp_path, monkeypatch):
    folder.slices("s")
    folder.slices("t")
    options = ReadOptions(salt=SALT, cache=tmp_path / "headers.sqlite")
    first = read(folder.root, options)
    monkeypatch.setattr(headers, "read_head", lambda *a: pytest.fail("a header was read again"))
    monkeypatch.setattr(files, "digest_of", lambda paths: pytest.fail("a file was summed again"))
    second = read(folder.root, options)
    assert second == first


def test_a_disk_that_failed_once_is_asked_again(folder, tmp_path, monkeypatch):
    folder.slices("s")
    cache = tmp_path / "headers.sqlite"
    opened = headers.archive.opened
    monkeypatch.setattr(headers, "KEPT_AT_ONCE", 1)

    def failing(file):
        if file.name == "098.dcm":
            raise OSError(5, "Input/output error")
        return opened(file)

    monkeypatch.setattr(headers.archive, "opened", failing)
    first = all_of(folder, cache=cache)
    assert len(first.found) == 2
    assert "cannot be read (OSError)" in first.broken["s/098.dcm"]
    monkeypatch.setattr(headers.archive, "opened", opened)
    second = all_of(folder, cache=cache)
    assert (len(second.found), second.broken, second.n_read) == (3, {}, 1)
