"""Layout: images and boxes, in the files of any of the usual tools, or around masks where boxes are asked for."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from lucency.case import Skipped
from lucency.errors import DataError, UsageError
from lucency.read import boxfiles, boxrows, files, maskboxes, pairs
from lucency.read.drawn import Drawn, Labels, checked
from lucency.read.layout import Candidate, Draft, Item, ReadOptions, Tree, Unit
from lucency.read.matching import Index
from lucency.read.rows import annotated

NAME = "boxes"

#: A label file names at least this share of its images by files that are there; else it speaks of other images.
MIN_FOUND = 0.5

#: Patients in whom a class must occur to be learned and judged: one for each fold.
LEAST_PATIENTS = 5


@dataclass
class _Placed:
    """Label files matched to the images."""

    labels: Labels
    boxes: dict[Unit, list[Drawn]] = field(default_factory=dict)
    parts: dict[Unit, str] = field(default_factory=dict)
    absent: list[str] = field(default_factory=list)


def recognise(tree: Tree, options: ReadOptions) -> Candidate | None:
    """Return the claim: label files whose boxes lie on images of the tree."""
    if not tree.units:
        return None
    said = every_kind(tree)
    # Masks often bear the names of their images; boxes are drawn on the images.
    units = maskboxes.without_masks(tree.units) if said or options.boxes else ()
    found = [_placed(labels, units, tree.salt) for labels in said]
    found = [p for p in found if p.boxes and len(p.absent) <= (1 - MIN_FOUND) * (len(p.absent) + len(p.boxes))]
    found = [p for p in found if any(p.boxes.values())]
    if options.boxes and not found:
        around = maskboxes.boxes_of(tree, options)
        found = [_placed(around, units, tree.salt)] if around is not None else []
    if not found:
        return None
    # The first format in order holds the most: names of classes, and which images have nothing on them.
    best = max(found, key=lambda p: len(p.boxes))
    others = [p for p in found if p is not best]
    masks_too = not options.boxes and pairs.recognise(tree, options) is not None
    score = 1.0 if options.boxes else 0.7 if masks_too else 0.9
    n_boxes = sum(len(b) for b in best.boxes.values())
    evidence = (f"{n_boxes} boxes on {len(best.boxes)} of {len(tree.units)} images, in {best.labels.kind}.",)
    return Candidate(NAME, score, evidence, _draft(units, best, others))


def every_kind(tree: Tree) -> list[Labels]:
    """Return what all label files of a tree say, one entry for each format; files that name classes go first."""
    rows = boxrows.yolo(tree)
    return [*boxfiles.every_kind(tree), *([rows] if rows is not None else []), *boxrows.tables(tree)]


def _placed(labels: Labels, units: Sequence[Unit], salt: bytes) -> _Placed:
    index = Index(units, salt)
    bases = {p.rpartition("/")[0] for p in labels.paths}
    placed = _Placed(labels)
    for name, boxes in labels.images.items():
        named = next((u for b in sorted(bases) if (u := index.find(name, b))), ())
        if len(named) != 1:
            placed.absent.append(name)
            continue
        placed.boxes.setdefault(named[0], []).extend(boxes)
        part = labels.parts.get(name) or next((p for f in named[0].folders if (p := files.part_of(f))), "")
        if part:
            placed.parts[named[0]] = part
    return placed


def _draft(every: Sequence[Unit], best: _Placed, others: list[_Placed]) -> Draft:
    labels = best.labels
    units = [u for u in every if _same_place(u, best)]
    items = tuple(annotated(Item({"image": u}, part=best.parts.get(u, ""), drawn=_given(best, u)), []) for u in units)
    notes = list(labels.notes)
    if best.absent:
        notes.append(f"{len(best.absent)} images that the boxes are drawn on are not here.")
    unlabelled = sum(i.drawn is None for i in items)
    if unlabelled:
        notes.append(f"{unlabelled} images are in no label file: kept as unlabelled.")
    for other in others:
        n = sum(len(b) for b in other.boxes.values())
        notes.append(
            f"{n} boxes in {other.labels.kind} ({other.labels.paths[0]}) were not used: {labels.kind} was taken."
        )
    return Draft(items, "boxes", classes=labels.classes, notes=tuple(notes), skipped=())


def _given(placed: _Placed, unit: Unit) -> tuple[Drawn, ...] | None:
    boxes = placed.boxes.get(unit)
    return None if boxes is None else tuple(boxes)


def _same_place(unit: Unit, placed: _Placed) -> bool:
    """Tell whether an image is one of the set: it has boxes, or lies in a folder with one that has."""
    if unit in placed.boxes:
        return True
    return unit.folders in {u.folders for u in placed.boxes}


def with_boxes(
    items: list[Item], draft: Draft, wanted: tuple[str, ...]
) -> tuple[list[Item], tuple[str, ...], list[str], list[Skipped]]:
    """Return the items with their boxes checked, the classes in order, notes, and the boxes that cannot be.

    Args:
        items: With headers.
        draft: Its classes give the order.
        wanted: Classes to keep; empty keeps all.

    Raises:
        UsageError: A class to keep that does not occur.
        DataError: No box is left.
    """
    skipped: list[Skipped] = []
    made: list[Item] = []
    cut = 0
    for item in items:
        if item.drawn is None:
            made.append(item)
            continue
        boxes, bad, over = checked(item.drawn, _size(item))
        made.append(replace(item, target=boxes))
        skipped += bad
        cut += over
    there = Counter(b.label for i in made if isinstance(i.target, tuple) for b in i.target)
    missing = [w for w in wanted if w not in there]
    if missing:
        raise UsageError(
            f"No box of class {missing[0]!r}", expected=", ".join(sorted(there)) or "boxes", where="--set classes"
        )
    notes = [f"{len(skipped)} boxes were left out: skipped.csv says why."] if skipped else []
    if cut:
        notes.append(f"{cut} boxes reached over the edge of their image and were cut there.")
    kept, rare = _kept(made, there, wanted)
    if rare:
        told = ", ".join(f"{c} ({n})" for c, n in rare)
        notes.append(
            f"Classes that occur in fewer than {LEAST_PATIENTS} patients cannot be learned and judged; "
            f"they were left out: {told}."
        )
    if not kept:
        raise DataError(
            "No class of boxes that can be learned" if there else "No box that can be used",
            expected=f"a class that is drawn in {LEAST_PATIENTS} patients or more",
            where=draft.target_name,
            remedy="draw more boxes, or see skipped.csv for why they were left out",
        )
    order = [c for c in draft.classes if c in kept] + sorted(c for c in kept if c not in draft.classes)
    chosen = [
        replace(i, target=tuple(b for b in i.target if b.label in kept)) if isinstance(i.target, tuple) else i
        for i in made
    ]
    return chosen, tuple(order), notes, skipped


def _kept(items: list[Item], there: "Counter[str]", wanted: tuple[str, ...]) -> tuple[set[str], list[tuple[str, int]]]:
    """Return the classes to learn, and those too rare for it with their number of patients."""
    who: dict[str, set[str]] = {c: set() for c in there}
    for item in items:
        if isinstance(item.target, tuple):
            for box in item.target:
                who[box.label].add(item.patient or item.id)
    asked = [c for c in who if not wanted or c in wanted]
    rare = sorted((c, len(who[c])) for c in asked if len(who[c]) < LEAST_PATIENTS)
    return {c for c in asked if len(who[c]) >= LEAST_PATIENTS}, rare


def _size(item: Item) -> tuple[int, int, int]:
    size = item.unit.source.header.get("size", (1, 1, 1))
    assert isinstance(size, tuple)
    k, j, i = size
    return int(k), int(j), int(i)
