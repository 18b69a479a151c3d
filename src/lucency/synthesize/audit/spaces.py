"""Three ways to say how far two images lie apart: by their pixels, to a taught network and to a random one.

A copy may hide from one of them (a turn moves all pixels, a network overlooks texture), hardly from all.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import Protocol

import numpy as np
import torch
from torch.nn import functional

from lucency.index import Space, space_of
from lucency.prepare.place import triple
from lucency.synthesize.drawn import Drawn
from lucency.synthesize.encoders import Encoder, flipped

#: Largest side of the images whose pixels are compared, and largest shift on that grid, in pixels, by dimensions.
#: Larger images are averaged down: what a person recognises survives, and the search stays within a minute.
SIDE, SHIFT = {2: 32, 3: 12}, {2: 2, 3: 1}

#: Turns in degrees and scales that are undone as well, beside the mirrored views. Without them two of three copies that
#: were turned by 5 degrees stayed hidden among radiographs of 28 pixels.
TURNS, SCALES = (-5.0, 5.0), (0.95, 1.05)

#: References whose shifted windows are held at once, by dimensions: about 60 MB of them.
REFERENCES = {2: 1024, 3: 1024}

#: Distances that are held at once, and images of which all views are.
AT_ONCE, IMAGES_AT_ONCE = 30_000_000, 500

#: Share of the largest variance that is added to all in an encoder's space: little, for a copy is told from a cousin by
#: what varies little. Found .94 of planted copies among radiographs instead of .93 with the tenth that likeness has.
SHRINK = 0.001

#: Directions of such a space at the most, and cases behind each: a space that fits its cases too well holds real images
#: apart from generated ones, which have no part in it.
DIRECTIONS, CASES = 128, 10

#: Rows to the views of these images, (r, v, ...).
Asks = Callable[[slice], np.ndarray]


class Measure(Protocol):
    """One way to say how far images lie apart."""

    #: ``"pixels"`` or the encoder's name.
    name: str
    #: It was taught by the members, so that members and strangers may not be compared in it.
    learned: bool

    def plain(self, images: np.ndarray) -> np.ndarray:
        """Return what is compared of images as they are, (n, ...) float32."""
        ...

    def asks(self, images: np.ndarray) -> Asks:
        """Return what gives all views of some of the images: as they are, mirrored, and otherwise undone."""
        ...

    def apart(self, asks: np.ndarray, others: np.ndarray) -> np.ndarray:
        """Return distances, (n, m) float32, 0 to 2: of the nearest view of each asking image to the others as they are.

        Args:
            asks: (n, v, ...) views.
            others: (m, ...) from ``plain``.
        """
        ...


class Pixels:
    """1 minus the correlation of pixels after the best shift and mirroring; brightness and contrast do not count.

    Args:
        dims: 2 or 3.
    """

    name = "pixels"
    learned = False

    def __init__(self, dims: int) -> None:
        self.dims = dims

    def plain(self, images: np.ndarray) -> np.ndarray:
        """See :class:`Measure`."""
        x = torch.from_numpy(np.array(images, dtype=np.float32))
        size = triple([min(n, SIDE[self.dims]) for n in x.shape[2:]])
        return np.asarray((x if size == tuple(x.shape[2:]) else functional.adaptive_avg_pool3d(x, size)).numpy())

    def asks(self, images: np.ndarray) -> Asks:
        """See :class:`Measure`."""

        def views(rows: slice) -> np.ndarray:
            small = torch.from_numpy(self.plain(images[rows]))
            turned = [small, *(_turned(small, a, 1.0) for a in TURNS), *(_turned(small, 0.0, s) for s in SCALES)]
            return np.stack([f for x in turned for f in flipped(x.numpy())], axis=1)

        return views

    def apart(self, asks: np.ndarray, others: np.ndarray) -> np.ndarray:
        """See :class:`Measure`."""
        size = asks.shape[3:]
        margins = [min(SHIFT[self.dims], (n - 1) // 4) for n in size]
        inner = tuple(slice(m, n - m) for m, n in zip(margins, size, strict=True))
        n, v = asks.shape[:2]
        middle = _unit(asks[(slice(None), slice(None), slice(None), *inner)].reshape(n * v, -1)).reshape(n, v, -1)
        upright = 1 + sum(side > 1 for side in size)
        best = np.full((n, len(others)), -1.0, dtype=np.float32)
        for at in range(0, len(others), REFERENCES[self.dims]):
            block = others[at : at + REFERENCES[self.dims]]
            for shift in product(*(range(2 * m + 1) for m in margins)):
                window = tuple(slice(s, s + i.stop - i.start) for s, i in zip(shift, inner, strict=True))
                wanted = _unit(block[(slice(None), slice(None), *window)].reshape(len(block), -1))
                # What is turned or scaled is not moved far as well: half the work, and a change of all three is seldom.
                far = max(abs(s - m) for s, m in zip(shift, margins, strict=True)) > 1
                tried = np.ascontiguousarray(middle[:, :upright] if far else middle)
                alike = (tried.reshape(-1, wanted.shape[1]) @ wanted.T).reshape(n, tried.shape[1], -1).max(axis=1)
                part = best[:, at : at + len(block)]
                np.maximum(part, alike, out=part)
        return 1 - best


class Seen:
    """1 minus the cosine of what an encoder sees, of the nearest mirrored view.

    Args:
        encoder: The eye.
        space: In which real images vary alike in all directions that matter.
    """

    def __init__(self, encoder: Encoder, space: Space) -> None:
        self.name, self.learned, self.encoder, self.space = encoder.name, encoder.learned, encoder, space

    def plain(self, images: np.ndarray) -> np.ndarray:
        """See :class:`Measure`."""
        return self.space.unit(self.encoder(images))

    def asks(self, images: np.ndarray) -> Asks:
        """See :class:`Measure`."""
        all_views = np.stack([self.space.unit(self.encoder(view)) for view in flipped(images)], axis=1)
        return lambda rows: all_views[rows]

    def apart(self, asks: np.ndarray, others: np.ndarray) -> np.ndarray:
        """See :class:`Measure`."""
        wanted = np.ascontiguousarray(others.T)
        best = np.full((len(asks), len(others)), -1.0, dtype=np.float32)
        for view in range(asks.shape[1]):
            np.maximum(best, asks[:, view] @ wanted, out=best)
        return np.asarray(1 - best)


def measures_of(members: Drawn, held_out: Drawn, encoders: "list[Encoder]") -> list[Measure]:
    """Return the ways in which images are compared: pixels first, then each encoder in the space of real images.

    Args:
        members: What the generator learned from.
        held_out: What it did not; both take part in the space alike.
        encoders: One or more.
    """
    found: list[Measure] = [Pixels(members.dims)]
    for encoder in encoders:
        both = np.concatenate([encoder(members.images), encoder(held_out.images)])
        found.append(Seen(encoder, space_of(both, SHRINK, min(DIRECTIONS, len(both) // CASES))))
    return found


def _turned(images: torch.Tensor, degrees: float, scale: float) -> torch.Tensor:
    """Return images, (n, C, K, J, I), turned in their plane and scaled; their edge goes on."""
    cos, sin = math.cos(math.radians(degrees)) / scale, math.sin(math.radians(degrees)) / scale
    k, j, i = images.shape[2:]
    # The grid runs from -1 to 1 along each axis, whatever its length.
    deep = 1 / scale if k > 1 else 1.0
    theta = torch.tensor([[cos, -sin * j / i, 0, 0], [sin * i / j, cos, 0, 0], [0, 0, deep, 0]])
    grid = functional.affine_grid(theta.expand(len(images), 3, 4), list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, padding_mode="border", align_corners=False)


def _unit(x: np.ndarray) -> np.ndarray:
    """Return rows without their mean and at length 1; a constant row is 0 throughout and resembles nothing."""
    x = x - x.mean(axis=1, keepdims=True)
    length = np.linalg.norm(x, axis=1, keepdims=True)
    usual = float(length.max(initial=0.0))
    return np.asarray(np.where(length > 1e-5 * usual, x / np.maximum(length, 1e-12), 0.0), dtype=np.float32)


@dataclass(frozen=True, eq=False)
class Near:
    """Of each asking image the nearest other one.

    Args:
        first: (n,) float32, its distance.
        at: (n,) int, which one it is.
        second: (n,) float32, the distance of the nearest one of another patient than that.
        back: (m,) float32, of each other image the distance of the nearest asking one.
    """

    first: np.ndarray
    at: np.ndarray
    second: np.ndarray
    back: np.ndarray


def near(
    measure: Measure,
    images: np.ndarray,
    others: np.ndarray,
    people: np.ndarray,
    own: np.ndarray | None = None,
    look: Callable[[slice, np.ndarray], None] | None = None,
) -> Near:
    """Return the nearest others.

    Args:
        measure: How far they lie apart.
        images: (n, C, K, J, I), of which all views are tried.
        others: (m, ...) from its ``plain``.
        people: (m,) patient of each of them.
        own: (n,) patient of each asking image: others of that patient do not count. None for nobody's.
        look: Is shown the rows of distances as they are made, (rows, (r, m)).
    """
    code = {p: n for n, p in enumerate(dict.fromkeys(people.tolist()))}
    who = np.array([code[p] for p in people.tolist()])
    mine = None if own is None else np.array([code.get(p, -1) for p in own.tolist()])
    n, m, asks = len(images), len(others), measure.asks(images)
    first, second = np.full(n, np.inf, np.float32), np.full(n, np.inf, np.float32)
    at, back = np.zeros(n, np.int64), np.full(m, np.inf, np.float32)
    step = max(1, min(IMAGES_AT_ONCE, AT_ONCE // max(m, 1)))
    for start in range(0, n, step):
        rows = slice(start, min(n, start + step))
        apart = measure.apart(asks(rows), others)
        if mine is not None:
            apart[mine[rows][:, None] == who[None]] = np.inf
        if look is not None:
            look(rows, apart)
        back = np.minimum(back, apart.min(axis=0))
        at[rows] = apart.argmin(axis=1)
        first[rows] = apart.min(axis=1)
        apart[who[at[rows]][:, None] == who[None]] = np.inf
        second[rows] = apart.min(axis=1)
    return Near(first, at, second, back)
