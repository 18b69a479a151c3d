"""Arrays in .npz containers; a container stays open for the process, so that thousands of items load quickly."""

import struct
import zipfile
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.lib import format as npy_format

from lucency.case import Source
from lucency.errors import ReadError
from lucency.image import Image
from lucency.read.formats import Header, plane
from lucency.read.npy import canonical, digest_of_array, facts

Shapes = dict[str, tuple[tuple[int, ...], np.dtype]]

#: Arrays kept decompressed: images and labels of the parts in turn; one-array-per-case files pass through.
KEPT = 8


def header(source: Source) -> Header:
    """Return the header facts; only the names and shapes in the container are read."""
    name, index = _split(source.item)
    shapes = shapes_of(source.files[0])
    if name not in shapes:
        raise ReadError(f"No array {name!r} in the container", where=source.paths[0], remedy="read the data anew")
    shape, dtype = shapes[name]
    return facts(shape if index is None else shape[1:], dtype, source)


def pixels(source: Source) -> Image:
    """Return the image; see :func:`lucency.read.load`."""
    return plane(np.array(canonical(item(source), source.where)), source)


def digest(source: Source) -> str:
    """Return the SHA-256 of the item, not of the container."""
    return digest_of_array(item(source))


def item(source: Source) -> np.ndarray:
    """Return the array, or the row of an array, that ``source.item`` names: ``"scan"`` or ``"train_images/17"``."""
    name, index = _split(source.item)
    array = array_of(source.files[0], name)
    return array if index is None else np.asarray(array[index])


def shapes_of(path: Path) -> Shapes:
    """Return name to (shape, dtype) of every array, from the headers alone; pickled objects are left out."""
    status = path.stat()
    return _headers(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=KEPT)
def _headers(path: Path, changed: int, size: int) -> Shapes:
    """Read the headers; ``changed`` and ``size`` make a rewritten file a new one."""
    shapes: Shapes = {}
    with zipfile.ZipFile(path) as box:
        for info in box.infolist():
            if not info.filename.endswith(".npy"):
                continue
            with box.open(info) as file:
                version = npy_format.read_magic(file)
                read = npy_format.read_array_header_1_0 if version == (1, 0) else npy_format.read_array_header_2_0
                shape, _, dtype = read(file)
            if not dtype.hasobject:
                shapes[info.filename[:-4]] = (shape, dtype)
    return shapes


def array_of(path: Path, name: str) -> np.ndarray:
    """Return one array of a container: mapped from the disk where it is stored plainly, else decompressed and kept."""
    status = path.stat()
    return _kept(path, name, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=KEPT)
def _kept(path: Path, name: str, changed: int, size: int) -> np.ndarray:
    """Read one array; ``changed`` and ``size`` make a rewritten file a new one."""
    with zipfile.ZipFile(path) as box:
        info = box.getinfo(f"{name}.npy")
        if info.compress_type == zipfile.ZIP_STORED:
            return _mapped(path, info)
    with np.load(path, allow_pickle=False) as box_of_arrays:
        array: np.ndarray = box_of_arrays[name]
    array.flags.writeable = False
    return array


def _mapped(path: Path, info: zipfile.ZipInfo) -> np.ndarray:
    """Map an array that the container stores without compression (APPNOTE.TXT 4.3.7: 30 bytes, name, extra)."""
    with path.open("rb") as file:
        file.seek(info.header_offset + 26)
        name_length, extra_length = struct.unpack("<HH", file.read(4))
        file.seek(info.header_offset + 30 + name_length + extra_length)
        version = npy_format.read_magic(file)
        read = npy_format.read_array_header_1_0 if version == (1, 0) else npy_format.read_array_header_2_0
        shape, fortran, dtype = read(file)
        offset = file.tell()
    if 0 in shape or dtype.hasobject:
        raise ReadError(f"An array of shape {shape} and type {dtype}", expected="numbers", where=path.name)
    return np.memmap(path, dtype, "r", offset, shape, "F" if fortran else "C")


def _split(item_name: str) -> tuple[str, int | None]:
    name, _, index = item_name.rpartition("/")
    return (name, int(index)) if name else (index, None)
