"""Find lines of text that were burned into the pixels of an image.

A small convolutional network, written out in numpy, looks at the image at three sizes and says of every fourth pixel
whether it lies in a line of text; the pixels that do are joined into boxes. Before it, a first look at blocks of 8 px
says where strokes may stand at all; the network looks nowhere else, which on most images is most of the work. The
weights of both lie beside this file. They were learned from generated text over real images by
``benchmarks/burned_in_train.py`` and ``benchmarks/burned_in_first_look.py``; what they find and miss is measured by
``benchmarks/burned_in.py``. It finds text, it does not read it: whether a line names anybody is for a person to say.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np

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
#: Side of the blocks of the first look, px: as high as the smallest line.
BLOCK = 8
#: Steps of brightness between the 1st and the 99th percentile in the first look; all that it sees fits a signed byte.
STEPS = 63
#: Least and most of its numbers: half a range below and above.
DARKEST, BRIGHTEST = -32, 95
#: Strokes rise and fall along both axes, within three blocks, by so many steps from one pixel to the next. All lines
#: of the tuning part do by more.
RISE = 5
#: Score of the first look from which the network looks as well; chosen on the tuning part, where it loses no line.
FIRST_LEVEL = -2.0
#: Marks of a block: see :func:`marked`.
N_MARKS = 8
#: Side of the squares, in blocks, of which the places to look at are put together.
SQUARE = 4


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
    cells = _searched(image if image.ndim == 2 else image.mean(2, dtype=np.float32))
    if image.ndim == 3 and (chroma := _chroma(image)) is not None:
        # Yellow on grey can have the grey's brightness: colour is looked at as well.
        coloured = _searched(chroma)
        cells = coloured if cells is None else cells if coloured is None else np.maximum(cells, coloured)
    return () if cells is None else _boxes(cells, image.shape[:2])


def _searched(image: np.ndarray) -> np.ndarray | None:
    """Return the probability of text for every cell of an image; None where the first look finds no place for it."""
    values = _finite(image)
    low, spread = _range(values)
    looked = first_look(values, low, spread) if spread > 0 else []
    return probability(_scaled(values, low, spread), looked) if any(b.any() for b in looked) else None


def normalised(image: np.ndarray) -> np.ndarray:
    """Return (J, I) float32 numbers of which nearly all lie in [0, 1], whatever the image's scale.

    The range is that of the middle 98 %, since text may be written with the largest number that can be stored; what
    lies outside is compressed into half a unit on each side.

    Args:
        image: (J, I) real numbers.
    """
    values = _finite(image)
    low, spread = _range(values)
    return _scaled(values, low, spread) if spread > 0 else np.zeros(values.shape, np.float32)


def _finite(image: np.ndarray) -> np.ndarray:
    """Return numbers that can be computed with; whole ones stay as they are."""
    if image.dtype.kind in "iu" and image.dtype.itemsize <= 2:
        return image
    values = np.asarray(image, np.float32)
    return values if np.isfinite(values).all() else np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)


def _range(values: np.ndarray) -> tuple[float, float]:
    """Return where the middle 98 % of the numbers begin and how far they reach; 0 where all are the same."""
    step = max(1, int(np.sqrt(values.size / 40_000)))
    # Of numbers of 32 bits processors sort several at a time; of 16 bits only some do.
    some = values[::step, ::step]
    ordered = np.sort(some.astype(np.int32) if some.dtype.kind in "iu" else some, axis=None)
    low, high = _at(ordered, 0.01), _at(ordered, 0.99)
    least, most = float(values.min()), float(values.max())
    # With little but background in the middle 98 %, its noise must not fill the range.
    return low, max(high - low, 0.05 * (most - least))


def _at(ordered: np.ndarray, share: float) -> float:
    """Return the number below which a share of some sorted ones lies, between two of them in proportion."""
    whole, rest = divmod(share * (ordered.size - 1), 1)
    below, above = float(ordered[int(whole)]), float(ordered[min(int(whole) + 1, ordered.size - 1)])
    return below + rest * (above - below)


def _scaled(values: np.ndarray, low: float, spread: float) -> np.ndarray:
    scaled = (values.astype(np.float32) - np.float32(low)) / np.float32(spread)
    for outside, sign, edge in ((scaled > 1, 1, 1), (scaled < 0, -1, 0)):
        scaled[outside] = edge + sign * 0.5 * np.tanh(sign * (scaled[outside] - edge))
    return scaled


def first_look(values: np.ndarray, low: float, spread: float) -> list[np.ndarray]:
    """Return for every image size the blocks near which the network must look.

    Text is many strokes close together: brightness rises and falls again within a few pixels, along both axes. Most of
    a clean image does neither by as much as legible text must. Where it does, a small network judges the steepest
    rises and falls of nine blocks.

    Args:
        values: (J, I) real numbers.
        low: Where their range begins.
        spread: How far it reaches, > 0.

    Returns:
        (ceil(J / 8), ceil(I / 8)) bool, then those of the image halved once and twice, if it is large enough.
    """
    return [_strokes(level) for level in brightness(values, low, spread)]


def brightness(values: np.ndarray, low: float, spread: float) -> Iterator[np.ndarray]:
    """Yield an image as the first look sees it: int8, :data:`STEPS` to its range, whole, halved, and halved again."""
    level: np.ndarray = np.empty(values.shape, np.int8)
    # In strips: what lies between fits the cache, and its memory is used again.
    rows = max(1, STRIP * CELL // values.shape[1])
    for top in range(0, values.shape[0], rows):
        scaled = (values[top : top + rows] - np.float32(low)) * np.float32(STEPS / spread)
        level[top : top + rows] = np.clip(scaled, DARKEST, BRIGHTEST, out=scaled)
    yield level
    for _ in range(2):
        if min(level.shape) < 2 * LEAST_HALVED:
            break
        wide = level[: level.shape[0] // 2 * 2, : level.shape[1] // 2 * 2].astype(np.int16)
        pairs = wide[::2] + wide[1::2]
        level = ((pairs[:, ::2] + pairs[:, 1::2]) >> 2).astype(np.int8)
        yield level


def marked(level: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (J, I) bool, where brightness rises and falls steeply along both axes, and (n, 72) the marks of these.

    Marks are of a block and its eight neighbours: brightest, darkest, and along either axis the steepest rise, the
    steepest fall and the mean of both.
    """
    (rows, columns), steep = level.shape, np.zeros([-(-n // BLOCK) for n in level.shape], bool)
    padded = np.empty([n * BLOCK + 1 for n in steep.shape], np.int8)
    padded[:rows, :columns] = level
    padded[:rows, columns:], padded[rows:] = level[:, -1:], padded[rows - 1]
    here = padded[:-1, :-1]
    rises = padded[:-1, 1:] - here, padded[1:, :-1] - here
    edges = [_by_block(f, rise) for rise in rises for f in (np.maximum, np.minimum)]
    enough = [edges[0] >= RISE, edges[1] <= -RISE, edges[2] >= RISE, edges[3] <= -RISE]
    steep[...] = _grown(np.stack(enough)).all(0)
    if not steep.any():
        return steep, np.empty((0, 9 * N_MARKS), np.float32)
    means = [_by_block(np.add, np.abs(rise)) / BLOCK for rise in rises]
    marks = [_by_block(np.maximum, here), _by_block(np.minimum, here)]
    marks += [edges[0], -edges[1], means[0], edges[2], -edges[3], means[1]]
    framed = np.zeros((steep.shape[0] + 2, steep.shape[1] + 2, N_MARKS), np.float32)
    framed[1:-1, 1:-1] = np.stack(marks, -1, dtype=np.float32) / 32
    j, i = np.nonzero(steep)
    return steep, np.concatenate([framed[j + n // 3, i + n % 3] for n in range(9)], 1)


def _strokes(level: np.ndarray) -> np.ndarray:
    """Return the blocks of one image size that may hold strokes, and those beside them."""
    steep, marks = marked(level)
    if len(marks):
        table = _first_weights()
        hidden = np.maximum(marks @ table["kernel"] + table["bias"], 0)
        steep[steep] = hidden @ table["head"] + table["offset"] >= FIRST_LEVEL
    return np.asarray(_grown(steep[None])[0])


def _by_block(function: np.ufunc, level: np.ndarray) -> np.ndarray:
    """Return a function of the numbers of every block, computed down the rows first: that is the fast direction."""
    if function is np.add:
        # Two rows of absolute differences fit a byte without its sign.
        pairs = level.view(np.uint8)[::2] + level.view(np.uint8)[1::2]
        rows = function.reduce(pairs.reshape(-1, BLOCK // 2, level.shape[1]), 1, dtype=np.uint16)
    else:
        rows = function.reduce(level.reshape(-1, BLOCK, level.shape[1]), 1)
    while rows.shape[1] > level.shape[1] // BLOCK:
        rows = function(rows[:, ::2], rows[:, 1::2])
    return np.asarray(rows)


def _grown(blocks: np.ndarray) -> np.ndarray:
    """Return of (n, J, I) bool whether each block or one of its eight neighbours is true."""
    rows: np.ndarray = blocks.copy()
    rows[:, 1:] |= blocks[:, :-1]
    rows[:, :-1] |= blocks[:, 1:]
    out = rows.copy()
    out[..., 1:] |= rows[..., :-1]
    out[..., :-1] |= rows[..., 1:]
    return out


def _places(blocks: np.ndarray, shape: tuple[int, ...]) -> list[tuple[slice, slice]]:
    """Return rectangles of pixels that hold all blocks and cost little to look at."""
    j, i = (-(-n // SQUARE) * SQUARE for n in blocks.shape)
    framed = np.pad(blocks, ((0, j - blocks.shape[0]), (0, i - blocks.shape[1])))
    squares = np.asarray(framed.reshape(j // SQUARE, SQUARE, i // SQUARE, SQUARE).any((1, 3)))
    side = SQUARE * BLOCK
    return [
        (slice(top * side, min(shape[0], bottom * side)), slice(left * side, min(shape[1], right * side)))
        for top, left, bottom, right in _cheapest(squares, 0, 0)
    ]


def _cheapest(squares: np.ndarray, top: int, left: int) -> list[tuple[int, int, int, int]]:
    """Return rectangles that hold all squares: one, or where that costs less those of the two sides of a cut."""
    rows, columns = np.flatnonzero(squares.any(1)), np.flatnonzero(squares.any(0))
    if not rows.size:
        return []
    first, start = int(rows[0]), int(columns[0])
    squares, top, left = squares[first : rows[-1] + 1, start : columns[-1] + 1], top + first, left + start
    cuts = [(_cost(squares[:at]) + _cost(squares[at:]), 0, at) for at in range(1, squares.shape[0])] + [
        (_cost(squares[:, :at]) + _cost(squares[:, at:]), 1, at) for at in range(1, squares.shape[1])
    ]
    cost, axis, at = min(cuts, default=(_cost(squares), 0, 0))
    if not at or cost >= _cost(squares):
        return [(top, left, top + squares.shape[0], left + squares.shape[1])]
    if axis == 0:
        return _cheapest(squares[:at], top, left) + _cheapest(squares[at:], top + at, left)
    return _cheapest(squares[:, :at], top, left) + _cheapest(squares[:, at:], top, left + at)


def _cost(squares: np.ndarray) -> int:
    """Return how many pixels the network meets for the rectangle around some squares, neighbours included."""
    rows, columns = np.flatnonzero(squares.any(1)), np.flatnonzero(squares.any(0))
    if not rows.size:
        return 0
    side = SQUARE * BLOCK
    return int((rows[-1] - rows[0] + 1) * side + 2 * REACH) * int((columns[-1] - columns[0] + 1) * side + 2 * REACH)


def probability(image: np.ndarray, looked: Sequence[np.ndarray] | None = None) -> np.ndarray:
    """Return the probability of text for every cell, the highest of three image sizes.

    Args:
        image: (J, I) float32, from :func:`normalised`.
        looked: From :func:`first_look`; cells outside its blocks are 0. None looks everywhere.

    Returns:
        (ceil(J / 4), ceil(I / 4)) float32 in [0, 1]; the cell (r, c) is centred on the pixel (4r, 4c).
    """
    weights = _weights()
    found = _network(image, weights, None if looked is None else looked[0])
    level = image
    for halvings in (1, 2):
        if min(level.shape) < 2 * LEAST_HALVED:
            break
        level = _halved(level)
        if looked is not None and not looked[halvings].any():
            continue
        coarse = _network(level, weights, None if looked is None else looked[halvings])
        for axis in (0, 1):
            coarse = np.repeat(coarse, 2**halvings, axis)
        # A coarse cell is centred on its first fine one: it stands for half of itself to each side.
        shift = 2 ** (halvings - 1)
        padded = np.pad(coarse, ((0, found.shape[0]), (0, found.shape[1])), mode="edge")
        padded = padded[shift : shift + found.shape[0], shift : shift + found.shape[1]]
        found = np.maximum(found, padded)
    return found


@cache
def _first_weights() -> Mapping[str, np.ndarray]:
    return _table("burned_in_first_look.npz")


@cache
def _weights() -> Mapping[str, np.ndarray]:
    return _table("burned_in.npz")


def _table(name: str) -> Mapping[str, np.ndarray]:
    with (files("lucency") / name).open("rb") as stream, np.load(stream, allow_pickle=False) as table:
        return {name: np.asarray(table[name], np.float32) for name in table.files}


def _network(image: np.ndarray, weights: Mapping[str, np.ndarray], blocks: np.ndarray | None) -> np.ndarray:
    """Return (ceil(J / 4), ceil(I / 4)) probabilities of one image size, 0 where nothing need be looked at."""
    if blocks is None:
        return _in_bands(image, weights)
    found = np.zeros([-(-n // CELL) for n in image.shape], np.float32)
    for rows, columns in _places(blocks, image.shape):
        top, left = max(0, rows.start - REACH), max(0, columns.start - REACH)
        cells = _in_bands(image[top : rows.stop + REACH, left : columns.stop + REACH], weights)
        place = tuple(slice(s.start // CELL, -(-s.stop // CELL)) for s in (rows, columns))
        down, right = place[0].start - top // CELL, place[1].start - left // CELL
        height, width = place[0].stop - place[0].start, place[1].stop - place[1].start
        found[place] = cells[down : down + height, right : right + width]
    return found


def _in_bands(image: np.ndarray, weights: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return the probabilities of an image, computed in bands of rows: memory stays bounded."""
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
    from scipy import ndimage  # noqa: PLC0415 - slow to import, and most images have nothing to join

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
