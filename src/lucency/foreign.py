"""Whether an image is of another kind than those a model was trained on: how far its features lie from theirs.

A network answers any image, a photograph of a cat included, and often with confidence. The features inside it tell:
their distance from those of the training images is large where the image is foreign (Yang 2025, OpenMIBOOD,
doi 10.48550/arXiv.2503.16247: distances of features beat probabilities on medical images).
"""

from dataclasses import dataclass

import numpy as np

from lucency.errors import DataError

#: Images that are called foreign though they are not, in a hundred: the stated false alarm.
FALSE_ALARM = 0.05

#: Directions that are looked at one by one; what is left is looked at as one.
MOST_AXES = 32

#: Fewer training images than this do not show how their features vary.
LEAST = 20


@dataclass(frozen=True)
class Foreign:
    """Where the features of training images lie, and how far off those of held-out ones are. Numbers only, no case.

    Args:
        centre: (d,) mean of the training images' features.
        scale: (d,) their deviation.
        axes: (k × d,) directions in which they vary most, one behind the other.
        spread: (k,) deviation along each.
        rest: Deviation per direction of what the axes leave over.
        held: Distances of held-out images of the same kind, ascending; what a new image is compared with.

    Raises:
        DataError: Lengths that do not fit together.
    """

    centre: tuple[float, ...]
    scale: tuple[float, ...]
    axes: tuple[float, ...]
    spread: tuple[float, ...]
    rest: float
    held: tuple[float, ...]

    def __post_init__(self) -> None:
        d, k = len(self.centre), len(self.spread)
        if len(self.scale) != d or len(self.axes) != k * d:
            raise DataError("Directions of another length than the features", where="foreign.json")

    def distances(self, features: np.ndarray) -> np.ndarray:
        """Return how far features lie from the training images', (n,) float, in deviations; 1 is typical.

        Args:
            features: (n, d) float.

        Source:
            Mahalanobis 1936 with the covariance of probabilistic principal components (Tipping 1999,
            doi 10.1111/1467-9868.00196), which few images suffice for.
        """
        return _distances(
            np.asarray(features, dtype=np.float64),
            (np.asarray(self.centre), np.asarray(self.scale)),
            np.asarray(self.axes).reshape(len(self.spread), -1),
            np.asarray(self.spread),
            self.rest,
        )

    def chances(self, features: np.ndarray) -> np.ndarray:
        """Return the chance that an image of the model's own kind lies as far off, (n,) float, over 0 to 1.

        Calling foreign what is below 5 % raises a false alarm for at most 5 % of images of the same kind, whatever
        the distances are distributed like; this needs 19 held-out images.

        Source:
            Bates 2023, doi 10.1214/22-AOS2244 (conformal p-values for outliers).
        """
        held = np.asarray(self.held)
        as_far = held.size - np.searchsorted(held, self.distances(features), side="left")
        return np.asarray((1 + as_far) / (held.size + 1))

    @property
    def can_tell(self) -> bool:
        """Whether so many images were held out that an image can be called foreign at the stated false alarm."""
        return 1 / (len(self.held) + 1) <= FALSE_ALARM


def learn(trained: np.ndarray, held: np.ndarray) -> Foreign | None:
    """Learn what is usual.

    Args:
        trained: (n, d) features of training images.
        held: (m, d) features of images of the same kind that the network was not trained on.

    Returns:
        What tells foreign images, or None where there are too few training images.
    """
    if len(trained) < LEAST or len(held) == 0:
        return None
    x = np.asarray(trained, dtype=np.float64)
    centre, scale = x.mean(axis=0), x.std(axis=0)
    # A feature that never varied among the training images says "foreign" by any change, and yet must not by rounding.
    scale = np.maximum(scale, max(1e-3 * float(np.median(scale)), 1e-6))
    z = (x - centre) / scale
    # A quarter of the images at most: beyond, the axes follow single images.
    k = max(1, min(MOST_AXES, len(x) // 4, x.shape[1] - 1))
    _, singular, axes = np.linalg.svd(z, full_matrices=False)
    spread = singular[:k] / np.sqrt(len(x))
    left = float((singular[k:] ** 2).sum()) / len(x) / max(1, x.shape[1] - k)
    rest = max(left, 1e-6) ** 0.5
    spread = np.maximum(spread, rest)
    far = np.sort(_distances(np.asarray(held, dtype=np.float64), (centre, scale), axes[:k], spread, rest))
    return Foreign(
        _numbers(centre), _numbers(scale), _numbers(axes[:k].reshape(-1)), _numbers(spread), rest, _numbers(far)
    )


def _distances(
    features: np.ndarray,
    place: tuple[np.ndarray, np.ndarray],
    axes: np.ndarray,
    spread: np.ndarray,
    rest: float,
) -> np.ndarray:
    z = (features - place[0]) / place[1]
    along = z @ axes.T
    left = np.maximum((z**2).sum(axis=1) - (along**2).sum(axis=1), 0)
    d = z.shape[1]
    return np.asarray(np.sqrt((((along / spread) ** 2).sum(axis=1) + left / rest**2) / d))


def _numbers(values: np.ndarray) -> tuple[float, ...]:
    # Six digits: the file stays readable, and distances are told with two.
    return tuple(float(f"{v:.6g}") for v in values)
