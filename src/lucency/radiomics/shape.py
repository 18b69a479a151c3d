"""Shape features of a volume and of one slice: of the mask alone, in millimetres."""

from functools import cache

import numpy as np
from scipy.spatial import ConvexHull
from scipy.spatial.distance import pdist

from lucency.errors import DataError
from lucency.radiomics.feature import Feature, Undefined
from lucency.radiomics.region import Region

#: Corners of a cell (k, j, i), in the order of the bits that say whether they lie inside.
CORNERS = ((0, 0, 0), (0, 0, 1), (0, 1, 1), (0, 1, 0), (1, 0, 0), (1, 0, 1), (1, 1, 1), (1, 1, 0))
LAST = 1 << 7
#: Part of the closed mesh's volume that a hole may take or add: published regions have up to 0.002, tumours drawn by
#: hand up to 0.05.
OPEN = 0.1
#: Extent of a uniform ellipse along an axis, in standard deviations of its points along that axis (IBSI, TDIC).
AXIS = 4.0


def features(region: Region) -> dict[str, Feature]:
    """Return the 14 shape features of a volume.

    Surface and mesh volume are those of the marching cubes mesh at half height; axes are those of the voxel centres.

    Args:
        region: Its outline; more than one slice in the image it came from.

    Raises:
        DataError: One voxel thick everywhere along an axis of an image of one slice.

    Source:
        IBSI reference manual, morphological features (HCUG), doi:10.1148/radiol.2020191145; the diameters are
        between mesh vertices, in 2-D between those of one plane. Marching cubes: doi:10.1145/37402.37422.
    """
    if region.settings.planar and region.outline.shape[region.settings.planar_axis] == 1:
        raise DataError(
            "A region of one slice", expected="a volume", where="mask", remedy="ask for the class shape2D instead"
        )
    area, volume, closed = mesh_of(region.outline, region.spacing)
    halves = cuts(region.outline)
    least, minor, major = axis_lengths(region.outline, region.spacing)
    return {
        "Elongation": _ratio(minor, major),
        "Flatness": _ratio(least, major),
        "LeastAxisLength": least,
        "MajorAxisLength": major,
        "Maximum2DDiameterColumn": planar_diameter(halves, region.spacing, 1),
        "Maximum2DDiameterRow": planar_diameter(halves, region.spacing, 2),
        "Maximum2DDiameterSlice": planar_diameter(halves, region.spacing, 0),
        "Maximum3DDiameter": diameter(halves * (np.array(region.spacing) / 2)),
        **_of_volume(area, volume, closed),
        "MinorAxisLength": minor,
        "SurfaceArea": area,
        "VoxelVolume": float(region.outline.sum()) * region.voxel_mm3,
    }


def features_2d(region: Region) -> dict[str, Feature]:
    """Return the 9 shape features of one slice.

    Perimeter and mesh surface are those of the marching squares outline at half height; where two pixels meet at a
    corner only, the outline runs between them.

    Args:
        region: Its outline, one voxel thick across the plane of the settings.

    Raises:
        DataError: More than one slice.

    Source:
        IBSI has no 2-D shape; the definitions are its 3-D ones (HCUG) with one axis less.
    """
    axis = region.settings.planar_axis
    if region.outline.shape[axis] != 1:
        raise DataError(
            f"A region of {region.outline.shape[axis]} slices",
            expected="one, for the class shape2D",
            where="mask",
            remedy="ask for the class shape, or choose a slice",
        )
    flat = np.take(region.outline, 0, axis)
    a, b = (s for n, s in enumerate(region.spacing) if n != axis)
    perimeter, surface = _outline(flat, (a, b))
    minor, major = axis_lengths(flat, (a, b))
    return {
        "Elongation": _ratio(minor, major),
        "MajorAxisLength": major,
        "MaximumDiameter": diameter(cuts(flat) * (np.array([a, b]) / 2)),
        "MeshSurface": surface,
        "MinorAxisLength": minor,
        "Perimeter": perimeter,
        "PerimeterSurfaceRatio": perimeter / surface,
        "PixelSurface": float(flat.sum()) * a * b,
        "Sphericity": float(2 * np.sqrt(np.pi * surface) / perimeter),
    }


def _ratio(short: float, long: float) -> Feature:
    return short / long if long > 0 else Undefined("A region of one voxel has no axes")


def _of_volume(area: float, volume: float, closed: float) -> dict[str, Feature]:
    """Return what depends on the mesh's volume, where it has one."""
    if abs(volume - closed) > OPEN * closed:
        torn = Undefined("Voxels that meet at edges or corners only leave the mesh open")
        return dict.fromkeys(("MeshVolume", "Sphericity", "SurfaceVolumeRatio"), torn)
    return {
        "MeshVolume": volume,
        "Sphericity": float((36 * np.pi * volume**2) ** (1 / 3) / area),
        "SurfaceVolumeRatio": area / volume,
    }


@cache
def _triangles() -> tuple[np.ndarray, ...]:
    """Return the (t, 3, 3) triangles of a cell for each of the 256 ways in which its eight corners can lie inside.

    Together they always make a closed surface.
    """
    from skimage.measure import marching_cubes  # noqa: PLC0415 - slow to import

    none = np.zeros((0, 3, 3))
    found = [none]
    for code in range(1, 255):
        cell = np.zeros((2, 2, 2), dtype=np.float32)
        for bit, corner in enumerate(CORNERS):
            cell[corner] = code >> bit & 1
        vertices, faces, _, _ = marching_cubes(cell, 0.5, method="lorensen")
        found.append(vertices[faces].astype(np.float64))
    return (*found, none)


def mesh_of(inside: np.ndarray, spacing: tuple[float, float, float]) -> tuple[float, float, float]:
    """Return surface (mm²) and volume (mm³) of the marching cubes mesh at half height, and the volume of a closed one.

    A cell with its last corner inside takes the triangles of its complement turned round. The tables of published
    features are made so. Where voxels meet at an edge or a corner only, neighbouring cells then may draw the surface
    in different ways, and the mesh has a hole: its volume is true only in so far as it equals that of the closed mesh.

    All values are 0 or 1, so every cell has one of 256 shapes, and it is enough to count those: a triangle that is
    moved by o adds o · (a × b + b × c + c × a) / 6 to the signed volume of its tetrahedron det(a, b, c) / 6.

    Args:
        inside: (K, J, I) bool, not empty.
        spacing: (k, j, i), mm.

    Returns:
        (surface, volume, volume of the closed mesh).

    Source:
        Lorensen and Cline 1987, doi:10.1145/37402.37422, whose 15 cases share triangles between complements.
    """
    whole = np.pad(inside, 1)
    cells = tuple(n - 1 for n in whole.shape)
    code = np.zeros(cells, dtype=np.uint8)
    for bit, corner in enumerate(CORNERS):
        window = tuple(slice(c, c + n) for c, n in zip(corner, cells, strict=True))
        code |= whole[window].astype(np.uint8) << bit
    cut = np.nonzero((code > 0) & (code < 255))
    count = np.bincount(code[cut], minlength=256)
    moved = np.stack([np.bincount(code[cut], weights=place, minlength=256) for place in cut], axis=1) * spacing
    area = volume = closed = 0.0
    for kind in np.flatnonzero(count):
        surface, own = _sums(_triangles()[kind] * spacing, int(count[kind]), moved[kind])
        closed += own
        if kind & LAST:
            surface, own = _sums(_triangles()[255 - kind][:, ::-1] * spacing, int(count[kind]), moved[kind])
        area += surface
        volume += own
    return area, abs(volume), abs(closed)


def _sums(triangles: np.ndarray, count: int, moved: np.ndarray) -> tuple[float, float]:
    """Return surface and signed volume of all cells with the same (t, 3, 3) triangles, whose places add up to moved."""
    a, b, c = np.moveaxis(triangles, 1, 0)
    area = float(np.linalg.norm(np.cross(b - a, c - a), axis=1).sum()) / 2
    turn = np.cross(a, b) + np.cross(b, c) + np.cross(c, a)
    return count * area, (count * float((a * np.cross(b, c)).sum()) + float(moved @ turn.sum(0))) / 6


def cuts(inside: np.ndarray) -> np.ndarray:
    """Return the (n, d) int vertices of the outline, in half voxels: midway between a voxel inside and one outside."""
    whole = np.pad(inside, 1)
    found = []
    for axis in range(whole.ndim):
        middle = np.zeros(whole.ndim, dtype=np.int64)
        middle[axis] = 1
        found.append(2 * np.argwhere(np.diff(whole, axis=axis)) + middle)
    return np.concatenate(found)


def axis_lengths(inside: np.ndarray, spacing: tuple[float, ...]) -> tuple[float, ...]:
    """Return the lengths of the axes of the ellipsoid with the region's covariance, shortest first.

    Args:
        inside: bool, any number of axes.
        spacing: mm, one number for each axis.

    Returns:
        mm, one number for each axis.
    """
    place = np.argwhere(inside) * np.asarray(spacing)
    place -= place.mean(0)
    spread = np.linalg.eigvalsh(place.T @ place / len(place))
    # Rounding may leave a flat region a hair below 0.
    return tuple(float(AXIS * np.sqrt(max(0.0, s))) for s in spread)


def diameter(points: np.ndarray) -> float:
    """Return the largest distance between two of (n, d) points, n >= 1."""
    if len(points) > points.shape[1] + 1 and np.linalg.matrix_rank(points - points[0]) == points.shape[1]:
        points = points[ConvexHull(points).vertices]
    return float(pdist(points).max(initial=0.0))


def planar_diameter(halves: np.ndarray, spacing: tuple[float, ...], axis: int) -> float:
    """Return the largest distance between two vertices that lie in one plane across an axis.

    Args:
        halves: (n, 3) int: vertices in half voxels.
        spacing: (k, j, i), mm.
        axis: Across the planes.
    """
    across = [a for a in range(3) if a != axis]
    order = np.argsort(halves[:, axis], kind="stable")
    planes = np.split(halves[order], np.flatnonzero(np.diff(halves[order, axis])) + 1)
    steps = np.array([spacing[a] / 2 for a in across])
    return max(diameter(plane[:, across] * steps) for plane in planes)


def _outline(flat: np.ndarray, spacing: tuple[float, float]) -> tuple[float, float]:
    """Return (perimeter, surface) of the marching squares outline of (A, B) bool, in mm."""
    a, b = spacing
    whole = np.pad(flat, 1).astype(np.int64)
    corners = np.stack([whole[:-1, :-1], whole[:-1, 1:], whole[1:, :-1], whole[1:, 1:]])
    count = corners.sum(0)
    one_way = corners[0] == corners[1]
    opposite = (count == 2) & (corners[0] == corners[3])
    slanted = np.hypot(a / 2, b / 2)
    # A square with one or three corners inside is cut once, one with two opposite corners twice.
    perimeter = slanted * (((count == 1) | (count == 3)).sum() + 2 * opposite.sum())
    half = (count == 2) & ~opposite
    perimeter += b * (half & one_way).sum() + a * (half & ~one_way).sum()
    eighths = np.array([0, 1, 4, 7, 8])[count] - 2 * opposite
    return float(perimeter), float(eighths.sum() * a * b / 8)
