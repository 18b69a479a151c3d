"""The images that a result is about, read again for what a DICOM object must repeat: who, which study, where."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lucency.case import Source
from lucency.errors import GeometryError, OutputError, ReadError
from lucency.image import Image, KAxis
from lucency.read.archive import opened

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

#: Largest distance between where a slice's own header puts it and where the result's grid does, as a share of the gap
#: between slices: positions jitter by hundredths of a millimetre, a wrong order is off by a whole gap.
OFF_PLACE = 0.25

#: What the files behind the first are read for; they agree in everything else.
PLACE_TAGS = (
    "SOPClassUID",
    "SOPInstanceUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "ImagePositionPatient",
    "ImageOrientationPatient",
)
#: What an object cannot be referred to without (DICOM PS3.3, C.12.1, C.7.2.1 and C.7.3.1: type 1).
NEEDED = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")

Triple = tuple[float, float, float]
Sextuple = tuple[float, float, float, float, float, float]


@dataclass(frozen=True)
class SourceFrame:
    """One slice of the source.

    Args:
        sop_class: SOP Class UID of its file; empty for a slice that was filled in.
        uid: SOP Instance UID of its file; empty for a slice that was filled in.
        number: Frame number in the file, from 1; 0 when the file is one frame or its frame is not this slice.
        position: Image Position (Patient), mm; None where the file does not say it.
        orientation: Image Orientation (Patient); None likewise.
        alike: Whether the slice has the pixels of the frame, one for one; a tile of a mosaic has not.
    """

    sop_class: str
    uid: str
    number: int
    position: Triple | None
    orientation: Sextuple | None
    alike: bool = True


@dataclass(frozen=True, eq=False)
class Measured:
    """The source of one result.

    Args:
        head: Header of the first file without pixels; its text is Unicode.
        frames: One for each slice, in the order of the result's k axis.
        pixel_spacing: (row, column) mm; None where the file does not say it.
        gap: Between slices along the normal, mm; None for a single slice without thickness.
        series: SOP Class UID and SOP Instance UID of every file, in slice order.
    """

    head: "Dataset"
    frames: tuple[SourceFrame, ...]
    pixel_spacing: tuple[float, float] | None
    gap: float | None
    series: tuple[tuple[str, str], ...]

    @cached_property
    def one_direction(self) -> bool:
        """Whether all frames lie in the same direction, digit for digit."""
        return len({f.orientation for f in self.frames}) == 1

    @cached_property
    def placed(self) -> bool:
        """Whether every frame knows where it lies in the patient."""
        known = all(f.position is not None and f.orientation is not None for f in self.frames)
        return known and bool(self.head.get("FrameOfReferenceUID"))

    @cached_property
    def key(self) -> str:
        """What the UIDs of results about this source are derived from."""
        return "/".join([str(self.head.SeriesInstanceUID), *(f"{f.uid}:{f.number}" for f in self.frames)])


def measured(source: Source, grid: Image) -> Measured:
    """Read the headers of a DICOM source once more.

    Args:
        source: With reader ``"dicom"``; paths in slice order.
        grid: The result, or any image on the source's grid; (C, K, J, I).

    Raises:
        OutputError: The source is no DICOM.
        ReadError: A file is gone or lacks a UID.
        GeometryError: The grid is not that of the files.
    """
    if source.reader != "dicom":
        raise OutputError(
            "The source is not DICOM",
            expected="a DICOM series, whose patient and study a DICOM result repeats",
            where=source.where,
            remedy="use --format nifti, png or csv",
        )
    heads = [_header(f, p, whole=not n) for n, (f, p) in enumerate(zip(source.files, source.paths, strict=True))]
    head = heads[0]
    if len({str(h.StudyInstanceUID) for h in heads}) > 1 or len({str(h.SeriesInstanceUID) for h in heads}) > 1:
        raise GeometryError("Files of several studies or series in one source", expected="one", where=source.where)
    size = (int(head.Rows), int(head.Columns))
    numbers = _numbers(source, head, grid)
    mosaic = len(heads) == 1 and int(head.get("NumberOfFrames") or 1) == 1 and len(numbers) > 1
    if not mosaic and size != grid.size[1:]:
        raise GeometryError(
            f"The result has {grid.size[1]} × {grid.size[2]} pixels a slice",
            expected=f"{size[0]} × {size[1]} as in the source",
            where=source.where,
        )
    frames = _mosaic(head, grid) if mosaic else _frames(heads, numbers, grid, source)
    frames = _filled_in(frames, source, grid)
    if len(frames) != grid.size[0]:
        raise GeometryError(
            f"The result has {grid.size[0]} slices", expected=f"{len(frames)} as in the source", where=source.where
        )
    _check_place(frames, grid, source)
    files = dict.fromkeys((str(h.SOPClassUID), str(h.SOPInstanceUID)) for h in heads)
    return Measured(head, frames, _pixel_spacing(head, frames), _gap(head, frames, grid), tuple(files))


def identified(source: Source) -> None:
    """Check, at the cost of one short read, that results can refer to a source; the whole is checked when they do.

    Raises:
        ReadError: The first file is gone or lacks a UID.
    """
    _header(source.files[0], source.paths[0], whole=False)


def grid_of(source: Source) -> Image | None:
    """Return an empty image on the source's grid, from what the reader noted; None where it did not."""
    size, affine = source.header.get("size"), source.header.get("affine")
    if not isinstance(size, tuple) or not isinstance(affine, tuple) or len(size) != 3 or len(affine) != 16:
        return None
    k, j, i = (int(n) for n in size)
    nothing = np.broadcast_to(np.zeros((), np.uint8), (1, k, j, i))
    axis: KAxis = "time" if source.header.get("k_axis") == "time" else "space"
    return Image(nothing, np.reshape(affine, (4, 4)), kind="labels", k_axis=axis)


def _header(file: Path, path: str, *, whole: bool) -> "Dataset":
    """Read one file without its pixels; the first whole, of the others the place and the UIDs."""
    import pydicom  # noqa: PLC0415  # costs start-up time
    from pydicom.errors import InvalidDicomError  # noqa: PLC0415

    tags: list[Any] | None = None if whole else list(PLACE_TAGS)
    try:
        with opened(file) as stream:
            head = pydicom.dcmread(stream, stop_before_pixels=True, force=True, specific_tags=tags)
            if whole:
                _decode(head)
    except FileNotFoundError:
        raise ReadError("The file is not there", where=path, remedy="restore it, or read the data anew") from None
    except (OSError, InvalidDicomError, ValueError, TypeError, AttributeError, NotImplementedError) as error:
        raise ReadError(
            f"The header cannot be read again ({type(error).__name__})", where=path, remedy="fetch the file again"
        ) from None
    lacking = [k for k in NEEDED if not head.get(k)]
    if lacking:
        raise ReadError(
            f"The file lacks {', '.join(lacking)}",
            expected="the UIDs that a DICOM result refers to",
            where=path,
            remedy="export the series again, or use --format nifti",
        )
    return head


def _decode(head: "Dataset") -> None:
    """Turn all text into Unicode, so that it can be written in another character set."""
    import warnings  # noqa: PLC0415

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        head.decode()


def _numbers(source: Source, head: "Dataset", grid: Image) -> tuple[int, ...]:
    """Return the frame numbers in slice order, from 1; empty for one frame a file."""
    given = source.header.get("frames", ())
    if isinstance(given, tuple) and given:
        return tuple(int(n) for n in given)
    n_frames = int(head.get("NumberOfFrames") or 1)
    if n_frames == 1:
        # Legal if rare: an object with frames by its class that holds one of them.
        return (1,) if "PerFrameFunctionalGroupsSequence" in head else ()
    return tuple(range(1, n_frames + 1))


def _frames(
    heads: Sequence["Dataset"], numbers: tuple[int, ...], grid: Image, source: Source
) -> tuple[SourceFrame, ...]:
    if not numbers:
        return tuple(SourceFrame(str(h.SOPClassUID), str(h.SOPInstanceUID), 0, _triple(h), _sextuple(h)) for h in heads)
    head = heads[0]
    if len(heads) > 1 or max(numbers) > int(head.get("NumberOfFrames") or 1) or min(numbers) < 1:
        raise GeometryError(
            "Frame numbers that the file does not have", expected="one multi-frame file", where=source.where
        )
    return tuple(
        SourceFrame(
            str(head.SOPClassUID),
            str(head.SOPInstanceUID),
            number,
            _triple(_group(head, number, "PlanePositionSequence")),
            _sextuple(_group(head, number, "PlaneOrientationSequence")),
        )
        for number in numbers
    )


def _group(head: "Dataset", number: int, name: str) -> Any:
    """Return the item of a functional group of one frame, its own or the shared one; an empty dataset without it.

    Source:
        DICOM PS3.3, C.7.6.16.
    """
    from pydicom.dataset import Dataset  # noqa: PLC0415

    own = head.get("PerFrameFunctionalGroupsSequence") or []
    shared = head.get("SharedFunctionalGroupsSequence") or []
    for item in (*own[number - 1 : number], *shared[:1]):
        if item.get(name):
            return item[name].value[0]
    return Dataset()


def _mosaic(head: "Dataset", grid: Image) -> tuple[SourceFrame, ...]:
    """Return slices that lie side by side in one frame: each has its own place, none is a frame of the file."""
    turn = _turn_of(grid)
    return tuple(
        SourceFrame(str(head.SOPClassUID), str(head.SOPInstanceUID), 0, _corner(grid, k), turn, alike=False)
        for k in range(grid.size[0])
    )


def _filled_in(frames: tuple[SourceFrame, ...], source: Source, grid: Image) -> tuple[SourceFrame, ...]:
    """Put a frame without a file at every slice that was interpolated on request."""
    given = source.header.get("interpolated", ())
    places = {int(n) for n in given} if isinstance(given, tuple) else set()
    if not places:
        return frames
    own = iter(frames)
    turn = next((f.orientation for f in frames if f.orientation is not None), _turn_of(grid))
    made = [
        SourceFrame("", "", 0, _corner(grid, k), turn) if k in places else next(own, None) for k in range(grid.size[0])
    ]
    return tuple(f for f in made if f is not None)


def _check_place(frames: Sequence[SourceFrame], grid: Image, source: Source) -> None:
    """Refuse a result whose slices lie elsewhere than those of the files; it would point at the wrong ones."""
    if grid.k_axis == "time":
        return
    tolerance = max(OFF_PLACE * grid.spacing[0], 0.01)
    for k, frame in enumerate(frames):
        if frame.position is None:
            continue
        off = float(np.abs(np.array(frame.position) - _corner(grid, k)).max())
        if off > tolerance:
            raise GeometryError(
                f"Slice {k} of the result lies {off:.2f} mm away from that of the file",
                expected="the result on the grid of its source",
                where=source.where,
                remedy="report this as a bug",
            )


def _corner(grid: Image, k: int) -> Triple:
    """Return the centre of the first pixel of a slice, mm."""
    x, y, z = (grid.affine @ (k, 0, 0, 1))[:3]
    return float(x), float(y), float(z)


def _turn_of(grid: Image) -> Sextuple:
    """Return the cosines of growing i, then of growing j."""
    unit = grid.affine[:3, :3] / np.linalg.norm(grid.affine[:3, :3], axis=0)
    a, b, c, d, e, f = (float(v) for v in (*unit[:, 2], *unit[:, 1]))
    return a, b, c, d, e, f


def _pixel_spacing(head: "Dataset", frames: Sequence[SourceFrame]) -> tuple[float, float] | None:
    """Return the spacing in the patient as the file has it; None where it only knows that on a detector."""
    values = _floats(_measures(head, frames[0]), "PixelSpacing", 2) or _floats(head, "PixelSpacing", 2)
    return (values[0], values[1]) if values else None


def _measures(head: "Dataset", frame: SourceFrame) -> Any:
    return _group(head, frame.number, "PixelMeasuresSequence") if frame.number else head


def _gap(head: "Dataset", frames: Sequence[SourceFrame], grid: Image) -> float | None:
    """Return the distance between slices along their normal, which in a sheared stack is not that of their corners."""
    if frames[0].position is None or grid.k_axis == "time":
        return None
    if len(frames) == 1:
        return float(_measures(head, frames[0]).get("SliceThickness") or 0.0) or None
    normal = np.cross(grid.affine[:3, 1], grid.affine[:3, 2])
    return abs(float(normal @ grid.affine[:3, 0])) / float(np.linalg.norm(normal))


def _triple(item: Any) -> Triple | None:
    values = _floats(item, "ImagePositionPatient", 3)
    return (values[0], values[1], values[2]) if values else None


def _sextuple(item: Any) -> Sextuple | None:
    v = _floats(item, "ImageOrientationPatient", 6)
    return (v[0], v[1], v[2], v[3], v[4], v[5]) if v else None


def _floats(item: Any, keyword: str, n: int) -> list[float]:
    """Return ``n`` finite numbers, or none of them."""
    value = item.get(keyword)
    try:
        numbers = [] if value is None or isinstance(value, str) else [float(v) for v in value]
    except (TypeError, ValueError):
        return []
    return numbers if len(numbers) == n and bool(np.isfinite(numbers).all()) else []
