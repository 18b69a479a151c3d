"""Slices as pictures that any annotation tool can show, and what they are called."""

from pathlib import Path

import numpy as np

from lucency.image import Image
from lucency.write.capture import window
from lucency.write.raster import write_picture

#: Folder of the pictures beside the files that name them.
PICTURES = "images"


def picture_names(case: str, n_slices: int) -> tuple[str, ...]:
    """Return what the slices of a case are called, counted from 1; a flat image keeps its case's name.

    Example:
        >>> picture_names("a", 1), picture_names("a", 2)
        (('a.png',), ('a__0001.png', 'a__0002.png'))
    """
    if n_slices == 1:
        return (f"{case}.png",)
    return tuple(f"{case}__{k + 1:04d}.png" for k in range(n_slices))


def write_pictures(folder: Path, case: str, image: Image) -> tuple[Path, ...]:
    """Write every slice as PNG, as it lies in the array, pixel for pixel.

    Grey or colour of eight bits stays as it is; other numbers are spread over 256 greys by one window for the whole
    image, which leaves out half a percent at either end.

    Args:
        folder: Where to.
        case: Case id.
        image: Intensities, (C, K, J, I); of other than three channels the first is shown.

    Returns:
        The files, in the order of the slices.

    Raises:
        OutputError: A disk that cannot be written.
    """
    shown = image.array if image.channels == 3 and image.array.dtype == np.uint8 else image.array[:1]
    low, high = window(image.with_array(shown))
    paths = tuple(folder / name for name in picture_names(case, image.size[0]))
    for k, path in enumerate(paths):
        plane = shown[:, k : k + 1]
        if plane.dtype != np.uint8:
            grey = (plane.astype(np.float64) - low) / max(high - low, 1e-9)
            plane = np.rint(np.clip(grey, 0, 1) * 255).astype(np.uint8)
        write_picture(path, Image(plane, image.affine))
    return paths
