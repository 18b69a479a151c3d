"""What inspection hands on: facts about every image, what stays together, what is left out, and why."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

from lucency.case import Skipped, Source
from lucency.errors import DataError
from lucency.image import Image
from lucency.inspect.quality import Limits, Quality

PairKind = Literal["exact", "near", "patient"]


class Loader(Protocol):
    """Decodes one source, as ``lucency.read.load`` does."""

    def __call__(self, source: Source, *, nan: float | None = None) -> Image:
        """Return the image; NaN and infinity become ``nan``, or are refused with GeometryError where it is None."""


@dataclass(frozen=True)
class ImageFacts:
    """One decoded image in numbers.

    Args:
        case: Case id.
        modality: Key of ``Case.images``.
        time: Position among the images of that modality, from 0.
        size: (K, J, I) voxels, turned to the patient as :func:`lucency.image.reorient` does.
        spacing: (k, j, i) mm, in the same order.
        spacing_known: False where the file does not give the size of its pixels.
        dtype: Stored type.
        channels: Number of channels.
        minimum: Smallest stored value.
        maximum: Largest stored value.
        mean: Over all voxels and channels.
        std: Over all voxels and channels.
        digest: SHA-256 of type, shape and pixels.
        hash: Perceptual hash, 64 hex digits; empty for an image without a picture (all voxels equal).
        quality: ``"accept"``, ``"warn"`` (kept, said) or ``"reject"`` (left out).
        reason: Why not ``"accept"``.
        filled: Whether NaN or infinite voxels were replaced.
        measures: What :func:`lucency.inspect.quality_measures.measure` and the set's layout measured.
        unit: Of the stored values: ``"HU"``, ``"SUV"``, ``"1"`` …
        inverted: Whether the file says that small numbers are bright (MONOCHROME1).
        faults: Fault to its score, in robust standard deviations of the set; what could not be judged is absent.
    """

    case: str
    modality: str
    time: int
    size: tuple[int, int, int]
    spacing: tuple[float, float, float]
    spacing_known: bool
    dtype: str
    channels: int
    minimum: float
    maximum: float
    mean: float
    std: float
    digest: str
    hash: str
    quality: Quality = "accept"
    reason: str = ""
    filled: bool = False
    measures: Mapping[str, float] = field(default_factory=dict)
    faults: Mapping[str, float] = field(default_factory=dict)
    unit: str = ""
    inverted: bool = False

    def __post_init__(self) -> None:
        if self.quality != "accept" and not self.reason:
            raise DataError(f"Quality {self.quality!r} without a reason", where=self.case, remedy="say why")


@dataclass(frozen=True)
class MaskFacts:
    """One decoded mask in numbers.

    Args:
        case: Case id.
        voxels: Mask value to number of voxels, background 0 included.
        digest: SHA-256 of the mask's voxels.
        off_body: Share, 0 to 1, of the labelled voxels that lie where the image has its lowest value.
    """

    case: str
    voxels: Mapping[int, int]
    digest: str
    off_body: float


@dataclass(frozen=True)
class Pair:
    """Two cases that show the same picture or the same patient.

    Args:
        first: Case id.
        second: Case id.
        kind: ``"exact"`` (same voxels), ``"near"`` (same picture) or ``"patient"``.
        correlation: Of the two thumbnails, -1 to 1; 1 for ``"exact"`` and ``"patient"``.
    """

    first: str
    second: str
    kind: PairKind
    correlation: float = 1.0


@dataclass(frozen=True)
class Inspection:
    """Geometry, quality, duplicates and leakage of one cohort.

    Args:
        cohort: Digest of the cohort that was inspected.
        images: One entry per decoded image, by case id, modality and time.
        masks: One entry per decoded mask, by case id.
        pairs: The duplicate pairs that hold the groups together, most alike first.
        groups: Case ids that must stay in one fold.
        left_out: Case id to reason.
        skipped: Files that could not be used, for ``skipped.csv``.
        limits: Modality to what the set taught about the quality of its images.
        missing: Case id to what it lacks: a modality, the label, slices that were filled in.
        leaks: Pairs across supplied parts; only where the user allowed them, else inspection refuses.
        warnings: Sentences for the report.
        untrainable: Why nothing can be learned from the data (found, expected, where, remedy); empty where it can.
    """

    cohort: str
    images: tuple[ImageFacts, ...] = ()
    masks: tuple[MaskFacts, ...] = ()
    pairs: tuple[Pair, ...] = ()
    groups: tuple[tuple[str, ...], ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)
    skipped: tuple[Skipped, ...] = ()
    leaks: tuple[Pair, ...] = ()
    limits: Mapping[str, Limits] = field(default_factory=dict)
    missing: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    untrainable: tuple[str, ...] = ()

    def refuse_untrainable(self) -> None:
        """Refuse data from which nothing can be learned.

        Raises:
            DataError: What the inspection found, in its words.
        """
        if self.untrainable:
            found, expected, where, remedy = self.untrainable
            raise DataError(found, expected=expected, where=where, remedy=remedy)
