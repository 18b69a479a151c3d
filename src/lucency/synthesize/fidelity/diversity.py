"""Whether the images of a class differ among themselves as real ones do, or repeat."""

import math

import numpy as np
import torch
from torch.nn import functional

from lucency.statistics import Metric, bootstrap_metric, proportion_metric
from lucency.synthesize.fidelity.manifold import distances

#: Weights of the scales, the finest first (Wang 2003, doi 10.1109/ACSSC.2003.1292216); fewer scales share what is left.
WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)

#: Side and deviation of the Gaussian window, in pixels, and the constants (Wang 2004, doi 10.1109/TIP.2003.819861).
WINDOW, DEVIATION, C1, C2 = 11, 1.5, 0.01**2, 0.03**2

#: Images of a class that are compared pair by pair at the most, and voxels of all pairs together.
MOST_IMAGES, PAIR_VOXELS = 64, 60_000_000

#: Voxels of the pairs that are compared at once.
AT_ONCE = 4_000_000

#: Two images of a class are called alike where they are nearer than the nearest hundredth of real ones.
ALIKE = 0.01


def scales_of(size: tuple[int, ...]) -> int:
    """Return how many scales fit: the coarsest still holds a window. 28 pixels have two, 176 all five.

    Example:
        >>> scales_of((28, 28)), scales_of((64, 64, 64)), scales_of((8, 8)), scales_of((200, 180))
        (2, 3, 1, 5)
    """
    shortest = min(size)
    return 1 + max(n for n in range(len(WEIGHTS)) if n == 0 or shortest // 2**n >= WINDOW)


def ms_ssim(first: torch.Tensor, second: torch.Tensor, low: float, high: float) -> torch.Tensor:
    """Return the multi-scale structural similarity of pairs of images, (n,) float, 1 for equal ones.

    Args:
        first: (n, C, J, I) or (n, C, K, J, I) float32.
        second: As ``first``.
        low: The darkest value that there is.
        high: The brightest, > ``low``.

    Source:
        Wang 2003 (doi 10.1109/ACSSC.2003.1292216). Negative terms, which have no root, count as 0.
    """
    size = tuple(first.shape[2:])
    n_scales = scales_of(size)
    weights = np.array(WEIGHTS[:n_scales]) / sum(WEIGHTS[:n_scales])
    pool = functional.avg_pool3d if len(size) == 3 else functional.avg_pool2d
    # Moments lose digits where a mean is large against the deviation.
    centre = (first.mean() + second.mean()) / 2
    a, b = (first - centre) / (high - low), (second - centre) / (high - low)
    shift = (float(centre) - low) / (high - low)
    product = torch.ones(len(a))
    for number, weight in enumerate(weights):
        light, structure = _terms(a, b, shift)
        last = number == n_scales - 1
        term = (light * structure if last else structure).flatten(1).mean(dim=1)
        product = product * term.clamp(min=0) ** float(weight)
        if not last:
            a, b = pool(a, 2), pool(b, 2)
    return product


def _terms(a: torch.Tensor, b: torch.Tensor, shift: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Return luminance and structure at every place of pairs of images."""
    mean_a, mean_b = _blurred(a), _blurred(b)
    var_a = _blurred(a * a) - mean_a**2
    var_b = _blurred(b * b) - mean_b**2
    both = _blurred(a * b) - mean_a * mean_b
    mean_a, mean_b = mean_a + shift, mean_b + shift
    light = (2 * mean_a * mean_b + C1) / (mean_a**2 + mean_b**2 + C1)
    return light, (2 * both + C2) / (var_a + var_b + C2)


def _blurred(x: torch.Tensor) -> torch.Tensor:
    """Return local means in a Gaussian window, where it fits."""
    d = x.ndim - 2
    conv = functional.conv3d if d == 3 else functional.conv2d
    out = x.flatten(0, 1)[:, None]
    for axis in range(d):
        side = min(WINDOW, x.shape[2 + axis])
        at = torch.arange(side, dtype=x.dtype) - (side - 1) / 2
        window = torch.exp(-(at**2) / (2 * DEVIATION**2))
        shape = [1, 1, *(side if n == axis else 1 for n in range(d))]
        out = conv(out, (window / window.sum()).reshape(shape))
    return out.reshape(*x.shape[:2], *out.shape[2:])


def similarity(images: np.ndarray, people: np.ndarray, ends: tuple[float, float], rng: np.random.Generator) -> Metric:
    """Return the mean multi-scale similarity of the images of a class among themselves; the lower, the more diverse.

    Images of one patient are not compared with each other.

    Args:
        images: (n, C, K, J, I) float32.
        people: (n,) patient of each.
        ends: The darkest and the brightest real value.
        rng: Chooses among many, and resamples.
    """
    voxels = int(np.prod(images.shape[1:]))
    most = min(MOST_IMAGES, max(8, int((1 + math.sqrt(1 + 8 * PAIR_VOXELS / voxels)) / 2)))
    chosen = np.sort(rng.permutation(len(images))[:most])
    people = people[chosen]
    x = torch.from_numpy(np.ascontiguousarray(images[chosen]))
    x = x[:, :, 0] if x.shape[2] == 1 else x
    first, second = np.triu_indices(len(chosen), 1)
    apart = people[first] != people[second]
    first, second = first[apart], second[apart]
    if not len(first):
        return Metric(math.nan, method="undefined: under two images", best=0.0)
    step = max(1, AT_ONCE // voxels)
    each = [ms_ssim(x[first[n : n + step]], x[second[n : n + step]], *ends) for n in range(0, len(first), step)]
    values = torch.cat(each).numpy().astype(np.float64)

    def mean(weights: np.ndarray) -> np.ndarray:
        pairs = weights[:, first] * weights[:, second]
        return np.asarray((pairs @ values) / np.maximum(pairs.sum(axis=1), 1e-30))

    return bootstrap_metric(mean, people, rng, best=0.0, bounds=None)


def nearest_other(features: np.ndarray, people: np.ndarray) -> np.ndarray:
    """Return how far the nearest image of another patient lies, (n,) float32; infinite where there is none."""
    apart = distances(features, features)
    apart[people[:, None] == people[None]] = np.inf
    return np.asarray(apart.min(axis=1))


def repeats(made: np.ndarray, real: np.ndarray, people: np.ndarray, rng: np.random.Generator) -> tuple[Metric, Metric]:
    """Return which share of the images of a class nearly repeat another one: of those made, and of as many real ones.

    Args:
        made: (n, d) float features.
        real: (m, d) float; about as many.
        people: (m,) patient of each real image.
        rng: Of the bootstrap.
    """
    alone = np.array([f"made {n}" for n in range(len(made))])
    usual, ours = nearest_other(real, people), nearest_other(made, alone)
    limit = float(np.quantile(usual[np.isfinite(usual)], ALIKE)) if np.isfinite(usual).any() else 0.0
    return proportion_metric(ours < limit, alone, rng), proportion_metric(usual < limit, people, rng)
