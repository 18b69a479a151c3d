"""Segmentations of 3D Slicer (.seg.nrrd): named segments, in layers where they overlap, on a grid of their own."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lucency.errors import ReadError
from lucency.image import Image
from lucency.read.itk import affine_of
from lucency.read.nifti import MAX_BYTES, MAX_DEFLATE

#: What such a file's name ends in.
SUFFIX = ".seg.nrrd"

_FIELD = re.compile(r"Segment(\d+)_(\w+)")


@dataclass(frozen=True)
class Segment:
    """One segment as its file states it.

    Args:
        name: As shown to people; the identifier where it has none.
        value: What stands for it in its layer.
        layer: Which volume holds it, from 0.
    """

    name: str
    value: int
    layer: int


@dataclass(frozen=True, eq=False)
class Segments:
    """What a file holds.

    Args:
        layers: (1, K, J, I) labels each, all on one grid; none where the file has no voxels.
        segments: In the file's order.
    """

    layers: tuple[Image, ...]
    segments: tuple[Segment, ...]


def is_segmentation(path: Path) -> bool:
    """Tell by its name whether a file is a segmentation of 3D Slicer."""
    return path.name.lower().endswith(SUFFIX)


def read_segments(path: Path) -> Segments:
    """Return the segments of a file.

    A file of older versions gives every segment a volume of its own, with the value 1. A file of a single voxel holds
    segments that are all empty.

    Args:
        path: NRRD in any encoding, attached.

    Raises:
        ReadError: Not NRRD, truncated, no segments, fractional, a segment in a layer that is not there, or voxels
            that belong to no segment.

    Source:
        3D Slicer developer guide, "Segmentation labelmap file format (.seg.nrrd)"; Teem's NRRD format, "kinds".
    """
    fields, layers = _loaded(path)
    kind = fields.get("Segmentation_SourceRepresentation") or fields.get("Segmentation_MasterRepresentation") or ""
    if "fractional" in kind.lower():
        raise ReadError(
            "A fractional segmentation",
            expected="a binary labelmap",
            where=path.name,
            remedy="in 3D Slicer's Segmentations module create the binary labelmap and make it the source, then save",
        )
    segments = _segments(fields, n_layers=len(layers), where=path.name)
    if layers[0].array.size == 1:
        return Segments((), segments)
    for number, layer in enumerate(layers):
        known = [s.value for s in segments if s.layer == number]
        strange = np.setdiff1d(np.unique(layer.array), [0, *known])
        if strange.size:
            raise ReadError(
                f"Voxels of value {int(strange[0])} in layer {number} belong to no segment",
                expected="a segment for every value",
                where=path.name,
                remedy="open the file in 3D Slicer and save it again",
            )
    return Segments(layers, segments)


def _loaded(path: Path) -> tuple[dict[str, str], tuple[Image, ...]]:
    """Return the file's own fields, and its volumes."""
    import SimpleITK as sitk  # noqa: N813, PLC0415 - slow to import

    damaged = ReadError(
        "Not readable as NRRD",
        expected="a whole segmentation file of 3D Slicer",
        where=path.name,
        remedy="save it again; it is truncated or not what its name says",
    )
    try:
        with path.open("rb") as file:
            if file.read(4) != b"NRRD":
                raise damaged
        reader = sitk.ImageFileReader()
        reader.SetFileName(str(path))
        reader.ReadImageInformation()
        size, parts = reader.GetSize(), reader.GetNumberOfComponents()
        if len(size) != 3:
            raise ReadError(
                f"{len(size)} axes in space", expected="3", where=path.name, remedy="save it as a segmentation"
            )
        # An integer voxel has at least a byte.
        promised, held = int(np.prod([float(n) for n in size])) * parts, path.stat().st_size * MAX_DEFLATE
        if promised > min(held, MAX_BYTES):
            raise ReadError(
                f"The header promises {promised:,} voxels".replace(",", " "),
                expected="as many as the file holds" if promised > held else f"at most {MAX_BYTES >> 30} GiB",
                where=path.name,
                remedy="save it again; it is truncated or damaged",
            )
        image = reader.Execute()
        # Text of another encoding than UTF-8 comes as halves of characters, which nothing can write again.
        fields = {
            key: str(reader.GetMetaData(key)).strip().encode("utf-8", "replace").decode("utf-8")
            for key in reader.GetMetaDataKeys()
            if key.isascii()
        }
    except (RuntimeError, TypeError):
        # SimpleITK's own words hold the absolute path.
        raise damaged from None
    except OSError as error:
        raise ReadError(f"Cannot be opened ({error.strerror})", where=path.name, remedy="restore it") from None
    array = sitk.GetArrayFromImage(image)
    if array.dtype.kind not in "iu":
        raise ReadError("Voxels that are no integers", expected="a binary labelmap", where=path.name)
    array = array[..., None] if parts == 1 else array
    affine = affine_of(image, 3)
    layers = tuple(
        Image(np.ascontiguousarray(array[..., n])[None], affine, kind="labels", unit="label") for n in range(parts)
    )
    return fields, layers


def _segments(fields: Mapping[str, str], *, n_layers: int, where: str) -> tuple[Segment, ...]:
    by_number: dict[int, dict[str, str]] = {}
    for key, value in fields.items():
        found = _FIELD.fullmatch(key)
        if found:
            by_number.setdefault(int(found[1]), {})[found[2]] = value
    if not by_number:
        raise ReadError(
            "No segments in the header",
            expected="Segment0_ID, Segment0_Name …",
            where=where,
            remedy="save the segmentation (not a label volume) from 3D Slicer, or name a plain mask .nrrd",
        )
    segments = []
    for number, own in sorted(by_number.items()):
        # Without a layer the file is of the time when every segment had its own volume.
        said = own.get("Layer", str(number if n_layers > 1 else 0)), own.get("LabelValue", "1")
        if not all(re.fullmatch(r"\d+", v) for v in said) or not int(said[0]) < n_layers or int(said[1]) == 0:
            raise ReadError(
                f"Segment {number} is said to have value {said[1]} in layer {said[0]}",
                expected=f"a value from 1 in one of {n_layers} layers",
                where=where,
                remedy="open the file in 3D Slicer and save it again",
            )
        name = own.get("Name") or own.get("ID") or f"Segment_{number + 1}"
        segments.append(Segment(name, int(said[1]), int(said[0])))
    places = [(s.layer, s.value) for s in segments]
    if len(set(places)) != len(places):
        raise ReadError(
            "Two segments share a value of one layer",
            expected="one value each",
            where=where,
            remedy="open the file in 3D Slicer and save it again",
        )
    return tuple(segments)
