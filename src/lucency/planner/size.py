"""How wide and deep a network is: more for more images and more time, less where there is little of either.

The size of the image has chosen the levels before; here they become wider and deeper or narrower and shallower. The
number of images counts by itself and the time by itself, not the one against the other: at equal image size more of
either never gives a smaller network.
"""

from collections.abc import Callable, Mapping

from lucency.plan import Option

#: Sizes, from the smallest; 0 is the one that the benchmark sets were run with.
SMALL, USUAL, LARGE, LARGEST = -1, 0, 1, 2

#: Training images from which on a size is considered, by ``dense``: a mask teaches something at every voxel. Sets of
#: the benchmarks have 30 to 5000 images; the borders lie outside, and what is beyond them was not measured.
IMAGES: Mapping[bool, Mapping[int, int]] = {
    False: {USUAL: 30, LARGE: 20_000, LARGEST: 200_000},
    True: {USUAL: 12, LARGE: 2_000, LARGEST: 20_000},
}

#: Images that the time must allow to be seen, all passes together, by ``dense``: twelve or twenty passes over as many
#: as the larger sizes are considered for; for the usual one, what it takes until the loss falls at all.
SEEN: Mapping[bool, Mapping[int, int]] = {
    False: {USUAL: 700, LARGE: 240_000, LARGEST: 2_400_000},
    True: {USUAL: 100, LARGE: 40_000, LARGEST: 400_000},
}

#: Channels against the usual ones.
WIDER: Mapping[bool, Mapping[int, float]] = {
    False: {SMALL: 0.5, USUAL: 1.0, LARGE: 1.5, LARGEST: 2.0},
    True: {SMALL: 2 / 3, USUAL: 1.0, LARGE: 4 / 3, LARGEST: 2.0},
}


def sized(
    base: Mapping[str, Option],
    n_images: int,
    affordable: Callable[[Mapping[str, Option]], float],
    reasons: dict[str, str],
    *,
    dense: bool,
    least: int = SMALL,
) -> dict[str, Option]:
    """Return the options of the largest network that the images and the time bear.

    Args:
        base: Options of the usual size, with ``widths`` and perhaps ``depth``.
        n_images: Training images.
        affordable: Options to the number of images that training with them can see in its time.
        reasons: Gets the reason of ``network_options``.
        dense: One output per voxel.
        least: The smallest size that is considered.

    Example:
        >>> sized({"widths": (32.0, 64.0), "depth": 10}, 10, lambda o: 1e9, {}, dense=False)
        {'widths': (16.0, 32.0), 'depth': 6}
    """
    images = max([least, *(s for s, n in IMAGES[dense].items() if n_images >= n)])
    size = next(
        (s for s in range(images, least, -1) if affordable(scaled(base, s, dense=dense)) >= SEEN[dense][s]), least
    )
    found = scaled(base, size, dense=dense)
    widths = found["widths"] if isinstance(found["widths"], tuple) else ()
    shown = f"{len(widths)} levels of {widths[0]:g} to {widths[-1]:g} channels"
    if size < images:
        why = f"{n_images} images would bear a larger one, the time does not"
    elif size == SMALL:
        why = f"narrow and shallow, for {n_images} images show little variety"
    elif size == USUAL:
        why = f"a wider and deeper one is for {IMAGES[dense][LARGE]} images or more; here are {n_images}"
    else:
        why = f"wider and deeper than usual, for {n_images} images and the time bear it"
    reasons["network_options"] = f"{shown}; {why}"
    return found


def scaled(base: Mapping[str, Option], size: int, *, dense: bool) -> dict[str, Option]:
    """Return the options with channels and blocks of another size; channels are multiples of 4."""
    found, widths = dict(base), base["widths"]
    if size == USUAL or not isinstance(widths, tuple):
        return found
    found["widths"] = tuple(4.0 * max(1, round(w * WIDER[dense][size] / 4)) for w in widths)
    depth = base.get("depth")
    if isinstance(depth, int):
        # As a residual network counts: two convolutions a block, as many blocks at every level, and two more.
        blocks = max(1, round((depth - 2) / (2 * len(widths))))
        found["depth"] = 2 + 2 * len(widths) * max(1, blocks + size)
    return found
