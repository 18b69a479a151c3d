"""One stem for each modality and the mean over those that are there: any body learns from whatever a patient has.

A modality that is zero throughout is not there: after normalisation zero is an image's own mean, and an image of one
number throughout says nothing. So no mask travels beside a batch.
"""

from collections.abc import Sequence

import torch
from torch import nn

from lucency.errors import UsageError
from lucency.networks.layers import SLOPE, convolution, start_weights

#: Features that each modality brings, so that a mean need not mix two of them in one feature; and the most in all.
FEATURES, MOST_FEATURES = 8, 32


class Stems(nn.Module):
    """A stem a modality, the mean over the stems of those that are there, and a vector that says which they are.

    In training whole modalities are left out at random, never all of an image; dropout draws from torch's own
    generator, as its layers do.

    Args:
        channels: Channels of each modality, in the order of the input.
        dims: 2 or 3.
        dropout: Chance that a modality of an image is left out, 0 to 1.

    Raises:
        UsageError: A chance outside 0 to 1.

    Source:
        Havaei 2016, HeMIS (doi 10.1007/978-3-319-46723-8_54), the mean without the variance; modality dropout after
        Neverova 2016, ModDrop (doi 10.1109/TPAMI.2015.2461544).
    """

    def __init__(self, channels: Sequence[int], dims: int, dropout: float) -> None:
        super().__init__()
        if not 0 <= dropout < 1:
            raise UsageError(f"modality_dropout = {dropout:g}", expected="0 or more and under 1", where="plan.json")
        self.sizes, self.dropout = tuple(channels), dropout
        self.features = min(MOST_FEATURES, FEATURES * len(self.sizes))
        kernel, once = (3,) * dims, (1,) * dims
        self.stems = nn.ModuleList(convolution(dims, c, self.features, kernel, once) for c in self.sizes)
        self.bias = nn.Parameter(torch.zeros(len(self.sizes), self.features))
        # What is missing shifts what is expected of the rest; it begins by shifting nothing.
        self.given = nn.Parameter(torch.zeros(len(self.sizes), self.features))
        self.act = nn.LeakyReLU(SLOPE)
        start_weights(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (B, features, ...) of (B, C, ...)."""
        parts = torch.split(x, list(self.sizes), dim=1)
        there = present(parts)
        if self.training and self.dropout:
            there = thinned(there, self.dropout)
        wide = (len(x), 1, *[1] * (x.ndim - 2))
        row = (1, self.features, *[1] * (x.ndim - 2))
        total = (there @ self.given).view(len(x), self.features, *[1] * (x.ndim - 2))
        count = there.sum(dim=1).clamp(min=1).view(wide)
        for number, (stem, part) in enumerate(zip(self.stems, parts, strict=True)):
            # Rectified before the mean: a mean of plain convolutions would be one convolution of a dimmer image.
            found = self.act(stem(part) + self.bias[number].view(row))
            total = total + found * (there[:, number].view(wide) / count).to(found.dtype)
        return total


def present(parts: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return (B, M) float: 1 where a modality is not zero throughout.

    Args:
        parts: (B, C, ...) of each modality.
    """
    return torch.stack([(part != 0).flatten(1).any(dim=1) for part in parts], dim=1).float()


def thinned(there: torch.Tensor, dropout: float) -> torch.Tensor:
    """Return (B, M) with modalities left out at random; an image that would lose all keeps all.

    Args:
        there: (B, M) float, 1 where a modality is there.
        dropout: Chance of each to be left out.
    """
    kept = there * (torch.rand_like(there) >= dropout)
    return torch.where(kept.sum(dim=1, keepdim=True) > 0, kept, there)
