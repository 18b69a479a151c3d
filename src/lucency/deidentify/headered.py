"""NRRD and MetaImage: only fields that describe the grid stay in the text header; the voxels stay bit for bit."""

import re
import zlib

from lucency.deidentify.cleaning import HEAD, UNSEARCHED, Cleaned, cannot

#: Fields of NRRD that describe the array and hold no free text (teem's format definition, sections 4 to 7).
_NRRD = (
    "type;dimension;block size;encoding;endian;byte skip;line skip;sizes;spacings;thicknesses;axis mins;"
    "axis maxs;centers;centerings;kinds;space;space dimension;space units;space origin;space directions;"
    "measurement frame;units;old min;old max;min;max"
)
NRRD = frozenset(_NRRD.split(";"))
#: The formats' own words: types, encodings, spaces, kinds, centrings, units. No other word stays.
_WORDS = (
    "int8 uint8 int16 uint16 int32 uint32 int64 uint64 signed unsigned char uchar short ushort int uint long "
    "longlong ulonglong float double block int8_t uint8_t int16_t uint16_t int32_t uint32_t int64_t uint64_t "
    "raw txt text ascii hex gzip gz little big right left anterior posterior superior inferior time ras las "
    "lps rast last lpst scanner xyz 3d handed domain space list point vector covariant normal stub scalar "
    "complex 2 color rgb hsv xyz-color rgba 4 3 gradient quaternion matrix symmetric masked cell node none nan "
    "inf ??? mm cm m um s ms sec image local true false met_char met_uchar met_short met_ushort met_int "
    "met_uint met_long met_ulong met_long_long met_ulong_long met_float met_double ras lps rai lpi lai lsa rsa "
    "asr asl pir pil air ail rpi lip unknown"
)
WORDS = frozenset(_WORDS.split())
_META = (
    "objecttype ndims binarydata binarydatabyteordermsb elementbyteordermsb compresseddata compresseddatasize "
    "transformmatrix rotation offset position origin orientation centerofrotation anatomicalorientation "
    "elementspacing elementsize dimsize elementnumberofchannels elementtype elementmin elementmax "
    "elementdatafile"
)
META = frozenset(_META.split())


def nrrd(content: bytes) -> Cleaned:
    """Return an NRRD file without comments, keys of its own, the content line and other text.

    Args:
        content: A whole file with its voxels in it.

    Raises:
        DataError: Not NRRD, or its voxels lie in another file.

    Source:
        Definition of the NRRD file format, teem.sourceforge.net/nrrd/format.html.
    """
    end = re.search(rb"\r?\n\r?\n", content)
    if not content.startswith(b"NRRD000") or end is None:
        raise cannot("Not an NRRD file with its voxels in it", "convert it to one .nrrd file")
    lines = content[: end.start()].decode("latin-1").splitlines()
    kept, removed = [lines[0][:8]], []
    fields: dict[str, str] = {}
    for line in lines[1:]:
        field, colon, value = line.partition(":")
        field, value = field.strip().lower(), value.strip()
        if line.startswith("#") or value.startswith("=") or not colon:
            removed.append("comments and keys")
        elif field in ("data file", "datafile"):
            raise cannot("An NRRD header whose voxels lie in another file", "convert it to one .nrrd file")
        elif field in NRRD and _harmless(value):
            kept.append(f"{field}: {value}")
            fields[field] = value
        else:
            removed.append(field if field in ("content", "labels", "sample units", "number") else "other fields")
    voxels = content[end.end() :]
    if fields.get("encoding", "").lower() in ("gzip", "gz"):
        voxels = _without_gzip_header(voxels)
    elif fields.get("encoding", "").lower() in ("bzip2", "bz2"):
        raise cannot("An NRRD file packed with bzip2", "save it raw or with gzip")
    if "line skip" in fields or "byte skip" in fields:
        raise cannot("An NRRD file that skips bytes before its voxels", "save it without")
    body = "\n".join(kept).encode("ascii") + b"\n\n"
    return Cleaned(body + voxels, tuple(dict.fromkeys(removed)), (HEAD, UNSEARCHED))


def metaimage(content: bytes) -> Cleaned:
    """Return a MetaImage without comments and fields of other programs.

    Args:
        content: A whole .mha file with its voxels in it.

    Raises:
        DataError: Not MetaImage, or its voxels lie in another file.

    Source:
        ITK, MetaIO documentation.
    """
    end = re.search(rb"(?m)^ElementDataFile[ \t]*=[ \t]*(.*?)[ \t]*\r?\n", content[: 1 << 20])
    if end is None or end[1] != b"LOCAL":
        raise cannot("A MetaImage whose voxels lie in another file", "convert it to one .mha file")
    kept, removed = [], []
    for line in content[: end.end()].decode("latin-1").splitlines():
        field, _, value = line.partition("=")
        name = field.strip().lower()
        if name == "headersize" and value.strip() not in ("0", "-1"):
            raise cannot("A MetaImage that skips bytes before its voxels", "save it without")
        if name in META and _harmless(value):
            kept.append(f"{field.strip()} = {value.strip()}")
        elif field.strip():
            removed.append("Comment" if name == "comment" else "other fields")
    # Nothing may come after the line that says where the voxels are.
    body = "\n".join(kept).encode("ascii") + b"\n"
    return Cleaned(body + content[end.end() :], tuple(dict.fromkeys(removed)), (HEAD, UNSEARCHED))


def _harmless(value: str) -> bool:
    """Tell whether a value is made of numbers and of the formats' own words. A long whole number is no size."""
    pieces = [p for p in re.split(r"[\s,()\"]+", value.lower()) if p]
    return all(p in WORDS or _number(p) or all(q in WORDS for q in p.split("-")) for p in pieces)


def _number(piece: str) -> bool:
    return re.fullmatch(r"[+-]?(\d{1,7}|\d*\.\d*)(e[+-]?\d{1,3})?", piece) is not None


def _without_gzip_header(stream: bytes) -> bytes:
    """Return a gzip stream whose header holds neither name, comment nor time; the packed bytes stay."""
    if len(stream) < 18 or stream[:3] != b"\x1f\x8b\x08":
        raise cannot("Voxels that are not packed as the header says", "export the image again")
    flags, place = stream[3], 10
    if flags & 4:
        place += 2 + int.from_bytes(stream[place : place + 2], "little")
    for bit in (8, 16):
        if flags & bit:
            place = stream.index(b"\0", place) + 1
    if flags & 2:
        place += 2
    unpacker = zlib.decompressobj(-15)
    block, left = stream[place:], 1
    while left and not unpacker.eof:
        unpacker.decompress(block, 1 << 24)
        block = unpacker.unconsumed_tail
        left = len(block)
    if not unpacker.eof:
        raise cannot("Truncated voxels", "fetch the file again")
    stop = len(stream) - len(unpacker.unused_data) + 8
    return b"\x1f\x8b\x08\0\0\0\0\0\0\xff" + stream[place:stop]
