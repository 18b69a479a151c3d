"""The contract of a network, over the whole registry."""

import inspect
import re

import pytest
import torch
from torch import nn

from lucency.errors import UsageError
from lucency.networks import Body, body, every_network
from lucency.networks.layers import Bridge

NAMES = list(every_network())
#: Odd and even, long and short; none below the coarsest level's needs.
SIZES: dict[int, list[tuple[int, ...]]] = {2: [(16, 16), (17, 23), (9, 31)], 3: [(8, 16, 16), (9, 11, 17)]}


pytestmark = pytest.mark.usefixtures("seeded")


def built(name: str, dims: int, channels: int = 2, **options: object) -> Body:
    """A body of three narrow levels."""
    return body(name, channels, dims, {"widths": (4.0, 6.0, 8.0), **options})


def randomised(module: Body) -> Body:
    """The module with every parameter away from 0, so that no gradient is 0 by chance of the start."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return module


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("name", NAMES)
def test_maps_have_the_channels_and_strides_that_the_body_declares(name: str, dims: int) -> None:
    net = built(name, dims).eval()
    for size in SIZES[dims]:
        maps = net(torch.randn(1, 2, *size))
        assert len(maps) == len(net.channels) == len(net.strides) >= 2
        for found, channels, stride in zip(maps, net.channels, net.strides, strict=True):
            assert found.shape == (1, channels, *(-(-n // s) for n, s in zip(size, stride, strict=True)))
    fine_to_coarse = [sum(s) for s in net.strides]
    assert fine_to_coarse == sorted(fine_to_coarse)
    assert net.strides[0] == (1,) * dims


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("name", NAMES)
def test_strides_of_the_plan_are_those_of_the_maps(name: str, dims: int) -> None:
    given = {2: "1x2,2x2", 3: "1x2x2,2x2x2"}[dims]
    net = built(name, dims, strides=given).eval()
    total = {2: ((1, 1), (1, 2), (2, 4)), 3: ((1, 1, 1), (1, 2, 2), (2, 4, 4))}[dims]
    assert net.strides == total
    maps = net(torch.randn(1, 2, *(8,) * dims))
    assert [m.shape[2:] for m in maps] == [tuple(8 // s for s in stride) for stride in total]


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("name", NAMES)
def test_gradient_reaches_every_parameter(name: str, dims: int) -> None:
    net = randomised(built(name, dims, residual=True) if has_residual(name) else built(name, dims)).train()
    maps = net(torch.randn(3, 2, *SIZES[dims][0]))
    sum((m * torch.randn_like(m)).sum() for m in maps).backward()
    idle = [n for n, p in net.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
    assert idle == []


@pytest.mark.parametrize("name", NAMES)
def test_weights_survive_the_way_through_a_state_dict(name: str) -> None:
    first, second = randomised(built(name, 2)).eval(), built(name, 2).eval()
    x = torch.randn(2, 2, 16, 16)
    assert not all(torch.equal(a, b) for a, b in zip(first(x), second(x), strict=True))
    second.load_state_dict(first.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(first(x), second(x), strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_a_network_draws_its_weights_from_the_seed_alone(name: str) -> None:
    states = []
    for _ in range(2):
        torch.manual_seed(3)
        states.append(built(name, 2).state_dict())
    assert all(torch.equal(states[0][k], states[1][k]) for k in states[0])


def has_residual(name: str) -> bool:
    """Whether the network offers the comparison without skip connections."""
    return "residual" in inspect.signature(every_network()[name].build).parameters


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("name", [n for n in NAMES if has_residual(n)])
def test_without_residual_no_block_lets_its_input_pass(name: str, dims: int) -> None:
    """With the second convolution of every block silenced, only an identity path could still tell two inputs apart."""
    for residual in (True, False):
        net = built(name, dims, residual=residual).eval()
        blocks = [m for m in net.modules() if hasattr(m, "one") and hasattr(m, "two")]
        assert blocks
        assert any(isinstance(m, Bridge) for m in net.modules()) == residual
        block = blocks[0]
        nn.init.zeros_(block.two.weight)  # type: ignore[union-attr, arg-type]
        # The first block of every family takes as many channels as its first convolution.
        first = next(m for m in block.modules() if isinstance(m, nn.Conv2d | nn.Conv3d))
        # Networks over sequences work on the frames of a volume.
        size = SIZES[2 if isinstance(first, nn.Conv2d) else 3][0]
        one, other = (block(torch.randn(1, first.in_channels, *size)) for _ in range(2))
        assert torch.equal(one, other) != residual


@pytest.mark.parametrize("name", NAMES)
def test_unknown_option_is_refused_with_those_there_are(name: str) -> None:
    with pytest.raises(UsageError, match=r"no option 'width'.*widths"):
        body(name, 1, 2, {"width": 3})


@pytest.mark.parametrize(("strides", "widths"), [("2x2", (4.0, 8.0, 8.0)), ("2x2x2", (4.0, 8.0)), ("axb", (4.0, 8.0))])
@pytest.mark.parametrize("name", NAMES)
def test_strides_that_do_not_fit_the_levels_are_refused(name: str, strides: str, widths: tuple[float, ...]) -> None:
    with pytest.raises(
        UsageError, match=rf"Strides '{strides}' for {len(widths)} levels.*{len(widths) - 1} steps of 2"
    ):
        body(name, 1, 2, {"strides": strides, "widths": widths})


@pytest.mark.parametrize("widths", [(), (4.5,), (0.0, 4.0), 16.0])
@pytest.mark.parametrize("name", NAMES)
def test_widths_that_are_no_channels_are_refused(name: str, widths: object) -> None:
    with pytest.raises(UsageError, match=r"whole numbers of channels"):
        body(name, 1, 2, {"widths": widths})


def test_unknown_network_is_refused_with_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"No network 'resnt'.*did you mean 'resnet'"):
        body("resnt", 1, 2, {})


@pytest.mark.parametrize("name", NAMES)
def test_every_network_names_its_paper(name: str) -> None:
    assert re.fullmatch(r"10\.\d{4,9}/\S+", every_network()[name].doi)
