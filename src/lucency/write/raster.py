"""Flat images out as PNG: masks with the values of the training masks themselves, pictures with their bit depth."""

import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from lucency.errors import OutputError
from lucency.image import Image
from lucency.record import write_bytes


def write_raster(path: Path, image: Image) -> None:
    """Write a flat label image as a grey PNG: 8 bits, or 16 where a value is over 255.

    The values are written as they are; a mask of 0 and 255 stays one of 0 and 255.

    Args:
        path: Ends in ``.png``.
        image: Labels, (1, 1, J, I), 0 to 65535.

    Raises:
        OutputError: Not flat, not labels, values outside 0 to 65535, or a disk that cannot be written.

    Source:
        PNG (third edition), W3C Recommendation, clause 11.2.1: greyscale has 8 or 16 bits.
    """
    from PIL import Image as Picture  # noqa: PLC0415  # costs start-up time

    if image.kind != "labels" or image.channels != 1 or image.size[0] != 1:
        raise OutputError(
            f"{image.kind} of shape {image.array.shape}",
            expected="a flat mask, (1, 1, J, I)",
            where=path.name,
            remedy="write a volume as .nii.gz",
        )
    low, high = int(image.array.min()), int(image.array.max())
    if low < 0 or high > np.iinfo(np.uint16).max:
        raise OutputError(f"Labels from {low} to {high}", expected="0 to 65535", where=path.name)
    depth = np.uint8 if high <= np.iinfo(np.uint8).max else np.uint16
    buffer = io.BytesIO()
    Picture.fromarray(np.ascontiguousarray(image.array[0, 0], dtype=depth)).save(buffer, "png")
    write_bytes(path, buffer.getvalue())


def write_picture(path: Path, image: Image, *, text: Mapping[str, str] | None = None) -> None:
    """Write a flat picture as PNG with the numbers it has: grey of 8 or 16 bits, or colour of 8.

    Args:
        path: Ends in ``.png``.
        image: Intensities, (1, 1, J, I) uint8 or uint16, or (3, 1, J, I) uint8.
        text: Keyword to what it says, each in a chunk of its own.

    Raises:
        OutputError: Another shape or type, or a disk that cannot be written.

    Source:
        PNG (third edition), W3C Recommendation, clauses 11.2.1 and 11.3.3.
    """
    from PIL import Image as Picture  # noqa: PLC0415  # costs start-up time
    from PIL.PngImagePlugin import PngInfo  # noqa: PLC0415

    kind = image.array.dtype
    grey, colour = image.channels == 1 and kind in (np.uint8, np.uint16), image.channels == 3 and kind == np.uint8
    if image.size[0] != 1 or not (grey or colour):
        raise OutputError(
            f"A picture of shape {image.array.shape} and type {kind}",
            expected="a flat one, grey of 8 or 16 bits or colour of 8",
            where=path.name,
            remedy="write it as .nii.gz",
        )
    pixels = image.array[0, 0] if grey else np.moveaxis(image.array[:, 0], 0, -1)
    buffer = io.BytesIO()
    told = PngInfo()
    for keyword, words in (text or {}).items():
        told.add_text(keyword, words)
    Picture.fromarray(np.ascontiguousarray(pixels)).save(buffer, "png", pnginfo=told)
    write_bytes(path, buffer.getvalue())
