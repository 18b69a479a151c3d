"""A picture with colour where a map says that something counts."""

import base64

import numpy as np
import torch

from lucency.prepare import resize
from lucency.report.pictures import encode_png, shrink
from lucency.report.shown import WINDOW

#: Longest side of a picture in px; it is shown half as wide.
SIDE = 256

#: Colour that marks what adds to the similarity: it stays visible on black and on white and in print.
MARK = np.array([1.0, 0.55, 0.0], dtype=np.float32)

#: Strongest share of the colour; the grey beneath must stay readable.
STRONGEST = 0.65


def overlay(array: np.ndarray, places: np.ndarray | None = None, top: float = 1.0, side: int = SIDE) -> str:
    """Return a PNG as a data address: the slice in which most is marked, or the middle one.

    Args:
        array: (C, K, J, I) on the network's grid.
        places: (k, j, i) what each place adds, on any grid; marked in colour where it adds something.
        top: What is marked strongest.
        side: Longest side of the picture in px.
    """
    size = (array.shape[1], array.shape[2], array.shape[3])
    fine = None
    if places is not None:
        fine = resize(torch.from_numpy(np.ascontiguousarray(places[None], dtype=np.float32)), size).numpy()[0]
    k = size[0] // 2 if fine is None else int(np.clip(fine, 0, None).sum(axis=(1, 2)).argmax())
    plane = array[:, k].astype(np.float32)
    low, high = np.percentile(plane, WINDOW)
    grey = np.clip((plane - low) / max(float(high - low), 1e-9), 0, 1)
    colour = np.moveaxis(grey, 0, -1) if len(grey) == 3 else np.repeat(grey[0][..., None], 3, axis=-1)
    if fine is not None:
        strength = (np.clip(fine[k] / max(top, 1e-9), 0, 1) * STRONGEST)[..., None]
        colour = colour * (1 - strength) + MARK * strength
    pixels = (shrink(colour, side) * 255 + 0.5).astype(np.uint8)
    return "data:image/png;base64," + base64.b64encode(encode_png(pixels)).decode("ascii")
