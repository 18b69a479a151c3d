"""Find lines of text that were burned into the pixels of an image.

A small convolutional network, written out in numpy, looks at the image at three sizes and says of every fourth pixel
whether it lies in a line of text; the pixels that do are joined into boxes. Its weights lie beside this file. They
were learned from generated text over real images by ``benchmarks/burned_in_train.py``; what they find and miss is
measured by ``benchmarks/burned_in.py``. It finds text, it does not read it: whether a line names anybody is for a
person to say.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np
from scipy import ndimage

from lucency.errors import DataError

#: One cell of the network's answer stands for this many pixels along each axis, by its two strides of 2.
CELL = 4
#: Strides and dilations of the network's 3 × 3 and 5 × 5 layers, in order. The last layer is 1 × 1.
LAYERS = ((2, 1), (2, 1), (1, 1), (1, 2), (1, 4), (1, 1))
#: Layers whose input is added to their output.
SKIPS = (3, 4, 5)
#: A cell is text from this probability on; chosen on the tuning part of the backgrounds.
CELL_LEVEL = 0.5
#: A group of cells is a line of text if its best cell reaches this; chosen likewise.
LINE_LEVEL = 0.97
#: Cells in the smallest group: two characters 8 px high.
LEAST_CELLS = 4
#: Images with a shorter side than this hold no legible line.
LEAST_SIDE = 16
#: An image is looked at in a smaller size while its shorter side keeps this: a body 30 px high looks like a letter.
LEAST_HALVED = 64
#: Cells in one strip of the computation: the strip's operands stay in the processor's cache.
STRIP = 8192
#: Pixels that go through the network at once: some 60 MB of numbers between its layers.
BAND = 1 << 20
#: Rows of neighbours that a band brings along, px: the network sees 36 px to each side (2 + 2 + 4 + 8 + 16 + 4).
REACH = 40


@dataclass(frozen=True)
class Box:
    """A rectangle that holds text.

    Args:
        top: First row, px.
        left: First column, px.
        bottom: Row after the last, px.
        right: Column after the last, px.
        score: How sure the network is, in (0, 1].
    """

    top: int
    left: int
    bottom: int
    right: int
    score: float


def find_text(image: np.ndarray) -> tuple[Box, ...]:
    """Return where lines of text stand in an image.

    Any polarity, 8 to about 80 px high (the longer, the surer), level or turned by 90°. The scale of the numbers does
    not matter. Single letters, such as the side marker of a radiograph, may or may not be found.

    Args:
        image: (J, I) or (J, I, 3), any real dtype and range.

    Returns:
        Boxes, from top to bottom; empty where there is no text.

    Raises:
        DataError: Not an image of this shape.
    """
    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] != 3):
        raise DataError(f"An array of shape {image.shape}", expected="(rows, columns) or (rows, columns, 3)")
    if min(image.shape[:2]) < LEAST_SIDE:
        return ()
    cells = probability(normalised(image if image.ndim == 2 else image.mean(2, dtype=np.float32)))
    if image.ndim == 3 and (chroma := _chroma(image)) is not None:
        # Yellow on grey can have the grey's brightness: colour is looked at as well.
        cells = np.maximum(cells, probability(normalised(chroma)))
    return _boxes(cells, image.shape[:2])


def normalised(image: np.ndarray) -> np.ndarray:
    """Return (J, I) float32 numbers of which nearly all lie in [0, 1], whatever the image's scale.

    The range is that of the middle 98 %, since text may be written with the largest number that can be stored; what
    lies outside is compressed into half a unit on each side.

    Args:
        image: (J, I) real numbers.
    """
    values = np.asarray(image, np.float32)
    if not np.isfinite(values).all():
        values = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
    step = max(1, int(np.sqrt(values.size / 40_000)))
    low, high = np.percentile(values[::step, ::step], (1, 99))
    least, most = float(values.min()), float(values.max())
    # With little but background in the middle 98 %, its noise must not fill the range.
    spread = max(float(high) - float(low), 0.05 * (most - least))
    if spread <= 0:
        return np.zeros_like(values)
    scaled = (values - np.float32(low)) / np.float32(spread)
    for outside, sign, edge in ((scaled > 1, 1, 1), (scaled < 0, -1, 0)):
        scaled[outside] = edge + sign * 0.5 * np.tanh(sign * (scaled[outside] - edge))
    return np.asarray(scaled)


def probability(image: np.ndarray) -> np.ndarray:
    """Return the probability of text for every cell, the highest of three image sizes.

    Args:
        image: (J, I) float32, from :func:`normalised`.

    Returns:
        (ceil(J / 4), ceil(I / 4)) float32 in [0, 1]; the cell (r, c) is centred on the pixel (4r, 4c).
    """
    weights = _weights()
    found = _network(image, weights)
    level = image
    for halvings in (1, 2):
        if min(level.shape) < 2 * LEAST_HALVED:
            break
        level = _halved(level)
        coarse = _network(level, weights)
        for axis in (0, 1):
            coarse = np.repeat(coarse, 2**halvings, axis)
        # A coarse cell is centred on its first fine one: it stands for half of itself to each side.
        shift = 2 ** (halvings - 1)
        padded = np.pad(coarse, ((0, found.shape[0]), (0, found.shape[1])), mode="edge")
        padded = padded[shift : shift + found.shape[0], shift : shift + found.shape[1]]
        found = np.maximum(found, padded)
    return found


@cache
def _weights() -> Mapping[str, np.ndarray]:
    with (files("lucency") / "burned_in.npz").open("rb") as stream, np.load(stream, allow_pickle=False) as table:
        return {name: np.asarray(table[name], np.float32) for name in table.files}


def _network(image: np.ndarray, weights: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return (ceil(J / 4), ceil(I / 4)) probabilities of one image size, in bands of rows: memory stays bounded."""
    step = max(CELL, BAND // image.shape[1] // CELL * CELL)
    parts = []
    for top in range(0, image.shape[0], step):
        start, stop = max(0, top - REACH), min(image.shape[0], top + step + REACH)
        cells = _layers(image[start:stop], weights)
        first = (top - start) // CELL
        parts.append(cells[first : first + -(-min(step, image.shape[0] - top) // CELL)])
    return np.concatenate(parts)


def _layers(image: np.ndarray, weights: Mapping[str, np.ndarray]) -> np.ndarray:
    x = image[..., None]
    for number, (stride, dilation) in enumerate(LAYERS):
        y = _convolved(x, weights[f"kernel{number}"], weights[f"bias{number}"], stride, dilation)
        if number in SKIPS:
            y += x
        x = np.maximum(y, 0, out=y)
    score = x @ weights["head"] + weights["offset"]
    return np.asarray(1 / (1 + np.exp(-np.clip(score, -30, 30))), np.float32)


def _convolved(x: np.ndarray, kernel: np.ndarray, bias: np.ndarray, stride: int, dilation: int) -> np.ndarray:
    """Return the (J', I', O) convolution of (J, I, C) with a (side, side, C, O) kernel, zeros outside."""
    side, _, c, o = kernel.shape
    reach = dilation * (side // 2)
    j, i = -(-x.shape[0] // stride), -(-x.shape[1] // stride)
    padded = np.pad(x, ((reach, reach + stride), (reach, reach + stride), (0, 0)))
    flat = kernel.reshape(side * side * c, o)
    out = np.empty((j, i, o), np.float32)
    rows = max(1, STRIP // i)
    columns = np.empty((rows, i, side * side, c), np.float32)
    for top in range(0, j, rows):
        n = min(rows, j - top)
        for place in range(side * side):
            down, right = dilation * (place // side) + stride * top, dilation * (place % side)
            columns[:n, :, place] = padded[down : down + stride * n : stride, right : right + stride * i : stride]
        np.matmul(columns[:n].reshape(n * i, -1), flat, out=out[top : top + n].reshape(n * i, o))
    out += bias
    return out


def _halved(image: np.ndarray) -> np.ndarray:
    """Return the mean of every 2 × 2 pixels; an odd last row or column is left out."""
    j, i = image.shape[0] // 2 * 2, image.shape[1] // 2 * 2
    part = image[:j, :i]
    return np.asarray((part[::2, ::2] + part[1::2, ::2] + part[::2, 1::2] + part[1::2, 1::2]) * np.float32(0.25))


def _chroma(image: np.ndarray) -> np.ndarray | None:
    """Return (J, I) how far apart the channels are, or None where the image is as good as grey."""
    highest, lowest = image.max(2).astype(np.float32), image.min(2).astype(np.float32)
    chroma = highest - lowest
    coloured = chroma > 0.1 * max(float(highest.max()) - float(lowest.min()), 1e-6)
    # Fewer coloured pixels than one character of 8 px has.
    return chroma if np.count_nonzero(coloured) >= 24 else None


def _boxes(cells: np.ndarray, shape: tuple[int, ...]) -> tuple[Box, ...]:
    """Join neighbouring cells of text into boxes."""
    groups, _ = ndimage.label(cells >= CELL_LEVEL, np.ones((3, 3)))
    found = []
    for number, place in enumerate(ndimage.find_objects(groups), 1):
        member = groups[place] == number
        score = float(cells[place][member].max())
        if score >= LINE_LEVEL and np.count_nonzero(member) >= LEAST_CELLS:
            origin = (place[0].start, place[1].start)
            found += [_box(part, origin, shape, score) for part in _parts(member)]
    return tuple(sorted(found, key=lambda b: (b.top, b.left)))


def _parts(member: np.ndarray, top: int = 0, left: int = 0) -> list[tuple[int, int, int, int]]:
    """Return rectangles of cells that hold a group: one where it fills it by half, else those of its halves."""
    rows, columns = np.flatnonzero(member.any(1)), np.flatnonzero(member.any(0))
    if not rows.size:
        return []
    first, last, start, stop = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    member, top, left = member[first:last, start:stop], top + int(first), left + int(start)
    if member.mean() >= 0.5 or member.size <= 4 * LEAST_CELLS:
        return [(top, left, top + member.shape[0], left + member.shape[1])]
    # The cut that leaves the least area to cover.
    cuts = []
    for axis in (0, 1):
        turned = np.moveaxis(member, axis, 0)
        for at in range(1, turned.shape[0]):
            area = sum(_area(part) for part in (turned[:at], turned[at:]))
            cuts.append((area, axis, at))
    _, axis, at = min(cuts)
    if axis == 0:
        return _parts(member[:at], top, left) + _parts(member[at:], top + at, left)
    return _parts(member[:, :at], top, left) + _parts(member[:, at:], top, left + at)


def _area(member: np.ndarray) -> int:
    rows, columns = np.flatnonzero(member.any(1)), np.flatnonzero(member.any(0))
    return int((rows[-1] - rows[0] + 1) * (columns[-1] - columns[0] + 1)) if rows.size else 0


def _box(part: tuple[int, int, int, int], origin: tuple[int, int], shape: tuple[int, ...], score: float) -> Box:
    """Return the pixels of a rectangle of cells, half a cell wider on each side than the cells' centres."""
    top, left, bottom, right = part
    half = CELL // 2
    return Box(
        max(0, (top + origin[0]) * CELL - half - 1),
        max(0, (left + origin[1]) * CELL - half - 1),
        min(shape[0], (bottom + origin[0] - 1) * CELL + half + 2),
        min(shape[1], (right + origin[1] - 1) * CELL + half + 2),
        score,
    )
