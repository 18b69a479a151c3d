"""Closed contours in the patient become voxels: a voxel belongs to what its centre lies in."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from lucency.read.labelgrid import Drawing, Grid

#: Contours whose depths differ by less than this, in slices, lie in one plane.
SAME_PLANE = 0.1

#: Points of one contour may lie this far off its plane, in mm (or a tenth of a slice, if that is more).
FLAT_MM = 0.1

#: Two planes are parallel when the sine of the angle between them is below this.
PARALLEL = 0.02

#: Points tested against edges at a time.
CHUNK = 1 << 22


@dataclass(frozen=True, eq=False)
class _Level:
    """The contours of one plane.

    Args:
        depth: Along the normal; slices or mm.
        contours: (n, 2) float each, in the coordinates of the plane.
    """

    depth: float
    contours: tuple[np.ndarray, ...]


def drawn(contours: Sequence[np.ndarray], grid: Grid) -> tuple[Drawing, int]:
    """Draw the contours of one structure.

    Contours of one plane are taken even-odd, whatever their order: one inside another is a hole, one inside the hole
    is filled. A slice takes the nearest plane's contours, as far as half the distance between planes; planes that lie
    closer than the slices are thinned, wider ones fill the slices between them.

    Args:
        contours: (n, 3) float each, mm, LPS; closed, n >= 3.
        grid: Of the image; contours need not be parallel to its slices.

    Returns:
        The structure, and how many contours were left out because they are not flat.
    """
    drawing = Drawing(grid)
    # By the axis of the image that they are square to: 0 for contours in the slices.
    square: dict[int, list[tuple[float, np.ndarray]]] = {0: [], 1: [], 2: []}
    others: list[np.ndarray] = []
    bent = 0
    for contour in contours:
        place = grid.voxels(contour)
        axis = next((a for a in range(3) if np.ptp(place[:, a]) <= 2 * SAME_PLANE), None)
        if axis is not None:
            square[axis].append((float(place[:, axis].mean()), np.delete(place, axis, axis=1)))
        elif _is_flat(contour):
            others.append(contour)
        else:
            bent += 1
    for k, level in _by_slice(_levels(square[0], SAME_PLANE), grid.size[0]):
        drawing.add(k, filled(level.contours, grid.size[1:]))
    for axis in (1, 2):
        _draw_upright(_levels(square[axis], SAME_PLANE), axis, drawing)
    for group in _parallel(others):
        _draw_across(group, grid, drawing)
    return drawing, bent


def _draw_upright(levels: Sequence[_Level], axis: int, drawing: Drawing) -> None:
    """Draw contours that stand square on the slices, in planes of one row (axis 1) or one column (axis 2) each."""
    k_size, rows, columns = drawing.grid.size
    planes = {
        n: filled(level.contours, (k_size, columns if axis == 1 else rows))
        for n, level in _by_slice(levels, drawing.grid.size[axis])
    }
    for k in range(k_size if planes else 0):
        plane = np.zeros((rows, columns), dtype=bool)
        for n, standing in planes.items():
            if axis == 1:
                plane[n] = standing[k]
            else:
                plane[:, n] = standing[k]
        drawing.add(k, plane)


def filled(contours: Iterable[np.ndarray], size: tuple[int, int]) -> np.ndarray:
    """Return the pixels whose centres lie inside an odd number of contours.

    A centre on the left or upper edge counts as inside, on the right or lower one as outside, so that contours which
    share an edge share no pixel.

    Args:
        contours: (n, 2) float each, (j, i) in pixels; whole numbers are centres. The last point joins the first.
        size: (J, I).

    Returns:
        (J, I) bool.

    Example:
        >>> filled([np.array([[0, 0], [0, 2], [2, 2], [2, 0]])], (3, 3)).astype(int).tolist()
        [[1, 1, 0], [1, 1, 0], [0, 0, 0]]
    """
    rows, columns = size
    # Every edge turns the pixels to its right round; summed along the row, the odd ones are inside.
    turns = np.zeros((rows, columns + 1), dtype=np.int32)
    for contour in contours:
        start, end = contour, np.roll(contour, -1, axis=0)
        upper = np.where((start[:, 0] <= end[:, 0])[:, None], start, end)
        lower = np.where((start[:, 0] <= end[:, 0])[:, None], end, start)
        first = np.clip(np.ceil(upper[:, 0]), 0, rows).astype(np.intp)
        last = np.clip(np.ceil(lower[:, 0]), 0, rows).astype(np.intp)
        counts = np.maximum(0, last - first)
        edge = np.repeat(np.arange(len(contour)), counts)
        j = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts) + first[edge]
        height = lower[edge, 0] - upper[edge, 0]
        i = upper[edge, 1] + (j - upper[edge, 0]) / height * (lower[edge, 1] - upper[edge, 1])
        np.add.at(turns, (j, np.clip(np.ceil(i), 0, columns).astype(np.intp)), 1)
    inside: np.ndarray = np.cumsum(turns[:, :-1], axis=1) % 2 == 1
    return inside


def _is_flat(contour: np.ndarray) -> bool:
    centred = contour - contour.mean(axis=0)
    normal = np.linalg.svd(centred, full_matrices=False)[2][2]
    return bool(np.abs(centred @ normal).max() <= FLAT_MM)


def _levels(contours: Sequence[tuple[float, np.ndarray]], tolerance: float) -> list[_Level]:
    """Return the contours plane by plane, in order of depth."""
    levels: list[tuple[list[float], list[np.ndarray]]] = []
    for depth, contour in sorted(contours, key=lambda c: c[0]):
        if levels and depth - levels[-1][0][0] <= tolerance:
            levels[-1][0].append(depth)
            levels[-1][1].append(contour)
        else:
            levels.append(([depth], [contour]))
    return [_Level(float(np.mean(d)), tuple(c)) for d, c in levels]


def _reach(levels: Sequence[_Level], step: float) -> float:
    """Return how far a plane's contours reach: half the usual distance between planes, half a slice where it is one."""
    gaps = np.diff([v.depth for v in levels])
    return (float(np.median(gaps)) if gaps.size else step) / 2


def _by_slice(levels: Sequence[_Level], n_slices: int) -> Iterable[tuple[int, _Level]]:
    """Yield every slice that a plane reaches, with the nearest plane."""
    if not levels:
        return
    depths = np.array([v.depth for v in levels])
    reach = _reach(levels, 1.0)
    first, last = int(np.floor(depths[0] - reach)), int(np.ceil(depths[-1] + reach))
    slices = np.arange(max(0, first), min(n_slices, last + 1))
    nearest, close = _nearest(depths, slices.astype(np.float64), reach)
    for k, level, reached in zip(slices.tolist(), nearest.tolist(), close.tolist(), strict=True):
        if reached:
            yield k, levels[level]


def _nearest(depths: np.ndarray, wanted: np.ndarray, reach: float) -> tuple[np.ndarray, np.ndarray]:
    """Return for every wanted depth the nearest plane, and whether it reaches so far.

    A plane reaches half-open, from below it to above: halfway between two planes the upper one counts, so that every
    plane stands for the same thickness.

    Args:
        depths: (n,) of the planes, ascending.
        wanted: (m,).
        reach: Half the thickness that a plane stands for.
    """
    upper = np.clip(np.searchsorted(depths, wanted), 0, len(depths) - 1)
    lower = np.maximum(upper - 1, 0)
    # A millionth decides no tie: positions are written with a few digits.
    up = np.round(np.abs(depths[upper] - wanted) - np.abs(wanted - depths[lower]), 6) <= 0
    nearest = np.where(up, upper, lower)
    above = np.round(depths[nearest] - wanted, 6)
    return nearest, (above <= round(reach, 6)) & (above > -round(reach, 6))


def _parallel(contours: Sequence[np.ndarray]) -> list[list[np.ndarray]]:
    """Return contours in groups of one direction."""
    groups: list[tuple[np.ndarray, list[np.ndarray]]] = []
    for contour in contours:
        normal = np.linalg.svd(contour - contour.mean(axis=0), full_matrices=False)[2][2]
        for known, members in groups:
            if np.linalg.norm(np.cross(known, normal)) < PARALLEL:
                members.append(contour)
                break
        else:
            groups.append((normal, [contour]))
    return [members for _, members in groups]


def _draw_across(contours: Sequence[np.ndarray], grid: Grid, drawing: Drawing) -> None:
    """Draw parallel contours that cut through the slices: every voxel centre is projected onto the nearest plane."""
    along, across, normal = np.linalg.svd(contours[0] - contours[0].mean(axis=0), full_matrices=False)[2]
    plane = np.stack([across, along], axis=1)
    step = float(np.abs(grid.affine[:3, :3].T @ normal).max())
    found = [(float((c @ normal).mean()), c @ plane) for c in contours]
    levels = _levels(found, SAME_PLANE * step)
    depths = np.array([v.depth for v in levels])
    reach = _reach(levels, step)
    for k in range(grid.size[0]):
        points = grid.world(k)
        depth = points @ normal
        near = np.flatnonzero((depth >= depths[0] - reach) & (depth <= depths[-1] + reach))
        if not near.size:
            continue
        nearest, close = _nearest(depths, depth[near], reach)
        inside = np.zeros(len(points), dtype=bool)
        for number in np.unique(nearest[close]).tolist():
            mine = near[close & (nearest == number)]
            inside[mine] = _within(points[mine] @ plane, levels[number].contours)
        drawing.add(k, inside.reshape(grid.size[1:]))


def _within(points: np.ndarray, contours: Iterable[np.ndarray]) -> np.ndarray:
    """Return (n,) bool: which of (n, 2) points lie inside an odd number of contours."""
    odd = np.zeros(len(points), dtype=bool)
    for contour in contours:
        low, high = contour.min(axis=0), contour.max(axis=0)
        near = np.flatnonzero(((points >= low) & (points <= high)).all(axis=1))
        size = max(1, CHUNK // len(contour))
        for n in range(0, len(near), size):
            some = near[n : n + size]
            odd[some] ^= _crossed(points[some], contour)
    return odd


def _crossed(points: np.ndarray, contour: np.ndarray) -> np.ndarray:
    start, end = contour, np.roll(contour, -1, axis=0)
    y, x = points[:, :1], points[:, 1:]
    spans = (start[:, 0] <= y) != (end[:, 0] <= y)
    height = np.where(end[:, 0] == start[:, 0], 1.0, end[:, 0] - start[:, 0])
    at = start[:, 1] + (y - start[:, 0]) / height * (end[:, 1] - start[:, 1])
    counts: np.ndarray = (spans & (at <= x)).sum(axis=1) % 2 == 1
    return counts
