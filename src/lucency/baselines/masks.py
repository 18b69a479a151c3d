"""Masks drawn without learning shapes."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy import ndimage

from lucency.errors import DataError
from lucency.metrics import dice

#: Training images of a mask baseline, and their voxels (but 3 images at least); more hardly move a histogram and
#: cost seconds.
MASK_IMAGES, MASK_VOXELS = 60, 10_000_000

#: Images on which smoothing and the largest component are tried.
TRIAL_IMAGES = 20

#: Bins of the intensity histograms and the widths of smoothing tried, in voxels.
N_BINS, SMOOTHINGS = 256, (0.0, 1.0, 2.0)

#: Voxels kept per image for the bins' edges.
EDGE_SAMPLE = 20_000

#: Voxels of the location prior's grid; a larger grid is thinned, so that memory stays at a few dozen MB per label.
PRIOR_VOXELS = 2_000_000


class MaskModel(Protocol):
    """A fitted mask baseline."""

    def predict(self, image: np.ndarray) -> np.ndarray:
        """Return the (K, J, I) uint8 mask of a (C, K, J, I) float32 image."""
        ...


@dataclass(frozen=True)
class MaskBaseline:
    """A way to draw masks without learning shapes.

    Args:
        name: Key in ``MASK_BASELINES`` and in the report.
        description: One sentence in plain words, for the report.
        make: Fits it; see :meth:`fit`.
    """

    name: str
    description: str
    make: Callable[[Sequence[np.ndarray], Sequence[np.ndarray], int], MaskModel]

    def fit(
        self,
        images: Sequence[np.ndarray],
        masks: Sequence[np.ndarray],
        n_labels: int,
        *,
        ignore: int | None = None,
    ) -> MaskModel:
        """Fit to training images; at most 60 (fewer large ones), evenly spaced over those given, are used.

        Args:
            images: (C, K, J, I) float32 each, normalised; sizes may differ.
            masks: (K, J, I) int each, 0 background, 1 to ``n_labels``.
            n_labels: Labels, without the background; 1 to 255.
            ignore: Mask value that means "not annotated"; such voxels count for nothing.

        Raises:
            DataError: No image, or an image and its mask differ in size.
        """
        if not images or len(images) != len(masks):
            raise DataError(f"{len(images)} images and {len(masks)} masks", expected="as many of each, at least one")
        most = min(MASK_IMAGES, len(images), max(3, MASK_VOXELS // max(mask.size for mask in masks)))
        picked = np.unique(np.linspace(0, len(images) - 1, most).round().astype(int))
        for n in picked:
            if images[n].shape[1:] != masks[n].shape:
                raise DataError(f"Image {images[n].shape[1:]} with a mask {masks[n].shape}", expected="one size")
        # Not annotated becomes -1: neither a label nor background.
        known = [np.where(masks[n] == ignore, -1, masks[n]).astype(np.int16) for n in picked]
        return self.make([images[n] for n in picked], known, n_labels)


@dataclass(frozen=True)
class Band:
    """The intensities that stand for one label.

    Args:
        label: Mask value.
        channel: Image channel.
        lower: Lowest intensity, inclusive.
        upper: Highest, exclusive.
        dice: Overlap with the training masks, all voxels pooled.
    """

    label: int
    channel: int
    lower: float
    upper: float
    dice: float


@dataclass(frozen=True)
class Threshold:
    """Labels by intensity; made by the baseline ``"threshold"``.

    Args:
        bands: Worst Dice first, so that the surest label is painted last.
        sigma: Width of the Gaussian smoothing before, voxels; 0 for none.
        largest: Labels of which only the largest connected part is kept.
    """

    bands: tuple[Band, ...]
    sigma: float = 0.0
    largest: frozenset[int] = frozenset()

    def predict(self, image: np.ndarray) -> np.ndarray:
        """Return the (K, J, I) uint8 mask of a (C, K, J, I) float32 image."""
        return self.paint(_smooth(image, self.sigma))

    def paint(self, smoothed: np.ndarray) -> np.ndarray:
        """Return the mask of an image that is already smoothed."""
        mask = np.zeros(smoothed.shape[1:], dtype=np.uint8)
        for band in self.bands:
            channel = smoothed[band.channel]
            mask[(channel >= band.lower) & (channel < band.upper)] = band.label
        for label in self.largest:
            found = mask == label
            mask[found & ~_largest_part(found)] = 0
        return mask


@dataclass(frozen=True, eq=False)
class LocationPrior:
    """Labels by place; made by the baseline ``"location prior"``.

    Args:
        atlas: (k, j, i) uint8: the label at each place of the thinned grid.
        size: (K, J, I) of the grid before thinning; images are laid on it centre to centre.
        step: (k, j, i) thinning.
    """

    atlas: np.ndarray
    size: tuple[int, int, int]
    step: tuple[int, int, int]

    def predict(self, image: np.ndarray) -> np.ndarray:
        """Return the (K, J, I) uint8 mask of a (C, K, J, I) image, of which only the size matters."""
        full = self.atlas
        for axis, (step, size) in enumerate(zip(self.step, self.size, strict=True)):
            full = np.repeat(full, step, axis=axis).take(range(size), axis=axis)
        return _centred(full, image.shape[1:], 0).astype(np.uint8)


def _fit_threshold(images: Sequence[np.ndarray], masks: Sequence[np.ndarray], n_labels: int) -> Threshold:
    best, best_dice = Threshold(()), -1.0
    trial = slice(None, None, max(1, math.ceil(len(images) / TRIAL_IMAGES)))
    for sigma in SMOOTHINGS:
        smoothed = [_smooth(image, sigma) for image in images]
        bands = [_best_band(smoothed, masks, label) for label in range(1, n_labels + 1)]
        model = Threshold(tuple(sorted((b for b in bands if b.dice > 0), key=lambda b: b.dice)), sigma)
        plain = _trial_dice(model, smoothed[trial], masks[trial], n_labels)
        clean = Threshold(model.bands, sigma, frozenset(range(1, n_labels + 1)))
        cleaned = _trial_dice(clean, smoothed[trial], masks[trial], n_labels)
        helped = frozenset(label for label in range(1, n_labels + 1) if cleaned[label - 1] > plain[label - 1])
        found = float(np.maximum(plain, cleaned).mean())
        if found > best_dice:
            best, best_dice = Threshold(model.bands, sigma, helped), found
    return best


def _fit_prior(images: Sequence[np.ndarray], masks: Sequence[np.ndarray], n_labels: int) -> LocationPrior:
    sizes = np.array([mask.shape for mask in masks])
    k, j, i = (int(n) for n in np.median(sizes, axis=0).round())
    # Odd, so that a cell has a middle voxel and nothing shifts.
    thin = math.ceil((k * j * i / PRIOR_VOXELS) ** (1 / 3)) | 1
    step = (thin if thin < k else 1, thin if thin < j else 1, thin if thin < i else 1)
    # A place outside a smaller image is not annotated there; a voxel at the middle of its cell stands for the cell.
    window = tuple(slice(s // 2, None, s) for s in step)
    laid = [_centred(mask, (k, j, i), -1)[window] for mask in masks]
    known = np.maximum(sum((mask >= 0).astype(np.int32) for mask in laid), 1)
    shape = tuple(-(-n // s) for s, n in zip(step, (k, j, i), strict=True))
    atlas, strength = np.zeros(known.shape, dtype=np.uint8), np.zeros(known.shape, dtype=np.float32)
    for label in range(1, n_labels + 1):
        count = sum((mask == label).astype(np.int32) for mask in laid)
        share = (count / known).astype(np.float32)
        inside = (share >= _best_share(share, np.asarray(count), known)) & (share > strength)
        atlas[inside], strength[inside] = label, share[inside]
    padded = [(0, n - m) for n, m in zip(shape, atlas.shape, strict=True)]
    return LocationPrior(np.pad(atlas, padded, mode="edge"), (k, j, i), step)


MASK_BASELINES: dict[str, MaskBaseline] = {
    baseline.name: baseline
    for baseline in (
        MaskBaseline(
            "threshold",
            "Marks every voxel whose brightness lies in the range that fitted each label best in training.",
            _fit_threshold,
        ),
        MaskBaseline(
            "location prior",
            "Draws every label where it usually lay in the training images, without looking at the new image.",
            _fit_prior,
        ),
    )
}


def _smooth(image: np.ndarray, sigma: float) -> np.ndarray:
    """Smooth (C, K, J, I) in space; an axis of one voxel stays."""
    if sigma == 0:
        return image
    return np.asarray(ndimage.gaussian_filter(image, (0.0, *(sigma if n > 1 else 0.0 for n in image.shape[1:]))))


def _best_band(images: Sequence[np.ndarray], masks: Sequence[np.ndarray], label: int) -> Band:
    """Return the channel and interval whose voxels, pooled over the images, overlap most with the label."""
    best = Band(label, 0, 0.0, 0.0, 0.0)
    for channel in range(images[0].shape[0]):
        edges = _edges([image[channel] for image in images])
        inside, everything = np.zeros(edges.size + 1), np.zeros(edges.size + 1)
        for image, mask in zip(images, masks, strict=True):
            bins = np.searchsorted(edges, image[channel].ravel(), side="right")
            inside += np.bincount(bins[mask.ravel() == label], minlength=inside.size)
            everything += np.bincount(bins[mask.ravel() >= 0], minlength=inside.size)
        below_in, below = (np.concatenate([[0.0], np.cumsum(h)]) for h in (inside, everything))
        hits = below_in[None, :] - below_in[:, None]
        overlap = 2 * hits / np.maximum(below[None, :] - below[:, None] + below_in[-1], 1.0)
        first, last = np.unravel_index(int(np.triu(overlap).argmax()), overlap.shape)
        if overlap[first, last] > best.dice:
            ends = np.concatenate([[-np.inf], edges, [np.inf]])
            best = Band(label, channel, float(ends[first]), float(ends[last]), float(overlap[first, last]))
    return best


def _edges(planes: Sequence[np.ndarray]) -> np.ndarray:
    """Return inner edges of bins of equal mass, joined with evenly spaced ones for rare bright or dark tissue."""
    sample = np.concatenate([p.ravel()[:: max(1, p.size // EDGE_SAMPLE)] for p in planes])
    half = N_BINS // 2
    even = np.linspace(sample.min(), sample.max(), half)
    return np.unique(np.concatenate([np.quantile(sample, np.linspace(0, 1, half)), even]))


def _trial_dice(
    model: Threshold, smoothed: Sequence[np.ndarray], masks: Sequence[np.ndarray], n_labels: int
) -> np.ndarray:
    """Return (n_labels,) mean Dice over the images, annotated voxels only."""
    found = np.zeros((len(masks), n_labels))
    for row, (image, mask) in enumerate(zip(smoothed, masks, strict=True)):
        painted = np.where(mask >= 0, model.paint(image), 0)
        found[row] = [dice(mask == label, painted == label) for label in range(1, n_labels + 1)]
    return np.asarray(found.mean(axis=0))


def _largest_part(mask: np.ndarray) -> np.ndarray:
    """Return the largest face-connected part of a bool mask."""
    parts, n = ndimage.label(mask)
    if n <= 1:
        return mask
    return np.asarray(parts == 1 + int(np.bincount(parts.ravel())[1:].argmax()))


def _centred(array: np.ndarray, size: Sequence[int], fill: int) -> np.ndarray:
    """Lay a 3-D array centre to centre on a grid of another size."""
    out = np.full(tuple(size), fill, dtype=array.dtype)
    source, place = [], []
    for have, want in zip(array.shape, size, strict=True):
        n, start, stop = min(have, want), max(0, (have - want) // 2), max(0, (want - have) // 2)
        source.append(slice(start, start + n))
        place.append(slice(stop, stop + n))
    out[tuple(place)] = array[tuple(source)]
    return out


def _best_share(share: np.ndarray, count: np.ndarray, known: np.ndarray) -> float:
    """Return the frequency from which on a place belongs to the label, for the best pooled training Dice."""
    cuts = np.linspace(0.0, 1.0, 41)[1:]
    true = float(count.sum())
    scores = [
        2 * float(count[inside].sum()) / max(float(known[inside].sum()) + true, 1.0)
        for inside in (share >= cut for cut in cuts)
    ]
    return float(cuts[int(np.argmax(scores))])
