"""Every way to learn a translation: its parts, its losses, what it learns."""

import pytest
import torch

from lucency.errors import UsageError
from lucency.networks import body
from lucency.translation import WAYS, Field, Inputs, Making, Translator, Weights, warped
from lucency.translation.ways import Step, contrasted

SHAPES = {
    "flat": (2, (32, 32), False, 0),
    "slices": (3, (8, 32, 32), True, 1),
    "volume": (3, (16, 16, 16), False, 0),
}


def making(kind, given=(0,), wanted=(1,)):
    dims, size, flat, neighbours = SHAPES[kind]
    options = {"widths": (4.0, 8.0)} | ({"strides": "1x2x2"} if flat else {})
    return Making(dims, given, wanted, size, lambda n: body("unet", n, dims, options), neighbours, flat)


def step(images, progress=1.0, given=(0,), wanted=(1,), **weights):
    return Step(images, given, wanted, Weights(**weights), progress, torch.Generator().manual_seed(0))


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


@pytest.mark.parametrize("kind", SHAPES)
@pytest.mark.parametrize("name", WAYS)
def test_losses_reach_every_weight_of_every_part(name, kind):
    made = making(kind)
    parts, images = WAYS[name].parts(made), torch.randn(3, 2, *made.size)
    # One image lacks what is wanted, one what is given; the third has both.
    images[0, 1], images[1, 0] = 0, 0
    seen = []
    for part, loss in WAYS[name].losses(parts, step(images)):
        assert torch.isfinite(loss)
        loss.backward()
        assert [n for n, p in parts[part].named_parameters() if p.grad is None] == []
        seen.append(part)
    assert set(seen) == set(parts)
    # The network is taught by critics that have just been stepped.
    assert seen.index("critic") < seen.index("net")


@pytest.mark.parametrize("kind", SHAPES)
@pytest.mark.parametrize("name", WAYS)
def test_what_is_made_depends_on_what_is_given_alone(name, kind):
    made = making(kind)
    net = WAYS[name].parts(made)["net"].eval()
    images = torch.randn(2, 2, *made.size)
    other = images.clone()
    other[:, 1] = torch.randn_like(other[:, 1])
    with torch.no_grad():
        assert net(images).shape == (2, 1, *made.size)
        assert torch.equal(net(images), net(other))
        other[:, 0] += 1
        assert not torch.equal(net(images), net(other))


@pytest.mark.parametrize("name", WAYS)
def test_critics_take_no_gradient_from_the_network_and_have_their_own_again_after(name):
    parts, images = WAYS[name].parts(making("flat")), torch.randn(2, 2, 32, 32)
    for part, loss in WAYS[name].losses(parts, step(images)):
        if part == "net":
            parts["critic"].zero_grad(set_to_none=True)
            loss.backward()
            assert all(p.grad is None for p in parts["critic"].parameters())
    assert all(p.requires_grad for part in parts.values() for p in part.parameters())


@pytest.mark.parametrize("name", WAYS)
def test_a_batch_of_one_side_alone_is_borne(name):
    parts = WAYS[name].parts(making("flat"))
    for side in (0, 1):
        images = torch.randn(2, 2, 32, 32)
        images[:, side] = 0
        found = dict(WAYS[name].losses(parts, step(images)))
        assert "net" in found
        assert all(torch.isfinite(v) for v in found.values())


@pytest.mark.parametrize("name", WAYS)
def test_a_batch_without_any_image_teaches_nothing(name):
    """Patches that an augmentation has moved off both images are zero throughout."""
    parts = WAYS[name].parts(making("flat"))
    found = dict(WAYS[name].losses(parts, step(torch.zeros(2, 2, 32, 32))))
    assert list(found) == ["net"]
    assert found["net"] == 0


def test_critics_come_to_count_little_by_little():
    images = torch.randn(2, 2, 32, 32)
    parts = WAYS["pix2pix"].parts(making("flat"))
    losses = [dict(WAYS["pix2pix"].losses(parts, step(images, progress)))["net"] for progress in (0.0, 0.05, 1.0)]
    assert losses[0] < losses[1] < losses[2]


def test_outside_training_only_the_network_is_judged():
    parts = {n: p.eval() for n, p in WAYS["reggan"].parts(making("flat")).items()}
    with torch.no_grad():
        assert [n for n, _ in WAYS["reggan"].losses(parts, step(torch.randn(2, 2, 32, 32)))] == ["net"]


def test_cut_needs_as_many_channels_on_both_sides():
    with pytest.raises(UsageError, match="2 channels are given and 1 wanted"):
        WAYS["cut"].parts(making("flat", (0, 1), (2,)))


def test_a_slice_is_seen_with_its_neighbours_and_an_end_with_itself():
    """Slices 0 to 3 hold their own number; each sees the one before, itself and the one after."""
    seen = Inputs(body("unet", 3, 3, {"widths": (4.0, 8.0), "strides": "1x2x2"}), (0,), 1)
    x = torch.arange(4.0).view(1, 1, 4, 1, 1).expand(1, 1, 4, 8, 8)
    assert seen.seen(x)[0, :, :, 0, 0].tolist() == [[0, 0, 1, 2], [0, 1, 2, 3], [1, 2, 3, 3]]


def test_the_scale_goes_past_normalisation():
    """A network learns to double each voxel, which normalisation within an image would hide, in a hundred steps."""
    net = Translator(Inputs(body("unet", 1, 2, {"widths": (4.0, 8.0)}), (0,)), 2, 1)
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-2)
    generator = torch.Generator().manual_seed(1)
    for _ in range(100):
        x = torch.rand(8, 1, 1, 1, generator=generator).expand(8, 1, 16, 16) * 2 - 1
        x = x + 0.01 * torch.randn(x.shape, generator=generator)
        optimiser.zero_grad()
        loss = (net(x) - 2 * x).abs().mean()
        loss.backward()
        optimiser.step()
    assert loss < 0.15


def test_a_field_of_nothing_moves_nothing_and_a_shift_is_a_shift():
    x = torch.arange(64.0).view(1, 1, 8, 8)
    assert torch.allclose(warped(x, torch.zeros(1, 2, 8, 8)), x, atol=1e-4)
    # Half the image is 4 columns: a quarter of that is one column, and the first coordinate is the last axis.
    field = torch.zeros(1, 2, 8, 8)
    field[:, 0] = 0.25
    assert torch.allclose(warped(x, field)[..., :-1], x[..., 1:], atol=1e-4)


def test_a_field_learns_a_planted_shift():
    torch.manual_seed(1)
    images = torch.rand(1, 1, 8, 8)
    images = torch.nn.functional.interpolate(images, size=(32, 32), mode="bilinear")
    moved = images.roll(2, 3)
    field = Field(body("unet", 2, 2, {"widths": (8.0, 16.0, 32.0)}), 2)
    optimiser = torch.optim.Adam(field.parameters(), lr=1e-2)
    for _ in range(60):
        optimiser.zero_grad()
        loss = (warped(images, field(images, moved)) - moved).abs().mean()
        loss.backward()
        optimiser.step()
    assert loss < 0.5 * (images - moved).abs().mean()


def test_places_that_know_themselves_cost_least():
    unit = torch.eye(4)[None]
    right, wrong = contrasted([unit], [unit]), contrasted([unit], [unit.roll(1, 1)])
    assert right < 1e-4
    assert wrong > 10
