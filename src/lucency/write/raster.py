"""Flat masks out, as PNG with the values of the training masks themselves."""

import io
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
