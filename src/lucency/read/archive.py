"""Files inside zip archives, opened in place: ``study.zip/inner/name`` is a path like any other.

Nothing is ever unpacked to the disk. What an archive says of itself is not believed: names that climb out of it, links,
locked entries, archives in archives and entries that grow without end are refused, each by name and with the reason.
"""

import io
import struct
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from lucency.errors import ReadError

SUFFIX = ".zip"

#: One entry may be this large unpacked; a whole-body CT in one multi-frame object stays below 2 GB.
MAX_ENTRY = 4 << 30

#: All entries together; a research server's largest exports are some 100 GB.
MAX_TOTAL = 1 << 40

#: CT grows 2 to 4 times when unpacked, a nearly empty mask some 500 times but stays small; what is larger than
#: :data:`SMALL` and grows by more than this is taken for a bomb (deflate cannot exceed 1032).
BOMB_RATIO = 200
SMALL = 64 << 20

#: Entries of one archive; each costs about 1 kB of memory.
MAX_ENTRIES = 2_000_000

#: Bytes taken from the archive at a time.
BLOCK = 1 << 16

#: APPNOTE.TXT 4.4.2: the upper half of the external attributes holds the Unix mode; 4.4.4: bit 0 means encrypted.
LINK, MODE = 0o120000, 0o170000


@dataclass(frozen=True)
class Entry:
    """One file in an archive.

    Args:
        offset: Of its local header, bytes.
        packed: Bytes in the archive.
        size: Bytes unpacked, as the archive claims; more is never read.
        crc: CRC-32 of the unpacked bytes, as the archive claims.
        deflated: Whether it is packed; else stored.
    """

    offset: int
    packed: int
    size: int
    crc: int
    deflated: bool


@dataclass(frozen=True)
class Contents:
    """What may be read in an archive, and what not.

    Args:
        entries: Name inside the archive to entry.
        refused: Name inside the archive to reason, as a sentence.
    """

    entries: Mapping[str, Entry]
    refused: Mapping[str, str]


def opened(file: Path) -> BinaryIO:
    """Return a file, real or inside a zip archive, open for reading and seeking; use it in ``with``.

    Args:
        file: A path, or the virtual path of an entry: the archive's own path with the name inside behind it.

    Raises:
        ReadError: The archive is damaged, or the entry is one that is not read.
        FileNotFoundError: No such file or entry.
    """
    place = parted(file)
    if place is None:
        return file.open("rb")
    archive, name = place
    entry = _entry(archive, name)
    return io.BufferedReader(_Inflated(archive, entry, name), BLOCK)


def stat_of(file: Path) -> tuple[int, int]:
    """Return (size in bytes, mark of change): the modification time in ns, or the CRC-32 of an entry.

    Raises:
        OSError: No such file.
        ReadError: As :func:`opened`.
    """
    place = parted(file)
    if place is None:
        facts = file.stat()
        return facts.st_size, facts.st_mtime_ns
    entry = _entry(*place)
    return entry.size, entry.crc


def parted(file: Path) -> tuple[Path, str] | None:
    """Return (archive, name inside) of a virtual path, or None for a real one."""
    # The common case is told without looking at the disk.
    if SUFFIX not in str(file).lower():
        return None
    parts = file.parts
    for n, part in enumerate(parts[:-1], start=1):
        if part.lower().endswith(SUFFIX):
            archive = Path(*parts[:n])
            if archive.is_file():
                return archive, PurePosixPath(*parts[n:]).as_posix()
    return None


def contents(archive: Path) -> Contents:
    """Return what an archive holds, sorted by name; no entry is unpacked.

    Raises:
        ReadError: Not a zip archive, entries that lie over each other, or more of them than can be believed.
    """
    facts = archive.stat()
    return _contents(archive, facts.st_size, facts.st_mtime_ns)


@lru_cache(maxsize=64)
def _contents(archive: Path, size: int, changed: int) -> Contents:
    """Read the directory; ``changed`` makes a rewritten archive a new one."""
    try:
        with zipfile.ZipFile(archive) as box:
            infos = [i for i in box.infolist() if not i.is_dir()]
    except (zipfile.BadZipFile, struct.error, ValueError, OverflowError, RuntimeError, EOFError, OSError) as error:
        raise ReadError(
            f"Not readable as a zip archive ({type(error).__name__})",
            where=archive.name,
            remedy="fetch or pack it again",
        ) from None
    if len(infos) > MAX_ENTRIES or sum(i.file_size for i in infos) > MAX_TOTAL:
        raise ReadError(
            f"{len(infos)} files, {sum(i.file_size for i in infos) >> 30} GiB unpacked",
            expected=f"at most {MAX_ENTRIES} files and {MAX_TOTAL >> 30} GiB",
            where=archive.name,
            remedy="unpack it yourself if you trust it",
        )
    # Entries that share bytes are how a small archive becomes petabytes without a suspicious ratio.
    if sum(i.compress_size for i in infos) > size:
        raise ReadError("Its entries lie over each other", where=archive.name, remedy="do not trust this archive")
    entries: dict[str, Entry] = {}
    refused: dict[str, str] = {}
    for info in sorted(infos, key=lambda i: i.filename):
        # What pydicom or a person sees is the cleaned name; a name that needs no cleaning stays as it is.
        name = PurePosixPath(info.filename.replace("\\", "/")).as_posix()
        why = "Two entries of one name." if name in entries else _refusal(info)
        if why:
            refused[name] = why
        else:
            entries[name] = Entry(
                info.header_offset,
                info.compress_size,
                info.file_size,
                info.CRC,
                info.compress_type == zipfile.ZIP_DEFLATED,
            )
    return Contents(entries, refused)


def _refusal(info: zipfile.ZipInfo) -> str:
    """Return why an entry is not read, or ``""``."""
    raw = info.orig_filename
    parts = raw.replace("\\", "/").split("/")
    if raw.startswith(("/", "\\")) or ".." in parts or ":" in parts[0] or "\0" in raw:
        return "Its name leads out of the archive."
    if info.external_attr >> 16 & MODE == LINK:
        return "It is a link, not a file."
    if info.flag_bits & 1:
        return "It is encrypted; unpack the archive with its password."
    if raw.lower().endswith(SUFFIX):
        return "An archive inside an archive; unpack it yourself."
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return "It is packed in a way other than deflate; pack it anew."
    if info.header_offset < 0:
        return "Its place in the archive is not one."
    if info.file_size > MAX_ENTRY:
        return f"{info.file_size >> 30} GiB unpacked, at most {MAX_ENTRY >> 30} GiB are read."
    if info.file_size > SMALL and info.file_size > BOMB_RATIO * info.compress_size:
        return "It grows too much when unpacked, as archives made to fill a disk do."
    return ""


def _entry(archive: Path, name: str) -> Entry:
    inside = contents(archive)
    if name in inside.refused:
        raise ReadError(inside.refused[name].rstrip("."), where=f"{archive.name}/{name}")
    if name not in inside.entries:
        raise FileNotFoundError(f"{archive.name}/{name}")
    return inside.entries[name]


class _Inflated(io.RawIOBase):
    """One entry as a file; it is unpacked into memory no further than it is read."""

    def __init__(self, archive: Path, entry: Entry, name: str) -> None:
        self._file = archive.open("rb")
        self._entry, self._place, self._got, self._left = entry, 0, bytearray(), entry.packed
        # Readers of formats ask an open file for its name.
        self.name = self._where = f"{archive.name}/{name}"
        self._inflate = zlib.decompressobj(-zlib.MAX_WBITS)
        self._file.seek(entry.offset)
        head = self._file.read(30)
        # APPNOTE.TXT 4.3.7: the local header has 30 bytes, then a name and extra data of its own length.
        if len(head) < 30 or not head.startswith(b"PK\3\4"):
            self._file.close()
            raise self._broken()
        self._file.seek(sum(struct.unpack("<HH", head[26:30])), io.SEEK_CUR)

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the place, bytes from the beginning."""
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place; nothing is unpacked for it."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._entry.size}[whence]
        self._place = max(0, base + offset)
        return self._place

    def readinto(self, buffer: "bytearray | memoryview") -> int:  # type: ignore[override]
        """Fill the buffer from here; fewer bytes at the end."""
        end = min(self._place + len(buffer), self._entry.size)
        while len(self._got) < end:
            self._more()
        piece = self._got[self._place : end]
        buffer[: len(piece)] = piece
        self._place += len(piece)
        return len(piece)

    def close(self) -> None:
        """Close the archive and let go of what was unpacked."""
        self._file.close()
        super().close()

    def _more(self) -> None:
        """Unpack the next block; never more than the archive promised."""
        block = b""
        if not self._inflate.unconsumed_tail:
            block = self._file.read(min(BLOCK, self._left))
            self._left -= len(block)
        room = min(16 * BLOCK, self._entry.size - len(self._got))
        try:
            piece = (
                self._inflate.decompress(self._inflate.unconsumed_tail or block, room)
                if self._entry.deflated
                else block[:room]
            )
        except zlib.error:
            raise self._broken() from None
        self._got += piece
        if not piece and (self._inflate.eof or (not block and not self._inflate.unconsumed_tail)):
            raise self._broken()
        if len(self._got) == self._entry.size and zlib.crc32(self._got) != self._entry.crc:
            raise self._broken()

    def _broken(self) -> ReadError:
        return ReadError(
            "The entry of the zip archive is damaged",
            expected="as many bytes as its header promises",
            where=self._where,
            remedy="fetch or pack the archive again",
        )
