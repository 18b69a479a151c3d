import numpy as np
import pytest

from lucency.inspect.scan import count_labels, pixel_digest
from lucency.inspect.thumbnail import _areas, glance


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.float32])
@pytest.mark.parametrize("shape", [(1, 1, 37, 53), (3, 1, 20, 64), (1, 11, 30, 29), (2, 5, 700, 400)])
def test_numbers_agree_with_numpy(dtype, shape):
    array = np.random.default_rng(0).integers(0, 200, shape).astype(dtype)
    seen = glance(array)
    assert (seen.minimum, seen.maximum) == (array.min(), array.max())
    assert seen.mean == pytest.approx(array.mean(dtype=np.float64))
    assert seen.std == pytest.approx(array.std(dtype=np.float64))


def test_a_large_offset_does_not_eat_the_standard_deviation():
    array = 1e9 + np.arange(100.0).reshape(1, 1, 10, 10)
    # Var(0..n-1) = (n^2 - 1) / 12.
    assert glance(array).std == pytest.approx(np.sqrt((100**2 - 1) / 12))


def test_areas_are_averaged_by_their_overlap():
    # Three pixels to two stretches of 1.5: the middle pixel belongs half to each, so (1 + .5) / 1.5.
    np.testing.assert_allclose(_areas(3, 2), [[2 / 3, 1 / 3, 0], [0, 1 / 3, 2 / 3]], rtol=1e-6)
    np.testing.assert_allclose(_areas(2, 4), [[1, 0], [1, 0], [0, 1], [0, 1]])


def test_picture_is_the_same_at_double_size_in_another_unit_and_type():
    image = np.random.default_rng(1).integers(0, 255, (1, 1, 64, 96)).astype(np.uint8)
    large = np.repeat(np.repeat(image, 2, 2), 2, 3).astype(np.float32) * 3.0 - 500.0
    a, b = glance(image), glance(large)
    np.testing.assert_allclose(a.picture, b.picture, atol=5e-3)
    assert np.bitwise_count(a.hash ^ b.hash).sum() <= 2


def test_picture_of_a_volume_keeps_its_slices_apart():
    volume = np.random.default_rng(2).normal(size=(1, 16, 32, 32))
    assert glance(volume).picture.shape == (8, 32, 32)
    forward, backward = glance(volume).picture.ravel(), glance(volume[:, ::-1]).picture.ravel()
    assert abs(np.corrcoef(forward.astype(float), backward.astype(float))[0, 1]) < 0.1


def test_image_of_one_value_shows_no_picture():
    seen = glance(np.full((1, 1, 8, 8), 25, np.uint8))
    assert seen.picture is None
    assert seen.hash is None
    assert seen.std == 0


def test_digest_knows_values_and_type_but_not_byte_order_or_memory_layout():
    array = np.arange(24, dtype=np.int16).reshape(1, 2, 3, 4)
    assert pixel_digest(array) == pixel_digest(array.astype(">i2"))
    assert pixel_digest(array) == pixel_digest(np.asfortranarray(array))
    assert pixel_digest(array) != pixel_digest(array.astype(np.int32))
    assert pixel_digest(array) != pixel_digest(array.reshape(1, 2, 4, 3))


def test_labels_are_counted_across_slabs():
    array = np.zeros((1, 3, 1024, 512), np.uint16)
    array[0, 1] = 7
    array[0, 2, 0, 0] = 300
    assert count_labels(array) == {0: 2 * 1024 * 512 - 1, 7: 1024 * 512, 300: 1}
