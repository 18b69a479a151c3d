"""Networks by name: each file of this folder holds one family, a decorated function that returns a body.

A body turns a batch into feature maps, fine to coarse; the task adds the head. To add a network, add a file with
one function under :func:`network`; nothing else needs to learn its name.
"""

import difflib
import importlib
import inspect
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import entry_points

import torch
from torch import nn

from lucency.errors import UsageError


class Body(nn.Module):
    """Feature maps of a batch, fine to coarse.

    Attributes:
        channels: Channels of each map.
        strides: Downsampling of each map against the input, per spatial axis.
    """

    channels: tuple[int, ...]
    strides: tuple[tuple[int, ...], ...]

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Return the maps of ``x``, (B, C, J, I) or (B, C, K, J, I)."""
        raise NotImplementedError


class WithStems(Body):
    """A body behind something that turns the input into features of the same size.

    Args:
        stems: Before it.
        body: Takes what they give.
    """

    def __init__(self, stems: nn.Module, body: Body) -> None:
        super().__init__()
        self.stems, self.body = stems, body
        self.channels, self.strides = body.channels, body.strides

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Return the maps of the body."""
        maps: list[torch.Tensor] = self.body(self.stems(x))
        return maps


Build = Callable[..., Body]

#: Options that every network takes: channels of each modality in the order of the input, and the chance that one is
#: left out in training; with a chance over 0 each modality has a stem (:mod:`lucency.networks.stems`).
OF_MODALITIES = ("stems", "modality_dropout")


@dataclass(frozen=True)
class Network:
    """A registered network.

    Args:
        name: Registry name.
        build: ``build(channels, dims, **options)``.
        doi: The paper.
        sequence: It reads the slices of a volume, or the frames of a clip, as a sequence along k.
        controls: Simpler networks that it must be compared with: name to (registry name, options); all train on the
            same prepared images.
    """

    name: str
    build: Build
    doi: str
    sequence: bool = False
    controls: Mapping[str, tuple[str, Mapping[str, object]]] = field(default_factory=dict)


_found: dict[str, Network] = {}


def network(
    name: str,
    *,
    doi: str,
    sequence: bool = False,
    controls: Mapping[str, tuple[str, Mapping[str, object]]] | None = None,
) -> Callable[[Build], Build]:
    """Register the decorated function as network ``name``; ``doi`` is its paper, the rest as in :class:`Network`."""

    def register(build: Build) -> Build:
        _found[name] = Network(name, build, doi, sequence, controls or {})
        return build

    return register


@cache
def every_network() -> Mapping[str, Network]:
    """Return all networks of this folder and of the entry points ``lucency.networks``."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
    for point in entry_points(group="lucency.networks"):
        point.load()
    return dict(sorted(_found.items()))


def options_of(name: str) -> tuple[str, ...]:
    """Return the options of network ``name``.

    Raises:
        UsageError: No such network; the message names the nearest.
    """
    known = every_network()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        raise UsageError(
            f"No network {name!r}", expected=", ".join(known), remedy=f"did you mean {near[0]!r}?" if near else ""
        )
    parameters = inspect.signature(known[name].build).parameters
    return (*(p for p in parameters if p not in ("channels", "dims")), *OF_MODALITIES)


def body(name: str, channels: int, dims: int, options: Mapping[str, object]) -> Body:
    """Build network ``name``.

    Args:
        name: Registry name.
        channels: Input channels.
        dims: 2 or 3.
        options: Keyword arguments of its function, and those of :data:`OF_MODALITIES`.

    Raises:
        UsageError: No such network or option; the message names the nearest.
    """
    accepted = options_of(name)
    for option in options:
        if option not in accepted:
            raise UsageError(f"Network {name!r} has no option {option!r}", expected=", ".join(accepted))
    own = {k: v for k, v in options.items() if k not in OF_MODALITIES}
    sizes, dropout = options.get("stems", ()), options.get("modality_dropout", 0.0)
    if not isinstance(sizes, tuple | list) or len(sizes) < 2 or not isinstance(dropout, int | float) or not dropout:
        return every_network()[name].build(channels, dims, **own)
    # Late, since the families that it is a neighbour of are loaded when they are asked for.
    from lucency.networks.stems import Stems  # noqa: PLC0415

    stems = Stems([int(n) for n in sizes], dims, float(dropout))
    return WithStems(stems, every_network()[name].build(stems.features, dims, **own))


def means(maps: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return the mean of every map over its places, the maps one behind the other: (B, sum of the channels) float32."""
    return torch.cat([m.float().mean(dim=tuple(range(2, m.ndim))) for m in maps], dim=1)
