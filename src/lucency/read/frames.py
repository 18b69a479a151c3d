"""From the header of a file to its frames: one image, a stack of frames, a clip over time, a Siemens mosaic."""

import math
from typing import Any

import numpy as np

from lucency.errors import GeometryError
from lucency.read.head import Head
from lucency.read.stack import Slice, axes_of

#: Regions of an ultrasound image (PS3.3, C.8.5.5.1): two-dimensional, measured in centimetres.
TWO_DIMENSIONAL, CENTIMETRES = 1, 3


def slices_of(path: str, head: Head) -> list[Slice]:
    """Return the frames of one file.

    Args:
        path: Relative to the data folder.
        head: Its header.

    Raises:
        GeometryError: A mosaic that does not say how its images lie, or fewer frames described than stored.
    """
    size = int(head["Rows"]), int(head["Columns"])
    if "MosaicImages" in head:
        return _mosaic(path, head, size)
    count = int(head.get("NumberOfFrames") or 1)
    if "PerFrame" not in head and count == 1:
        return [_one(path, 0, head, size)]
    each: dict[str, list[Any]] = head.get("PerFrame", {})
    described = {len(values) for values in each.values()} or {count}
    if described != {count}:
        raise GeometryError(
            f"{count} frames, and {min(described)} of them described",
            expected="a description of every frame",
            where=path,
            remedy="export the series again",
        )
    return [_one(path, number, head, size) for number in range(1, count + 1)]


def _one(path: str, frame: int, head: Head, size: tuple[int, int]) -> Slice:
    bare = Slice(path, frame, head, size, None, None, None)
    return Slice(
        path,
        frame,
        head,
        size,
        _numbers(bare.get("ImagePositionPatient"), 3),
        _numbers(bare.get("ImageOrientationPatient"), 6),
        spacing_of(bare),
    )


def _numbers(value: Any, count: int) -> tuple[float, ...] | None:
    if isinstance(value, list) and len(value) == count and all(isinstance(v, int | float) for v in value):
        return tuple(float(v) for v in value)
    return None


def spacing_of(one: Slice) -> tuple[float, float] | None:
    """Return (between rows, between columns) in mm, or None where nothing says it.

    Source:
        DICOM PS3.3, 10.7.1.3 (the first value is between rows); C.8.5.5 for ultrasound.
    """
    for keyword in ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing"):
        pair = _numbers(one.get(keyword), 2)
        if pair is not None:
            return pair[0], pair[1]
    found: set[tuple[float, float]] = set()
    for region in one.head.get("SequenceOfUltrasoundRegions", ()):
        units = region.get("PhysicalUnitsXDirection"), region.get("PhysicalUnitsYDirection")
        if region.get("RegionSpatialFormat") == TWO_DIMENSIONAL and units == (CENTIMETRES, CENTIMETRES):
            found.add((10.0 * region.get("PhysicalDeltaY", 0.0), 10.0 * region.get("PhysicalDeltaX", 0.0)))
    # Two scales in one picture: neither is the picture's.
    return found.pop() if len(found) == 1 and min(min(found)) > 0 else None


def _mosaic(path: str, head: Head, size: tuple[int, int]) -> list[Slice]:
    """Return the images of a Siemens mosaic, in the order of their tiles.

    Source:
        nibabel, nicom/dicomwrappers.py (MosaicWrapper): the position given is that of a single image as large as the
        whole mosaic with the same centre; images follow each other along the CSA header's slice normal.
    """
    count, side = int(head["MosaicImages"]), tiles_of(head)
    whole = _one(path, 0, head, size)
    between = head.get("SpacingBetweenSlices") or head.get("SliceThickness")
    if side < 1 or size[0] % side or size[1] % side or not whole.placed or whole.spacing is None or not between:
        raise GeometryError(
            "A mosaic that does not say how many images it holds or where they lie",
            expected="the maker's private header (CSA) beside the pixels",
            where=path,
            remedy="export the series without removing private attributes, or as single images",
        )
    tile = size[0] // side, size[1] // side
    along_row, along_column, normal = axes_of(whole)
    given = np.array(head.get("SliceNormalVector") or normal)
    if abs(abs(float(given @ normal)) - 1.0) > 1e-2:
        raise GeometryError(
            "A mosaic with two slice normals",
            expected="the private header's normal at right angles to the rows and columns",
            where=path,
            remedy="export the series as single images",
        )
    step = normal * math.copysign(float(between), float(given @ normal))
    corner = np.array(whole.position)
    corner = corner + along_column * whole.spacing[0] * (size[0] - tile[0]) / 2
    corner = corner + along_row * whole.spacing[1] * (size[1] - tile[1]) / 2
    flat: Head = {k: v for k, v in head.items() if k != "PerFrame"}
    return [
        Slice(path, n + 1, flat, tile, tuple(float(x) for x in corner + n * step), whole.turn, whole.spacing)
        for n in range(count)
    ]


def tiles_of(head: Head) -> int:
    """Return how many tiles a mosaic has along each side; 0 for what is none."""
    return math.ceil(math.sqrt(head.get("MosaicImages", 0)))


def frame_times(head: Head, count: int) -> tuple[float, ...]:
    """Return the time of each frame of a clip, in seconds from the first; nothing where the header does not say.

    Args:
        head: Header of the file.
        count: Frames in it.

    Source:
        DICOM PS3.3, C.7.6.5 Cine: Frame Time and Frame Time Vector in milliseconds, Cine Rate in frames per second.
    """
    vector = head.get("FrameTimeVector")
    if isinstance(vector, list) and len(vector) == count:
        return tuple(round(float(t) / 1000.0, 6) for t in np.cumsum(vector) - vector[0])
    step = _positive(head.get("FrameTime"))
    for keyword in ("CineRate", "RecommendedDisplayFrameRate"):
        rate = _positive(head.get(keyword))
        if not step and rate:
            step = 1000.0 / rate
    return tuple(round(n * step / 1000.0, 6) for n in range(count)) if step else ()


def _positive(value: Any) -> float:
    """Return a number above 0, or 0 for anything else."""
    return float(value) if isinstance(value, int | float) and value > 0 else 0.0
