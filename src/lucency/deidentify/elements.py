"""Elements as the file holds them: bytes, text in its character set, the items of a sequence."""

import re
import warnings
from collections.abc import Iterable
from functools import cache

from pydicom.charset import convert_encodings, decode_bytes
from pydicom.datadict import dictionary_VR, keyword_for_tag, private_dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.valuerep import TEXT_VR_DELIMS

from lucency.deidentify import actions, dates

CHARSET = 0x00080005
#: How the strings of a patient may be spelled in bytes.
SPELLED_AS = ("utf-8", "latin-1", "gb18030", "utf-16-le")


@cache
def private_vr(creator: str, tag: int) -> str:
    """Return the representation of a private element by the makers' dictionaries; ``UN`` if they lack it."""
    try:
        return str(private_dictionary_VR(tag, creator))
    except KeyError:
        return "UN"


def raw_of(dataset: Dataset, tag: int) -> tuple[bytes, str]:
    """Return the bytes of an element and the representation it was written with (empty if implicit)."""
    element = dataset._dict[tag]
    if isinstance(element, RawDataElement):
        return element.value or b"", element.VR or ""
    value = element.value
    if isinstance(value, bytes):
        return value, element.VR
    if value is None:
        return b"", element.VR
    several = [value] if isinstance(value, str) or not hasattr(value, "__iter__") else value
    return "\\".join(map(str, several)).encode("utf-8", "replace"), element.VR


def text_of(dataset: Dataset, tag: int, codecs: list[str]) -> str:
    """Return the text of an element, decoded."""
    element = dataset._dict[tag]
    if not isinstance(element, RawDataElement):
        return raw_of(dataset, tag)[0].decode("utf-8")
    value = element.value or b""
    if value.isascii() and b"\x1b" not in value:
        return str(value.decode("ascii")).rstrip(" \0")
    return str(decode_bytes(value, codecs, TEXT_VR_DELIMS if dictionary_VR(tag) != "PN" else {0x5E, 0x3D})).rstrip(
        " \0"
    )


def codecs_of(dataset: Dataset, inherited: list[str]) -> list[str]:
    """Return Python's names of a dataset's character sets; UTF-8 for one that does not exist."""
    if CHARSET not in dataset._dict:
        return inherited
    value = [v.strip(" \0") for v in raw_of(dataset, CHARSET)[0].decode("ascii", "replace").split("\\")]
    return _encodings(tuple(value))


@cache
def _encodings(names: tuple[str, ...]) -> list[str]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            return [str(c) for c in convert_encodings(list(names))]
        except (UserWarning, LookupError, ValueError):
            return ["utf8"]


def sequence(tag: int, items: Iterable[Dataset]) -> DataElement:
    """Return a sequence element."""
    return DataElement(tag, "SQ", items if isinstance(items, Sequence) else Sequence(list(items)))


def time_beside(dataset: Dataset, tag: int) -> str:
    """Return the time that goes with a date by its name: Study Time with Study Date."""
    other = _time_of(tag)
    return raw_of(dataset, other)[0].decode("ascii", "replace").split("\\")[0] if other in dataset._dict else ""


@cache
def _time_of(tag: int) -> int:
    return tag_for_keyword(keyword_for_tag(tag).replace("Date", "Time")) or 0


def is_valid(vr: str, value: str) -> bool:
    """Tell whether a single value of a date, time or UID is what its representation says."""
    if vr == "UI":
        return re.fullmatch(r"[0-9.]{1,64}", value.strip(" \0")) is not None
    return dates.is_valid(vr, value)


def is_public(item: Dataset) -> bool:
    """Tell whether an item is a code of a public terminology, or no code at all."""
    scheme = str(item.get("CodingSchemeDesignator", "") or "")
    return scheme in actions.PUBLIC_SCHEMES or not any(
        k in item for k in ("CodeValue", "LongCodeValue", "URNCodeValue")
    )


def silence(item: Dataset) -> None:
    """Replace every text that is left in an item by a dummy; numbers and UIDs say nothing by themselves."""
    for element in list(item):
        if element.VR == "SQ":
            if element.keyword.endswith("CodeSequence") and len(element.value):
                item[element.tag] = sequence(element.tag, [actions.removed_code()])
            else:
                for inner in element.value:
                    silence(inner)
        elif element.VR in actions.TEXT and not element.is_empty and element.tag != CHARSET:
            item[element.tag].value = actions.dummy(element.VR, element.keyword).decode()
