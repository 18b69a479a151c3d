"""DICOM pixels into one array: slice by slice, in the stored integers where they are exact, without a second copy."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from lucency.case import Source
from lucency.errors import GeometryError, ReadError
from lucency.image import Image
from lucency.read import decode
from lucency.read.formats import Header, unchecked
from lucency.read.head import Head, head_of, silent

#: Bytes of the frames of one file that are decoded at a time.
AT_A_TIME = 64 << 20

#: Range of 16-bit integers.
LOWEST, HIGHEST = -(2**15), 2**15 - 1


def volume_of(source: Source, header: Header) -> Image:
    """Return the image that the files and frames of a source hold.

    Integers stay as stored where slope is 1 and intercept 0 throughout; with slope 1 and one whole intercept they
    become int16 where they fit; else float32. A modality table is applied, MONOCHROME1 is not turned round.

    Args:
        source: Its paths are in slice order.
        header: Facts of the geometry, as :func:`lucency.read.dicom.header` gives them.

    Raises:
        ReadError: Pixels that cannot be decoded or are not what the header promised.
        GeometryError: A scale of 0.
    """
    k, j, i = (int(n) for n in _tuple(header, "size"))
    channels = int(str(header["channels"]))
    filling = _Filling((channels, k, j, i), float(str(header.get("suv_factor", 1.0))))
    missing = [int(n) for n in _tuple(header, "interpolated")]
    places = iter(n for n in range(k) if n not in set(missing))
    for plane, slope, intercept in _planes(source, header):
        if plane.shape != (j, i, channels):
            raise ReadError(
                f"Pixels of shape {plane.shape}",
                expected=f"{(j, i, channels)}, as when the data were read",
                where=source.where,
                remedy="read the data anew; a file was exchanged",
            )
        filling.put(next(places), plane, slope, intercept)
    array = filling.array
    if array is None or next(places, None) is not None:
        raise ReadError(
            "Fewer frames than the header promises", where=source.where, remedy="fetch the file again; it is truncated"
        )
    for n in missing:
        _interpolate(array, n, set(missing))
    affine = np.array(_tuple(header, "affine"), dtype=np.float64).reshape(4, 4)
    k_axis = "time" if header.get("k_axis") == "time" else "space"
    return unchecked(array, affine, unit=str(header.get("unit", "1")), k_axis=k_axis)


def _tuple(header: Header, name: str) -> tuple[float, ...]:
    value = header.get(name, ())
    assert isinstance(value, tuple | list)
    return tuple(value)


def _planes(source: Source, header: Header) -> Iterator[tuple[np.ndarray, float, float]]:
    """Yield (rows, columns, samples), slope and intercept of every slice, in order."""
    wanted = [int(n) for n in _tuple(header, "frames")]
    side = int(str(header.get("mosaic", 0)))
    if not wanted:
        for data, stored in decode.frames(source.files, source.paths):
            yield _scaled(data, stored[0])
        return
    if side:
        ((data, stored),) = decode.frames(source.files, source.paths)
        rows, columns = stored.shape[1] // side, stored.shape[2] // side
        for n in wanted:
            j, i = ((n - 1) // side) * rows, ((n - 1) % side) * columns
            yield _scaled(data, stored[0, j : j + rows, i : i + columns])
        return
    # A part at a time: a long stack is not held a second time beside the array that it fills.
    _, j, i = (int(n) for n in _tuple(header, "size"))
    step = max(1, AT_A_TIME // (j * i * np.dtype(str(header["dtype"])).itemsize * int(str(header["channels"]))))
    head: Head | None = None
    for start in range(0, len(wanted), step):
        part = wanted[start : start + step]
        ((data, stored),) = decode.frames(source.files, source.paths, selected=[(0, n - 1) for n in part])
        if head is None:
            with silent():
                head = head_of(data)
        for n, plane in zip(part, stored, strict=True):
            if "ModalityLUTSequence" in data:
                yield _scaled(data, plane)
            else:
                yield plane, _of_frame(head, "RescaleSlope", n, 1.0), _of_frame(head, "RescaleIntercept", n, 0.0)


def _of_frame(head: Head, keyword: str, number: int, default: float) -> float:
    each = head.get("PerFrame", {}).get(keyword)
    value = each[number - 1] if each is not None else head.get(keyword)
    return float(value) if isinstance(value, int | float) else default


def _scaled(data: Any, plane: np.ndarray) -> tuple[np.ndarray, float, float]:
    """Return a plane with its slope and intercept; a modality table is looked up here (PS3.3, C.11.1)."""
    if "ModalityLUTSequence" in data and plane.shape[2] == 1:
        from pydicom.pixels import apply_modality_lut  # noqa: PLC0415 - slow to import

        with silent():
            return np.asarray(apply_modality_lut(plane, data)), 1.0, 0.0
    return plane, _number(data, "RescaleSlope", 1.0), _number(data, "RescaleIntercept", 0.0)


def _number(data: Any, keyword: str, default: float) -> float:
    try:
        value = data.get(keyword)
        return default if value is None or value == "" else float(value)
    except (TypeError, ValueError):
        return default


class _Filling:
    """One array that is filled slice by slice, in the narrowest type that is exact so far.

    Args:
        shape: (C, K, J, I).
        factor: Multiplies every value after rescaling (standardised uptake).
    """

    def __init__(self, shape: tuple[int, int, int, int], factor: float) -> None:
        self.shape, self.factor = shape, factor
        self.array: np.ndarray | None = None
        self._kind: tuple[np.dtype[Any], float, float] | None = None
        self._filled = 0

    def put(self, k: int, plane: np.ndarray, slope: float, intercept: float) -> None:
        """Put (rows, columns, channels) at place ``k``."""
        slope, intercept = slope * self.factor, intercept * self.factor
        if slope == 0.0 or not np.isfinite([slope, intercept]).all():
            raise GeometryError(
                "A rescale slope of 0, which makes every pixel the same",
                expected="a slope that keeps the picture",
                remedy="export the series again",
            )
        kind = (plane.dtype, slope, intercept)
        if self.array is None:
            self._kind = kind
            self.array = np.empty(self.shape, dtype=_exact(*kind))
        elif kind != self._kind and self.array.dtype != np.float32:
            self.array = self.array.astype(np.float32)
        if self.array.dtype == np.int16 and intercept != 0.0 and not _fits(plane, int(intercept)):
            self.array = self.array.astype(np.float32)
        target = self.array[:, k]
        moved = plane.transpose(2, 0, 1)
        if self.array.dtype == np.float32 and plane.dtype != np.float32:
            # In float64, a slice at a time: a slope with many digits stays exact until the last step.
            target[...] = moved * np.float64(slope) + intercept
        elif intercept != 0.0:
            _shift(moved, int(intercept), target)
        else:
            target[...] = moved


def _exact(stored: np.dtype[Any], slope: float, intercept: float) -> np.dtype[Any]:
    """Return the type that holds rescaled numbers exactly, as far as can be said before all are seen."""
    if slope == 1.0 and intercept == 0.0:
        return stored
    whole = slope == 1.0 and float(intercept).is_integer() and stored.kind in "iu" and abs(intercept) <= 2**16
    return np.dtype(np.int16 if whole else np.float32)


def _fits(plane: np.ndarray, intercept: int) -> bool:
    return int(plane.min()) + intercept >= LOWEST and int(plane.max()) + intercept <= HIGHEST


def _shift(plane: np.ndarray, intercept: int, target: np.ndarray) -> None:
    """Add an intercept; the caller knows that the sums fit into int16."""
    if plane.dtype.itemsize == 2:
        # Modulo 2^16 the sum is right whatever the sign, and no wider copy is made.
        np.add(plane.view(np.uint16), np.uint16(intercept % 2**16), out=target.view(np.uint16))
    else:
        target[...] = plane.astype(np.int64) + intercept


def _interpolate(array: np.ndarray, k: int, missing: set[int]) -> None:
    """Fill slice ``k`` of (C, K, J, I) on the straight line between its nearest neighbours that were measured."""
    below, above = k - 1, k + 1
    while below in missing:
        below -= 1
    while above in missing:
        above += 1
    share = (k - below) / (above - below)
    # Differences in float64: unsigned numbers must not wrap.
    lower = array[:, below].astype(np.float64)
    value = lower + share * (array[:, above] - lower)
    array[:, k] = np.rint(value) if array.dtype.kind in "iu" else value
