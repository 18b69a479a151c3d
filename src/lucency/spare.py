"""Cases without a label: which of them may be learned from, and by which fold's network."""

from collections.abc import Iterable
from dataclasses import replace

from lucency.case import Case, Cohort

#: A seat of :attr:`lucency.case.Cohort.unlabelled`: every fold's network may see the image.
ANY = -1

#: A patient or picture whose images nobody may learn from.
LOCKED = -2


def with_unlabelled(cohort: Cohort, groups: Iterable[Iterable[str]] = ()) -> Cohort:
    """Return the cohort with every case that has no label, and may be learned from, in its seat.

    Left out are cases that share a patient or a picture with the locked part, that the data supply for validation or
    testing, or that hang together with cases of two folds. One that hangs together with a case of a fold is kept from
    that fold's network only.

    Args:
        cohort: With its folds and its locked part.
        groups: Sets of case ids that show the same picture or patient.
    """
    parent = {c.id: c.id for c in cohort.cases}

    def root(a: str) -> str:
        while parent[a] != a:
            parent[a] = parent[parent[a]]
            a = parent[a]
        return a

    first: dict[str, str] = {}
    for case in cohort.cases:
        parent[root(case.id)] = root(first.setdefault(case.patient, case.id))
    for group in groups:
        members = [g for g in group if g in parent]
        for member in members[1:]:
            parent[root(member)] = root(members[0])
    seats: dict[str, set[int]] = {}
    for case in cohort.cases:
        own = _seat(cohort, case)
        if own != ANY:
            seats.setdefault(root(case.id), set()).add(own)
    found = {}
    for case in cohort.cases:
        taken = seats.get(root(case.id), {ANY})
        if case.target is None and case.id not in cohort.left_out and len(taken) == 1 and LOCKED not in taken:
            found[case.id] = min(taken)
    return replace(cohort, unlabelled=found)


def _seat(cohort: Cohort, case: Case) -> int:
    """Return the fold that judges a case, :data:`LOCKED` where it is kept from all training, else :data:`ANY`."""
    if case.id in cohort.locked or case.part == "test" or (case.target is None and case.part == "val"):
        return LOCKED
    return cohort.folds.get(case.id, ANY)
