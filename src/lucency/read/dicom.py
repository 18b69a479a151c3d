"""DICOM: the headers of a tree are sorted into images, each a clean stack, a clip or a single image; or left out in
words. Nothing is decoded here but where two slices at one place may be copies of each other.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from lucency.case import Skipped, Source
from lucency.errors import GeometryError, LucencyError, ReadError
from lucency.image import Image
from lucency.read import damage
from lucency.read.facts import clip_of, facts_of, header_of
from lucency.read.formats import Header, digest_of_files, reason
from lucency.read.frames import frame_times, slices_of
from lucency.read.head import Head
from lucency.read.kinds import CLIPS, CROSS_SECTIONS, MODALITIES, NO_SIZE, kind_of
from lucency.read.remarks import Remarks
from lucency.read.split import Part, Parts, parts_of
from lucency.read.stack import Slice, stack_of

digest = digest_of_files

#: Why a damaged image is left out.
BROKEN_SIZE = "The header says no rows or columns; fetch or export the file again."

#: Tells whether two slices show the same pixels.
SamePixels = Callable[[Slice, Slice], bool]


@dataclass(frozen=True)
class Series:
    """One image out of a DICOM tree.

    Args:
        paths: Files relative to the data folder, in slice order; one where the frames lie in one file.
        uid: What tells this image from others: the pseudonym of the series, and behind a slash which part of it.
        patient: Pseudonym of the patient, or ``""``.
        header: Facts for the Source.
        facts: Facts for the Case.
    """

    paths: tuple[str, ...]
    uid: str
    patient: str
    header: Header
    facts: Mapping[str, str | float] = field(default_factory=dict)


@dataclass(frozen=True)
class Grouped:
    """What a DICOM tree holds.

    Args:
        images: In the order of their pseudonyms.
        skipped: Files and series that cannot be read or form no image, with the reason.
        left_out: Path to what it is, for objects that are no images: localizers, segmentations, reports …
        notes: Sentences for the report: what was split, left aside, filled in or looked odd.
    """

    images: tuple[Series, ...]
    skipped: tuple[Skipped, ...]
    left_out: Mapping[str, str]
    notes: tuple[str, ...]


def grouped(root: Path, found: Mapping[str, Head], broken: Mapping[str, str], *, fill: bool = False) -> Grouped:
    """Sort the DICOM files of a tree into images.

    Args:
        root: Data folder.
        found: Header of every DICOM file, by path relative to it.
        broken: Why other files cannot be read.
        fill: Fill in missing slices between others, as the user asked.
    """
    kinds = {path: kind for path, head in found.items() if (kind := kind_of(head))}
    left_out = {path: kind for path, kind in kinds.items() if kind != NO_SIZE}
    broken = {**broken, **{path: _without_size(root / path) for path, kind in kinds.items() if kind == NO_SIZE}}
    remarks = Remarks()
    together = _series({path: head for path, head in found.items() if path not in kinds}, remarks)
    torn = _torn(together, broken)
    images: list[Series] = []
    with_series = {path for lost in torn.values() for path in lost}
    skipped = [Skipped(path, why) for path, why in broken.items() if path not in with_series]
    for uid, paths in sorted(together.items()):
        n_files = len(paths) + len(torn.get(uid, ()))
        whole = f"The series of {n_files} files is left out" if n_files > 1 else "The file is left out"
        if uid in torn:
            # Without one slice a stack shows another length of the patient, or has a hole: it is lost as a whole.
            first = torn[uid][0]
            skipped.append(Skipped(first, f"{broken[first]} {whole} with it."))
            continue
        one = _OneSeries(root, uid, {p: found[p] for p in sorted(paths)}, remarks, fill)
        try:
            images.extend(one.images())
        except LucencyError as error:
            skipped.append(Skipped(error.where or paths[0], f"{reason(error)} {whole}."))
        except (TypeError, ValueError, ArithmeticError, LookupError) as error:
            # A damaged header can contradict itself in ways that nobody foresaw; it costs its own series only.
            why = f"The header contradicts itself ({type(error).__name__})."
            skipped.append(Skipped(paths[0], f"{why} {whole}."))
        skipped.extend(one.skipped)
    return Grouped(tuple(images), tuple(skipped), left_out, remarks.sentences())


def _without_size(file: Path) -> str:
    """Return why an image says no rows or columns."""
    try:
        found = damage.told(file)
    except (LucencyError, OSError):
        found = ""
    return f"{found}; fetch or export the file again." if found else BROKEN_SIZE


def _series(found: Mapping[str, Head], remarks: Remarks) -> dict[str, list[str]]:
    """Return the files of each series by its pseudonym; one UID that two patients use is two series.

    The study is not asked: programs that take identities out have been seen to give every file a study of its own.
    """
    users: dict[str, dict[str, list[str]]] = {}
    for path, head in found.items():
        # Without a UID a file is a series of its own, named after its path, which the case's id will hide.
        uid = str(head.get("SeriesInstanceUID") or f"/{path}")
        users.setdefault(uid, {}).setdefault(str(head.get("PatientID") or ""), []).append(path)
    together: dict[str, list[str]] = {}
    for uid, patients in users.items():
        if len(patients) > 1:
            remarks.add("shared", min(p for paths in patients.values() for p in paths))
        for patient, paths in patients.items():
            together[uid if len(patients) == 1 else f"{uid}/{patient}"] = paths
    return together


def _torn(together: Mapping[str, Sequence[str]], broken: Iterable[str]) -> dict[str, list[str]]:
    """Return series to the unreadable files of theirs: what lies in a folder with one stack only belongs to it."""
    in_folder: dict[str, set[str]] = {}
    for uid, paths in together.items():
        for path in paths:
            in_folder.setdefault(path.rpartition("/")[0], set()).add(uid)
    found: dict[str, list[str]] = {}
    for path in broken:
        uids = in_folder.get(path.rpartition("/")[0], set())
        if len(uids) == 1 and len(together[min(uids)]) > 1:
            found.setdefault(min(uids), []).append(path)
    return found


class _OneSeries:
    """The files of one series on their way to images.

    Args:
        root: Data folder.
        uid: Pseudonym of the series.
        heads: By path, in the order of the paths.
        remarks: What is said of it.
        fill: Fill in missing slices.
    """

    def __init__(self, root: Path, uid: str, heads: Mapping[str, Head], remarks: Remarks, fill: bool) -> None:
        self.root, self.uid, self.heads, self.remarks, self.fill = root, uid, dict(heads), remarks, fill
        self.skipped: list[Skipped] = []
        self._decoded: dict[str, np.ndarray] = {}
        self.modality = self._modality()

    def _modality(self) -> str:
        """Return the modality; where the header lacks it, that of the storage class."""
        head = next(iter(self.heads.values()))
        said = str(head.get("Modality") or "")
        if not said:
            self.remarks.add("no_modality", next(iter(self.heads)))
        return said or MODALITIES.get(str(head["SOPClassUID"]), "OT")

    def images(self) -> Iterator[Series]:
        """Yield the images of the series.

        Raises:
            LucencyError: The series forms none.
        """
        self._drop_copies()
        several = [p for p, h in self.heads.items() if _has_frames(h)]
        single = [p for p, h in self.heads.items() if not _has_frames(h)]
        # What comes out of every file is known before the first is yielded: a refusal is one of the whole series.
        made = self._of_single([s for p in single for s in slices_of(p, self.heads[p])])
        several.sort(
            key=lambda p: (_order(self.heads[p], "AcquisitionNumber"), _order(self.heads[p], "InstanceNumber"), p)
        )
        for number, path in enumerate(several, start=1):
            made += self._of_file(path, f"file{number}" if len(several) > 1 or single else "")
        if len(several) > 1:
            self.remarks.add("split", several[0], by="the file they lie in")
        yield from made

    def _drop_copies(self) -> None:
        """Leave out files that hold the same instance as another, pixel for pixel."""
        first: dict[str, str] = {}
        for path, head in list(self.heads.items()):
            instance = str(head.get("SOPInstanceUID") or path)
            kept = first.setdefault(instance, path)
            if kept == path:
                continue
            if not self._same_files(kept, path):
                raise GeometryError(
                    "Two files say that they are the same instance and show different pixels",
                    expected="one file for each instance",
                    where=path,
                    remedy="find out which one is right, and take the other out",
                )
            del self.heads[path]
            self.remarks.add("copy", path)

    def _of_single(self, slices: list[Slice]) -> list[Series]:
        """Return the images that files of one frame each form."""
        placed = [s for s in slices if s.placed]
        bare = [s for s in slices if not s.placed]
        sectional = [s for s in bare if str(s.head["SOPClassUID"]) in CROSS_SECTIONS]
        if sectional and len(slices) > 1:
            raise GeometryError(
                f"{len(sectional)} of {len(slices)} slices do not say where they lie",
                expected="Image Position and Image Orientation in all of them",
                where=sectional[0].path,
                remedy="export the series again with its positions; their order cannot be known without",
            )
        made: list[Series] = []
        if placed:
            parts = parts_of(placed, self._same_slices, fill=self.fill)
            made += [self._series(p, "") for p in self._told(parts)]
            for one in bare:
                # A saved screen or a dose sheet among slices is no image of its own.
                self.remarks.add("captures", one.path)
            bare = []
        bare.sort(key=lambda s: (_order(s.head, "InstanceNumber"), s.path))
        for one in bare:
            name = f"/{one.head.get('SOPInstanceUID') or one.path}" if len(slices) > 1 else ""
            made.append(self._made(Part(stack_of([one])), name, header_of(Part(stack_of([one])), self.modality)))
        return made

    def _of_file(self, path: str, name: str) -> list[Series]:
        """Return the images of one file with several frames."""
        head = self.heads[path]
        slices = slices_of(path, head)
        # One position at the top of a file of frames is that of the file, not of each frame.
        if all(s.placed for s in slices) and (len(slices) == 1 or "PerFrame" in head or "MosaicImages" in head):
            parts = parts_of(slices, self._same_slices, fill=self.fill)
            return [self._series(p, name) for p in self._told(parts)]
        if str(head["SOPClassUID"]) in CLIPS or frame_times(head, len(slices)):
            facts = clip_of(slices, self.modality)
            if "frame_times" not in facts:
                self.remarks.add("no_times", path)
            self.remarks.add("clip", path)
            return [self._made(Part(stack_of(slices[:1])), f"/{name}" if name else "", facts)]
        raise GeometryError(
            f"{len(slices)} frames that say neither where they lie nor when they were taken",
            expected="a position for every frame, or frame times",
            where=path,
            remedy="export the frames as single images",
        )

    def _told(self, found: Parts) -> tuple[Part, ...]:
        """Return the parts, after saying what else was found."""
        for one in found.aside:
            self.remarks.add("aside", one.path)
        for one in found.copies:
            self.remarks.add("copy", one.path)
        for one, error in found.refused:
            self.skipped.append(Skipped(one.path, f"{reason(error)} This part of its series is left out."))
        if len(found.parts) > 1:
            self.remarks.add(
                "split", found.parts[0].stack.slices[0].path, n=len(found.parts), by=found.parts[0].told_by
            )
        return found.parts

    def _series(self, part: Part, name: str) -> Series:
        parts = "-".join(n for n in (name, part.name) if n)
        return self._made(part, f"/{parts}" if parts else "", header_of(part, self.modality))

    def _made(self, part: Part, behind: str, header: Header) -> Series:
        first = part.stack.slices[0]
        self.remarks.look(first, part.stack, header)
        frames = "frames" in header
        paths = (first.path,) if frames else tuple(s.path for s in part.stack.slices)
        patient = str(first.head.get("PatientID") or "")
        return Series(paths, self.uid + behind, patient, header, facts_of(first.head, self.modality))

    def _same_slices(self, one: Slice, other: Slice) -> bool:
        return np.array_equal(self._values(one.path, one.frame), self._values(other.path, other.frame))

    def _same_files(self, one: str, other: str) -> bool:
        try:
            if digest_of_files(self._source(one)) == digest_of_files(self._source(other)):
                return True
        except OSError as error:
            raise _unopened(error, other) from None
        return np.array_equal(self._values(one, 0), self._values(other, 0))

    def _source(self, path: str) -> Source:
        return Source((path,), str(self.root), "dicom")

    def _values(self, path: str, frame: int) -> np.ndarray:
        """Return the rescaled numbers of a frame, or of a file for frame 0."""
        head = self.heads.get(path, {})
        if path not in self._decoded:
            from lucency.read import decode  # noqa: PLC0415 - decoders are slow to import

            # Two files are compared at a time; frames of one file are decoded once.
            while len(self._decoded) > 1:
                del self._decoded[next(iter(self._decoded))]
            try:
                ((_, self._decoded[path]),) = decode.frames([self.root / path], [path])
            except OSError as error:
                raise _unopened(error, path) from None
        stored = self._decoded[path]
        if frame and "MosaicImages" not in head:
            stored = stored[frame - 1 : frame]
        scale = np.array([head.get("RescaleSlope") or 1.0, head.get("RescaleIntercept") or 0.0], dtype=np.float64)
        return np.asarray(stored * scale[0] + scale[1])


def _unopened(error: OSError, where: str) -> ReadError:
    return ReadError(
        f"The file cannot be opened ({type(error).__name__})", where=where, remedy="check that it is there and readable"
    )


def _order(head: Head, keyword: str) -> float:
    value = head.get(keyword)
    return float(value) if isinstance(value, int | float) else 0.0


def _has_frames(head: Head) -> bool:
    return "MosaicImages" in head or "PerFrame" in head or int(head.get("NumberOfFrames") or 1) > 1


def header(source: Source) -> Header:
    """Return the header facts; the tree was read already, files that were not are read here.

    Raises:
        GeometryError: The files form no image, or more than one.
        ReadError: A file cannot be read.
    """
    if "affine" in source.header:
        return {}
    from lucency.read import headers  # noqa: PLC0415 - it reads through this module's neighbours

    found: dict[str, Head] = {}
    for path, file in zip(source.paths, source.files, strict=True):
        head = headers.read_head(file, path, b"")
        kind = kind_of(head) if head is not None else "not DICOM"
        if head is None or kind:
            raise GeometryError(f"Not a plain image ({kind})", where=path, remedy="take it off the list")
        found[path] = head
    series = next(iter(found.values())).get("SeriesInstanceUID")
    made = list(_OneSeries(Path(source.root), str(series or ""), found, Remarks(), fill=False).images())
    if len(made) != 1:
        raise GeometryError(
            f"These files form {len(made)} images", expected="one", where=source.where, remedy="read the whole folder"
        )
    if made[0].paths != source.paths:
        raise GeometryError(
            "These files are not in slice order", where=source.where, remedy="read the whole folder, which sorts them"
        )
    return made[0].header


def pixels(source: Source) -> Image:
    """Return the image; see :func:`lucency.read.load`.

    Integers stay as stored where slope is 1 and intercept 0 throughout; with slope 1 and one whole intercept they
    become int16 where they fit; else float32.
    """
    from lucency.read.volume import volume_of  # noqa: PLC0415 - decoders are slow to import

    return volume_of(source, {**header(source), **source.header})
