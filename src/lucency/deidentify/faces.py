"""Heads: say whether a face could be drawn from an object, and shear it off where a brain mask is given.

A mask of the brain gives a plane in front of and below it; what lies beyond becomes background, in every series of the
same frame of reference by the same plane. That takes the face. It does not take the ears, the shape of the skull or
what stands behind the plane, and nothing more is claimed.

Source:
    N. Schimke, J. Hale, Quickshear defacing for neuroimages, HealthSec 2011. DICOM PS3.15, E.3.2.
"""

import math
import re
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from lucency.deidentify.blanking import background, numbers_of, replaced
from lucency.errors import DataError, GeometryError, LucencyError

if TYPE_CHECKING:
    from pydicom import Dataset

#: Modalities in which the skin's surface can be drawn from slices.
SURFACES = frozenset(["CT", "MR", "PT"])
#: Words in Body Part Examined or in a description for regions with a face (PS3.16, Annex L, and daily use).
_HEADS = (
    "HEAD BRAIN SKULL FACE FACIAL NEURO CRANI CEREBR ORBIT SINUS JAW MANDIB MAXILL DENTAL TEETH EAR TEMPORAL "
    "PITUIT NECK CAROTID CERVICAL WHOLEBODY WHOLE-BODY 头 颅 脑 面 鼻 眼 耳 颌 颈 全身"
)
HEADS = frozenset(_HEADS.split())
#: A plane through a head shows 12 to 32 cm in both directions; smaller fields hold a part without a face, larger ones
#: a trunk, beside which a head may lie in other slices.
FIELD_MM = (120.0, 320.0)
#: Between the brain and the plane, mm; the original's 10 voxels of 1 mm.
BUFFER_MM = 10.0
#: How far the plane's direction may turn from straight down (0) to straight ahead (90), degrees: it has to pass between
#: the brow and the base of the brain.
STEEPEST, FLATTEST = 75.0, 15.0

#: Names of brain masks as the usual programs give them (BIDS, HD-BET, SynthStrip, FSL).
MASK = re.compile(r"(?:brain.*mask|bet_mask|mask.*brain).*\.nii(?:\.gz)?$", re.IGNORECASE)
#: Code, scheme and meaning of the option (PS3.16, CID 7050).
CODE = ("113102", "DCM", "Clean Recognizable Visual Features Option")

SHEARED = (
    "What lies in front of and below the plane of a brain mask was removed; ears, the shape of the skull and all that "
    "stands behind the plane remain, and the mask was taken to be right."
)
REMAIN = "Recognisable features remain: a face may be drawn from this head image."
POSSIBLE = "It does not say which part of the body it shows; if a head, recognisable features remain."


@dataclass(frozen=True)
class FaceFinding:
    """Whether a face could be drawn from an object.

    Args:
        recognisable: "yes", "possible" or "no".
        statement: For the report; empty for "no".
    """

    recognisable: Literal["yes", "possible", "no"]
    statement: str = ""


@dataclass(frozen=True)
class Shear:
    """A plane in the patient's space; beyond it lies the face.

    Args:
        normal: (3,) unit vector, LPS: ahead and down.
        offset_mm: Points x with normal · x above this are removed.
    """

    normal: tuple[float, float, float]
    offset_mm: float

    def beyond(self, points: np.ndarray) -> np.ndarray:
        """Return (...) bool, whether (..., 3) points, LPS mm, lie beyond the plane."""
        return np.asarray(points @ np.asarray(self.normal) > self.offset_mm)


def face_of(dataset: "Dataset") -> FaceFinding:
    """Return whether a face could be drawn from an object, by its modality, body part, description and field of view.

    Args:
        dataset: One object of a series, before its attributes were cleaned.
    """
    if _text(dataset, "Modality") not in SURFACES:
        if _text(dataset, "Modality") in ("XC", "OP", "ES") and _is_head(dataset) is not False:
            return FaceFinding("possible", POSSIBLE)
        return FaceFinding("no")
    head = _is_head(dataset)
    if head is True:
        return FaceFinding("yes", REMAIN)
    if head is False:
        return FaceFinding("no")
    field = _field_mm(dataset)
    fits = field is None or all(FIELD_MM[0] <= f <= FIELD_MM[1] for f in field)
    return FaceFinding("possible", POSSIBLE) if fits else FaceFinding("no")


def shear_plane(brain: np.ndarray, affine: np.ndarray, *, buffer_mm: float = BUFFER_MM) -> Shear:
    """Return the plane that leaves the brain on one side and the face on the other.

    The brain's outline, seen from the side, is wrapped by its convex hull; of the hull's edges that look ahead and
    down the longest is moved outwards by the buffer.

    Args:
        brain: (K, J, I) bool.
        affine: (4, 4) float, from (k, j, i) to LPS mm.
        buffer_mm: Between the brain and the plane, mm.

    Returns:
        The plane; no point of the brain lies nearer to it than the buffer.

    Raises:
        DataError: The mask is empty, or flat.
    """
    from scipy.spatial import ConvexHull, QhullError  # noqa: PLC0415 - only where a mask is given

    places = np.argwhere(brain)
    if not len(places):
        raise DataError("The brain mask is empty", expected="voxels of the brain", remedy="check the mask")
    world = places @ affine[:3, :3].T + affine[:3, 3]
    # Ahead is the opposite of P, up is S.
    seen = np.stack([-world[:, 1], world[:, 2]], -1)
    try:
        hull = ConvexHull(seen)
    except QhullError:
        raise DataError("The brain mask is flat", expected="a volume", remedy="check the mask") from None
    best, longest = None, -1.0
    for (ahead, up, _), edge in zip(hull.equations, hull.simplices, strict=True):
        angle = math.degrees(math.atan2(ahead, -up))
        length = float(np.linalg.norm(seen[edge[0]] - seen[edge[1]]))
        if FLATTEST <= angle <= STEEPEST and length > longest:
            best, longest = (ahead, up), length
    # A hull of very few points may have no such edge: half-way between ahead and down then touches it at a corner.
    ahead, up = best or (math.sqrt(0.5), -math.sqrt(0.5))
    normal = (0.0, -float(ahead), float(up))
    return Shear(normal, float((world @ np.array(normal)).max()) + buffer_mm)


def plane_of(mask: Path) -> Shear:
    """Return the plane of a brain mask in a NIfTI file, in the space of the images beside it.

    Raises:
        DataError: The mask cannot be read, is empty or flat, or has more than one channel.
    """
    from lucency.case import Source  # noqa: PLC0415 - only where faces are to be sheared off
    from lucency.read import nifti  # noqa: PLC0415 - likewise

    try:
        image = nifti.pixels(Source((mask.name,), str(mask.parent), "nifti", kind="labels"))
    except Exception as error:  # a damaged file may raise anything
        why = error.found if isinstance(error, LucencyError) else type(error).__name__
        raise DataError(f"A brain mask cannot be read ({why})", remedy="make it again") from None
    if image.array.shape[0] != 1:
        raise DataError("A brain mask with several channels", expected="one volume", remedy="make it again")
    return shear_plane(image.array[0] > 0, image.affine)


def sheared(array: np.ndarray, affine: np.ndarray, shear: Shear, *, fill: float) -> np.ndarray:
    """Return a volume without what lies beyond the plane.

    Args:
        array: (K, J, I), any dtype.
        affine: (4, 4) float, from (k, j, i) to LPS mm.
        shear: From :func:`shear_plane`; the same one for all volumes of one frame of reference.
        fill: What air has in it.
    """
    out = array.copy()
    j, i = np.meshgrid(np.arange(array.shape[1]), np.arange(array.shape[2]), indexing="ij")
    for k in range(array.shape[0]):
        points = np.stack([np.full(j.shape, k), j, i], -1) @ affine[:3, :3].T + affine[:3, 3]
        out[k][shear.beyond(points)] = fill
    return out


def shear_off(
    dataset: "Dataset", shear: Shear, *, stored: Callable[[], np.ndarray] | None = None, fill: float | None = None
) -> int:
    """Remove from one slice what lies beyond the plane, and write code 113102; ``dataset`` is changed.

    Args:
        dataset: A single-frame CT, MR or PET slice with its place in the patient.
        shear: The plane of its frame of reference.
        stored: See :func:`lucency.deidentify.blanking.blanked`.
        fill: Stored number of air, the same for the whole series; the slice's own darkest where it is not given.

    Returns:
        Pixels that were removed.

    Raises:
        GeometryError: The object does not say where it lies, or has several frames.
        DataError: Its pixels cannot be changed.

    Source:
        DICOM PS3.3, C.7.6.2.1.1, equation C.7.6.2.1-1; PS3.15, E.3.2 Clean Recognizable Visual Features Option.
    """
    points = _points(dataset)
    beyond = shear.beyond(points)
    frames = numbers_of(dataset, stored)
    frames[:, beyond] = background(dataset, frames) if fill is None else frames.dtype.type(fill)
    replaced(dataset, frames, CODE[0], CODE[2])
    dataset.ImageType = ["DERIVED", *list(dataset.get("ImageType") or ["", "PRIMARY"])[1:]]
    return int(np.count_nonzero(beyond)) * len(frames)


def shear_where_planned(dataset: "Dataset", shears: Mapping[str, Shear]) -> bool:
    """Remove what lies beyond the plane of a slice's frame of reference, if there is one; tell whether there was.

    Args:
        dataset: As it was read, with ``filename`` for pixels that have to be decoded.
        shears: Frame of Reference UID to plane.

    Raises:
        GeometryError: The object does not say where it lies, or has several frames.
        DataError: Its pixels cannot be changed.
    """
    from lucency.read.decode import frames  # noqa: PLC0415 - only where faces are to be sheared off

    shear = shears.get(_text(dataset, "FrameOfReferenceUID")) if shears else None
    if shear is None or _text(dataset, "Modality") not in SURFACES or "PixelData" not in dataset:
        return False
    file = Path(str(getattr(dataset, "filename", "")))
    shear_off(dataset, shear, stored=lambda: next(iter(frames([file], ["a slice"])))[1])
    return True


def shear_series(datasets: Iterable["Dataset"], shear: Shear) -> int:
    """Remove what lies beyond the plane from every slice of one or more series, with one number for air.

    Args:
        datasets: Slices that share a frame of reference, uncompressed.
        shear: From :func:`shear_plane`.

    Returns:
        Pixels that were removed.

    Raises:
        GeometryError: Slices of several frames of reference: one plane does not fit them.
    """
    slices = list(datasets)
    frames = {str(d.get("FrameOfReferenceUID", "")) for d in slices}
    if len(frames) != 1 or "" in frames:
        raise GeometryError(
            f"Slices of {len(frames)} frames of reference, or of none",
            expected="one, that of the brain mask",
            remedy="shear each by a mask of its own",
        )
    lowest: dict[str, float] = {}
    for one in slices:
        series = str(one.get("SeriesInstanceUID", ""))
        least = float(background(one, numbers_of(one, None))[0])
        lowest[series] = min(lowest.get(series, least), least)
    return sum(shear_off(d, shear, fill=lowest[str(d.get("SeriesInstanceUID", ""))]) for d in slices)


def _points(dataset: "Dataset") -> np.ndarray:
    """Return (rows, columns, 3) LPS mm of the pixels of one slice."""
    position, turn = _floats(dataset, "ImagePositionPatient"), _floats(dataset, "ImageOrientationPatient")
    spacing = _floats(dataset, "PixelSpacing")
    if (len(position), len(turn), len(spacing)) != (3, 6, 2) or int(dataset.get("NumberOfFrames") or 1) > 1:
        raise GeometryError(
            "A slice does not say where it lies, or has several frames",
            expected="Image Position, Image Orientation and Pixel Spacing in each slice",
            remedy="export the series again, one file for each slice",
        )
    along_row, along_column = np.array(turn[:3]), np.array(turn[3:])
    j, i = np.meshgrid(np.arange(int(dataset.Rows)), np.arange(int(dataset.Columns)), indexing="ij")
    right, down = i[..., None] * spacing[1] * along_row, j[..., None] * spacing[0] * along_column
    return np.asarray(np.array(position) + right + down)


def _is_head(dataset: "Dataset") -> bool | None:
    """Return whether an object shows a head, or None where it does not say."""
    told = [_text(dataset, k) for k in ("BodyPartExamined", "StudyDescription", "SeriesDescription", "ProtocolName")]
    if any(word in text for word in HEADS for text in told):
        return True
    return False if told[0] else None


def _field_mm(dataset: "Dataset") -> tuple[float, float] | None:
    spacing = _floats(dataset, "PixelSpacing")
    if len(spacing) != 2 or not dataset.get("Rows") or not dataset.get("Columns"):
        return None
    return spacing[0] * int(dataset.Rows), spacing[1] * int(dataset.Columns)


def _text(dataset: "Dataset", keyword: str) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return str(dataset.get(keyword) or "").strip(" \0").upper()
        except Exception:  # a broken value may raise anything, and counts as absent
            return ""


def _floats(dataset: "Dataset", keyword: str) -> list[float]:
    try:
        return [float(v) for v in dataset.get(keyword) or []]
    except (TypeError, ValueError):
        return []
