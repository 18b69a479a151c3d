"""Boxes go where their things go, however a batch is seen anew."""

import pytest
import torch

from lucency.augment import augment_boxes

FLIPS = {"flip_k": 0.5, "flip_j": 0.5, "flip_i": 0.5}


def scene(size, middle, radii):
    """A bright ellipsoid, (1, 1, ...) and the box that just holds it as a row of class 3, then a row of nothing."""
    grid = torch.meshgrid(*(torch.arange(n) + 0.5 for n in size), indexing="ij")
    far = sum(((g - m) / r) ** 2 for g, m, r in zip(grid, middle, radii, strict=True))
    low = [m - r for m, r in zip(middle, radii, strict=True)]
    high = [m + r for m, r in zip(middle, radii, strict=True)]
    rows = torch.tensor([[3.0, *low, *high], [-1.0] * (1 + 2 * len(size))])
    return (far <= 1).float()[None, None], rows[None]


def held(image, level=0.5):
    """(low, high) edges of what is bright."""
    places = torch.nonzero(image[0, 0] > level).float()
    return torch.cat([places.amin(dim=0), places.amax(dim=0) + 1])


@pytest.mark.parametrize(
    ("size", "middle", "radii", "spacing"),
    [((90, 120), (40, 60), (14, 22), (1.0, 1.0)), ((40, 60, 50), (20, 28, 26), (8, 12, 10), (2.0, 1.0, 1.0))],
)
@pytest.mark.parametrize("seed", range(6))
def test_a_box_stays_around_its_thing(size, middle, radii, spacing, seed):
    image, rows = scene(size, middle, radii)
    strengths = {
        "rotate": 25.0,
        "scale": 0.15,
        "shift": 0.05,
        **{k: 0.5 for k in FLIPS if k[-1] in "kji"[-len(size) :]},
    }
    seen, moved = augment_boxes(image, rows, strengths, torch.Generator().manual_seed(seed), spacing)
    assert moved[0, 0, 0] == 3
    # Edges of the warped picture are right to about a pixel.
    assert moved[0, 0, 1:].tolist() == pytest.approx(held(seen).tolist(), abs=1.6)
    assert (moved[0, 1] == -1).all()


def test_mirroring_is_exact_and_twice_is_nothing():
    image, rows = scene((20, 30), (7, 9), (3, 4))
    always = {"flip_j": 1.0, "flip_i": 1.0}
    once, moved = augment_boxes(image, rows, always, torch.Generator().manual_seed(0))
    # 20 - (7 ± 3) and 30 - (9 ± 4).
    assert moved[0, 0].tolist() == pytest.approx([3, 10, 17, 16, 25], abs=1e-4)
    twice, back = augment_boxes(once, moved, always, torch.Generator().manual_seed(1))
    assert torch.equal(twice, image)
    assert torch.allclose(back, rows, atol=1e-4)


def test_a_box_that_is_shifted_out_of_the_image_is_no_longer_learned_from():
    image, _ = scene((40, 40), (20, 20), (5, 5))
    rows = torch.tensor([[[0.0, 0, 0, 6, 6], [1.0, 17, 17, 23, 23], [2.0, 34, 34, 40, 40]]])
    lost, kept = 0, 0
    for seed in range(20):
        _, moved = augment_boxes(image, rows, {"shift": 0.3}, torch.Generator().manual_seed(seed))
        for row in moved[0]:
            if row[0] < 0:
                assert (row == -1).all()
                lost += 1
            else:
                assert 0 <= row[1:].min() <= row[1:].max() <= 40
                assert (row[3:] - row[1:3]).prod() >= 18  # half of 36
                kept += 1
    # The middle one stays in the image, whatever the shift of up to 12 pixels; those in the corners do not.
    assert lost > 10
    assert kept >= 20


def test_a_batch_without_any_box_goes_through():
    image, _ = scene((20, 20), (10, 10), (3, 3))
    _, moved = augment_boxes(image, torch.zeros(1, 0, 5), {"rotate": 10.0}, torch.Generator().manual_seed(0))
    assert moved.shape == (1, 0, 5)
