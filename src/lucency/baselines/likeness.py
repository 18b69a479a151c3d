"""What an encoder must beat before it is worth its trouble: looking at the pixels themselves, and chance."""

from collections.abc import Callable, Mapping

import numpy as np
import torch

from lucency.prepare import resize

#: Sides (k, j, i) that images are compared at: at 16 pixels position and brightness decide, which is what comparing
#: pixels can do; finer ones compare noise.
COARSE = (4, 16, 16)

#: Numbers of a random vector: enough that no two lie near each other by chance.
RANDOM = 64


def pixels(array: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return an image scaled down, as one vector.

    Args:
        array: (C, K, J, I) float, normalised, on the network's grid.
        rng: Not used; all likenesses are called alike.

    Returns:
        (C × k × j × i,) float32.
    """
    size = (min(COARSE[0], array.shape[1]), min(COARSE[1], array.shape[2]), min(COARSE[2], array.shape[3]))
    small: np.ndarray = resize(torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32)), size).numpy()
    return small.reshape(-1)


def chance(array: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return (:data:`RANDOM`,) float32, normally distributed, whatever the image shows."""
    return rng.normal(size=RANDOM).astype(np.float32)


Likeness = Callable[[np.ndarray, np.random.Generator], np.ndarray]

#: Baselines of a search for similar cases: name to what stands for an image.
LIKENESSES: Mapping[str, Likeness] = {"pixel similarity": pixels, "random order": chance}
