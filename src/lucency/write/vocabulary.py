"""Names of labels and classes as coded concepts of the standard, and colours to tell segments apart."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

#: Scheme of codes that no standard has; the prefix 99 marks a private one (DICOM PS3.3, 8.2).
PRIVATE = "99LUCENCY"

#: Context groups of segmented property types with the category of each (DICOM PS3.16, CID 7150): anatomy, what is
#: abnormal in it, tissues. Where a name stands in several, the first counts.
GROUPS = (
    (7192, ("91723000", "Anatomical Structure")),
    (7194, ("49755003", "Morphologically Abnormal Structure")),
    (7166, ("85756007", "Tissue")),
)

#: Context groups of what is found on images or delineated in them, beyond what is segmented: findings and features of
#: the chest, of the heart, of wall and cavity, targets of radiotherapy (DICOM PS3.16, CID 6101 to 6106, 12248, 12305,
#: 645 and 9534). Segments are not described by them, for they are no property types.
FINDINGS = (6101, 6103, 6104, 6105, 6106, 645, 12248, 12305, 9534)

#: What people call things that the context groups call otherwise.
SYNONYMS = {
    "tumor": "neoplasm",
    "tumour": "neoplasm",
    "oesophagus": "esophagus",
    "haemorrhage": "hemorrhage",
    "bleeding": "hemorrhage",
    "oedema": "edema",
    "csf": "cerebrospinal fluid",
    "lymphnode": "lymph node",
    "vessel": "blood vessel",
    "lv": "left ventricle",
    "rv": "right ventricle",
    "la": "left atrium",
    "ra": "right atrium",
    "ivc": "inferior vena cava",
    "grey matter": "gray matter",
    "infiltration": "infiltrate",
    "ground-glass opacity": "ground glass opacity",
    "ggo": "ground glass opacity",
    "肝": "liver",
    "肝脏": "liver",
    "脾": "spleen",
    "脾脏": "spleen",
    "肾": "kidney",
    "肾脏": "kidney",
    "肺": "lung",
    "心脏": "heart",
    "脑": "brain",
    "胰腺": "pancreas",
    "膀胱": "bladder",
    "前列腺": "prostate",
    "海马": "hippocampus",
    "结节": "nodule",
    "肿块": "mass",
    "肿瘤": "neoplasm",
    "病灶": "lesion",
    "囊肿": "cyst",
    "出血": "hemorrhage",
    "水肿": "edema",
}

#: Sides (DICOM PS3.16, CID 244).
SIDES = {"left": ("7771000", "Left"), "right": ("24028007", "Right")}

#: Colours far apart from each other and from grey, red first (K. Kelly, "Twenty-two colors of maximum contrast",
#: Color Engineering 3, 1965, without those near grey), sRGB.
COLOURS = (
    (190, 0, 50),
    (243, 195, 0),
    (0, 136, 86),
    (0, 103, 165),
    (243, 132, 0),
    (135, 86, 146),
    (161, 202, 241),
    (141, 182, 0),
    (230, 143, 172),
    (101, 69, 34),
    (249, 147, 121),
    (96, 78, 151),
)


@dataclass(frozen=True)
class Concept:
    """One coded concept.

    Args:
        value: Code value.
        scheme: Coding scheme designator.
        meaning: In words, at most 64 characters.
    """

    value: str
    scheme: str
    meaning: str


@dataclass(frozen=True)
class Property:
    """What a segment shows.

    Args:
        category: Anatomy, something abnormal, or tissue.
        kind: Which one.
        side: Left or right, where the name says so.
        known: Whether the standard has a word for the name; else category and kind are the widest it has, and only
            the segment's label says more.
    """

    category: Concept
    kind: Concept
    side: Concept | None = None
    known: bool = True


#: What a name without a code is: some tissue. The label beside it says which.
UNKNOWN = Property(Concept("85756007", "SCT", "Tissue"), Concept("85756007", "SCT", "Tissue"), None, known=False)


def property_of(name: str) -> Property:
    """Return what a label's name means, in the standard's codes.

    Args:
        name: As the data call it; case, plural and punctuation do not matter.

    Source:
        DICOM PS3.16, CID 7150, 7166, 7192 and 7194.

    Example:
        >>> property_of("Left_Kidney").kind.meaning, property_of("Left_Kidney").side.meaning
        ('Kidney', 'Left')
    """
    words = _words(name)
    for side, rest in ((None, words), *((s, [w for w in words if w != s]) for s in SIDES if s in words)):
        found = _named(rest, _known())
        if found is not None:
            value, meaning = SIDES.get(side or "", ("", ""))
            return Property(found[0], found[1], Concept(value, "SCT", meaning) if side else None)
    return UNKNOWN


def public_code(name: str) -> Concept | None:
    """Return the standard's code for what a class or label is called, without its side; None where it has none.

    Args:
        name: As the data call it.

    Source:
        DICOM PS3.16: the context groups of :data:`GROUPS` and :data:`FINDINGS`.

    Example:
        >>> public_code("Pneumothorax").value, public_code("viral")
        ('36118008', None)
    """
    known = property_of(name)
    if known.known:
        return known.kind
    words = _words(name)
    found = _named(words, _findings()) or _named([w for w in words if w not in SIDES], _findings())
    return found[1] if found else None


def finding_of(name: str) -> Concept:
    """Return the code for a class or label of that name: the standard's, or a private one that bears the name."""
    known, found = property_of(name), _named(_words(name), _findings())
    if known.known and known.side is None:
        return known.kind
    if not known.known and found is not None:
        return found[1]
    # The same name has the same code in every model and on every computer.
    return Concept(f"N{hashlib.sha256(name.encode()).hexdigest()[:12]}", PRIVATE, name[:64] or "unnamed")


def lab_of(number: int) -> tuple[int, int, int]:
    """Return the colour of a segment as DICOM's CIELab, each number 0 to 65535.

    Args:
        number: Segment number, from 1.

    Source:
        DICOM PS3.3, C.10.7.1.1; IEC 61966-2-1 (sRGB), adapted to D50 after Bradford.
    """
    red, green, blue = (_linear(v / 255) for v in COLOURS[(number - 1) % len(COLOURS)])
    # Rows are X, Y and Z over those of the D50 white point.
    x = (0.4360747 * red + 0.3850649 * green + 0.1430804 * blue) / 0.96422
    y = 0.2225045 * red + 0.7168786 * green + 0.0606169 * blue
    z = (0.0139322 * red + 0.0971045 * green + 0.7141733 * blue) / 0.82521
    fx, fy, fz = (_root(v) for v in (x, y, z))
    lightness, a, b = 116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)
    scaled = (lightness * 65535 / 100, (a + 128) * 65535 / 255, (b + 128) * 65535 / 255)
    first, second, third = (min(65535, max(0, round(v))) for v in scaled)
    return first, second, third


def _linear(value: float) -> float:
    return float(value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4)


def _root(value: float) -> float:
    return float(value ** (1 / 3) if value > 216 / 24389 else (24389 / 27 * value + 16) / 116)


def _words(name: str) -> list[str]:
    # A capital behind a small letter begins a word: "leftKidney".
    parted = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    return re.sub(r"[\W_]+", " ", parted).casefold().split()


def _singular(phrase: str) -> str:
    if phrase.endswith("ae"):
        return phrase[:-1]
    return phrase[:-1] if phrase.endswith("s") else phrase


def _named(words: list[str], known: Mapping[str, tuple[Concept, Concept]]) -> tuple[Concept, Concept] | None:
    """Return what is known by these words, also in the singular and in another order ("vertebrae L1")."""
    phrase = " ".join(words)
    phrase = SYNONYMS.get(phrase, phrase)
    for said in (phrase, _singular(phrase), " ".join(_singular(w) for w in words[::-1])):
        if said in known:
            return known[said]
    return None


def _known() -> Mapping[str, tuple[Concept, Concept]]:
    """Return meaning to (category, concept) of the context groups of segmented property types."""
    return _of_groups(GROUPS)


def _findings() -> Mapping[str, tuple[Concept, Concept]]:
    """Return meaning to (no category, concept) of the context groups of findings."""
    return _of_groups(tuple((group, ("", "")) for group in FINDINGS))


@cache
def _of_groups(groups: tuple[tuple[int, tuple[str, str]], ...]) -> dict[str, tuple[Concept, Concept]]:
    """Return meaning to (category, concept) of context groups; where a meaning stands in several, the first counts."""
    from pydicom.sr.codedict import codes  # noqa: PLC0415  # costs start-up time

    found: dict[str, tuple[Concept, Concept]] = {}
    for group, (value, meaning) in groups:
        concepts: Any = getattr(codes, f"cid{group}")
        for keyword in concepts.dir():
            concept = getattr(concepts, keyword)
            kind = Concept(concept.value, concept.scheme_designator, concept.meaning[:64])
            found.setdefault(" ".join(_words(concept.meaning)), (Concept(value, "SCT", meaning), kind))
    return found
