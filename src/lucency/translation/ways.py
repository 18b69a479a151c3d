"""Ways to learn a translation, each with its parts and its losses in the order in which they are stepped."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import nn
from torch.nn import functional

from lucency.errors import UsageError
from lucency.generators.layers import resting
from lucency.networks import Body
from lucency.networks.unet import UNet
from lucency.translation.parts import Critic, Critics, Cycle, Field, Heads, Inputs, Translator, warped, with_channels

#: Channels of a critic's first level, and the most of any.
CRITIC_WIDTHS = (16, 128)

#: A critic halves the grid so often at the most, and stops while this many pixels are left.
CRITIC_LEVELS, CRITIC_LEAST = 3, 8

#: Channels of the network behind a field; what is moved is smooth and needs few.
FIELD_WIDTHS = (8, 16, 32)

#: Places of an image that are compared, and the temperature of the comparison (Park 2020: 256 and .07).
PLACES, TEMPERATURE = 64, 0.07

#: Share of the training over which critics come to count: before, they would teach a network that knows nothing yet.
RAMP = 0.1

Losses = Iterator[tuple[str, torch.Tensor]]


@dataclass(frozen=True)
class Making:
    """What networks are built for.

    Args:
        dims: 2 or 3.
        given: Places of the channels that are given.
        wanted: Places of those that are wanted.
        size: Voxels of what a network sees at once, along each of ``dims`` axes.
        trunk: Makes a body for so many channels.
        neighbours: Slices on either side that are seen with each slice of a volume.
        flat: Networks work within slices.
    """

    dims: int
    given: tuple[int, ...]
    wanted: tuple[int, ...]
    size: tuple[int, ...]
    trunk: Callable[[int], Body]
    neighbours: int = 0
    flat: bool = False

    def translator(self, given: Sequence[int], n_wanted: int) -> Translator:
        """Return a network that makes so many channels of some."""
        seen = Inputs(self.trunk(len(given) * (2 * self.neighbours + 1)), given, self.neighbours)
        return Translator(seen, self.dims, n_wanted)

    def critic(self, n: int) -> Critic:
        """Return a critic of images of ``n`` channels, as deep as their size bears."""
        shortest = min(self.size[-2:] if self.flat else self.size)
        levels = max(1, min(CRITIC_LEVELS, (max(shortest, 1) // CRITIC_LEAST).bit_length()))
        first, most = CRITIC_WIDTHS
        return Critic(self.dims, n, [min(first * 2**level, most) for level in range(levels)], flat=self.flat)

    def field(self) -> Field:
        """Return what says how a made image must be moved."""
        steps = [(1, 2, 2) if self.flat and self.dims == 3 else (2,) * self.dims] * (len(FIELD_WIDTHS) - 1)
        return Field(UNet(2 * len(self.wanted), self.dims, FIELD_WIDTHS, steps, residual=False), self.dims)


@dataclass(frozen=True)
class Weights:
    """How much each loss counts, in units of normalised intensities.

    Args:
        l1: Mean absolute error against the real image.
        adversarial: Of the critic.
        cycle: Mean absolute error of what comes back.
        smooth: Of a field.
        contrast: Of places that must stay where they are.
    """

    l1: float = 20.0
    adversarial: float = 1.0
    cycle: float = 10.0
    smooth: float = 10.0
    contrast: float = 1.0


@dataclass(frozen=True)
class Step:
    """One batch.

    Args:
        images: (B, C, ...) with both sides; a side that an image lacks is zero throughout.
        given: Places of the channels that are given.
        wanted: Places of those that are wanted.
        weights: Of the losses.
        progress: 0 at the first step, 1 at the last.
        rng: Everything random comes from it.
    """

    images: torch.Tensor
    given: tuple[int, ...]
    wanted: tuple[int, ...]
    weights: Weights
    progress: float
    rng: torch.Generator

    def having(self, *sides: Sequence[int]) -> torch.Tensor:
        """Return the images that have all of these sides."""
        rows = torch.ones(len(self.images), dtype=torch.bool, device=self.images.device)
        for places in sides:
            rows &= (self.images[:, list(places)] != 0).flatten(1).any(dim=1)
        return self.images[rows]

    @property
    def pull(self) -> float:
        """How much a critic counts now."""
        return self.weights.adversarial * min(1.0, self.progress / RAMP)


class Way(Protocol):
    """A way to learn a translation."""

    #: What it needs: pairs of images of one patient.
    paired: bool

    def parts(self, making: Making) -> dict[str, nn.Module]:
        """Return what is trained; ``net`` is delivered."""
        ...

    def losses(self, parts: Mapping[str, nn.Module], step: Step) -> Losses:
        """Yield ``(part, loss)`` in order; outside training only that of ``net``."""
        ...


def _told_apart(critic: Callable[[torch.Tensor], torch.Tensor], real: torch.Tensor, made: torch.Tensor) -> torch.Tensor:
    """Return how badly a critic tells real from made; either may be empty.

    Source:
        Least squares: Mao 2017 (doi 10.1109/ICCV.2017.304).
    """
    terms = [(critic(x) - goal).square().mean() for x, goal in ((real, 1.0), (made.detach(), 0.0)) if len(x)]
    return torch.stack(terms).sum() / 2


def _believed(critic: Callable[[torch.Tensor], torch.Tensor], made: torch.Tensor) -> torch.Tensor:
    return (critic(made) - 1.0).square().mean()


def _nothing(net: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """Return a loss that teaches nothing, of a batch without any image that could."""
    out: torch.Tensor = net(images).sum() * 0.0
    return out


class Pix2Pix:
    """Pairs: near the real image in every voxel, and like one in every patch.

    Source:
        Isola 2017 (doi 10.1109/CVPR.2017.632), with least squares in place of the logistic loss.
    """

    paired = True

    def parts(self, making: Making) -> dict[str, nn.Module]:
        """Return the network and a critic that sees both images of a pair."""
        net = making.translator(making.given, len(making.wanted))
        return {"net": net, "critic": making.critic(len(making.given) + len(making.wanted))}

    def losses(self, parts: Mapping[str, nn.Module], step: Step) -> Losses:
        """Yield the critic's loss, then the network's."""
        pairs, net, critic = step.having(step.given, step.wanted), parts["net"], parts["critic"]
        if not len(pairs):
            yield "net", _nothing(net, step.images)
            return
        given, real = pairs[:, list(step.given)], pairs[:, list(step.wanted)]
        made = net(pairs)
        if net.training:
            yield (
                "critic",
                _told_apart(critic, torch.cat([given, real], dim=1), torch.cat([given, made], dim=1)),
            )
        with resting(critic):
            liked = _believed(critic, torch.cat([given, made], dim=1))
            yield "net", step.weights.l1 * functional.l1_loss(made, real) + step.pull * liked


class RegGAN:
    """Pairs that do not lie on each other: a field moves the made image onto the real one before they are compared.

    Source:
        Kong 2021 (doi 10.48550/arXiv.2110.06465).
    """

    paired = True

    def parts(self, making: Making) -> dict[str, nn.Module]:
        """Return the network, a critic of single images and the field."""
        net = making.translator(making.given, len(making.wanted))
        return {"net": net, "critic": making.critic(len(making.wanted)), "field": making.field()}

    def losses(self, parts: Mapping[str, nn.Module], step: Step) -> Losses:
        """Yield the critic's loss, the field's, then the network's."""
        pairs = step.having(step.given, step.wanted)
        net, critic, field = parts["net"], parts["critic"], parts["field"]
        if not len(pairs):
            yield "net", _nothing(net, step.images)
            return
        real = pairs[:, list(step.wanted)]
        made = net(pairs)
        if net.training:
            yield "critic", _told_apart(critic, real, made)
            yield "field", self._apart(field, made.detach(), real, step.weights)
        with resting(critic, field):
            apart = self._apart(field, made, real, step.weights)
            yield "net", step.weights.l1 * apart + step.pull * _believed(critic, made)

    @staticmethod
    def _apart(field: nn.Module, made: torch.Tensor, real: torch.Tensor, weights: Weights) -> torch.Tensor:
        shifts = field(made, real)
        rough = torch.stack([shifts.diff(dim=a).square().mean() for a in range(2, shifts.ndim) if shifts.shape[a] > 1])
        return functional.l1_loss(warped(made, shifts), real) + weights.smooth * rough.mean()


class CycleGAN:
    """No pairs: like real images of the other side, and what is made can be turned back into what was given.

    Source:
        Zhu 2017 (doi 10.1109/ICCV.2017.244); without its store of earlier images.
    """

    paired = False

    def parts(self, making: Making) -> dict[str, nn.Module]:
        """Return the networks there and back, and their critics."""
        there = making.translator(making.given, len(making.wanted))
        back = making.translator(making.wanted, len(making.given))
        critics = Critics(making.critic(len(making.wanted)), making.critic(len(making.given)))
        return {"net": Cycle(there, back), "critic": critics}

    def losses(self, parts: Mapping[str, nn.Module], step: Step) -> Losses:
        """Yield the critics' loss, then that of both networks."""
        given_at, wanted_at = list(step.given), list(step.wanted)
        a, b, net, critic = step.having(given_at), step.having(wanted_at), parts["net"], parts["critic"]
        if not len(a) and not len(b):
            yield "net", _nothing(net, step.images)
            return
        empty = step.images[:0]
        made, returned = net(a, whole=True) if len(a) else (empty[:, wanted_at], empty[:, given_at])
        other, restored = net(b, whole=True, back=True) if len(b) else (empty[:, given_at], empty[:, wanted_at])
        real, given = b[:, wanted_at], a[:, given_at]

        def judge_back(x: torch.Tensor) -> torch.Tensor:
            out: torch.Tensor = critic(x, back=True)
            return out

        if net.training:
            yield "critic", _told_apart(critic, real, made) + _told_apart(judge_back, given, other)
        with resting(critic):
            terms = []
            if len(a):
                terms += [step.weights.cycle * functional.l1_loss(returned, given), step.pull * _believed(critic, made)]
            if len(b):
                terms += [step.weights.cycle * functional.l1_loss(restored, real)]
                terms += [step.pull * _believed(judge_back, other)]
            yield "net", torch.stack(terms).sum()


class CUT:
    """No pairs, one network: a place of the made image knows its own place in the given one among others.

    Source:
        Park 2020 (doi 10.1007/978-3-030-58545-7_19), without its identity term.
    """

    paired = False

    def parts(self, making: Making) -> dict[str, nn.Module]:
        """Return the network, its critic and what places are compared by.

        Raises:
            UsageError: The two sides have not as many channels, so what is made cannot be looked at as what is given.
        """
        if len(making.given) != len(making.wanted):
            raise UsageError(
                f"{len(making.given)} channels are given and {len(making.wanted)} wanted",
                expected="as many of each",
                where="--set translate=cut",
                remedy="use --set translate=cyclegan",
            )
        net = making.translator(making.given, len(making.wanted))
        heads = Heads(net.body.channels)
        return {"net": net, "critic": making.critic(len(making.wanted)), "heads": heads}

    def losses(self, parts: Mapping[str, nn.Module], step: Step) -> Losses:
        """Yield the critic's loss, the network's, then the heads'."""
        net, critic, heads = parts["net"], parts["critic"], parts["heads"]
        a, b = step.having(step.given), step.having(step.wanted)
        if not len(a):
            yield "net", _nothing(net, step.images)
            return
        made, *before = net(a, whole=True)
        if net.training:
            yield "critic", _told_apart(critic, b[:, list(step.wanted)], made)
        with resting(critic, heads):
            _, *after = net(with_channels(a, step.given, made), whole=True)
            places = [_places(m, step.rng) for m in before]
            theirs = [_picked(m.detach(), p) for m, p in zip(before, places, strict=True)]
            mine = [_picked(m, p) for m, p in zip(after, places, strict=True)]
            alike = contrasted(heads(mine), heads(theirs))
            yield "net", step.pull * _believed(critic, made) + step.weights.contrast * alike
        if net.training:
            yield "heads", contrasted(heads([m.detach() for m in mine]), heads(theirs))


def _places(features: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
    """Draw places of a map, (n,)."""
    n = features[0, 0].numel()
    drawn = torch.randperm(n, generator=rng, device=rng.device)[: min(PLACES, n)]
    return drawn.to(features.device)


def _picked(features: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """Return (B, n, channels) of a map at places."""
    return features.flatten(2)[:, :, places].transpose(1, 2)


def contrasted(mine: Sequence[torch.Tensor], theirs: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return how badly each place is told from the other places of its own image, one number.

    Args:
        mine: (B, n, d) of unit length, for each level.
        theirs: The same places of the other image; they take no gradient.
    """
    terms = []
    for q, k in zip(mine, theirs, strict=True):
        logits = q @ k.detach().transpose(1, 2) / TEMPERATURE
        own = torch.arange(logits.shape[1], device=logits.device).expand(len(logits), -1)
        terms.append(functional.cross_entropy(logits.flatten(0, 1), own.flatten()))
    return torch.stack(terms).mean()


#: By the name that a plan has for it.
WAYS: Mapping[str, Way] = {"pix2pix": Pix2Pix(), "reggan": RegGAN(), "cyclegan": CycleGAN(), "cut": CUT()}
