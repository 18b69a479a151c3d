"""TIFF: written anew with the tags that the pixels need; packed strips and tiles are copied bit for bit."""

import struct
from dataclasses import dataclass, field

from lucency.deidentify.cleaning import UNSEARCHED, Cleaned, cannot
from lucency.deidentify.keys import Identities
from lucency.deidentify.pictures import segments, text_in

#: Tags of the grid, the packing and the colours (TIFF 6.0, sections 2 to 23; Supplement 2; EXIF has no place here).
KEPT = frozenset(
    [
        254,
        255,
        256,
        257,
        258,
        259,
        262,
        263,
        264,
        265,
        266,
        274,
        277,
        278,
        280,
        281,
        282,
        283,
        284,
        292,
        293,
        296,
        301,
        317,
        318,
        319,
        320,
        322,
        323,
        338,
        339,
        340,
        341,
        347,
        529,
        530,
        531,
        532,
        34675,
    ]
)
#: Places and lengths of strips and of tiles.
STRIPS, TILES = (273, 279), (324, 325)
#: Bytes of a value by type (TIFF 6.0, section 2; BigTIFF).
BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
TEXT, COMPRESSION, JPEG, OLD_JPEG, TABLES, WIDTH, HEIGHT, PROFILE = 2, 259, 7, 6, 347, 256, 257, 34675
#: Pages in one file; a file with more is a loop.
MAX_PAGES = 100_000


@dataclass
class _Page:
    """One directory: tag to (type, count, bytes of the values); and its strips or tiles."""

    tags: dict[int, tuple[int, int, bytes]] = field(default_factory=dict)
    blocks: list[bytes] = field(default_factory=list)


@dataclass(frozen=True)
class _Form:
    """Byte order and the widths of classic TIFF or BigTIFF."""

    order: str
    big: bool

    def offset(self, content: bytes, place: int) -> int:
        return int(struct.unpack_from(self.order + ("Q" if self.big else "I"), content, place)[0])

    def numbers(self, kind: int, body: bytes) -> list[int]:
        letter = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}.get(kind)
        if letter is None:
            raise cannot("A TIFF file with a tag of a wrong type", "save it again")
        return list(struct.unpack(f"{self.order}{len(body) // BYTES[kind]}{letter}", body))


def cleaned(content: bytes, *, identities: Identities) -> Cleaned:
    """Return a TIFF with the tags of its pixels only.

    Args:
        content: A whole file.
        identities: Known strings; a colour profile in which one is found goes.

    Raises:
        DataError: Damaged; packed as JPEG of the old kind; or pages of several sizes, as whole-slide scanners write
            them: one is a photograph of the slide's label.

    Source:
        TIFF revision 6.0; BigTIFF (libtiff).
    """
    order = {b"II": "<", b"MM": ">"}.get(content[:2])
    if order is None or len(content) < 16:
        raise cannot("Not a TIFF file", "export the picture again")
    (version,) = struct.unpack_from(order + "H", content, 2)
    if version not in (42, 43):
        raise cannot("Not a TIFF file", "export the picture again")
    form = _Form(order, version == 43)
    pages, removed = _pages(content, form, identities)
    sizes = {(p.tags.get(WIDTH, (0, 0, b""))[2], p.tags.get(HEIGHT, (0, 0, b""))[2]) for p in pages}
    if len(sizes) > 1:
        raise cannot(
            "A TIFF file with pages of several sizes, of which one may be a photograph of a label",
            "export the level you need as a picture by itself",
        )
    out = _assembled(pages, form)
    remarks = ["Names of axes and channels in the description are gone."] if "ImageDescription" in removed else []
    searched = _pillow_can(pages, form)
    remarks += [] if searched else [UNSEARCHED]
    return Cleaned(out, removed, tuple(remarks), text_in(out) if searched else ())


def _pages(content: bytes, form: _Form, identities: Identities) -> tuple[list[_Page], tuple[str, ...]]:
    place = form.offset(content, 8 if form.big else 4)
    pages: list[_Page] = []
    removed: dict[str, None] = {}
    entry, head, inner = (20, 8, 8) if form.big else (12, 2, 4)
    while place:
        if len(pages) >= MAX_PAGES:
            raise cannot("A TIFF file whose pages form a loop", "save it again")
        (n,) = struct.unpack_from(form.order + ("Q" if form.big else "H"), content, place)
        if place + head + n * entry > len(content):
            raise cannot("A truncated TIFF file", "fetch it again")
        page, places = _Page(), {}
        for number in range(n):
            at = place + head + number * entry
            tag, kind = struct.unpack_from(form.order + "HH", content, at)
            count = form.offset(content, at + 4)
            length = BYTES.get(kind, 0) * count
            start = at + 4 + inner if length <= inner else form.offset(content, at + 4 + inner)
            body = content[start : start + length]
            if tag in (*STRIPS, *TILES):
                places[tag] = form.numbers(kind, body)
            elif tag in KEPT and kind != TEXT and len(body) == length and length and _safe(tag, body, identities):
                page.tags[tag] = (kind, count, body)
            else:
                removed[{270: "ImageDescription", 330: "SubIFDs", 306: "DateTime"}.get(tag, "other tags")] = None
        _blocks(content, page, places, identities, form)
        pages.append(page)
        place = form.offset(content, place + head + n * entry)
    return pages, tuple(removed)


def _safe(tag: int, body: bytes, identities: Identities) -> bool:
    return tag != PROFILE or not identities.found_in(body.decode("latin-1"))


def _blocks(content: bytes, page: _Page, places: dict[int, list[int]], identities: Identities, form: _Form) -> None:
    """Take the strips or tiles; those packed as JPEG lose their comments."""
    packing = form.numbers(*_kind_and_body(page, COMPRESSION))[0] if COMPRESSION in page.tags else 1
    pair = next((p for p in (TILES, STRIPS) if set(p) <= set(places)), None)
    if pair is None or packing == OLD_JPEG:
        raise cannot("A TIFF file without strips or tiles, or packed as JPEG of the old kind", "save it again")
    for start, length in zip(places[pair[0]], places[pair[1]], strict=True):
        block = content[start : start + length]
        if len(block) < length:
            raise cannot("A truncated TIFF file", "fetch it again")
        page.blocks.append(segments(block, identities)[0] if packing == JPEG and block else block)
    if packing == JPEG and TABLES in page.tags:
        kind, _, body = page.tags[TABLES]
        tables = segments(body, identities)[0]
        page.tags[TABLES] = (kind, len(tables), tables)
    page.tags[pair[0]] = page.tags[pair[1]] = (0, len(page.blocks), b"")


def _kind_and_body(page: _Page, tag: int) -> tuple[int, bytes]:
    kind, _, body = page.tags[tag]
    return kind, body


def _assembled(pages: list[_Page], form: _Form) -> bytes:
    """Lay blocks, values and directories out anew, in the byte order they came in."""
    wide, entry_code, inner = ("Q", "HHQ", 8) if form.big else ("I", "HHI", 4)
    start = {"<": b"II", ">": b"MM"}[form.order]
    out = bytearray(start + struct.pack(form.order + "H", 43 if form.big else 42))
    out += struct.pack(form.order + "HHQ", 8, 0, 0) if form.big else bytes(4)
    link = 8 if form.big else 4
    for page in pages:
        offsets = []
        for block in page.blocks:
            offsets.append(len(out))
            out += block + bytes(len(block) % 2)
        lengths = [len(b) for b in page.blocks]
        rows = []
        for tag in sorted(page.tags):
            kind, count, body = page.tags[tag]
            if kind == 0:
                numbers = offsets if tag in (STRIPS[0], TILES[0]) else lengths
                kind, body = (16 if form.big else 4), struct.pack(f"{form.order}{count}{wide}", *numbers)
            if len(body) > inner:
                value = struct.pack(form.order + wide, len(out))
                out += body + bytes(len(body) % 2)
            else:
                value = body.ljust(inner, b"\0")
            rows.append(struct.pack(form.order + entry_code, tag, kind, count) + value)
        if len(out) >= 1 << 32 and not form.big:
            raise cannot("A TIFF file of more than 4 GiB", "save it as BigTIFF")
        struct.pack_into(form.order + wide, out, link, len(out))
        out += struct.pack(form.order + ("Q" if form.big else "H"), len(rows)) + b"".join(rows)
        link = len(out)
        out += struct.pack(form.order + wide, 0)
    return bytes(out)


def _pillow_can(pages: list[_Page], form: _Form) -> bool:
    """Tell whether Pillow decodes the file: few samples and a packing that is in every build of it."""
    if len(pages) != 1 or not pages:
        return False
    packing = form.numbers(*_kind_and_body(pages[0], COMPRESSION))[0] if COMPRESSION in pages[0].tags else 1
    samples = form.numbers(*_kind_and_body(pages[0], 277))[0] if 277 in pages[0].tags else 1
    return packing in (1, 5, 7, 8, 32773, 32946) and samples in (1, 3, 4)
