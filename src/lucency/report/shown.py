"""From a volume to the one slice that tells most about a case."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from lucency.boxes import Box, edges_of
from lucency.evaluate import Shown
from lucency.image import Image, orientation_of, reorient
from lucency.report.facts import Picture
from lucency.report.translated import picture as translated

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
    if shown.prediction.image is not None:
        return translated(shown)
    if shown.prediction.boxes is not None:
        return _boxed(shown, inverted=inverted)
    return _drawn(shown.image, truth, predicted, inverted=inverted)


def _boxed(shown: Shown, *, inverted: bool) -> Picture:
    """Return the slice that most boxes lie on, with those that lie on it."""
    drawn = shown.case.target if isinstance(shown.case.target, tuple) else ()
    sure = [b for b in shown.prediction.boxes or () if b.told]
    names = shown.classes
    rows = [_edges(boxes, shown.image, names) for boxes in (drawn, sure)]
    n = shown.image.size[0] if shown.image.size[0] == 1 else reorient(shown.image).size[0]
    cover = [sum(int(((r[:, 1] <= k + 0.5) & (r[:, 4] > k + 0.5)).sum()) for r in rows[:1] if len(r)) for k in range(n)]
    at = int(np.argmax(cover)) if max(cover) else n // 2
    here = [r[(r[:, 1] <= at + 0.5) & (r[:, 4] > at + 0.5)][:, [0, 3, 2, 6, 5]] for r in rows]
    plain = _drawn(shown.image, None, None, inverted=inverted, slice_=at)
    return replace(plain, truth_boxes=here[0], predicted_boxes=here[1])


def _edges(boxes: Sequence[Box], image: Image, names: Sequence[str]) -> np.ndarray:
    """Return (n, 7): number of the class from 1, low k, j, i, high k, j, i on the image as it is drawn."""
    edges = edges_of(boxes)
    if image.size[0] > 1:
        turn = orientation_of(image.affine)
        low, high = edges[:, :3][:, list(turn.order)], edges[:, 3:][:, list(turn.order)]
        length = np.array([image.size[a] for a in turn.order], dtype=float)
        flip = np.array(turn.flip)
        edges = np.concatenate([np.where(flip, length - high, low), np.where(flip, length - low, high)], axis=1)
    numbers = np.array([names.index(b.label) + 1 for b in boxes], dtype=float).reshape(-1, 1)
    return np.concatenate([numbers, edges], axis=1)


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
    slice_: int | None = None,
) -> Picture:
    """Return one slice, black and white at ``ends`` or at its percentiles; masks are turned as volumes are."""
    volume = source.size[0] > 1
    image = reorient(source) if volume else source
    number = _telling_slice(image.size[0], truth, predicted) if slice_ is None else slice_
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
