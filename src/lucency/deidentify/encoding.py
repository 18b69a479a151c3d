"""A dataset as the bytes of a file: elements that nobody changed are copied, all others are left to pydicom.

Source:
    DICOM PS3.5, 7.1.2 and 7.5; PS3.10, 7.1 DICOM File Meta Information.
"""

import io
import struct
from functools import lru_cache
from typing import Any

import pydicom
from pydicom.charset import default_encoding
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_data_element, write_dataset
from pydicom.tag import BaseTag
from pydicom.uid import UID

from lucency.deidentify.parsing import CHARSET, LONG, META_LENGTH, SHORT, UNDEFINED, is_explicit_little

PIXEL_DATA = 0x7FE00010
#: Item, its end, and the end of a sequence (PS3.5, 7.5), each with a length.
ITEM, ITEM_END, SEQUENCE_END = b"\xfe\xff\x00\xe0", b"\xfe\xff\x0d\xe0\0\0\0\0", b"\xfe\xff\xdd\xe0\0\0\0\0"
#: What file meta information must have for the file to be one (PS3.10, 7.1).
NEEDED = (0x00020001, 0x00020002, 0x00020003, 0x00020010, 0x00020012, 0x00020013)
#: Most bytes of a value with 2 bytes of length.
LONGEST_SHORT = 0xFFFF
_BY_NAME = {**{v: (k, False) for k, v in SHORT.items()}, **{v: (k, True) for k, v in LONG.items()}}
_SHORT, _LONG, _LENGTH = struct.Struct("<HH2sH").pack, struct.Struct("<HH2sxxL").pack, struct.Struct("<L").pack


def written(dataset: Dataset) -> bytes:
    """Return the bytes of a DICOM file with a preamble of zeros.

    Args:
        dataset: With its file meta information.

    Raises:
        Exception: Whatever pydicom raises of a dataset that cannot be written.
    """
    dataset.preamble = bytes(128)
    meta = dataset.file_meta
    if not meta.TransferSyntaxUID.is_implicit_VR:
        _with_representations(dataset)
    as_read = dataset.original_encoding == (False, True) and is_explicit_little(str(meta.TransferSyntaxUID))
    known = all(t in meta._dict and meta._dict[t].value for t in NEEDED)
    if as_read and known and _fits(dataset, compressed=meta.TransferSyntaxUID.is_compressed):
        parts = _meta(meta)
        _dataset(dataset, default_encoding, parts)
        return b"".join([bytes(128), b"DICM", *parts])
    stream = io.BytesIO()
    pydicom.dcmwrite(stream, dataset, enforce_file_format=True)
    return stream.getvalue()


def _with_representations(dataset: Dataset) -> None:
    """Parse elements that came without a representation, where the syntax that the file names wants one."""
    for tag in [t for t, e in dataset._dict.items() if isinstance(e, RawDataElement) and e.VR is None]:
        element = dataset[tag]
        for item in element.value if element.VR == "SQ" else ():
            _with_representations(item)


def _fits(dataset: Dataset, *, compressed: bool) -> bool:
    """Have pixels parsed whose length does not fit their syntax, and tell whether they can be written here."""
    raw = dataset._dict.get(PIXEL_DATA)
    if raw is None:
        return True
    even = isinstance(raw, RawDataElement) and len(raw.value or b"") % 2 == 0 and raw.VR in _BY_NAME
    if not even or (raw.length == UNDEFINED) != compressed:
        dataset[PIXEL_DATA].is_undefined_length = compressed
    return dataset._dict[PIXEL_DATA].VR in _BY_NAME


def _meta(meta: FileMetaDataset) -> list[bytes]:
    parts: list[bytes] = []
    for tag in sorted(meta._dict, key=int):
        if tag != META_LENGTH:
            _element(meta, tag, default_encoding, parts)
    return [_SHORT(2, 0, b"UL", 4), _LENGTH(sum(map(len, parts))), *parts]


def _dataset(dataset: Dataset, inherited: Any, parts: list[bytes]) -> None:
    """Add the bytes of a dataset's elements, in the order of their tags."""
    if not _is_as_read(dataset):
        stream = _stream()
        write_dataset(stream, dataset, inherited)
        parts.append(stream.getvalue())
        return
    codecs = dataset.get("SpecificCharacterSet", inherited) if CHARSET in dataset._dict else inherited
    for tag in sorted(dataset._dict, key=int):
        # Group lengths are retired (PS3.5, 7.2).
        if tag & 0xFFFF or tag >> 16 <= 6:
            _element(dataset, tag, codecs, parts)


def _element(dataset: Dataset, tag: BaseTag, codecs: Any, parts: list[bytes]) -> None:
    element = dataset._dict[tag]
    if isinstance(element, RawDataElement) and element.value is None:
        element = dataset[tag]
    if isinstance(element, RawDataElement):
        _raw(element, codecs, parts)
    elif element.VR == "SQ":
        _sequence(element, codecs, parts)
    else:
        parts.append(_encoded(element, codecs))


def _is_as_read(dataset: Dataset) -> bool:
    """Tell whether raw elements can be copied: byte order and character set are those of the file to be."""
    if dataset.original_encoding != (False, True):
        # What was made here holds no raw elements.
        return not any(isinstance(e, RawDataElement) for e in dataset._dict.values())
    now = dataset._character_set if CHARSET in dataset._dict else dataset._parent_encoding
    return bool(dataset.original_character_set == now)


def _raw(element: RawDataElement, codecs: Any, parts: list[bytes]) -> None:
    value, (vr, is_long) = element.value, _BY_NAME.get(element.VR or "", (b"", False))
    plain = vr and isinstance(value, bytes) and element.length != UNDEFINED
    if not plain or (not is_long and len(value) > LONGEST_SHORT):
        parts.append(_by_pydicom(element, codecs))
        return
    tag = element.tag
    parts.append((_LONG if is_long else _SHORT)(tag >> 16, tag & 0xFFFF, vr, len(value)))
    parts.append(value)


def _sequence(element: DataElement, codecs: Any, parts: list[bytes]) -> None:
    inside: list[bytes] = []
    for item in element.value or ():
        held: list[bytes] = []
        _dataset(item, codecs, held)
        endless = getattr(item, "is_undefined_length_sequence_item", False)
        inside += [ITEM, _LENGTH(UNDEFINED if endless else sum(map(len, held))), *held]
        if endless:
            inside.append(ITEM_END)
    tag, endless = element.tag, element.is_undefined_length
    n = UNDEFINED if endless else sum(map(len, inside))
    parts += [_LONG(tag >> 16, tag & 0xFFFF, b"SQ", n), *inside]
    if endless:
        parts.append(SEQUENCE_END)


def _encoded(element: DataElement, codecs: Any) -> bytes:
    """Return the bytes of a parsed element; those of short words are kept, for most come again in every file."""
    value = element.value
    if isinstance(value, UID) or (isinstance(value, str) and value.isascii() and element.VR in {"LO", "SH", "CS"}):
        return _word(int(element.tag), str(element.VR), str(value))
    return _by_pydicom(element, codecs)


@lru_cache(maxsize=4096)
def _word(tag: int, vr: str, value: str) -> bytes:
    return _by_pydicom(DataElement(tag, vr, value), default_encoding)


def _by_pydicom(element: DataElement | RawDataElement, codecs: Any) -> bytes:
    stream = _stream()
    write_data_element(stream, element, codecs)
    return bytes(stream.getvalue())


def _stream() -> DicomBytesIO:
    stream = DicomBytesIO()
    stream.is_little_endian, stream.is_implicit_VR = True, False
    return stream
