"""What a look at one image measures of its quality: plain numbers, each with a meaning, none of them a picture.

Grey values are taken relative to the image's own 1st and 99th percentile wherever the unit does not matter. Blur and
noise are told by Haar details, whose energy at the finest scale falls steeply with blur and rises with noise.
"""

import numpy as np

from lucency.image import Image

#: Slices of a volume that are measured, evenly spread over its middle 80 %: what spoils a volume spoils most slices.
SLICES = 8
#: Longer sides are averaged down to about this many pixels: what a reader sees on a screen, at the cost of 512².
SIDE = 512
#: Below this many pixels along a side, or in all slices, blur and noise cannot be told from what is shown.
SIDE_LEAST, PIXELS_LEAST = 16, 40**2
#: Percentiles between which the grey values of an image are taken to lie.
LOW, HIGH = 1.0, 99.0
#: Images of more pixels than this give percentiles from every second pixel of every second row.
SAMPLE = 128**2
#: Haar cells that are not flat, below which no statistics are made of them.
CELLS_LEAST = 64
#: Added inside logarithms, in shares of the grey range: a hundredth of an 8-bit step.
TINY = 4e-5
#: Added to shares of pixels inside logarithms: one pixel of a hundred squared.
SHARE = 1e-4
#: The same for the share at the lowest value, which is large where a background was cut off.
DARKEST = 1e-3
#: Standard deviation of normal data over their median absolute value.
MAD_TO_STD = 1 / 0.6745
#: Width of the border strips, as a share of the shorter side.
STRIP = 0.04
#: Hounsfield value above which there is metal: enamel, the densest tissue, ends near 3000.
METAL_HU = 3000.0
#: Images with a shorter side than this hold no legible line beside their picture.
TEXT_SIDE = 96
#: Signal below this share of the grey range is air; at least this share of the border must be air to look for ghosts.
AIR, AIR_LEAST = 0.15, 0.2


def measure(image: Image, *, modality: str = "", placed: bool = True) -> dict[str, float]:
    """Return the measures of one image; what cannot be judged on it is absent.

    ``lowest``, ``p1`` … ``p99``, ``highest`` and ``span`` are in the image's own unit. ``middle`` is where the median
    lies between the 1st and the 99th percentile, ``centre`` how much brighter the middle of the image is than its
    border, both as shares of the grey range. ``clipped`` is the decimal logarithm of the share of pixels at the
    highest value, ``darkest`` that at the lowest, ``noise`` that of the noise's standard deviation over the grey range.
    ``detail`` and ``coarse`` are the logarithms of the ratio of fine to medium and of medium to coarse structure.
    ``metal`` is the share of voxels
    above 3000 HU, ``ghost`` the difference between the air beside the body along rows and along columns. ``rows``,
    ``columns`` and ``slices`` are logarithms of the field of view, ``aspect`` that of rows over columns; ``shown`` is
    the share of pixels that differ from the commonest value.

    Args:
        image: Intensities, any size.
        modality: ``"MR"`` looks for ghosts as well; Hounsfield units are told by ``image.unit``.
        placed: Whether the spacing is known; the field of view is then in mm, else in pixels.

    Returns:
        Name to number, all finite.
    """
    planes = _planes(image)
    sample = planes[:, ::2, ::2] if planes[0].size > SAMPLE else planes
    asked = (LOW, 5, 10, 25, 50, 75, 90, 95, HIGH)
    p1, p5, p10, p25, p50, p75, p90, p95, p99 = (float(v) for v in np.percentile(sample, asked))
    lowest, highest = float(planes.min()), float(planes.max())
    commonest = p50 if p1 == p99 else lowest
    found = {"shown": float((sample != commonest).mean())} | _extent(image, placed=placed)
    if highest == lowest:
        return found
    if p99 == p1:
        p1, p99 = lowest, highest
    span = p99 - p1
    found |= {"lowest": lowest, "p1": p1, "p5": p5, "p10": p10, "p25": p25, "p50": p50, "p75": p75, "p90": p90}
    found |= {"p95": p95, "p99": p99, "highest": highest, "span": span}
    found["darkest"] = float(np.log10(np.mean(planes == lowest) + DARKEST))
    found["middle"] = (p50 - p1) / span
    found["clipped"] = float(np.log10(np.mean(sample >= highest) + SHARE))
    relative = (planes - p1) / span
    flat = np.clip(relative.mean(axis=0), 0.0, 1.0)
    border = _border(flat)
    rows, columns = flat.shape
    middle = flat[rows // 4 : rows - rows // 4, columns // 4 : columns - columns // 4]
    found["centre"] = float(middle.mean()) - float(np.mean([s.mean() for s in border]))
    if min(flat.shape) >= SIDE_LEAST and planes.size >= PIXELS_LEAST:
        found |= _detail(relative)
    if image.unit == "HU":
        found["metal"] = float(np.mean(image.array[0] > METAL_HU))
    if modality == "MR":
        found |= _ghost(border)
    return {name: round(value, 6) for name, value in found.items()}


def _extent(image: Image, *, placed: bool) -> dict[str, float]:
    """Return the field of view; the number of slices only of a volume."""
    spacing = image.spacing if placed else (1.0, 1.0, 1.0)
    slices, rows, columns = (float(np.log10(n * s)) for n, s in zip(image.size, spacing, strict=True))
    found = {"rows": rows, "columns": columns, "aspect": rows - columns}
    return found | ({"slices": slices} if image.size[0] > 1 else {})


def _planes(image: Image) -> np.ndarray:
    """Return (n, j, i) float32: a few slices, colours averaged, long sides averaged down."""
    depth = image.size[0]
    places = np.linspace(0.1, 0.9, min(SLICES, depth)) * depth
    chosen = sorted({int(k) for k in places}) if depth > 1 else [0]
    planes = image.array[:, chosen]
    mixed = planes[0] if len(planes) != 3 else planes.mean(axis=0, dtype=np.float32)
    step = max(1, round(min(image.size[1:]) / SIDE))
    if step > 1:
        rows, columns = mixed.shape[1] // step, mixed.shape[2] // step
        blocks = mixed[:, : rows * step, : columns * step].reshape(len(mixed), rows, step, columns, step)
        mixed = blocks.mean(axis=(2, 4), dtype=np.float32)
    return np.ascontiguousarray(mixed, dtype=np.float32)


def _border(flat: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return the strips along the top, the bottom, the left and the right."""
    width = max(1, round(STRIP * min(flat.shape)))
    return flat[:width], flat[-width:], flat[:, :width], flat[:, -width:]


def _detail(relative: np.ndarray) -> dict[str, float]:
    """Return noise and the energies of three scales of structure, from cells that are not flat."""
    mean, along, across, corner = _haar(relative)
    live = (along != 0) | (across != 0) | (corner != 0)
    if np.count_nonzero(live) < CELLS_LEAST:
        return {}
    # The diagonal detail of a 2 × 2 cell has half the noise's standard deviation.
    noise = 2 * MAD_TO_STD * float(np.median(np.abs(corner[live])))
    energies = []
    for _ in range(3):
        live = (along != 0) | (across != 0)
        if np.count_nonzero(live) < CELLS_LEAST // 4:
            break
        energies.append(float(np.log10(np.mean(along[live] ** 2 + across[live] ** 2) + TINY**2)))
        mean, along, across, corner = _haar(mean)
    found = {"noise": float(np.log10(noise + TINY))}
    found |= {name: a - b for name, a, b in zip(("detail", "coarse"), energies, energies[1:], strict=False)}
    return found


def _haar(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return mean, horizontal, vertical and diagonal detail of every 2 × 2 cell of (n, j, i)."""
    rows, columns = x.shape[1] // 2 * 2, x.shape[2] // 2 * 2
    a, b = x[:, 0:rows:2, 0:columns:2], x[:, 0:rows:2, 1:columns:2]
    c, d = x[:, 1:rows:2, 0:columns:2], x[:, 1:rows:2, 1:columns:2]
    left, right, over, under = a + c, b + d, a + b, c + d
    return (left + right) / 4, (left - right) / 4, (over - under) / 4, (a + d - b - c) / 4


def _ghost(border: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]) -> dict[str, float]:
    """Return the ghosting ratio of an MR image with air around the body; a masked background has none.

    Source:
        ACR Large and Medium Phantom Test Guidance for MRI, percent signal ghosting.
    """
    means = [float(strip.mean()) for strip in border]
    air = [m < AIR for m in means]
    if not all(air) or not any(float(np.mean(s > 0)) > AIR_LEAST for s in border):
        return {}
    top, bottom, left, right = means
    return {"ghost": abs((top + bottom) - (left + right)) / 2}


def n_lines(image: Image) -> int | None:
    """Return the number of lines of burned-in text, or None where none could be legible or the image is a volume."""
    from lucency.burned_in import find_text  # noqa: PLC0415 - its weights cost start-up time

    if image.size[0] > 1 or min(image.size[1:]) < TEXT_SIDE:
        return None
    return len(find_text(_planes(image)[0]))
