"""Regions as polygons along the edges of their pixels, so that filling them gives every pixel back."""

import numpy as np

#: Steps along a row or column, turning right (with rows growing downwards): right, down, left, up; (x, y).
STEPS = ((1, 0), (0, 1), (-1, 0), (0, -1))


def outlines(region: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return the outline of a connected region first, then those of its holes.

    Args:
        region: (J, I) bool; one part, connected over the sides of pixels.

    Returns:
        (n, 2) float each: corners as (x, y) in pixels from the corner of the image, the last joins the first.

    Example:
        >>> outlines(np.array([[False, True]]))[0].tolist()
        [[1.0, 0.0], [2.0, 0.0], [2.0, 1.0], [1.0, 1.0]]
    """
    inside = np.pad(region.astype(bool), 1)
    # From each corner the steps that keep the region to their right.
    steps: dict[tuple[int, int], list[int]] = {}
    for direction, (down, right, x0, y0) in enumerate(((-1, 0, 0, 0), (0, 1, 1, 0), (1, 0, 1, 1), (0, -1, 0, 1))):
        edge = inside & ~np.roll(inside, (-down, -right), axis=(0, 1))
        for j, i in np.argwhere(edge).tolist():
            steps.setdefault((i - 1 + x0, j - 1 + y0), []).append(direction)
    found = []
    while steps:
        found.append(_walked(steps, min(steps, key=lambda c: (c[1], c[0]))))
    return tuple(found)


def _walked(steps: dict[tuple[int, int], list[int]], start: tuple[int, int]) -> np.ndarray:
    """Walk one outline and take its steps away; the topmost corner begins the outer one."""
    corners: list[tuple[int, int]] = []
    at, heading = start, steps[start][0]
    while at in steps:
        # Where two parts touch in a corner turn right, to stay on the same one.
        choice = min(steps[at], key=lambda d: (heading + 1 - d) % 4)
        steps[at].remove(choice)
        if not steps[at]:
            del steps[at]
        if choice != heading or not corners:
            corners.append(at)
        at, heading = (at[0] + STEPS[choice][0], at[1] + STEPS[choice][1]), choice
        if at == start:
            break
    return np.array(corners, dtype=np.float64)
