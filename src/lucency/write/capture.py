"""Pictures for any viewer: a heat map or a mask over its image, in colour, with the banner in the pixels."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lucency.errors import GeometryError, OutputError
from lucency.image import Image
from lucency.write.dicom_frames import reference
from lucency.write.dicom_object import Origin, begin, describe, digest_of, fill, save, side, uid_of
from lucency.write.dicom_source import Measured
from lucency.write.vocabulary import COLOURS

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont
    from PIL.ImageFont import ImageFont as BitmapFont

SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
BURNED_IN = "Research use only - not for clinical use"

#: Pictures are made at least this wide, so that the banner can be read.
NARROWEST = 384
#: How much of the colour shows through the image.
STRENGTH = 0.45
#: Share of the numbers below black and above white where no window is given.
TAILS = (0.5, 99.5)


@dataclass(frozen=True)
class Look:
    """How a picture is drawn.

    Args:
        window: (black, white) in the image's numbers; None takes nearly the whole range.
        strength: Of the colour over the image, 0 to 1.
        title: In the series description; at most 30 characters.
    """

    window: tuple[float, float] | None = None
    strength: float = STRENGTH
    title: str = "Overlay by AI"


def write_capture(
    folder: Path,
    image: Image,
    over: Image,
    source: Measured,
    origin: Origin,
    *,
    look: Look | None = None,
) -> tuple[Path, ...]:
    """Write one colour picture for each slice that has something over it, as a series of Secondary Captures.

    Labels are filled and outlined in the colours of the segments; numbers from 0 to 1 go from clear over red and
    yellow to white. Below every picture stands that it is for research only; nothing of the image is hidden by it.

    Args:
        folder: Gets ``overlay-0001.dcm`` … numbered by slice.
        image: What was looked at; (1, K, J, I), or three channels of colour.
        over: Labels, or numbers from 0 to 1; (1, K, J, I) on the same grid.
        source: From :func:`lucency.write.dicom_source.measured`.
        origin: What made it.
        look: How it is drawn.

    Returns:
        The files; none where there is nothing over the image.

    Raises:
        GeometryError: Two grids.
        OutputError: Several channels, or a disk that cannot be written.

    Source:
        DICOM PS3.3, A.8.1 Secondary Capture Image IOD, C.8.6.1.
    """
    look = look or Look()
    if not image.same_grid(over):
        raise GeometryError("The image and what is over it lie on two grids", where=folder.name)
    if image.channels not in (1, 3) or over.channels != 1:
        raise OutputError(
            f"{image.channels} channels under {over.channels}", expected="grey or colour under one", where=folder.name
        )
    low, high = look.window or window(image)
    held = [int(k) for k in np.flatnonzero((over.array[0] > 0).any(axis=(1, 2)))]
    said = f"{digest_of(over.array)}/{low}/{high}/{look.strength}"
    written = []
    for k in held:
        grey = np.clip((image.array[:, k].astype(np.float64) - low) / max(high - low, 1e-9), 0, 1)
        base = np.moveaxis(np.broadcast_to(grey, (3, *grey.shape[1:])), 0, -1)
        drawn = _labels_over(base, over.array[0, k], look) if over.kind == "labels" else _heat_over(base, over, k, look)
        path = folder / f"overlay-{k + 1:04d}.dcm"
        _write(path, with_banner(drawn), source, k, origin, said, look)
        written.append(path)
    return tuple(written)


def window(image: Image) -> tuple[float, float]:
    """Return (black, white) from every seventh number: a quantile needs no more."""
    low, high = np.percentile(image.array.reshape(-1)[:: 7 if image.array.size > 7000 else 1], TAILS)
    return float(low), float(high)


def _labels_over(base: np.ndarray, labels: np.ndarray, look: Look) -> np.ndarray:
    """Return (J, I, 3) in 0 to 1: every label in its colour, its outline undiluted."""
    drawn = base.copy()
    for value in np.unique(labels[labels > 0]).tolist():
        here = labels == value
        colour = np.array(COLOURS[(int(value) - 1) % len(COLOURS)]) / 255
        drawn[here] = (1 - look.strength) * drawn[here] + look.strength * colour
        drawn[here & ~_inside(here)] = colour
    return drawn


def _inside(mask: np.ndarray) -> np.ndarray:
    """Return the pixels whose four neighbours are in the mask too."""
    padded = np.pad(mask, 1)
    inside: np.ndarray = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return inside


def _heat_over(base: np.ndarray, over: Image, k: int, look: Look) -> np.ndarray:
    """Return (J, I, 3) in 0 to 1: the more, the hotter and the less of the image shows through."""
    heat = np.clip(over.array[0, k].astype(np.float64), 0, 1)
    # Red rises first, then green, then blue: black, red, yellow, white.
    hot = np.stack([np.clip(3 * heat - n, 0, 1) for n in range(3)], axis=-1)
    share = (look.strength * np.minimum(1, 2 * heat))[..., None]
    drawn: np.ndarray = (1 - share) * base + share * hot
    return drawn


def with_banner(picture: np.ndarray) -> np.ndarray:
    """Return the picture, enlarged where it is narrow, with the banner in a strip below it.

    Args:
        picture: (J, I, 3) float, 0 to 1.

    Returns:
        (J', I', 3) uint8.
    """
    from PIL import Image as Picture  # noqa: PLC0415  # costs start-up time
    from PIL import ImageDraw  # noqa: PLC0415

    pixels = np.rint(np.clip(picture, 0, 1) * 255).astype(np.uint8)
    times = max(1, -(-NARROWEST // pixels.shape[1]))
    pixels = pixels.repeat(times, axis=0).repeat(times, axis=1)
    font, height = _fitting(pixels.shape[1])
    strip = Picture.new("RGB", (pixels.shape[1], height), (0, 0, 0))
    ImageDraw.Draw(strip).text((pixels.shape[1] // 2, height // 2), BURNED_IN, (255, 220, 0), font, anchor="mm")
    return np.concatenate([pixels, np.asarray(strip)])


def _fitting(width: int) -> tuple["FreeTypeFont | BitmapFont", int]:
    """Return the largest font whose banner fits into nine tenths of the width, and the height of its strip."""
    from PIL import ImageFont  # noqa: PLC0415

    for size in range(24, 7, -1):
        font = ImageFont.load_default(size)
        if font.getlength(BURNED_IN) <= 0.9 * width:
            break
    return font, 2 * size


def _write(path: Path, picture: np.ndarray, source: Measured, k: int, origin: Origin, said: str, look: Look) -> None:
    file = begin(source, "capture", SECONDARY_CAPTURE, said, origin)
    series = str(file.SeriesInstanceUID)
    file.SOPInstanceUID = file.file_meta.MediaStorageSOPInstanceUID = uid_of("picture", series, str(k))
    describe(file, source.head, "OVERLAY", look.title[:30])
    side(file, source.head)
    for keyword in ("ContentLabel", "ContentDescription", "ContentCreatorName"):
        delattr(file, keyword)  # not of this kind of object
    fill(
        file,
        InstanceNumber=k + 1,
        Modality="OT",
        ConversionType="WSD",
        ImageType=["DERIVED", "SECONDARY", "OVERLAY"],
        PatientOrientation="",
        BurnedInAnnotation="YES",
        DerivationDescription=BURNED_IN,
        SamplesPerPixel=3,
        PhotometricInterpretation="RGB",
        PlanarConfiguration=0,
        PixelAspectRatio=_aspect(source),
        Rows=int(picture.shape[0]),
        Columns=int(picture.shape[1]),
        BitsAllocated=8,
        BitsStored=8,
        HighBit=7,
        PixelRepresentation=0,
    )
    frame = source.frames[k]
    if frame.uid:
        seen = reference(frame)
        seen.SpatialLocationsPreserved = "NO"  # enlarged, and longer by the strip
        file.SourceImageSequence = [seen]
    content = np.ascontiguousarray(picture).tobytes()
    file.PixelData = content + b"\0" * (len(content) % 2)
    file["PixelData"].VR = "OB"
    save(path, file)


def _aspect(source: Measured) -> list[int] | None:
    """Return (height, width) of a pixel; None where it is square or nobody knows (PS3.3, C.7.6.3.1.7)."""
    if source.pixel_spacing is None or abs(source.pixel_spacing[0] / source.pixel_spacing[1] - 1) < 1e-3:
        return None
    return [max(1, round(1000 * v)) for v in source.pixel_spacing]
