"""Pictures of cases: a PNG with the contours of reference and prediction drawn over it as lines, not pixels."""

import base64
import html
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from lucency.report.facts import Picture

#: All pictures together before base64; with its third on top this leaves room for the charts under 5 MB.
PICTURE_BYTES = 2_400_000
#: A picture is shown about 230 px wide; twice that serves a dense screen and paper.
LARGEST_SIDE = 440
#: More points than this in one contour set are thinned, by looking at every second pixel and so on.
MOST_POINTS = 5000
#: CSS classes c0 … c5 hold the contour colours; labels beyond repeat them, and their numbers tell them apart.
N_COLOURS = 6


@dataclass(frozen=True)
class Drawing:
    """One picture as it stands in the page.

    Args:
        svg: Inline ``<svg>`` with the PNG inside.
        labels: Mask values drawn, in order, so that the legend names only these.
        empty: Names of contour sets with nothing to draw: ``"truth"``, ``"predicted"``.
    """

    svg: str
    labels: tuple[int, ...]
    empty: tuple[str, ...]


def encode_png(pixels: np.ndarray) -> bytes:
    """Return an 8-bit PNG.

    Args:
        pixels: (J, I) or (J, I, 3) uint8.

    Source:
        ISO/IEC 15948 (PNG), clauses 11.2.2 to 11.2.5.
    """
    rows, columns = pixels.shape[:2]
    colour = 2 if pixels.ndim == 3 else 0
    lines = np.ascontiguousarray(pixels).reshape(rows, -1)
    raw = np.concatenate([np.zeros((rows, 1), np.uint8), lines], axis=1).tobytes()
    header = struct.pack(">IIBBBBB", columns, rows, 8, colour, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(raw, 7)), (b"IEND", b""))
    body = b"".join(struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks)
    return b"\x89PNG\r\n\x1a\n" + body


def shrink(image: np.ndarray, side: int) -> np.ndarray:
    """Return the image with no side longer than ``side``, by means over whole blocks of pixels."""
    step = -(-max(image.shape[:2]) // side)
    if step <= 1:
        return image
    pad = [(0, -n % step) for n in image.shape[:2]] + [(0, 0)] * (image.ndim - 2)
    padded = np.pad(image, pad, mode="edge")
    rows, columns = padded.shape[0] // step, padded.shape[1] // step
    blocks: np.ndarray = padded.reshape(rows, step, columns, step, *image.shape[2:]).mean(axis=(1, 3))
    return blocks


def largest_side(pictures: Mapping[str, Picture]) -> int:
    """Return the side in px at which all pictures together stay under :data:`PICTURE_BYTES`, even as pure noise."""
    planes = sum(3 if p.image.ndim == 3 else 1 for p in pictures.values())
    return min(LARGEST_SIDE, int((PICTURE_BYTES / max(planes, 1)) ** 0.5))


def outlines(mask: np.ndarray, label: int) -> list[np.ndarray]:
    """Return the closed outlines of one label, each (n, 2) float: column and row in pixels from the corner.

    A mask with frayed edges is looked at in ever coarser steps until it needs at most :data:`MOST_POINTS` points.
    """
    import contourpy  # noqa: PLC0415  comes with matplotlib, which draws its own contours with it

    step = 1
    while True:
        inside = np.pad((mask[::step, ::step] == label).astype(np.float32), 1)
        lines = contourpy.contour_generator(z=inside, line_type=contourpy.LineType.Separate).lines(0.5)
        # Padding moves the grid by one pixel; a pixel's centre lies half a pixel from its corner.
        found = [(np.asarray(line, dtype=float) - 1.0 + 0.5) * step for line in lines]
        if sum(map(len, found)) <= MOST_POINTS or step >= 64:
            return found
        step *= 2


def draw(picture: Picture, side: int, alt: str) -> Drawing:
    """Return the picture with its contours.

    Reference lines are solid, predicted ones dashed, both over a dark rim, so that neither colour nor the grey
    beneath is needed to tell them apart.

    Args:
        picture: See :class:`Picture`.
        side: Longest side of the PNG, px.
        alt: What a screen reader says.
    """
    rows, columns = picture.image.shape[:2]
    height = rows * picture.aspect
    clean = np.nan_to_num(np.asarray(picture.image, dtype=np.float32), nan=0.0, posinf=1.0, neginf=0.0)
    pixels = (np.clip(shrink(clean, side), 0, 1) * 255 + 0.5).astype(np.uint8)
    png = base64.b64encode(encode_png(pixels)).decode("ascii")
    # Few pixels are shown as squares: a smoothed 28 × 28 image would pretend to more than was measured.
    rendering = ' style="image-rendering:pixelated"' if max(rows, columns) <= 96 else ""
    masks = {"truth": picture.truth, "predicted": picture.predicted}
    drawn = {k: m for k, m in masks.items() if m is not None}
    labels = tuple(sorted({int(v) for m in drawn.values() for v in np.unique(m) if v > 0}))
    lines = [
        _line(outlines(mask, label), kind, colour % N_COLOURS, picture.aspect)
        for colour, label in enumerate(labels)
        for kind, mask in drawn.items()
    ]
    every = {"truth": picture.truth_boxes, "predicted": picture.predicted_boxes}
    boxes = {k: b for k, b in every.items() if b is not None}
    # A class has the same colour in every picture, whichever of them are on it.
    lines += [
        _line([_frame(row[1:]) for row in rows if row[0] == label], kind, (label - 1) % N_COLOURS, picture.aspect)
        for label in sorted({int(row[0]) for rows in boxes.values() for row in rows})
        for kind, rows in boxes.items()
    ]
    labels = tuple(sorted({*labels, *(int(row[0]) for rows in boxes.values() for row in rows)}))
    svg = (
        f'<svg class="picture" viewBox="0 0 {columns} {_short(height)}" role="img" aria-label="{html.escape(alt)}">'
        f'<image width="{columns}" height="{_short(height)}" preserveAspectRatio="none"{rendering} '
        f'href="data:image/png;base64,{png}"/>{"".join(lines)}</svg>'
    )
    empty = [k for k, m in drawn.items() if not (m > 0).any()] + [k for k, b in boxes.items() if not len(b)]
    return Drawing(svg, labels, tuple(empty))


def _frame(edges: np.ndarray) -> np.ndarray:
    """Return a box as a closed outline, (5, 2): column and row."""
    left, top, right, bottom = edges
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom], [left, top]])


def _line(lines: list[np.ndarray], kind: str, colour: int, aspect: float) -> str:
    """Return outlines as one path, twice: a dark rim and the line itself."""
    path = "".join(
        "M" + "L".join(f"{_short(x)} {_short(y * aspect)}" for x, y in line[:-1]) + "Z" for line in lines if len(line)
    )
    return f'<path class="rim" d="{path}"/><path class="{kind} c{colour}" d="{path}"/>' if path else ""


def _short(value: float) -> str:
    """Return a coordinate with at most two decimals."""
    return f"{value:.2f}".rstrip("0").rstrip(".")
