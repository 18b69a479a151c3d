"""Decode every image and mask once, keep numbers and a small picture, and note what cannot be used."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np

from lucency.case import Case, Source
from lucency.errors import DataError, GeometryError
from lucency.image import Image, orientation_of, same_place
from lucency.inspect.duplicates import Thumb
from lucency.inspect.inspection import ImageFacts, Loader, MaskFacts
from lucency.inspect.quality_measures import measure, n_lines
from lucency.inspect.thumbnail import SLAB, glance

#: A mask may lie this share of a voxel off its image: NIfTI stores the affine of one of the two in single precision.
SHIFT_SHARE = 0.05
#: Cases handed to a thread at once; small images would otherwise spend their time on the queue.
CHUNK = 16


@dataclass(frozen=True)
class Problem:
    """Why a case cannot be used.

    Args:
        case: Case id.
        path: File at fault, relative to the data.
        kind: A key of :data:`KINDS`.
        found: What was found.
        expected: What was expected.
        remedy: What the user can do next.
    """

    case: str
    path: str
    kind: str
    found: str
    expected: str = ""
    remedy: str = ""

    @property
    def reason(self) -> str:
        """What is wrong and what to do, for ``skipped.csv``; "cannot be read" is said once."""
        kind = KINDS[self.kind]
        found = self.found if kind in self.found else f"{kind}: {self.found}"
        return f"{found.rstrip('.')}. What to do: {self.remedy.rstrip('.')}." if self.remedy else found


#: Kind of problem to its name in messages.
KINDS = {
    "unreadable": "cannot be read",
    "nan": "NaN or infinite voxels",
    "grid": "mask on another grid than its image",
    "labels": "mask with unknown values",
    "constant": "image without a picture",
}


@dataclass(frozen=True, eq=False)
class Look:
    """What one case showed.

    Args:
        case: Case id.
        images: Facts per decoded image.
        thumbs: Small pictures, of the images that show one.
        mask: Facts about the mask, if the target is one.
        problem: Why the case cannot be used, or None.
    """

    case: str
    images: tuple[ImageFacts, ...] = ()
    thumbs: tuple[Thumb, ...] = ()
    mask: MaskFacts | None = None
    problem: Problem | None = None


@dataclass(frozen=True)
class Looker:
    """Looks at single cases.

    Args:
        load: Decodes a source.
        nan: Value that replaces NaN and infinite voxels; None refuses them.
        labels: Mask value to name; empty allows every value.
        ignore: Mask value that means "not annotated", or None.
        measured: Whether quality is measured.
        searched: Ids of the cases that are searched for burned-in text.
    """

    load: Loader
    nan: float | None
    labels: Mapping[int, str]
    ignore: int | None
    measured: bool = True
    searched: frozenset[str] = frozenset()

    def look(self, case: Case) -> Look:
        """Decode the images and the mask of one case; two arrays are held at most."""
        try:
            mask = self._open(case, case.target)[0] if isinstance(case.target, Source) else None
            facts: list[ImageFacts] = []
            thumbs: list[Thumb] = []
            seen: MaskFacts | None = None
            for modality in sorted(case.images):
                for time, source in enumerate(case.images[modality]):
                    image, filled = self._open(case, source)
                    fact, thumb = _facts(case, modality, time, source, image, filled)
                    if self.measured and thumb is not None:
                        fact = replace(fact, measures=self._measures(case, source, image))
                    facts.append(fact)
                    if thumb is None:
                        problem = Problem(
                            case.id, source.where, "constant", fact.reason, "an image that shows something"
                        )
                        return Look(case.id, tuple(facts), problem=problem)
                    thumbs.append(thumb)
                    if mask is not None and seen is None and isinstance(case.target, Source):
                        self._check_mask(case, source, image, case.target, mask)
                        seen = self._mask_facts(case, image, mask)
        except _UnusableError as error:
            return Look(case.id, problem=error.problem)
        return Look(case.id, tuple(facts), tuple(thumbs), seen)

    def _measures(self, case: Case, source: Source, image: Image) -> dict[str, float]:
        """Return the measures of quality."""
        found = measured_of(source, image)
        lines = n_lines(image) if case.id in self.searched else None
        return found if lines is None else {**found, "text": float(lines)}

    def _open(self, case: Case, source: Source) -> tuple[Image, bool]:
        """Return the image and whether voxels were filled."""
        try:
            return self.load(source), False
        except GeometryError as error:
            # Is it only the NaN? Then the same file opens as soon as they are filled.
            try:
                filled = self.load(source, nan=0.0 if self.nan is None else self.nan)
            except DataError:
                raise _UnusableError(_unreadable(case, source, error)) from error
            if self.nan is None:
                raise _UnusableError(_refused_nan(case, source, error)) from error
            return filled, True
        except DataError as error:
            raise _UnusableError(_unreadable(case, source, error)) from error

    def _check_mask(self, case: Case, source: Source, image: Image, target: Source, mask: Image) -> None:
        """Refuse a mask of another size, at another place or with values that have no name."""
        placed = bool(source.header.get("spacing_known", True)) and bool(target.header.get("spacing_known", True))
        tolerance = SHIFT_SHARE * min(image.spacing)
        if mask.size != image.size or (placed and not same_place(mask.affine, image.affine, image.size, tolerance)):
            raise _UnusableError(
                Problem(
                    case.id,
                    target.where,
                    "grid",
                    f"the mask is {_grid(mask)}, its image {source.where} is {_grid(image)}",
                    "one mask voxel for every image voxel, at the same place",
                    "export the mask again on the grid of its image",
                )
            )
        allowed = {0, *self.labels} | ({self.ignore} if self.ignore is not None else set())
        unknown = sorted(set(np.unique(mask.array).tolist()) - allowed) if self.labels else []
        if unknown:
            names = ", ".join(str(v) for v in sorted(allowed))
            raise _UnusableError(
                Problem(
                    case.id,
                    target.where,
                    "labels",
                    f"the mask holds {', '.join(str(v) for v in unknown[:5])}",
                    f"only {names}",
                    "correct the mask, or name the values where the data describe their labels",
                )
            )

    def _mask_facts(self, case: Case, image: Image, mask: Image) -> MaskFacts:
        """Count the mask's voxels."""
        inside = mask.array[0] > 0
        if self.ignore is not None:
            inside &= mask.array[0] != self.ignore
        values = image.array[0][inside]
        off_body = float(np.mean(values == image.array[0].min())) if values.size else 0.0
        return MaskFacts(case.id, count_labels(mask.array), pixel_digest(mask.array), off_body)


class _UnusableError(Exception):
    """Carries a problem out of the look at one case."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.found)
        self.problem = problem


def measured_of(source: Source, image: Image) -> dict[str, float]:
    """Return the measures of an image's quality, as far as its header allows them."""
    placed = bool(source.header.get("spacing_known", True))
    return measure(image, modality=str(source.header.get("modality", "")), placed=placed)


def scan(cases: Sequence[Case], looker: Looker, workers: int) -> Iterator[Look]:
    """Yield a look at every case, in order; ``workers`` threads decode, each holding one case at a time."""
    step = CHUNK if len(cases) > CHUNK * 32 else 1
    chunks = [cases[start : start + step] for start in range(0, len(cases), step)]
    pool = ThreadPoolExecutor(max_workers=max(1, workers), thread_name_prefix="inspect")
    try:
        for looks in pool.map(lambda chunk: [looker.look(c) for c in chunk], chunks):
            yield from looks
    finally:
        pool.shutdown(cancel_futures=True)


def count_labels(array: np.ndarray) -> dict[int, int]:
    """Return value to number of voxels, for integers of any type."""
    counts: dict[int, int] = {}
    flat = array.reshape(-1)
    for start in range(0, flat.size, SLAB):
        values, numbers = np.unique(flat[start : start + SLAB], return_counts=True)
        for value, number in zip(values.tolist(), numbers.tolist(), strict=True):
            counts[int(value)] = counts.get(int(value), 0) + number
    return dict(sorted(counts.items()))


#: Slices that a remark names.
SHOWN_SLICES = 5


def pixel_digest(array: np.ndarray) -> str:
    """Return the SHA-256 of type, shape and values; the file format does not matter."""
    state = hashlib.sha256(f"{array.dtype.newbyteorder('<')} {array.shape}".encode())
    for channel in array:
        for plane in channel:
            state.update(np.ascontiguousarray(plane).astype(plane.dtype.newbyteorder("<"), copy=False).data)
    return state.hexdigest()


def _facts(
    case: Case, modality: str, time: int, source: Source, image: Image, filled: bool
) -> tuple[ImageFacts, Thumb | None]:
    """Return numbers and small picture of one image; an image whose voxels are all equal has none."""
    seen = glance(image.array)
    digest = pixel_digest(image.array)
    order = orientation_of(image.affine).order
    size, spacing = image.size, image.spacing
    lost = empty_slices(image)
    shown = ", ".join(str(k) for k in lost[:SHOWN_SLICES]) + (" …" if len(lost) > SHOWN_SLICES else "")
    remarks = ["NaN or infinite voxels were filled"] if filled else []
    remarks += [f"slices without a picture between others ({shown})"] if lost else []
    facts = ImageFacts(
        case=case.id,
        modality=modality,
        time=time,
        size=(size[order[0]], size[order[1]], size[order[2]]),
        spacing=(spacing[order[0]], spacing[order[1]], spacing[order[2]]),
        spacing_known=bool(source.header.get("spacing_known", True)),
        dtype=str(image.array.dtype),
        channels=image.channels,
        minimum=seen.minimum,
        maximum=seen.maximum,
        mean=seen.mean,
        std=seen.std,
        digest=digest,
        hash="" if seen.hash is None else seen.hash.tobytes().hex(),
        quality="warn" if remarks else "accept",
        reason="; ".join(remarks),
        filled=filled,
        unit=image.unit,
        inverted=bool(source.header.get("inverted")),
    )
    if seen.picture is None or seen.detail is None or seen.hash is None:
        flat = f"all {image.array.size} voxels are {seen.minimum:g}"
        return replace(facts, quality="reject", reason=flat), None
    return facts, Thumb(case.id, modality, digest, seen.picture, seen.detail, seen.hash)


def empty_slices(image: Image) -> tuple[int, ...]:
    """Return the slices of one number throughout that lie between slices with a picture: what was there is lost.

    Args:
        image: A volume; single images and clips have none.

    Returns:
        Slice numbers along k, from 0.
    """
    if image.size[0] < 3 or image.k_axis == "time":
        return ()
    flat = image.array.reshape(image.channels, image.size[0], -1)
    told = np.flatnonzero((flat.max(axis=2) > flat.min(axis=2)).any(axis=0))
    return tuple(sorted(set(range(int(told[0]), int(told[-1]))) - set(told.tolist()))) if told.size else ()


def _grid(image: Image) -> str:
    """Return size, spacing and first voxel of an image in words."""
    size = " × ".join(str(n) for n in image.size)
    spacing = " × ".join(f"{s:.3g}" for s in image.spacing)
    origin = ", ".join(f"{x:.1f}" for x in image.affine[:3, 3])
    across = ", ".join(f"{x:.2f}" for x in image.affine[:3, 2] / image.spacing[2])
    return f"{size} voxels of {spacing} mm, the first at ({origin}) mm, rows along ({across})"


def _unreadable(case: Case, source: Source, error: DataError) -> Problem:
    # A series has many files, and the error knows which of them it is.
    return Problem(case.id, error.where or source.where, "unreadable", error.found, error.expected, error.remedy)


def _refused_nan(case: Case, source: Source, error: DataError) -> Problem:
    remedy = "export the images again, or fill the voxels on purpose with --set nan=VALUE"
    return Problem(case.id, source.where, "nan", error.found, "finite numbers", remedy)
