"""Corrected work comes back from the tools that people draw with, onto the grids of the images it was drawn on.

``collected(path, cases, labels)`` finds the files, their cases and their formats; nothing is decoded before it is asked
for.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lucency.annotate.exchange import source_grid
from lucency.annotate.marked import Drawings
from lucency.annotation import Annotation, values_in
from lucency.case import Case, Skipped, Source, pseudonym
from lucency.errors import LucencyError, ReadError
from lucency.image import Image
from lucency.read import load, snap
from lucency.read.codes import key_of, segment_name
from lucency.read.files import SUFFIXES, stem_of, suffix_of
from lucency.read.formats import completed, reason
from lucency.read.head import Head
from lucency.read.labelgrid import Drawing, Grid
from lucency.read.layout import Tree, tree_of
from lucency.read.marks import Marked, read_marks
from lucency.read.pairs import MASK_WORDS
from lucency.read.placing import layered, placed
from lucency.read.seg_nrrd import SUFFIX, is_segmentation, read_segments
from lucency.write.dicom_source import measured
from lucency.write.pictures import PICTURES

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


@dataclass(frozen=True)
class _Series:
    """What stands for the identifiers of an image in the heads of a tree, and whether its files say where it lies."""

    own: set[str]
    place: set[str]
    patient: set[str]
    placed: bool


class _Finder:
    """Looks through one tree."""

    def __init__(self, tree: Tree, cases: Mapping[str, Case], labels: Mapping[int, str]) -> None:
        self.tree, self.cases, self.labels = tree, cases, labels
        self.items: list[Item] = []
        self.left_out: list[Skipped] = []
        self.notes: list[str] = []
        self.series: dict[str, _Series] = {}

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
        self._agrees(names)
        source = Source((path,), str(self.tree.root), SUFFIXES[suffix_of(name)], kind="labels")
        self.items.append(Item(case.id, "", path, _Mask(case, source, {**names, **self.labels})))

    def _agrees(self, names: Mapping[int, str]) -> None:
        """Refuse a label file that gives a name of the model to another value.

        Raises:
            ReadError: With the first such name.
        """
        value = {key_of(name): v for v, name in self.labels.items()}
        for number, name in names.items():
            if value.get(key_of(name), number) != number:
                raise ReadError(
                    f"Value {number} is called {name!r} in {snap.NAME}",
                    expected=f"value {value[key_of(name)]} for it, as the model has it",
                    where=snap.NAME,
                    remedy="save the mask with the values that were given out, and their label file",
                )

    def _dicom(self, path: str) -> None:
        """Find the image of a DICOM segmentation: by what it refers to, else by its one frame of reference."""
        head, near = self.tree.label_heads[path], []
        wanted = {*head.get("ReferencedSeriesUIDs", ()), *head.get("ReferencedInstanceUIDs", ())}
        for case in (c for c in self.cases.values() if c.sources[0].reader == "dicom"):
            seen = self._known(case)
            if wanted & seen.own:
                self._drawn_on(case, path, head, placed=seen.placed)
                return
            same = seen.place & set(head.get("PlaceUIDs", ())) and seen.placed
            if same and seen.patient == {head.get("PatientID")}:
                near.append(case)
        if len(near) == 1:
            self._drawn_on(near[0], path, head, placed=True)
            return
        raise ReadError("It was drawn on none of the images", expected="a segmentation of one of the cases", where=path)

    def _known(self, case: Case) -> "_Series":
        """Return by what a DICOM segmentation may refer to an image; its files are opened once."""
        if case.id not in self.series:
            seen = measured(case.sources[0], source_grid(case))
            place, patient = (str(seen.head.get(k) or "") for k in ("FrameOfReferenceUID", "PatientID"))
            own = self._disguised(seen.head.SeriesInstanceUID, *(uid for _, uid in seen.series))
            self.series[case.id] = _Series(own, self._disguised(place), self._disguised(patient), placed=seen.placed)
        return self.series[case.id]

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
            load_it = Drawings(self.cases[case_id], by, slices, labels, marks.asked)
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
                f"{mask.size[0]} pictures of {mask.size[2]} × {mask.size[1]} pixels",
                expected=f"{image.size[0]} of {image.size[2]} × {image.size[1]}, as the image has",
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
