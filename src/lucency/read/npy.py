"""Single arrays in .npy files."""

import hashlib

import numpy as np

from lucency.case import Source
from lucency.errors import ReadError
from lucency.image import Image
from lucency.read.formats import Header, digest_of_files, plane

digest = digest_of_files

#: A last axis this short holds colours or channels, not columns of pixels.
MAX_CHANNELS = 4


def header(source: Source) -> Header:
    """Return the header facts; the array stays on the disk."""
    array = _open(source)
    return facts(array.shape, array.dtype, source)


def pixels(source: Source) -> Image:
    """Return the image; see :func:`lucency.read.load`."""
    return plane(np.array(canonical(_open(source), source.where)), source)


def facts(shape: tuple[int, ...], dtype: np.dtype, source: Source) -> Header:
    """Return the header of an array that carries no geometry."""
    channels, *size = canonical(np.broadcast_to(np.zeros(1, dtype), shape), source.where).shape
    return {
        "size": tuple(int(n) for n in size),
        "spacing": (1.0, 1.0, 1.0),
        "channels": channels,
        "dtype": "uint8" if dtype.kind == "b" else str(dtype.newbyteorder("=")),
        "spacing_known": False,
    }


def canonical(array: np.ndarray, where: str) -> np.ndarray:
    """Return (C, K, J, I) from (J, I), (J, I, C), (K, J, I), (K, J, I, C) or (C, K, J, I).

    Raises:
        ReadError: Another number of axes, an empty axis, or numbers that are not real.
    """
    if array.dtype.kind not in "biuf":
        raise ReadError(f"An array of type {array.dtype}", expected="real numbers", where=where)
    if array.ndim not in (2, 3, 4) or 0 in array.shape:
        raise ReadError(f"An array of shape {array.shape}", expected="2 to 4 axes, none of them empty", where=where)
    if array.dtype.kind == "b":
        array = array.astype(np.uint8)
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    last = array.shape[-1] <= MAX_CHANNELS < array.shape[-2]
    if array.ndim == 2:
        return array[None, None]
    if array.ndim == 3:
        return np.moveaxis(array, -1, 0)[:, None] if last else array[None]
    return np.moveaxis(array, -1, 0) if last else array


def digest_of_array(array: np.ndarray) -> str:
    """Return the SHA-256 of an array's shape, dtype and bytes."""
    state = hashlib.sha256(f"{array.shape}{array.dtype.str}".encode())
    state.update(np.ascontiguousarray(array).tobytes())
    return state.hexdigest()


def _open(source: Source) -> np.ndarray:
    if source.files[0].stat().st_size == 0:
        raise ReadError("The file is empty (0 bytes)", where=source.where, remedy="fetch or export it again")
    # Pickled objects are never loaded: they run code.
    array: np.ndarray = np.load(source.files[0], mmap_mode="r", allow_pickle=False)
    return array
