"""Images to predict on: any file, folder or tree, labels not needed and not looked at."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from lucency.case import Case, Skipped, pseudonym
from lucency.errors import DataError, LucencyError
from lucency.read import assemble, matching, medmnist, msd, nnunet, pairs, patients, rows
from lucency.read import visits as sequenced
from lucency.read.layout import Item, ReadOptions, Tree, tree_of
from lucency.read.singles import with_channels


class Inputs(tuple[Case, ...]):
    """Cases without targets, sorted by id, and the files that were left out.

    Args:
        cases: In any order.
        skipped: Files that cannot be read, with the reason.
        notes: What else was left out, counted.
    """

    skipped: tuple[Skipped, ...]
    notes: tuple[str, ...]

    def __new__(  # noqa: D102 - described by the class
        cls, cases: Iterable[Case], skipped: Iterable[Skipped] = (), notes: Iterable[str] = ()
    ) -> "Inputs":
        made = super().__new__(cls, sorted(cases, key=lambda c: c.id))
        made.skipped, made.notes = tuple(skipped), tuple(notes)
        return made


def read_inputs(
    src: Path,
    *,
    salt: bytes = b"",
    missing_slices: str = "refuse",
    modalities: tuple[str, ...] = (),
    visits: tuple[str, str] = ("", ""),
    patient: str | None = None,
) -> Inputs:
    """Return every image below ``src`` as a Case without a target.

    A table in ``src`` that speaks of the images gives their clinical columns and the size of their pixels, and a mask
    beside an image its region. Where ``src`` is a labelled set (images beside masks, dataset.json, nnU-Net raw) only
    its images are taken; of an npz container every part.

    Args:
        src: File or folder.
        salt: Secret for the pseudonyms of DICOM series and patients.
        missing_slices: As in :class:`lucency.read.ReadOptions`.
        modalities: That the model was trained on; with several, files are told apart by their channel numbers even
            where every case has one of them only.
        visits: Columns of a table in ``src``: when images were taken, and whose they are (empty: one called so). The
            images of a patient become one case; without such a table each is a case of one visit.
        patient: Column or regular expression that tells patients apart, as in :class:`lucency.read.ReadOptions`; empty
            tells them as for training. None takes every image for a patient, save in DICOM.

    Raises:
        UsageError: No such path, or ``patient`` fits neither a column nor the names.
        DataError: No image, or none that can be read.
    """
    options = ReadOptions(salt=salt, missing_slices=missing_slices)
    tree = tree_of(src, salt=salt, fill=options.fill)
    named = _items(tree, modalities)
    tables = matching.matches(tree, [i.unit for i in named if "/" not in i.unit.source.item]) if tree.tables else []
    known = [rows.annotated(i, tables) for i in named]
    told = [replace(i, clinical=k.clinical, spacing=k.spacing) for i, k in zip(named, known, strict=True)]
    if patient is not None:
        keyed = [replace(i, patient=rows.annotated(i, tables).patient) for i in told]
        told = patients.with_patients(keyed, tree, replace(options, patient=patient or None), tables)[0]
    noted: list[str] = []
    if visits[0]:
        told, noted = _with_visits(told, tables, *visits)
    items, broken = assemble.complete(assemble.with_ids(told, salt), options)
    items, sequences, undated = sequenced.joined(items)
    skipped = (*tree.skipped, *broken)
    if not items:
        found = f"None of {len(skipped)} files can be read ({skipped[0].reason})" if skipped else "No image"
        raise DataError(found, expected="images", where=src.name, remedy="choose the file or folder of the images")
    cases = [
        Case(
            i.id,
            i.unit.patient or pseudonym(salt, i.patient or f"case:{i.id}"),
            assemble.images_of(i),
            part="",
            facts=dict(i.unit.facts),
            clinical=dict(i.clinical),
            region=i.region,
        )
        for i in items
    ]
    drawn = len(tree.label_heads)
    said = [f"{drawn} DICOM segmentations, structure sets or reports are no images and were left out."] if drawn else []
    return Inputs(cases, (*skipped, *undated), (*tree.notes, *said, *noted, *sequences))


def _with_visits(
    items: list[Item], tables: list[matching.Match], visits: str, patient: str
) -> tuple[list[Item], list[str]]:
    """Return the items with their patients and the times of their visits, where a table says both."""
    keyed = []
    for item in items:
        named = (m.by_unit.get(item.unit, {}).get(patient or m.table.roles.get("patient", ""), "") for m in tables)
        keyed.append(replace(item, patient=next((v for v in named if v), item.unit.patient)))
    if not any(m.table.named(visits) for m in tables):
        return keyed, [f"No table says when the images were taken (column {visits!r}): each is a case of one visit."]
    return sequenced.dated(keyed, tables, visits), []


def _items(tree: Tree, modalities: tuple[str, ...]) -> list[Item]:
    # A model of one modality may have been left with it of several: its name is a number then.
    numbered = len(modalities) > 1 or any(nnunet.NUMBER.fullmatch(m) for m in modalities)
    stacked = [i for p in tree.containers for i in medmnist.items_of(tree, p, labels=False)]
    if len(tree.containers) > 1:
        # Two containers count their images alike; the file's name keeps them apart.
        stacked = [replace(i, id=f"{i.unit.stem}__{i.id}") for i in stacked]
    for described in (msd, nnunet):
        try:
            found = described.recognise(tree, ReadOptions())
        except LucencyError:
            # A list that names absent files says nothing against the images that are there.
            continue
        if found is not None:
            return [replace(_renumbered(i) if numbered else i, target=None) for i in found.draft.items] + stacked
    units = [with_channels(u) for u in pairs.images_among(tree.units)]
    channels = nnunet.by_case(units, numbered=numbered)
    numbers = {n for c in channels.values() for n in c}
    every = sum(len(c) for c in channels.values()) == len(units) and numbers != {"image"}
    if every and (numbered or len(channels) < len(units)) and nnunet.are_channels(numbers, modalities * numbered):
        return [Item(c, id=name) for name, c in sorted(channels.items())] + stacked
    regions = rows.regions(tree, units)
    return [Item({"image": replace(u, mask="")}, region=regions.get(u.path)) for u in units] + stacked


def _renumbered(item: Item) -> Item:
    """Return the case with its only image under its channel number, where its name has one."""
    found = nnunet.CHANNEL.match(item.unit.stem)
    return item if found is None or set(item.units) != {"image"} else replace(item, units={found["channel"]: item.unit})
