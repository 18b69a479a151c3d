"""Structures drawn on images, from any DICOM object, put together into one mask on the image's own grid."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from lucency.case import Source
from lucency.errors import GeometryError, ReadError
from lucency.image import Image
from lucency.read import archive, files
from lucency.read.formats import Header
from lucency.read.head import silent

#: Two structures may share this part of the smaller one (drawn borders meet) and still count as apart.
MAX_SHARED = 0.01

#: A structure of which at least this part lies in another is one inside it, as a tumour in its organ.
INSIDE = 0.95

#: A structure that would keep less of itself than this under another one is the same structure drawn twice.
MIN_LEFT = 0.05


@dataclass(frozen=True, eq=False)
class Grid:
    """Where an image's voxels lie.

    Args:
        affine: (4, 4) float, mm, LPS, columns (k, j, i); may be sheared.
        size: (K, J, I).
    """

    affine: np.ndarray
    size: tuple[int, int, int]

    @cached_property
    def inverse(self) -> np.ndarray:
        """(4, 4): from mm to (k, j, i)."""
        turned: np.ndarray = np.linalg.inv(self.affine)
        return turned

    def voxels(self, points: np.ndarray) -> np.ndarray:
        """Return the places of points.

        Args:
            points: (n, 3) float, mm, LPS.

        Returns:
            (n, 3) float, (k, j, i); whole numbers are voxel centres.
        """
        moved: np.ndarray = points @ self.inverse[:3, :3].T + self.inverse[:3, 3]
        return moved

    def world(self, k: int) -> np.ndarray:
        """Return the places of one slice's voxels: (J * I, 3) float, mm, LPS."""
        _, rows, columns = self.size
        j, i = np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij")
        turn = self.affine[:3, :3]
        points: np.ndarray = np.outer(j.ravel(), turn[:, 1]) + np.outer(i.ravel(), turn[:, 2])
        points += self.affine[:3, 3] + k * turn[:, 0]
        return points


@dataclass(frozen=True, eq=False)
class Structure:
    """One structure on the image's grid.

    Args:
        value: Its label.
        number: What its file calls it: segment, region of interest or group.
        start: (k, j, i) of the box that holds it.
        mask: (K, J, I) bool, the box.
    """

    value: int
    number: int
    start: tuple[int, int, int]
    mask: np.ndarray

    @property
    def box(self) -> tuple[slice, slice, slice]:
        """Where its box lies in the image."""
        k, j, i = (slice(a, a + n) for a, n in zip(self.start, self.mask.shape, strict=True))
        return k, j, i

    @cached_property
    def volume(self) -> int:
        """Voxels."""
        return int(np.count_nonzero(self.mask))


class Drawing:
    """One structure while it is drawn, slice by slice; where it is drawn twice it is once.

    Args:
        grid: Of the image.
    """

    def __init__(self, grid: Grid) -> None:
        self.grid = grid
        self._planes: dict[int, np.ndarray] = {}

    def add(self, k: int, plane: np.ndarray) -> None:
        """Add a slice, (J, I) bool; outside the image nothing is drawn."""
        if 0 <= k < self.grid.size[0] and plane.any():
            old = self._planes.get(k)
            self._planes[k] = plane if old is None else old | plane

    def done(self, value: int, number: int) -> Structure:
        """Return what was drawn."""
        if not self._planes:
            return Structure(value, number, (0, 0, 0), np.zeros((0, 0, 0), dtype=bool))
        ks = sorted(self._planes)
        rows = np.flatnonzero(np.logical_or.reduce([p.any(axis=1) for p in self._planes.values()]))
        columns = np.flatnonzero(np.logical_or.reduce([p.any(axis=0) for p in self._planes.values()]))
        j, i = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
        mask = np.zeros((ks[-1] - ks[0] + 1, j.stop - j.start, i.stop - i.start), dtype=bool)
        for k in ks:
            mask[k - ks[0]] = self._planes[k][j, i]
        return Structure(value, number, (ks[0], int(j.start), int(i.start)), mask)


def grid_of(source: Source) -> Grid:
    """Return the grid of the image that a label source belongs to."""
    affine, size = source.header["affine"], source.header["size"]
    assert isinstance(affine, tuple | list)
    assert isinstance(size, tuple | list)
    k, j, i = (int(n) for n in size)
    return Grid(np.array(affine, dtype=np.float64).reshape(4, 4), (k, j, i))


def composed(structures: Sequence[Structure], source: Source) -> Image:
    """Return one mask of several structures.

    Where one lies inside another the smaller keeps the voxel, and where borders meet as well; structures that overlap
    otherwise have no mask that says the truth of both.

    Args:
        structures: Parts of one label, from several objects, count as one structure.
        source: Of the labels; its header says where the image lies.

    Raises:
        ReadError: Structures that overlap, or nothing that lies in the image.
    """
    grid = grid_of(source)
    drawn = [s for s in _joined(structures) if s.volume]
    largest = max((s.value for s in structures), default=1)
    mask = np.zeros(grid.size, dtype=np.uint8 if largest < 256 else np.uint16)
    volumes = {s.value: s.volume for s in drawn}
    for structure in sorted(drawn, key=lambda s: (-s.volume, s.value)):
        under = mask[structure.box]
        values, counts = np.unique(under[structure.mask], return_counts=True)
        for value, shared in zip(values.tolist(), counts.tolist(), strict=True):
            if value and shared > MAX_SHARED * structure.volume:
                inside = shared >= INSIDE * structure.volume and volumes[value] - shared >= MIN_LEFT * volumes[value]
                if not inside:
                    _refuse_overlap(structure, int(value), shared, source)
        under[structure.mask] = structure.value
    k_axis = "time" if source.header.get("k_axis") == "time" else "space"
    return Image(mask[None], grid.affine, kind="labels", unit="label", k_axis="time" if k_axis == "time" else "space")


def _joined(structures: Sequence[Structure]) -> Iterator[Structure]:
    """Yield one structure for each value."""
    by_value: dict[int, list[Structure]] = {}
    for structure in structures:
        if structure.mask.size:
            by_value.setdefault(structure.value, []).append(structure)
    for value, parts in by_value.items():
        if len(parts) == 1:
            yield parts[0]
            continue
        start = np.min([p.start for p in parts], axis=0)
        stop = np.max([np.add(p.start, p.mask.shape) for p in parts], axis=0)
        mask = np.zeros(stop - start, dtype=bool)
        for part in parts:
            k, j, i = (slice(a - b, a - b + n) for a, b, n in zip(part.start, start, part.mask.shape, strict=True))
            mask[k, j, i] |= part.mask
        yield Structure(value, parts[0].number, (int(start[0]), int(start[1]), int(start[2])), mask)


class OverlapError(ReadError):
    """Structures overlap so that no one mask says the truth of both; the file itself can be read."""


def _refuse_overlap(structure: Structure, other: int, shared: int, source: Source) -> None:
    names = dict(enumerate(str(source.header.get("names", "")).split("\n"), start=1))
    own, under = (names.get(v) or f"Structure {v}" for v in (structure.value, other))
    raise OverlapError(
        f"{own!r} shares {shared / structure.volume:.0%} of its voxels with {under!r}",
        expected="structures that lie apart or inside one another",
        where=source.where,
        remedy="choose one of them with --target NAME",
    )


def entries_of(source: Source, n: int) -> dict[int, int]:
    """Return number to label value of the structures taken from the ``n``-th label file of a source."""
    owner, numbers, values = (source.header[k] for k in ("owners", "numbers", "values"))
    assert isinstance(owner, tuple | list)
    assert isinstance(numbers, tuple | list)
    assert isinstance(values, tuple | list)
    return {int(a): int(v) for o, a, v in zip(owner, numbers, values, strict=True) if int(o) == n}


def n_label_files(source: Source) -> int:
    """Return how many of the source's paths are label objects; the images follow them."""
    return int(str(source.header.get("n_files", 1)))


def instances_of(source: Source) -> dict[tuple[str, int], int]:
    """Return (instance, frame number or 0) of the image's slices to k; read anew, for only pseudonyms are kept."""
    import pydicom  # noqa: PLC0415 - slow to import

    n = n_label_files(source)
    missing = source.header.get("interpolated", ())
    frames = source.header.get("frames", ())
    assert isinstance(missing, tuple | list)
    assert isinstance(frames, tuple | list)
    uids: list[str] = []
    for file in source.files[n:]:
        with archive.opened(file) as stream, silent():
            data = pydicom.dcmread(stream, stop_before_pixels=True, force=True, specific_tags=["SOPInstanceUID"])
        uids.append(str(data.get("SOPInstanceUID", "")))
    size = source.header["size"]
    assert isinstance(size, tuple | list)
    places = [k for k in range(int(size[0])) if k not in {int(m) for m in missing}]
    if frames:
        found = {(uids[0], int(f)): k for f, k in zip(frames, places, strict=True)}
        return found | ({(uids[0], 0): places[0]} if len(places) == 1 else {})
    return {(uid, f): k for uid, k in zip(uids, places, strict=True) for f in (0, 1)}


def header(source: Source) -> Header:
    """Return the header facts that a label source has not brought: none, its image is known."""
    if "affine" not in source.header:
        raise GeometryError("Labels without their image", where=source.where, remedy="read the folder of both")
    return {}


def digest(source: Source) -> str:
    """Return the SHA-256 over the label files, which structures are taken as what, and where they are drawn."""
    own = files.digest_of(source.files[: n_label_files(source)])
    chosen = [source.header.get(k) for k in ("owners", "numbers", "values", "size")]
    return hashlib.sha256(f"{own}{chosen}".encode()).hexdigest()
