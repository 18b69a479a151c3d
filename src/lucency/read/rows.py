"""Layout: a table whose rows name images, with a column to learn."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from lucency.case import Findings, Outcome, Source, Target
from lucency.errors import DataError, LucencyError, UsageError
from lucency.read import findings, matching, outcomes
from lucency.read.layout import Candidate, Draft, Item, ReadOptions, Tree, Unit
from lucency.read.matching import Match
from lucency.read.msd import absent, mask_source
from lucency.read.pairs import images_among, part_in_folders
from lucency.read.pairs import recognise as pairs_of
from lucency.read.table import plain

NAME = "table"
#: What ``--target`` calls the masks that lie in the same files as the images.
MASK = "mask"


def recognise(tree: Tree, options: ReadOptions) -> Candidate | None:
    """Return the claim: a table of which most rows name an image of the tree."""
    images = images_among(tree.units)
    found = matching.matches(tree, images)
    if not found:
        return None
    if (
        plain(options.target or "") == MASK
        and any(u.mask for u in images)
        and not any(m.table.named(MASK) for m in found)
    ):
        # The masks in the images' own files are asked for, whatever the tables hold.
        options = replace(options, target=None)
        ends = None
    else:
        several = _several(found, options)
        if several is not None:
            return _with_findings(images, found, several, asked=options.target is not None)
        ends = outcomes.columns_in(found, options.target)
    if ends is not None:
        return _with_outcomes(tree, images, found, ends, asked=options.target is not None)
    chosen, column = _choice(found, options)
    masks, missing = _mask_column(chosen, tree) if not column else ("", [])
    items = _items(tree, images, found, (chosen, column, masks))
    by_array = not column and not masks and any(isinstance(i.target, Source) for i in items)
    evidence = [
        f"{len(chosen.by_unit)} of {len(images)} images are named by column {chosen.column!r} of {chosen.table.path}."
    ]
    if column or masks:
        evidence.append(f"Column {column or masks!r} is to be learned.")
    elif by_array:
        evidence.append("Every file holds a mask beside its image; the mask is to be learned.")
    else:
        evidence.append("No column says what to learn; --target names one.")
    asked = bool(column) and options.target is not None
    score = 1.0 if asked else 0.72 if column or masks or by_array else 0.3
    notes = _notes(images, found)
    name = column or masks or (MASK if by_array else "")
    refusals = (*missing, *_refusals(chosen, found, name, options.target))
    return Candidate(NAME, score, tuple(evidence), Draft(tuple(items), name, notes=notes, refusals=tuple(refusals)))


def _several(found: list[Match], options: ReadOptions) -> findings.Columns | None:
    """Return the columns of several labels an image: those asked for, or the label column if it lists them."""
    default = next((c for c in (target_column(m, options) for m in found) if c), "") if options.target is None else ""
    return findings.columns_in(found, options.target, default)


def _with_findings(images: Sequence[Unit], found: list[Match], several: findings.Columns, *, asked: bool) -> Candidate:
    """Return the claim that several labels of each image are to be learned."""
    refusals = list(_refusals(several.match, found, several.name, None))
    came: dict[int, Findings] = {}
    labels: tuple[str, ...] = ()
    said: list[str] = []
    try:
        came, labels, said = findings.findings_of(several)
    except LucencyError as error:
        refusals.append(error)
    by_unit = {unit: came[row] for row, units in several.match.rows.items() for unit in units if row in came}
    items = [
        annotated(Item({"image": u}, by_unit.get(u)), found)
        for u in images
        if not several.match.paths or u in several.match.by_unit
    ]
    table = several.match.table.path
    evidence = (
        f"{len(several.match.by_unit)} of {len(images)} images are named by {several.match.column!r} of {table}.",
        f"The labels {several.name!r} are to be learned, several for each image.",
    )
    notes = (*_notes(images, found), *said)
    draft = Draft(tuple(items), several.name, classes=labels, notes=notes, refusals=tuple(refusals))
    return Candidate(NAME, 1.0 if asked else 0.72, evidence, draft)


def _with_outcomes(
    tree: Tree, images: Sequence[Unit], found: list[Match], ends: outcomes.Columns, *, asked: bool
) -> Candidate:
    """Return the claim that times and events are to be learned; masks beside the images become their regions."""
    refusals = list(_refusals(ends.match, found, ends.name, None))
    came: dict[int, Outcome] = {}
    said: list[str] = []
    try:
        came, said = outcomes.outcomes_of(ends)
    except LucencyError as error:
        refusals.append(error)
    by_unit = {unit: came[row] for row, units in ends.match.rows.items() for unit in units if row in came}
    drawn = regions(tree, images)
    items = [
        annotated(Item({"image": u}, by_unit.get(u), region=drawn.get(u.path)), found)
        for u in images
        if not ends.match.paths or u in ends.match.by_unit
    ]
    table = ends.match.table.path
    evidence = (
        f"{len(ends.match.by_unit)} of {len(images)} images are named by column {ends.match.column!r} of {table}.",
        f"Times {ends.time!r} with events {ends.event!r} are to be learned.",
    )
    notes = [*_notes(images, found), *said]
    if drawn:
        notes.append(f"{len(drawn)} images have a mask beside them: it is taken as the region of interest.")
    draft = Draft(tuple(items), ends.name, notes=tuple(notes), refusals=tuple(refusals))
    # Times with events in a table that names the images ask for them; masks in the same files do not, and masks in
    # files of their own compete, so that the user is asked.
    return Candidate(NAME, 1.0 if asked else 0.95, evidence, draft)


def regions(tree: Tree, images: Sequence[Unit]) -> dict[str, Source]:
    """Return an image's path to the mask beside it: an array of the same file, or a file of the same name."""
    found = {u.path: Source(u.source.paths, u.source.root, "npz", u.mask, kind="labels") for u in images if u.mask}
    paired = pairs_of(tree, ReadOptions())
    if paired is not None and not found:
        found = {i.unit.path: i.target for i in paired.draft.items if isinstance(i.target, Source)}
    return found


def _refusals(chosen: Match, found: list[Match], name: str, asked: str | None) -> Iterator[LucencyError]:
    """Return what forbids reading the table: absent files, an image named twice, nothing to learn."""
    if chosen.paths and chosen.absent:
        yield absent(list(chosen.absent), chosen.table.path)
    if chosen.repeated:
        shown = ", ".join(chosen.repeated[:5]) + (" …" if len(chosen.repeated) > 5 else "")
        yield DataError(
            f"{len(chosen.repeated)} rows of column {chosen.column!r} name an image that an earlier row names: {shown}",
            expected="one row for each image",
            where=chosen.table.path,
            remedy="take the duplicate ids out",
        )
    if not name:
        columns = ", ".join(dict.fromkeys(c for m in found for c in open_columns(m))) or "none"
        if asked is not None:
            yield UsageError(f"No column {asked!r}", where="--target", remedy=f"use one of the columns: {columns}")
        yield UsageError(
            "The table does not say what to learn",
            expected="a column named label, class, target …, or one column besides the names",
            where=chosen.table.path,
            remedy=f"name it with --target; the columns are {columns}",
        )


def open_columns(found: Match) -> list[str]:
    """Return the columns that name neither the image nor a fact."""
    taken = {found.column, *(c for r, c in found.table.roles.items() if r not in ("label", "mask"))}
    return [c for c in found.table.columns if c and c not in taken]


def target_column(found: Match, options: ReadOptions) -> str:
    """Return the column to learn: the one asked for, one called label, or the only one that is left."""
    if options.target is not None:
        return found.table.named(options.target)
    label = found.table.roles.get("label", "")
    if label and label != found.column:
        return label
    # The role words of facts are not the target, unless nothing else is there to learn.
    every = [c for c in found.table.columns if c and c != found.column]
    left = open_columns(found)
    if found.table.roles.get("mask") in left:
        return ""
    return left[0] if len(left) == 1 else every[0] if len(every) == 1 and not _is_fact(found, every[0]) else ""


def _is_fact(found: Match, column: str) -> bool:
    return any(c == column and r != "label" for r, c in found.table.roles.items())


def _choice(found: list[Match], options: ReadOptions) -> tuple[Match, str]:
    """Return the table that says what to learn, and its column."""
    for match in found:
        column = target_column(match, options)
        if column:
            return match, column
    return found[0], ""


def _mask_column(found: Match, tree: Tree) -> tuple[str, list[LucencyError]]:
    """Return the column that names masks, and what forbids it: masks that are absent."""
    present = set(tree.paths)
    base = found.table.path.rpartition("/")[0]
    column = found.table.roles.get("mask", "")
    if not column or column == found.column:
        return "", []
    lost = [v for v in found.table.column(column) if v and not _beside(v, base, present)]
    return column, [absent(lost, found.table.path)] if lost else []


def _beside(value: str, base: str, present: set[str]) -> str:
    """Return the tree's path for a cell that names a file relative to the table or to the data folder, or ``""``."""
    value = value.strip().replace("\\", "/").removeprefix("./")
    return next((p for p in (f"{base}/{value}" if base else value, value) if p in present), "")


def _items(tree: Tree, images: Sequence[Unit], found: list[Match], choice: tuple[Match, str, str]) -> list[Item]:
    chosen, column, masks = choice
    rows = chosen.by_unit
    present = set(tree.paths)
    base = chosen.table.path.rpartition("/")[0]
    mask_units = {_beside(r[masks], base, present) for r in rows.values()} if masks else set()
    label_is_mask = bool(column) and _names_files(chosen, column, base, present)
    if label_is_mask:
        mask_units = {_beside(r[column], base, present) for r in rows.values()}
    items: list[Item] = []
    for unit in images:
        if unit.path in mask_units or (chosen.paths and unit not in rows):
            continue
        row = rows.get(unit, {})
        target: Target = row.get(column) if column else None
        if masks or label_is_mask:
            path = _beside(row.get(masks or column, ""), base, present)
            target = mask_source(tree, path) if path else None
        elif not column and unit.mask:
            target = Source(unit.source.paths, unit.source.root, "npz", unit.mask, kind="labels")
        items.append(Item({"image": unit}, target))
    return [annotated(i, found) for i in items]


def _names_files(found: Match, column: str, base: str, present: set[str]) -> bool:
    values = [v for v in found.table.column(column) if v]
    return bool(values) and sum(bool(_beside(v, base, present)) for v in values) >= 0.9 * len(values)


def annotated(item: Item, found: list[Match]) -> Item:
    """Return the case with the facts, part, patient and spacing that the tables give its image."""
    facts: dict[str, str | float] = dict(item.unit.facts)
    clinical: dict[str, str | float] = dict(item.clinical)
    part, patient, spacing = item.part, item.patient, item.spacing
    for match in found:
        row = match.by_unit.get(item.unit)
        if row is None:
            continue
        facts = {**facts, **matching.facts_of(match, row)}
        clinical |= matching.clinical_of(match, row)
        part = matching.part_in(match, row) or part
        patient = patient or row.get(match.table.roles.get("patient", ""), "")
        spacing = spacing or matching.spacing_of(match, row)
    part = part or part_in_folders(item.unit)
    return replace(item, part=part, patient=patient, facts=facts, clinical=clinical, spacing=spacing)


def _notes(images: Sequence[Unit], found: list[Match]) -> tuple[str, ...]:
    notes = []
    for match in found:
        if match.absent and not match.paths:
            notes.append(f"{len(match.absent)} rows of {match.table.path} name no image and are left out.")
    named = {u for m in found for u in m.by_unit}
    if len(named) < len(images):
        notes.append(f"{len(images) - len(named)} images are in no row of a table.")
    return tuple(notes)
