"""Patients that a person should look at: one ID of two people, and IDs that may be those of one person.

Nothing is decided here. A patient is the Patient ID; where the ID may be wrong, pseudonyms say whom to look up.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from lucency.deidentify.sources import Source
from lucency.deidentify.spellings import NOBODY, folded, one_spelling

TWO_PEOPLE = "One Patient ID with different names and birth dates: two people may have got one pseudonym."
TWO_NAMES = "One Patient ID with names that have nothing in common: two people may have got one pseudonym."
TWO_BIRTHS = "One Patient ID with different birth dates: two people may have got one pseudonym."
ONE_PERSON = (
    "Patient IDs that differ only in leading zeros, case or blanks: one person may have got several pseudonyms."
)


@dataclass(frozen=True)
class Doubt:
    """Something about patients that the program cannot settle.

    Args:
        reason: A sentence without identities.
        pseudonyms: Whom it concerns; the key's holder can look them up.
        n_files: How many files they have.
    """

    reason: str
    pseudonyms: tuple[str, ...]
    n_files: int


def doubts(people: Mapping[tuple[str, str], tuple[str, list[Source]]]) -> tuple[Doubt, ...]:
    """Return what a person should look at, by pseudonym.

    Args:
        people: (issuer, Patient ID) to pseudonym and the patient's files.
    """
    found = []
    alike: dict[tuple[str, str], list[tuple[str, int]]] = defaultdict(list)
    for (issuer, number), (pseudonym, files) in people.items():
        reason = _two_people(files)
        if reason:
            found.append(Doubt(reason, (pseudonym,), len(files)))
        if not number.startswith("no id|"):
            alike[issuer, _plain(number)].append((pseudonym, len(files)))
    for several in alike.values():
        if len(several) > 1:
            found.append(Doubt(ONE_PERSON, tuple(sorted(p for p, _ in several)), sum(n for _, n in several)))
    return tuple(sorted(found, key=lambda d: (d.pseudonyms, d.reason)))


def _plain(number: str) -> str:
    """Return an ID in lower case without blanks and leading zeros."""
    plain = re.sub(r"\s+", "", number).casefold()
    return plain.lstrip("0") or plain[:1]


def _two_people(files: Iterable[Source]) -> str:
    """Return why the files of one ID may be those of two people, or ``""``."""
    told = Counter((_parts(f.name), f.birth) for f in files)
    pairs = [(a, b) for a in told for b in told if a is not b]
    named = [(a, b) for a, b in pairs if a[0] and b[0] and not (a[0] <= b[0] or b[0] <= a[0])]
    if any(a[1] and b[1] and a[1] != b[1] for a, b in named):
        return TWO_PEOPLE
    # The same birth date does not make two names one person: 19000101 stands for "unknown" in many hospitals.
    if any(not a[0] & b[0] for a, b in named):
        return TWO_NAMES
    return TWO_BIRTHS if any(a[1] and b[1] and a[1] != b[1] for a, b in pairs) else ""


def _parts(name: str) -> frozenset[str]:
    """Return the parts of a name in one spelling, those of the first group (PS3.5, 6.2.1.1); fillers are none."""
    parts = re.split(r"[\^\s,.]+", name.split("=", maxsplit=1)[0].strip() or name.strip("="))
    return frozenset(one_spelling(folded(p)) for p in parts if len(p) > 1 and p.lower() not in NOBODY)
