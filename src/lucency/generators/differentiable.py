"""What a critic sees images through, real and made alike, so that it cannot learn the real ones by heart.

The changes are differentiable, twice, so that the generator learns through them; they are applied by chance, so that
it does not learn to make them.

Source:
    Zhao 2020 (doi 10.48550/arXiv.2006.10738) for the changes; Karras 2020 (doi 10.48550/arXiv.2006.06676) for chances
    below one, which do not leak, and for setting them by the signs of the critic's outputs.
"""

from dataclasses import dataclass, replace

import torch

from lucency.errors import UsageError

#: Brightness is moved by up to half a standard deviation either way, contrast scaled by .5 to 1.5, images are shifted
#: by up to an eighth of each side, and a box of half of each side is hidden (Zhao 2020, appendix; there brightness is
#: half of the range from -1 to 1, about a standard deviation of such images).
BRIGHTNESS, CONTRAST, SHIFT, HIDDEN = 0.5, 0.5, 1 / 8, 1 / 2

#: Highest chance: above .8 changes leak into what is made (Karras 2020, section 2.2).
HIGHEST = 0.8

#: Where the mean sign of the critic on real images is kept, and images over which the chance goes from 0 to 1 (Karras
#: 2020, sections 3.1 and E; there 500 000 of millions, here runs are of some hundred thousand).
TARGET, SPAN = 0.6, 100_000


@dataclass(frozen=True)
class Transforms:
    """Which changes there are, and how likely.

    Args:
        chance: Of each change, for each image; 0 to :data:`HIGHEST`.
        adaptive: The chance starts at 0 and follows the critic; ``chance`` is its limit.
        flips: Axes, counted from the last as -1, along which an image may be mirrored, half of the time.
        masks: Channels at the end that are masks: they move with the image, but keep their values.

    Raises:
        UsageError: A chance out of range.
    """

    chance: float = 0.3
    adaptive: bool = False
    flips: tuple[int, ...] = ()
    masks: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.chance <= HIGHEST:
            raise UsageError(
                f"chance = {self.chance}",
                expected=f"0 to {HIGHEST}",
                where="--generator",
                remedy="changes that are likelier would be made by the generator too",
            )


def changed(
    images: torch.Tensor, transforms: Transforms, rng: torch.Generator, chance: "float | torch.Tensor | None" = None
) -> torch.Tensor:
    """Return images as the critic sees them.

    Args:
        images: (B, C, J, I) or (B, C, K, J, I) float32, of standard deviation about 1.
        transforms: See :class:`Transforms`.
        rng: On their device.
        chance: In place of the transforms' own, where it adapts.
    """
    p = transforms.chance if chance is None else chance
    for axis in transforms.flips:
        images = torch.where(_each(images, _uniform(images, rng) < 0.5), images.flip(axis), images)
    whole = images.shape[1] - transforms.masks
    grey = images[:, :whole]
    grey = grey + _each(grey, _sometimes(images, p, rng) * (2 * _uniform(images, rng) - 1) * BRIGHTNESS)
    more = _sometimes(images, p, rng) * (2 * _uniform(images, rng) - 1) * CONTRAST
    middle = grey.mean(dim=tuple(range(1, grey.ndim)), keepdim=True)
    grey = grey + (grey - middle) * _each(grey, more)
    images = torch.cat([grey, images[:, whole:]], dim=1) if transforms.masks else grey
    return _hidden(_shifted(images, p, rng), p, rng)


def mirrored(images: torch.Tensor, transforms: Transforms, rng: torch.Generator) -> torch.Tensor:
    """Return images as a family without a critic learns them: mirrored only.

    Nothing tells made from real there, so any other change would be learned and made.

    Args:
        images: (B, C, J, I) or (B, C, K, J, I) float32.
        transforms: Whose axes count.
        rng: On their device.
    """
    return changed(images, replace(transforms, chance=0.0), rng)


def followed(chance: torch.Tensor, real: torch.Tensor, made: torch.Tensor, limit: float) -> torch.Tensor:
    """Return the chance after a step: more where the critic tells its real images too well, less where it does not.

    Signs are taken from the middle of what the critic says of both, so that it holds for losses without a zero too.

    Args:
        chance: () float32 before.
        real: (B,) what the critic said of real images.
        made: (B,) and of made ones.
        limit: It goes no higher.
    """
    middle = (real.mean() + made.mean()) / 2
    told = torch.sign(real - middle).mean()
    moved = chance + torch.sign(told - TARGET) * len(real) / SPAN
    return moved.clamp(0.0, limit)


def _uniform(images: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
    """Return (B,) from 0 to 1."""
    return torch.rand(len(images), generator=rng, device=images.device)


def _sometimes(images: torch.Tensor, p: "float | torch.Tensor", rng: torch.Generator) -> torch.Tensor:
    """Return (B,) float: 1 where a change is made."""
    return (_uniform(images, rng) < p).to(images.dtype)


def _each(images: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Return (B,) as (B, 1, 1, ...)."""
    return values.view(-1, *(1 for _ in images.shape[1:]))


def _shifted(images: torch.Tensor, p: "float | torch.Tensor", rng: torch.Generator) -> torch.Tensor:
    """Move images along every axis; what comes in is the edge."""
    moved = _sometimes(images, p, rng)
    for axis in range(2, images.ndim):
        n = images.shape[axis]
        most = round(SHIFT * n)
        if not most:
            continue
        by = ((2 * _uniform(images, rng) - 1) * (most + 0.499) * moved).round().long()
        at = (torch.arange(n, device=images.device)[None] + by[:, None]).clamp(0, n - 1)
        index = at.view(len(images), *(n if a == axis else 1 for a in range(1, images.ndim)))
        images = torch.gather(images, axis, index.expand(images.shape))
    return images


def _hidden(images: torch.Tensor, p: "float | torch.Tensor", rng: torch.Generator) -> torch.Tensor:
    """Put 0 into a box of each image."""
    inside = _each(images, _sometimes(images, p, rng) > 0)
    for axis in range(2, images.ndim):
        n = images.shape[axis]
        # Boxes reach over the edge, so that all places are hidden equally often.
        middle = _uniform(images, rng)[:, None] * n
        near = (torch.arange(n, device=images.device)[None] + 0.5 - middle).abs() < HIDDEN * n / 2
        inside = inside & near.view(len(images), *(n if a == axis else 1 for a in range(1, images.ndim)))
    return images * (~inside).to(images.dtype)
