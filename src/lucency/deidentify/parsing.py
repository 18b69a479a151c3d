"""Headers of straightforward files, parsed in a fraction of pydicom's time; every other file is left to pydicom.

Straightforward is a file with its preamble, in explicit little endian, whose elements follow one another as the
standard asks. The result is what pydicom gives, element by element. The second look at the output does not use this
module: what it might get wrong would be seen there.

Source:
    DICOM PS3.5, 7.1.2 Data Element Structure with Explicit VR; PS3.10, 7.1 File Meta Information.
"""

import io
import struct
from functools import cache

from pydicom.charset import convert_encodings, default_encoding
from pydicom.dataelem import DataElement, RawDataElement, empty_value_for_VR
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.filereader import data_element_generator
from pydicom.tag import BaseTag
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian
from pydicom.values import convert_string

#: (0008,0005) Specific Character Set, (0002,0000) File Meta Information Group Length, (0002,0010) Transfer Syntax UID.
CHARSET, META_LENGTH, SYNTAX = 0x00080005, 0x00020000, 0x00020010
#: (7FE0,0008), (7FE0,0009) and (7FE0,0010): where a pass over headers stops.
PIXELS = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})
#: Representations with 2 and with 4 bytes of length (PS3.5, 7.1.2).
_SHORT = ["AE", "AS", "AT", "CS", "DA", "DS", "DT", "FD", "FL", "IS", "LO"]
_SHORT += ["LT", "PN", "SH", "SL", "SS", "ST", "TM", "UI", "UL", "US"]
_LONG = ("OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV")
SHORT, LONG = {vr.encode(): vr for vr in _SHORT}, {vr.encode(): vr for vr in _LONG}
UNDEFINED = 0xFFFFFFFF
#: Groups of commands and of delimiters: no dataset begins an element with them.
NO_DATA = frozenset({0x0000, 0xFFFE})
#: A file begins with its meta information behind 132 bytes; its group length takes 12.
META, META_LENGTH_BYTES = 132, 12
_FIRST, _LENGTH = struct.Struct("<HH2sH").unpack_from, struct.Struct("<L").unpack_from

_Elements = dict[BaseTag, DataElement | RawDataElement]


def parsed(content: bytes, *, pixels: bool, whole: bool = True) -> FileDataset | None:
    """Return the dataset of a straightforward file, or None where pydicom has to see to it.

    Args:
        content: The file, or its beginning.
        pixels: Whether to go on to the end; otherwise what stands before the pixels is returned.
        whole: Whether it is all of the file. If not, and the pixels do not begin within it, None is returned.
    """
    if content[128:132] != b"DICM":
        return None
    try:
        end = _meta_end(content)
        meta = FileMetaDataset(_elements(content, META, end, frozenset())[0])
        meta.set_original_encoding(False, True, default_encoding)
        if not is_explicit_little(str(meta[SYNTAX].value)):
            return None
        elements, codecs, stopped = _elements(content, end, len(content), frozenset() if pixels else PIXELS)
    except (_UncommonError, struct.error, KeyError, ValueError):
        return None
    if not whole and not stopped:
        return None
    dataset = FileDataset(io.BytesIO(), elements, content[:128], meta, False, True)
    dataset.set_original_encoding(False, True, codecs)
    return dataset


@cache
def _tag(tag: int) -> BaseTag:
    return BaseTag(tag)


class _UncommonError(Exception):
    """Something that is left to pydicom."""


def _meta_end(content: bytes) -> int:
    """Return where the file meta information ends by its group length."""
    group, element, vr, n = _FIRST(content, META)
    if (group << 16 | element, vr, n) != (META_LENGTH, b"UL", 4):
        raise _UncommonError
    end = META + META_LENGTH_BYTES + int(_LENGTH(content, META + 8)[0])
    # What follows must be the dataset, and the group must end where it says.
    if end + 8 > len(content) or content[end : end + 2] == b"\2\0":
        raise _UncommonError
    return end


@cache
def is_explicit_little(syntax: str) -> bool:
    """Tell whether a transfer syntax of the standard writes elements in explicit little endian, undeflated."""
    known = UID(syntax)
    plain = known.is_transfer_syntax and not known.is_implicit_VR and known.is_little_endian
    return bool(plain and not known.is_private and known != DeflatedExplicitVRLittleEndian)


def _elements(content: bytes, place: int, end: int, stop: frozenset[int]) -> tuple[_Elements, str | list[str], bool]:
    """Return the elements between two places, how their text is written, and whether a tag stopped it."""
    is_meta = place == META
    out: _Elements = {}
    codecs: str | list[str] = default_encoding
    while place < end:
        group, number, kind, n = _FIRST(content, place)
        tag, start = group << 16 | number, place + 8
        vr = SHORT.get(kind)
        if vr is None:
            vr = LONG.get(kind)
            if vr is None or n:
                raise _UncommonError
            (n,), start = _LENGTH(content, start), place + 12
        if tag in stop:
            return out, codecs, True
        if (group == 2) != is_meta or group in NO_DATA:
            raise _UncommonError
        key = _tag(tag)
        if n == UNDEFINED:
            out[key], place = _undefined(content, place, codecs)
            continue
        place = start + n
        if place > end:
            raise _UncommonError
        value = content[start:place] if n else empty_value_for_VR(vr, raw=True)
        out[key] = RawDataElement(key, vr, n, value, start, False, True)
        if tag == CHARSET:
            codecs = convert_encodings(convert_string(value or b"", True))
    return out, codecs, False


def _undefined(content: bytes, place: int, codecs: str | list[str]) -> tuple[DataElement | RawDataElement, int]:
    """Return an element of undefined length by way of pydicom, and where the next one begins."""
    stream = io.BytesIO(content)
    stream.seek(place)
    try:
        element = next(data_element_generator(stream, False, True, encoding=codecs))
    except (Exception, RecursionError) as error:  # pydicom says better what is wrong with the whole file
        raise _UncommonError from error
    return element, stream.tell()
