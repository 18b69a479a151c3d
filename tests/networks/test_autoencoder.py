"""The decoder: sizes, and that an autoencoder learns to give back what it sees."""

import pytest
import torch

from lucency.networks import body
from lucency.networks.autoencoder import Decoder


@pytest.mark.parametrize(
    ("name", "dims", "size", "strides"),
    [
        ("cnn", 2, (17, 23), "1x2,2x2"),
        ("resnet", 2, (16, 16), ""),
        ("cnn", 3, (9, 11, 17), ""),
        ("unet", 2, (9, 31), ""),
    ],
)
def test_the_image_comes_back_in_its_own_size(name, dims, size, strides):
    trunk = body(name, 2, dims, {"widths": (4.0, 6.0, 8.0), "strides": strides})
    decoder = Decoder(dims, trunk, 2)
    x = torch.randn(2, 2, *size, generator=torch.Generator().manual_seed(0))
    out = decoder(trunk(x)[-1], size)
    assert out.shape == x.shape
    out.square().mean().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in decoder.parameters())


def test_an_autoencoder_learns_to_give_back_what_it_sees():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        trunk = body("cnn", 1, 2, {"widths": (8.0, 16.0), "dropout": 0.0})
        decoder = Decoder(2, trunk, 1)
        bars = torch.zeros(16, 1, 8, 8)
        for n in range(16):
            bars[n, 0, n % 8] = 1 + n // 8
        optimiser = torch.optim.Adam([*trunk.parameters(), *decoder.parameters()], 0.01)
        errors = []
        for _ in range(120):
            error = (decoder(trunk(bars)[-1], (8, 8)) - bars).square().mean()
            optimiser.zero_grad()
            error.backward()
            optimiser.step()
            errors.append(error.item())
    # The mean of the images leaves an error of their variance, about .26; it is left far behind.
    assert errors[-1] < 0.1 * float(bars.var())
