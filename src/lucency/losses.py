"""What training makes small."""

from collections.abc import Sequence

import torch
from torch.nn import functional

#: Target value of a voxel that nobody annotated; it takes part in no loss and no score.
IGNORE = -1

#: Keeps Dice defined where a patch holds none of a label; small against one voxel of overlap.
SMOOTH = 1e-5


def dice_and_cross_entropy(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Return soft Dice plus cross-entropy over the annotated voxels, one number.

    Dice is taken over the batch as one volume, per label, background left out; labels that the batch lacks and
    the network does not claim cost nothing.

    Args:
        logits: (B, 1 + L, ...) real.
        target: (B, ...) int64 in 0..L, or :data:`IGNORE`.

    Source:
        Milletari 2016 (doi 10.1109/3DV.2016.79); the sum with cross-entropy, Isensee 2021
        (doi 10.1038/s41592-020-01008-z).
    """
    logits = logits.float()
    known = target != IGNORE
    safe = target.clamp(min=0)
    log_p = functional.log_softmax(logits, dim=1)
    picked = log_p.gather(1, safe.unsqueeze(1)).squeeze(1)
    count = known.sum().clamp(min=1)
    cross_entropy = -(picked * known).sum() / count
    p = log_p.exp() * known.unsqueeze(1)
    axes = (0, *range(2, logits.ndim))
    dice = logits.new_zeros(())
    labels = logits.shape[1] - 1
    claimed = p.sum(dim=axes)
    for label in range(1, labels + 1):
        here = (safe == label) & known
        overlap = (p[:, label] * here).sum()
        dice = dice + (2 * overlap + SMOOTH) / (claimed[label] + here.sum() + SMOOTH)
    return cross_entropy + 1 - dice / max(labels, 1)


def soft_cross_entropy(logits: torch.Tensor, target: torch.Tensor, smoothing: float = 0.0) -> torch.Tensor:
    """Return cross-entropy against class probabilities, with label smoothing.

    Args:
        logits: (B, n) real.
        target: (B, n), rows sum to 1.
        smoothing: Share of each target that is spread evenly (Szegedy 2016, doi 10.1109/CVPR.2016.308).
    """
    target = target * (1 - smoothing) + smoothing / target.shape[1]
    return -(target * functional.log_softmax(logits.float(), dim=1)).sum(dim=1).mean()


def contrast(embeddings: torch.Tensor, partners: torch.Tensor, temperature: float) -> torch.Tensor:
    """Return how badly every embedding tells its partners from the others of the batch, one number.

    With the two views of an image as partners this is SimCLR's loss; with all images of a class it is supervised
    contrast, the mean over the partners outside the logarithm.

    Args:
        embeddings: (B, d) real, of any length; the cosine counts.
        partners: (B, B) bool; the diagonal does not count. A row without a partner is left out.
        temperature: Divides the cosines, > 0.

    Source:
        Chen 2020 (doi 10.48550/arXiv.2002.05709), equation 1; Khosla 2020 (doi 10.48550/arXiv.2004.11362), equation 2.
    """
    unit = functional.normalize(embeddings.float(), dim=1)
    itself = torch.eye(len(unit), dtype=torch.bool, device=unit.device)
    logits = (unit @ unit.T / temperature).masked_fill(itself, -torch.inf)
    log_p = functional.log_softmax(logits, dim=1).masked_fill(itself, 0.0)
    partners = partners & ~itself
    count = partners.sum(dim=1)
    mean = (log_p * partners).sum(dim=1) / count.clamp(min=1)
    return -mean.sum() / (count > 0).sum().clamp(min=1)


#: Ways of learning from classes of unlike size, by their names in a plan; "plain" leaves it to what follows training.
IMBALANCE = (
    "plain",
    "logit_adjustment",
    "focal",
    "class_balanced",
    "ldam_drw",
    "balanced_mixup",
    "balanced_sampling",
)

#: Exponent of the focal loss (Lin 2017: 2 was best).
FOCUS = 2.0

#: Effective numbers: as if each image stood for so large a part of its class (Cui 2019: 0.9 to 0.9999 were tried).
BETA = 0.9999

#: LDAM: the margin of the smallest class, and the progress from which on rare classes weigh more (Cao 2019).
MARGIN, DEFERRED = 0.5, 0.8


def imbalanced_cross_entropy(
    logits: torch.Tensor, target: torch.Tensor, counts: Sequence[int], choice: str, *, progress: float = 1.0
) -> torch.Tensor:
    """Return cross-entropy against class probabilities, changed for classes of unlike size, one number.

    Args:
        logits: (B, n) real; for ``"ldam_drw"`` less the :func:`margins` of the true class.
        target: (B, n), rows sum to 1.
        counts: Training images of each class, >= 1 each.
        choice: One of :data:`IMBALANCE`; those that only draw otherwise are plain here.
        progress: 0 at the first step, 1 at the last.

    Source:
        Menon 2021 (doi 10.48550/arXiv.2007.07314), equation 10; Lin 2017 (doi 10.1109/ICCV.2017.324); Cui 2019
        (doi 10.1109/CVPR.2019.00949); Cao 2019 (doi 10.48550/arXiv.1906.07413).
    """
    logits = logits.float()
    n = torch.tensor(counts, dtype=torch.float32, device=logits.device)
    if choice == "logit_adjustment":
        logits = logits + (n / n.sum()).log()
    log_p = functional.log_softmax(logits, dim=1)
    each = -target * log_p
    if choice == "focal":
        each = each * (1 - log_p.exp()) ** FOCUS
    if choice == "class_balanced" or (choice == "ldam_drw" and progress >= DEFERRED):
        each = each * effective_weights(n)
    return each.sum(dim=1).mean()


def effective_weights(counts: torch.Tensor) -> torch.Tensor:
    """Return (n,) weights of classes, inverse to the effective numbers of their images; their mean is 1.

    Source: Cui 2019 (doi 10.1109/CVPR.2019.00949), equation 2.
    """
    weights = (1 - BETA) / (1 - BETA ** counts.double())
    return (weights / weights.mean()).float()


def margins(counts: torch.Tensor) -> torch.Tensor:
    """Return (n,) margins, inverse to the fourth root of the counts; that of the smallest class is :data:`MARGIN`.

    Source: Cao 2019 (doi 10.48550/arXiv.1906.07413), section 3.2.
    """
    roots = counts.float() ** -0.25
    return MARGIN * roots / roots.max()
