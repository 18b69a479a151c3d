"""From a volume to the one slice that tells most about a case."""

import numpy as np

from lucency.evaluate import Shown
from lucency.image import Image, reorient
from lucency.report.facts import Picture

#: Percentiles of the slice's intensities that become black and white.
WINDOW = (1.0, 99.0)


def picture(shown: Shown) -> Picture:
    """Return the slice in which the truth is largest (else the prediction, else the middle), ready to be drawn.

    Args:
        shown: A case with its prediction; all on the source's grid.
    """
    volume = shown.image.size[0] > 1
    truth = _turned(shown.truth, turn=volume)
    predicted = _turned(shown.prediction.mask, turn=volume)
    inverted = bool(shown.case.sources[0].header.get("inverted"))
    return _drawn(shown.image, truth, predicted, inverted=inverted)


def thumbnail(image: Image, *, inverted: bool = False) -> Picture:
    """Return the middle slice of an image without masks.

    Args:
        image: Any intensities.
        inverted: Whether it is stored so that large numbers are dark.
    """
    # Eight bits are shown as dark or bright as they are: the image's own percentiles would mend its exposure.
    ends = (0.0, 255.0) if image.array.dtype == np.uint8 else None
    return _drawn(image, None, None, inverted=inverted, ends=ends)


def _drawn(
    source: Image,
    truth: np.ndarray | None,
    predicted: np.ndarray | None,
    *,
    inverted: bool,
    ends: tuple[float, float] | None = None,
) -> Picture:
    """Return one slice, black and white at ``ends`` or at its percentiles; masks are turned as volumes are."""
    volume = source.size[0] > 1
    image = reorient(source) if volume else source
    number = _telling_slice(image.size[0], truth, predicted)
    plane = image.array[:, number].astype(np.float64)
    low, high = ends or np.percentile(plane, WINDOW)
    grey = np.clip((plane - low) / max(high - low, 1e-9), 0.0, 1.0)
    if inverted:
        # Stored so that large numbers are dark (MONOCHROME1); whoever looks expects bone to be white.
        grey = 1.0 - grey
    caption: dict[str, str | float] = {}
    if volume:
        caption["slice"] = f"{number + 1} of {image.size[0]}"
    _, row_mm, column_mm = image.spacing
    return Picture(
        image=np.moveaxis(grey, 0, -1) if grey.shape[0] == 3 else grey[0],
        truth=None if truth is None else truth[number].astype(int),
        predicted=None if predicted is None else predicted[number].astype(int),
        aspect=row_mm / column_mm,
        caption=caption,
    )


def _turned(mask: Image | None, *, turn: bool) -> np.ndarray | None:
    if mask is None:
        return None
    array: np.ndarray = (reorient(mask) if turn else mask).array[0]
    return array


def _telling_slice(n: int, truth: np.ndarray | None, predicted: np.ndarray | None) -> int:
    for mask in (truth, predicted):
        if mask is not None and (mask > 0).any():
            return int((mask > 0).sum(axis=(1, 2)).argmax())
    return n // 2
