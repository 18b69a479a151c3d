"""What makes boxes fit."""

import torch
from torch.nn import functional

#: Balance and exponent of the focal loss (Lin 2017, doi 10.1109/ICCV.2017.324, table 1).
BALANCE, GAMMA = 0.25, 2.0


def giou_loss(found: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Return 1 - GIoU of each pair of boxes.

    Args:
        found: (n, 2 d) low and high corners.
        wanted: (n, 2 d).

    Returns:
        (n,) 0 to 2.

    Source:
        Rezatofighi 2019, doi 10.1109/CVPR.2019.00075.
    """
    d = found.shape[1] // 2
    low, high = torch.maximum(found[:, :d], wanted[:, :d]), torch.minimum(found[:, d:], wanted[:, d:])
    shared = (high - low).clamp(min=0).prod(dim=1)
    sizes = [(b[:, d:] - b[:, :d]).clamp(min=0).prod(dim=1) for b in (found, wanted)]
    union = (sizes[0] + sizes[1] - shared).clamp(min=1e-6)
    low, high = torch.minimum(found[:, :d], wanted[:, :d]), torch.maximum(found[:, d:], wanted[:, d:])
    hull = (high - low).clamp(min=0).prod(dim=1).clamp(min=1e-6)
    return 1 - (shared / union - (hull - union) / hull)


def focal_terms(logits: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Return the focal loss of every entry; ``wanted`` is 0 or 1 of the same shape."""
    p = logits.sigmoid()
    right = torch.where(wanted > 0, p, 1 - p)
    weight = torch.where(wanted > 0, BALANCE, 1 - BALANCE) * (1 - right) ** GAMMA
    return weight * functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
