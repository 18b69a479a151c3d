"""Boxes go where their things go, however a batch is seen anew."""

import pytest
import torch

from lucency.augment import augment, augment_boxes, mosaic
from lucency.errors import UsageError

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


@pytest.mark.parametrize("size", [(40, 60), (12, 20, 16)])
def test_in_a_mosaic_every_box_lies_around_what_it_lay_around(size):
    # Each image has a colour of its own and so have its things: a piece says where it comes from.
    generator = torch.Generator().manual_seed(0)
    d = len(size)
    images = torch.zeros(3, 1, *size)
    rows = torch.full((3, 4, 1 + 2 * d), -1.0)
    for n in range(3):
        images[n] = n + 1
        for m in range(3):
            low = [2 + m * (s - 8) // 3 + n for s in size]
            high = [a + 4 for a in low]
            images[(n, 0, *(slice(a, b) for a, b in zip(low, high, strict=True)))] = 10 * (n + 1) + m
            rows[n, m] = torch.tensor([m, *low, *high], dtype=torch.float32)
    seen, moved = mosaic(images, rows, 1.0, generator)
    assert seen.shape == images.shape
    owners = [{int(v) for v in (image[image < 10]).unique()} for image in seen]
    assert max(len(o) for o in owners) > 1
    n_boxes = 0
    for image, own in zip(seen[:, 0], moved, strict=True):
        for row in own[own[:, 0] >= 0]:
            inside = image[tuple(slice(int(a), int(b)) for a, b in zip(row[1 : 1 + d], row[1 + d :], strict=True))]
            # A box that a piece cuts holds its own thing alone, and at least half of it.
            assert (inside >= 10).all()
            assert (inside % 10 == row[0]).all()
            assert inside.numel() >= 0.5 * 4**d
            n_boxes += 1
    assert n_boxes > 0


def test_without_a_chance_a_mosaic_leaves_images_and_boxes_as_they_are():
    image, rows = scene((20, 30), (7, 9), (3, 4))
    seen, moved = mosaic(image, rows, 0.0, torch.Generator().manual_seed(0))
    assert torch.equal(seen, image)
    assert torch.equal(moved, rows)


def test_a_mosaic_is_for_boxes_alone():
    image, rows = scene((20, 30), (7, 9), (3, 4))
    with pytest.raises(UsageError, match="mosaic"):
        augment(image, None, {"mosaic": 0.5}, torch.Generator().manual_seed(0))
    _, moved = augment_boxes(image, rows, {"mosaic": 1.0}, torch.Generator().manual_seed(0))
    assert moved.shape[2] == 5
