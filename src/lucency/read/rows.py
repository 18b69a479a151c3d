"""Layout: a table whose rows name images, with a column to learn."""

from collections.abc import Iterator, Sequence

from lucency.case import Source, Target
from lucency.errors import DataError, LucencyError, UsageError
from lucency.read import matching
from lucency.read.layout import Candidate, Draft, Item, ReadOptions, Tree, Unit
from lucency.read.matching import Match
from lucency.read.msd import absent, mask_source
from lucency.read.pairs import images_among, part_in_folders

NAME = "table"


def recognise(tree: Tree, options: ReadOptions) -> Candidate | None:
    """Return the claim: a table of which most rows name an image of the tree."""
    images = images_among(tree.units)
    found = matching.matches(tree, images)
    if not found:
        return None
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
    name = column or masks or ("mask" if by_array else "")
    refusals = (*missing, *_refusals(chosen, found, name, options.target))
    return Candidate(NAME, score, tuple(evidence), Draft(tuple(items), name, notes=notes, refusals=tuple(refusals)))


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
    part, patient, spacing = item.part, item.patient, item.spacing
    for match in found:
        row = match.by_unit.get(item.unit)
        if row is None:
            continue
        facts = {**facts, **matching.facts_of(match, row)}
        part = matching.part_in(match, row) or part
        patient = patient or row.get(match.table.roles.get("patient", ""), "")
        spacing = spacing or matching.spacing_of(match, row)
    return Item(
        item.units, item.target, part or part_in_folders(item.unit), patient, facts, id=item.id, spacing=spacing
    )


def _notes(images: Sequence[Unit], found: list[Match]) -> tuple[str, ...]:
    notes = []
    for match in found:
        if match.absent and not match.paths:
            notes.append(f"{len(match.absent)} rows of {match.table.path} name no image and are left out.")
    named = {u for m in found for u in m.by_unit}
    if len(named) < len(images):
        notes.append(f"{len(images) - len(named)} images are in no row of a table.")
    return tuple(notes)
