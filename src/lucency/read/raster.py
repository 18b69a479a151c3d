"""PNG, JPEG, BMP, GIF (pillow) and TIFF (tifffile); 8 and 16 bits kept exactly."""

import struct
from pathlib import Path
from typing import Any

import numpy as np

from lucency.case import Source
from lucency.errors import ReadError
from lucency.image import Image
from lucency.read.formats import Header, digest_of_files, plane

digest = digest_of_files

#: Largest accepted picture: 2^28 pixels is four times the finest mammogram; a larger one is an attack or a whole slide.
MAX_PIXELS = 2**28

#: What pillow calls its picture modes, as (channels, dtype).
MODES: dict[str, tuple[int, str]] = {
    "1": (1, "uint8"),
    "L": (1, "uint8"),
    "LA": (1, "uint8"),
    "P": (3, "uint8"),
    "PA": (3, "uint8"),
    "RGB": (3, "uint8"),
    "RGBA": (3, "uint8"),
    "I;16": (1, "uint16"),
    "I;16L": (1, "uint16"),
    "I;16B": (1, "uint16"),
    "I": (1, "int32"),
    "F": (1, "float32"),
}

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def header(source: Source) -> Header:
    """Return the header facts; the pixels stay compressed. Dots per inch say nothing of the patient."""
    path = source.files[0]
    if _is_tiff(path):
        channels, size, dtype = _tiff_header(source)
    else:
        channels, size, dtype = _header(source)
    return {
        "size": tuple(int(n) for n in size),
        "spacing": (1.0, 1.0, 1.0),
        "channels": channels,
        "dtype": dtype,
        "spacing_known": False,
    }


def pixels(source: Source) -> Image:
    """Return the image; see :func:`lucency.read.load`."""
    path = source.files[0]
    if _is_tiff(path):
        return plane(_tiff_pixels(source), source)
    if _deep_colour(path):
        head = _png_head(path)
        assert head is not None
        _refuse_huge(head[0], head[1], source)
        return plane(_deep_pixels(path), source)
    with _open(source) as picture:
        array = _decoded(picture, source)
    array = array[..., None] if array.ndim == 2 else array
    return plane(np.ascontiguousarray(np.moveaxis(array, -1, 0))[:, None], source)


def _decoded(picture: Any, source: Source) -> np.ndarray:
    """Return (J, I) or (J, I, C)."""
    if picture.mode == "1":
        return np.asarray(picture, dtype=np.uint8)
    if picture.mode in ("P", "PA"):
        if source.kind == "labels" and picture.mode == "P":
            return _palette_labels(picture)
        grey = _grey_palette(picture)
        colours = np.asarray(picture.convert("RGB"))
        return colours[..., 0] if grey else colours
    array = np.asarray(picture)
    if picture.mode in ("LA", "RGBA"):
        alpha = array[..., -1]
        if alpha.min() != alpha.max():
            raise ReadError(
                "The picture is partly transparent",
                expected="an opaque picture",
                where=source.where,
                remedy="export it without an alpha channel",
            )
        array = array[..., :-1]
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _palette_labels(picture: Any) -> np.ndarray:
    """Return label numbers of a palette picture: the indices; the greys where the palette is grey and loses nothing.

    Writers of GIF sort a grey palette anew for every file, so that there only the greys mean the same everywhere.
    """
    indices = np.asarray(picture)
    if not _grey_palette(picture):
        return indices
    greys = np.reshape(picture.getpalette("RGB"), (-1, 3))[:, 0].astype(np.uint8)
    used = np.unique(indices)
    if used.max() >= len(greys) or len(set(greys[used].tolist())) < len(used):
        return indices
    return np.asarray(greys[indices])


def _header(source: Source) -> tuple[int, tuple[int, int, int], str]:
    with _open(source) as picture:
        width, height = picture.size
        if picture.mode not in MODES:
            raise ReadError(
                f"Colour mode {picture.mode}",
                expected="grey or RGB",
                where=source.where,
                remedy="export it as grey or RGB",
            )
        channels, dtype = MODES[picture.mode]
        if picture.mode == "P" and _grey_palette(picture):
            channels = 1
        if picture.format == "PNG" and picture.mode == "I":
            dtype = "int32"
    if _deep_colour(source.files[0]):
        dtype = "uint16"
    return channels, (1, height, width), dtype


def _grey_palette(picture: Any) -> bool:
    palette = np.reshape(picture.getpalette("RGB"), (-1, 3))
    return bool((palette == palette[:, :1]).all())


def _open(source: Source) -> Any:
    """Open a picture without decoding it; refuse one that would not fit in memory, from its header."""
    import PIL.Image  # noqa: PLC0415 - slow to import

    path = source.files[0]
    if path.stat().st_size == 0:
        raise ReadError("The file is empty (0 bytes)", where=source.where, remedy="fetch or export it again")
    head = _png_head(path)
    if head is not None:
        _refuse_huge(head[0], head[1], source)
    try:
        picture = PIL.Image.open(path)
    except (PIL.Image.DecompressionBombError, PIL.Image.DecompressionBombWarning):
        raise _too_large("more than " + f"{MAX_PIXELS:,}".replace(",", " ") + " pixels", source) from None
    except PIL.UnidentifiedImageError:
        raise ReadError(
            "Not a picture in any known format", where=source.where, remedy="fetch or export it again"
        ) from None
    _refuse_huge(*picture.size, source)
    frames = int(getattr(picture, "n_frames", 1))
    if frames > 1:
        picture.close()
        raise ReadError(
            f"{frames} frames in one picture", expected="one", where=source.where, remedy="export the frames one by one"
        )
    return picture


def _refuse_huge(width: int, height: int, source: Source, pages: int = 1) -> None:
    if width * height * pages > MAX_PIXELS:
        raise _too_large(f"{width} × {height} pixels" + (f" on {pages} pages" if pages > 1 else ""), source)


def _too_large(found: str, source: Source) -> ReadError:
    return ReadError(
        f"The picture has {found}",
        expected=f"at most {MAX_PIXELS / 1e6:.0f} million",
        where=source.where,
        remedy="scale it down or cut it into tiles before reading",
    )


def _png_head(path: Path) -> tuple[int, int, int, int] | None:
    """Return width, height, bit depth and colour type of a PNG (ISO 15948, 11.2.2 IHDR), or None."""
    with path.open("rb") as file:
        head = file.read(26)
    if len(head) < 26 or not head.startswith(PNG_SIGNATURE):
        return None
    width, height, depth, colour = struct.unpack(">IIBB", head[16:26])
    return width, height, depth, colour


def _deep_colour(path: Path) -> bool:
    """Tell whether a PNG has 16 bits and more than one channel, which pillow would cut to 8."""
    head = _png_head(path)
    return head is not None and head[2] == 16 and head[3] != 0


def _deep_pixels(path: Path) -> np.ndarray:
    import SimpleITK as sitk  # noqa: N813, PLC0415 - slow to import

    array = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
    channels = 3 if array.shape[-1] >= 3 else 1
    return np.ascontiguousarray(np.moveaxis(array[..., :channels], -1, 0))[:, None]


def _is_tiff(path: Path) -> bool:
    return path.suffix.lower() in (".tif", ".tiff")


def _tiff_header(source: Source) -> tuple[int, tuple[int, int, int], str]:
    import tifffile  # noqa: PLC0415 - slow to import

    if source.files[0].stat().st_size == 0:
        raise ReadError("The file is empty (0 bytes)", where=source.where, remedy="fetch or export it again")
    with tifffile.TiffFile(source.files[0]) as file:
        series = file.series[0]
        shape, axes, dtype = series.shape, series.axes, series.dtype
        alpha = _alpha(file)
    channels, size = _tiff_shape(tuple(shape), axes, source)
    _refuse_huge(size[2], size[1], source, size[0])
    return channels - alpha, size, "uint8" if dtype == np.bool_ else str(np.dtype(dtype).newbyteorder("="))


def _alpha(file: Any) -> int:
    """Return 1 when the last sample is an alpha channel (TIFF 6.0, ExtraSamples)."""
    page = file.pages[0]
    return int(bool(page.extrasamples) and page.samplesperpixel in (2, 4))


def _tiff_shape(shape: tuple[int, ...], axes: str, source: Source) -> tuple[int, tuple[int, int, int]]:
    """Return channels and (K, J, I) from tifffile's axes: S samples, C channels, anything else but X and Y is K."""
    length = dict(zip(axes, shape, strict=True))
    k = [a for a in axes if a not in "XYSC" and length[a] > 1]
    if len(k) > 1 or "X" not in length or "Y" not in length:
        raise ReadError(
            f"TIFF axes {axes}", expected="one stack of pages at most", where=source.where, remedy="split it"
        )
    channels = length.get("S", 1) * length.get("C", 1)
    return channels, (length[k[0]] if k else 1, length["Y"], length["X"])


def _tiff_pixels(source: Source) -> np.ndarray:
    import tifffile  # noqa: PLC0415 - slow to import

    _tiff_header(source)
    with tifffile.TiffFile(source.files[0]) as file:
        series = file.series[0]
        axes, alpha = series.axes, _alpha(file)
        try:
            array = series.asarray()
        except (ValueError, ImportError) as error:
            if "imagecodecs" not in str(error):
                raise
            array = _tiff_through_pillow(source)
            axes, alpha = ("YX" if array.ndim == 2 else "YXS"), 0
    if array.dtype == np.bool_:
        array = array.astype(np.uint8)
    order = [axes.index(a) for a in (*"SC", *(a for a in axes if a not in "XYSC"), *"YX") if a in axes]
    channels, size = _tiff_shape(array.shape, axes, source)
    array = array.transpose(order).reshape((channels, *size))
    if alpha:
        if array[-1].min() != array[-1].max():
            raise ReadError("The picture is partly transparent", expected="an opaque picture", where=source.where)
        array = array[:-1]
    return np.ascontiguousarray(array.astype(array.dtype.newbyteorder("="), copy=False))


def _tiff_through_pillow(source: Source) -> np.ndarray:
    """Decode what tifffile needs a plug-in for (LZW, JPEG); one page of 8 bits, or of 16 in grey."""
    with _open(source) as picture:
        return _decoded(picture, source)
