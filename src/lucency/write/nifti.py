"""NIfTI out: LPS millimetres become RAS, and not a number changes."""

import gzip
from pathlib import Path
from typing import Any

import numpy as np

from lucency.errors import OutputError
from lucency.image import Image
from lucency.record import write_bytes

#: From patient axes of DICOM (left, posterior, superior) to those of NIfTI (right, anterior, superior).
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
#: NIFTI_XFORM_SCANNER_ANAT: the coordinates are the scanner's.
SCANNER = 1
#: Two columns of an affine are at right angles when the cosine between them is below this.
SQUARE = 1e-5


def write_nifti(path: Path, image: Image, *, description: str = "") -> None:
    """Write ``image`` as NIfTI-1, gzip-compressed where the name ends in ``.gz``.

    The first axis of the file is i, the second j, the third k. Several channels are a vector per voxel on the
    fifth axis, which no reader can take for time. Labels become uint8, or uint16 where a value is over 255. The
    same image gives the same bytes.

    Args:
        path: Ends in ``.nii`` or ``.nii.gz``.
        image: Any geometry. A sheared grid is written with an sform only, for a qform cannot say it.
        description: At most 79 ASCII characters in the header's ``descrip``.

    Raises:
        OutputError: Labels outside 0 to 65535, numbers that NIfTI cannot hold, or a disk that cannot be written.

    Source:
        NIfTI-1 data format, nifti1.h, "3D image orientation and location in space" (methods 2 and 3) and
        NIFTI_INTENT_VECTOR.
    """
    import nibabel  # noqa: PLC0415  # costs start-up time

    array = np.transpose(_storable(image, path), (3, 2, 1, 0))
    affine = LPS_TO_RAS @ image.affine[:, [2, 1, 0, 3]]
    nifti: Any = nibabel.Nifti1Image(array[..., 0] if image.channels == 1 else array[:, :, :, np.newaxis], None)
    if image.channels > 1:
        nifti.header.set_intent("vector")
    nifti.header.set_xyzt_units("mm")
    nifti.header["descrip"] = description.encode("ascii", "replace")
    nifti.set_sform(affine, code=SCANNER)
    if _is_square(affine):
        nifti.set_qform(affine, code=SCANNER)
    content = nifti.to_bytes()
    # A time stamp of 0: the same image gives the same bytes.
    write_bytes(path, gzip.compress(content, 6, mtime=0) if path.name.endswith(".gz") else content)


def _is_square(affine: np.ndarray) -> bool:
    columns = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return bool(np.abs(columns.T @ columns - np.eye(3)).max() < SQUARE)


def _storable(image: Image, path: Path) -> np.ndarray:
    """Return the array in a type that NIfTI-1 and other programs' readers know, with the same values."""
    array = image.array
    if image.kind == "labels":
        return as_labels(array, path)
    if array.dtype in (np.dtype(bool), np.dtype(np.uint8)):
        return array.astype(np.uint8)
    if array.dtype == np.float16:
        return array.astype(np.float32)
    if array.dtype.kind in "iu" and array.dtype.itemsize > 2:
        low, high = int(array.min()), int(array.max())
        if low < np.iinfo(np.int32).min or high > np.iinfo(np.int32).max:
            raise OutputError(f"Integers from {low} to {high}", expected="32-bit integers", where=path.name)
        return array.astype(np.int32)
    return array


def as_labels(array: np.ndarray, path: Path) -> np.ndarray:
    """Return labels as uint8, or as uint16 where a value is over 255.

    Args:
        array: Integers of any shape.
        path: Its name is shown in the error.

    Raises:
        OutputError: A label below 0 or over 65535.
    """
    low, high = int(array.min()), int(array.max())
    if low < 0 or high > np.iinfo(np.uint16).max:
        raise OutputError(f"Labels from {low} to {high}", expected="0 to 65535", where=path.name)
    return array.astype(np.uint8 if high <= np.iinfo(np.uint8).max else np.uint16)
