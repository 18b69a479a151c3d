"""Queries of a DICOMweb server: known keywords only, and every answer compared again with what was asked."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from lucency.errors import OutputError, UsageError
from lucency.read.keywords import attribute_of, nearest

#: Characters that stand for others (DICOM PS3.4, C.2.2.2.4).
WILD = "*?"
#: Value representations in which they do not (same clause), and those that know ranges (C.2.2.2.5).
NEVER_WILD = ("DA", "DT", "TM", "UI", "IS", "DS", "US", "UL", "SS", "SL", "FD", "FL")
RANGES = ("DA", "TM", "DT")


@dataclass(frozen=True)
class Asked:
    """One attribute of a query.

    Args:
        keyword: As the dictionary spells it.
        tag: Eight hexadecimal digits, as DICOM JSON has them.
        vr: Value representation.
        value: What is asked for.
    """

    keyword: str
    tag: str
    vr: str
    value: str

    def agrees(self, row: Any) -> bool | None:
        """Tell whether an answer has the value; None where it does not name the attribute at all."""
        from lucency.apps.dicomweb import values  # noqa: PLC0415 - its libraries are not needed for --help

        if not isinstance(row, dict) or self.tag not in row:
            return None
        return any(self._is(text) for value in values(row, self.tag) for text in _texts(value))

    def _is(self, said: str) -> bool:
        if self.vr == "UI":
            # A list of UIDs asks for any of them (PS3.4, C.2.2.2.2; PS3.18, 8.3.4.1 writes commas).
            return said in re.split(r"[\\,]", self.value)
        if self.vr in RANGES and "-" in self.value:
            return _within(said, self.value)
        asked = self.value
        if self.vr == "PN":
            # Names may be compared without regard to case (C.2.2.2.1); empty components at the end say nothing.
            said, asked = said.casefold().rstrip("^="), asked.casefold().rstrip("^=")
        return said == asked if self.vr in NEVER_WILD else matches(said, asked)


def asked_of(query: Mapping[str, str]) -> tuple[Asked, ...]:
    """Return the attributes of a query under the names that the DICOM dictionary has for them.

    Servers pay no heed to a key that they do not know, and answer with their whole archive.

    Args:
        query: Keyword (in any case) or tag of eight hexadecimal digits, to value.

    Raises:
        UsageError: No such keyword, one named twice, or one of a kind that cannot be asked for.

    Example:
        >>> [a.keyword for a in asked_of({"patientid": "1", "00080060": "CT"})]
        ['PatientID', 'Modality']
    """
    found: dict[str, Asked] = {}
    for key, value in query.items():
        known = attribute_of(key)
        if known is None:
            near = nearest(key)
            raise UsageError(
                f"No DICOM attribute {key!r}",
                expected="a keyword of the DICOM dictionary, as PatientID",
                where="--query",
                remedy=f"did you mean {near}?" if near else "check the spelling",
            )
        keyword, tag, vr = known
        if keyword in found:
            raise UsageError(f"{keyword} is named twice", expected="every attribute once", where="--query")
        if vr in ("SQ", "UN", "OB", "OW", "AT"):
            raise UsageError(f"{keyword} holds no value that can be asked for", expected="text", where="--query")
        found[keyword] = Asked(keyword, f"{tag:08X}", vr, value.strip())
    return tuple(found.values())


def exact(patients: Iterable[str]) -> list[str]:
    """Return Patient IDs that stand for themselves.

    Raises:
        UsageError: One with a character that would stand for others.
    """
    given = [p.strip() for p in patients]
    if any(c in p for p in given for c in (*WILD, "\\")):
        raise UsageError(
            "A Patient ID with a wildcard",
            expected="one whole Patient ID",
            where="--patient",
            remedy="write --query PatientID=… if several patients are meant",
        )
    return given


def restricted(rows: Iterable[Any], asked: Iterable[Asked]) -> tuple[list[Any], int]:
    """Return the answers that are what was asked for, and how many are not.

    Raises:
        OutputError: No answer names an attribute that was asked for, so nobody knows whether it was heeded.
    """
    every, wanted = list(rows), tuple(asked)
    said = [[a.agrees(r) for a in wanted] for r in every]
    for n, one in enumerate(wanted):
        if every and all(answer[n] is None for answer in said):
            raise OutputError(
                f"The server does not say {one.keyword} of what it lists, so it may have paid no heed to it",
                expected="the attribute in its answers",
                where="--query",
                remedy="ask by --study, --patient or another attribute; for the kind of series use --modality",
            )
    kept = [r for r, answer in zip(every, said, strict=True) if all(answer)]
    return kept, len(every) - len(kept)


def matches(value: str, asked: str) -> bool:
    """Tell whether a value is what was asked for, with ``*`` and ``?`` (DICOM PS3.4, C.2.2.2.4).

    Example:
        >>> matches("MRN1", "MRN?"), matches("MRN12", "MRN?"), matches("a.b", "a*"), matches("axb", "a.b")
        (True, False, True, False)
    """
    pattern = re.escape(asked).replace(r"\*", ".*").replace(r"\?", ".")
    return re.fullmatch(pattern, value, re.DOTALL) is not None


def _within(said: str, span: str) -> bool:
    """Tell whether a date or time lies in a range; each end counts with everything that begins like it.

    Example:
        >>> _within("20240131", "202401-"), _within("20240131", "-20240130"), _within("120030.5", "1200-1200")
        (True, False, True)
    """
    first, _, last = (p.strip().replace(":", "") for p in span.partition("-"))
    value = said.replace(":", "")
    return bool(value) and value >= first and (not last or value[: len(last)] <= last)


def _texts(value: Any) -> list[str]:
    """Return a value of DICOM JSON as text: a name has up to three spellings (PS3.18, F.2.2)."""
    if isinstance(value, dict):
        return [str(v).strip() for v in value.values() if isinstance(v, str)]
    return [str(value).strip()]
