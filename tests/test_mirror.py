import numpy as np
import pytest

from lucency.mirror import SAFE, Mirror, mirror


def summed(images, axis):
    total = Mirror()
    for image in images:
        total = total + mirror(image, axis)
    return total


def bodies(n, heart, seed=0, volume=False):
    """Images of noise with a bright spot left of the middle in a share ``heart`` of them, right in the rest."""
    rng = np.random.default_rng(seed)
    for _ in range(n):
        image = rng.normal(size=(12, 24, 24) if volume else (1, 24, 24))
        side = slice(3, 9) if rng.random() < heart else slice(15, 21)
        image[..., 8:16, side] += 3
        yield image


def test_a_heart_always_on_one_side_makes_flips_unsafe():
    assert summed(bodies(200, heart=1.0), axis=2).separability > 0.99


def test_a_spot_on_either_side_alike_makes_flips_safe():
    assert summed(bodies(400, heart=0.5), axis=2).separability <= SAFE


def test_the_other_axis_is_judged_by_itself():
    assert summed(bodies(400, heart=1.0), axis=1).separability <= SAFE


def test_volumes_are_judged_too():
    assert summed(bodies(200, heart=1.0, volume=True), axis=2).separability > 0.99
    assert summed(bodies(1200, heart=1.0, volume=True), axis=0).separability <= SAFE


def test_few_cases_allow_nothing():
    assert summed(bodies(27, heart=0.5), axis=2).separability == 1.0
    assert Mirror().separability == 1.0


def test_sums_of_two_sites_are_the_sums_of_both():
    images = list(bodies(60, heart=0.8))
    both = summed(images[:20], axis=2) + summed(images[20:], axis=2)
    whole = summed(images, axis=2)
    assert both.count == whole.count
    assert both.separability == pytest.approx(whole.separability)


def test_a_mirrored_set_is_as_separable_as_the_set():
    images = list(bodies(100, heart=0.8))
    mirrored = [image[..., ::-1] for image in images]
    assert summed(mirrored, axis=2).separability == pytest.approx(summed(images, axis=2).separability)


def test_symmetric_images_without_noise_are_safe():
    image = np.zeros((1, 12, 12))
    image[0, 4:8, 4:8] = 1
    assert summed([image] * 60, axis=2).separability == 0.5
