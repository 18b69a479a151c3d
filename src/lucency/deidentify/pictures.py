"""PNG and JPEG: what is not the picture goes, segment by segment; the packed pixels are not touched."""

import struct
import zlib
from collections.abc import Iterator

import numpy as np

from lucency.burned_in import Box, find_text
from lucency.deidentify.cleaning import Cleaned, cannot
from lucency.deidentify.keys import Identities

SIGNATURE = b"\x89PNG\r\n\x1a\n"
#: Chunks that the pixels need to be shown as they were (PNG, third edition, 11.2 and 11.3).
CHUNKS = frozenset(b"IHDR PLTE IDAT IEND tRNS gAMA cHRM sRGB sBIT pHYs bKGD cICP".split())
#: Chunks of animated PNG: further pictures, which would have to be looked through as well.
ANIMATED = frozenset(b"acTL fcTL fdAT".split())
#: A colour profile larger than this is no profile of a camera or scanner.
MAX_PROFILE = 4 << 20
#: Pictures of more pixels than this are not decoded to look for text (the reader's own limit).
MAX_PIXELS = 1 << 28

#: Pillow's modes whose numbers the detector takes as they are.
PLAIN = frozenset(["L", "RGB", "I", "F", "I;16", "I;16L", "I;16B"])

#: JPEG markers (ITU-T T.81, B.1.1.3): those that stand without a length, scans and application data.
STANDALONE = {0x01, *range(0xD0, 0xD8)}
SOI, EOI, SOS, COM = 0xD8, 0xD9, 0xDA, 0xFE
APPLICATION = range(0xE0, 0xF0)
#: EXIF's tag of how to turn the picture (CIPA DC-008, 4.6.5).
ORIENTATION = 0x0112


def png(content: bytes, *, identities: Identities) -> Cleaned:
    """Return a PNG of its picture only.

    Args:
        content: A whole file.
        identities: Known strings; a colour profile in which one is found goes.

    Raises:
        DataError: Damaged, or animated.

    Source:
        PNG specification, third edition, 5.3 and 11.3.
    """
    if not content.startswith(SIGNATURE):
        raise cannot("Not a PNG file", "export the picture again")
    out, removed, ended = [SIGNATURE], [], False
    for kind, body, raw in _chunks(content):
        if kind in ANIMATED:
            raise cannot("An animated PNG", "save each picture by itself")
        if kind in CHUNKS or (kind == b"iCCP" and _profile_is_plain(body, identities)):
            # The profile's name is free text: it is written anew.
            out.append(_chunk(b"iCCP", b"icc" + body[body.index(b"\0") :]) if kind == b"iCCP" else raw)
        else:
            removed.append(kind.decode("latin-1") if kind in _NAMED else "other chunks")
        ended = ended or kind == b"IEND"
    if not ended:
        raise cannot("A truncated PNG file", "fetch it again")
    kept = b"".join(out)
    return Cleaned(kept, tuple(dict.fromkeys(removed)), text=text_in(kept))


_NAMED = frozenset(b"tEXt zTXt iTXt eXIf tIME iCCP sPLT hIST".split())


def _chunks(content: bytes) -> Iterator[tuple[bytes, bytes, bytes]]:
    place = len(SIGNATURE)
    while place + 12 <= len(content):
        (length,) = struct.unpack_from(">I", content, place)
        stop = place + 12 + length
        if stop > len(content):
            raise cannot("A truncated PNG file", "fetch it again")
        kind, body = content[place + 4 : place + 8], content[place + 8 : stop - 4]
        if zlib.crc32(kind + body) != struct.unpack_from(">I", content, stop - 4)[0]:
            raise cannot("A damaged PNG file", "fetch it again")
        yield kind, body, content[place:stop]
        if kind == b"IEND":
            return
        place = stop


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _profile_is_plain(body: bytes, identities: Identities) -> bool:
    """Tell whether a packed colour profile holds none of the known strings."""
    name_end = body.find(b"\0")
    unpacker = zlib.decompressobj()
    profile = unpacker.decompress(body[name_end + 2 :], MAX_PROFILE)
    return name_end >= 0 and not unpacker.unconsumed_tail and _no_identity(profile, identities)


def _no_identity(profile: bytes, identities: Identities) -> bool:
    texts = (
        profile.decode("latin-1"),
        profile.decode("utf-16-be", "replace"),
        profile[1:].decode("utf-16-be", "replace"),
    )
    return not any(identities.found_in(t) for t in texts)


def jpeg(content: bytes, *, identities: Identities) -> Cleaned:
    """Return a JPEG of its picture only; the packed pixels stay bit for bit.

    EXIF, XMP, comments, thumbnails, makers' data and whatever follows the picture go. How to turn the picture (EXIF
    Orientation), Adobe's note on colours and the colour profile stay: the picture would else look different.

    Args:
        content: A whole file.
        identities: Known strings; a colour profile in which one is found goes.

    Raises:
        DataError: Damaged.

    Source:
        ITU-T T.81, annex B; JFIF 1.02; CIPA DC-008 (EXIF), 4.5.
    """
    kept, removed = segments(content, identities)
    return Cleaned(kept, removed, text=text_in(kept))


def segments(content: bytes, identities: Identities) -> tuple[bytes, tuple[str, ...]]:
    """Return a JPEG stream without what is not its picture, and the names of what went."""
    if content[:2] != b"\xff\xd8":
        raise cannot("Not a JPEG file", "export the picture again")
    out, place = [b"\xff\xd8"], 2
    removed: list[str] = []
    while True:
        while content[place : place + 2] == b"\xff\xff":
            place += 1
        if (place + 4 > len(content) and content[place : place + 2] != b"\xff\xd9") or content[place] != 0xFF:
            raise cannot("A truncated or damaged JPEG file", "fetch it again")
        marker = content[place + 1]
        if marker == EOI:
            removed += ["bytes after the picture"] if len(content) > place + 2 else []
            return b"".join([*out, b"\xff\xd9"]), tuple(dict.fromkeys(removed))
        stop = place + 2 if marker in STANDALONE else _segment_end(content, place)
        if marker == SOS:
            stop = _scan_end(content, stop)
        if marker in APPLICATION or marker == COM or marker in range(0xF0, 0xFE):
            kept, name = _application(marker, content[place + 4 : stop], identities)
            out += [b"\xff" + bytes([marker]) + struct.pack(">H", len(kept) + 2) + kept] if kept else []
            removed += [name] if name else []
        else:
            out.append(content[place:stop])
        place = stop


def _segment_end(content: bytes, place: int) -> int:
    stop = place + 2 + int.from_bytes(content[place + 2 : place + 4], "big")
    if stop > len(content) or stop < place + 4:
        raise cannot("A truncated or damaged JPEG file", "fetch it again")
    return stop


def _scan_end(content: bytes, place: int) -> int:
    """Return where a scan's packed pixels end: at the next marker that is neither a stuffed byte nor a restart."""
    while True:
        place = content.find(b"\xff", place)
        if place < 0 or place + 1 >= len(content):
            raise cannot("A truncated JPEG file", "fetch it again")
        follower = content[place + 1]
        if follower != 0 and follower not in STANDALONE and follower != 0xFF:
            return place
        place += 1 if follower == 0xFF else 2


def _application(marker: int, body: bytes, identities: Identities) -> tuple[bytes, str]:
    """Return what stays of an application segment, and the name of what goes."""
    if marker == 0xE0 and body.startswith(b"JFIF\0") and len(body) >= 14:
        # Version, units and density stay; the thumbnail does not.
        return body[:12] + b"\0\0", "JFIF thumbnail" if any(body[12:14]) else ""
    if marker == 0xEE and body.startswith(b"Adobe") and len(body) >= 12:
        return body[:12], "Adobe, other bytes" if len(body) > 12 else ""
    if marker == 0xE2 and body.startswith(b"ICC_PROFILE\0") and _no_identity(body, identities):
        return body, ""
    if marker == 0xE1 and body.startswith(b"Exif\0\0"):
        turn = _orientation(body[6:])
        # A TIFF header and a directory with the one tag.
        tiff = b"MM\0*\0\0\0\x08\0\x01" + struct.pack(">HHIHH", ORIENTATION, 3, 1, turn, 0) + bytes(4)
        return (b"Exif\0\0" + tiff if turn > 1 else b""), "EXIF"
    names = {0xE0: "JFIF extension", 0xE1: "XMP", 0xE2: "APP2", 0xED: "Photoshop", COM: "comment"}
    return b"", names.get(marker, "application data")


def _orientation(tiff: bytes) -> int:
    """Return EXIF's way to turn the picture, 1 to 8; 1 where it says nothing that is understood."""
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None or len(tiff) < 10:
        return 1
    (place,) = struct.unpack_from(order + "I", tiff, 4)
    if place + 2 > len(tiff):
        return 1
    (n,) = struct.unpack_from(order + "H", tiff, place)
    for number in range(min(n, (len(tiff) - place - 2) // 12)):
        tag, form, _, value = struct.unpack_from(order + "HHIH", tiff, place + 2 + 12 * number)
        if tag == ORIENTATION and form == 3 and 1 <= value <= 8:
            return int(value)
    return 1


def text_in(content: bytes) -> tuple[Box, ...]:
    """Return where the pixels of a picture look like text.

    Args:
        content: A file that Pillow opens.

    Raises:
        DataError: Pillow cannot, or the picture is too large.
    """
    import io  # noqa: PLC0415 - beside Pillow, which is slow to import

    from PIL import Image, UnidentifiedImageError  # noqa: PLC0415 - slow to import

    try:
        with Image.open(io.BytesIO(content)) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                raise cannot("A picture of more than 2^28 pixels", "cut it into parts")
            mode = "L" if picture.mode in ("1", "LA") else picture.mode if picture.mode in PLAIN else "RGB"
            return find_text(np.asarray(picture if mode == picture.mode else picture.convert(mode)))
    except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise cannot("A picture that cannot be decoded", "fetch it again") from error
