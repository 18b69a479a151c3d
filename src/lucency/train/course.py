"""Where weights start and how they move: the optimisers and the shapes of the rate that a plan may name."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import nn

from lucency.plan import Schedule

#: Shares of the training after which ``"step"`` divides the rate by ten (He 2016, doi 10.1109/CVPR.2016.90: at 32 000
#: and 48 000 of 64 000 steps).
MILESTONES = (0.5, 0.75)
STEP = 0.1

#: ``"plateau"``: a loss that in so many points of the curve did not fall by this share costs so much of the rate.
PATIENCE, LEAST_GAIN, PLATEAU = 3, 0.01, 0.3

#: Nesterov's momentum of SGD.
MOMENTUM = 0.9


def optimiser_of(part: nn.Module, schedule: Schedule) -> torch.optim.Optimizer:
    """Return the optimiser that the plan names, over the weights of a part.

    Weight decay is on matrices and kernels only; norms and biases go without.

    Args:
        part: Trained.
        schedule: See :data:`lucency.plan.OPTIMISERS`.
    """
    groups = [
        {"params": [p for p in part.parameters() if p.ndim > 1], "weight_decay": schedule.weight_decay},
        {"params": [p for p in part.parameters() if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if schedule.optimiser == "sgd":
        return torch.optim.SGD(groups, lr=schedule.rate, momentum=MOMENTUM, nesterov=True)
    kind = torch.optim.Adam if schedule.optimiser == "adam" else torch.optim.AdamW
    return kind(groups, lr=schedule.rate, betas=(0.9, 0.999))


def fitting(weights: Mapping[str, torch.Tensor], net: nn.Module) -> dict[str, torch.Tensor]:
    """Return the weights that a network has under the same name and of the same shape.

    Args:
        weights: Of another model, on the processor.
        net: The network that is to start from them.
    """
    own = net.state_dict()
    return {k: v for k, v in weights.items() if k in own and own[k].shape == v.shape and v.is_floating_point()}


def follow(average: nn.Module, part: nn.Module, decay: float) -> None:
    """Move an average towards a part: its weights, and its buffers that are no counts.

    Args:
        average: Of the same shape as ``part``.
        part: As it is now.
        decay: Share of itself that the average keeps, 0 to 1.
    """
    ours = [*average.parameters(), *(b for b in average.buffers() if b.is_floating_point())]
    live = [*part.parameters(), *(b for b in part.buffers() if b.is_floating_point())]
    torch._foreach_lerp_(ours, [t.detach() for t in live], 1 - decay)


def copied(parts: Mapping[str, nn.Module]) -> dict[str, dict[str, torch.Tensor]]:
    """Return the weights and buffers of parts as they are now."""
    return {n: {k: v.detach().clone() for k, v in p.state_dict().items()} for n, p in parts.items()}


def share_of_rate(shape: str, progress: float, losses: Sequence[float]) -> float:
    """Return the share of the peak rate that is due, 0 to 1.

    Args:
        shape: A name of :data:`lucency.plan.SHAPES`.
        progress: 0 at the first step, 1 at the last.
        losses: Training loss at the points of the curve so far. Held-out losses would be no honest guide: they
            would have a say in the weights that are judged by them.
    """
    if shape == "constant":
        return 1.0
    if shape == "step":
        return STEP ** sum(progress >= m for m in MILESTONES)
    if shape == "plateau":
        return PLATEAU ** drops(losses)
    return 0.5 * (1 + math.cos(math.pi * progress))


def drops(losses: Sequence[float]) -> int:
    """Return how often the loss stood still: :data:`PATIENCE` points in a row without a new low.

    Example:
        >>> drops([1.0, 0.8, 0.8, 0.8, 0.8, 0.5]), drops([1.0, 0.9, 0.8, 0.7])
        (1, 0)
    """
    best, waited, found = math.inf, 0, 0
    for loss in losses:
        if loss < best * (1 - LEAST_GAIN) or not math.isfinite(best):
            best, waited = loss, 0
            continue
        waited += 1
        if waited == PATIENCE:
            waited, found = 0, found + 1
    return found
