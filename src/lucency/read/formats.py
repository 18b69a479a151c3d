"""From a Source to its header, its checksum and its Image, whatever format it is in."""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib import import_module
from typing import Protocol, cast

import numpy as np

from lucency.case import Skipped, Source
from lucency.errors import GeometryError, LucencyError, ReadError
from lucency.image import Image, diagonal_affine
from lucency.read import files
from lucency.read.geometry import as_labels
from lucency.read.outlines import filled

Header = dict[str, int | float | str | bool | tuple[float, ...]]

#: Reading headers waits for the disk; more threads than this only wait for each other.
WORKERS = 4


class Format(Protocol):
    """One file of this package that reads one family of formats."""

    def header(self, source: Source) -> Header:
        """Return size (K, J, I), spacing, channels, dtype, spacing_known, without the pixels where possible."""

    def pixels(self, source: Source) -> Image:
        """Return the image; an intensity image may hold NaN as a plain array (see :func:`load`)."""

    def digest(self, source: Source) -> str:
        """Return the SHA-256 that stands for the source."""


def format_of(source: Source) -> Format:
    """Return the module that reads ``source``; imported on first use, since some are slow to import."""
    return cast(Format, import_module(f"lucency.read.{source.reader}"))


def load(source: Source, *, nan: float | None = None) -> Image:
    """Return the image or mask that ``source`` names.

    Args:
        source: From a Case; its header may carry what the file itself cannot say (spacing, meaning of axes).
        nan: Put this number in the place of NaN and infinite voxels; without it they are refused.

    Returns:
        Image with array (C, K, J, I) in the stored dtype and an LPS affine in mm of the same axis order.

    Raises:
        ReadError: The file is missing, truncated, not what its name says, or needs a decoder that is not there.
        GeometryError: Its header does not describe one image in space, or it holds NaN or infinite voxels.
    """
    try:
        loaded = format_of(source).pixels(source)
        array, affine, unit, k_axis = loaded.array, loaded.affine, loaded.unit, loaded.k_axis
        channel = source.header.get("channel")
        array = array[channel : channel + 1] if isinstance(channel, int) else array
        if source.kind == "labels":
            threshold = source.header.get("threshold")
            array = one_channel(array, source.where)
            limit = float(threshold) if isinstance(threshold, int | float) else None
            array = as_labels(array, source.where, threshold=limit)
            array = filled(array) if source.header.get("filled") else array
            return Image(array, affine, kind="labels", unit="label", k_axis=k_axis)
        if nan is not None and array.dtype.kind == "f":
            array = np.where(np.isfinite(array), array, np.asarray(nan, dtype=array.dtype))
        return Image(array, affine, unit=unit, k_axis=k_axis)
    except GeometryError as error:
        if error.where:
            raise
        raise GeometryError(error.found, expected=error.expected, where=source.where, remedy=error.remedy) from None
    except LucencyError:
        raise
    except MemoryError:
        raise
    except FileNotFoundError:
        raise ReadError(
            "The file is not there", where=source.where, remedy="restore it, or read the data anew"
        ) from None
    except Exception as error:
        raise unreadable(source, error) from None


def one_channel(array: np.ndarray, where: str) -> np.ndarray:
    """Return the one channel of a mask; a mask stored as equal red, green and blue counts as one.

    Raises:
        ReadError: Channels that differ.
    """
    if all(np.array_equal(array[0], channel) for channel in array[1:]):
        return array[:1]
    raise ReadError(
        f"A mask with {len(array)} different channels",
        expected="one channel of label numbers",
        where=where,
        remedy="export the mask with one number per label, not in colours",
    )


def unreadable(source: Source, error: Exception) -> ReadError:
    """Return the refusal for a file that a decoder gave up on.

    The decoder's own words are left out: they may hold an absolute path or a header value.
    """
    return ReadError(
        f"Cannot be read ({type(error).__name__})",
        expected=f"a whole {source.reader} file",
        where=source.where,
        remedy="fetch or export it again; it is truncated or not what its name says",
    )


def plane(array: np.ndarray, source: Source) -> Image:
    """Return an array that knows no place in the patient as an axial Image, with the spacing of the source's header.

    Args:
        array: (C, K, J, I).
        source: Its header's ``spacing`` (k, j, i) in mm is used; 1 mm without it.
    """
    spacing = source.header.get("spacing", (1.0, 1.0, 1.0))
    assert isinstance(spacing, tuple)
    k_axis = "time" if source.header.get("k_axis") == "time" else "space"
    # A float array with NaN must reach `load`, which fills or refuses; Image would refuse here.
    return unchecked(array, diagonal_affine(spacing), k_axis=k_axis)


def unchecked(array: np.ndarray, affine: np.ndarray, *, unit: str = "1", k_axis: str = "space") -> Image:
    """Return an Image whose voxels may be NaN; only :func:`load` sees it, and checks."""
    image = Image(np.zeros((1, 1, 1, 1)), affine, unit=unit, k_axis="time" if k_axis == "time" else "space")
    if array.ndim != 4 or array.size == 0:
        raise GeometryError(f"An array of shape {array.shape}", expected="2 to 4 axes, none of them empty")
    object.__setattr__(image, "array", array)
    return image


def completed(source: Source) -> Source:
    """Return the source with its header and checksum; what is already known of it stays.

    Raises:
        ReadError: As in :func:`load`, as far as the header shows it.
    """
    try:
        module = format_of(source)
        header: Header = {**module.header(source), **source.header}
        if source.kind == "labels":
            header["channels"] = 1
        return replace(source, header=header, checksum=source.checksum or module.digest(source))
    except LucencyError:
        raise
    except FileNotFoundError:
        raise ReadError(
            "The file is not there", where=source.where, remedy="restore it or take it off the list"
        ) from None
    except Exception as error:
        raise unreadable(source, error) from None


def complete_all(sources: Iterable[Source]) -> tuple[dict[str, Source], list[Skipped]]:
    """Complete many sources with threads.

    Returns:
        By identity key (see :func:`key`) the completed source, and the files that could not be read.
    """
    unique = {key(s): s for s in sources}
    done: dict[str, Source] = {}
    skipped: list[Skipped] = []

    def attempt(source: Source) -> Source | LucencyError:
        try:
            return completed(source)
        except LucencyError as error:
            return error

    with ThreadPoolExecutor(WORKERS) as pool:
        for name, result in zip(unique, pool.map(attempt, unique.values()), strict=True):
            if isinstance(result, Source):
                done[name] = result
            else:
                skipped.append(Skipped(unique[name].where, reason(result)))
    return done, skipped


def key(source: Source) -> str:
    """Return what tells two sources apart before they are read."""
    return "\0".join((source.root, source.item, source.kind, *source.paths))


def reason(error: LucencyError) -> str:
    """Return an error's words without its place, for ``skipped.csv``."""
    return str(type(error)(error.found, expected=error.expected, remedy=error.remedy).args[0])


def digest_of_files(source: Source) -> str:
    """Return the SHA-256 over the bytes of the source's files."""
    return files.digest_of(source.files)
