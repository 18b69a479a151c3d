"""The standard's table as data: what Annex E asks of each attribute, and how the options change it.

Source:
    DICOM PS3.15, Annex E, Table E.1-1 and E.3 (options); PS3.16, CID 7050 (codes of the options).
"""

import json
import re
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from lucency.errors import UsageError

#: Edition of ``data/annex_e.tsv``; its head says where the rows of 2026 come from. Attributes added since are met by
#: the rules for their value representation.
EDITION = "DICOM PS3.15 Table E.1-1 as published in January 2025, 621 rows, and the 35 rows added up to 2026c"
DATES = ("shift", "remove", "keep")
#: What may be kept: the column of the table, the code of CID 7050 and its meaning.
KEEP = {
    "patient-characteristics": (
        "retain_patient_characteristics",
        "113108",
        "Retain Patient Characteristics Option",
    ),
    "device": ("retain_device_identity", "113109", "Retain Device Identity Option"),
    "uids": ("retain_uids", "113110", "Retain UIDs Option"),
    "institution": ("retain_institution_identity", "113112", "Retain Institution Identity Option"),
    "safe-private": ("retain_safe_private", "113111", "Retain Safe Private Option"),
}
#: What may be cleaned rather than removed.
CLEAN = {
    "descriptors": ("clean_descriptors", "113105", "Clean Descriptors Option"),
    "structured-content": ("clean_structured_content", "113104", "Clean Structured Content Option"),
    "graphics": ("clean_graphics", "113103", "Clean Graphics Option"),
    "pixels": ("", "113101", "Clean Pixel Data Option"),
}
BASIC = ("113100", "Basic Application Confidentiality Profile")
FULL_DATES = ("113106", "Retain Longitudinal Temporal Information Full Dates Option")
MODIFIED_DATES = ("113107", "Retain Longitudinal Temporal Information Modified Dates Option")
#: Named choices of options: everything the standard would remove is removed, or what research needs stays in clean
#: form: the order of examinations, the words of descriptions, the numbers of structured reports.
PROFILES: dict[str, dict[str, Any]] = {
    "basic": {"dates": "remove", "clean": frozenset({"pixels"})},
    "research": {"dates": "shift", "clean": frozenset(CLEAN)},
}


@dataclass(frozen=True)
class Options:
    """What is kept and cleaned beyond the basic profile.

    Args:
        dates: ``"shift"`` by a secret number of days per patient, ``"remove"``, or ``"keep"`` as they are.
        keep: Names of :data:`KEEP`.
        clean: Names of :data:`CLEAN`.
        shear: Shear faces off head images beside which a brain mask lies.
        issuer: Tell patients apart by Issuer of Patient ID as well. Normally the same ID is the same patient,
            because derived objects often lack the issuer.

    Raises:
        UsageError: A name that does not exist.
    """

    dates: str = "shift"
    keep: frozenset[str] = frozenset()
    clean: frozenset[str] = frozenset(CLEAN)
    issuer: bool = False
    shear: bool = False

    def __post_init__(self) -> None:
        for given, known, option in (
            ({self.dates}, DATES, "--dates"),
            (self.keep, (*KEEP, "full-dates"), "--keep"),
            (self.clean, tuple(CLEAN), "--clean"),
        ):
            wrong = sorted(set(given) - set(known))
            if wrong:
                raise UsageError(f"Unknown choice {wrong[0]!r}", expected=", ".join(known), where=option)
        if "full-dates" in self.keep:
            object.__setattr__(self, "dates", "keep")
            object.__setattr__(self, "keep", self.keep - {"full-dates"})

    @property
    def codes(self) -> tuple[tuple[str, str], ...]:
        """Code and meaning of the profile and each option applied to the attributes, for (0012,0064).

        Clean pixel data (113101) is not among them: it is added to a file once its pixels were looked at.
        """
        found = [BASIC]
        found += [KEEP[k][1:] for k in KEEP if k in self.keep]
        found += [CLEAN[c][1:] for c in CLEAN if c in self.clean and c != "pixels"]
        found += {"shift": [MODIFIED_DATES], "keep": [FULL_DATES], "remove": []}[self.dates]
        return tuple(sorted(found))


@dataclass(frozen=True)
class Row:
    """One row of Table E.1-1.

    Args:
        tag: Eight hex digits; ``x`` stands for any digit; ``odd`` for the private groups.
        name: Attribute name.
        basic: Action of the basic profile, for example ``X/Z/D``.
        options: Column to action, where one is given.
    """

    tag: str
    name: str
    basic: str
    options: dict[str, str]


@cache
def rows() -> tuple[Row, ...]:
    """Return the table."""
    text = resources.files("lucency.deidentify").joinpath("data/annex_e.tsv").read_text("utf-8")
    lines = [line.split("\t") for line in text.splitlines() if not line.startswith("#")]
    head = lines[0]
    return tuple(
        Row(line[0], line[1], line[3], {c: a for c, a in zip(head[4:], line[4:], strict=True) if a})
        for line in lines[1:]
    )


@cache
def by_tag() -> dict[int, Row]:
    """Return the rows that name one tag."""
    return {int(row.tag, 16): row for row in rows() if re.fullmatch(r"[0-9A-F]{8}", row.tag)}


@cache
def row_of(tag: int) -> Row | None:
    """Return the row of a tag, that of its repeating group (50xx, 60xx) among them; None if the table lacks it."""
    found = by_tag().get(tag)
    if found is not None:
        return found
    group, element = tag >> 16, tag & 0xFFFF
    for row in _groups():
        if (row.tag == "odd" and group & 1) or (
            row.tag[:2] == f"{group >> 8:02x}" and row.tag[4:] in ("xxxx", f"{element:04x}") and not group & 1
        ):
            return row
    return None


@cache
def _groups() -> tuple[Row, ...]:
    return tuple(row for row in rows() if not re.fullmatch(r"[0-9A-F]{8}", row.tag))


def action(row: Row, options: Options) -> tuple[str, str]:
    """Return the action of a row under the options, and the column it comes from (empty for the basic profile).

    A date follows ``options.dates`` alone: keeping the device keeps its serial number, not the day of its last
    calibration.
    """
    dated = "retain_longitudinal_full_dates" in row.options
    if dated:
        column = {"shift": "retain_longitudinal_modified_dates", "keep": "retain_longitudinal_full_dates"}.get(
            options.dates, ""
        )
        return (row.options[column], column) if column else (row.basic, "")
    for name, (column, *_) in KEEP.items():
        if name in options.keep and column in row.options:
            return row.options[column], column
    for name, (column, *_) in CLEAN.items():
        if name in options.clean and column in row.options:
            return row.options[column], column
    return row.basic, ""


@cache
def _types() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(
        resources.files("lucency.deidentify").joinpath("data/types.json").read_text("utf-8")
    )
    return found


def iod_of(sop_class: str) -> str:
    """Return the name of the IOD of a SOP class; empty if the standard has none of that UID."""
    return str(_types()["classes"].get(sop_class, ""))


def type_of(iod: str, parent: str, keyword: str) -> str:
    """Return the type of an attribute: 1, 1C, 2, 2C, 3; empty if unknown.

    Args:
        iod: What :func:`iod_of` gave.
        parent: Keyword of the sequence that holds it; empty at the top level.
        keyword: Keyword of the attribute.
    """
    if parent:
        return str(_types()["nested"].get(f"{parent}/{keyword}", ""))
    return str(_types()["iods"].get(iod, {}).get(keyword, "3" if iod else ""))


def settled(wanted: str, type_: str) -> str:
    """Settle an action that the table leaves to the attribute's type.

    An attribute that must have a value gets a dummy, one that must be there is emptied, any other is removed. The
    type of an attribute nobody knows is taken as 2: an empty value suits most.

    Args:
        wanted: Action of the table.
        type_: Type in the IOD.

    Returns:
        X, Z, D, U, K or C.

    Source:
        DICOM PS3.15, Table E.1-1a: X/Z, X/D, Z/D, X/Z/D, X/Z/U*.

    Example:
        >>> settled("X/Z/D", "1"), settled("X/Z/D", "2"), settled("X/D", "3"), settled("X/Z/U*", "3")
        ('D', 'Z', 'X', 'U')
    """
    choices = wanted.split("/")
    if "U*" in choices:
        return "U"  # the reference is kept and points to the new UIDs: nothing is lost by it
    if len(choices) == 1:
        # The table removes some attributes that an IOD demands (Presentation Creation Date).
        return "D" if wanted == "X" and type_ == "1" else wanted
    order = {"1": "DZX", "1C": "DZX", "2": "ZDX", "2C": "ZDX", "3": "XZD"}.get(type_, "ZDX")
    return next(c for c in order if c in choices)
