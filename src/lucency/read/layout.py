"""What every layout is given and what it answers: a tree of files, a draft of the cohort, the evidence for it."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path, PurePosixPath

from lucency.case import Skipped, Source, Target, pseudonym
from lucency.errors import DataError, LucencyError, UsageError
from lucency.read import archive, codes, dicom, directory, files, headers, npz
from lucency.read.drawn import Drawn
from lucency.read.formats import reason
from lucency.read.head import Head
from lucency.read.outlines import FILL
from lucency.read.table import Table, read_table

#: Names that mark the array of an .npz file that is a mask.
MASK_ARRAYS = {"mask", "masks", "seg", "segmentation", "label", "labels", "gt"}
#: Names that mark an .npz array as frames over time.
TIME_ARRAYS = {"frames", "video", "clip", "cine"}


@dataclass(frozen=True)
class ReadOptions:
    """What the user may say about the data.

    Args:
        layout: Name of the layout, instead of the best evidence.
        target: Column to learn, or the folder of masks where there are several.
        patient: Column, or a regular expression with one group, searched in the relative path.
        test: A further folder, file or table in any layout; its cases become the part "test".
        salt: Secret of the run; patients and DICOM series are named by salted digests.
        allow_leak: Go on when supplied parts share a patient.
        nan: As in :func:`lucency.read.load`; used when masks are looked at.
        cache: SQLite file in which the headers of DICOM files are kept for the next time; None keeps none.
        missing_slices: ``"refuse"`` leaves a DICOM series with a hole out, ``"interpolate"`` fills it in and says so.
        boxes: Boxes are asked for; masks become the boxes around them.
        classes: Classes of boxes to keep; empty keeps all.
        visits: Column that says when images were taken: those of a patient become one sequence; empty joins none.
        pixel_size: Column with the size of pixels in mm, ``"COLUMN:full"`` where it is of the image before it was made
            smaller, ``"none"`` for no column; empty takes a column by its name.
        outlines: ``"fill"`` lets masks cover what their lines enclose; empty leaves them as they are.
        untrained: Do not refuse images from which nothing can be learned; the cohort then says why.

    Raises:
        UsageError: Another word for ``missing_slices``.
    """

    layout: str | None = None
    target: str | None = None
    patient: str | None = None
    test: Path | None = None
    salt: bytes = b""
    allow_leak: bool = False
    nan: float | None = None
    cache: Path | None = None
    missing_slices: str = "refuse"
    untrained: bool = False
    boxes: bool = False
    classes: tuple[str, ...] = ()
    visits: str = ""
    pixel_size: str = ""
    outlines: str = ""

    def __post_init__(self) -> None:
        if self.outlines not in ("", FILL):
            raise UsageError(f"outlines = {self.outlines!r}", expected=FILL, where="--set outlines")
        if self.missing_slices not in ("refuse", "interpolate"):
            raise UsageError(
                f"missing_slices = {self.missing_slices!r}",
                expected="refuse or interpolate",
                where="--set missing_slices",
                remedy="write --set missing_slices=interpolate to have missing slices filled in",
            )

    @property
    def fill(self) -> bool:
        """Whether missing slices are filled in."""
        return self.missing_slices == "interpolate"


@dataclass(frozen=True)
class Unit:
    """One image as it lies on the disk: a file, or the files of one DICOM series.

    Args:
        path: Relative path that stands for it: the file, or the folder of the series with its first file.
        source: Without header and checksum, except for DICOM.
        names: What a table may call it.
        patient: Pseudonym of the DICOM Patient ID, or ``""``.
        facts: From DICOM.
        uid: For DICOM, the pseudonym of the series; with a slash and more behind it where the series holds several
            images.
        mask: Array of the same .npz file that is a mask, or ``""``.
    """

    path: str
    source: Source
    names: frozenset[str]
    patient: str = ""
    facts: Mapping[str, str | float] = field(default_factory=dict)
    uid: str = ""
    mask: str = ""

    @property
    def stem(self) -> str:
        """File name without its image suffix."""
        return files.stem_of(PurePosixPath(self.path).name)

    @property
    def folders(self) -> tuple[str, ...]:
        """The folders above it, from the data folder down."""
        return PurePosixPath(self.path).parts[:-1]

    def __hash__(self) -> int:
        return hash((self.path, self.source.item))


@dataclass(frozen=True)
class Spaced:
    """The size of pixels as a table states it.

    Args:
        spacing: (k, j, i) mm.
        column: That states it.
        full: (J, I) of the image that it is of, where that was made smaller for the file; 0 is not known. Empty where
            it is of the file's own pixels.
    """

    spacing: tuple[float, float, float]
    column: str
    full: tuple[float, float] | tuple[()] = ()

    def of(self, size: tuple[float, ...]) -> tuple[float, float, float]:
        """Return (k, j, i) mm of an image of (K, J, I) pixels."""
        k, j, i = self.spacing
        if not self.full:
            return k, j, i
        # One side alone tells how much smaller: proportions are kept.
        ratios = [whole / own if whole else 0.0 for whole, own in zip(self.full, size[1:], strict=True)]
        return k, j * (ratios[0] or ratios[1]), i * (ratios[1] or ratios[0])


@dataclass(frozen=True)
class Item:
    """One case before its files are opened.

    Args:
        units: By modality name; one, called ``"image"``, in the plain case.
        target: Word from a folder or table, or the Source of a mask.
        part: ``"train"``, ``"val"``, ``"test"`` or ``""``.
        patient: Key that tells patients apart, in clear; ``""`` unknown.
        facts: For the Case.
        id: Given by the layout; ``""`` makes it from the file name.
        spacing: From a table, where the file has none.
        clinical: Further columns of tables, to number or word.
        region: Mask beside the image, where it is not what is to be learned.
        drawn: Boxes as a label file states them, not yet checked; None where no file speaks of the image.
        visit: When the image was taken, in any unit that orders a patient's images; None where nobody asked.
        earlier: The patient's images before this one, in the order of time, where they were put together.
    """

    units: Mapping[str, Unit]
    target: Target = None
    part: str = ""
    patient: str = ""
    facts: Mapping[str, str | float] = field(default_factory=dict)
    id: str = ""
    spacing: Spaced | None = None
    clinical: Mapping[str, str | float] = field(default_factory=dict)
    region: Source | None = None
    drawn: tuple[Drawn, ...] | None = None
    visit: float | None = None
    earlier: tuple["Item", ...] = ()

    @property
    def unit(self) -> Unit:
        """The first modality's image."""
        return self.units[min(self.units)]


@dataclass(frozen=True)
class Draft:
    """What a layout would make of the tree, before any pixel is decoded.

    Args:
        items: The cases.
        target_name: Column or folder that gives the target.
        labels: Mask value to name, where a file says so.
        ignore: Mask value that means "not annotated".
        classes: Class names in order, where a file says so.
        patient_key: How patients were told apart; ``""`` unknown.
        notes: For the report.
        skipped: Files that cannot be used.
        refusals: What forbids reading the data so, should this layout be chosen.
    """

    items: tuple[Item, ...]
    target_name: str = ""
    labels: Mapping[int, str] = field(default_factory=dict)
    ignore: int | None = None
    classes: tuple[str, ...] = ()
    patient_key: str = ""
    notes: tuple[str, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    refusals: tuple[LucencyError, ...] = ()


@dataclass(frozen=True)
class Candidate:
    """A layout's claim on the data, for the preview.

    Args:
        name: Layout, as ``--layout`` takes it.
        score: 0 to 1.
        evidence: Sentences.
        rows: The first cases it would read: id, image, target, part.
        draft: All of them.
    """

    name: str
    score: float
    evidence: tuple[str, ...]
    draft: Draft = field(repr=False)

    @property
    def rows(self) -> tuple[tuple[str, str, str, str], ...]:
        """(case, image, target, part) of the first five cases."""
        return tuple(
            (
                i.id or (PurePosixPath(i.unit.path).parent.name if i.unit.uid else "") or i.unit.stem,
                i.unit.path,
                i.target.where if isinstance(i.target, Source) else str(i.target),
                i.part,
            )
            for i in self.draft.items[:5]
        )


@dataclass(frozen=True)
class Tree:
    """The visible files of one data folder, or one file.

    Args:
        root: Absolute folder.
        paths: Relative posix paths, sorted.
        only_table: Use this table alone; it may lie outside the folder.
        salt: Secret of the run, for the pseudonyms of DICOM identifiers.
        cache: As in :class:`ReadOptions`.
        fill: Fill in missing DICOM slices between others.
        pixel_size: As in :class:`ReadOptions`.
    """

    root: Path
    paths: tuple[str, ...]
    only_table: Path | None = None
    salt: bytes = b""
    cache: Path | None = None
    fill: bool = False
    pixel_size: str = ""

    @cached_property
    def units(self) -> tuple[Unit, ...]:
        """Every image of the tree."""
        plain = [self._unit(p) for p in self.paths if files.SUFFIXES.get(files.suffix_of(p), "dicom") != "dicom"]
        return tuple(u for u in plain if u is not None) + self._series[0]

    @cached_property
    def skipped(self) -> tuple[Skipped, ...]:
        """Files that look like images but cannot be opened."""
        broken = [
            Skipped(p, "Not readable as npz (a zip archive of arrays)") for p in self.paths if self._broken_npz(p)
        ]
        return (*broken, *self._packed[1], *self._series[1])

    @cached_property
    def notes(self) -> tuple[str, ...]:
        """What was left out, counted."""
        return self._series[2]

    @cached_property
    def containers(self) -> tuple[str, ...]:
        """npz files that hold a whole data set."""
        return tuple(p for p in self.paths if files.suffix_of(p) == ".npz" and is_container(self.arrays(p)))

    @cached_property
    def tables(self) -> tuple[Table, ...]:
        """Every table that can be read; a broken one is no table."""
        if self.only_table is not None:
            inside = self.only_table.is_relative_to(self.root)
            where = self.only_table.relative_to(self.root).as_posix() if inside else self.only_table.name
            found = [read_table(self.only_table, where)]
        else:
            found = [read_table(self.root / p, p) for p in self.paths if is_table(p)]
        return tuple(t for t in found if t is not None)

    def arrays(self, path: str) -> npz.Shapes:
        """Return name to shape and type of a container's arrays; nothing when it cannot be opened."""
        if path not in self._arrays:
            try:
                self._arrays[path] = npz.shapes_of(self.root / path)
            except Exception:
                self._arrays[path] = {}
        return self._arrays[path]

    @cached_property
    def _arrays(self) -> dict[str, npz.Shapes]:
        return {}

    def _broken_npz(self, path: str) -> bool:
        return files.suffix_of(path) == ".npz" and not self.arrays(path)

    def _unit(self, path: str) -> Unit | None:
        suffix = files.suffix_of(path)
        # The pixels of .mhd and .nhdr lie in a second file, which has no image suffix.
        if suffix == ".npz":
            return self._npz_unit(path)
        return Unit(path, Source((path,), str(self.root), files.SUFFIXES[suffix]), names_of(path))

    def _npz_unit(self, path: str) -> Unit | None:
        shapes = {n: s for n, s in self.arrays(path).items() if len(s[0]) >= 2 and s[1].kind in "biuf"}
        masks = sorted(n for n in shapes if n.lower() in MASK_ARRAYS)
        images = sorted((n for n in shapes if n not in masks), key=lambda n: (-_voxels(shapes[n][0]), n))
        if is_container(self.arrays(path)) or not images:
            return None
        image = images[0]
        facts: dict[str, int | float | str | bool | tuple[float, ...]] = {}
        if image.lower() in TIME_ARRAYS:
            facts["k_axis"] = "time"
        mask = next((m for m in masks if shapes[m][0] == shapes[image][0]), "")
        return Unit(path, Source((path,), str(self.root), "npz", image, header=facts), names_of(path), mask=mask)

    @cached_property
    def heads(self) -> headers.Heads:
        """The headers of all DICOM files, those in zip archives included."""
        # Whatever no other format claims by its name may be DICOM; its first bytes tell.
        plain = [p for p in self.paths if self._maybe_dicom(p)]
        return headers.heads(self.root, [*plain, *self._packed[0]], salt=self.salt, cache=self.cache)

    @cached_property
    def label_heads(self) -> dict[str, Head]:
        """The heads of DICOM objects drawn on images: segmentations, structure sets, reports."""
        return {p: h for p, h in self.heads.found.items() if h.get("SOPClassUID") in codes.READERS}

    def _maybe_dicom(self, path: str) -> bool:
        suffix = files.suffix_of(path)
        if suffix:
            return files.SUFFIXES[suffix] == "dicom"
        return not is_table(path) and not path.lower().endswith((archive.SUFFIX, *files.NEVER_DICOM))

    @cached_property
    def _packed(self) -> tuple[tuple[str, ...], tuple[Skipped, ...], tuple[str, ...]]:
        """Virtual paths of what may be DICOM inside zip archives, what of them is not read, and notes."""
        inside: list[str] = []
        skipped: list[Skipped] = []
        notes: list[str] = []
        for path in (p for p in self.paths if p.lower().endswith(archive.SUFFIX)):
            try:
                found = archive.contents(self.root / path)
            except LucencyError as error:
                skipped.append(Skipped(path, reason(error)))
                continue
            except OSError as error:
                skipped.append(Skipped(path, f"The file cannot be opened ({type(error).__name__})."))
                continue
            names = [n for n in found.entries if files.visible(n)]
            maybe = [n for n in names if self._maybe_dicom(n)]
            inside.extend(f"{path}/{n}" for n in maybe)
            skipped.extend(Skipped(f"{path}/{n}", why) for n, why in found.refused.items())
            if len(maybe) < len(names):
                notes.append(
                    f"{len(names) - len(maybe)} files in {path} are not DICOM; archives are read for DICOM only."
                )
        return tuple(inside), tuple(skipped), tuple(notes)

    @cached_property
    def _series(self) -> tuple[tuple[Unit, ...], tuple[Skipped, ...], tuple[str, ...]]:
        heads = self.heads
        if not heads.found and not heads.broken:
            return (), (), (*self._packed[2], *heads.notes)
        listed = directory.notes(heads.found, {*self.paths, *self._packed[0]})
        lists = set(directory.directories(heads.found))
        found = {p: h for p, h in heads.found.items() if p not in lists and p not in self.label_heads}
        made = dicom.grouped(self.root, found, heads.broken, fill=self.fill)
        units = tuple(self._series_unit(s) for s in made.images)
        counts = Counter(made.left_out.values())
        notes = [f"{n} DICOM files left out: {why}." for why, n in sorted(counts.items())]
        return units, made.skipped, (*notes, *made.notes, *listed, *self._packed[2], *heads.notes)

    def _series_unit(self, series: dicom.Series) -> Unit:
        source = Source(series.paths, str(self.root), "dicom", header=series.header)
        parents = {str(PurePosixPath(p).parent.name) for p in series.paths}
        names = {
            series.uid.partition("/")[0],
            series.patient,
            *series.paths,
            *(parents if len(parents) == 1 else ()),
        } - {""}
        if len(series.paths) == 1:
            names |= names_of(series.paths[0])
        first = min(series.paths)
        return Unit(first, source, frozenset(names), series.patient, series.facts, series.uid)


def is_container(shapes: npz.Shapes) -> bool:
    """Tell whether an npz file holds a whole data set: stacked images with a row of labels each."""
    return any(f"{p}_images" in shapes for p in ("train", "val", "test")) or (
        "images" in shapes and len(shapes["images"][0]) >= 3
    )


def names_of(path: str) -> frozenset[str]:
    """Return what a table may call a file: its path or name, with or without suffix."""
    place = PurePosixPath(path)
    stem = files.stem_of(place.name)
    return frozenset({path, place.name, stem, (place.parent / stem).as_posix()})


def tree_of(data: Path, *, salt: bytes = b"", cache: Path | None = None, fill: bool = False) -> Tree:
    """Return the tree of a data folder, of one image file, or of the folder of one table.

    Args:
        data: Folder or file.
        salt: Secret of the run.
        cache: As in :class:`ReadOptions`.
        fill: Fill in missing DICOM slices between others.

    Raises:
        UsageError: No such path.
        DataError: An empty folder.
    """
    if not data.exists():
        raise UsageError("No such file or folder", where=data.name, remedy="check the path of the data")
    data = data.absolute()
    if data.is_file():
        if is_table(data.name):
            return Tree(data.parent, files.listing(data.parent), only_table=data, salt=salt, cache=cache, fill=fill)
        return Tree(data.parent, (data.name,), salt=salt, cache=cache, fill=fill)
    paths = files.listing(data)
    if not paths:
        raise DataError(
            "The folder is empty", expected="images", where=data.name, remedy="choose the folder that holds the images"
        )
    return Tree(data, paths, salt=salt, cache=cache, fill=fill)


def test_tree(tree: Tree, test: Path) -> tuple[Tree, Tree]:
    """Return the tree without the further test set, and the test set's own tree.

    Args:
        tree: The data.
        test: A folder, a file, or a table that names images beside itself or in the data.

    Raises:
        UsageError: No such path.
        DataError: An empty folder.
    """
    own = replace(tree_of(test, salt=tree.salt, cache=tree.cache, fill=tree.fill), pixel_size=tree.pixel_size)
    place = test.absolute()
    rest = tuple(p for p in tree.paths if not (tree.root / p).is_relative_to(place))
    if is_table(test.name) and not own.units:
        own = Tree(tree.root, rest, place, tree.salt, tree.cache, tree.fill, tree.pixel_size)
    return replace(tree, paths=rest), own


def is_table(path: str) -> bool:
    """Tell whether a file is a table by its name."""
    return path.lower().endswith(files.TABLE_SUFFIXES)


def is_lone_table(place: Path) -> bool:
    """Tell whether a path is a table with no image beside it: whatever is to be learned stands in its columns."""
    return place.is_file() and is_table(place.name) and not tree_of(place).units


def case_id_of(unit: Unit, salt: bytes) -> str:
    """Return the pseudonym of a DICOM series, or of one image of it; other images are named by their file."""
    return pseudonym(salt, unit.uid) if "/" in unit.uid else unit.uid


def _voxels(shape: tuple[int, ...]) -> int:
    count = 1
    for n in shape:
        count *= n
    return count
