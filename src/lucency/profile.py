"""What the training part is like, in numbers only; profiles of two sites merge into the profile of their union."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
from scipy import ndimage

from lucency.case import FACTS, Case, Cohort, Source
from lucency.errors import DataError
from lucency.events import Events
from lucency.image import Image, orientation_of
from lucency.mirror import Mirror, mirror

#: Width of a histogram's bins, as a share of the value: a percentile is right within half of it.
STEP = 0.01
#: Values nearer to zero than this are zero; the smallest physical numbers stored are diffusivities, about 1e-10 m²/s.
TINY = 1e-12
#: Share of an image's voxels on its lowest value from which on that value is background (air, padding).
BACKGROUND_SHARE = 0.05
#: Voxels looked at together, so that a large volume is never held twice.
SLAB = 1 << 20
#: Cases profiled by one thread at a time. Fixed, so that the order of the sums does not depend on the threads.
CHUNK = 16

PerAxis = tuple[Mapping[int, int], Mapping[int, int], Mapping[int, int]]


class Loader(Protocol):
    """Decodes one source, as ``lucency.read.load`` does."""

    def __call__(self, source: Source, *, nan: float | None = None) -> Image:
        """Return the image."""


@dataclass(frozen=True)
class Summary:
    """Many numbers in few, so that two summaries merge.

    Args:
        count: How many.
        mean: Their mean; 0 for none (NaN would make two empty summaries differ).
        deviations: Sum of squared deviations from the mean.
        minimum: The smallest; 0 for none.
        maximum: The largest; 0 for none.
        bins: Symmetric logarithmic histogram: bin number to count. Bin n > 0 holds values of
            ``TINY * (1 + STEP) ** (n - 1)`` up to the next, bin -n their negatives, bin 0 zero.

    Raises:
        DataError: The bins do not add up to ``count``.
    """

    count: int = 0
    mean: float = 0.0
    deviations: float = 0.0
    minimum: float = 0.0
    maximum: float = 0.0
    bins: Mapping[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if sum(self.bins.values()) != self.count:
            raise DataError(f"A histogram of {sum(self.bins.values())} of {self.count} values", remedy="profile again")

    @property
    def std(self) -> float:
        """Standard deviation (of the population); NaN for none."""
        return float(np.sqrt(self.deviations / self.count)) if self.count else float("nan")

    def percentile(self, q: float) -> float:
        """Return the value that ``q`` per cent of the numbers do not exceed, within half of ``STEP``.

        Args:
            q: 0 to 100.

        Returns:
            Exact at 0 and 100 and where all numbers are equal; NaN for no numbers.
        """
        if not self.count:
            return float("nan")
        if q <= 0:
            return self.minimum
        numbers = sorted(self.bins)
        reached = np.cumsum([self.bins[n] for n in numbers])
        # 1e-9: 5 % of 100 is the fifth value, although 0.05 * 100 is a little more than 5 in binary.
        place = int(np.searchsorted(reached, q / 100 * self.count - 1e-9))
        number = numbers[min(place, len(numbers) - 1)]
        centre = 0.0 if number == 0 else np.sign(number) * TINY * (1 + STEP) ** (abs(number) - 0.5)
        return self.maximum if q >= 100 else float(np.clip(centre, self.minimum, self.maximum))

    def merge(self, other: "Summary") -> "Summary":
        """Return the summary of both sets of numbers."""
        if not self.count or not other.count:
            return self if self.count else other
        count, gap = self.count + other.count, other.mean - self.mean
        return Summary(
            count,
            self.mean + gap * other.count / count,
            self.deviations + other.deviations + gap**2 * self.count * other.count / count,
            min(self.minimum, other.minimum),
            max(self.maximum, other.maximum),
            _added(self.bins, other.bins),
        )


def summary(values: np.ndarray, counts: np.ndarray | None = None) -> Summary:
    """Return the summary of ``values``, each taken ``counts`` times.

    Args:
        values: (n,) real, finite.
        counts: (n,) int, >= 1; None for once each.
    """
    if values.size == 0:
        return Summary()
    values = values.astype(np.float64)
    # Taken from the first value, equal numbers have exactly their own mean and no deviation.
    gaps = values - values[0]
    total = values.size if counts is None else int(counts.sum())
    shift = float(gaps.sum() if counts is None else gaps @ counts) / total
    gaps -= shift
    deviations = float(gaps @ gaps if counts is None else (gaps * gaps) @ counts)
    numbers = _bin_numbers(values)
    lowest = int(numbers.min())
    # Sums of counts in float64 are exact below 2 ** 53.
    held = np.bincount(numbers - lowest, weights=counts).astype(np.int64)
    bins = np.nonzero(held)[0]
    return Summary(
        total,
        float(values[0]) + shift,
        deviations,
        float(values.min()),
        float(values.max()),
        dict(zip((bins + lowest).tolist(), held[bins].tolist(), strict=True)),
    )


def _bin_numbers(values: np.ndarray) -> np.ndarray:
    """Return the number of the bin that holds each value, int64."""
    size = np.abs(values)
    small = size < TINY
    np.maximum(size, TINY, out=size)
    numbers = (np.log(size / TINY) / np.log1p(STEP)).astype(np.int64) + 1
    numbers[small] = 0
    return np.asarray(np.where(values < 0, -numbers, numbers))


def _added(a: Mapping[Any, Any], b: Mapping[Any, Any]) -> dict[Any, Any]:
    """Return the sum of two tables of counts, sorted by key."""
    total = dict(a)
    for key, number in b.items():
        total[key] = total.get(key, 0) + number
    return dict(sorted(total.items()))


@dataclass(frozen=True)
class Profile:
    """The fingerprint of a training part. Axes are k, j, i after :func:`lucency.image.reorient`.

    Args:
        n_cases: Labelled training cases.
        n_patients: Their patients.
        n_unlabelled: Further cases without a label.
        modalities: Name to number of cases that have it.
        dicom_modalities: DICOM Modality (CT, MR, CR …) to number of images, where the files say it.
        units: Unit of the intensities to number of images.
        dtypes: Stored type to number of images.
        channels: Channels of a case, all modalities together, to number of cases.
        dims: 2 or 3 to number of cases.
        sizes: Per axis, voxels to number of cases.
        spacings: Per axis, mm; of the cases whose files give it.
        spacing_known: Number of those cases.
        voxels: Voxels of a case's grid.
        intensity: Modality to a summary per channel, of all voxels, in stored units.
        body: The same without the background: the lowest value, where 5 % of the voxels hold it.
        labelled: The same of the voxels under any label; empty without masks.
        missing: Fact to number of cases that lack it.
        class_counts: Class to number of cases; every class of the cohort.
        values: Numbers to predict.
        label_cases: Mask value to number of cases that hold it; every label of the cohort.
        label_voxels: Mask value to number of voxels.
        label_mm3: Mask value to sum of volumes.
        label_extents: Mask value to bounding box, per axis, voxels to number of cases.
        mirrors: Group to axis ("k", "j", "i") to how far images differ from their mirror images. A group is a class
            (within it, so that a flip that turns one class into another does not look safe), "" without classes,
            and "labels" for the masks.
        n_masks: Number of masks.
        n_empty_masks: Number of masks without any label.
    """

    n_cases: int = 0
    n_patients: int = 0
    n_unlabelled: int = 0
    modalities: Mapping[str, int] = field(default_factory=dict)
    dicom_modalities: Mapping[str, int] = field(default_factory=dict)
    units: Mapping[str, int] = field(default_factory=dict)
    dtypes: Mapping[str, int] = field(default_factory=dict)
    channels: Mapping[int, int] = field(default_factory=dict)
    dims: Mapping[int, int] = field(default_factory=dict)
    sizes: PerAxis = ({}, {}, {})
    spacings: tuple[Summary, Summary, Summary] = (Summary(), Summary(), Summary())
    spacing_known: int = 0
    voxels: Summary = Summary()
    intensity: Mapping[str, tuple[Summary, ...]] = field(default_factory=dict)
    body: Mapping[str, tuple[Summary, ...]] = field(default_factory=dict)
    labelled: Mapping[str, tuple[Summary, ...]] = field(default_factory=dict)
    missing: Mapping[str, int] = field(default_factory=dict)
    class_counts: Mapping[str, int] = field(default_factory=dict)
    values: Summary = Summary()
    label_cases: Mapping[int, int] = field(default_factory=dict)
    label_voxels: Mapping[int, int] = field(default_factory=dict)
    label_mm3: Mapping[int, float] = field(default_factory=dict)
    label_extents: Mapping[int, PerAxis] = field(default_factory=dict)
    mirrors: Mapping[str, Mapping[str, Mirror]] = field(default_factory=dict)
    n_masks: int = 0
    n_empty_masks: int = 0

    def merge(self, other: "Profile") -> "Profile":
        """Return the profile of the union of two sets of cases that share no patient."""
        return Profile(**{f.name: _merged(getattr(self, f.name), getattr(other, f.name)) for f in _FIELDS})

    @property
    def all_integer(self) -> bool:
        """Whether every image is stored in integers."""
        return all(np.dtype(name).kind in "biu" for name in self.dtypes)

    def size_percentile(self, q: float) -> tuple[int, int, int]:
        """(K, J, I) in voxels that ``q`` per cent (0 to 100) of the cases do not exceed, axis by axis; exact."""
        k, j, i = (_rank(axis, q) for axis in self.sizes)
        return k, j, i

    def median_size(self) -> tuple[int, int, int]:
        """(K, J, I) in voxels."""
        return self.size_percentile(50)

    def spacing_percentile(self, q: float) -> tuple[float, float, float]:
        """(k, j, i) in mm that ``q`` per cent (0 to 100) of the cases do not exceed; 1 mm where none is known."""
        k, j, i = (axis.percentile(q) if axis.count else 1.0 for axis in self.spacings)
        return k, j, i

    def median_spacing(self) -> tuple[float, float, float]:
        """(k, j, i) in mm."""
        return self.spacing_percentile(50)

    def mirror_separability(self, axis: str) -> float:
        """AUC of telling mirror images along ``axis`` from originals, where it is easiest; 1 if unknown."""
        found = [axes[axis].separability for axes in self.mirrors.values() if axis in axes]
        return max(found, default=1.0)

    def median_label_extent(self, label: int) -> tuple[int, int, int]:
        """(K, J, I) in voxels of the box around one label, axis by axis; 0 where no mask holds it."""
        k, j, i = (_rank(axis, 50) for axis in self.label_extents.get(label, ({}, {}, {})))
        return k, j, i


_FIELDS = dataclasses.fields(Profile)


def _merged(a: Any, b: Any) -> Any:
    """Return the union of two fields: numbers add, summaries merge, tables join key by key."""
    if isinstance(a, Summary):
        return a.merge(b)
    if isinstance(a, tuple):
        longer, shorter = (a, b) if len(a) >= len(b) else (b, a)
        return (*(_merged(x, y) for x, y in zip(a, b, strict=False)), *longer[len(shorter) :])
    if isinstance(a, Mapping):
        if not a or not b:
            return a or b
        return {
            key: _merged(a[key], b[key]) if key in a and key in b else (a[key] if key in a else b[key])
            for key in sorted(a.keys() | b.keys())
        }
    return a + b


def _rank(counts: Mapping[int, int], q: float) -> int:
    """Return the value that ``q`` per cent of the counted values do not exceed; 0 for none."""
    if not counts:
        return 0
    values = sorted(counts)
    reached = np.cumsum([counts[v] for v in values])
    return values[min(int(np.searchsorted(reached, q / 100 * reached[-1] - 1e-9)), len(values) - 1)]


def profile(
    cohort: Cohort,
    *,
    nan: float | None = None,
    load: Loader | None = None,
    events: Events | None = None,
    workers: int = 2,
) -> Profile:
    """Profile the training part of a cohort; locked, left-out and test cases are not opened.

    Args:
        cohort: As ``lucency.inspect.settle`` gives it.
        nan: Value for NaN and infinite voxels, in stored units; None refuses them.
        load: Decodes a source; by default ``lucency.read.load``.
        events: Gets the progress, counted in cases.
        workers: Threads; each holds one image and one mask.

    Raises:
        DataError: No case to train on, or a file that can no longer be read.
    """
    if load is None:
        from lucency.read import load as read_load  # noqa: PLC0415 - the readers are slow to import

        load = read_load
    cases, events = cohort.trainable, events or Events()
    if not cases:
        raise DataError("No labelled case to train on", where=cohort.target_name, remedy="add labels to the data")
    look = functools.partial(_profile_all, load=load, nan=nan, ignore=cohort.ignore)
    chunks = [cases[start : start + CHUNK] for start in range(0, len(cases), CHUNK)]
    seen = Profile(
        n_patients=len({c.patient for c in cases}),
        n_unlabelled=sum(c.target is None and c.id not in cohort.left_out and c.part != "test" for c in cohort.cases),
        class_counts=dict.fromkeys(sorted(cohort.classes), 0),
        label_cases=dict.fromkeys(sorted(cohort.labels), 0),
        label_voxels=dict.fromkeys(sorted(cohort.labels), 0),
        label_mm3=dict.fromkeys(sorted(cohort.labels), 0.0),
    )
    pool = ThreadPoolExecutor(max_workers=max(1, workers), thread_name_prefix="profile")
    try:
        for part in pool.map(look, chunks):
            seen = seen.merge(part)
            events.emit("profile", "progress", done=seen.n_cases, total=len(cases))
    finally:
        pool.shutdown(cancel_futures=True)
    return seen


def _profile_all(cases: Sequence[Case], *, load: Loader, nan: float | None, ignore: int | None) -> Profile:
    parts = [_profile_one(case, load, nan, ignore) for case in cases]
    return functools.reduce(Profile.merge, parts)


def _profile_one(case: Case, load: Loader, nan: float | None, ignore: int | None) -> Profile:
    """Return the profile of one case; ``n_patients`` is left to the caller, who sees all cases."""
    mask = load(case.target, nan=nan) if isinstance(case.target, Source) else None
    inside = None if mask is None else (mask.array[0] > 0) & (mask.array[0] != (0 if ignore is None else ignore))
    seen, channels, mm3 = Profile(), 0, 1.0
    for modality, source in zip(sorted(case.images), case.sources, strict=True):
        image = load(source, nan=nan)
        if not channels:
            seen = _geometry(image, known=bool(source.header.get("spacing_known", True)))
            mm3 = float(abs(np.linalg.det(image.affine[:3, :3])))
            group = case.target if isinstance(case.target, str) else ""
            seen = replace(seen, mirrors={group: _mirrors(image, image.array[0])})
        channels += image.channels
        seen = seen.merge(_numbers(image, modality, source, inside))
    if mask is not None and inside is not None:
        labels = np.where(inside, mask.array[0], 0)
        seen = seen.merge(_labels(labels, mask, mm3))
        seen = seen.merge(Profile(mirrors={"labels": _mirrors(mask, labels)}))
    value = float(case.target) if isinstance(case.target, int | float) else None
    return replace(
        seen,
        n_cases=1,
        channels={channels: 1},
        missing={fact: int(fact not in case.facts) for fact in sorted(FACTS)},
        class_counts={case.target: 1} if isinstance(case.target, str) else {},
        values=Summary() if value is None else summary(np.array([value])),
    )


def _geometry(image: Image, *, known: bool) -> Profile:
    """Return size and spacing in the patient's axes."""
    order = orientation_of(image.affine).order
    k, j, i = ({image.size[axis]: 1} for axis in order)
    spacing = [summary(np.array([image.spacing[axis]])) if known else Summary() for axis in order]
    return Profile(
        dims={2 if image.size[0] == 1 else 3: 1},
        sizes=(k, j, i),
        spacings=(spacing[0], spacing[1], spacing[2]),
        spacing_known=int(known),
        voxels=summary(np.array([float(np.prod(image.size))])),
    )


def _mirrors(image: Image, array: np.ndarray) -> dict[str, Mirror]:
    """Compare with the mirror image along each axis: the patient's axes of a volume, rows and columns of an image."""
    turned = orientation_of(image.affine).apply(array) if image.size[0] > 1 else array
    return {name: mirror(turned, axis) for axis, name in enumerate("kji") if turned.shape[axis] > 1}


def _numbers(image: Image, modality: str, source: Source, inside: np.ndarray | None) -> Profile:
    """Return the intensities of one image."""
    both = [_intensity(channel) for channel in image.array]
    under = [] if inside is None else [_all_values(channel[inside]) for channel in image.array]
    word = source.header.get("modality", "")
    return Profile(
        modalities={modality: 1},
        dicom_modalities={str(word): 1} if word else {},
        units={image.unit: 1},
        dtypes={str(image.array.dtype.newbyteorder("=")): 1},
        intensity={modality: tuple(whole for whole, _ in both)},
        body={modality: tuple(body for _, body in both)},
        labelled={modality: tuple(under)} if under else {},
    )


def _intensity(channel: np.ndarray) -> tuple[Summary, Summary]:
    """Return the summaries of all voxels and of those that are not background."""
    lowest = channel.min()
    n_lowest = int(np.count_nonzero(channel == lowest))
    rest = _all_values(channel, leave_out=float(lowest))
    whole = rest.merge(summary(np.array([lowest]), np.array([n_lowest])))
    return whole, rest if n_lowest >= BACKGROUND_SHARE * channel.size and rest.count else whole


def _all_values(array: np.ndarray, leave_out: float | None = None) -> Summary:
    """Return the summary of all values but one, a slab at a time."""
    seen, flat = Summary(), array.reshape(-1)
    for start in range(0, flat.size, SLAB):
        slab = flat[start : start + SLAB]
        if leave_out is not None:
            slab = slab[slab != leave_out]
        if slab.size and slab.dtype.kind in "biu" and slab.dtype.itemsize <= 2:
            # 16 bits have 65 536 values: counting them is faster than a logarithm of each voxel.
            low = int(slab.min())
            counts = np.bincount(slab.astype(np.int64) - low)
            held = np.nonzero(counts)[0]
            seen = seen.merge(summary(held + low, counts[held]))
        else:
            seen = seen.merge(summary(slab))
    return seen


def _labels(array: np.ndarray, mask: Image, mm3: float) -> Profile:
    """Return volumes and boxes of the labels of one mask, ignored voxels already set to 0."""
    order = orientation_of(mask.affine).order
    values, counts = np.unique(array, return_counts=True)
    held = {int(v): int(n) for v, n in zip(values.tolist(), counts.tolist(), strict=True) if v > 0}
    boxes = ndimage.find_objects(array.astype(np.int32))
    extents: dict[int, PerAxis] = {}
    for value in held:
        k, j, i = ({boxes[value - 1][axis].stop - boxes[value - 1][axis].start: 1} for axis in order)
        extents[value] = (k, j, i)
    return Profile(
        label_cases=dict.fromkeys(held, 1),
        label_voxels=held,
        label_mm3={value: n * mm3 for value, n in held.items()},
        label_extents=extents,
        n_masks=1,
        n_empty_masks=int(not held),
    )
