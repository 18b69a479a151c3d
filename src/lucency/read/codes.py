"""What drawn structures and measurements are called, so that the same thing has one name in a whole cohort."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

_STORAGE = "1.2.840.10008.5.1.4.1.1."

#: Storage class of objects drawn on images (PS3.4, B.5) to the file of this package that reads them.
READERS = {
    _STORAGE + "66.4": "dicom_seg",
    _STORAGE + "66.7": "dicom_seg",
    _STORAGE + "481.3": "rtstruct",
    **dict.fromkeys((_STORAGE + f"88.{n}" for n in (11, 22, 33, 34, 35)), "dicom_sr"),
}

#: Names that tools give when nobody said one; then the coded type speaks.
NAMELESS = re.compile(
    r"(segment(ation)?|label|roi|region|structure|contour|unnamed|untitled)?[ _\-#]*\d*", re.IGNORECASE
)


def key_of(name: str) -> str:
    """Return what two spellings of a name have in common.

    Example:
        >>> key_of("Lung_Left ") == key_of("lung left"), key_of("GTV-1") == key_of("GTV-2")
        (True, False)
    """
    return " ".join(re.split(r"[\s_\-./^]+", name.casefold())).strip()


def segment_name(segment: Mapping[str, Any]) -> str:
    """Return the name of a segment from its header: its label, or its coded type where the label says nothing.

    Args:
        segment: Of ``SegmentSequence`` in a head.

    Source:
        DICOM PS3.3, C.8.20.4 Segment Description Macro.
    """
    label = _one(segment.get("SegmentLabel"))
    if label and not NAMELESS.fullmatch(label):
        return label
    meaning = _one(segment.get("SegmentedPropertyTypeCodeSequence", {}).get("CodeMeaning"))
    return meaning or label or f"segment {segment.get('SegmentNumber', '')}"


def _one(value: Any) -> str:
    """Return one text; a backslash in a name makes several values of it (PS3.5, 6.4)."""
    return (" ".join(map(str, value)) if isinstance(value, list) else str(value or "")).strip()


def agreed(names: Iterable[str]) -> dict[str, str]:
    """Return the key of every name to the spelling used most; the first in the alphabet of equals.

    Example:
        >>> agreed(["Liver", "liver", "Liver", "Spleen"])
        {'liver': 'Liver', 'spleen': 'Spleen'}
    """
    spellings: dict[str, Counter[str]] = {}
    for name in names:
        spellings.setdefault(key_of(name), Counter())[name] += 1
    return {k: min(c, key=lambda n: (-c[n], n)) for k, c in sorted(spellings.items())}


def wanted(asked: str, names: Mapping[str, str]) -> dict[str, str]:
    """Return the names that a user asks for: one, or several with commas between them.

    Args:
        asked: As ``--target`` takes it.
        names: Key to spelling, from :func:`agreed`.

    Returns:
        The chosen part of ``names``; empty where one of the names is not there.
    """
    if key_of(asked) in names:
        return {key_of(asked): names[key_of(asked)]}
    pieces = [key_of(p) for p in asked.split(",")]
    return {p: names[p] for p in sorted(pieces)} if all(p in names for p in pieces) else {}
