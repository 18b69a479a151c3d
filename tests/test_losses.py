import math

import pytest
import torch
from torch.nn import functional

from lucency.losses import IGNORE, SMOOTH, contrast, dice_and_cross_entropy, soft_cross_entropy


def test_loss_of_two_voxels_is_what_arithmetic_says():
    """p(label) = .8 on the labelled voxel and .4 on the background voxel.

    Cross-entropy: -(ln .8 + ln .6) / 2 = .366985. Dice: 2 · .8 / (.8 + .4 + 1) = .727273. Sum with 1 - Dice: .639712.
    """
    p = torch.tensor([[[0.2, 0.6], [0.8, 0.4]]])
    loss = dice_and_cross_entropy(p.log(), torch.tensor([[1, 0]]))
    assert float(loss) == pytest.approx(0.366985 + 1 - 0.727273, abs=2e-5)


def test_dice_is_the_mean_over_labels_and_the_batch_is_one_volume():
    """Two labels, one voxel each in two images, everything certain but label 2, which is claimed nowhere.

    Label 1: 1. Label 2: SMOOTH / (0 + 1 + SMOOTH), about 0. Mean: 1/2.
    """
    logits = torch.full((2, 3, 1), -50.0)
    logits[0, 1, 0] = logits[1, 0, 0] = 50.0
    target = torch.tensor([[1], [2]])
    dice = 1 - (float(dice_and_cross_entropy(logits, target)) - float(functional.cross_entropy(logits, target)))
    assert dice == pytest.approx(0.5, abs=1e-4)


@pytest.mark.parametrize("shape", [(2, 6, 7), (2, 4, 5, 6)])
def test_cross_entropy_part_agrees_with_torch(shape):
    torch.manual_seed(0)
    logits, target = torch.randn(shape[0], 3, *shape[1:]), torch.randint(0, 3, shape)
    p = logits.softmax(1)
    dice = 0.0
    for label in (1, 2):
        here = (target == label).float()
        dice += float((2 * (p[:, label] * here).sum() + SMOOTH) / (p[:, label].sum() + here.sum() + SMOOTH)) / 2
    expected = float(functional.cross_entropy(logits, target)) + 1 - dice
    assert float(dice_and_cross_entropy(logits, target)) == pytest.approx(expected, rel=1e-5)


def test_voxels_that_nobody_annotated_have_no_gradient_and_no_say():
    torch.manual_seed(0)
    logits = torch.randn(2, 3, 8, 8, requires_grad=True)
    target = torch.randint(0, 3, (2, 8, 8))
    target[:, :3] = IGNORE
    loss = dice_and_cross_entropy(logits, target)
    loss.backward()
    assert not logits.grad[:, :, :3].any()
    assert logits.grad[:, :, 3:].abs().min() > 0
    other = logits.detach().clone()
    other[:, :, :3] = 100 * torch.randn(2, 3, 3, 8)
    assert float(dice_and_cross_entropy(other, target)) == float(loss.detach())
    annotated = dice_and_cross_entropy(logits.detach()[:, :, 3:], target[:, 3:])
    assert float(annotated) == pytest.approx(float(loss.detach()), rel=1e-6)


def test_perfect_logits_cost_nothing_and_the_worst_cost_much():
    torch.manual_seed(0)
    target = torch.randint(0, 3, (2, 8, 8))
    perfect = 40.0 * functional.one_hot(target, 3).movedim(-1, 1)
    assert float(dice_and_cross_entropy(perfect, target)) == pytest.approx(0, abs=1e-5)
    assert float(dice_and_cross_entropy(-perfect, target)) > 20


@pytest.mark.parametrize("fill", [0, IGNORE])
def test_a_batch_without_any_label_costs_nothing_when_none_is_claimed(fill):
    logits = torch.zeros(1, 3, 4, 4)
    logits[:, 0] = 60
    assert float(dice_and_cross_entropy(logits, torch.full((1, 4, 4), fill))) == pytest.approx(0, abs=1e-5)


def test_half_precision_is_summed_in_single():
    torch.manual_seed(0)
    logits, target = torch.randn(1, 2, 64, 64), torch.randint(0, 2, (1, 64, 64))
    half = dice_and_cross_entropy(logits.bfloat16(), target)
    assert half.dtype == torch.float32
    assert float(half) == pytest.approx(float(dice_and_cross_entropy(logits, target)), rel=1e-2)


def test_soft_cross_entropy_is_what_arithmetic_says():
    """p = (.25, .75), target (.9, .1) after smoothing .2 of (1, 0): -(.9 ln .25 + .1 ln .75) = 1.276434."""
    logits = torch.tensor([[0.25, 0.75]]).log()
    assert float(soft_cross_entropy(logits, torch.tensor([[1.0, 0.0]]), 0.2)) == pytest.approx(1.276434, abs=1e-5)
    assert float(soft_cross_entropy(logits, torch.tensor([[1.0, 0.0]]))) == pytest.approx(-math.log(0.25))


def test_soft_cross_entropy_agrees_with_torch():
    torch.manual_seed(0)
    logits, target = torch.randn(7, 4), torch.randint(0, 4, (7,))
    ours = soft_cross_entropy(logits, functional.one_hot(target, 4).float(), 0.1)
    assert float(ours) == pytest.approx(float(functional.cross_entropy(logits, target, label_smoothing=0.1)), rel=1e-6)


def alike(kinds):
    kinds = torch.tensor(kinds)
    return kinds[:, None] == kinds[None]


def test_contrast_of_two_pairs_by_hand():
    # Rows 0 and 1 are one direction, 2 and 3 the other: for each row the partner has cosine 1, the two others 0.
    embeddings = torch.tensor([[2.0, 0.0], [1.0, 0.0], [0.0, 3.0], [0.0, 1.0]])
    found = contrast(embeddings, alike([7, 7, 9, 9]), 0.5)
    assert float(found) == pytest.approx(math.log(math.exp(2) + 2) - 2, rel=1e-5)


def test_contrast_leaves_rows_without_a_partner_out_and_counts_several_partners_evenly():
    rng = torch.Generator().manual_seed(0)
    embeddings = torch.randn(5, 4, generator=rng)
    same = alike([0, 0, 0, 1, 2])
    unit = embeddings / embeddings.norm(dim=1, keepdim=True)
    logits = unit @ unit.T / 0.2
    rows = []
    for row, partners in ((0, (1, 2)), (1, (0, 2)), (2, (0, 1))):
        others = [k for k in range(5) if k != row]
        rows.append(torch.logsumexp(logits[row, others], 0) - logits[row, list(partners)].mean())
    assert float(contrast(embeddings, same, 0.2)) == pytest.approx(float(torch.stack(rows).mean()), rel=1e-5)


def test_contrast_has_a_finite_gradient_and_falls_when_partners_draw_near():
    embeddings = torch.randn(8, 4, generator=torch.Generator().manual_seed(1), requires_grad=True)
    same = alike([0, 1, 2, 3] * 2)
    before = contrast(embeddings, same, 0.2)
    before.backward()
    assert torch.isfinite(embeddings.grad).all()
    assert float(contrast(embeddings.detach() - 0.1 * embeddings.grad, same, 0.2)) < float(before.detach())
