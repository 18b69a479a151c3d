"""From a layout's draft to a Cohort: headers and checksums read, ids and patients settled, targets understood."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from lucency.case import (
    BAD_RULE,
    UNKNOWN_PATIENTS,
    Case,
    Cohort,
    Findings,
    Skipped,
    Source,
    by_reason,
    pseudonym,
    too_many_bad,
    with_folds,
)
from lucency.errors import DataError, LeakageError, LucencyError
from lucency.read import boxes, files, headers, masks, targets, visits
from lucency.read.formats import complete_all, key
from lucency.read.layout import Candidate, Draft, Item, ReadOptions, Tree, case_id_of
from lucency.read.outlines import FILL

#: Reasons that an error counts.
REASONS = 3

#: Pairs of case ids that an error lists.
LISTED = 10


@dataclass
class Gathering:
    """What has been read so far, of the data and of a further test set.

    Args:
        items: With ids and parts.
        skipped: Files left out.
        notes: For the report.
        untrained: Keep what speaks against learning from the data for :attr:`refused`, instead of raising it.
        refused: What speaks against it, first things first.
        beside: Files of other kinds.
    """

    items: list[Item] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    untrained: bool = False
    refused: list[LucencyError] = field(default_factory=list)
    beside: list[Skipped] = field(default_factory=list)

    def refuse(self, error: LucencyError) -> None:
        """Raise an error, or keep it where the images are only to be looked at."""
        if not self.untrained:
            raise error
        self.refused.append(error)


def with_ids(items: Sequence[Item], salt: bytes) -> list[Item]:
    """Return the items with the ids of section 7 of the architecture, unique among themselves."""
    named = [i.id or case_id_of(i.unit, salt) for i in items]
    paths = [i.unit.path for i, n in zip(items, named, strict=True) if not n]
    made = iter(files.case_ids(paths))
    return [replace(i, id=n or next(made)) for i, n in zip(items, named, strict=True)]


def joined(main: Sequence[Item], test: Sequence[Item], test_name: str) -> list[Item]:
    """Return both sets; a file of the test set is not also trained on, and ids that collide are set apart."""
    tested = {f for i in test for u in i.units.values() for f in u.source.files}
    kept = [i for i in main if not tested & {f for u in i.units.values() for f in u.source.files} or i.unit.source.item]
    taken = {i.id for i in kept}
    apart = [replace(i, part="test", id=f"{test_name}__{i.id}" if i.id in taken else i.id) for i in test]
    return kept + apart


def complete(items: Sequence[Item], options: ReadOptions) -> tuple[list[Item], list[Skipped]]:
    """Return the items whose files can be opened, with header and checksum, and the files that cannot.

    Args:
        items: With ids.
        options: Its salt and cache: DICOM files that did not change are not read again for their checksums.
    """
    sources = _summed([s for i in items for s in _every(i)], options)
    done, skipped = complete_all(sources)
    whole = [_completed(i, done) for i in items if all(key(s) in done for s in _sources(i))]
    return whole, skipped


def _summed(sources: Sequence[Source], options: ReadOptions) -> list[Source]:
    """Return the sources, those from DICOM with their checksum where the cache knows or can keep it."""
    if options.cache is None:
        return list(sources)
    paths: dict[str, list[str]] = {}
    for source in sources:
        if source.reader == "dicom":
            paths.setdefault(source.root, []).extend(source.paths)
    sums = {
        (root, p): d
        for root, mine in paths.items()
        for p, d in headers.digests(Path(root), mine, salt=options.salt, cache=options.cache).items()
    }
    summed = []
    for source in sources:
        own = [sums.get((source.root, p), "") for p in source.paths]
        whole = source.reader == "dicom" and all(own)
        summed.append(replace(source, checksum=files.joint_digest(own)) if whole else source)
    return summed


def _sources(item: Item) -> list[Source]:
    images = [u.source for u in item.units.values()]
    return [*images, item.target] if isinstance(item.target, Source) else images


def _every(item: Item) -> list[Source]:
    """Return the sources of an item with its region, without which it can do."""
    return [*_sources(item), item.region] if item.region is not None else _sources(item)


def _completed(item: Item, done: dict[str, Source]) -> Item:
    def spaced(source: Source) -> Source:
        # The file's own spacing goes first; a table's is taken where the file has none.
        if item.spacing is None or source.header.get("spacing_known"):
            return source
        size = source.header.get("size")
        spacing = item.spacing.of(size if isinstance(size, tuple) else (1.0, 1.0, 1.0))
        told = item.spacing.column
        return replace(
            source, header={**source.header, "spacing": spacing, "spacing_known": True, "spacing_from": told}
        )

    units = {m: replace(u, source=spaced(done[key(u.source)])) for m, u in item.units.items()}
    target = spaced(done[key(item.target)]) if isinstance(item.target, Source) else item.target
    region = spaced(done[key(item.region)]) if item.region is not None and key(item.region) in done else None
    return replace(item, units=units, target=target, region=region)


def too_many_skipped(skipped: Sequence[Skipped], total: int) -> DataError | None:
    """Return the refusal of data of which too many files or series cannot be used, by :data:`lucency.case.BAD_RULE`.

    Returns:
        With the count of the three most frequent reasons, and the remedy of the first; None where few are.
    """
    if total == 0 or too_many_bad(len(skipped), total + len(skipped)):
        reasons = by_reason(skipped)
        shown = "; ".join(f"{n} × {_parts(s.reason)[0]} (such as {s.path})" for n, s in reasons[:REASONS])
        more = f"; and {len(reasons) - REASONS} more reasons" if len(reasons) > REASONS else ""
        remedy = _parts(reasons[0][1].reason)[1] if reasons else ""
        return DataError(
            f"{len(skipped)} of {total + len(skipped)} files or series cannot be used: {shown}{more}",
            expected=BAD_RULE,
            remedy=f"{remedy}; or mend these files or take them out of the folder".removeprefix("; or "),
        )
    return None


def _parts(reason: str) -> tuple[str, str]:
    """Return what was found and the remedy of a reason as :func:`lucency.read.formats.reason` writes it."""
    found, _, rest = reason.partition(" Expected: ")
    remedy = (rest or found).partition("What to do: ")[2].split(". The series of ")[0].split(". This part of ")[0]
    return found.partition(" What to do: ")[0].rstrip("."), remedy.rstrip(".")


def cohort_of(
    gathered: Gathering,
    chosen: Candidate,
    tree: Tree,
    options: ReadOptions,
    patient_key: str,
    left_out: Callable[[Sequence[Skipped]], None],
) -> Cohort:
    """Return the cohort with its locked part and folds; ``left_out`` is told of unusable files before any refusal.

    Raises:
        DataError: Too many unreadable files, one class only, or no image at all.
        LeakageError: Supplied parts share a patient, unless ``options.allow_leak``.
    """
    items, broken = complete(gathered.items, options)
    skipped = [*gathered.skipped, *broken]
    left_out(skipped)
    _weigh(skipped, len(items), gathered)
    items, sequences, undated = visits.joined(items)
    gathered.beside += undated
    draft = chosen.draft
    notes = [*draft.notes, *gathered.notes, *sequences]
    classes: tuple[str, ...] = ()
    labels: dict[int, str] = {}
    if any(isinstance(i.target, Source) for i in items):
        items, labels, more, unseen = _with_masks(items, draft, fill=options.outlines == FILL)
        notes += more
        skipped += unseen
        left_out(skipped)
        _weigh(skipped, len(items), gathered)
    elif any(i.drawn is not None for i in items):
        items, classes, more, unfit = boxes.with_boxes(items, draft, options.classes)
        notes += more
        # Boxes, not files: they are listed, and do not count towards files that cannot be used.
        skipped += unfit
        left_out(skipped)
    elif any(isinstance(i.target, Findings) for i in items):
        classes = draft.classes
    elif any(isinstance(i.target, str) for i in items):
        items, classes, more = _with_classes(items, draft, gathered)
        notes += more
    notes += _places(items)
    if not patient_key:
        notes.insert(0, UNKNOWN_PATIENTS)
    learned = {w.strip() for w in re.split("[,，]", draft.target_name)}
    cases = tuple(_case(i, options.salt, learned) for i in items)
    cohort = Cohort(
        cases,
        {},
        frozenset(),
        layout=chosen.name,
        classes=classes,
        labels=labels,
        ignore=draft.ignore,
        patient_key=patient_key,
        target_name=draft.target_name,
        notes=tuple(notes),
        skipped=tuple(skipped),
        allow_leak=options.allow_leak,
        untrainable=reason_of(gathered.refused),
        beside=tuple(gathered.beside),
        visits=options.visits,
    )
    if not options.allow_leak:
        refuse_shared_patients(cohort)
    return with_folds(cohort, _same_bytes(cohort.cases))


def _weigh(skipped: Sequence[Skipped], total: int, gathered: Gathering) -> None:
    """Refuse data of which nothing is left, always, and data of which too much cannot be used."""
    error = too_many_skipped(skipped, total)
    if error is not None and not total:
        raise error
    if error is not None:
        # Said once: what the masks add to it is said of the whole.
        gathered.refused = [e for e in gathered.refused if e.expected != BAD_RULE]
        gathered.refuse(error)


def reason_of(refused: Sequence[LucencyError]) -> tuple[str, ...]:
    """Return the first error as (found, expected, where, remedy), or nothing where there is none."""
    return next(((e.found, e.expected, e.where, e.remedy) for e in refused), ())


def _places(items: Sequence[Item]) -> list[str]:
    """Return what is said of images that lean or do not say where they lie; DICOM series say it themselves."""
    headers = [u.source.header for i in items for u in i.units.values() if u.source.reader != "dicom"]
    leaning, nowhere = sum("tilt" in h for h in headers), sum(h.get("placed") is False for h in headers)
    notes = [f"{leaning} images have slices that lean (a tilted gantry); they are kept as sheared stacks."] * (
        leaning > 0
    )
    return notes + [
        f"{nowhere} NIfTI images do not say where they lie (sform and qform codes are 0): the size of their voxels is "
        "used, left and right are not known."
    ] * (nowhere > 0)


def _with_classes(
    items: list[Item], draft: Draft, gathered: Gathering
) -> tuple[list[Item], tuple[str, ...], list[str]]:
    words = [i.target if isinstance(i.target, str) else None for i in items]
    values, classes, notes = targets.parsed(words, draft.target_name)
    if draft.classes and set(classes) <= set(draft.classes):
        classes = tuple(c for c in draft.classes if c in classes)
    if len(classes) == 1:
        gathered.refuse(
            DataError(
                f"Only one class: {classes[0]!r}",
                expected="at least two classes",
                where=draft.target_name,
                remedy="add images of another class, or choose another target with --target",
            )
        )
    return [replace(i, target=v) for i, v in zip(items, values, strict=True)], classes, notes


def _with_masks(
    items: list[Item], draft: Draft, *, fill: bool
) -> tuple[list[Item], dict[int, str], list[str], list[Skipped]]:
    """Return the items, the labels found in the masks, notes, and the masks that cannot be read."""
    sources = [i.target for i in items if isinstance(i.target, Source)]
    found, skipped, sampled = masks.scan(sources)
    lost = {s.path for s in skipped}
    items = [i for i in items if not (isinstance(i.target, Source) and i.target.where in lost)]
    notes: list[str] = []
    blurred = [w for w, v in found.items() if v.blurred]
    if blurred:
        notes.append(
            f"{len(blurred)} of {len(found)} masks hold values between 0 and 255, as JPEG or smoothing leaves them; "
            f"they are cut at {masks.THRESHOLD}."
        )
        items = [_with_header(i, "threshold", value=masks.THRESHOLD) for i in items]
    if fill:
        items = [_with_header(i, "filled", value=True) for i in items]
        notes.append("Masks cover what their lines enclose (--set outlines=fill).")
    elif masks.drawn_as_lines(sources):
        notes.append(
            "The masks are lines around things and not the things; --set outlines=fill learns what the lines enclose."
        )
    values = {255} if blurred else {v for m in found.values() for v in m.counts}
    if sampled:
        notes.append(f"Label values were looked for in {len(found)} of {len(sources)} masks.")
    drawn = sorted(values - {0, draft.ignore})
    labels = {v: draft.labels.get(v, "") for v in drawn}
    if len(draft.labels) == len(drawn) == 1:
        # 0/255 in a set that describes one label: the number is the only difference.
        labels = {drawn[0]: next(iter(draft.labels.values()))}
    elif draft.labels:
        # What the data describe is all there is; a mask with another value is refused when it is looked at.
        labels = dict(draft.labels)
    unlabelled = sum(i.target is None for i in items)
    if unlabelled:
        notes.append(f"{unlabelled} of {len(items)} images have no mask: kept as unlabelled.")
    # One value, whatever its number, is label 1 (0/255 is the usual way to draw a mask).
    named = {v: n or ("1" if len(labels) == 1 else str(v)) for v, n in sorted(labels.items())}
    return items, named, notes, skipped


def _with_header(item: Item, key: str, *, value: int | bool) -> Item:
    """Return the item with one more fact about how its mask is loaded."""
    if not isinstance(item.target, Source):
        return item
    return replace(item, target=replace(item.target, header={**item.target.header, key: value}))


def _case(item: Item, salt: bytes, learned: set[str]) -> Case:
    patient = patient_of(item, salt)
    images = images_of(item)
    clinical = {name: cell for name, cell in item.clinical.items() if name not in learned}
    return Case(item.id, patient, images, item.target, item.part, dict(item.facts), clinical, item.region)


def images_of(item: Item) -> dict[str, tuple[Source, ...]]:
    """Return an item's images by modality, those of earlier visits first."""
    return {m: (*(e.units[m].source for e in item.earlier), u.source) for m, u in item.units.items()}


def patient_of(item: Item, salt: bytes) -> str:
    """Return the pseudonym of an item's patient; of the item itself where the patient is unknown."""
    if item.patient and item.patient == item.unit.patient:
        # From a DICOM header, where it is one already.
        return item.patient
    return pseudonym(salt, item.patient or f"case:{item.id}")


def _same_bytes(cases: Sequence[Case]) -> list[list[str]]:
    """Return the ids of cases whose images are the same bytes."""
    groups: dict[str, list[str]] = {}
    for case in cases:
        sums = "".join(s.checksum for m in sorted(case.images) for s in case.images[m])
        groups.setdefault(sums, []).append(case.id)
    return [g for g in groups.values() if len(g) > 1]


def refuse_shared_patients(cohort: Cohort) -> None:
    """Refuse supplied parts that share a patient.

    Raises:
        LeakageError: With up to ten pairs of case ids.
    """
    first: dict[str, dict[str, str]] = {}
    for case in cohort.cases:
        if case.part:
            first.setdefault(case.patient, {}).setdefault(case.part, case.id)
    shared = [tuple(parts.items()) for parts in first.values() if len(parts) > 1]
    if shared:
        pairs = [f"{a[1]} ({a[0]}) and {b[1]} ({b[0]})" for a, b, *_ in shared]
        raise LeakageError(
            f"{len(shared)} patients are in more than one supplied part: {'; '.join(pairs[:LISTED])}",
            expected=f"every patient ({cohort.patient_key}) in one part",
            remedy="move each patient to one part, tell patients apart with --patient, or go on with --allow-leak",
        )
