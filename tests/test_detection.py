"""Average precision and free-response curves, against numbers worked out by hand and against a plain count."""

import numpy as np
import pytest

from lucency import detection
from lucency.boxes import Box, overlaps, placed
from lucency.errors import DataError
from lucency.image import diagonal_affine


def box(x: float, y: float, side: float = 10.0, score: float = 1.0, label: str = "a") -> Box:
    return Box(label, (0.0, y, x), (1.0, y + side, x + side), score)


def test_overlap_is_intersection_over_union() -> None:
    # 5 × 10 shared of 100 + 100 - 50: a third.
    first, second = np.array([[0.0, 0, 10, 10]]), np.array([[0.0, 5, 10, 15], [20, 20, 30, 30], [0, 0, 10, 10]])
    assert overlaps(first, second)[0] == pytest.approx([1 / 3, 0, 1])


@pytest.mark.parametrize("high", [(1.0, 2.0, 2.0), (1.0, np.nan, 5.0), (1.0, 1.0, 5.0)])
def test_a_box_that_cannot_be_is_refused(high: tuple[float, float, float]) -> None:
    with pytest.raises(DataError, match="box"):
        Box("a", (0.0, 2.0, 2.0), high)


def test_place_in_the_patient_counts_from_the_edge_of_a_pixel() -> None:
    # Pixel centres at 0, 2, 4 … mm along x: pixel 0 begins at -1 mm, pixels 1 and 2 reach from 1 to 5 mm.
    found = placed(Box("a", (0.0, 0.0, 1.0), (1.0, 1.0, 3.0)), diagonal_affine((4.0, 3.0, 2.0)))
    assert found.low_mm == pytest.approx((1.0, -1.5, -2.0))
    assert found.high_mm == pytest.approx((5.0, 1.5, 2.0))


def test_each_drawn_box_is_found_once_and_the_surest_chooses_first() -> None:
    drawn = [box(0, 0), box(40, 0)]
    found = [box(1, 0, score=0.5), box(0, 0, score=0.9), box(40, 1, score=0.7), box(80, 0, score=0.8)]
    scores, right = detection.matched(found, drawn, 0.5)
    assert scores.tolist() == [0.9, 0.8, 0.7, 0.5]
    assert right.tolist() == [True, False, True, False]


def test_average_precision_by_hand() -> None:
    # Ranked: right, wrong, right; three to be found. Precision 1 up to recall 1/3, 2/3 up to 2/3, then none:
    # recalls .00 … .33 are 34 points at 1, .34 … .66 are 33 points at 2/3, of 101.
    drawn = [[box(0, 0), box(40, 0), box(80, 0)]]
    found = [[box(0, 0, score=0.9), box(0, 50, score=0.8), box(40, 0, score=0.7)]]
    hits = detection.hits_of(found, drawn, "a", 0.5)
    assert detection.average_precision(hits, np.ones((1, 1)))[0] == pytest.approx((34 + 33 * 2 / 3) / 101)


def test_sensitivity_at_false_positives_an_image_by_hand() -> None:
    # Two images. Ranked: wrong, right, wrong, right. Nothing before 1/2 a false box an image, half at 1/2, all at 1.
    drawn = [[box(0, 0)], [box(0, 0)]]
    found = [[box(0, 50, score=0.9), box(0, 0, score=0.8)], [box(0, 50, score=0.7), box(0, 0, score=0.6)]]
    hits = detection.hits_of(found, drawn, "a", 0.5)
    got = detection.sensitivities(hits, np.ones((1, 2)), (1 / 4, 1 / 2, 1.0, 2.0))[0]
    assert got == pytest.approx([0, 0.5, 1, 1])
    x, y = detection.froc_points(hits)
    assert x.tolist() == [0.5, 0.5, 1.0, 1.0]
    assert y.tolist() == [0.0, 0.5, 0.5, 1.0]


def counted_plainly(hits: detection.Hits, weights: np.ndarray) -> float:
    """Every box as often as its image counts; COCO's 101 points."""
    right = [bool(r) for r, i in zip(hits.right, hits.image, strict=True) for _ in range(int(weights[i]))]
    true = np.cumsum(right)
    recall, precision = true / (weights @ hits.wanted), true / np.arange(1, len(true) + 1)
    best = [max(precision[recall >= r - 1e-12], default=0.0) for r in np.linspace(0, 1, 101)]
    return float(np.mean(best))


@pytest.mark.parametrize("seed", range(5))
def test_resampled_precision_equals_a_plain_count(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n, images = 200, 12
    wanted = rng.integers(3, 8, images)
    image = rng.integers(0, images, n)
    right = rng.random(n) < 0.3
    for i in range(images):
        # No image has more right boxes than were drawn on it.
        over = np.flatnonzero(right & (image == i))[wanted[i] :]
        right[over] = False
    hits = detection.Hits(image, np.sort(rng.random(n))[::-1], right, wanted)
    weights = rng.multinomial(images, np.full(images, 1 / images), size=20)
    assert detection.average_precision(hits, weights) == pytest.approx([counted_plainly(hits, w) for w in weights])


def test_a_class_that_was_not_drawn_has_no_precision() -> None:
    hits = detection.hits_of([[box(0, 0, label="b")]], [[box(0, 0)]], "b", 0.5)
    assert np.isnan(detection.average_precision(hits, np.ones((1, 1)))).all()
    assert np.isnan(detection.sensitivities(hits, np.ones((1, 1)))).all()


def test_nothing_found_scores_zero() -> None:
    hits = detection.hits_of([[]], [[box(0, 0)]], "a", 0.5)
    assert detection.average_precision(hits, np.ones((1, 1))).tolist() == [0.0]
    assert detection.sensitivities(hits, np.ones((1, 1))).max() == 0.0
