"""Which classes and which patients are learned from: classes that the user drops, patients with two labels."""

import difflib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from lucency.case import Case, Cohort, with_folds
from lucency.errors import UsageError
from lucency.read.grades import order_of

#: Patients of whom only some images carry another label than their others are contradictions where there are as few as
#: this among all patients, and among those with several images; where there are more, the label is one of the image.
MIXED_SHARE, MIXED_SHARE_OF_SEVERAL = 0.05, 0.25

#: Patients with several images from which on the share among them says anything.
LEAST_SEVERAL = 5

MIXED = ("auto", "leave_out", "keep")


def chosen(cohort: Cohort, *, drop: Sequence[str] = (), mixed: str = "auto") -> Cohort:
    """Return the cohort without the classes that are dropped and without contradictory patients, folds drawn anew.

    Classes with a known order, such as grades, come out in that order.

    Args:
        cohort: As read; one without classes is returned as it is.
        drop: Class names to leave out, with their cases.
        mixed: What becomes of patients with images of two classes: ``"auto"`` leaves them out where they are rare
            exceptions in data whose label is one of the patient, ``"leave_out"`` always, ``"keep"`` never.

    Raises:
        UsageError: A class that there is not, or another word for ``mixed``.
    """
    if mixed not in MIXED:
        raise UsageError(f"mixed_patients = {mixed!r}", expected=", ".join(MIXED), where="--set mixed_patients")
    for name in drop:
        if name not in cohort.classes:
            near = difflib.get_close_matches(name, cohort.classes, n=1)
            raise UsageError(
                f"No class {name!r}",
                expected=", ".join(cohort.classes) or "a target of classes",
                where="--set drop_classes",
                remedy=f"did you mean {near[0]!r}?" if near else "",
            )
    if not cohort.classes:
        return cohort
    graded = order_of(cohort.classes, cohort.target_name)
    cohort = replace(cohort, classes=graded or cohort.classes)
    dropped = {c.id: f"class {c.target!r} is dropped" for c in cohort.cases if c.target in drop}
    left = [c for c in cohort.cases if c.id not in dropped and isinstance(c.target, str)]
    twice = _with_two_labels(left)
    several = sum(n > 1 for n in _images_of(left).values())
    rare = len(twice) <= MIXED_SHARE * len({c.patient for c in left}) and several >= LEAST_SEVERAL
    rare = rare and len(twice) <= MIXED_SHARE_OF_SEVERAL * several
    notes = [f"{len(dropped)} cases of the classes {', '.join(drop)} are dropped."] if drop else []
    if (twice and mixed == "keep") or (twice and mixed == "auto" and not rare):
        twice = set()
    elif twice:
        notes.append(
            f"{len(twice)} patients have images of two classes, where nearly all have one: their cases are left out. "
            "--set mixed_patients=keep keeps them."
        )
    reasons = dropped | {c.id: "the patient has images of two classes" for c in left if c.patient in twice}
    if not reasons:
        return cohort
    return with_folds(
        replace(
            cohort,
            classes=tuple(c for c in cohort.classes if c not in drop),
            left_out={**cohort.left_out, **reasons},
            notes=(*cohort.notes, *notes),
        )
    )


def _with_two_labels(cases: Sequence[Case]) -> set[str]:
    labels: dict[str, set[str]] = defaultdict(set)
    for case in cases:
        labels[case.patient].add(str(case.target))
    return {patient for patient, found in labels.items() if len(found) > 1}


def _images_of(cases: Sequence[Case]) -> dict[str, int]:
    counts: dict[str, int] = defaultdict(int)
    for case in cases:
        counts[case.patient] += 1
    return counts
