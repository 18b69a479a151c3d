"""NIfTI-1 and -2 files, through nibabel."""

import math
from pathlib import Path
from typing import Any

import numpy as np

from lucency.case import Source
from lucency.errors import GeometryError, ReadError
from lucency.image import Image, same_place
from lucency.read.formats import Header, digest_of_files, unchecked
from lucency.read.geometry import dtype_of, lps_from_ras, rescaled, stack_tilt

digest = digest_of_files

#: Deflate makes nothing more than 1032 times as small (zlib's own account of its limit).
MAX_DEFLATE = 1032

#: A larger volume does not fit the memory of most machines twice.
MAX_BYTES = 32 << 30

#: xyzt_units to mm (nifti1.h); an unset unit is taken as mm, as every viewer does.
UNIT_MM = {"meter": 1000.0, "mm": 1.0, "micron": 0.001}


def header(source: Source) -> Header:
    """Return the header facts; the voxels stay on the disk."""
    file = _open(source)
    channels, size = _shape(file, source)
    affine = _affine(file, source)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    tilt = stack_tilt(affine, source.where)
    facts: Header = {"tilt": round(tilt, 3)} if tilt else {}
    if hasattr(file.header, "get_sform") and not (file.header["sform_code"] or file.header["qform_code"]):
        # Programs disagree on which way such an image lies (nifti1.h, method 1): the sizes of voxels are all it says.
        facts["placed"] = False
    return facts | {
        "size": tuple(int(n) for n in size),
        "spacing": tuple(float(s) for s in spacing),
        "channels": channels,
        "dtype": dtype_of(str(file.get_data_dtype().newbyteorder("=")), file.dataobj.slope, file.dataobj.inter),
        "spacing_known": True,
    }


def pixels(source: Source) -> Image:
    """Return the image; see :func:`lucency.read.load`."""
    file = _open(source)
    channels, size = _shape(file, source)
    affine = _affine(file, source)
    raw = np.asanyarray(file.dataobj.get_unscaled())
    raw = raw.astype(raw.dtype.newbyteorder("="), copy=False)
    slope, intercept = file.dataobj.slope, file.dataobj.inter
    array = rescaled(raw, float(slope), float(intercept)).reshape((*size[::-1], channels))
    # Stored (i, j, k, c); the transpose is a view, and one copy makes it contiguous.
    return unchecked(np.ascontiguousarray(array.T), affine)


def _open(source: Source) -> Any:
    import nibabel  # noqa: PLC0415 - slow to import

    path = source.files[0]
    if path.stat().st_size == 0:
        raise ReadError("The file is empty (0 bytes)", where=source.where, remedy="fetch or export it again")
    file = nibabel.load(path)
    _refuse_promises(file, path, source)
    return file


def _refuse_promises(file: Any, path: Path, source: Source) -> None:
    """Refuse a header that promises more voxels than the file can hold, before memory is set aside for them."""
    promised = math.prod(int(n) for n in file.shape) * int(file.get_data_dtype().itemsize)
    voxels = Path(file.file_map["image"].filename or path)
    there = voxels.stat().st_size * (MAX_DEFLATE if voxels.suffix in (".gz", ".bz2", ".zst") else 1)
    if promised > min(there, MAX_BYTES):
        raise ReadError(
            f"The header promises {promised:,} bytes of voxels".replace(",", " "),
            expected="as many as the file holds" if promised > there else f"at most {MAX_BYTES >> 30} GiB",
            where=source.where,
            remedy="fetch the file again; it is truncated or damaged",
        )


def _shape(file: Any, source: Source) -> tuple[int, tuple[int, int, int]]:
    """Return channels and (K, J, I)."""
    shape = [int(n) for n in file.shape]
    while len(shape) > 3 and shape[-1] == 1:
        shape.pop()
    shape += [1] * (3 - len(shape))
    # A vector image stores its channels on axis 5 (nifti1.h, NIFTI_INTENT_VECTOR).
    if len(shape) == 5 and shape[3] == 1:
        shape = [*shape[:3], shape[4]]
    elif len(shape) == 4 and source.header.get("axes") != "channels":
        raise ReadError(
            f"Four axes, {shape[3]} volumes in one file",
            expected="one volume, or a dataset.json that names the channels",
            where=source.where,
            remedy="say what the volumes are: name them under 'modality' in dataset.json, or split the file",
        )
    if len(shape) > 4:
        raise ReadError(f"{len(shape)} axes", expected="3 or 4", where=source.where, remedy="split the file")
    return (shape[3] if len(shape) == 4 else 1), (shape[2], shape[1], shape[0])


def _affine(file: Any, source: Source) -> np.ndarray:
    """Return the LPS affine in mm, refusing two headers that disagree and rows and columns not at right angles.

    Slices may lean against each other: a stack taken with a tilted gantry is written with an sform alone, for a qform
    cannot say it.
    """
    top = file.header
    scale = UNIT_MM.get(top.get_xyzt_units()[0], 1.0) if hasattr(top, "get_xyzt_units") else 1.0
    affine = np.array(file.affine, dtype=np.float64)
    affine[:3] *= scale
    if hasattr(top, "get_sform"):
        sform, has_sform = top.get_sform(coded=True)
        qform, has_qform = top.get_qform(coded=True)
        if has_sform and has_qform:
            _refuse_conflict(np.array(sform), np.array(qform), file.shape, source)
    affine = lps_from_ras(affine)
    stack_tilt(affine, source.where)
    return affine


def _refuse_conflict(sform: np.ndarray, qform: np.ndarray, shape: tuple[int, ...], source: Source) -> None:
    """Refuse two places for one image; a tenth of a voxel is rounding, more is another place."""
    tilt = stack_tilt(lps_from_ras(sform), source.where)
    finest = float(np.linalg.norm(sform[:3, :3], axis=0).min())
    size = (*shape[:3], 1, 1, 1)[:3]
    if not same_place(sform, qform, size, tolerance_mm=0.1 * finest):
        if tilt:
            raise GeometryError(
                f"The sform is sheared by {tilt:.1f} degrees and the qform says another place",
                expected="one place in the patient",
                where=source.where,
                remedy="if the slices were taken with a tilted gantry, set the code of the qform to 0, which cannot "
                "say it; otherwise resample the image to a rectangular grid on purpose",
            )
        raise GeometryError(
            "sform and qform put the image at two different places",
            expected="one place in the patient",
            where=source.where,
            remedy="keep the right one: set the code of the other to 0 or write both alike, then read again",
        )
