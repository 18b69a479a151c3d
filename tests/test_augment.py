import numpy as np
import pytest
import torch

from lucency.augment import TRANSFORMS, augment, augment_frames
from lucency.errors import UsageError

STRENGTHS = {"rotate": 20.0, "tilt": 10.0, "scale": 0.2, "shift": 0.1, "contrast": 0.2, "brightness": 0.3}
ALL = STRENGTHS | {"gamma": 0.3, "noise": 0.2, "flip_k": 0.5, "flip_j": 0.5, "flip_i": 0.5, "cutout": 0.3}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def blobs(size, points, width_mm, spacing):
    """(1, 1, ...) sum of Gaussians at ``points`` (voxels), round in mm."""
    grid = torch.meshgrid(*(torch.arange(n, dtype=torch.float32) for n in size), indexing="ij")
    total = torch.zeros(size)
    for point in points:
        far = sum(((g - p) * s) ** 2 for g, p, s in zip(grid, point, spacing, strict=True))
        total += torch.exp(-far / (2 * width_mm**2))
    return total[None, None]


def centre(image, spacing):
    """Centre of mass in mm."""
    grid = torch.meshgrid(*(torch.arange(n, dtype=torch.float32) for n in image.shape), indexing="ij")
    weight = image / image.sum()
    return np.array([float((g * weight).sum()) * s for g, s in zip(grid, spacing, strict=True)])


@pytest.mark.parametrize(
    ("size", "spacing"),
    [((60, 40), (1.0, 1.0)), ((32, 64), (2.0, 0.8)), ((20, 48, 40), (3.0, 1.0, 1.0)), ((30, 24, 36), (1.0, 2.0, 1.2))],
)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_turning_is_rigid_in_mm(size, spacing, seed):
    """Distances between three marks, and of each mark to the image's centre, stay what they were."""
    middle = np.array([(n - 1) / 2 for n in size])
    rng = np.random.default_rng(seed)
    steps = rng.uniform(-5, 5, (3, len(size))) / np.array(spacing)
    marks = [middle + s for s in steps]
    width = 1.5 * max(spacing)
    images = torch.cat([blobs(size, [m], width, spacing) for m in marks], dim=1)
    turn = {"rotate": 40.0} | ({"tilt": 25.0} if len(size) == 3 else {})
    seen, _ = augment(images, None, turn, generator(seed), spacing)
    before = np.array([centre(c, spacing) for c in images[0]])
    after = np.array([centre(c, spacing) for c in seen[0]])
    assert np.abs(after - before).max() > 0.5
    pairs = [(0, 1), (0, 2), (1, 2)]
    for a, b in pairs:
        assert np.linalg.norm(after[a] - after[b]) == pytest.approx(np.linalg.norm(before[a] - before[b]), abs=0.15)
    for a in range(3):
        home = middle * np.array(spacing)
        assert np.linalg.norm(after[a] - home) == pytest.approx(np.linalg.norm(before[a] - home), abs=0.15)


def test_turning_in_the_plane_leaves_every_slice_in_its_place():
    image = torch.randn(2, 1, 6, 20, 20, generator=generator())
    image[:, :, 3] += 100
    seen, _ = augment(image, None, {"rotate": 30.0}, generator())
    assert seen[:, :, 3].mean() == pytest.approx(100, abs=1)
    assert seen[:, :, [0, 1, 2, 4, 5]].abs().max() < 20


def test_scale_multiplies_lengths_and_shift_moves_by_its_share():
    size, spacing = (64, 64), (1.0, 1.0)
    image = blobs(size, [(31.5, 20.0)], 2.0, spacing)
    seen, _ = augment(image, None, {"scale": 0.3}, generator(1))
    # The factor is exp(uniform(-.3, .3)) of the first number drawn.
    factor = float(torch.exp((torch.rand(1, generator=generator(1)) * 2 - 1) * 0.3))
    found = centre(seen[0, 0], spacing)
    assert found == pytest.approx([31.5, 31.5 + (20.0 - 31.5) / factor], abs=0.1)
    moved, _ = augment(image.repeat(64, 1, 1, 1), None, {"shift": 0.1}, generator(2))
    gone = np.array([centre(m[0], spacing) - centre(image[0, 0], spacing) for m in moved])
    # A share of .1 of 64 pixels, to either side, along both axes.
    assert 4 < np.abs(gone).max() <= 6.5
    assert np.abs(gone).max(axis=0) == pytest.approx([6.2, 6.2], abs=0.4)


@pytest.mark.parametrize("shape", [(4, 1, 31, 44), (3, 1, 9, 30, 25)])
def test_image_and_mask_move_together(shape):
    """An image that is its own mask still is, whatever the warp and the mirror."""
    low = torch.nn.functional.interpolate(
        torch.randn(shape[0], 1, *(max(2, n // 6) for n in shape[2:]), generator=generator()), size=shape[2:]
    )
    masks = (low[:, 0] > 0).long()
    images = masks[:, None].float()
    strengths = {k: ALL[k] for k in ("rotate", "tilt", "scale", "shift", "flip_k", "flip_j", "flip_i")}
    if len(shape) == 4:
        strengths.pop("flip_k")
    spacing = (2.0, 1.0, 1.0)[-len(shape) + 2 :]
    seen, moved = augment(images, masks, strengths, generator(1), spacing)
    assert moved.dtype == torch.int64
    assert set(moved.unique().tolist()) <= {0, 1}
    inner = (slice(None), *(slice(n // 4, 3 * n // 4) for n in shape[2:]))
    agreement = ((seen[:, 0] > 0.5).long() == moved)[inner].float().mean()
    still = (masks == moved)[inner].float().mean()
    assert agreement > 0.97
    assert still < 0.95


def test_a_mask_keeps_voxels_that_nobody_annotated():
    masks = torch.full((2, 20, 20), -1)
    masks[:, :, :10] = 2
    _, moved = augment(torch.zeros(2, 1, 20, 20), masks, {"rotate": 10.0}, generator())
    assert set(moved[:, 8:12, 8:12].unique().tolist()) == {-1, 2}


def test_mirrors_turn_the_axis_they_name():
    images = torch.arange(2 * 3 * 4, dtype=torch.float32).reshape(1, 1, 2, 3, 4)
    masks = images[:, 0].long()
    for name, axis in (("flip_k", -3), ("flip_j", -2), ("flip_i", -1)):
        seen, moved = augment(images, masks, {name: 1.0}, generator())
        assert torch.equal(seen, images.flip(axis))
        assert torch.equal(moved, masks.flip(axis))


def test_half_of_the_images_are_mirrored_at_one_half():
    images = torch.arange(8.0).repeat(400, 1, 1, 1)
    seen, _ = augment(images, None, {"flip_i": 0.5}, generator())
    assert 160 < int((seen[:, 0, 0, 0] == 7).sum()) < 240


@pytest.mark.parametrize("shape", [(2, 1, 12, 12), (2, 1, 4, 12, 12)])
def test_nothing_happens_at_strength_0(shape):
    images, masks = torch.randn(shape), torch.randint(0, 3, (shape[0], *shape[2:]))
    for strengths in ({}, dict.fromkeys(ALL, 0.0)):
        seen, moved = augment(images, masks, strengths, generator())
        assert torch.equal(seen, images)
        assert torch.equal(moved, masks)


def test_same_generator_same_result_and_the_given_tensors_stay():
    images, masks = torch.randn(3, 1, 6, 12, 12), torch.randint(0, 3, (3, 6, 12, 12))
    copies = images.clone(), masks.clone()
    state = torch.get_rng_state()
    one, two, other = (augment(images, masks, ALL, generator(s)) for s in (5, 5, 6))
    assert torch.equal(one[0], two[0])
    assert torch.equal(one[1], two[1])
    assert not torch.equal(one[0], other[0])
    assert torch.equal(images, copies[0])
    assert torch.equal(masks, copies[1])
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("name", [n for n in TRANSFORMS if n != "tilt"])
def test_every_transform_does_something(name):
    images = torch.randn(8, 1, 4, 12, 12, generator=generator())
    seen, _ = augment(images, None, {name: ALL.get(name, 0.5)}, generator())
    assert seen.shape == images.shape
    assert torch.isfinite(seen).all()
    assert not torch.allclose(seen, images)


def test_gamma_of_an_image_does_not_depend_on_its_neighbours():
    images = torch.randn(2, 1, 12, 12)
    loud = torch.cat([images[:1], 100 * images[1:]])
    quiet, _ = augment(images, None, {"gamma": 0.4}, generator())
    beside, _ = augment(loud, None, {"gamma": 0.4}, generator())
    assert torch.allclose(quiet[0], beside[0])
    assert float(quiet[0].min()) == pytest.approx(float(images[0].min()), abs=1e-4)
    assert float(quiet[0].max()) == pytest.approx(float(images[0].max()), abs=1e-4)


def test_lost_slices_are_filled_in_from_their_neighbours():
    """A volume that rises evenly along k: what lies linearly between two slices is the slice that was lost."""
    even = torch.arange(12.0).view(1, 1, 12, 1, 1).expand(4, 2, 12, 3, 3).clone()
    seen, _ = augment(even, None, {"slices": 0.6}, generator())
    assert torch.allclose(seen, even, atol=1e-5)
    rough = torch.randn(4, 2, 12, 3, 3)
    seen, _ = augment(rough, None, {"slices": 0.4}, generator())
    changed = (seen != rough).flatten(3).any(dim=3)
    assert (changed[:, 0] == changed[:, 1]).all()  # a slice is lost in all channels
    assert not changed[:, :, [0, -1]].any()
    assert 0.2 < changed[:, 0, 1:-1].float().mean() < 0.6
    flat = torch.randn(2, 1, 8, 8)
    assert torch.equal(augment(flat, None, {"slices": 0.9}, generator())[0], flat)


def test_cutout_hides_its_share_behind_the_mean():
    images = torch.arange(40 * 40, dtype=torch.float32).reshape(1, 1, 40, 40).repeat(200, 1, 1, 1)
    seen, _ = augment(images, None, {"cutout": 0.5}, generator())
    hidden = seen != images
    assert torch.equal(seen[hidden], images.mean().expand(int(hidden.sum())))
    # A side s with its centre anywhere in the image covers s - s²/4 of an axis: .4375, of the area .4375² = .191.
    assert float(hidden.float().mean()) == pytest.approx(0.4375**2, abs=0.03)


def test_unknown_transform_is_refused_with_the_nearest():
    with pytest.raises(UsageError, match=r"No transform 'rotat'.*did you mean 'rotate'"):
        augment(torch.zeros(1, 1, 4, 4), None, {"rotat": 3.0}, generator())


def test_frames_of_a_sequence_are_moved_alike_and_none_into_another():
    clip = torch.zeros(2, 1, 5, 16, 16)
    clip[:, :, [0, 3], 4:9, 5:12] = 1.0
    found = augment_frames(clip, {"rotate": 20.0, "shift": 0.1, "scale": 0.1}, torch.Generator().manual_seed(0))
    assert torch.equal(found[:, :, 0], found[:, :, 3])
    assert not torch.equal(found, clip)
    assert found[:, :, [1, 2, 4]].abs().max() == 0


def test_a_frame_that_is_not_there_stays_away_under_noise_and_brightness():
    clip = torch.randn(3, 1, 4, 8, 8)
    clip[:, :, 2] = 0
    found = augment_frames(clip, {"noise": 0.5, "brightness": 0.5, "contrast": 0.5}, torch.Generator().manual_seed(0))
    assert found[:, :, 2].abs().max() == 0
    assert not torch.equal(found[:, :, 1], clip[:, :, 1])
    with pytest.raises(UsageError, match="No transform 'nois'"):
        augment_frames(clip, {"nois": 0.5}, torch.Generator())
