"""DICOM objects drawn on images (SEG, RTSTRUCT, SR) find their images and become targets, named alike in a cohort."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from lucency.case import Source, Target
from lucency.errors import DataError, LucencyError, UsageError
from lucency.read import codes, rtstruct
from lucency.read.formats import WORKERS, Header, load, reason
from lucency.read.head import Head
from lucency.read.labelgrid import OverlapError
from lucency.read.layout import Draft, Item, ReadOptions, Tree, Unit
from lucency.read.masks import MAX_LABELS, MAX_VOXELS

#: What of an image's header its labels need.
PLACE = ("size", "spacing", "spacing_known", "affine", "k_axis", "frames", "interpolated", "tilt", "mosaic")

#: In the order in which they are taken where an image has several kinds.
KINDS = {"dicom_seg": "segmentations", "rtstruct": "structure sets", "dicom_sr": "reports with regions"}

#: Names that a message lists.
LISTED = 12


@dataclass(frozen=True)
class Part:
    """One structure of a label object.

    Args:
        number: Segment, region or measurement group.
        name: As the object spells it.
    """

    number: int
    name: str


@dataclass(frozen=True)
class Drawn:
    """A label object, and the image that it was drawn on.

    Args:
        path: Relative to the data folder.
        reader: One of :data:`KINDS`.
        parts: Its structures.
        when: Date and time as they sort, ``""`` unknown.
        head: Its header.
    """

    path: str
    reader: str
    parts: tuple[Part, ...]
    when: str
    head: Head = field(repr=False)


@dataclass
class _Found:
    """What is known so far."""

    by_unit: dict[Unit, list[Drawn]] = field(default_factory=dict)
    placed: set[Unit] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)
    unclear: list[tuple[str, str]] = field(default_factory=list)
    refusals: list[LucencyError] = field(default_factory=list)


def draft_of(units: Sequence[Unit], tree: Tree, options: ReadOptions) -> tuple[Draft, str, bool]:
    """Return the cohort that DICOM images and the objects drawn on them make.

    Without ``--target`` the structures of segmentations, structure sets and reports become masks; with it one structure
    (or several with commas between them), or the measurement or finding of reports that has this name.

    Args:
        units: DICOM images.
        tree: With the heads of the label objects.
        options: Its target.

    Returns:
        The draft, one sentence of evidence, and whether there is anything to learn.
    """
    plain = Draft(tuple(Item({"image": u}) for u in units))
    if not tree.label_heads:
        return plain, "no table or folder says what to learn.", False
    found = _Found()
    objects = _matched(units, tree, found)
    if options.target is not None:
        return _asked(units, objects, found, options.target, tree)
    masks = _masks(units, found, {})
    if masks is not None:
        return masks, f"{sum(i.target is not None for i in masks.items)} of them with structures drawn on them.", True
    names = measurements_in(objects)
    said = f"Reports hold measurements: {_listed(names.values())}; choose one with --target." if names else ""
    notes = (*found.notes, said) if said else tuple(found.notes)
    return (
        replace(plain, notes=(*notes, *_unclear(found)), refusals=_nothing_left(found)),
        said or "nothing is drawn on them.",
        False,
    )


def _asked(
    units: Sequence[Unit], objects: Mapping[Unit, list[Drawn]], found: _Found, target: str, tree: Tree
) -> tuple[Draft, str, bool]:
    """Return the draft for what ``--target`` names."""
    structures = codes.agreed(p.name for own in found.by_unit.values() for d in own for p in d.parts)
    chosen = codes.wanted(target, structures)
    if chosen:
        masks = _masks(units, found, chosen)
        if masks is None:
            plain = Draft(tuple(Item({"image": u}) for u in units), target, notes=tuple(found.notes))
            return replace(plain, refusals=_nothing_left(found)), "none of it can be used.", True
        return replace(masks, target_name=target), f"{_listed(chosen.values())} is drawn on them.", True
    names = measurements_in(objects)
    if codes.key_of(target) in names:
        items, notes = _measured(units, objects, codes.key_of(target), found)
        draft = Draft(
            tuple(items),
            target,
            notes=(*found.notes, *_unclear(found), *notes),
            refusals=tuple(found.refusals),
        )
        return draft, f"{names[codes.key_of(target)]!r} is measured on them.", True
    refusal = UsageError(
        f"No structure or measurement {target!r}",
        where="--target",
        remedy=f"use one of {_listed([*structures.values(), *names.values()]) or 'none: there are none'}",
    )
    plain = Draft(tuple(Item({"image": u}) for u in units), notes=(*found.notes, *_unclear(found)))
    columns = [c for t in tree.tables for c in t.columns]
    return replace(plain, refusals=() if columns else (refusal,)), "no structure has the name asked for.", False


# Matching ---------------------------------------------------------------------------------------------------------


def _matched(units: Sequence[Unit], tree: Tree, found: _Found) -> dict[Unit, list[Drawn]]:
    """Return the objects of every image; those with structures to draw go into ``found`` as well."""
    index = _Index(units, tree)
    found.placed = {u for u in units if index.is_placed(u)}
    every: dict[Unit, list[Drawn]] = {}
    lost: list[str] = []
    without: list[tuple[str, str]] = []
    left_aside = Counter[str]()
    # Reports last: they speak of images by way of the segmentations.
    for path, head in sorted(tree.label_heads.items(), key=lambda p: (reader_of(p[1]) == "dicom_sr", p[0])):
        own, why = index.images_of(path, head)
        if own and why:
            found.notes.append(why)
        elif why:
            found.unclear.append((path, why))
        elif not own:
            gone = index.left_out(head)
            if gone is None:
                lost.append(path)
            else:
                without.append((path, gone))
        index.add(head, own)
        left_aside["points and open contours enclose nothing and were left out"] += sum(
            int(r["Other"]) for r in head.get("Regions", ())
        )
        for unit in own:
            mine = {**head, "Groups": [g for g in head.get("Groups", ()) if unit in (index.of_group(g) or own)]}
            drawn = _drawn(path, mine)
            every.setdefault(unit, []).append(drawn)
            if drawn.parts:
                found.by_unit.setdefault(unit, []).append(drawn)
    if lost:
        found.notes.append(
            f"{len(lost)} DICOM label objects belong to images that are not here, the first is {lost[0]}."
        )
    if without:
        path, why = without[0]
        found.notes.append(
            f"{len(without)} DICOM label objects were drawn on images that were left out; the first is {path}: {why}"
        )
    found.notes += [f"{n} {what}." for what, n in sorted(left_aside.items()) if n]
    return every


def _drawn(path: str, head: Head) -> Drawn:
    """Return a label object with the parts that enclose something."""
    parts: list[Part] = []
    reader = reader_of(head)
    if reader == "dicom_seg":
        for segment in head.get("SegmentSequence", ()):
            number = segment.get("SegmentNumber")
            # Number 0 of a label map is its background.
            if isinstance(number, int) and number > 0:
                parts.append(Part(number, codes.segment_name(segment)))
    elif reader == "rtstruct":
        for region in head.get("Regions", ()):
            if region["Closed"]:
                parts.append(Part(int(region["Number"]), region["Name"] or f"region {region['Number']}"))
    else:
        for group in head.get("Groups", ()):
            if group["Regions"]:
                name = group["Finding"] or group["Name"] or f"region {group['Number']}"
                parts.append(Part(int(group["Number"]), name))
    return Drawn(path, reader, tuple(parts), str(head.get("LabelTime", "")), head)


def reader_of(head: Head) -> str:
    """Return the reader of a label object."""
    return codes.READERS[str(head["SOPClassUID"])]


class _Index:
    """Finds the images that an object was drawn on, by instance, by series, or by frame of reference."""

    def __init__(self, units: Sequence[Unit], tree: Tree) -> None:
        self._heads, self._root, self._salt = tree.heads.found, tree.root, tree.salt
        self._labels, self._skipped = tree.label_heads, tree.skipped
        self._instance: dict[str, list[Unit]] = {}
        self._series: dict[str, list[Unit]] = {}
        self._place: dict[str, list[Unit]] = {}
        for unit in units:
            heads = [self._heads[p] for p in unit.source.paths if p in self._heads]
            for known, keyword in (
                (self._instance, "SOPInstanceUID"),
                (self._series, "SeriesInstanceUID"),
                (self._place, "FrameOfReferenceUID"),
            ):
                for value in {str(h.get(keyword) or "") for h in heads} - {""}:
                    known.setdefault(value, []).append(unit)

    def images_of(self, path: str, head: Head) -> tuple[list[Unit], str]:
        """Return the images of an object and what is to be said; without images, why it cannot be theirs."""
        places = set(head.get("PlaceUIDs", ()))
        named = self._by(self._instance, head.get("ReferencedInstanceUIDs", ()))
        named = named or self._by(self._series, head.get("ReferencedSeriesUIDs", ()))
        if not named:
            # Without a reference that leads anywhere, the place in the patient has to tell, and must be one image's.
            near = [u for u in self._by(self._place, places) if u.patient == str(head.get("PatientID", ""))]
            return (near, "") if len(near) == 1 else ([], "")
        fit = [u for u in named if not places or not self._places(u) or self._places(u) & places]
        if fit:
            return fit, ""
        if reader_of(head) == "rtstruct" and rtstruct.lies_on(self._root / path, self._planes(named), self._salt):
            return named, (
                f"{path} names a frame of reference of its own; every contour lies in the plane of the image that it "
                "names, so it was used."
            )
        return [], (
            "Its frame of reference is not that of the images it refers to. "
            "Expected: one frame of reference. What to do: register and export it again."
        )

    def left_out(self, head: Head) -> str | None:
        """Return why the images that an object names, and that are here, were left out; None where none are here."""
        wanted = {*head.get("ReferencedInstanceUIDs", ()), *head.get("ReferencedSeriesUIDs", ())}
        keywords = ("SOPInstanceUID", "SeriesInstanceUID")
        paths = [
            p
            for p, h in self._heads.items()
            if p not in self._labels and wanted & {str(h.get(k) or "") for k in keywords}
        ]
        if not paths:
            return None
        folders = {p.rpartition("/")[0] for p in paths}
        own = [s.reason for s in self._skipped if s.path in paths]
        near = [s.reason for s in self._skipped if s.path.rpartition("/")[0] in folders]
        return next(iter([*own, *near]), "they are no images that can be learnt from.")

    def _planes(self, units: Sequence[Unit]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Return a point and the normal of every instance of images."""
        planes: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        for head in (self._heads[p] for u in units for p in u.source.paths if p in self._heads):
            position, turn = head.get("ImagePositionPatient"), head.get("ImageOrientationPatient")
            if isinstance(position, list) and isinstance(turn, list):
                normal = np.cross(turn[:3], turn[3:])
                planes[str(head.get("SOPInstanceUID"))] = np.array(position), normal / np.linalg.norm(normal)
        return planes

    def add(self, head: Head, own: Sequence[Unit]) -> None:
        """Remember where an object leads that others refer to."""
        if own and head.get("SOPInstanceUID"):
            self._instance.setdefault(str(head["SOPInstanceUID"]), list(own))

    def of_group(self, group: Mapping[str, Any]) -> list[Unit]:
        """Return the images that a measurement group speaks of; none where it does not say."""
        return self._by(self._instance, (*group["InstanceUIDs"], *group["SegmentUIDs"]))

    def is_placed(self, unit: Unit) -> bool:
        """Tell whether the image's header says where it lies in the patient."""
        head = self._heads.get(unit.source.paths[0], {})
        said = (head, head.get("PerFrame", {}))
        return unit.source.header.get("k_axis") != "time" and any("ImagePositionPatient" in h for h in said)

    def _places(self, unit: Unit) -> set[str]:
        heads = (self._heads.get(p, {}) for p in unit.source.paths)
        return {str(h["FrameOfReferenceUID"]) for h in heads if h.get("FrameOfReferenceUID")}

    def _by(self, known: Mapping[str, list[Unit]], values: Iterable[str]) -> list[Unit]:
        return list(dict.fromkeys(u for v in values for u in known.get(v, ())))


# Masks ------------------------------------------------------------------------------------------------------------


def _masks(units: Sequence[Unit], found: _Found, chosen: Mapping[str, str]) -> Draft | None:
    """Return the draft with a mask for every image that structures are drawn on; None where there is none.

    Args:
        units: All images.
        found: The objects by image.
        chosen: Key to name of the structures to learn; empty takes all.
    """
    taken = {u: t for u, own in found.by_unit.items() if (t := _taken(own, chosen, found))}
    if not taken:
        return None
    names, sources = _sources(taken, found)
    apart = _apart(sources, found)
    if not apart:
        return None
    if len(apart) < len(taken):
        taken = {u: own for u, own in taken.items() if u in apart}
        names, sources = _sources(taken, found)
    refusals = list(found.refusals)
    if len(names) > MAX_LABELS:
        refusals.append(
            DataError(
                f"{len(names)} structures of different names",
                expected=f"at most {MAX_LABELS}",
                remedy="choose what to learn with --target NAME, or several with commas between them",
            )
        )
    items = [Item({"image": u}, sources.get(u)) for u in units]
    readers = Counter(d.reader for own in taken.values() for d, _ in own)
    notes = [f"Labels come from {n} DICOM {KINDS[r]}." for r, n in sorted(readers.items())]
    shown = Counter(key for own in taken.values() for key in {codes.key_of(p.name) for _, parts in own for p in parts})
    rare = [f"{names[k]!r} in {n}" for k, n in sorted(shown.items()) if n < len(taken)]
    if rare:
        notes.append(f"Not every one of {len(taken)} images has all structures: {_listed(rare)}.")
    if len(names) > 1:
        notes.append("Where one structure should lie inside another, the inner one would keep the voxels.")
    return Draft(
        tuple(items),
        target_name=", ".join(names.values()) if len(names) == 1 else "structures",
        labels=dict(enumerate(names.values(), start=1)),
        notes=(*notes, *found.notes, *_unclear(found)),
        refusals=tuple(refusals),
    )


def _taken(own: Sequence[Drawn], chosen: Mapping[str, str], found: _Found) -> list[tuple[Drawn, tuple[Part, ...]]]:
    """Return the objects and parts that make an image's mask: of one kind, the newest for every structure."""
    kind = next(k for k in KINDS if any(d.reader == k for d in own))
    wanted = [d for d in own if d.reader == kind]
    taken: list[tuple[Drawn, tuple[Part, ...]]] = []
    owner: dict[str, Drawn] = {}
    for drawn in sorted(wanted, key=lambda d: (d.when, d.path), reverse=True):
        keys = {codes.key_of(p.name) for p in drawn.parts if not chosen or codes.key_of(p.name) in chosen}
        again = sorted(k for k in keys if k in owner)
        if any(owner[k].when == drawn.when for k in again):
            found.unclear.append(
                (
                    drawn.path,
                    "Two objects of the same date draw the same structure on one image. What to do: keep one of them.",
                )
            )
            return []
        if again:
            found.notes.append(f"{drawn.path} is older than {owner[again[0]].path}, which draws the same structures.")
        new = tuple(p for p in drawn.parts if codes.key_of(p.name) in keys - set(again))
        if new:
            if taken:
                found.notes.append(
                    f"{drawn.path} and {taken[0][0].path} are put together: they draw different structures."
                )
            taken.append((drawn, new))
            owner |= dict.fromkeys((codes.key_of(p.name) for p in new), drawn)
    return taken


def _source(
    unit: Unit,
    taken: Sequence[tuple[Drawn, tuple[Part, ...]]],
    value: Mapping[str, int],
    names: Sequence[str],
    found: _Found,
) -> Source:
    """Return the Source of an image's mask."""
    header: Header = {k: unit.source.header[k] for k in PLACE if k in unit.source.header}
    entries = [(n, p.number, value[codes.key_of(p.name)]) for n, (_, parts) in enumerate(taken) for p in parts]
    header |= {
        "channels": 1,
        "dtype": "uint8",
        "placed": unit in found.placed,
        "n_files": len(taken),
        "owners": tuple(float(n) for n, _, _ in entries),
        "numbers": tuple(float(n) for _, n, _ in entries),
        "values": tuple(float(v) for _, _, v in entries),
        # By label value from 1, for messages.
        "names": "\n".join(n.replace("\n", " ") for n in names),
    }
    paths = (*(d.path for d, _ in taken), *unit.source.paths)
    return Source(paths, unit.source.root, taken[0][0].reader, kind="labels", header=header)


def _sources(
    taken: Mapping[Unit, Sequence[tuple[Drawn, tuple[Part, ...]]]], found: _Found
) -> tuple[dict[str, str], dict[Unit, Source]]:
    """Return key to name of all structures, in the order of their label values, and the mask of every image."""
    names = codes.agreed(p.name for own in taken.values() for _, parts in own for p in parts)
    value = {key: number for number, key in enumerate(names, start=1)}
    return names, {u: _source(u, own, value, list(names.values()), found) for u, own in taken.items()}


def _apart(sources: Mapping[Unit, Source], found: _Found) -> dict[Unit, Source]:
    """Return the sources whose structures fit into one mask; the others leave their image without a label.

    Only what has several structures is decoded, and as many voxels as the label values are looked for in.
    """
    several = [u for u, s in sources.items() if isinstance(v := s.header["values"], tuple) and len(set(v)) > 1]
    voxels = sum(int(np.prod(np.asarray(sources[u].header.get("size", (1.0,))))) for u in several)
    chosen = several[:: max(1, -(-voxels // MAX_VOXELS))]

    def look(unit: Unit) -> str:
        try:
            load(sources[unit])
        except OverlapError as error:
            return reason(error)
        except LucencyError:
            # What cannot be read is counted as such when the values are looked at.
            return ""
        return ""

    with ThreadPoolExecutor(WORKERS) as pool:
        said = dict(zip(chosen, pool.map(look, chosen), strict=True))
    found.unclear += [(sources[u].where, why) for u, why in said.items() if why]
    return {u: s for u, s in sources.items() if not said.get(u)}


def _unclear(found: _Found) -> list[str]:
    """Return what is said of label objects that are read but not used; their images count as unlabelled."""
    if not found.unclear:
        return []
    listed = "; ".join(f"{path}: {why.rstrip('.')}" for path, why in found.unclear[:LISTED])
    return [f"{len(found.unclear)} DICOM label objects do not say one thing and were not used: {listed}."]


def _nothing_left(found: _Found) -> tuple[LucencyError, ...]:
    """Return the refusal where there are label objects and not one can be used."""
    if not found.unclear:
        return ()
    path, why = found.unclear[0]
    return (
        DataError(
            f"None of the DICOM label objects can be used; the first reason: {why}",
            expected="labels that say one thing of each image",
            where=path,
            remedy="mend the objects, take them out of the folder, or choose one structure with --target NAME",
        ),
    )


# Measurements -----------------------------------------------------------------------------------------------------


def measurements_in(objects: Mapping[Unit, list[Drawn]]) -> dict[str, str]:
    """Return key to name of everything that reports measure or find: ``Volume``, and ``Nodule Volume`` by finding."""
    return codes.agreed(
        name for own in objects.values() for d in own for g in d.head.get("Groups", ()) for name, _, _ in _said(g)
    )


def _said(group: Mapping[str, Any]) -> Iterable[tuple[str, str | float, str]]:
    """Yield (name, value, unit) of a group; a name alone, and behind the finding that it belongs to."""
    for name, value, unit in [*group["Numbers"], *((n, w, "") for n, w in group["Words"])]:
        yield name, value, unit
        if group["Finding"] and name != "Finding":
            yield f"{group['Finding']} {name}", value, unit


def _measured(
    units: Sequence[Unit], objects: Mapping[Unit, list[Drawn]], key: str, found: _Found
) -> tuple[list[Item], list[str]]:
    """Return the items with the number or word of that name; an image with several keeps none."""
    values: dict[Unit, Target] = {}
    seen_units: set[str] = set()
    several = 0
    for unit in units:
        # The newest report that has the name speaks.
        reports = sorted(objects.get(unit, ()), key=lambda d: (d.when, d.path), reverse=True)
        said = [[s for g in d.head.get("Groups", ()) for s in _said(g) if codes.key_of(s[0]) == key] for d in reports]
        newest = next((s for s in said if s), [])
        if len({(str(v), u) for _, v, u in newest}) > 1:
            several += 1
        elif newest:
            values[unit] = str(newest[0][1])
            seen_units.add(newest[0][2])
    if len(seen_units) > 1:
        found.refusals.append(
            DataError(
                f"Measured in {len(seen_units)} units: {', '.join(sorted(seen_units))}",
                expected="one unit",
                where="--target",
                remedy="convert the reports to one unit, or choose another measurement",
            )
        )
    notes = []
    if several and not values:
        found.refusals.append(
            DataError(
                f"{several} images have several values of that name",
                expected="one for each image",
                where="--target",
                remedy="put the finding before the name, as in 'Nodule Diameter'",
            )
        )
    elif several:
        notes.append(
            f"{several} images have several values of that name and are kept as unlabelled; "
            "put the finding before the name to choose one."
        )
    if seen_units - {""}:
        notes.append(f"The target is measured in {', '.join(sorted(seen_units))}.")
    return [Item({"image": u}, values.get(u)) for u in units], notes


def _listed(names: Iterable[str]) -> str:
    every = list(names)
    return ", ".join(every[:LISTED]) + (f" and {len(every) - LISTED} more" if len(every) > LISTED else "")
