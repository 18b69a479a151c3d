"""What training makes small."""

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
