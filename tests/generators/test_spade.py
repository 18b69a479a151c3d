"""A generator that is told masks: where they count, what its critic sees, and that it learns to obey them."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from lucency.errors import UsageError
from lucency.generators import CRITIC, GENERATOR, Shape, Step, every_family, family_named
from lucency.generators.differentiable import Transforms
from lucency.generators.spade import Modulated

FAMILY = family_named("spade")
SHAPE = Shape((16, 16), 2, 1, 8, 1)


pytestmark = pytest.mark.usefixtures("seeded")


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def discs(n, size=(16, 16), seed=0):
    """Masks of a disc or ball somewhere, (n, 1, ...) of -1 and 1."""
    chance = rng(seed)
    grid = torch.stack(torch.meshgrid(*(torch.arange(s).float() for s in size), indexing="ij"))
    middle = torch.tensor(size) * (0.3 + 0.4 * torch.rand(n, len(size), generator=chance))
    away = (grid[None] - middle.view(n, len(size), *(1 for _ in size))).square().sum(dim=1, keepdim=True)
    return torch.where(away < (sum(size) / len(size) / 4) ** 2, 1.0, -1.0)


def step_of(masks, seed=0, **changes):
    """Images that are 1 inside and -1 outside, with noise; the mask is their last channel."""
    images = masks + 0.3 * torch.randn(masks.shape, generator=rng(seed + 1))
    labels = torch.zeros(len(masks), dtype=torch.int64)
    transforms = Transforms(**{"chance": 0.1, "masks": 1} | changes)
    return Step(torch.cat([images, masks], dim=1), labels, torch.zeros(1, dtype=torch.int64), 0.5, transforms)


def test_only_families_that_are_told_masks_need_them():
    assert [n for n, one in every_family().items() if one.needs_masks] == ["spade"]


def test_the_norm_gives_back_what_the_mask_says_at_each_pixel():
    """Scale 1 + 2 and shift 1 inside, 1 + 0 and 0 outside: channels of the mask are read as they are."""
    layer = Modulated(2, 1, 1, 1).eval()
    with torch.no_grad():
        for part in (layer.read, layer.told):
            part.weight.zero_()
            part.bias.zero_()
        layer.read.weight[0, 0, 1, 1] = 1.0
        layer.told.weight[:, 0, 1, 1] = torch.tensor([2.0, 1.0])
        x, masks = torch.full((1, 1, 4, 4), 2.0), torch.full((1, 1, 4, 4), -1.0)
        masks[..., :2] = 1.0
        found = layer(x, masks)
    # In eval mode a fresh batch norm divides by the root of 1 + 1e-5.
    assert found[..., :2].flatten().tolist() == pytest.approx([7.0] * 8, abs=1e-3)
    assert found[..., 2:].flatten().tolist() == pytest.approx([2.0] * 8, abs=1e-3)
    assert [n for n, _ in layer.norm.named_parameters()] == []


def test_the_critic_sees_the_masks_of_the_real_images_beside_made_ones_too():
    """Real and made pairs are moved, mirrored and hidden each for itself, but at chance 0 masks are the step's own."""
    seen = []

    class Noting(nn.Module):
        def forward(self, images, labels):
            seen.append(images.detach())
            return images.flatten(1).sum(dim=1)

    masks = discs(4)
    parts = {**FAMILY.parts(SHAPE), CRITIC: Noting()}
    list(FAMILY.losses(parts, step_of(masks, chance=0.0), rng()))
    assert len(seen) == 3
    assert all(torch.equal(images[:, 1:], masks) for images in seen)
    assert not torch.equal(seen[0][:, :1], seen[1][:, :1])


def test_masks_are_mirrored_before_the_generator_sees_them():
    told = []

    class Noting(nn.Module):
        def forward(self, z, labels, masks):
            told.append(masks)
            return masks + z[:, :1, None, None]

    masks = discs(40)
    parts = {**FAMILY.parts(SHAPE), GENERATOR: Noting()}
    losses = FAMILY.losses(parts, step_of(masks, chance=0.0, flips=(-1,)), rng())
    next(losses)
    losses.close()
    same = [torch.equal(a, b) for a, b in zip(told[0], masks, strict=True)]
    turned = [torch.equal(a, b.flip(-1)) for a, b in zip(told[0], masks, strict=True)]
    # Half of forty, four standard errors.
    assert 8 <= sum(same) <= 32
    assert all(a or b for a, b in zip(same, turned, strict=True))


def test_what_is_drawn_has_the_masks_that_were_given_and_depends_on_them():
    generator = FAMILY.parts(SHAPE)[GENERATOR].eval()
    with torch.no_grad():
        for weight in generator.parameters():
            weight.add_(0.05 * torch.randn(weight.shape))
        masks, labels = discs(3), torch.zeros(3, dtype=torch.int64)
        first, second = (FAMILY.sample(generator, labels, rng(1), m) for m in (masks, -masks))
    assert torch.equal(first[:, 1:], masks)
    assert torch.equal(second[:, 1:], -masks)
    assert float((first[:, 0] - second[:, 0]).abs().max()) > 1e-3


def test_no_mask_is_refused():
    with pytest.raises(UsageError, match="'spade' without masks"):
        FAMILY.sample(FAMILY.parts(SHAPE)[GENERATOR], torch.zeros(2, dtype=torch.int64), rng())
    with pytest.raises(UsageError, match="and no mask"):
        FAMILY.parts(replace(SHAPE, masks=0))


@pytest.mark.parametrize("size", [(16, 16), (8, 10, 12)], ids=str)
def test_it_learns_to_obey_masks_that_it_has_not_seen(size):
    """Images follow their masks with a correlation of .96 in truth: standard deviation of the noise .3."""
    shape = Shape(size, 2, 1, 8, 1)
    parts = FAMILY.parts(shape)
    optimisers = {n: torch.optim.Adam(p.parameters(), 1e-3, (0.5, 0.99)) for n, p in parts.items()}
    for number in range(80):
        for name, loss in FAMILY.losses(parts, step_of(discs(8, size, number), number), rng(number)):
            optimisers[name].zero_grad()
            loss.backward()
            optimisers[name].step()
    masks = discs(16, size, 10_001)
    with torch.no_grad():
        made = FAMILY.sample(parts[GENERATOR].eval(), torch.zeros(16, dtype=torch.int64), rng(3), masks)
    image, mask = made[:, 0].flatten(), masks.flatten()
    found = float(torch.corrcoef(torch.stack([image, mask]))[0, 1])
    assert math.isfinite(found)
    assert found > 0.6
