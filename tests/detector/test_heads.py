"""The two heads: each can learn a few images by heart, loses least when right, and says boxes in pixels."""

import numpy as np
import pytest
import torch

from lucency.boxes import overlaps
from lucency.detector import MOST, suppressed
from lucency.detector.anchors import LEAST_NEGATIVES, NEGATIVES, AnchorHead, assigned, shared_out
from lucency.detector.centre import CentreHead
from lucency.detector.losses import giou_loss
from lucency.networks import body
from lucency.networks.layers import TrimmedConv3d

SIZE = {2: (32, 48), 3: (16, 24, 24)}


pytestmark = pytest.mark.usefixtures("seeded")


def scene(dims: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Two images with a bright box of class 0 and a dark one of class 1; the second image lacks the dark one."""
    size = SIZE[dims]
    images = 0.1 * torch.randn(2, 1, *size)
    drawn = torch.full((2, 2, 1 + 2 * dims), -1.0)
    corners = (((2, 4, 6), (12, 16, 20)), ((6, 18, 30), (16, 28, 44)))
    for n, (first, last) in enumerate(corners):
        high = tuple(min(b, s) for b, s in zip(last[3 - dims :], size, strict=True))
        low = tuple(min(a, b - 6) for a, b in zip(first[3 - dims :], high, strict=True))
        window = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        for image in range(2 - n):
            images[(image, 0, *window)] += 3.0 * (1 - 2 * n)
            drawn[image, n] = torch.tensor([n, *low, *high], dtype=torch.float32)
    return images, drawn


def network(kind: str, dims: int) -> tuple[torch.nn.Module, CentreHead | AnchorHead]:
    options = {"widths": (8.0, 16.0), "strides": ",".join(["x".join("2" * dims)] * 2), "top": 16}
    trunk = body("fpn", 1, dims, options | ({"maps": 1} if kind == "centre" else {}))
    if kind == "centre":
        return trunk, CentreHead(16, trunk.strides[0], 2, (6.0,) * dims)
    return trunk, AnchorHead(16, trunk.strides, 2, [(10.0,) * dims, (14.0,) * dims])


@pytest.mark.parametrize("kind", ["centre", "anchors"])
def test_no_head_pads_thin_volumes_with_memory_that_nobody_wrote(kind: str) -> None:
    _, head = network(kind, 3)
    padded = [m for m in head.modules() if isinstance(m, torch.nn.Conv3d) and any(int(p) for p in m.padding)]
    assert padded
    assert all(isinstance(m, TrimmedConv3d) for m in padded)


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("kind", ["centre", "anchors"])
def test_a_head_learns_two_images_by_heart(kind: str, dims: int) -> None:
    images, drawn = scene(dims)
    trunk, head = network(kind, dims)
    optimiser = torch.optim.AdamW([*trunk.parameters(), *head.parameters()], lr=5e-3)
    first = last = 0.0
    for step in range(60):
        loss = head.loss(head(trunk(images)), drawn, images.shape[2:])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        first, last = (float(loss.detach()), last) if step == 0 else (first, float(loss.detach()))
    assert last < 0.5 * first
    with torch.inference_mode():
        rows = head.boxes(head(trunk(images)), images.shape[2:])
    assert rows.shape == (2, MOST, 2 + 2 * dims)
    for found, wanted in zip(rows, drawn, strict=True):
        real = wanted[wanted[:, 0] >= 0]
        best = found[: len(real)]
        assert sorted(best[:, 1].tolist()) == sorted(real[:, 0].tolist())
        shared = overlaps(best[:, 2:].numpy(), real[:, 1:].numpy())
        assert (shared.max(axis=1) > 0.5).all()
        assert (found[:, 0].diff() <= 0).all()


@pytest.mark.parametrize("kind", ["centre", "anchors"])
def test_images_without_boxes_can_be_learned_from(kind: str) -> None:
    images, drawn = scene(2)
    trunk, head = network(kind, 2)
    loss = head.loss(head(trunk(images)), torch.full_like(drawn, -1.0), images.shape[2:])
    assert torch.isfinite(loss)
    none = head.loss(head(trunk(images)), drawn[:, :0], images.shape[2:])
    assert torch.isfinite(none)


def test_generalised_overlap_by_hand() -> None:
    # Equal: 0. Apart: union 200, hull 300 × … boxes 10 × 10 at 0 and at 20 along one axis: IoU 0, hull 30 × 10.
    one = torch.tensor([[0.0, 0, 10, 10]])
    assert float(giou_loss(one, one)) == pytest.approx(0)
    apart = torch.tensor([[0.0, 20, 10, 30]])
    assert float(giou_loss(one, apart)) == pytest.approx(1 + (300 - 200) / 300)


def test_every_box_has_an_anchor_that_learns_it() -> None:
    # A box far from the size of any anchor, and one at the very corner.
    anchors = torch.cat(
        [torch.tensor([[y, x, y + 8, x + 8] for y in range(0, 32, 4) for x in range(0, 48, 4)]).float()]
    )
    boxes = torch.tensor([[0.0, 0, 2, 2], [5, 5, 30, 45], [10, 10, 18, 18]])
    match = assigned(anchors, [len(anchors)], boxes)
    assert set(match.tolist()) == {-1, 0, 1, 2}
    inside = anchors[match == 2]
    assert overlaps(inside.numpy(), boxes[2:].numpy()).min() > 0.2


def test_of_the_negatives_only_the_hardest_teach() -> None:
    _, head = network("anchors", 2)
    assert isinstance(head, AnchorHead)
    size = (256, 256)
    cells = [(256 // s[0]) ** 2 for s in head.strides]
    raw = []
    generator = torch.Generator().manual_seed(0)
    for n, shapes in zip(cells, head.shapes, strict=True):
        if shapes:
            raw.append(torch.randn(1, n, len(shapes), 2, generator=generator) - 4)
            raw.append(torch.zeros(1, n, len(shapes), 4))
    scores = [r.requires_grad_() for r in raw[0::2]]
    total = sum(r.shape[1] * r.shape[2] for r in scores)
    drawn = torch.tensor([[[0.0, 100, 100, 112, 112]]])
    for boxes, kept in ((drawn, None), (torch.full_like(drawn, -1.0), LEAST_NEGATIVES)):
        for each in scores:
            each.grad = None
        head.loss([t for pair in zip(scores, raw[1::2], strict=True) for t in pair], boxes, size).backward()
        taught = torch.cat([s.grad.abs().sum(3).flatten() for s in scores if s.grad is not None])
        said = torch.cat([s.detach().sigmoid().pow(3).sum(3).flatten() for s in scores])
        n_taught = int((taught > 0).sum())
        if kept is None:
            positives = n_taught - max(LEAST_NEGATIVES, NEGATIVES * (n_taught // (NEGATIVES + 1)))
            assert 0 < positives < n_taught < total
        else:
            assert n_taught == kept < total
            # Those that were passed over claim less than those that teach; the loss of two classes is their sum.
            assert said[taught > 0].median() > said[taught == 0].max() / 2


def test_anchors_go_to_the_map_that_suits_their_size() -> None:
    shapes = shared_out([(12.0, 12.0), (100.0, 90.0)], [(2, 2), (4, 4), (8, 8), (16, 16)])
    assert [len(s) for s in shapes] == [1, 0, 0, 1]


def test_suppression_keeps_the_surest_of_a_class_and_both_of_two_classes() -> None:
    rows = torch.tensor(
        [[0.9, 0, 0, 0, 10, 10], [0.8, 0, 1, 0, 11, 10], [0.7, 1, 0, 0, 10, 10], [0.6, 0, 30, 0, 40, 10]]
    )
    kept = suppressed(rows)
    assert kept[:, 0].tolist() == pytest.approx(np.array([0.9, 0.7, 0.6], dtype=np.float32))
