"""The networks of a translation: one that makes images, critics that tell them from real ones, a field that mends."""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from lucency.errors import UsageError
from lucency.networks import Body
from lucency.networks.layers import convolution, instance_norm, start_weights

#: Channels of the path that looks at nothing but a voxel's own intensity.
LOOKUP = 16

#: Slope of the critics' rectifier (Isola 2017, appendix 6.1).
CRITIC_SLOPE = 0.2

#: Dimensions of the space in which places of two images are compared (Park 2020: 256 on larger networks).
EMBEDDED = 64

#: A field begins by moving nothing and learns in these steps, as shares of half the image.
FIELD_STEP = 0.1


class Inputs(Body):
    """A body that takes what it translates out of all that is known of a case.

    Of a volume a slice is seen with its neighbours, as further channels, where the body works within slices.

    Args:
        trunk: Gives maps on the image's own grid; its input has ``len(channels) * (2 * neighbours + 1)`` channels.
        channels: Places of its channels in the input.
        neighbours: Slices on either side that are seen with each.
    """

    def __init__(self, trunk: Body, channels: Sequence[int], neighbours: int = 0) -> None:
        super().__init__()
        self.trunk, self.taken, self.neighbours = trunk, list(channels), neighbours
        self.channels, self.strides = trunk.channels, trunk.strides

    def seen(self, x: torch.Tensor) -> torch.Tensor:
        """Return the channels that are taken, (B, n, ...), with those of neighbouring slices."""
        own = x[:, self.taken]
        if not self.neighbours:
            return own
        n, k = self.neighbours, own.shape[2]
        padded = functional.pad(own, (0, 0, 0, 0, n, n), mode="replicate")
        return torch.cat([padded[:, :, s : s + k] for s in range(2 * n + 1)], dim=1)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Return the maps of the trunk, fine to coarse."""
        maps: list[torch.Tensor] = self.trunk(self.seen(x))
        return maps

    def encoded(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Return the maps of the way down alone, fine to coarse.

        Raises:
            UsageError: The trunk has no way down that can be looked at.
        """
        encode = getattr(self.trunk, "encoded", None)
        if encode is None:
            raise UsageError("The network has no encoder of its own", expected="network unet", where="--set translate")
        maps: list[torch.Tensor] = encode(self.seen(x))
        return maps


class Translator(nn.Module):
    """What a voxel's own intensity says, and what its surroundings add.

    Normalisation within an image takes away how bright it is; the path by a voxel's own intensity keeps that, and so
    Hounsfield units stay what they are.

    Args:
        body: Features on the image's grid.
        dims: 2 or 3.
        outputs: Channels that are made.
    """

    def __init__(self, body: Inputs, dims: int, outputs: int) -> None:
        super().__init__()
        self.body = body
        kind = nn.Conv3d if dims == 3 else nn.Conv2d
        self.head = kind(body.channels[0], outputs, 1)
        nn.init.normal_(self.head.weight, std=0.01)
        nn.init.zeros_(self.head.bias)  # type: ignore[arg-type]
        self.lookup = nn.Sequential(
            kind(len(body.taken), LOOKUP, 1), nn.LeakyReLU(CRITIC_SLOPE), kind(LOOKUP, outputs, 1)
        )

    def forward(self, x: torch.Tensor, *, whole: bool = False) -> "torch.Tensor | tuple[torch.Tensor, ...]":
        """Return the image that is made, (B, n, ...); with ``whole`` the encoder's maps of ``x`` behind it."""
        made: torch.Tensor = self.head(self.body(x)[0]) + self.lookup(x[:, self.body.taken])
        return (made, *self.body.encoded(x)) if whole else made


class Cycle(nn.Module):
    """A translator there and one back; outside training only the first answers.

    Args:
        there: Makes what is wanted of what is given.
        back: The other way.

    Source:
        Zhu 2017 (doi 10.1109/ICCV.2017.244).
    """

    def __init__(self, there: Translator, back: Translator) -> None:
        super().__init__()
        self.there, self.back = there, back

    def forward(
        self, x: torch.Tensor, *, whole: bool = False, back: bool = False
    ) -> "torch.Tensor | tuple[torch.Tensor, ...]":
        """Return what is made; with ``whole`` also what comes back of it, of the other side with ``back``."""
        first, second = (self.back, self.there) if back else (self.there, self.back)
        made: torch.Tensor = first(x)
        if not whole:
            return made
        returned: torch.Tensor = second(with_channels(x, second.body.taken, made))
        return made, returned


def with_channels(x: torch.Tensor, places: Sequence[int], values: torch.Tensor) -> torch.Tensor:
    """Return (B, C, ...) with some channels replaced."""
    rows = list(x.unbind(dim=1))
    for place, value in zip(places, values.to(x.dtype).unbind(dim=1), strict=True):
        rows[place] = value
    return torch.stack(rows, dim=1)


class Critic(nn.Module):
    """Tells real images from made ones, patch by patch.

    Args:
        dims: 2 or 3.
        inputs: Channels of what is judged.
        widths: Channels of each level; each halves the grid.
        flat: Patches of a volume lie within a slice.

    Source:
        PatchGAN of Isola 2017 (doi 10.1109/CVPR.2017.632), with kernels of three, which fit thin volumes.
    """

    def __init__(self, dims: int, inputs: int, widths: Sequence[int], *, flat: bool) -> None:
        super().__init__()
        thin = flat and dims == 3
        kernel, stride = ((1, 3, 3), (1, 2, 2)) if thin else ((3,) * dims, (2,) * dims)
        steps: list[nn.Module] = []
        before = inputs
        for width in widths:
            steps.append(convolution(dims, before, width, kernel, stride))
            # The first level sees how bright an image is.
            steps += [instance_norm(width)] if before != inputs else []
            steps.append(nn.LeakyReLU(CRITIC_SLOPE))
            before = width
        self.steps = nn.Sequential(*steps)
        self.last = (nn.Conv3d if dims == 3 else nn.Conv2d)(before, 1, 1)
        start_weights(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return how real each patch looks, (B, 1, ...): 1 is real, 0 is made."""
        out: torch.Tensor = self.last(self.steps(x))
        return out


class Critics(nn.Module):
    """A critic for each side of a cycle.

    Args:
        of_wanted: For images that are wanted.
        of_given: For images that are given.
    """

    def __init__(self, of_wanted: Critic, of_given: Critic) -> None:
        super().__init__()
        self.of_wanted, self.of_given = of_wanted, of_given

    def forward(self, x: torch.Tensor, *, back: bool = False) -> torch.Tensor:
        """Return how real each patch looks, of the given side with ``back``."""
        out: torch.Tensor = (self.of_given if back else self.of_wanted)(x)
        return out


class Field(nn.Module):
    """Says how a made image must be moved to lie on the real one.

    Args:
        trunk: Gives maps on the image's own grid, of both images as its channels.
        dims: 2 or 3.

    Source:
        The registration network of RegGAN, Kong 2021 (doi 10.48550/arXiv.2110.06465).
    """

    def __init__(self, trunk: Body, dims: int) -> None:
        super().__init__()
        self.trunk = trunk
        self.head = (nn.Conv3d if dims == 3 else nn.Conv2d)(trunk.channels[0], dims, 1)
        nn.init.normal_(self.head.weight, std=1e-4)
        nn.init.zeros_(self.head.bias)  # type: ignore[arg-type]

    def forward(self, made: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
        """Return (B, dims, ...): shifts as shares of half the image, last axis first."""
        out: torch.Tensor = FIELD_STEP * self.head(self.trunk(torch.cat([made, real], dim=1))[0])
        return out


def warped(x: torch.Tensor, field: torch.Tensor) -> torch.Tensor:
    """Return an image moved by a field.

    Args:
        x: (B, C, ...) float.
        field: As :class:`Field` gives it.
    """
    dims = x.ndim - 2
    still = torch.eye(dims, dims + 1, device=x.device).repeat(len(x), 1, 1)
    grid = functional.affine_grid(still, list(x.shape), align_corners=False)
    return functional.grid_sample(
        x.float(), grid + field.float().movedim(1, -1), padding_mode="border", align_corners=False
    )


class Heads(nn.Module):
    """Turns features of a place into a unit vector, for each level of an encoder.

    Args:
        channels: Of each level.

    Source:
        Park 2020, CUT (doi 10.1007/978-3-030-58545-7_19).
    """

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        self.levels = nn.ModuleList(
            nn.Sequential(nn.Linear(c, EMBEDDED), nn.ReLU(), nn.Linear(EMBEDDED, EMBEDDED)) for c in channels
        )

    def forward(self, places: Sequence[torch.Tensor]) -> tuple[torch.Tensor, ...]:
        """Return (B, n, d) of unit length for each level's (B, n, channels)."""
        return tuple(
            functional.normalize(level(p.float()), dim=2) for level, p in zip(self.levels, places, strict=True)
        )
