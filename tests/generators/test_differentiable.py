import numpy as np
import pytest
import torch

from lucency.errors import UsageError
from lucency.generators.differentiable import HIGHEST, SPAN, TARGET, Transforms, changed, followed


def seeded(number=0):
    return torch.Generator().manual_seed(number)


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=seeded(seed))


@pytest.mark.parametrize("size", [(9, 12), (5, 8, 7)])
def test_without_chance_and_flips_images_stay_as_they_are(size):
    images = noise(6, 2, *size)
    assert torch.equal(changed(images, Transforms(0.0), seeded()), images)


@pytest.mark.parametrize("size", [(9, 12), (5, 8, 7)])
def test_what_is_done_does_not_depend_on_the_images_so_gradients_pass_through_twice(size):
    """For one draw every change is affine: f(x + y) - f(y) = f(x) - f(0), and its slope is that of a linear map."""
    x, y = noise(40, 2, *size), noise(40, 2, *size, seed=1)
    transforms = Transforms(HIGHEST, flips=(-1, -2), masks=1)
    f = [changed(images, transforms, seeded(3)) for images in (x + y, y, x, torch.zeros_like(x))]
    assert torch.allclose(f[0] - f[1], f[2] - f[3], atol=1e-5)
    seen = x.clone().requires_grad_()
    weight = noise(40, 2, *size, seed=4)
    (slope,) = torch.autograd.grad((changed(seen, transforms, seeded(3)) * weight).sum(), seen, create_graph=True)
    assert float(((f[2] - f[3]) * weight).sum()) == pytest.approx(float((slope * x).sum().detach()), rel=1e-4)


def test_an_image_is_mirrored_only_along_the_axes_that_are_allowed():
    images = torch.arange(12.0).reshape(1, 1, 3, 4).expand(200, -1, -1, -1)
    found = changed(images, Transforms(0.0, flips=(-1,)), seeded())
    kept = (found == images).flatten(1).all(dim=1)
    mirrored = (found == images.flip(-1)).flatten(1).all(dim=1)
    assert bool((kept | mirrored).all())
    # 200 throws of a coin: 60 to 140 in all but a few of a hundred million.
    assert 60 < int(mirrored.sum()) < 140


def test_masks_move_with_the_image_and_keep_their_values():
    image = torch.zeros(300, 2, 16, 16)
    image[:, :, 6:10, 6:10] = 1.0
    image[:, 1] = 2 * image[:, 1] - 1
    # One in eight images is neither brighter nor flatter nor hidden in part; half of these are shifted.
    found = changed(image, Transforms(0.5, masks=1), seeded())
    assert set(found[:, 1].unique().tolist()) == {-1.0, 0.0, 1.0}
    # Where only shifts were drawn, the mask lies where the bright square lies.
    as_before = torch.isin(found[:, 0], torch.tensor([0.0, 1.0]))
    plain = (as_before & (found[:, 1] != 0)).flatten(1).all(dim=1)
    moved = plain & (found[:, 0] != image[:, 0]).flatten(1).any(dim=1)
    assert int(moved.sum()) > 5
    assert torch.equal(found[moved, 1] > 0, found[moved, 0] == 1)


def test_shifted_images_go_on_with_their_edge():
    """Eight columns, shifted by at most one: a ramp becomes a ramp that stands still at one end."""
    images = torch.arange(8.0).expand(400, 1, 8, 8)
    found = changed(images, Transforms(0.5), seeded(), 1.0)
    # Contrast and brightness keep ratios of differences; a hidden box is 0. Look at rows without a hidden pixel.
    row = found[:, 0, 0]
    row = row[(row != 0).all(dim=1)]
    steps = row.diff(dim=1)
    steps = steps / steps.abs().max(dim=1, keepdim=True).values
    kinds = {tuple(s) for s in (steps.abs() > 0.5).int().tolist()}
    assert kinds == {(1,) * 7, (0, *(1,) * 6), (*(1,) * 6, 0)}


@pytest.mark.parametrize("chance", [0.2, 0.7])
def test_each_change_comes_as_often_as_its_chance(chance):
    n = 2000
    found = changed(torch.ones(n, 1, 16, 16), Transforms(chance), seeded())
    hidden = (found == 0).flatten(1).any(dim=1).float().mean()
    brighter = (found.flatten(1).max(dim=1).values != 1).float().mean()
    # Five standard errors of a proportion; a hidden box or one that fills the image changes both by less.
    margin = 5 * np.sqrt(chance * (1 - chance) / n)
    assert float(hidden) == pytest.approx(chance, abs=margin)
    assert float(brighter) == pytest.approx(chance, abs=margin)


def test_the_chance_rises_while_real_images_are_told_and_falls_when_they_are_not():
    start = torch.tensor(0.1)
    told, not_told = torch.full((10,), 2.0), torch.tensor([1.0, -1.0] * 5)
    assert float(followed(start, told, -told, 0.5)) == pytest.approx(0.1 + 10 / SPAN)
    assert float(followed(start, not_told, not_told, 0.5)) == pytest.approx(0.1 - 10 / SPAN)
    # A critic without a zero: what it says is taken from the middle.
    assert float(followed(start, told + 50, 50 - told, 0.5)) == pytest.approx(0.1 + 10 / SPAN, rel=1e-4)
    # Signs 8 to 2: their mean is .6, the target itself.
    at = torch.tensor([1.0] * 8 + [-1.0] * 2)
    assert float(torch.sign(at).mean()) == pytest.approx(TARGET)


def test_the_chance_stays_within_its_limits():
    told = torch.full((SPAN,), 2.0)
    assert float(followed(torch.tensor(0.4), told, -told, 0.5)) == 0.5
    assert float(followed(torch.tensor(0.4), torch.zeros(SPAN), torch.zeros(SPAN), 0.5)) == 0.0


def test_a_chance_that_would_leak_is_refused():
    with pytest.raises(UsageError, match=r"chance = 0\.9.*0 to 0\.8"):
        Transforms(0.9)
