"""The contract of a family of generators, over the whole registry, and what single families promise."""

import re
from dataclasses import replace

import pytest
import torch
from torch import nn

from lucency.errors import UsageError
from lucency.generators import CRITIC, GENERATOR, SIZES, Noise, Shape, Step, between, every_family, family_named
from lucency.generators.differentiable import Transforms
from lucency.generators.layers import ClassNorm, Deviation, cropped, ladder, padded, resting, steepness

NAMES = list(every_family())
#: Even, uneven, of unlike sides, not a multiple of a power of two.
SIDES = [(8, 8), (10, 28), (6, 8, 12)]


pytestmark = pytest.mark.usefixtures("seeded")


def shape_of(name, size=(8, 8), channels=1, n_classes=2):
    """Images that a family can make: with a mask beside the channels where it needs one."""
    masks = int(family_named(name).needs_masks)
    return Shape(size, channels + masks, n_classes, 4, masks)


def sampled(family, generator, labels, rng, shape):
    """Images of these classes, for the same masks at every call."""
    given = torch.randn(len(labels), shape.masks, *shape.size, generator=torch.Generator().manual_seed(9)).sign()
    return family.sample(generator, labels, rng, given if family.needs_masks else None)


def step_of(shape, n=6, transforms=None, **changes):
    images = torch.randn(n, shape.channels, *shape.size, generator=torch.Generator().manual_seed(5))
    labels = torch.arange(n) % shape.n_classes
    given = {"images": images, "labels": labels, "drawn": torch.arange(shape.n_classes), "progress": 0.5}
    seen = replace(transforms or Transforms(0.3), masks=shape.masks)
    return Step(**given | changes, transforms=seen, privacy=Noise(1.0, 1.0, n, torch.Generator().manual_seed(11)))


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", SIDES, ids=str)
def test_images_have_the_shape_that_was_asked_for(name, size):
    family, shape = family_named(name), shape_of(name, size, 2, 3)
    parts = family.parts(shape)
    for part in parts.values():
        part.eval()
    labels = torch.tensor([0, 2])
    with torch.no_grad():
        made = sampled(family, parts[GENERATOR], labels, rng(), shape)
        assert made.shape == (2, shape.channels, *size)
        assert made.dtype == torch.float32
        assert torch.isfinite(made).all()
        said = family.score(parts, made, labels)
    assert (said is None) == (CRITIC not in parts)
    assert said is None or said.shape == (2,)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", SIDES, ids=str)
def test_losses_reach_every_weight_of_every_part(name, size):
    family, shape = family_named(name), shape_of(name, size, 2, 3)
    parts = family.parts(shape)
    missed = {f"{part} {n}" for part, net in parts.items() for n, _ in net.named_parameters()}
    # Some weights may rest while others learn, but none all the time.
    for progress in (0.0, 1.0):
        for part, loss in family.losses(parts, step_of(shape, progress=progress), rng()):
            for weight in parts[part].parameters():
                weight.grad = None
            assert loss.shape == ()
            assert torch.isfinite(loss)
            loss.backward()
            missed -= {f"{part} {n}" for n, p in parts[part].named_parameters() if p.grad is not None}
    assert missed == set()
    assert all(p.requires_grad for part in parts.values() for p in part.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_everything_random_comes_from_the_generator_that_is_given(name):
    family, shape = family_named(name), shape_of(name)
    parts = family.parts(shape)
    for part in parts.values():
        for layer in part.modules():
            if isinstance(layer, nn.Dropout):
                layer.p = 0.0
    found = [[float(loss.detach()) for _, loss in family.losses(parts, step_of(shape), rng(3))] for _ in range(2)]
    assert found[0] == found[1]
    net = parts[GENERATOR].eval()
    drawn = [sampled(family, net, torch.tensor([0, 1]), rng(s), shape) for s in (1, 1, 2)]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


@pytest.mark.parametrize("name", NAMES)
def test_the_class_that_is_asked_for_makes_a_difference(name):
    family, shape = family_named(name), shape_of(name)
    parts = family.parts(shape)
    with torch.no_grad():
        for weight in parts[GENERATOR].parameters():
            # Away from layers that start at 0.
            weight.add_(0.1 * torch.randn(weight.shape))
        net = parts[GENERATOR].eval()
        first, second = (sampled(family, net, torch.full((2,), k), rng(1), shape) for k in (0, 1))
    assert float((first - second).abs().max()) > 1e-4


@pytest.mark.parametrize("name", NAMES)
def test_weights_survive_the_way_through_a_state_dict(name):
    family, shape = family_named(name), shape_of(name)
    first, second = family.parts(shape)[GENERATOR].eval(), family.parts(shape)[GENERATOR].eval()
    second.load_state_dict(first.state_dict())
    labels = torch.tensor([0, 1])
    assert torch.equal(*(sampled(family, net, labels, rng(), shape) for net in (first, second)))


@pytest.mark.parametrize("name", NAMES)
def test_every_family_names_its_paper_and_its_widths(name):
    family = family_named(name)
    assert re.fullmatch(r"10\.\d{4,9}/\S+", family.doi)
    assert tuple(family.widths) == SIZES
    assert list(family.widths.values()) == sorted(family.widths.values())


@pytest.mark.parametrize("name", [n for n in NAMES if CRITIC in family_named(n).parts(shape_of(n))])
def test_a_step_that_is_broken_off_leaves_the_critic_able_to_learn(name):
    """The loop goes back from a loss that is not finite in the middle of a step."""
    family, shape = family_named(name), shape_of(name)
    parts = family.parts(shape)
    losses = family.losses(parts, step_of(shape), rng())
    last = [part for part, _ in family.losses(parts, step_of(shape), rng())].index(GENERATOR)
    for _ in range(last + 1):
        next(losses)
    losses.close()
    assert all(p.requires_grad for p in parts[CRITIC].parameters())


ADAPTING = [n for n in NAMES if CRITIC in family_named(n).parts(shape_of(n)) and not family_named(n).private]


@pytest.mark.parametrize("name", ADAPTING)
def test_an_adaptive_chance_is_kept_with_the_critic_and_moves(name):
    family, shape = family_named(name), shape_of(name)
    parts = family.parts(shape)
    parts[CRITIC].strength.chance.fill_(0.2)
    list(family.losses(parts, step_of(shape, transforms=Transforms(0.5, adaptive=True)), rng()))
    moved = float(parts[CRITIC].state_dict()["strength.chance"])
    assert moved != pytest.approx(0.2, abs=1e-9)
    list(family.losses(parts, step_of(shape, transforms=Transforms(0.5)), rng()))
    assert float(parts[CRITIC].strength.chance) == moved


def test_only_classes_that_there_are_are_made_and_each_as_often():
    step = step_of(Shape((8, 8), 1, 4, 4), drawn=torch.tensor([0, 3]))
    asked = step.asked(1000, rng())
    assert set(asked.tolist()) == {0, 3}
    # Half of a thousand, five standard errors of a proportion.
    assert abs(int((asked == 3).sum()) - 500) < 80


def test_a_name_nearly_right_is_refused_with_the_right_one():
    with pytest.raises(UsageError, match=r"No generator 'r3gn'.*did you mean 'r3gan'"):
        family_named("r3gn")


@pytest.mark.parametrize(
    "shape",
    [((28,), 1, 1, 8), ((2, 28), 1, 1, 8), ((8, 8), 0, 1, 8), ((8, 8), 1, 1, 0), ((8, 8), 1, 1, 8, 1)],
)
def test_shapes_that_cannot_be_are_refused(shape):
    with pytest.raises(UsageError):
        Shape(*shape)


# --- layers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(28, 28), (32, 32), (50, 100), (16, 64, 64), (30, 44, 28), (128, 128)])
def test_the_way_from_coarse_to_fine_ends_at_the_size_or_just_above(size):
    way = ladder(size)
    assert all(4 <= n <= 7 or n == s for n, s in zip(way.base, size, strict=True))
    assert all(s <= w < s + 2 ** len(way.strides) for s, w in zip(size, way.whole, strict=True))


@pytest.mark.parametrize(("size", "whole"), [((5, 7), (8, 8)), ((6, 3, 4), (6, 4, 8))])
def test_padding_and_cropping_undo_each_other(size, whole):
    images = torch.randn(2, 1, *size)
    wide = padded(images, whole)
    assert wide.shape[2:] == whole
    assert torch.equal(cropped(wide, size), images)
    assert float(wide.abs().sum()) == pytest.approx(float(images.abs().sum()), rel=1e-5)


def test_deviation_tells_sameness_within_each_class():
    """Class 0: values 1 and 3 at every place, deviation 1. Class 1: twice the same, 0. Class 2: one image, 0."""
    values = torch.tensor([1.0, 3.0, 7.0, 7.0, 4.0])
    images = values.view(-1, 1, 1, 1).expand(-1, 2, 3, 3)
    found = Deviation()(images, torch.tensor([0, 0, 1, 1, 2]))
    assert found.shape == (5, 3, 3, 3)
    assert torch.equal(found[:, :2], images)
    assert found[:, 2, 0, 0].tolist() == pytest.approx([1, 1, 1e-4, 1e-4, 0], abs=1e-6)


@pytest.mark.parametrize("name", ["r3gan", "wgan-gp"])
def test_penalties_are_formed_in_full_precision_whatever_the_critic_works_in(name):
    shape = Shape((8, 8), 1, 2, 4)
    critic = family_named(name).parts(shape)[CRITIC]
    step = step_of(shape)
    with torch.no_grad():
        for weight in critic.parameters():
            # Away from layers that start at 0.
            weight.add_(0.1 * torch.randn(weight.shape))
    said, slope = steepness(critic, step.images, step.labels)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = critic(step.images, step.labels)
        again, steep = steepness(critic, step.images, step.labels)
    assert not torch.equal(rough, said)
    assert (again.dtype, steep.dtype) == (torch.float32, torch.float32)
    assert torch.equal(again, said)
    assert torch.equal(steep, slope)


def test_steepness_is_the_squared_length_of_the_gradient():
    class Sloped(nn.Module):
        def forward(self, x, labels):
            return (x.flatten(1) * torch.tensor([3.0, 0.0, 4.0, 0.0])).sum(dim=1) + labels

    said, slope = steepness(Sloped(), torch.ones(2, 1, 2, 2), torch.tensor([0, 1]))
    assert said.tolist() == [7.0, 8.0]
    assert slope.tolist() == [25.0, 25.0]


def test_a_resting_critic_passes_the_gradient_on_and_takes_none():
    critic, x = nn.Linear(3, 1), torch.ones(2, 3, requires_grad=True)
    with resting(critic):
        critic(x).sum().backward()
    assert critic.weight.grad is None
    assert x.grad is not None
    assert critic.weight.requires_grad


def test_a_number_moves_as_half_a_cosine_and_stays():
    # At a third of the way a cosine of 60 degrees: 1 + (5 - 1) * (1 + .5) / 2 = 4.
    assert between((5.0, 1.0), 0.9, 0.3) == pytest.approx(4.0)
    assert between((5.0, 1.0), 0.9, 0.95) == 1.0
    assert between((5.0, 1.0), 0.0, 0.0) == 1.0


# --- single families -----------------------------------------------------------------------------------------------


def test_the_blocks_of_the_paired_generator_begin_as_the_identity():
    parts = family_named("r3gan").parts(Shape((16, 16), 1, 1, 16))
    x = torch.randn(2, 16, 8, 8)
    for name in (GENERATOR, CRITIC):
        block = next(m for m in parts[name].modules() if type(m).__name__ == "Residual" and m.one.in_channels == 16)
        assert torch.equal(block(x), x)
        assert not any(isinstance(m, nn.BatchNorm2d | nn.GroupNorm) for m in parts[name].modules())


def test_the_relativistic_loss_asks_only_how_far_real_is_above_made():
    """A critic that adds the same to both changes nothing; at equal answers the loss is the logarithm of 2."""
    family, shape = family_named("r3gan"), Shape((8, 8), 1, 1, 4)
    parts = family.parts(shape)
    step = step_of(shape, transforms=Transforms(0.0))
    before = [float(v.detach()) for _, v in family.losses(parts, step, rng())]
    with torch.no_grad():
        parts[CRITIC].said.alone.bias.add_(100.0)
    after = [float(v.detach()) for _, v in family.losses(parts, step, rng())]
    assert after == pytest.approx(before, abs=1e-4)
    with torch.no_grad():
        parts[CRITIC].said.alone.weight.zero_()
        parts[CRITIC].said.classes.weight.zero_()
    level = [float(v.detach()) for _, v in family.losses(parts, step, rng())]
    assert level == pytest.approx([0.6931, 0.6931], abs=1e-3)


def test_the_wasserstein_critic_makes_several_steps_to_one_of_the_generator():
    family, shape = family_named("wgan-gp"), Shape((8, 8), 1, 2, 4)
    order = [part for part, _ in family.losses(family.parts(shape), step_of(shape, n=9), rng())]
    assert order == [CRITIC, CRITIC, CRITIC, GENERATOR]


def test_the_flow_moves_a_constant_velocity_all_the_way():
    """With a velocity of 2 everywhere noise ends 2 higher, whatever the number of steps."""

    class Constant(nn.Module):
        shape = (1, 4, 4)

        def forward(self, x, time, labels):
            return torch.full_like(x, 2.0)

    noise = torch.randn((3, 1, 4, 4), generator=rng(7))
    found = family_named("rflow").sample(Constant(), torch.zeros(3, dtype=torch.int64), rng(7))
    assert torch.allclose(found, noise + 2, atol=1e-5)


def test_the_flow_learns_the_difference_of_image_and_noise():
    """At a place between, moving on by the velocity for the time that is left comes to the image."""
    family, shape = family_named("rflow"), Shape((8, 8), 1, 1, 4)
    seen = {}

    class Noting(nn.Module):
        def forward(self, x, time, labels):
            seen.update(x=x, time=time)
            return torch.zeros_like(x, requires_grad=True)

    step = step_of(shape, transforms=Transforms(0.3))
    ((_, loss),) = family.losses({GENERATOR: Noting()}, step, rng())
    left = (1 - seen["time"]).view(-1, 1, 1, 1)
    velocity = (step.images - seen["x"]) / left
    assert float(loss.detach()) == pytest.approx(float(velocity.square().mean()), rel=1e-3)


def test_the_autoencoder_pays_for_its_code_and_for_its_error():
    """A code of mean 2 and variance 1 costs 2²/2 for each of its numbers; the error of 3 everywhere ½ log 9 a pixel."""
    family, shape = family_named("vae"), Shape((8, 8), 1, 1, 4)
    images = step_of(shape).images

    class Fixed(nn.Module):
        def forward(self, images, labels, noise):
            return images + 3.0, torch.full((len(images), 5), 2.0), torch.zeros(len(images), 5)

    ((_, loss),) = family.losses({GENERATOR: Fixed()}, step_of(shape, images=images), rng())
    assert float(loss) == pytest.approx(0.5 * torch.tensor(9.0).log().item() + 5 * 2.0 / 64, rel=1e-5)


def test_the_decoder_of_codes_hears_the_class_as_loudly_as_the_code_from_the_first_step():
    """A code holds the class as well: a decoder that hears the class late reads it there, and draws of either class."""
    shape, n = Shape((28, 28), 1, 2, 8), 64
    decoder = family_named("vae").parts(shape)[GENERATOR].get_submodule("decoder")
    codes, zeros = torch.randn(n, 64, generator=rng()), torch.zeros(n, dtype=torch.int64)
    with torch.no_grad():
        drawn = decoder(codes, zeros)
        of_code = (drawn - decoder(torch.randn(n, 64, generator=rng(1)), zeros)).square().mean()
        of_class = (drawn - decoder(codes, zeros + 1)).square().mean()
    assert of_class > 0.25 * of_code


@pytest.mark.parametrize("size", [(6, 6), (4, 4, 4)])
def test_a_class_is_told_behind_the_norm_so_that_its_images_go_on_differing(size):
    """Told in front of it, a class that is far from the others would take nearly all of the spread."""
    norm = ClassNorm(len(size), 3, 2)
    with torch.no_grad():
        norm.shift.weight.copy_(torch.tensor([[0.0] * 3, [100.0] * 3]))
        norm.scale.weight.fill_(2.0)
    labels = torch.tensor([0, 1]).repeat_interleave(32)
    made = norm(torch.randn(64, 3, *size), labels).detach()
    for number, mean in enumerate((0.0, 100.0)):
        own = made[labels == number]
        assert float(own.mean()) == pytest.approx(mean, abs=0.3)
        assert float(own.std()) == pytest.approx(2.0, rel=0.1)
