"""Boxes from a heat map of their centres: few parts to learn, so it serves small sets."""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from lucency.detector import MOST, filled, grid_points, suppressed
from lucency.detector.losses import giou_loss
from lucency.networks.layers import TrimmedConv3d

#: Standard deviation of a centre's hill as a share of the box's side: 0.54 / 6 (Liu 2020, section 3.2).
HILL = 0.54 / 6

#: A hill is at least this wide, in cells: narrower ones fall between two cells.
LEAST_HILL = 0.6

#: The box is learned where its hill is higher than this share of its peak.
FOOT = 0.1

#: Exponents of the penalty-reduced focal loss (Law 2018, doi 10.1007/978-3-030-01264-9_45).
ALPHA, BETA = 2, 4

#: Weight of the boxes beside the heat map (Liu 2020 gives 5; their loss sums what is a mean here).
BOXES = 2.0

#: Share of cells that an untrained network claims (Lin 2017, doi 10.1109/ICCV.2017.324).
PRIOR = 0.01

#: A distance is between base / e^3 and base * e^3.
STRETCH = 3.0


class CentreHead(nn.Module):
    """A heat map per class and the distances from each cell to the edges of its box, on the finest map.

    Args:
        channels: Of the map.
        stride: Of the map, per axis.
        classes: Number of classes.
        base: Half a typical box, pixels per axis: what an untrained network says.

    Source:
        Zhou 2019, Objects as Points (doi 10.48550/arXiv.1904.07850); hills that reach over the box and the
        distances to its edges after Liu 2020 (doi 10.1609/aaai.v34i07.6838).
    """

    def __init__(self, channels: int, stride: tuple[int, ...], classes: int, base: Sequence[float]) -> None:
        super().__init__()
        dims = len(stride)
        kind = TrimmedConv3d if dims == 3 else nn.Conv2d
        self.stride, self.classes = stride, classes
        self.heat = nn.Sequential(
            kind(channels, channels, 3, padding=1), nn.ReLU(inplace=True), kind(channels, classes, 1)
        )
        self.edges = nn.Sequential(
            kind(channels, channels, 3, padding=1), nn.ReLU(inplace=True), kind(channels, 2 * dims, 1)
        )
        self.register_buffer("base", torch.tensor([*base, *base], dtype=torch.float32), persistent=False)
        nn.init.constant_(self.heat[-1].bias, torch.logit(torch.tensor(PRIOR)).item())  # type: ignore[arg-type]
        nn.init.zeros_(self.edges[-1].bias)  # type: ignore[arg-type]
        nn.init.normal_(self.edges[-1].weight, std=0.01)  # type: ignore[arg-type]

    def forward(self, maps: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Return the heat map (B, classes, ...) as logits and the edges (B, 2 d, ...), both of the finest map."""
        return [self.heat(maps[0]), self.edges(maps[0])]

    def loss(self, raw: Sequence[torch.Tensor], drawn: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
        """Return the focal loss of the heat map and the GIoU loss of the boxes around the centres."""
        heat, edges = raw[0].float(), raw[1].float()
        points = grid_points(heat.shape[2:], self.stride, heat.device)
        wanted, where, boxes, weight = self._hills(points, drawn)
        n = (drawn[..., 0] >= 0).sum().clamp(min=1)
        total = _focal(heat, wanted) / n
        if len(weight):
            total = total + BOXES * (giou_loss(self._corners(edges, points)[where], boxes) * weight).sum() / n
        return total

    def boxes(self, raw: Sequence[torch.Tensor], size: Sequence[int]) -> torch.Tensor:
        """Return found rows, (B, MOST, 2 + 2 d), the best first."""
        heat, edges = raw[0].float(), raw[1].float()
        pool = functional.max_pool3d if len(self.stride) == 3 else functional.max_pool2d
        peaks = heat.sigmoid() * (heat == pool(heat, 3, stride=1, padding=1))
        corners = self._corners(edges, grid_points(heat.shape[2:], self.stride, heat.device)).flatten(1, -2)
        limit = torch.tensor([*size, *size], dtype=corners.dtype, device=corners.device)
        rows = []
        for image in range(len(heat)):
            score, at = peaks[image].flatten().topk(min(2 * MOST, peaks[image].numel()))
            cells = corners.shape[1]
            box = torch.minimum(corners[image][at % cells].clamp(min=0), limit)
            label = torch.div(at, cells, rounding_mode="floor").to(box.dtype)
            rows.append(filled(suppressed(torch.cat([score[:, None], label[:, None], box], dim=1))))
        return torch.stack(rows)

    def _corners(self, edges: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
        """Return (B, ..., 2 d) corners from the raw distances of every cell."""
        away = (edges.clamp(-STRETCH, STRETCH).movedim(1, -1)).exp() * self.get_buffer("base")
        d = points.shape[-1]
        return torch.cat([points - away[..., :d], points + away[..., d:]], dim=-1)

    def _hills(
        self, points: torch.Tensor, drawn: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return the wanted heat map, the cells that learn a box (mask), their boxes and their weights."""
        d, size = points.shape[-1], points.shape[:-1]
        heat = points.new_zeros(len(drawn), self.classes, *size)
        where = torch.zeros(len(drawn), *size, dtype=torch.bool, device=points.device)
        boxes, weights = [], []
        stride = torch.tensor(self.stride, dtype=points.dtype, device=points.device)
        for number, rows in enumerate(drawn):
            own = rows[rows[:, 0] >= 0]
            if not len(own):
                continue
            low, high = own[:, 1 : 1 + d], own[:, 1 + d :]
            # The hill stands on the cell that holds the centre, so that one cell is a sure yes.
            last = torch.tensor(size, device=points.device, dtype=points.dtype) - 1
            cell = torch.minimum((((low + high) / 2) / stride).floor().clamp(min=0), last)
            sigma = ((high - low) / stride * HILL).clamp(min=LEAST_HILL)
            hill = _gauss(size, cell, sigma)
            for label in own[:, 0].unique():
                here = own[:, 0] == label
                heat[number, int(label)] = hill[here].amax(dim=0)
            side = (high - low).prod(dim=1).view(-1, *[1] * d)
            # Where hills meet, the smaller box is learned: the larger one has cells enough.
            owner = torch.where(hill > FOOT, side, torch.inf).min(dim=0)
            chosen = owner.values < torch.inf
            where[number] = chosen
            index = owner.indices[chosen]
            share = hill.gather(0, owner.indices[None])[0][chosen]
            total = share.new_zeros(len(own)).index_add(0, index, share)
            boxes.append(own[index, 1:])
            weights.append(share / total[index])
        if not boxes:
            return heat, where, points.new_zeros(0, 2 * d), points.new_zeros(0)
        return heat, where, torch.cat(boxes), torch.cat(weights)


def _gauss(size: Sequence[int], cell: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """Return (n, *size): a hill of height 1 on every cell."""
    d = len(size)
    out = cell.new_ones(len(cell), *[1] * d)
    for axis, n in enumerate(size):
        away = torch.arange(n, device=cell.device, dtype=cell.dtype)[None] - cell[:, axis, None]
        line = torch.exp(-0.5 * (away / sigma[:, axis, None]) ** 2)
        out = out * line.view(len(cell), *[n if a == axis else 1 for a in range(d)])
    return out


def _focal(logits: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Return the penalty-reduced focal loss, summed."""
    p = logits.sigmoid()
    sure = wanted >= 1.0
    yes = functional.logsigmoid(logits) * (1 - p) ** ALPHA
    no = functional.logsigmoid(-logits) * p**ALPHA * (1 - wanted) ** BETA
    return -torch.where(sure, yes, no).sum()
