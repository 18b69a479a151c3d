"""Boxes from anchors on every map of a pyramid (RetinaNet), with anchors fitted to the boxes of the set."""

from collections.abc import Iterable, Sequence

import torch
from torch import nn

from lucency.boxes import overlaps
from lucency.detector import MOST, filled, grid_points, suppressed
from lucency.detector.losses import focal_terms, giou_loss
from lucency.networks.layers import TrimmedConv3d

#: Candidates a map for each box (Zhang 2020, table 6: 7 to 17 do alike).
NEAREST = 9

#: Hard negatives kept for each positive, and the fewest in a batch (nnDetection takes 1 : 2; Baumgartner 2021,
#: doi 10.1007/978-3-030-87240-3_51).
NEGATIVES, LEAST_NEGATIVES = 32, 256

#: Share of anchors that an untrained network claims (Lin 2017, doi 10.1109/ICCV.2017.324).
PRIOR = 0.01

#: A side changes by at most e to this.
STRETCH = 3.0

#: Weight of the boxes beside the classes.
BOXES = 2.0


class AnchorHead(nn.Module):
    """Class scores and corrections for the anchors of every map.

    Args:
        channels: Of every map.
        strides: Of every map, per axis.
        classes: Number of classes.
        shapes: Sides of the fitted anchors, pixels per axis; each belongs to the map that suits its size.

    Source:
        Lin 2017 (doi 10.1109/ICCV.2017.324); what an anchor learns after Zhang 2020, ATSS
        (doi 10.1109/CVPR42600.2020.00978).
    """

    def __init__(
        self, channels: int, strides: Sequence[tuple[int, ...]], classes: int, shapes: Sequence[Sequence[float]]
    ) -> None:
        super().__init__()
        dims = len(strides[0])
        kind = TrimmedConv3d if dims == 3 else nn.Conv2d
        self.strides, self.classes, self.dims = tuple(strides), classes, dims
        self.shapes = shared_out(shapes, strides)
        self.towers = nn.ModuleList(
            nn.Sequential(kind(channels, channels, 3, padding=1), nn.ReLU(inplace=True)) for _ in range(2)
        )
        self.labels = nn.ModuleList(kind(channels, max(1, len(s)) * classes, 1) for s in self.shapes)
        self.moves = nn.ModuleList(kind(channels, max(1, len(s)) * 2 * dims, 1) for s in self.shapes)
        for label, move in zip(self.labels, self.moves, strict=True):
            nn.init.normal_(label.weight, std=0.01)  # type: ignore[arg-type]
            nn.init.constant_(label.bias, torch.logit(torch.tensor(PRIOR)).item())  # type: ignore[arg-type]
            nn.init.normal_(move.weight, std=0.01)  # type: ignore[arg-type]
            nn.init.zeros_(move.bias)  # type: ignore[arg-type]

    def forward(self, maps: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Return scores and moves of each map that has anchors: (B, cells, A, classes) and (B, cells, A, 2 d)."""
        out: list[torch.Tensor] = []
        for n, x in enumerate(maps):
            if not self.shapes[n]:
                continue
            kinds = len(self.shapes[n])
            for head, tower in ((self.labels[n], self.towers[0]), (self.moves[n], self.towers[1])):
                y = head(tower(x)).movedim(1, -1)
                out.append(y.reshape(len(x), -1, kinds, y.shape[-1] // kinds))
        return out

    def loss(self, raw: Sequence[torch.Tensor], drawn: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
        """Return focal loss over positives and the hardest negatives, and GIoU loss of the positives."""
        scores, moves, anchors, per_map = self._flat(raw, size)
        d = self.dims
        wanted = torch.zeros_like(scores)
        pairs: list[tuple[torch.Tensor, torch.Tensor]] = []
        for number, rows in enumerate(drawn):
            own = rows[rows[:, 0] >= 0]
            if not len(own):
                continue
            match = assigned(anchors, per_map, own[:, 1:])
            sure = match >= 0
            wanted[number, sure.nonzero()[:, 0], own[match[sure], 0].long()] = 1.0
            pairs.append((_moved(anchors[sure], moves[number][sure]), own[match[sure], 1 : 1 + 2 * d]))
        terms = focal_terms(scores, wanted)
        positive = wanted.amax(dim=2) > 0
        n = int(positive.sum())
        negative = terms[~positive].sum(dim=1)
        hard = negative.topk(min(len(negative), max(LEAST_NEGATIVES, NEGATIVES * n))).values
        total = (terms[positive].sum() + hard.sum()) / max(1, n)
        if pairs:
            found, boxes = torch.cat([a for a, _ in pairs]), torch.cat([b for _, b in pairs])
            total = total + BOXES * giou_loss(found, boxes).sum() / max(1, n)
        return total

    def boxes(self, raw: Sequence[torch.Tensor], size: Sequence[int]) -> torch.Tensor:
        """Return found rows, (B, MOST, 2 + 2 d), the best first."""
        scores, moves, anchors, _ = self._flat(raw, size)
        limit = torch.tensor([*size, *size], dtype=moves.dtype, device=moves.device)
        rows = []
        for number in range(len(scores)):
            score, at = scores[number].sigmoid().flatten().topk(min(5 * MOST, scores[number].numel()))
            anchor = torch.div(at, self.classes, rounding_mode="floor")
            box = torch.minimum(_moved(anchors[anchor], moves[number][anchor]).clamp(min=0), limit)
            label = (at % self.classes).to(box.dtype)
            rows.append(filled(suppressed(torch.cat([score[:, None], label[:, None], box], dim=1))))
        return torch.stack(rows)

    def _flat(
        self, raw: Sequence[torch.Tensor], size: Sequence[int]
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, list[int]]:
        scores = torch.cat([r.flatten(1, 2) for r in raw[0::2]], dim=1).float()
        moves = torch.cat([r.flatten(1, 2) for r in raw[1::2]], dim=1).float()
        found = []
        for stride, shapes in zip(self.strides, self.shapes, strict=True):
            if not shapes:
                continue
            cells = [-(-n // s) for n, s in zip(size, stride, strict=True)]
            points = grid_points(cells, stride, scores.device).reshape(-1, 1, self.dims)
            half = torch.tensor(shapes, device=scores.device, dtype=points.dtype)[None] / 2
            found.append(torch.cat([points - half, points + half], dim=2).flatten(0, 1))
        return scores, moves, torch.cat(found), [len(f) for f in found]


def shared_out(
    shapes: Sequence[Sequence[float]], strides: Sequence[tuple[int, ...]]
) -> tuple[tuple[tuple[float, ...], ...], ...]:
    """Return for each map the anchors that suit it: an anchor's side is about six cells of its map."""
    found: list[list[tuple[float, ...]]] = [[] for _ in strides]
    for shape in shapes:
        cells = [_mean(s / t for s, t in zip(shape, stride, strict=True)) for stride in strides]
        best = min(range(len(strides)), key=lambda n: abs(torch.tensor(cells[n] / 6.0).log().item()))
        found[best].append(tuple(float(s) for s in shape))
    return tuple(tuple(f) for f in found)


def _mean(values: Iterable[float]) -> float:
    return float(torch.tensor(list(values)).log().mean().exp())


def assigned(anchors: torch.Tensor, per_map: Sequence[int], boxes: torch.Tensor) -> torch.Tensor:
    """Return for each anchor the box it learns, or -1.

    Of every map the anchors nearest to a box's centre are candidates; those are positive whose overlap exceeds the
    candidates' mean plus deviation and whose centre lies inside the box. A box whose candidates all fail takes the
    best of them, so that none goes unlearned.

    Args:
        anchors: (n, 2 d).
        per_map: Anchors of each map; they sum to n.
        boxes: (m, 2 d), m >= 1.

    Returns:
        (n,) int64.

    Source:
        Zhang 2020, algorithm 1 (doi 10.1109/CVPR42600.2020.00978).
    """
    d = boxes.shape[1] // 2
    pairs = overlaps(boxes.double().cpu().numpy(), anchors.double().cpu().numpy())
    overlap = torch.from_numpy(pairs).to(boxes)
    centres = (anchors[:, :d] + anchors[:, d:]) / 2
    middle = (boxes[:, :d] + boxes[:, d:]) / 2
    away = torch.cdist(middle, centres)
    candidates = []
    start = 0
    for n in per_map:
        near = away[:, start : start + n].topk(min(NEAREST, n), largest=False).indices + start
        candidates.append(near)
        start += n
    chosen = torch.cat(candidates, dim=1)
    own = overlap.gather(1, chosen)
    threshold = own.mean(dim=1, keepdim=True) + own.std(dim=1, keepdim=True, unbiased=False)
    inside = ((centres[chosen] > boxes[:, None, :d]) & (centres[chosen] < boxes[:, None, d:])).all(dim=2)
    good = (own >= threshold) & inside
    # At least the best candidate of each box.
    best = own.argmax(dim=1, keepdim=True)
    good = good | torch.zeros_like(good).scatter(1, best, value=True) & ~good.any(dim=1, keepdim=True)
    value = torch.where(good, own + 1e-6, torch.zeros_like(own))
    table = overlap.new_zeros(overlap.shape).scatter(1, chosen, value)
    strongest = table.max(dim=0)
    return torch.where(strongest.values > 0, strongest.indices, torch.full_like(strongest.indices, -1))


def _moved(anchors: torch.Tensor, moves: torch.Tensor) -> torch.Tensor:
    """Return anchors with their centres shifted by shares of their sides and their sides scaled by exponents."""
    d = anchors.shape[1] // 2
    side, middle = anchors[:, d:] - anchors[:, :d], (anchors[:, d:] + anchors[:, :d]) / 2
    middle = middle + moves[:, :d] * side
    half = side * moves[:, d:].clamp(-STRETCH, STRETCH).exp() / 2
    return torch.cat([middle - half, middle + half], dim=1)
