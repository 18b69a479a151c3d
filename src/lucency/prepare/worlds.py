"""Images of one case that lie on grids of their own, brought together by their places in the patient."""

from dataclasses import replace

import numpy as np

from lucency.errors import GeometryError
from lucency.image import Image, resample

#: Share of an image's field that another must cover: what it does not cover is filled, and would be learned as empty.
LEAST_COVERED = 0.5

#: Voxels along each axis by which that share is estimated: to a percent or two.
LATTICE = 24


def covered(grid: Image, image: Image) -> float:
    """Return the share of one image's field that another covers, 0 to 1.

    Args:
        grid: Whose field counts.
        image: Of the same patient.

    Example:
        >>> first, moved = Image(np.zeros((1, 4, 8, 8), np.uint8), np.eye(4)), np.eye(4)
        >>> moved[0, 3] = 2.0
        >>> covered(first, replace(first, affine=moved))
        0.5
    """
    steps = [np.unique(np.linspace(0, n - 1, min(n, LATTICE)).round()) for n in grid.size]
    places = np.stack([*np.meshgrid(*steps, indexing="ij"), np.ones([len(s) for s in steps])]).reshape(4, -1)
    found = (np.linalg.inv(image.affine) @ grid.affine @ places)[:3]
    size = np.array(image.size)[:, None]
    # A voxel reaches half its width beyond its centre; a thousandth more is the last digit.
    return float(((found > -0.501) & (found < size - 0.499)).all(axis=0).mean())


def placed_on(image: Image, grid: Image, where: str) -> Image:
    """Return an image on the grid of another of the same patient, by the coordinates of both in mm.

    Linear between voxels, and as at its edge up to a voxel beyond the last centres; outside, its lowest number stands.

    Args:
        image: Intensities or labels.
        grid: Its geometry is taken.
        where: Case or file, for the error.

    Returns:
        The image itself where it lies there already.

    Raises:
        GeometryError: Two pictures without a place in space, or fields of which less than half is common.
    """
    if grid.same_grid(image):
        return image
    if grid.size[0] == 1 or image.size[0] == 1:
        raise GeometryError(
            f"Modalities of one case on different grids ({grid.size} and {image.size})",
            expected="single pictures on one grid: they have no place in the patient by which they could be brought "
            "together",
            where=where,
            remedy="register and resample them to one grid, or learn without pairs (--set pairs=none)",
        )
    share = covered(grid, image)
    if share < LEAST_COVERED:
        raise GeometryError(
            f"Two modalities of one case have {100 * share:.0f} % of the field in common",
            expected=f"{100 * LEAST_COVERED:.0f} % or more of what is given, by the positions in the headers",
            where=where,
            remedy="look whether both are of the same body part and in one frame of reference; register them, crop the "
            "first to what both show, or leave the case out",
        )
    # Half a voxel of the image lies beyond its last centre, where nothing could be interpolated.
    wide = np.pad(image.array, ((0, 0), *[(1, 1)] * 3), mode="edge")
    affine = image.affine.copy()
    affine[:, 3] = image.affine @ [-1.0, -1.0, -1.0, 1.0]
    return resample(replace(image, array=wide, affine=affine), grid.affine, grid.size, fill=float(image.array.min()))
