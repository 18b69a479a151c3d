"""Radiotherapy structure sets: closed planar contours become a mask on the grid of the image they were drawn on."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lucency.case import Source, pseudonym
from lucency.errors import LucencyError, ReadError
from lucency.image import Image
from lucency.read import archive
from lucency.read.head import Head, silent
from lucency.read.labelgrid import Structure, composed, digest, entries_of, grid_of, header, n_label_files
from lucency.read.polygons import FLAT_MM, drawn

__all__ = ["digest", "header", "pixels"]

#: Contours that enclose something (PS3.3, C.8.8.6.2); points and open lines do not.
CLOSED = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR")


def pixels(source: Source) -> Image:
    """Return the regions of interest that the source's header names, as labels on the image's grid.

    Args:
        source: Its first paths are structure sets, the others the image's files.

    Raises:
        ReadError: Damaged contours, contours that are not flat, or regions that overlap.

    Source:
        DICOM PS3.3, C.8.8.6 ROI Contour Module.
    """
    structures: list[Structure] = []
    for n in range(n_label_files(source)):
        structures += _structures(source, n)
    return composed(structures, source)


def _structures(source: Source, n: int) -> list[Structure]:
    import pydicom  # noqa: PLC0415 - slow to import

    where, grid, values = source.paths[n], grid_of(source), entries_of(source, n)
    with archive.opened(source.files[n]) as file, silent():
        dataset = pydicom.dcmread(file, stop_before_pixels=True, force=True)
        by_number = {int(r.get("ReferencedROINumber") or 0): r for r in dataset.get("ROIContourSequence") or ()}
        found: list[Structure] = []
        for number, value in values.items():
            contours = [_points(c, where) for c in _closed(by_number.get(number))]
            drawing, bent = drawn(contours, grid)
            if bent:
                raise ReadError(
                    f"{bent} contours of region {number} do not lie in a plane",
                    expected="planar contours",
                    where=where,
                    remedy="export the structure set again, or choose other regions with --target NAME",
                )
            found.append(drawing.done(value, number))
    return found


def _closed(region: Any) -> list[Any]:
    """Return the contours of a region that enclose something."""
    every = (region.get("ContourSequence") or ()) if region is not None else ()
    return [c for c in every if str(c.get("ContourGeometricType", "")) in CLOSED]


def _points(contour: Any, where: str) -> np.ndarray:
    """Return (n, 3) float, mm, LPS."""
    values = np.array([float(v) for v in contour.get("ContourData") or ()])
    if values.size < 9 or values.size % 3 or not np.isfinite(values).all():
        raise ReadError(
            f"A closed contour of {values.size} numbers",
            expected="three for each of at least three points",
            where=where,
            remedy="export the structure set again",
        )
    return values.reshape(-1, 3)


def lies_on(file: Path, planes: Mapping[str, tuple[np.ndarray, np.ndarray]], salt: bytes) -> bool:
    """Tell whether every closed contour lies in the plane of the image that it names.

    Some programs write a frame of reference of their own making; then this says whether the contours belong to the
    images all the same.

    Args:
        file: A structure set.
        planes: Pseudonym of an instance to a point of it (3,) mm and its unit normal (3,).
        salt: Of the pseudonyms.
    """
    try:
        return _lies_on(file, planes, salt)
    except (LucencyError, OSError, TypeError, ValueError, AttributeError):
        # What cannot be read speaks for nothing; loading it says why.
        return False


def _lies_on(file: Path, planes: Mapping[str, tuple[np.ndarray, np.ndarray]], salt: bytes) -> bool:
    import pydicom  # noqa: PLC0415 - slow to import

    with archive.opened(file) as stream, silent():
        dataset = pydicom.dcmread(stream, stop_before_pixels=True, force=True)
        contours = [c for r in dataset.get("ROIContourSequence") or () for c in _closed(r)]
        for contour in contours:
            named = contour.get("ContourImageSequence") or ()
            plane = planes.get(pseudonym(salt, str(named[0].get("ReferencedSOPInstanceUID", "")))) if named else None
            if plane is None or np.abs((_points(contour, file.name) - plane[0]) @ plane[1]).max() > FLAT_MM:
                return False
    return bool(contours)


def regions_of(dataset: Any) -> list[Head]:
    """Return the regions of interest of a structure set, for its head.

    Args:
        dataset: A structure set.

    Returns:
        For each region: ``Number``, ``Name``, ``Closed`` and ``Other`` (count of its contours that enclose something,
        and of the others).
    """
    names = {int(r.get("ROINumber") or 0): r.get("ROIName") for r in dataset.get("StructureSetROISequence") or ()}
    found: list[Head] = []
    for region in dataset.get("ROIContourSequence") or ():
        number, closed = int(region.get("ReferencedROINumber") or 0), len(_closed(region))
        other = len(region.get("ContourSequence") or ()) - closed
        found.append({"Number": number, "Name": str(names.get(number) or "").strip(), "Closed": closed, "Other": other})
    return found
