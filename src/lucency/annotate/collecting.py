"""Corrected work comes back from the tools that people draw with, onto the grids of the images it was drawn on.

``collected(path, cases, labels)`` finds the files, their cases and their formats; nothing is decoded before it is asked
for.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from lucency.annotate.exchange import source_grid
from lucency.annotation import Annotation, values_in
from lucency.boxes import Box, edges_of, overlaps
from lucency.case import Case, Skipped, Source, pseudonym
from lucency.errors import LucencyError, ReadError
from lucency.image import Image
from lucency.read import load, snap
from lucency.read.codes import key_of, segment_name
from lucency.read.drawn import checked
from lucency.read.files import SUFFIXES, stem_of, suffix_of
from lucency.read.formats import completed, reason
from lucency.read.head import Head
from lucency.read.labelgrid import Drawing, Grid, Structure
from lucency.read.layout import Tree, tree_of
from lucency.read.marks import Marked, read_marks
from lucency.read.pairs import MASK_WORDS
from lucency.read.placing import layered, placed
from lucency.read.seg_nrrd import SUFFIX, is_segmentation, read_segments
from lucency.write.dicom_source import measured
from lucency.write.pictures import PICTURES

#: Rectangles of one label on neighbouring slices that overlap by this much are one box: a lesion changes less than by
#: half from a slice to the next.
JOINED = 0.5

#: How this program calls the slices of a case.
_SLICE = re.compile(r"(.+)__(\d{4,})")


@dataclass(frozen=True)
class Item:
    """The annotation of one case by one person, not loaded yet.

    Args:
        case: Case id.
        by: Who; empty where the file does not say.
        where: File, relative to the folder.
        load: Returns it; raises LucencyError where it cannot be used.
    """

    case: str
    by: str
    where: str
    load: Callable[[], Annotation]


@dataclass(frozen=True)
class Collected:
    """What a folder or file holds.

    Args:
        items: Sorted by case, then by who.
        left_out: Files and entries that cannot be used, with the reason.
        notes: For people.
    """

    items: tuple[Item, ...]
    left_out: tuple[Skipped, ...] = ()
    notes: tuple[str, ...] = ()


def collected(path: Path, cases: Sequence[Case], labels: Mapping[int, str] | None = None) -> Collected:
    """Find annotators' work on cases.

    Taken are 3D Slicer's ``.seg.nrrd``, DICOM segmentations, COCO and Label Studio's JSON, and masks as NIfTI, NRRD,
    MetaImage or pictures, with ITK-SNAP's ``labels.txt`` beside them. Files are matched by the name of the case
    (also with a word for masks behind it), DICOM by what it refers to. Each fault is named; none is fatal to the rest.

    Args:
        path: File or folder.
        cases: The images, one grid each.
        labels: Value to name as the model has them: known names keep their values, others get the next ones.

    Raises:
        UsageError: No such path.
        DataError: An empty folder.
    """
    finder = _Finder(tree_of(path), {c.id: c for c in cases}, labels or {})
    finder.find()
    found = tuple(sorted(finder.items, key=lambda i: (i.case, i.by, i.where)))
    return Collected(found, tuple(finder.left_out), tuple(finder.notes))


class _Finder:
    """Looks through one tree."""

    def __init__(self, tree: Tree, cases: Mapping[str, Case], labels: Mapping[int, str]) -> None:
        self.tree, self.cases, self.labels = tree, cases, labels
        self.items: list[Item] = []
        self.left_out: list[Skipped] = []
        self.notes: list[str] = []

    def find(self) -> None:
        """Look at every file once."""
        for path in self.tree.paths:
            name = path.rpartition("/")[2]
            if PICTURES in path.split("/")[:-1]:
                continue
            if name.lower().endswith(".json"):
                self._attempt(path, self._json)
            elif is_segmentation(Path(name)):
                self._attempt(path, self._slicer)
            elif path in self.tree.label_heads:
                self._attempt(path, self._dicom)
            elif SUFFIXES.get(suffix_of(name), "dicom") not in ("dicom", "npz", "npy"):
                self._attempt(path, self._mask)

    def _attempt(self, path: str, read: Callable[[str], None]) -> None:
        try:
            read(path)
        except LucencyError as error:
            self.left_out.append(Skipped(path, reason(error)))

    def _case(self, stem: str) -> Case:
        """Return the case that a file is named after.

        Raises:
            ReadError: None.
        """
        known = stem
        while known not in self.cases:
            shorter = next((w for w in sorted(MASK_WORDS) if re.search(rf"[._ -]{re.escape(w)}$", known.lower())), "")
            if not shorter:
                raise ReadError(
                    "No case has this name",
                    expected="the name of a case, also with a word like -seg or _label behind it",
                    where=stem,
                    remedy="name the file after its image",
                )
            known = known[: -len(shorter) - 1]
        return self.cases[known]

    # --- masks

    def _slicer(self, path: str) -> None:
        case = self._case(path.rpartition("/")[2][: -len(SUFFIX)])
        self.items.append(Item(case.id, "", path, _Slicer(case, self.tree.root / path, self.labels)))

    def _mask(self, path: str) -> None:
        name = path.rpartition("/")[2]
        case = self._case(stem_of(name))
        beside = self.tree.root / path[: -len(name)] / snap.NAME
        names = snap.read_label_file(beside) if beside.is_file() else {}
        source = Source((path,), str(self.tree.root), SUFFIXES[suffix_of(name)], kind="labels")
        self.items.append(Item(case.id, "", path, _Mask(case, source, {**names, **self.labels})))

    def _dicom(self, path: str) -> None:
        """Find the image of a DICOM segmentation: by what it refers to, else by its one frame of reference."""
        head, near = self.tree.label_heads[path], []
        wanted = {*head.get("ReferencedSeriesUIDs", ()), *head.get("ReferencedInstanceUIDs", ())}
        for case in (c for c in self.cases.values() if c.sources[0].reader == "dicom"):
            seen = measured(case.sources[0], source_grid(case))
            if wanted & self._disguised(seen.head.SeriesInstanceUID, *(uid for _, uid in seen.series)):
                self._drawn_on(case, path, head, placed=seen.placed)
                return
            place, patient = (str(seen.head.get(k) or "") for k in ("FrameOfReferenceUID", "PatientID"))
            same = self._disguised(place) & set(head.get("PlaceUIDs", ())) and seen.placed
            if same and self._disguised(patient) == {head.get("PatientID")}:
                near.append(case)
        if len(near) == 1:
            self._drawn_on(near[0], path, head, placed=True)
            return
        raise ReadError("It was drawn on none of the images", expected="a segmentation of one of the cases", where=path)

    def _disguised(self, *values: object) -> set[str]:
        """Return what stands for identifiers in the heads of this tree, which hold none themselves."""
        return {pseudonym(self.tree.salt, str(v).strip()) for v in values if str(v).strip()}

    def _drawn_on(self, case: Case, path: str, head: Head, *, placed: bool) -> None:
        source = _segmentation(case, self.tree.root / path, head, self.labels, placed=placed)
        names = dict(enumerate(str(source.header["names"]).split("\n"), start=1))
        self.items.append(Item(case.id, "", path, _Mask(case, source, names)))

    # --- marks

    def _json(self, path: str) -> None:
        marks = read_marks(self.tree.root / path)
        self.left_out += [Skipped(s.path, s.reason) for s in marks.skipped]
        self.notes += marks.notes
        by_case: dict[tuple[str, str], dict[int, Marked]] = {}
        for one in marks.images:
            try:
                case, k = self._place(one)
                slices = by_case.setdefault((case.id, one.by), {})
                if k in slices:
                    raise ReadError("The image is there a second time", where=one.where)
                slices[k] = one
            except LucencyError as error:
                self.left_out.append(Skipped(one.where, reason(error)))
        for (case_id, by), slices in by_case.items():
            labels = numbered(marks.labels, self.labels)
            load_it = _Marks(self.cases[case_id], by, slices, labels, marks.asked)
            self.items.append(Item(case_id, by, path, load_it))

    def _place(self, one: Marked) -> tuple[Case, int]:
        """Return the case and slice of a picture."""
        if one.case in self.cases:
            return self.cases[one.case], one.k
        stem = stem_of(one.name.replace("\\", "/").rpartition("/")[2])
        sliced = _SLICE.fullmatch(stem)
        if stem not in self.cases and sliced and sliced[1] in self.cases:
            return self.cases[sliced[1]], int(sliced[2]) - 1
        return self._case(stem), 0


def numbered(names: Iterable[str], labels: Mapping[int, str]) -> dict[int, str]:
    """Return value to name: known names keep their values, whatever their spelling; others get the next ones.

    Example:
        >>> numbered(["Liver", "cyst"], {3: "liver"})
        {3: 'liver', 4: 'cyst'}
    """
    found = dict(labels)
    known = {key_of(name) for name in found.values()}
    for name in names:
        if key_of(name) not in known:
            found[max(found, default=0) + 1] = name
            known.add(key_of(name))
    return found


def _segmentation(case: Case, file: Path, head: Head, labels: Mapping[int, str], *, placed: bool) -> Source:
    """Return the source of a DICOM segmentation drawn on a case, as :mod:`lucency.read.dicom_seg` takes it."""
    image = case.sources[0]
    numbers = [
        (int(s["SegmentNumber"]), segment_name(s)) for s in head.get("SegmentSequence", ()) if s["SegmentNumber"]
    ]
    if not numbers:
        raise ReadError("No segments", expected="a DICOM segmentation", where=file.name, remedy="export it again")
    every = numbered((name for _, name in numbers), labels)
    value = {key_of(name): v for v, name in every.items()}
    keep = ("size", "spacing", "spacing_known", "affine", "k_axis", "frames", "interpolated", "tilt", "mosaic")
    header = {k: image.header[k] for k in keep if k in image.header} | {
        "channels": 1,
        "dtype": "uint8",
        "placed": placed,
        "n_files": 1,
        "owners": tuple(0.0 for _ in numbers),
        "numbers": tuple(float(n) for n, _ in numbers),
        "values": tuple(float(value[key_of(name)]) for _, name in numbers),
        "names": "\n".join(every.get(n, "").replace("\n", " ") for n in range(1, max(every) + 1)),
    }
    # The label file by its name alone, so that no error shows more of its path.
    paths = (file.name, *(str(f) for f in image.files))
    return Source(paths, str(file.parent), "dicom_seg", kind="labels", header=header)


@dataclass(frozen=True, eq=False)
class _Slicer:
    """A segmentation of 3D Slicer that is loaded when it is asked for."""

    case: Case
    path: Path
    labels: Mapping[int, str] = field(default_factory=dict)

    def __call__(self) -> Annotation:
        """Return it on the image's grid."""
        image = source_grid(self.case)
        grid = Grid(image.affine, image.size)
        found = read_segments(self.path)
        labels = numbered((s.name for s in found.segments), self.labels)
        value = {key_of(name): v for v, name in labels.items()}
        onto = [placed(layer, grid, self.path.name) for layer in found.layers]
        structures = []
        for segment in found.segments if onto else ():
            drawing = Drawing(grid)
            for k, plane in enumerate(onto[segment.layer].array):
                drawing.add(k, plane == segment.value)
            structures.append(drawing.done(value[key_of(segment.name)], segment.value))
        notes = _moved(all(p.exact for p in onto), sum(p.lost for p in onto))
        return Annotation(self.case.id, layered(structures, grid, image.k_axis), labels, notes=notes)


@dataclass(frozen=True, eq=False)
class _Mask:
    """A mask file that is loaded when it is asked for."""

    case: Case
    source: Source
    names: Mapping[int, str]

    def __call__(self) -> Annotation:
        """Return it on the image's grid; a value without a name is called by its number."""
        image = source_grid(self.case)
        own = self.source.reader == "dicom_seg"
        mask = load(self.source if own else completed(self.source))
        exact, lost, array = True, 0, mask.array[0]
        flat = "raster" in (self.source.reader, self.case.sources[0].reader)
        if flat and mask.size != image.size:
            raise ReadError(
                f"A picture of {mask.size[2]} × {mask.size[1]} pixels",
                expected=f"{image.size[2]} × {image.size[1]}, as the image has",
                where=self.source.where,
                remedy="export the mask in the size of its image",
            )
        # A picture knows no place in the patient.
        if not flat and not mask.same_grid(image):
            on_image = placed(mask, Grid(image.affine, image.size), self.source.where)
            exact, lost, array = on_image.exact, on_image.lost, on_image.array
        labels = {**{v: str(v) for v in sorted(values_in(array)) if v}, **self.names}
        whole = Image(array[None], image.affine, kind="labels", unit="label", k_axis=image.k_axis)
        return Annotation(self.case.id, (whole,), labels, notes=_moved(exact, lost))


def _moved(exact: bool, lost: int) -> tuple[str, ...]:
    """Return what is said of labels that had to be brought onto the image's grid."""
    notes = () if exact else ("It lay on another grid; every voxel took the label of the nearest one.",)
    return (*notes, f"{lost} labelled voxels lie outside the image and were left out.") if lost else notes


@dataclass(frozen=True, eq=False)
class _Marks:
    """What one person drew on the slices of a case; decoded when it is asked for."""

    case: Case
    by: str
    slices: Mapping[int, Marked]
    labels: Mapping[int, str]
    asked: frozenset[str]

    def __call__(self) -> Annotation:
        """Return it on the image's grid."""
        image = source_grid(self.case)
        grid = Grid(image.affine, image.size)
        for k, one in sorted(self.slices.items()):
            if not 0 <= k < image.size[0] or (any(one.size) and one.size != image.size[1:]):
                raise ReadError(
                    f"Slice {k + 1} of {one.size[1]} × {one.size[0]} pixels",
                    expected=f"1 to {image.size[0]} of {image.size[2]} × {image.size[1]}",
                    where=one.where,
                    remedy="export it with the pictures that were given out",
                )
        layers = layered(self._structures(grid), grid, image.k_axis) if "regions" in self.asked else ()
        boxes, notes = self._boxes(image.size) if "boxes" in self.asked else (None, ())
        words = (c for one in self.slices.values() for c in one.classes)
        classes = tuple(dict.fromkeys(words)) if "classes" in self.asked else None
        labels = self.labels if layers else {}
        return Annotation(self.case.id, layers, labels, boxes, classes, self.by, notes=notes)

    def _structures(self, grid: Grid) -> list[Structure]:
        value = {key_of(name): v for v, name in self.labels.items()}
        drawings = {v: Drawing(grid) for v in self.labels}
        for k, one in self.slices.items():
            for region in one.regions:
                drawings[value[key_of(region.label)]].add(k, region.drawn(grid.size[1:]))
        return [drawing.done(v, v) for v, drawing in drawings.items()]

    def _boxes(self, size: tuple[int, int, int]) -> tuple[tuple[Box, ...], tuple[str, ...]]:
        """Return the boxes; those on the slices of a volume are put together."""
        known = {key_of(name): name for name in self.labels.values()}
        open_: list[tuple[str, Box]] = []
        closed: list[Box] = []
        notes: list[str] = []
        for k, one in sorted(self.slices.items()):
            tracks = one.tracks or ("",) * len(one.boxes)
            flat: list[tuple[str, Box]] = []
            for track, drawn in zip(tracks, one.boxes, strict=True):
                named = replace(drawn, label=known.get(key_of(drawn.label), drawn.label))
                found, bad, _ = checked([named], (1, *size[1:]))
                notes += [f"{s.path}: {s.reason}" for s in bad]
                flat += [(track, _at(b, k)) for b in found]
            reached = [(t, b) for t, b in open_ if b.high[0] == k]
            closed += [b for t, b in open_ if b.high[0] != k]
            open_ = _continued(reached, flat, closed)
        return (*closed, *(b for _, b in open_)), tuple(notes)


def _at(box: Box, k: int) -> Box:
    return replace(box, low=(float(k), *box.low[1:]), high=(k + 1.0, *box.high[1:]))


def _continued(
    before: Sequence[tuple[str, Box]], now: Sequence[tuple[str, Box]], closed: list[Box]
) -> list[tuple[str, Box]]:
    """Return the boxes that end on this slice: those of the last one that go on, and new ones; the rest are closed."""
    rest = list(before)
    grown: list[tuple[str, Box]] = []
    for track, box in now:
        fits = [n for n, (t, b) in enumerate(rest) if b.label == box.label and t == track]
        if not track and fits:
            flat = edges_of(
                [replace(rest[n][1], low=(0.0, *rest[n][1].low[1:]), high=(1.0, *rest[n][1].high[1:])) for n in fits]
            )
            shared = overlaps(edges_of([_at(box, 0)]), flat)[0]
            fits = [fits[int(shared.argmax())]] if shared.max() >= JOINED else []
        if not fits:
            grown.append((track, box))
            continue
        old = rest.pop(fits[0])[1]
        low = tuple(np.minimum(old.low, box.low).tolist())
        high = tuple(np.maximum(old.high, box.high).tolist())
        grown.append((track, Box(old.label, (low[0], low[1], low[2]), (high[0], high[1], high[2]))))
    closed += [b for _, b in rest]
    return grown
