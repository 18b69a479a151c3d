"""Simple models on the same cases: what a network must beat before it is worth its trouble.

Two registries. ``IMAGE_BASELINES`` give class probabilities from :func:`features` of an image; ``MASK_BASELINES``
draw a mask without learning shapes. scikit-learn is imported when a model is fitted, since its import is slow.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from scipy import ndimage

from lucency.errors import DataError, UsageError
from lucency.metrics import dice

PERCENTILES = (1, 5, 25, 50, 75, 95, 99)
#: Blocks along each axis whose means are features; orientations of the gradient histogram (Dalal & Triggs 2005).
N_BLOCKS, N_ANGLES = 4, 9
#: Training images of a support vector machine: its time grows with their square; 4000 take seconds.
SVM_IMAGES = 4000
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


def features(array: np.ndarray, *, dims: int = 0) -> np.ndarray:
    """Return simple numbers that describe one image.

    Per channel: mean, standard deviation, skewness, kurtosis, extremes and 7 percentiles of the intensity; mean,
    standard deviation and 4 percentiles of the gradient; mean, standard deviation and 4 percentiles of the local
    standard deviation (3 voxels wide); 4 × 4 (× 4) block means; share, centre and spread of what is brighter than
    the mean. In 2-D also 4 × 4 histograms of 9 gradient directions of the channels' mean.

    Args:
        array: (C, K, J, I) float32, normalised.
        dims: 2 or 3; 0 for 2 where K = 1. All images of a set need the same.

    Returns:
        (n_features,) float32, finite; the length depends on C and ``dims`` only.

    Source:
        Dalal & Triggs 2005, doi:10.1109/CVPR.2005.177 (histograms of oriented gradients).
    """
    dims = dims or (2 if array.shape[1] == 1 else 3)
    if dims == 2 and array.shape[1] != 1:
        raise UsageError(f"An image of {array.shape[1]} slices", expected="one slice in a 2-D set")
    planes = array[:, 0] if dims == 2 else array
    parts = [_channel_features(channel) for channel in planes]
    if dims == 2:
        parts.append(_oriented_gradients(planes.mean(axis=0)))
    return np.nan_to_num(np.concatenate(parts).astype(np.float32), posinf=0.0, neginf=0.0)


@dataclass(frozen=True)
class ImageBaseline:
    """A classifier of image features.

    Args:
        name: Key in ``IMAGE_BASELINES`` and in the report.
        description: One sentence in plain words, for the report.
        build: (smallest class, seed) -> a scikit-learn classifier; None to give the class frequencies alone.
        most: Training images used at most.
    """

    name: str
    description: str
    build: Callable[[int, int], Any] | None
    most: int = 1_000_000

    def fit_predict(
        self,
        features_train: np.ndarray,
        y_train: np.ndarray,
        features_test: np.ndarray,
        n_classes: int,
        rng_seed: int,
    ) -> np.ndarray:
        """Fit to the training images and return the probabilities of the test images.

        A class with fewer than two training images cannot be learned and gets probability 0.

        Args:
            features_train: (n, f) float.
            y_train: (n,) class index.
            features_test: (m, f) float.
            n_classes: Classes, also those without a training image.
            rng_seed: Seed of the subsample, the forest and the inner folds.

        Returns:
            (m, n_classes) float64, rows sum to 1.

        Raises:
            DataError: No training image.
        """
        y_train = np.asarray(y_train)
        if not y_train.size:
            raise DataError("No training image for a baseline", expected="one or more")
        counts = np.bincount(y_train, minlength=n_classes)
        usable = np.flatnonzero(counts >= 2)
        probabilities = np.zeros((len(features_test), n_classes))
        if self.build is None or usable.size < 2:
            probabilities[:] = counts / counts.sum()
            return probabilities
        chosen = _subsample(np.flatnonzero(np.isin(y_train, usable)), y_train, self.most, rng_seed)
        y = y_train[chosen]
        model = self.build(int(np.bincount(y)[usable].min()), rng_seed)
        mean, spread = features_train[chosen].mean(axis=0), features_train[chosen].std(axis=0)
        # A feature that never varies in training says nothing; unscaled it could explode on a test image.
        scale = np.where(spread > 1e-6, spread, np.inf)
        model.fit((features_train[chosen] - mean) / scale, y)
        probabilities[:, model.classes_] = model.predict_proba((features_test - mean) / scale)
        return np.asarray(probabilities / probabilities.sum(axis=1, keepdims=True))


def _logistic(smallest: int, seed: int) -> Any:
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415

    # A tenth of the default strength: there are as many features as images in small sets. A loose tolerance ends
    # the fit long before its iterations do.
    return LogisticRegression(C=0.1, max_iter=1000, tol=1e-3, random_state=seed)


def _svm(smallest: int, seed: int) -> Any:
    from sklearn.calibration import CalibratedClassifierCV  # noqa: PLC0415
    from sklearn.model_selection import StratifiedKFold  # noqa: PLC0415
    from sklearn.svm import SVC  # noqa: PLC0415

    folds = StratifiedKFold(min(3, smallest), shuffle=True, random_state=seed)
    return CalibratedClassifierCV(SVC(kernel="rbf", C=1.0, gamma="scale", random_state=seed), cv=folds, ensemble=False)


def _forest(smallest: int, seed: int) -> Any:
    from sklearn.ensemble import RandomForestClassifier  # noqa: PLC0415

    return RandomForestClassifier(200, min_samples_leaf=2, n_jobs=1, random_state=seed)


def _tree(smallest: int, seed: int) -> Any:
    from sklearn.tree import DecisionTreeClassifier  # noqa: PLC0415

    # Few questions, so that a person can follow them; leaves of 5 keep the probabilities off 0 and 1.
    return DecisionTreeClassifier(max_depth=5, min_samples_leaf=5, random_state=seed)


IMAGE_BASELINES: dict[str, ImageBaseline] = {
    baseline.name: baseline
    for baseline in (
        ImageBaseline(
            "majority class",
            "Gives every image the class frequencies of the training images and never looks at the image.",
            None,
        ),
        ImageBaseline(
            "logistic regression",
            "A weighted sum of simple image features (brightness, contrast, edges, coarse layout).",
            _logistic,
        ),
        ImageBaseline(
            "support vector machine",
            "Compares the simple features of an image with those of the training images nearest the class border.",
            _svm,
            SVM_IMAGES,
        ),
        ImageBaseline(
            "random forest",
            "The average of 200 decision trees, each grown on a random part of the images and their simple features.",
            _forest,
        ),
        ImageBaseline(
            "decision tree",
            "At most five yes-or-no questions about simple image features.",
            _tree,
        ),
    )
}


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


def _channel_features(image: np.ndarray) -> np.ndarray:
    """Return the features of one channel, (J, I) or (K, J, I)."""
    mean, spread = float(image.mean()), float(image.std())
    z = (image - mean) / max(spread, 1e-6)
    squares = z * z
    moments = [mean, spread, float((squares * z).mean()), float((squares * squares).mean())]
    moments += [float(image.min()), float(image.max())]
    slopes = [np.gradient(image, axis=a) for a in range(image.ndim) if image.shape[a] > 1]
    gradient = np.sqrt(sum((s * s for s in slopes), np.zeros_like(image)))
    local = ndimage.uniform_filter(image, 3)
    texture = np.sqrt(np.maximum(ndimage.uniform_filter(image * image, 3) - local * local, 0.0))
    blocks = [float(image[box].mean()) for box in _blocks(image.shape)]
    return np.concatenate(
        [moments, np.percentile(image, PERCENTILES), _summary(gradient), _summary(texture), blocks, _shape(z > 0)]
    )


def _summary(values: np.ndarray) -> np.ndarray:
    return np.array([values.mean(), values.std(), *np.percentile(values, (25, 50, 75, 95))])


def _shape(bright: np.ndarray) -> np.ndarray:
    """Return share, and per axis centre and spread, of a mask, in parts of the image."""
    total = max(int(bright.sum()), 1)
    found = [total / bright.size]
    for axis, n in enumerate(bright.shape):
        along = bright.sum(axis=tuple(a for a in range(bright.ndim) if a != axis)) / total
        at = (np.arange(n) + 0.5) / n
        centre = float(along @ at)
        found += [centre, math.sqrt(max(float(along @ (at - centre) ** 2), 0.0))]
    return np.array(found)


def _blocks(shape: Sequence[int]) -> list[tuple[slice, ...]]:
    """Return 4 boxes along each axis; they overlap where an axis has fewer than 4 voxels, so the count is fixed."""
    boxes: list[tuple[slice, ...]] = [()]
    for n in shape:
        cuts = [slice(b * n // N_BLOCKS, max(b * n // N_BLOCKS + 1, (b + 1) * n // N_BLOCKS)) for b in range(N_BLOCKS)]
        boxes = [(*box, cut) for box in boxes for cut in cuts]
    return boxes


def _oriented_gradients(image: np.ndarray) -> np.ndarray:
    """Return (4 * 4 * 9,) share of the gradient's strength by place and direction of a (J, I) image."""
    rows = np.gradient(image, axis=0) if image.shape[0] > 1 else np.zeros_like(image)
    columns = np.gradient(image, axis=1) if image.shape[1] > 1 else np.zeros_like(image)
    strength = np.hypot(rows, columns)
    angle = (np.arctan2(rows, columns) % np.pi * (N_ANGLES / np.pi)).astype(int) % N_ANGLES
    row, column = ((np.arange(n) * N_BLOCKS // n)[:, None] for n in image.shape)
    cell = (row * N_BLOCKS + column.T) * N_ANGLES + angle
    found = np.bincount(cell.ravel(), strength.ravel(), N_BLOCKS * N_BLOCKS * N_ANGLES)
    return np.asarray(found / max(float(np.linalg.norm(found)), 1e-6))


def _subsample(rows: np.ndarray, y: np.ndarray, most: int, seed: int) -> np.ndarray:
    """Return at most ``most`` of the rows, each class by its share but two at least."""
    if rows.size <= most:
        return rows
    rng = np.random.default_rng(seed)
    kept = []
    for c in np.unique(y[rows]):
        of_class = rows[y[rows] == c]
        kept.append(rng.permutation(of_class)[: max(2, of_class.size * most // rows.size)])
    return np.sort(np.concatenate(kept))


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
