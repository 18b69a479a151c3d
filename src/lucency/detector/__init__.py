"""What finds boxes on top of a body's maps: heads, what they learn, and how several answers become one.

Two kinds of rows go through here. *Drawn* rows, (n, 1 + 2 d): class, low corner, high corner; class -1 fills up a
batch. *Found* rows, (n, 2 + 2 d): score, class, low corner, high corner; class -1 and score 0 fill up, class -1 and
score -1 end one look at an image. Corners are in pixels of the network's grid, axes in the order of the array.
"""

from collections.abc import Sequence
from typing import Protocol

import torch

from lucency.boxes import overlaps

#: Class of a row that only fills up.
NOTHING = -1

#: Score of a row that ends the rows of one look; its corners are those of the part of the image that was looked at.
LOOKED = -1.0

#: Boxes given out for one view of an image, at most: enough for a crowded smear, few enough for suppression in Python.
MOST = 200

#: Boxes of one class that overlap more than this (intersection over union) are one box seen twice.
SAME = 0.5

#: Boxes with less score are not kept: a thousand such boxes would be needed for one that is right.
LEAST = 1e-3


class Head(Protocol):
    """What the two heads have in common."""

    def forward(self, maps: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Return raw outputs of the maps."""
        ...

    def loss(self, raw: Sequence[torch.Tensor], drawn: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
        """Return one number; ``drawn`` is (B, n, 1 + 2 d), ``size`` of the input."""
        ...

    def boxes(self, raw: Sequence[torch.Tensor], size: Sequence[int]) -> torch.Tensor:
        """Return found rows, (B, MOST, 2 + 2 d), the best first."""
        ...


def suppressed(rows: torch.Tensor, same: float = SAME) -> torch.Tensor:
    """Return found rows without those that a better row of their class covers, best first.

    Args:
        rows: (n, 2 + 2 d).
        same: Intersection over union above which two are one.
    """
    rows = rows[rows[:, 0] > LEAST]
    rows = rows[rows[:, 0].argsort(descending=True, stable=True)][: 2 * MOST]
    if not len(rows):
        return rows
    places, classes = rows[:, 2:].double().cpu().numpy(), rows[:, 1].cpu().numpy()
    taken = (overlaps(places, places) > same) & (classes[:, None] == classes[None])
    alive = torch.ones(len(rows), dtype=torch.bool)
    for n in range(len(rows)):
        if alive[n]:
            alive[n + 1 :] &= ~torch.from_numpy(taken[n, n + 1 :])
    return rows[alive.to(rows.device)][:MOST]


def filled(rows: torch.Tensor) -> torch.Tensor:
    """Return (MOST, 2 + 2 d): the rows, then rows of nothing."""
    out = rows.new_zeros(MOST, rows.shape[1])
    out[:, 1] = NOTHING
    out[: len(rows)] = rows[:MOST]
    return out


def with_places(x: torch.Tensor) -> torch.Tensor:
    """Return a map with a channel for each axis that says where on the image a cell lies, -1 to 1.

    Source:
        Liu 2018, CoordConv (doi 10.48550/arXiv.1807.03247).
    """
    axes = [(torch.arange(n, device=x.device, dtype=x.dtype) + 0.5) * 2 / n - 1 for n in x.shape[2:]]
    places = torch.stack(torch.meshgrid(*axes, indexing="ij"))
    return torch.cat([x, places.expand(len(x), *places.shape)], dim=1)


def grid_points(size: Sequence[int], stride: Sequence[int], device: torch.device) -> torch.Tensor:
    """Return the centres of a map's cells in pixels of the input, (*size, d)."""
    axes = [(torch.arange(n, device=device) + 0.5) * s for n, s in zip(size, stride, strict=True)]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)
