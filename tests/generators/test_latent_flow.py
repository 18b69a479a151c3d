"""A flow over codes: which part learns when, what rests, and what a code keeps of its image."""

import pytest
import torch

from lucency.generators import GENERATOR, Shape, Step, every_family, family_named
from lucency.generators.differentiable import Transforms
from lucency.generators.latent_flow import CODE, REST, LatentGenerator, strides_of

FAMILY = family_named("latent-flow")
SHAPE = Shape((32, 32, 32), 1, 2, 2)


pytestmark = pytest.mark.usefixtures("seeded")


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def step_of(images, progress):
    labels = torch.arange(len(images)) % 2
    return Step(images, labels, torch.arange(2), progress, Transforms(0.0))


def waves(n, size, seed=0):
    """Smooth images of deviation about 1: a wave of some length and phase along each axis."""
    chance = rng(seed)
    found = torch.zeros(n, 1, *size)
    for axis, side in enumerate(size):
        length, phase = (torch.rand(n, 1, generator=chance) for _ in range(2))
        wave = torch.sin(torch.linspace(0, 6, side)[None] * (0.5 + length) + 6 * phase)
        found = found + wave.view(n, 1, *(side if a == axis else 1 for a in range(len(size))))
    return found


@pytest.mark.parametrize(
    ("size", "code"),
    [((128, 128, 128), (32, 32, 32)), ((64, 64), (16, 16)), ((6, 30, 128), (6, 8, 32)), ((8, 13, 16), (4, 7, 4))],
    ids=str,
)
def test_a_code_has_a_quarter_of_each_side_but_no_axis_gets_too_short(size, code):
    """13 is padded to 14, halved once to 7; 8 once to 4; 6 is left."""
    with torch.device("meta"):
        net = LatentGenerator(Shape(size, 1, 1, 4))
    assert net.autoencoder.code == code
    assert all(0 <= w - n < 4 for n, w in zip(size, net.autoencoder.whole, strict=True))
    assert len(strides_of(size)) == 2


def test_only_this_family_goes_beyond_the_usual_sides_in_volumes():
    sides = {name: one.most_side[3] for name, one in every_family().items()}
    assert sides.pop("latent-flow") == 128
    assert set(sides.values()) == {64}


def test_the_autoencoder_learns_first_and_rests_while_the_flow_learns():
    """With momentum in the optimiser, too: what has no gradient is not moved."""
    net = FAMILY.parts(SHAPE)[GENERATOR]
    optimiser = torch.optim.Adam(net.parameters(), 1e-3)

    def moved(progress):
        before = {k: v.clone() for k, v in net.state_dict().items()}
        ((part, loss),) = FAMILY.losses({GENERATOR: net}, step_of(torch.randn(2, 1, 32, 32, 32), progress), rng())
        assert part == GENERATOR
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        return {k.split(".")[0] for k, v in net.state_dict().items() if not torch.equal(v, before[k])}

    assert moved(0.0) == moved(REST - 0.01) == {"autoencoder", "mean", "deviation"}
    assert moved(REST) == moved(1.0) == {"velocity"}


def test_mean_and_deviation_of_codes_are_followed_until_they_are_level():
    net = FAMILY.parts(Shape((16, 16), 1, 1, 4))[GENERATOR]
    codes = 3.0 + 2.0 * torch.randn(8, CODE, 4, 4, generator=rng(1))
    for _ in range(200):
        net.follow(codes)
    axes = (0, 2, 3)
    level = (codes - net.mean) / net.deviation
    assert level.mean(axes).abs().max() < 1e-3
    assert (level.std(axes) - 1).abs().max() < 1e-3


def test_what_goes_into_a_code_comes_out_again():
    """Smooth images of deviation 1.2: the mean error of giving back their mean everywhere is about 1."""
    size = (16, 16, 16)
    net = FAMILY.parts(Shape(size, 1, 2, 8))[GENERATOR]
    optimiser = torch.optim.Adam(net.parameters(), 3e-3)
    for number in range(60):
        ((_, loss),) = FAMILY.losses({GENERATOR: net}, step_of(waves(4, size, number), 0.1), rng(number))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    images = waves(8, size, 10_001)
    with torch.no_grad():
        codes = net.codes(images)
        back = net.images(codes)
    assert codes.shape == (8, CODE, 4, 4, 4)
    error, none = (images - back).abs().mean(), (images - images.mean()).abs().mean()
    assert float(error) < 0.5 * float(none)


def test_volumes_are_drawn_at_their_own_size():
    shape = Shape((30, 32, 28), 2, 1, 4)
    net = FAMILY.parts(shape)[GENERATOR].eval()
    with torch.no_grad():
        made = FAMILY.sample(net, torch.zeros(2, dtype=torch.int64), rng())
    assert made.shape == (2, 2, 30, 32, 28)
    assert torch.isfinite(made).all()


@pytest.mark.parametrize(("size", "width", "batch"), [((32, 32, 32), 4, 2), ((24, 32, 32), 8, 2), ((64, 64), 8, 4)])
def test_the_forecast_of_memory_is_near_what_is_kept_for_the_way_back(size, width, batch):
    shape = Shape(size, 1, 1, width)
    net = FAMILY.parts(shape)[GENERATOR]
    kept = {}

    def note(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        ((_, loss),) = FAMILY.losses({GENERATOR: net}, step_of(torch.randn(batch, 1, *size), 0.0), rng())
    weights = sum(p.numel() * p.element_size() for p in net.parameters())
    found = (sum(kept.values()) - weights) / 2**20
    forecast = FAMILY.memory_mib(shape, batch)
    assert float(loss.detach()) > 0
    assert found < forecast < 2.5 * found + 4 * weights / 2**20
