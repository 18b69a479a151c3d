"""The first door: any folder of medical images becomes a Cohort; ``load`` turns a Source into an Image.

Every layout is one file with a ``recognise`` that returns its claim on the data with evidence and a score; every
format is one file that reads headers and pixels. Nothing of the user's is renamed, moved or copied.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import NoReturn

from lucency.case import Cohort, Skipped
from lucency.errors import DataError, UsageError
from lucency.read import (
    assemble,
    boxes,
    classes,
    matching,
    medmnist,
    msd,
    nnunet,
    pairs,
    patients,
    rows,
    series,
    singles,
    visits,
)
from lucency.read.beside import beside
from lucency.read.formats import load
from lucency.read.geometry import slice_spacing
from lucency.read.inputs import Inputs, read_inputs
from lucency.read.layout import Candidate, Item, ReadOptions, Tree, is_table, test_tree, tree_of
from lucency.read.table import plain, told_of_tables

__all__ = ["Candidate", "Inputs", "ReadOptions", "load", "preview", "read", "read_inputs", "slice_spacing"]

#: In order of precedence (architecture, section 7).
LAYOUTS: tuple[ModuleType, ...] = (msd, nnunet, pairs, boxes, rows, medmnist, classes, series, singles)

#: Formats that do not say how large a pixel is.
NO_SIZE = ("raster", "npy", "npz")

#: Two claims nearer than this are a tie.
TIE = 0.1


def read(
    data: Path,
    options: ReadOptions | None = None,
    *,
    left_out: Callable[[Sequence[Skipped]], None] = lambda skipped: None,
) -> Cohort:
    """Return the cohort in a folder or file, with its locked part and folds drawn.

    Args:
        data: Folder, table, npz container or image file.
        options: What the user says about the data.
        left_out: Told of every file that cannot be used as far as known, again when more are; also before a refusal.

    Raises:
        UsageError: No such path; two layouts tie; an unknown layout, target or patient rule.
        DataError: Empty folder, absent files, duplicate ids, too many unusable files, one class only.
        LeakageError: Supplied parts share a patient.
    """
    options = options or ReadOptions()
    tree, further = _tree(data, options), None
    matching.refuse_unknown_size(tree)
    left_out(tree.skipped)
    if options.test is not None:
        tree, further = test_tree(tree, options.test)
    chosen = _chosen(tree, options)
    gathered = assemble.Gathering(untrained=options.untrained, refused=list(chosen.draft.refusals))
    gathered.items, found = _annotated(tree, chosen, options)
    gathered.beside, said = beside(tree, gathered.items, chosen.name)
    if any(i.spacing and i.unit.source.reader in NO_SIZE for i in gathered.items):
        said += matching.told_of_sizes(found)
    said += told_of_tables(tree.root, [p for p in tree.paths if is_table(p)], tree.tables)
    said += nnunet.told_of_channels(gathered.items) if chosen.name != nnunet.NAME else []
    gathered.skipped, gathered.notes = [*tree.skipped, *chosen.draft.skipped], [*tree.notes, *said]
    if tree.label_heads and chosen.name != series.NAME:
        gathered.notes.append(f"{len(tree.label_heads)} DICOM segmentations, structure sets or reports are not used.")
    if tree.tables and all(i.target is None and i.drawn is None for i in gathered.items):
        gathered.notes += matching.unused(tree, [i.unit for i in gathered.items])
    if further is not None and options.test is not None:
        claim = _chosen(further, replace(options, layout=None))
        gathered.refused += claim.draft.refusals
        tested, more = _annotated(further, claim, options)
        gathered.items = assemble.joined(gathered.items, tested, options.test.stem)
        gathered.skipped += further.skipped
        gathered.notes += [f"Test part: {len(tested)} cases from {options.test.name}.", *claim.draft.notes]
        found = [*found, *more]
    gathered.items, patient_key = patients.with_patients(gathered.items, tree, options, found)
    if options.visits:
        gathered.items = visits.dated(gathered.items, found, options.visits)
    else:
        gathered.notes += visits.offered(gathered.items, found)
    return assemble.cohort_of(
        gathered, chosen, tree, options, patient_key, lambda skipped: left_out((*skipped, *gathered.beside))
    )


def preview(data: Path, options: ReadOptions | None = None) -> tuple[Candidate, ...]:
    """Return every layout's claim on the data, best first, without decoding more than a sample of masks.

    Args:
        data: As in :func:`read`.
        options: As in :func:`read`.

    Raises:
        UsageError: No such path.
        DataError: Empty folder.
    """
    options = options or ReadOptions()
    return _candidates(_tree(data, options), options)


def _tree(data: Path, options: ReadOptions) -> Tree:
    tree = tree_of(data, salt=options.salt, cache=options.cache, fill=options.fill)
    return replace(tree, pixel_size=options.pixel_size)


def _candidates(tree: Tree, options: ReadOptions) -> tuple[Candidate, ...]:
    claims = [m.recognise(tree, options) for m in LAYOUTS if options.layout in (None, m.NAME)]
    # The sort is stable: at equal score the order of precedence stands.
    return tuple(sorted((c for c in claims if c is not None), key=lambda c: -c.score))


def _chosen(tree: Tree, options: ReadOptions) -> Candidate:
    """Return the claim with the best evidence, refusing a tie and a target that it does not have."""
    names = [m.NAME for m in LAYOUTS]
    if options.layout is not None and options.layout not in names:
        raise UsageError(f"No layout {options.layout!r}", where="--layout", remedy=f"use one of {', '.join(names)}")
    claims = _candidates(tree, options)
    if not claims:
        _refuse_nothing(tree, options)
    if options.boxes:
        claims = tuple(c for c in claims if c.name == boxes.NAME) or claims
    best = claims[0]
    second = next((c for c in claims[1:] if best.score - c.score < TIE or _contradict(best, c)), None)
    if second is not None:
        raise UsageError(
            f"Two layouts fit: {best.name} ({' '.join(best.evidence)}) and {second.name} ({' '.join(second.evidence)})",
            expected="one",
            remedy=f"choose with --layout {best.name} or --layout {second.name}",
        )
    for refusal in best.draft.refusals:
        # What was asked for by name must be there, even to be looked at only.
        if not options.untrained or options.target is not None:
            raise refusal
    if options.target is not None and plain(options.target) != plain(best.draft.target_name):
        columns = ", ".join(dict.fromkeys(c for t in tree.tables for c in t.columns if c)) or "none"
        raise UsageError(f"No column {options.target!r}", where="--target", remedy=f"use one of the columns: {columns}")
    return best


def _contradict(best: Candidate, other: Candidate) -> bool:
    """Tell whether a table and class folders name classes that do not agree one to one."""
    if {best.name, other.name} != {rows.NAME, classes.NAME} or not best.draft.target_name or best.score == 1.0:
        return False
    folder = {i.unit: str(i.target) for i in other.draft.items}
    both = {(str(i.target), folder[i.unit]) for i in best.draft.items if i.unit in folder and isinstance(i.target, str)}
    return len(both) > len({a for a, _ in both}) or len(both) > len({b for _, b in both})


def _refuse_nothing(tree: Tree, options: ReadOptions) -> NoReturn:
    if options.layout is not None:
        raise UsageError(
            f"The data are not in the layout {options.layout!r}", where="--layout", remedy="leave the option out"
        )
    skipped: Sequence[Skipped] = tree.skipped
    found = f"No image among {len(tree.paths)} files" + (f"; first reason: {skipped[0].reason}" if skipped else "")
    raise DataError(
        found,
        expected="DICOM, NIfTI, NRRD, MHA, PNG, JPEG, TIFF, npy or npz files",
        where=tree.root.name,
        remedy="choose the folder that holds the images",
    )


def _annotated(tree: Tree, chosen: Candidate, options: ReadOptions) -> tuple[list[Item], list[matching.Match]]:
    """Return the layout's cases with their ids and what the tables beside them say."""
    items: Iterable[Item] = nnunet.gathered(chosen.draft.items)
    units = [i.unit for i in items if "/" not in i.unit.source.item]
    found = matching.matches(tree, units) if tree.tables and units else []
    if chosen.name != rows.NAME:
        items = [rows.annotated(i, found) for i in items]
    return assemble.with_ids(list(items), options.salt), found
