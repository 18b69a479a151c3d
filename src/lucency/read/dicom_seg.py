"""DICOM Segmentation (binary, fractional, label map) as a mask on the grid of the image that it was drawn on."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lucency.case import Source
from lucency.errors import ReadError
from lucency.image import Image
from lucency.read import archive, decode
from lucency.read.frames import slices_of
from lucency.read.head import Head, head_of, silent
from lucency.read.labelgrid import (
    Drawing,
    Grid,
    Structure,
    composed,
    digest,
    entries_of,
    grid_of,
    header,
    instances_of,
    n_label_files,
)
from lucency.read.stack import Slice, axes_of

__all__ = ["digest", "header", "pixels"]

#: Frames decoded at a time: a quarter of a gigabyte at 512 x 512.
AT_A_TIME = 1024

#: A frame lies on a slice of the image when no pixel of it is further off than this, in voxels.
ON_GRID = 0.1


@dataclass(frozen=True, eq=False)
class _Frame:
    """One frame of a segmentation.

    Args:
        index: From 0, in the file.
        segment: Its segment number; 0 in a label map, where the pixels tell.
        place: As the header says.
    """

    index: int
    segment: int
    place: Slice


def pixels(source: Source) -> Image:
    """Return the segments that the source's header names, as labels on the image's grid.

    A fractional segment begins at half of its maximum. Frames are found on the image by their position, and by the
    images they were derived from where there are no positions; where the segmentation has another grid than the image
    every voxel takes the value at its nearest place.

    Args:
        source: Its first paths are segmentations, the others the image's files.

    Raises:
        ReadError: Damaged, whole-slide, outside the image, or segments that overlap.

    Source:
        DICOM PS3.3, C.8.20 Segmentation; A.51 and A.86 Label Map Segmentation.
    """
    structures: list[Structure] = []
    for n in range(n_label_files(source)):
        structures += _Segmentation(source, n).structures()
    return composed(structures, source)


class _Segmentation:
    """One file on its way to structures."""

    def __init__(self, source: Source, n: int) -> None:
        self.source, self.file, self.where = source, source.files[n], source.paths[n]
        self.grid = grid_of(source)
        self.values = entries_of(source, n)
        with archive.opened(self.file) as file, silent():
            import pydicom  # noqa: PLC0415 - slow to import

            self.dataset = pydicom.dcmread(file, stop_before_pixels=True, force=True)
            self.head: Head = head_of(self.dataset)
        self.kind = str(self.head.get("SegmentationType", "BINARY"))
        self.most = int(self.head.get("MaximumFractionalValue") or 255)

    def structures(self) -> list[Structure]:
        """Return every segment that was asked for."""
        if "TotalPixelMatrixRows" in self.dataset:
            raise ReadError("A segmentation of a whole slide", expected="one of a radiological image", where=self.where)
        frames = self._frames()
        if self.source.header.get("placed") and all(f.place.placed for f in frames):
            places = self._on_slices(frames)
            return self._copied(frames, places) if places is not None else self._resampled(frames)
        return self._copied(frames, self._by_reference(frames))

    def _frames(self) -> list[_Frame]:
        slices = slices_of(self.where, self.head)
        found: list[_Frame] = []
        for index, one in enumerate(slices):
            number = one.get("ReferencedSegmentNumber")
            segment = 0 if self.kind == "LABELMAP" else int(number or 0)
            if self.kind != "LABELMAP" and segment == 0:
                # One segment need not be named by every frame.
                segment = next(iter(self.values)) if len(self.head.get("SegmentSequence", ())) == 1 else 0
            if segment in self.values or self.kind == "LABELMAP":
                found.append(_Frame(index, segment, one))
        return found

    def _on_slices(self, frames: Sequence[_Frame]) -> list[tuple[int, int, int]] | None:
        """Return (k, j, i) of every frame's first pixel; None where a frame does not lie on the image's own pixels."""
        places: list[tuple[int, int, int]] = []
        for frame in frames:
            first, down, along = _axes(self.grid, frame.place)
            whole = np.rint(first)
            rows, columns = frame.place.size
            drift = np.abs(down - [0, 1, 0]) * rows + np.abs(along - [0, 0, 1]) * columns
            if (np.abs(first - whole) + drift).max() > ON_GRID:
                return None
            places.append((int(whole[0]), int(whole[1]), int(whole[2])))
        return places

    def _by_reference(self, frames: Sequence[_Frame]) -> list[tuple[int, int, int]]:
        """Return (k, 0, 0) of every frame, by the image it was derived from."""
        ours = instances_of(self.source)
        size = self.grid.size[1:]
        places: list[tuple[int, int, int]] = []
        for frame in frames:
            if frame.place.size != size:
                raise self._elsewhere(f"Frames of {frame.place.size} pixels on an image of {size}")
            with silent():
                k = next((ours[r] for r in _references(self.dataset, frame.index) if r in ours), None)
            if k is None and self.grid.size[0] == 1 and len({f.place.get("StackID") for f in frames}) == 1:
                # One image, one object drawn on it: which frame is which needs no saying.
                k = 0
            if k is None:
                raise self._elsewhere("A frame that says neither where it lies nor which image it was drawn on")
            places.append((k, 0, 0))
        return places

    def _elsewhere(self, found: str) -> ReadError:
        return ReadError(
            found, expected="the image's own place and size", where=self.where, remedy="export it again with its image"
        )

    def _copied(self, frames: Sequence[_Frame], places: Sequence[tuple[int, int, int]]) -> list[Structure]:
        """Return the structures of frames that lie on the image's own pixels."""
        drawings = {segment: Drawing(self.grid) for segment in self.values}
        _, rows, columns = self.grid.size
        for (frame, stored), (k, j, i) in zip(self._stored(frames), places, strict=True):
            for segment, plane in self._drawn(frame, stored):
                if (j, i) != (0, 0) or plane.shape != (rows, columns):
                    plane = _moved(plane, j, i, (rows, columns))  # noqa: PLW2901 - the same plane on the larger grid
                drawings[segment].add(k, plane)
        return [drawing.done(self.values[s], s) for s, drawing in drawings.items()]

    def _drawn(self, frame: _Frame, stored: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """Yield (segment, (rows, columns) bool) of one frame's stored numbers."""
        if self.kind == "LABELMAP":
            for segment in np.intersect1d(stored, list(self.values)).tolist():
                yield int(segment), stored == segment
        elif self.kind == "FRACTIONAL":
            yield frame.segment, 2 * stored.astype(np.int32) >= self.most
        else:
            yield frame.segment, stored != 0

    def _stored(self, frames: Sequence[_Frame]) -> Iterator[tuple[_Frame, np.ndarray]]:
        for n in range(0, len(frames), AT_A_TIME):
            some = frames[n : n + AT_A_TIME]
            chosen = [(0, f.index) for f in some]
            ((_, stored),) = decode.frames([self.file], [self.where], selected=chosen)
            for frame, plane in zip(some, stored, strict=True):
                yield frame, plane[:, :, 0]

    def _resampled(self, frames: Sequence[_Frame]) -> list[Structure]:
        """Return the structures of frames on a grid of their own: every voxel takes the nearest pixel's."""
        planes = _Planes([f.place for f in frames], self.head, self.where)
        at: dict[int, dict[int, np.ndarray]] = {}
        for (frame, stored), plane in zip(self._stored(frames), planes.numbers, strict=True):
            for segment, drawn in self._drawn(frame, stored):
                at.setdefault(segment, {})[plane] = drawn
        drawings = {segment: Drawing(self.grid) for segment in self.values}
        for k in range(self.grid.size[0]):
            nearest = planes.nearest(self.grid.world(k))
            for segment, by_plane in at.items():
                drawings[segment].add(k, nearest.taken(by_plane).reshape(self.grid.size[1:]))
        found = [drawing.done(self.values[s], s) for s, drawing in drawings.items()]
        if at and not any(s.volume for s in found):
            raise self._elsewhere("Segments that lie outside the image")
        return found


def _axes(grid: Grid, place: Slice) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return a frame's first pixel, step down a column and step along a row, (3,) each, in (k, j, i) of the image."""
    assert place.position is not None
    along_row, along_column, _ = axes_of(place)
    row_mm, column_mm = place.spacing or (1.0, 1.0)
    turn = grid.inverse[:3, :3]
    first = grid.voxels(np.array([place.position]))[0]
    return first, turn @ (along_column * row_mm), turn @ (along_row * column_mm)


def _moved(plane: np.ndarray, j: int, i: int, size: tuple[int, int]) -> np.ndarray:
    """Return a plane on a grid of another size, its first pixel at (j, i)."""
    whole = np.zeros(size, dtype=bool)
    top, left = max(0, j), max(0, i)
    bottom, right = min(size[0], j + plane.shape[0]), min(size[1], i + plane.shape[1])
    if top < bottom and left < right:
        whole[top:bottom, left:right] = plane[top - j : bottom - j, left - i : right - i]
    return whole


class _Planes:
    """The different planes that frames of one direction lie in."""

    def __init__(self, places: Sequence[Slice], head: Head, where: str) -> None:
        first = places[0]
        self.along_row, self.along_column, self.normal = axes_of(first)
        self.row_mm, self.column_mm = first.spacing or (1.0, 1.0)
        for place in places:
            same = place.size == first.size and place.spacing == first.spacing
            if not same or np.abs(np.array(place.turn) - np.array(first.turn)).max() > 1e-4:
                raise ReadError(
                    "Frames of several directions or sizes, on another grid than the image",
                    expected="one grid",
                    where=where,
                    remedy="export the segmentation on the grid of its image",
                )
        self.size = first.size
        origins = np.array([p.position for p in places])
        depth = np.round(origins @ self.normal, 3)
        self.depths, picked, inverse = np.unique(depth, return_index=True, return_inverse=True)
        self.origins, self.numbers = origins[picked], [int(n) for n in inverse]
        # Empty frames are often left out, so only the smallest gap between frames is one of neighbours.
        gap = float(np.diff(self.depths).min()) if len(self.depths) > 1 else 0.0
        spacing = first.get("SpacingBetweenSlices") or gap or first.get("SliceThickness") or 1.0
        self.reach = float(spacing) / 2 + 1e-3

    def nearest(self, points: np.ndarray) -> "_Nearest":
        """Return which pixel of which plane lies nearest to points, (n, 3) mm."""
        depth = points @ self.normal
        after = np.clip(np.searchsorted(self.depths, depth), 1, max(1, len(self.depths) - 1))
        if len(self.depths) == 1:
            plane = np.zeros(len(points), dtype=np.intp)
        else:
            plane = np.where(depth - self.depths[after - 1] <= self.depths[after] - depth, after - 1, after)
        offset = points - self.origins[plane]
        j = np.rint(offset @ self.along_column / self.row_mm).astype(np.intp)
        i = np.rint(offset @ self.along_row / self.column_mm).astype(np.intp)
        rows, columns = self.size
        inside = (np.abs(depth - self.depths[plane]) <= self.reach) & (j >= 0) & (j < rows) & (i >= 0) & (i < columns)
        return _Nearest(np.where(inside, plane, -1), j, i)


@dataclass(frozen=True, eq=False)
class _Nearest:
    """For every point the plane (-1: none), row and column of its nearest pixel, (n,) each."""

    plane: np.ndarray
    j: np.ndarray
    i: np.ndarray

    def taken(self, by_plane: dict[int, np.ndarray]) -> np.ndarray:
        """Return (n,) bool: what is drawn there."""
        values = np.zeros(len(self.plane), dtype=bool)
        for number in np.unique(self.plane[self.plane >= 0]).tolist():
            if number in by_plane:
                mine = self.plane == number
                values[mine] = by_plane[number][self.j[mine], self.i[mine]]
        return values


def _references(dataset: Any, index: int) -> Iterator[tuple[str, int]]:
    """Yield (instance, frame number or 0) of the images that a frame was derived from."""
    each = dataset.get("PerFrameFunctionalGroupsSequence") or ()
    for group in [*each[index : index + 1], *(dataset.get("SharedFunctionalGroupsSequence") or ())]:
        for derived in group.get("DerivationImageSequence") or ():
            for image in derived.get("SourceImageSequence") or ():
                numbers = image.get("ReferencedFrameNumber")
                several = [numbers] if isinstance(numbers, int) else list(numbers or [0])
                for number in several:
                    yield str(image.get("ReferencedSOPInstanceUID", "")), int(number)
