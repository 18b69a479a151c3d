import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from lucency.errors import ReadError
from lucency.read import archive, load, read_inputs


def packed(place: Path, entries: dict[str, bytes], compression=zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(place, "w", compression) as box:
        for name, content in entries.items():
            box.writestr(name, content)
    return place


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("size", [0, 1, 65535, 65536, 1_500_000])
def test_an_entry_reads_like_the_file_it_was(tmp_path, compression, size):
    content = np.random.default_rng(size).integers(0, 9, size, dtype=np.uint8).tobytes()
    box = packed(tmp_path / "Study.ZIP", {"a/b": content, "c": b"other"}, compression)
    with archive.opened(box / "a" / "b") as file:
        assert file.read() == content
        assert file.name == "Study.ZIP/a/b"
        assert file.seek(-min(7, size), io.SEEK_END) == max(0, size - 7)
        assert file.read() == content[-7:]
        # Backwards and forwards, as pydicom goes.
        for start in (size // 2, 0, size // 3):
            file.seek(start)
            assert file.read(100) == content[start : start + 100]
    assert archive.stat_of(box / "a" / "b")[0] == size
    assert sorted(p.name for p in tmp_path.iterdir()) == ["Study.ZIP"]


def test_a_beginning_is_read_without_unpacking_the_rest(tmp_path):
    content = bytes(50_000_000)
    box = packed(tmp_path / "s.zip", {"x": content})
    with archive.opened(box / "x") as file:
        assert file.read(132) == bytes(132)
        assert len(file.raw._got) < 5_000_000


def test_real_files_and_folders_called_zip_are_what_they_are(tmp_path):
    place = tmp_path / "old.zip" / "in"
    place.mkdir(parents=True)
    (place / "x").write_bytes(b"plain")
    assert archive.parted(place / "x") is None
    with archive.opened(place / "x") as file:
        assert file.read() == b"plain"
    with pytest.raises(FileNotFoundError):
        archive.opened(place / "y")


def test_what_may_not_be_read_is_refused_by_name(tmp_path):
    box = tmp_path / "s.zip"
    with zipfile.ZipFile(box, "w", zipfile.ZIP_DEFLATED) as out:
        for name in ("../up", "a/../../up2", "/abs", "C:/windows", "inner.zip", "good"):
            out.writestr(name, b"x")
        link = zipfile.ZipInfo("link")
        link.external_attr = 0o120777 << 16
        out.writestr(link, b"/etc/passwd")
        out.writestr(zipfile.ZipInfo("lz"), b"x" * 99, zipfile.ZIP_LZMA)
    found = archive.contents(box)
    assert set(found.entries) == {"good"}
    assert {n for n, why in found.refused.items() if "leads out" in why} == {
        "../up",
        "a/../../up2",
        "/abs",
        "C:/windows",
    }
    assert "link" in found.refused["link"]
    assert "archive inside" in found.refused["inner.zip"]
    assert "deflate" in found.refused["lz"]
    for name in found.refused:
        with pytest.raises((ReadError, FileNotFoundError)):
            archive.opened(Path(f"{box}/{name.lstrip('/')}"))


def test_an_encrypted_entry_is_refused(tmp_path):
    box = packed(tmp_path / "s.zip", {"x": b"secret"})
    raw = bytearray(box.read_bytes())
    # General purpose bit 0 in the local header (offset 6) and in the directory (offset 8; APPNOTE 4.3.7, 4.3.12).
    raw[6] |= 1
    raw[raw.index(b"PK\1\2") + 8] |= 1
    box.write_bytes(raw)
    assert "encrypted" in archive.contents(box).refused["x"]


def test_bombs_are_refused_before_they_are_unpacked(tmp_path):
    grown = packed(tmp_path / "grown.zip", {"x": bytes(archive.SMALL + 1)})
    assert "grows too much" in archive.contents(grown).refused["x"]
    overlapping = packed(tmp_path / "over.zip", {"a": bytes(range(256)) * 40, "b": bytes(range(255)) * 40})
    raw = bytearray(overlapping.read_bytes())
    second = raw.rindex(b"PK\1\2")
    first = raw.index(b"PK\1\2")
    # The second entry of the directory points to the first one's bytes and claims more of them than there are.
    raw[second + 42 : second + 46] = raw[first + 42 : first + 46]
    raw[second + 20 : second + 24] = (len(raw)).to_bytes(4, "little")
    overlapping.write_bytes(raw)
    with pytest.raises(ReadError, match=r"lie over each other|Not readable as a zip"):
        archive.contents(overlapping)


def test_a_lie_about_the_size_ends_in_an_error_not_in_memory(tmp_path):
    box = packed(tmp_path / "s.zip", {"x": bytes(10_000)})
    raw = bytearray(box.read_bytes())
    place = raw.index(b"PK\1\2") + 24
    for claimed in (9_999, 10_001):
        raw[place : place + 4] = claimed.to_bytes(4, "little")
        box.write_bytes(raw)
        with pytest.raises(ReadError, match="damaged"), archive.opened(box / "x") as file:
            file.read()


@pytest.mark.parametrize("content", [b"", b"no zip at all", b"PK\3\4" + bytes(60)])
def test_what_is_no_archive_is_said_so(tmp_path, content):
    box = tmp_path / "s.zip"
    box.write_bytes(content)
    with pytest.raises(ReadError, match="Not readable as a zip archive"):
        archive.contents(box)
    with pytest.raises(ReadError, match="Not readable as a zip archive"):
        archive.opened(box / "x")


def test_a_cut_or_changed_entry_is_named_and_shows_no_absolute_path(tmp_path):
    content = np.random.default_rng(0).bytes(5000)
    box = packed(tmp_path / "s.zip", {"in/x": content}, zipfile.ZIP_STORED)
    raw = bytearray(box.read_bytes())
    raw[raw.index(content) + 10] ^= 255
    box.write_bytes(raw)
    with pytest.raises(ReadError, match=r"s\.zip/in/x") as caught, archive.opened(box / "in" / "x") as file:
        file.read()
    assert str(tmp_path) not in str(caught.value)


def test_a_zipped_study_is_a_folder_like_any_other(folder):
    stored = folder.slices("study/CT")
    (loose,) = read_inputs(folder.root, salt=b"p")
    with zipfile.ZipFile(folder.root / "study.zip", "w", zipfile.ZIP_DEFLATED) as box:
        for file in sorted((folder.root / "study/CT").iterdir()):
            # Without suffix, so that the bytes have to tell.
            box.write(file, f"CT/{file.stem}")
            file.unlink()
        box.writestr("report.pdf", b"%PDF")
        box.writestr("../out.dcm", b"x")
        box.writestr("__MACOSX/._CT", b"x")
    for place in (folder.root, folder.root / "study.zip"):
        inputs = read_inputs(place, salt=b"p")
        (case,) = inputs
        assert case.id == loose.id
        assert case.patient == loose.patient
        assert all(p.startswith("study.zip/CT/") for p in case.sources[0].paths)
        assert [s.path for s in inputs.skipped] == ["study.zip/../out.dcm"]
        assert any("1 files in study.zip are not DICOM" in n for n in inputs.notes)
    image = load(case.sources[0])
    assert [int(a.sum()) for a in image.array[0]] == [int(a.astype(int).sum()) - 1024 * a.size for a in stored.values()]
    assert sorted(p.name for p in folder.root.iterdir()) == ["study", "study.zip"]


def test_an_archive_that_cannot_be_read_is_skipped_and_named(folder):
    folder.slices("s")
    folder.place("bad.zip").write_bytes(b"no zip")
    inputs = read_inputs(folder.root)
    assert len(inputs) == 1
    assert [s.path for s in inputs.skipped] == ["bad.zip"]
    assert "zip archive" in inputs.skipped[0].reason


@pytest.mark.parametrize("seed", range(3))
def test_a_mutated_archive_is_read_rightly_or_refused(tmp_path, seed):
    rng = np.random.default_rng(seed)
    content = {"a": rng.integers(0, 4, 3000, dtype=np.uint8).tobytes(), "b": bytes(500)}
    box = packed(tmp_path / "s.zip", content)
    whole = box.read_bytes()
    refused = 0
    for _ in range(80):
        changed = bytearray(whole)
        for place in rng.integers(0, len(whole), int(rng.integers(1, 6))):
            changed[place] = int(rng.integers(0, 256))
        box.write_bytes(changed)
        try:
            for name in archive.contents(box).entries:
                with archive.opened(box / name) as file:
                    # The checksum lets nothing through that is not what was packed, whatever it is called.
                    assert file.read() in content.values()
        except (ReadError, FileNotFoundError):
            refused += 1
    assert refused
