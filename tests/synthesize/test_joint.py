import numpy as np
import pytest
from blobs import blobs

from lucency.losses import IGNORE
from lucency.synthesize.drawn import UNKNOWN, Drawn
from lucency.synthesize.joint import apart, channels_of, classed, one_class, with_masks


def labelled(n=4, size=(3, 5, 6)):
    rng = np.random.default_rng(0)
    masks = rng.integers(0, 3, (n, *size)).astype(np.int16)
    return Drawn(rng.normal(size=(n, 2, *size)), np.full(n, UNKNOWN), np.full(n, ""), masks)


def test_masks_go_into_channels_and_come_back():
    drawn = labelled()
    both = with_masks(drawn, 2)
    assert both.shape == (4, 4, 3, 5, 6)
    assert set(np.unique(both[:, 2:])) == {-1.0, 1.0}
    assert np.array_equal(both[:, 2:], channels_of(drawn.masks, 2))
    images, masks = apart(both, 2)
    assert np.array_equal(images, drawn.images)
    assert np.array_equal(masks, drawn.masks)
    assert masks.dtype == np.int16


def test_where_labels_are_drawn_over_each_other_the_surer_one_stays():
    """Values of labels 1 and 2 at five voxels: below 0 both is background."""
    first, second = [0.9, 0.2, -0.1, -0.5, 0.3], [0.1, 0.8, 0.4, -0.4, -0.9]
    channels = np.array([[0.0] * 5, first, second]).reshape(1, 3, 1, 1, 5)
    assert apart(channels, 2)[1].reshape(-1).tolist() == [1, 2, 2, 0, 1]


def test_what_nobody_annotated_is_outside_of_every_label():
    drawn = labelled()
    masks = np.full_like(drawn.masks, IGNORE)
    assert float(with_masks(Drawn(drawn.images, drawn.labels, drawn.patients, masks), 2)[:, 2:].max()) == -1.0


def test_without_masks_images_stay_as_they_are():
    drawn = blobs(4)
    assert with_masks(drawn, 2) is drawn.images
    assert apart(drawn.images, 0) == (drawn.images, None)


@pytest.mark.parametrize(
    ("drawn", "expected"), [(blobs(4), True), (labelled(), False), (one_class(labelled(), labelled().images), True)]
)
def test_only_images_with_their_class_and_no_mask_are_asked_for_by_class(drawn, expected):
    assert classed(drawn) is expected
