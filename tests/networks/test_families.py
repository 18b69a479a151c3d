"""What is special to one family of networks."""

import pytest
import torch
from torch import nn

from lucency.networks import body
from lucency.networks.layers import TrimmedConv3d, instance_norm, parse_strides, start_weights
from lucency.networks.resnet import PreActivationBlock


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


@pytest.mark.parametrize(
    ("depth", "levels", "blocks"),
    # (depth - 2) / (2 * stages), rounded: 14 and 3 stages give 12 / 6 = 2 blocks, 18 and 4 give 16 / 8 = 2.
    [(14, 3, 2), (18, 4, 2), (8, 3, 1), (2, 3, 1), (20, 3, 3)],
)
def test_resnet_has_the_depth_that_was_asked_for(depth, levels, blocks):
    net = body("resnet", 1, 2, {"widths": (4.0,) * levels, "depth": depth})
    assert sum(isinstance(m, PreActivationBlock) for m in net.modules()) == blocks * levels
    convolutions = [m for m in net.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)]
    assert len(convolutions) == 1 + 2 * blocks * levels


def test_instance_norm_is_torchs_own_instance_norm():
    x = torch.randn(2, 5, 6, 7) * 3 + 2
    assert torch.allclose(instance_norm(5)(x), nn.InstanceNorm2d(5)(x), atol=1e-6)


def test_thick_slices_are_convolved_within_the_slice_until_they_are_as_thin():
    """Only where k is not halved while j and i are: the network cannot mix slices there."""
    net = body("unet", 1, 3, {"widths": (4.0, 8.0, 8.0), "strides": "1x2x2,2x2x2"})
    kernels = [block.one.kernel_size for block in net.down]
    assert kernels == [(1, 3, 3), (3, 3, 3), (3, 3, 3)]
    assert [tuple(up.stride) for up in net.up] == [(1, 2, 2), (2, 2, 2)]


def test_unet_of_odd_size_answers_where_the_image_is():
    """Cut at the far end only: the voxels of an odd image stand where they stand in the even one."""
    net = body("unet", 1, 2, {"widths": (4.0, 8.0)}).eval()
    for norm in (m for m in net.modules() if isinstance(m, nn.GroupNorm)):
        norm.forward = lambda x: x  # the norm would see another image
    x = torch.randn(1, 1, 16, 15)
    even = nn.functional.pad(x, (0, 1))
    assert net(x)[0].shape == (1, 4, 16, 15)
    assert torch.allclose(net(x)[0][..., :10], net(even)[0][..., :10], atol=1e-5)


def test_he_start_keeps_the_variance_through_a_plain_network():
    """Var(w) = 2 / ((1 + slope²) fan_in) with fan_in 9 · 64: 2 / (9 · 64 · 1.0001)."""
    layer = nn.Conv2d(64, 256, 3)
    start_weights(layer)
    assert float(layer.weight.detach().var()) == pytest.approx(2 / (9 * 64 * 1.0001), rel=0.02)
    assert not layer.bias.any()


@pytest.mark.parametrize("dims", [2, 3])
def test_empty_strides_halve_everywhere(dims):
    assert parse_strides("", dims, 3) == [(2,) * dims] * 2
    assert parse_strides("", dims, 1) == []
    assert body("cnn", 1, dims, {"widths": (4.0,)}).strides == ((1,) * dims,)


#: One slice, one row, one column, one voxel, two columns that become one; a kernel that is cut on no side.
THIN = [(1, 9, 8), (4, 1, 8), (4, 9, 1), (1, 1, 1), (4, 16, 2), (4, 5, 6)]


@pytest.mark.parametrize("size", THIN)
@pytest.mark.parametrize("stride", [(1, 1, 1), (1, 2, 2), (2, 2, 2), (3, 3, 3)])
def test_a_trimmed_convolution_is_the_whole_one(size, stride):
    ours = TrimmedConv3d(3, 8, 3, stride, 1)
    whole = nn.Conv3d(3, 8, 3, stride, 1)
    whole.load_state_dict(ours.state_dict())
    x = torch.randn(2, 3, *size)
    assert torch.allclose(ours(x), whole(x), atol=1e-6)


@pytest.mark.parametrize("size", THIN)
@pytest.mark.parametrize("channels", [1, 3, 8])
def test_a_clip_of_one_frame_gives_no_nan_in_half_precision_whatever_memory_held_before(size, channels):
    """The padding of thin volumes came from memory that nobody had written."""
    net = TrimmedConv3d(channels, 8, 3, 2, 1, bias=False)
    x = torch.randn(1, channels, *size)
    whole = net(x)
    for _ in range(5):
        # Given back at once: the next that asks for memory finds it full of NaN.
        spoiled = [torch.full((2**n,), torch.nan) for n in range(6, 17) for _ in range(12)]
        del spoiled
        with torch.autocast("cpu", dtype=torch.bfloat16):
            half = net(x)
        assert torch.allclose(half.float(), whole, atol=0.05)
