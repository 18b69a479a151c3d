"""Geometry, quality, duplicates and leakage: what the data can support, found by looking at every image once."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from lucency.case import Case, Cohort, Skipped, with_folds
from lucency.errors import DataError, UsageError
from lucency.events import Events
from lucency.inspect.checks import check_alike, check_problems, check_targets, clips_of, judge, listed, lone_frames
from lucency.inspect.duplicates import Merged, find_pairs, merge
from lucency.inspect.inspection import ImageFacts, Inspection, Loader, MaskFacts, Pair
from lucency.inspect.leakage import check_leaks, conflicting_labels, part_of, training_copies
from lucency.inspect.mixtures import mixtures
from lucency.inspect.quality import POLICIES, Limit, Limits, Verdict, verdict
from lucency.inspect.quality_set import Judged, judge_set, strangers
from lucency.inspect.scan import Look, Looker, Problem, measured_of, scan
from lucency.spare import with_unlabelled

__all__ = [
    "POLICIES",
    "ImageFacts",
    "Inspection",
    "Limit",
    "Limits",
    "Loader",
    "MaskFacts",
    "Pair",
    "Verdict",
    "inspect",
    "measured_of",
    "settle",
    "verdict",
]

#: Progress is reported this many times at most.
TICKS = 100
#: Cases searched for burned-in text, all of a smaller set, else evenly spread: at a fifth of a second each or less, the
#: search takes well under a minute. What was not searched is said.
SEARCHED = 200


def inspect(  # noqa: PLR0913 - one parameter for each thing a caller may say
    cohort: Cohort,
    *,
    nan: float | None = None,
    quality: str = "reject",
    load: Loader | None = None,
    events: Events | None = None,
    workers: int = 2,
    left_out: Callable[[Sequence[Skipped]], None] = lambda skipped: None,
    untrained: bool = False,
) -> Inspection:
    """Look at every image and mask of a cohort once.

    Args:
        cohort: As ``lucency.read`` gives it.
        nan: Value for NaN and infinite voxels, in stored units; None refuses them.
        quality: ``"reject"`` leaves out images far from their set, ``"warn"`` only says so, ``"off"`` judges none.
        load: Decodes a source; by default ``lucency.read.load``.
        events: Gets the progress, counted in cases.
        workers: Threads that decode; each holds one image and one mask.
        left_out: Told of the files that cannot be used, also before a refusal.
        untrained: Do not refuse images from which nothing can be learned; the inspection then says what is wanting.

    Returns:
        What was found. The cohort itself is not changed: see :func:`settle`.

    Raises:
        UsageError: No such ``quality``.
        DataError: The data cannot support training; the message says why, where and what to do.
        LeakageError: Supplied parts share a patient, or the test part an image, and ``cohort.allow_leak`` is off.
    """
    if quality not in POLICIES:
        raise UsageError(f"quality = {quality!r}", expected=", ".join(POLICIES), where="--set quality")
    if load is None:
        from lucency.read import load as read_load  # noqa: PLC0415 - the readers are slow to import

        load = read_load
    events = events or Events()
    cases = [c for c in cohort.cases if c.id not in cohort.left_out]
    searched = frozenset(cases[n].id for n in np.linspace(0, len(cases) - 1, min(SEARCHED, len(cases))).astype(int))
    looker = Looker(load, nan, cohort.labels, cohort.ignore, measured=quality != "off", searched=searched)
    looks = _look_at(cases, looker, events, workers)
    problems = [look.problem for look in looks if look.problem]
    skipped = tuple(Skipped(p.path, p.reason) for p in problems)
    left_out(skipped)
    doubts = _Doubts(cohort.untrainable, untrained)
    doubts.hear(check_problems, problems, len(cases), len(cohort.skipped))

    out = {p.case: p.reason for p in problems}
    usable = [c for c in cases if c.id not in out]
    masks = [look.mask for look in looks if look.mask]
    rejected = tuple(i for look in looks if look.problem for i in look.images)
    images, quality_warnings = judge([i for look in looks if not look.problem for i in look.images], masks)
    warnings = [
        *_skip_warnings(problems, images),
        *doubts.hear(check_alike, images, clips_of(cohort.cases)),
        *lone_frames(images, clips_of(cohort.cases)),
        *quality_warnings,
    ]
    judged = _judged(looks, images, usable, quality)
    images = judged.images
    warnings += mixtures(images)
    alone, said = strangers(usable)
    out |= {**judged.left_out, **alone}
    usable = [c for c in usable if c.id not in out]
    warnings += [*judged.warnings, *said]

    part = part_of(usable)
    pairs = find_pairs([t for look in looks if look.case in part for t in look.thumbs], part)
    leaks, leak_warnings = check_leaks(cohort, usable, pairs)
    copies = training_copies(pairs, part)
    out |= copies
    merged = merge(_between_patients(pairs, usable, out), len(cases))
    warnings += [*leak_warnings, *conflicting_labels(usable, pairs, masks), *_duplicate_warnings(copies, merged)]
    usable = [c for c in usable if c.id not in out]
    warnings += doubts.hear(check_targets, cohort, usable, [m for m in masks if m.case not in out])
    events.emit("inspect", "done", images=len(images), left_out=len(out), groups=len(merged.groups))
    return Inspection(
        cohort=cohort.digest,
        images=tuple(sorted((*images, *rejected), key=lambda i: (i.case, i.modality, i.time))),
        masks=tuple(masks),
        pairs=merged.pairs,
        groups=merged.groups,
        left_out=out,
        skipped=skipped,
        leaks=leaks,
        limits=judged.limits,
        missing=judged.missing,
        warnings=(*warnings, *doubts.further),
        untrainable=doubts.first,
    )


class _Doubts:
    """What speaks against learning from the data: raised, or kept where the data are only to be looked at.

    Args:
        earlier: What reading them found already: (found, expected, where, remedy).
        untrained: Keep it.
    """

    def __init__(self, earlier: tuple[str, ...], untrained: bool) -> None:
        self.first, self.untrained = earlier, untrained
        self.further: list[str] = []

    def hear(self, check: Callable[..., list[str] | None], *args: object) -> list[str]:
        """Return the warnings of a check; none where it refuses."""
        try:
            return check(*args) or []
        except DataError as error:
            if not self.untrained:
                raise
            if self.first:
                self.further.append(f"{error.found.rstrip('.')}.")
            self.first = self.first or (error.found, error.expected, error.where, error.remedy)
            return []


def settle(cohort: Cohort, inspection: Inspection) -> Cohort:
    """Return the cohort that later rooms use: unusable cases and copies left out, folds drawn anew, spare images known.

    Args:
        cohort: The one that was inspected.
        inspection: What was found.

    Raises:
        UsageError: The inspection is of other data.
    """
    if inspection.cohort != cohort.digest:
        raise UsageError("The inspection is of other data", where="inspection.json", remedy="inspect the data again")
    skipped = tuple(dict.fromkeys((*cohort.skipped, *inspection.skipped)))
    left_out = {**cohort.left_out, **inspection.left_out}
    drawn = with_folds(replace(cohort, left_out=left_out, skipped=skipped), inspection.groups)
    return with_unlabelled(drawn, inspection.groups)


def _look_at(cases: Sequence[Case], looker: Looker, events: Events, workers: int) -> list[Look]:
    looks: list[Look] = []
    every = max(1, len(cases) // TICKS)
    for look in scan(cases, looker, workers):
        looks.append(look)
        if len(looks) % every == 0 or len(looks) == len(cases):
            events.emit("inspect", "progress", done=len(looks), total=len(cases))
    return looks


def _judged(looks: Sequence[Look], images: Sequence[ImageFacts], usable: Sequence[Case], quality: str) -> Judged:
    """Judge the quality of the usable images, each beside the small picture made of it."""
    pictures = {
        (fact.case, fact.modality, fact.time): thumb.picture
        for look in looks
        if not look.problem
        for fact, thumb in zip(look.images, look.thumbs, strict=True)
    }
    return judge_set(images, pictures, usable, quality)


def _between_patients(pairs: Sequence[Pair], usable: Sequence[Case], left_out: dict[str, str]) -> list[Pair]:
    """Return the pairs of cases in use; one patient's images stay together without them."""
    patient = {c.id: c.patient for c in usable}
    return [
        p
        for p in pairs
        if p.first not in left_out and p.second not in left_out and patient[p.first] != patient[p.second]
    ]


def _skip_warnings(problems: Sequence[Problem], images: Sequence[ImageFacts]) -> list[str]:
    warnings = []
    if problems:
        names = listed([p.path for p in problems])
        warnings.append(f"{len(problems)} cases cannot be used and are left out: {names}.")
    filled = sorted({i.case for i in images if i.filled})
    if filled:
        warnings.append(f"NaN or infinite voxels were filled, as asked, in {len(filled)} cases: {listed(filled)}.")
    return warnings


def _duplicate_warnings(copies: dict[str, str], merged: Merged) -> list[str]:
    warnings = []
    if copies:
        names = listed(sorted(copies))
        warnings.append(f"{len(copies)} training images are also in the validation part and are left out: {names}.")
    if merged.groups:
        tied = sum(len(g) for g in merged.groups)
        warnings.append(f"{tied} cases in {len(merged.groups)} groups are duplicates; each group stays in one fold.")
    if merged.refused:
        warnings.append(
            f"Near duplicates would tie more than 5 % of the cases together, so merging stopped: {len(merged.refused)} "
            "pairs of look-alikes may lie in different folds, which makes the results optimistic."
        )
    return warnings
