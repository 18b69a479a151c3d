"""A critic under differential privacy: what a single patient can move, and that nothing else of a step sees him."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from lucency.errors import UsageError
from lucency.generators import CRITIC, GENERATOR, Noise, Shape, Step, every_family, family_named
from lucency.generators.differentiable import Transforms
from lucency.generators.private import cut, sloped

FAMILY, SHAPE = family_named("dp-gan"), Shape((8, 8), 1, 2, 8)


pytestmark = pytest.mark.usefixtures("seeded")


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def images(n, seed=5):
    return torch.randn(n, 1, 8, 8, generator=seeded(seed)), torch.arange(n) % 2


def critic():
    return FAMILY.parts(SHAPE)[CRITIC]


def ours(said):
    return functional.softplus(-said)


def length(slopes):
    return float(torch.stack([s.square().sum() for s in slopes.values()]).sum().sqrt())


def step_of(n, noise, seed=7, chance=0.3):
    real, labels = images(n)
    return Step(real, labels, torch.arange(2), 0.5, Transforms(chance), Noise(noise, 1.0, 6, seeded(seed)))


def critics_slopes(parts, step):
    """The gradient that the critic is stepped by."""
    losses = FAMILY.losses(parts, step, seeded(1))
    name, loss = next(losses)
    assert name == CRITIC
    weights = dict(parts[CRITIC].named_parameters())
    found = dict(zip(weights, torch.autograd.grad(loss, list(weights.values())), strict=True))
    losses.close()
    return found, float(loss.detach())


def test_gradients_of_single_images_are_those_that_backward_gives_one_by_one():
    net, (some, labels) = critic(), images(3)
    found = cut(net, some, labels, ours, clip=1e9)
    net.zero_grad()
    for image, label in zip(some, labels, strict=True):
        ours(net(image[None], label[None])[0]).backward()
    for name, weight in net.named_parameters():
        assert torch.allclose(found[name], weight.grad, atol=1e-6, rtol=1e-4), name


@pytest.mark.parametrize("clip", [0.01, 0.3])
def test_no_image_moves_the_sum_by_more_than_the_cut(clip):
    """With and without one image, however far it lies from the others."""
    net, (some, labels) = critic(), images(5)
    some[4] *= 1000
    whole, without = (cut(net, some[:n], labels[:n], ours, clip) for n in (5, 4))
    apart = length({k: whole[k] - without[k] for k in whole})
    assert 0 < apart <= clip * (1 + 1e-3)


def test_a_gradient_that_is_short_is_left_as_it_is_and_a_long_one_gets_the_length():
    net, (some, labels) = critic(), images(1)
    free = length(cut(net, some, labels, ours, 1e9))
    assert length(cut(net, some, labels, ours, 2 * free)) == pytest.approx(free, rel=1e-4)
    assert length(cut(net, some, labels, ours, free / 4)) == pytest.approx(free / 4, rel=1e-4)


def test_what_the_critic_says_of_an_image_does_not_depend_on_the_images_beside_it():
    net, (some, labels) = critic().train(), images(6)
    assert torch.allclose(net(some, labels)[:2], net(some[:2], labels[:2]), atol=1e-6)
    assert not [m for m in net.modules() if isinstance(m, nn.BatchNorm2d | nn.BatchNorm3d)]


@pytest.mark.parametrize("n", [0, 1, 9])
def test_any_number_of_images_may_be_drawn_and_every_part_learns(n):
    parts, seen = FAMILY.parts(SHAPE), []
    for name, loss in FAMILY.losses(parts, step_of(n, 1.0), seeded()):
        assert torch.isfinite(loss)
        for weight in parts[name].parameters():
            weight.grad = None
        loss.backward()
        assert [k for k, p in parts[name].named_parameters() if p.grad is None] == []
        seen.append(name)
    assert seen == [CRITIC, GENERATOR]


def test_without_an_image_the_gradient_is_that_of_made_ones_and_noise_of_the_stated_size():
    """Noise of 5 over 6 expected rows: its deviation is 5 / 6, by some thousand weights to a few in a hundred."""
    parts = FAMILY.parts(SHAPE)
    still, _ = critics_slopes(parts, step_of(0, 0.0))
    loud, _ = critics_slopes(parts, step_of(0, 5.0))
    noise = torch.cat([(loud[k] - still[k]).flatten() for k in still])
    assert len(noise) > 3000
    assert float(noise.std()) == pytest.approx(5 / 6, rel=0.06)
    assert abs(float(noise.mean())) < 5 / 6 * 5 / len(noise) ** 0.5


def test_a_patient_more_moves_the_gradient_by_the_cut_over_the_expected_rows_and_the_loss_not_at_all():
    """Unchanged images: with him the others would be changed by other random numbers, as independent as before."""
    parts = FAMILY.parts(SHAPE)
    (with_him, loss), (without, other) = (critics_slopes(parts, step_of(n, 0.0, chance=0.0)) for n in (5, 4))
    assert 0 < length({k: with_him[k] - without[k] for k in without}) <= 1 / 6 * (1 + 1e-3)
    assert loss == other


def test_noise_is_of_the_secret_and_not_of_the_seed():
    parts = FAMILY.parts(SHAPE)
    first, again, other = (critics_slopes(parts, step_of(3, 1.0, seed=s))[0] for s in (7, 7, 8))
    assert all(torch.equal(first[k], again[k]) for k in first)
    assert not any(torch.allclose(first[k], other[k]) for k in first)


def test_a_loss_with_a_given_gradient_has_it_and_its_value():
    net = nn.Linear(2, 1)
    slopes = {"weight": torch.tensor([[3.0, -4.0]]), "bias": torch.tensor([5.0])}
    loss = sloped(net, slopes, torch.tensor(7.0))
    loss.backward()
    assert float(loss.detach()) == pytest.approx(7.0)
    assert torch.equal(net.weight.grad, slopes["weight"])
    assert torch.equal(net.bias.grad, slopes["bias"])


def test_a_step_without_noise_is_refused():
    real, labels = images(4)
    with pytest.raises(UsageError, match="A step without noise"):
        next(FAMILY.losses(FAMILY.parts(SHAPE), Step(real, labels, torch.arange(2), 0.5, Transforms(0.3)), seeded()))


def test_one_family_is_private():
    assert [name for name, one in every_family().items() if one.private] == ["dp-gan"]
