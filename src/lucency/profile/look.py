"""Every image of the training part is looked at once."""

import functools
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Protocol

import numpy as np
from scipy import ndimage

from lucency.case import FACTS, Case, Cohort, Findings, Outcome, Source, Target
from lucency.errors import DataError
from lucency.events import Events
from lucency.image import Image, orientation_of
from lucency.mirror import Mirror, mirror
from lucency.profile.boxes import of_boxes
from lucency.profile.fingerprint import PerAxis, Profile
from lucency.profile.sums import Summary, summary

#: Share of an image's voxels on its lowest value from which on that value is background (air, padding).
BACKGROUND_SHARE = 0.05

#: Voxels looked at together, so that a large volume is never held twice.
SLAB = 1 << 20

#: Cases profiled by one thread at a time. Fixed, so that the order of the sums does not depend on the threads.
CHUNK = 16


class Loader(Protocol):
    """Decodes one source, as ``lucency.read.load`` does."""

    def __call__(self, source: Source, *, nan: float | None = None) -> Image:
        """Return the image."""


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
    look = functools.partial(_profile_all, load=load, nan=nan, ignore=cohort.ignore, visits=bool(cohort.visits))
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


def _profile_all(
    cases: Sequence[Case], *, load: Loader, nan: float | None, ignore: int | None, visits: bool
) -> Profile:
    parts = [_profile_one(case, load, nan, ignore) for case in cases]
    parts = [_over_visits(one, case) for one, case in zip(parts, cases, strict=True)] if visits else parts
    return functools.reduce(Profile.merge, parts)


def _over_visits(seen: Profile, case: Case) -> Profile:
    """Return a profile of the first visit as that of the sequence: the frames of all visits behind one another."""
    later = next(iter(case.images.values()))[1:]
    own = next(iter(seen.sizes[0]))
    frames = own + sum(_frames(source, own) for source in later)
    voxels = summary(np.array([frames * float(next(iter(seen.sizes[1]))) * next(iter(seen.sizes[2]))]))
    return replace(seen, dims={3: 1}, sizes=({frames: 1}, *seen.sizes[1:]), k_axes={"visit": 1}, voxels=voxels)


def _frames(source: Source, otherwise: int) -> int:
    size = source.header.get("size")
    return int(size[0]) if isinstance(size, tuple) else otherwise


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
    seen = replace(
        seen,
        n_cases=1,
        channels={channels: 1},
        missing={fact: int(fact not in case.facts) for fact in sorted(FACTS)},
        # Those of boxes come with what else boxes add.
        class_counts={} if isinstance(case.target, tuple) else dict.fromkeys(sorted(case.classes), 1),
        class_known=_known_of(case.target),
        values=Summary() if value is None else summary(np.array([value])),
        outcomes={str(case.target.event): summary(np.array([case.target.time]))}
        if isinstance(case.target, Outcome)
        else {},
    )
    return seen.merge(of_boxes(case.target, image)) if isinstance(case.target, tuple) else seen


def _known_of(target: Target) -> dict[str, int]:
    return dict.fromkeys(target.known, 1) if isinstance(target, Findings) else {}


def _geometry(image: Image, *, known: bool) -> Profile:
    """Return size and spacing in the patient's axes."""
    order = orientation_of(image.affine).order
    k, j, i = ({image.size[axis]: 1} for axis in order)
    spacing = [summary(np.array([image.spacing[axis]])) if known else Summary() for axis in order]
    extent = [summary(np.array([image.size[a] * image.spacing[a]])) if known else Summary() for a in order]
    return Profile(
        # A clip of one frame is a clip.
        dims={2 if image.size[0] == 1 and image.k_axis == "space" else 3: 1},
        sizes=(k, j, i),
        spacings=(spacing[0], spacing[1], spacing[2]),
        spacing_known=int(known),
        extents=(extent[0], extent[1], extent[2]),
        k_axes={image.k_axis: 1},
        voxels=summary(np.array([float(np.prod(image.size))])),
    )


def _mirrors(image: Image, array: np.ndarray) -> dict[str, Mirror]:
    """Compare with the mirror image along each axis: the patient's axes of a volume, rows and columns of an image.

    Of a clip the frame in the middle is compared: its frames are mirrored alike, and time never runs backwards.
    """
    if image.k_axis == "time":
        array = array[len(array) // 2][None]
        return {name: mirror(array, axis) for axis, name in enumerate("kji") if array.shape[axis] > 1}
    turned = orientation_of(image.affine).apply(array) if image.size[0] > 1 else array
    return {name: mirror(turned, axis) for axis, name in enumerate("kji") if turned.shape[axis] > 1}


def _numbers(image: Image, modality: str, source: Source, inside: np.ndarray | None) -> Profile:
    """Return the intensities of one image."""
    both = [_intensity(channel) for channel in image.array]
    under = [] if inside is None else [_all_values(channel[inside]) for channel in image.array]
    word = source.header.get("modality", "")
    dtype = str(image.array.dtype.newbyteorder("="))
    return Profile(
        modalities={modality: 1},
        dicom_modalities={str(word): 1} if word else {},
        units={image.unit: 1},
        dtypes={dtype: 1},
        scales={modality: {dtype if image.unit == "1" else image.unit: 1}},
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
