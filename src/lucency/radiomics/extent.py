"""How large a marked thing is, as clinicians measure it: area, fitted ellipse, diameters; volume and surface.

The numbers are those of reports and growth charts, in the patient's own coordinates, and not the features of
:mod:`lucency.radiomics.shape`, which describe form for models.
"""

from collections.abc import Mapping

import numpy as np
from scipy import ndimage
from scipy.spatial import ConvexHull, QhullError
from scipy.special import ellipe

from lucency.radiomics.shape import cuts, diameter, mesh_of

#: What is measured in a single image, in the order of the tables.
FLAT = (
    "area_mm2",
    "ellipse_circumference_mm",
    "ellipse_major_mm",
    "ellipse_minor_mm",
    "ellipse_angle_deg",
    "long_diameter_mm",
    "short_diameter_mm",
)
#: What is measured in a volume; the last two within the slice where the first of them is largest.
SOLID = ("volume_ml", "surface_mm2", "longest_diameter_mm", "slice_long_diameter_mm", "slice_short_diameter_mm")

#: Parts that hang together; the diameters and the ellipse are those of the largest.
PARTS = "parts"

#: An ellipse has five numbers; a sixth point is the first that can contradict them.
LEAST_POINTS = 6

#: Cosine between two axes of a grid up to which they count as at right angles (0.06 degrees).
RIGHT_ANGLE = 1e-3

#: Unit of a name where the size of a pixel is not known: what takes its place, and the factor.
WITHOUT_SCALE = {"_mm2": ("_px2", 1.0), "_mm": ("_px", 1.0), "_ml": ("_voxels", 1000.0)}


def measures(inside: np.ndarray, affine: np.ndarray, margin: np.ndarray | None = None) -> dict[str, float]:
    """Return what is measured of one label of a mask.

    Of several parts the areas and volumes add up; diameters and ellipse are those of the largest part, faces touching.

    Args:
        inside: (K, J, I) bool; K = 1 is a single image and gives :data:`FLAT`, else :data:`SOLID`.
        affine: (4, 4) float64, mm: of the mask's grid, columns k, j, i.
        margin: (K, J, I) float, above 0 inside: by how much the label is likelier than all others. The border then
            lies where it is 0 between two pixels, not half way. Single images only.

    Returns:
        Name with its unit to number, :data:`PARTS` first; NaN for what this mask does not have. Nothing for an empty
        mask.

    Source:
        Ellipse: Halíř and Flusser 1998, Numerically stable direct least squares fitting of ellipses (WSCG 6, 125-132),
        after Fitzgibbon 1999, doi:10.1109/34.765658. Diameters: RECIST 1.1, doi:10.1016/j.ejca.2008.10.026.
    """
    parts, count = ndimage.label(inside)
    if not count:
        return {}
    sizes = np.bincount(parts.ravel())[1:]
    main = parts == 1 + int(sizes.argmax())
    columns = np.asarray(affine, dtype=np.float64)[:3, :3]
    total = int(sizes.sum())
    if inside.shape[0] == 1:
        found = _flat(main[0], columns[:, 1:], None if margin is None else margin[0])
        area = total * abs(float(np.linalg.det(in_plane(columns[:, 1:]))))
        return {PARTS: float(count), "area_mm2": area, **found}
    volume = total * abs(float(np.linalg.det(columns))) / 1000
    return {PARTS: float(count), "volume_ml": volume, **_solid(inside, main, columns)}


def without_scale(found: Mapping[str, float]) -> dict[str, float]:
    """Return measures of a grid whose pixels have no known size: the same numbers, counted in pixels.

    Example:
        >>> without_scale({"parts": 1.0, "area_mm2": 12.0, "volume_ml": 0.002})
        {'parts': 1.0, 'area_px2': 12.0, 'volume_voxels': 2.0}
    """
    return {counted(name): value * _factor(name) for name, value in found.items()}


def counted(name: str) -> str:
    """Return what a measure is called where the size of a pixel is not known."""
    unit = next((u for u in WITHOUT_SCALE if name.endswith(u)), "")
    return name.removesuffix(unit) + WITHOUT_SCALE[unit][0] if unit else name


def _factor(name: str) -> float:
    unit = next((u for u in WITHOUT_SCALE if name.endswith(u)), "")
    return WITHOUT_SCALE[unit][1] if unit else 1.0


def in_plane(columns: np.ndarray) -> np.ndarray:
    """Return the (2, 2) matrix from (j, i) pixels to mm in the plane: x along the rows, y to the side of growing j.

    Args:
        columns: (3, 2) float, mm: steps along j and i in the patient.
    """
    step_j, step_i = columns.T
    along = step_i / np.linalg.norm(step_i)
    x_of_j = float(step_j @ along)
    return np.array([[x_of_j, float(np.linalg.norm(step_i))], [float(np.linalg.norm(step_j - x_of_j * along)), 0.0]])


def border(inside: np.ndarray, margin: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Return where the outer border of a part crosses the lines between pixel centres.

    Args:
        inside: (J, I) bool, one part; its holes are filled.
        margin: (J, I) float as for :func:`measures`; its sign is taken from ``inside``. None crosses half way.

    Returns:
        (n, 2) float: (j, i) in pixels, and (n,) bool: whether the crossing lies within the image and not at its edge.
    """
    filled = ndimage.binary_fill_holes(inside)
    depth = np.where(filled, 1.0, -1.0)
    if margin is not None:
        # The sign is the mask's: parts and holes that were dropped stay dropped. A tie is no distance.
        depth *= np.maximum(np.where((margin > 0) == filled, np.abs(margin), 0.0), 1e-6)
    padded = np.pad(filled, 1)
    depth = np.pad(depth, 1, mode="edge")
    # Beyond the image nothing is known; there the border is the edge of the last pixel.
    depth = np.where(padded == (depth > 0), depth, -depth)
    points = []
    for axis in (0, 1):
        low = np.argwhere(np.diff(padded, axis=axis))
        high = low + np.eye(2, dtype=int)[axis]
        a, b = depth[tuple(low.T)], depth[tuple(high.T)]
        points.append(low + (a / (a - b))[:, None] * np.eye(2)[axis] - 1)
    found = np.concatenate(points)
    last = np.array(inside.shape) - 1
    return found, np.all((found >= 0) & (found <= last), axis=1)


def ellipse(points: np.ndarray) -> tuple[float, float, float] | None:
    """Return half axes and direction of the ellipse that fits (n, 2) points best, by direct least squares.

    Args:
        points: (n, 2) float: x, y.

    Returns:
        (longer half axis, shorter half axis, direction of the longer in degrees from x towards y, 0 to 180); None for
        fewer than six points, or points through which no ellipse goes.

    Source:
        See :func:`measures`.
    """
    if len(points) < LEAST_POINTS:
        return None
    centre = points.mean(axis=0)
    scale = float(np.linalg.norm(points - centre, axis=1).mean())
    if scale <= 0:
        return None
    x, y = ((points - centre) / scale).T
    curved, straight = np.stack([x * x, x * y, y * y]), np.stack([x, y, np.ones_like(x)])
    try:
        back = -np.linalg.solve(straight @ straight.T, straight @ curved.T)
        reduced = curved @ curved.T + curved @ straight.T @ back
        # The inverse of the constraint 4ac - b² = 1, row by row.
        vectors = np.linalg.eig(np.stack([reduced[2] / 2, -reduced[1], reduced[0] / 2])).eigenvectors.real
    except np.linalg.LinAlgError:
        return None
    bent = 4 * vectors[0] * vectors[2] - vectors[1] ** 2
    best = vectors[:, int(bent.argmax())]
    if bent.max() <= 0:
        return None
    return _half_axes(best, back @ best, scale)


def _half_axes(curved: np.ndarray, straight: np.ndarray, scale: float) -> tuple[float, float, float] | None:
    """Return the half axes and the direction of ax² + bxy + cy² + dx + ey + f = 0."""
    form = np.array([[curved[0], curved[1] / 2], [curved[1] / 2, curved[2]]])
    middle = -np.linalg.solve(2 * form, straight[:2])
    level = -(straight[2] + 0.5 * float(straight[:2] @ middle))
    if level == 0:
        return None
    values, axes = np.linalg.eigh(form / level)
    if values[0] <= 0:
        return None
    # The smallest value belongs to the longest axis.
    major, minor = (scale / float(np.sqrt(v)) for v in values)
    angle = float(np.degrees(np.arctan2(axes[1, 0], axes[0, 0])) % 180.0)
    return major, minor, angle


def circumference(major: float, minor: float) -> float:
    """Return the length of an ellipse with these half axes, exactly.

    Source:
        Abramowitz and Stegun 1964, 17.3.3: four times the longer half axis times the complete elliptic integral of the
        second kind.

    Example:
        >>> round(circumference(2.0, 2.0) / np.pi, 12)
        4.0
    """
    return float(4 * major * ellipe(1 - (minor / major) ** 2))


def long_and_short(points: np.ndarray) -> tuple[float, float]:
    """Return the largest distance between two of (n, 2) points, and the longest chord of their hull across it."""
    try:
        hull = points[ConvexHull(points).vertices]
    except (QhullError, ValueError):
        return diameter(points), 0.0
    apart = hull[:, None] - hull[None]
    square = (apart**2).sum(axis=2)
    a, b = np.unravel_index(int(square.argmax()), square.shape)
    long = float(np.sqrt(square[a, b]))
    along = (hull[b] - hull[a]) / long
    u, v = (hull - hull[a]) @ along, (hull - hull[a]) @ np.array([-along[1], along[0]])
    order = np.argsort(u, kind="stable")
    # The ends of the longest line are the outermost points along it, so each side of it is one chain.
    above, below = (order[(sign * v[order] >= 0) | np.isin(order, (a, b))] for sign in (1, -1))
    chords = np.interp(u, u[above], v[above]) - np.interp(u, u[below], v[below])
    return long, float(chords.max())


def _flat(main: np.ndarray, columns: np.ndarray, margin: np.ndarray | None) -> dict[str, float]:
    """Return ellipse and diameters of one part of a single image."""
    points, open_ = border(main, margin)
    # Columns of the matrix are steps along j and i; points are (j, i).
    placed = points @ in_plane(columns).T
    # Where the image cuts a thing off its edge is no border of the thing: the ellipse goes on beyond it.
    fitted = ellipse(placed[open_])
    long, short = long_and_short(placed)
    nan = float("nan")
    major, minor, angle = fitted or (nan, nan, nan)
    return {
        "ellipse_circumference_mm": circumference(major, minor) if fitted else nan,
        "ellipse_major_mm": 2 * major,
        "ellipse_minor_mm": 2 * minor,
        "ellipse_angle_deg": angle,
        "long_diameter_mm": long,
        "short_diameter_mm": short,
    }


def _solid(inside: np.ndarray, main: np.ndarray, columns: np.ndarray) -> dict[str, float]:
    """Return surface and diameters of a volume."""
    sides = columns / np.linalg.norm(columns, axis=0)
    upright = np.abs(sides.T @ sides - np.eye(3)).max() <= RIGHT_ANGLE
    spacing = tuple(float(s) for s in np.linalg.norm(columns, axis=0))
    whole, part = (m[ndimage.find_objects(m.astype(np.uint8))[0]] for m in (inside, main))
    # A grid that leans has no mesh of its own here; its surface is left out rather than measured as if it stood.
    surface = mesh_of(whole, (spacing[0], spacing[1], spacing[2]))[0] if upright else float("nan")
    plane = in_plane(columns[:, 1:])
    slices = [long_and_short((cuts(one) / 2) @ plane.T) for one in part if one.any()]
    long, short = max(slices)
    return {
        "surface_mm2": surface,
        "longest_diameter_mm": diameter((cuts(part) / 2) @ columns.T),
        "slice_long_diameter_mm": long,
        "slice_short_diameter_mm": short,
    }
