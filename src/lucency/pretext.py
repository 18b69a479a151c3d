"""What a body can learn from images alone: to tell views of one image from other images, or to fill in what is hidden.

The views are of what images of patients vary in: little in place and size, much in noise and in what is hidden.
"""

import torch
from torch import nn
from torch.nn import functional

from lucency.augment import augment, augment_frames
from lucency.losses import contrast
from lucency.networks import Body, means
from lucency.networks.autoencoder import Decoder
from lucency.plan import Plan

#: How the two views of an image differ (Chen 2020, doi 10.48550/arXiv.2002.05709). Turned by 15 degrees and scaled by
#: half, with half the noise, P@10 on validation images of six kinds was .966 instead of .969 (300 steps, one
#: run each, by hand; no benchmark records it).
VIEW = {
    "rotate": 10.0,
    "scale": 0.2,
    "shift": 0.08,
    "contrast": 0.3,
    "brightness": 0.3,
    "gamma": 0.3,
    "noise": 0.5,
    "cutout": 0.5,
}

#: Width of the projection that the contrast is taken in, and that is thrown away afterwards.
PROJECTED = 64

#: Cosines are divided by it.
TEMPERATURE = 0.2

#: Share of an image that is hidden (Xie 2022, doi 10.1109/CVPR52688.2022.00943: 0.5 to 0.7 were best), and blocks along
#: its longest side (there 6 of 192 pixels; small images have fewer pixels to a block).
HIDDEN, BLOCKS = 0.6, 8


class PretextNet(nn.Module):
    """The body of a task's network with what a pretext needs behind it; only the body is handed on.

    Args:
        body: Of the task's network.
        kind: ``"contrastive"`` or ``"masked"``.
        plan: The task's.
        dense: The task answers for every voxel: the body's finest map is as large as the image, and what leads there is
            to learn as well.
    """

    def __init__(self, body: Body, kind: str, plan: Plan, *, dense: bool) -> None:
        super().__init__()
        self.body, self.kind = body, kind
        width = body.channels[-1]
        self.last: nn.Module
        if kind == "contrastive":
            self.last = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, PROJECTED))
        elif dense:
            kind_of = nn.Conv3d if plan.dims == 3 else nn.Conv2d
            self.last = kind_of(body.channels[0], plan.channels, 1)
        else:
            self.last = Decoder(plan.dims, body, plan.channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the projection, (B, :data:`PROJECTED`), or the image filled in, as ``x``."""
        maps = self.body(x)
        if self.kind == "contrastive":
            out: torch.Tensor = self.last(means(maps[-1:]))
            return out
        back: torch.Tensor = self.last(maps[-1], x.shape[2:]) if isinstance(self.last, Decoder) else self.last(maps[0])
        if back.shape[2:] == x.shape[2:]:
            return back
        mode = "trilinear" if x.ndim == 5 else "bilinear"
        return functional.interpolate(back.float(), size=x.shape[2:], mode=mode, align_corners=False)


def views(images: torch.Tensor, rng: torch.Generator, *, frames: bool = False) -> torch.Tensor:
    """Return every image seen anew twice, (2 B, ...): first all of them once, then all of them again.

    Args:
        images: (B, C, ...) float32, normalised.
        rng: On the device of the images.
        frames: The slices are frames of a sequence, seen anew alike.
    """
    again = [augment_frames(images, VIEW, rng) if frames else augment(images, None, VIEW, rng)[0] for _ in range(2)]
    return torch.cat(again)


def hidden(images: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
    """Return which places of a batch are hidden, (B, 1, ...) bool: whole blocks, :data:`HIDDEN` of them by chance.

    Args:
        images: (B, C, ...).
        rng: On the device of the images.
    """
    size = images.shape[2:]
    sides = [-(-n // min(n, BLOCKS)) for n in size]
    blocks = [-(-n // side) for n, side in zip(size, sides, strict=True)]
    chosen = torch.rand((len(images), 1, *blocks), generator=rng, device=images.device) < HIDDEN
    for axis, side in enumerate(sides, start=2):
        chosen = chosen.repeat_interleave(side, dim=axis)
    return chosen[(slice(None), slice(None), *(slice(n) for n in size))]


def pretext_loss(
    net: nn.Module, kind: str, images: torch.Tensor, rng: torch.Generator, *, frames: bool
) -> torch.Tensor:
    """Return what a body is to make small, without any label.

    Args:
        net: A :class:`PretextNet`, as it is trained.
        kind: Its kind.
        images: (B, C, ...) float32, normalised.
        rng: Of the views and of what is hidden.
        frames: See :func:`views`.

    Source:
        Chen 2020 (doi 10.48550/arXiv.2002.05709); Xie 2022 (doi 10.1109/CVPR52688.2022.00943), a masked autoencoder
        (He 2022, doi 10.1109/CVPR52688.2022.01553) for networks that do not cut images into patches.
    """
    if kind == "contrastive":
        each = torch.arange(len(images), device=images.device).repeat(2)
        return contrast(net(views(images, rng, frames=frames)), each[:, None] == each[None], TEMPERATURE)
    unseen = hidden(images, rng)
    # Images are normalised, so 0 is the mean and says nothing.
    filled = net(images.masked_fill(unseen, 0.0)).float()
    total = ((filled - images).abs() * unseen).sum()
    shown: torch.Tensor = total / (unseen.sum() * images.shape[1]).clamp(min=1)
    return shown
