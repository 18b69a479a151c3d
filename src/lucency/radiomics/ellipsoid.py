"""The ellipse, or in a volume the ellipsoid, that a marked thing is as large as, and how far each voxel lies within.

Fetal heads and discs are marked by hand as ellipses. What a network marks of them is not: its border wobbles with every
shadow and echo, and now and then it bulges or has a bite taken out. The ellipse through the middle of that is nearer.
"""

import numpy as np

#: Voxels under which a thing has no shape that could be told.
LEAST_VOXELS = 25

#: The ellipse of equal moments is looked for within the thing's own extent and this share of it on each side.
BEYOND = 0.5

#: Half the width of the band about the border, in half axes, within which a mask is believed when its ellipse is looked
#: for again, and how often that is done at the most. On 192 fetal heads out of fold bands of .02 to .15 gave a Dice of
#: .9702 to .9697, the moments alone .9694, the masks themselves .9660.
BAND, ROUNDS = 0.04, 8


def depth(inside: np.ndarray) -> np.ndarray | None:
    """Return how far each voxel lies within the ellipsoid that has the moments of a marked thing.

    Args:
        inside: (K, J, I) bool, one part. K = 1 is a single image and gives an ellipse.

    Returns:
        (K, J, I) float64: 1 in the middle, 0 at the surface, below 0 outside, falling evenly along each ray. None
        where the thing is too small or cut off by the edge of the image: the moments of what is left are not its own.

    Source:
        Moments of a solid ellipsoid: the mean square along a half axis a is a² / (d + 2) in d dimensions (Haralick and
        Shapiro 1992, Computer and Robot Vision I, appendix A, for d = 2).
    """
    axes = [a for a, n in enumerate(inside.shape) if n > 1]
    places = np.argwhere(inside)[:, axes].astype(np.float64)
    size = np.array(inside.shape)[axes]
    if len(places) < LEAST_VOXELS or (places.min(axis=0) == 0).any() or (places.max(axis=0) == size - 1).any():
        return None
    middle = places.mean(axis=0)
    # A voxel is a body and not a point: its own second moment is a twelfth.
    moments = np.cov(places.T, bias=True).reshape(len(axes), -1) + np.eye(len(axes)) / 12
    spread = BEYOND * (np.ptp(places, axis=0) + 1)
    low = np.maximum(np.floor(places.min(axis=0) - spread), 0).astype(int)
    high = np.minimum(np.ceil(places.max(axis=0) + spread) + 1, size).astype(int)
    around = np.stack(np.meshgrid(*(np.arange(a, b) for a, b in zip(low, high, strict=True)), indexing="ij"), axis=-1)
    offsets = around - middle
    squared = np.einsum("...a,ab,...b->...", offsets, np.linalg.inv(moments), offsets) / (len(axes) + 2)
    window = [slice(None)] * inside.ndim
    for axis, a, b in zip(axes, low, high, strict=True):
        window[axis] = slice(a, b)
    out = np.full(inside.shape, 1.0 - (1.0 + BEYOND) * np.sqrt(len(axes)))
    out[tuple(window)] = (1.0 - np.sqrt(squared)).reshape(out[tuple(window)].shape)
    return out


def fitted(inside: np.ndarray) -> np.ndarray | None:
    """Return the depth within the ellipsoid of a mask of which bulges and bites are left out.

    The ellipsoid of equal moments is looked for again and again, with all that lies clearly within the last one filled
    and all that lies clearly beyond it emptied, until it stays where it is.

    Args:
        inside: (K, J, I) bool, one part.

    Returns:
        As :func:`depth`.
    """
    found = depth(inside)
    for _ in range(ROUNDS):
        if found is None:
            return None
        again = depth((inside & (found > -BAND)) | (found > BAND))
        if again is None or np.array_equal(again > 0, found > 0):
            return found
        found = again
    return found
