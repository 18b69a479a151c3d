"""NRRD and MetaImage files, through SimpleITK."""

from typing import Any

import numpy as np

from lucency.case import Source
from lucency.errors import ReadError
from lucency.image import Image
from lucency.read.formats import Header, digest_of_files, unchecked
from lucency.read.geometry import refuse_shear

digest = digest_of_files


def header(source: Source) -> Header:
    """Return the header facts; the voxels stay on the disk."""
    reader = _reader(source)
    dimension = reader.GetDimension()
    spacing = [*reader.GetSpacing(), 1.0, 1.0][: max(dimension, 3)]
    size = [*reader.GetSize(), 1, 1][:3]
    refuse_shear(affine_of(reader, dimension), source.where)
    return {
        "size": tuple(int(n) for n in size[::-1]),
        "spacing": tuple(float(s) for s in spacing[:3][::-1]),
        "channels": int(reader.GetNumberOfComponents()),
        "dtype": _dtype(reader.GetPixelID()),
        "spacing_known": True,
    }


def pixels(source: Source) -> Image:
    """Return the image; see :func:`lucency.read.load`."""
    import SimpleITK as sitk  # noqa: N813, PLC0415 - slow to import

    reader = _reader(source)
    image = reader.Execute()
    affine = affine_of(image, image.GetDimension())
    refuse_shear(affine, source.where)
    array = sitk.GetArrayFromImage(image)
    if image.GetNumberOfComponentsPerPixel() == 1:
        array = array[..., None]
    if image.GetDimension() == 2:
        array = array[None]
    return unchecked(np.ascontiguousarray(np.moveaxis(array, -1, 0)), affine)


def _reader(source: Source) -> Any:
    import SimpleITK as sitk  # noqa: N813, PLC0415 - slow to import

    if source.files[0].stat().st_size == 0:
        raise ReadError("The file is empty (0 bytes)", where=source.where, remedy="fetch or export it again")
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(source.files[0]))
    reader.ReadImageInformation()
    if reader.GetDimension() not in (2, 3):
        raise ReadError(f"{reader.GetDimension()} axes", expected="2 or 3", where=source.where, remedy="split the file")
    return reader


def affine_of(image: Any, dimension: int) -> np.ndarray:
    """Return the (k, j, i) LPS affine; ITK's own world is LPS, its order (i, j, k)."""
    turn = np.eye(3)
    turn[:dimension, :dimension] = np.reshape(image.GetDirection(), (dimension, dimension))
    spacing = [*image.GetSpacing(), 1.0][:3]
    affine = np.eye(4)
    affine[:3, :3] = (turn * spacing)[:, ::-1]
    affine[:3, 3] = [*image.GetOrigin(), 0.0][:3]
    return affine


def _dtype(pixel: int) -> str:
    """Return numpy's name of an ITK pixel type."""
    import SimpleITK as sitk  # noqa: N813, PLC0415 - slow to import

    words = sitk.GetPixelIDValueAsString(pixel)
    bits = "".join(c for c in words if c.isdigit())
    if "unsigned" in words:
        return f"uint{bits}"
    return f"float{bits}" if "float" in words else f"int{bits}"
