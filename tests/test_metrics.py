import math

import numpy as np
import pytest
from scipy import ndimage
from sklearn import metrics as reference
from sklearn.linear_model import LogisticRegression

from lucency import metrics
from lucency.errors import UsageError


def sample(n=200, classes=3, seed=0):
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, classes, n)
    p = rng.dirichlet(np.ones(classes), n) + 0.5 * np.eye(classes)[truth]
    return truth, p / p.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_class_metrics_equal_scikit_learns(classes):
    truth, p = sample(classes=classes)
    label = p.argmax(axis=1)
    counts = metrics.confusion(truth, label, classes)
    average = "binary" if classes == 2 else "macro"
    assert (counts == reference.confusion_matrix(truth, label)).all()
    assert metrics.accuracy(counts) == pytest.approx(reference.accuracy_score(truth, label))
    assert metrics.balanced_accuracy(counts) == pytest.approx(reference.balanced_accuracy_score(truth, label))
    assert metrics.f1(counts) == pytest.approx(reference.f1_score(truth, label, average=average))
    assert metrics.log_loss_terms(truth, p).mean() == pytest.approx(reference.log_loss(truth, p))
    assert metrics.auc(truth, p) == pytest.approx(
        reference.roc_auc_score(truth, p[:, 1] if classes == 2 else p, multi_class="ovr")
    )
    assert metrics.average_precision(truth, p) == pytest.approx(
        reference.average_precision_score(truth, p[:, 1] if classes == 2 else p)
    )
    assert metrics.brier_terms(truth, p).mean() == pytest.approx(
        reference.brier_score_loss(truth, p[:, 1] if classes == 2 else p)
    )


def test_sensitivity_and_specificity_worked_by_hand():
    counts = metrics.confusion(np.array([1, 1, 1, 1, 0, 0]), np.array([1, 1, 1, 0, 0, 1]), 2)
    assert counts.tolist() == [[1, 1], [1, 3]]
    assert metrics.sensitivity(counts) == 0.75
    assert metrics.specificity(counts) == 0.5


def test_weights_score_every_resample_as_if_repeated():
    truth, p = sample(60, 2, seed=3)
    label = p.argmax(axis=1)
    weights = np.random.default_rng(4).multinomial(60, np.full(60, 1 / 60), 15).astype(float)
    all_counts = metrics.confusion(truth, label, 2, weights)
    precision = metrics.weighted_average_precision(truth, p[:, 1], weights)
    for row, counts, found in zip(weights, all_counts, precision, strict=True):
        drawn = np.repeat(np.arange(60), row.astype(int))
        assert (counts == reference.confusion_matrix(truth[drawn], label[drawn])).all()
        assert found == pytest.approx(reference.average_precision_score(truth[drawn], p[drawn, 1]))
    assert metrics.f1(all_counts).shape == (15,)


def test_a_class_that_does_not_occur_is_left_out_of_the_means():
    counts = metrics.confusion(np.array([0, 0, 1, 1]), np.array([0, 0, 1, 0]), 3)
    assert metrics.balanced_accuracy(counts) == pytest.approx(0.75)
    assert metrics.f1(counts) == pytest.approx((4 / 5 + 2 / 3) / 2)
    assert math.isnan(metrics.auc(np.zeros(4, int), np.arange(4.0)))


def test_tied_scores_rank_as_scikit_learn_ranks_them():
    rng = np.random.default_rng(5)
    truth, score = rng.integers(0, 2, 100), rng.integers(0, 6, 100).astype(float)
    assert metrics.auc(truth, score) == pytest.approx(reference.roc_auc_score(truth, score))
    assert metrics.average_precision(truth, score) == pytest.approx(reference.average_precision_score(truth, score))


def test_calibration_error_worked_by_hand():
    # 150 cases, 15 bins of 10: p = .05, .15 ... with frequencies .1 below in each -> every gap is .1
    p1 = np.repeat(0.1 + np.arange(15) * 0.06, 10)
    truth = np.concatenate([np.arange(10) < round(10 * (p - 0.1)) for p in p1[::10]]).astype(int)
    gaps = [abs(p - t.mean()) for p, t in zip(p1[::10], truth.reshape(15, 10), strict=True)]
    found = metrics.calibration_error(truth, np.stack([1 - p1, p1], axis=1))
    assert found == pytest.approx(np.mean(gaps))
    said, came, n = metrics.reliability(truth, np.stack([1 - p1, p1], axis=1))
    assert said == pytest.approx(p1[::10])
    assert came == pytest.approx(truth.reshape(15, 10).mean(axis=1))
    assert n.tolist() == [10] * 15


def test_calibration_error_of_equal_probabilities_does_not_depend_on_the_order():
    truth = np.repeat([0, 1], [120, 80])
    p = np.tile([0.6, 0.4], (200, 1))
    assert metrics.calibration_error(truth, p) == pytest.approx(0.0, abs=1e-12)
    assert metrics.calibration_error(truth[::-1], p) == pytest.approx(0.0, abs=1e-12)


def test_calibration_error_of_several_classes_is_of_the_highest():
    truth, p = sample(300, 4, seed=6)
    top, right = p.max(axis=1), truth == p.argmax(axis=1)
    parts = np.array_split(np.argsort(top), 15)
    wanted = sum(len(part) / 300 * abs(top[part].mean() - right[part].mean()) for part in parts)
    assert metrics.calibration_error(truth, p) == pytest.approx(wanted)
    weights = np.ones((2, 300))
    assert metrics.calibration_error(truth, p, weights) == pytest.approx([wanted, wanted])


def test_calibration_line_equals_a_logistic_regression():
    rng = np.random.default_rng(7)
    z = rng.normal(0, 2, 2000)
    truth = (rng.random(2000) < 1 / (1 + np.exp(-(0.5 * z + 0.3)))).astype(int)
    p1 = 1 / (1 + np.exp(-z))
    slope, intercept = metrics.calibration_line(truth, np.stack([1 - p1, p1], axis=1))
    fitted = LogisticRegression(C=np.inf, tol=1e-10).fit(z[:, None], truth)
    assert slope == pytest.approx(fitted.coef_[0, 0], abs=1e-4)
    assert intercept == pytest.approx(fitted.intercept_[0], abs=1e-4)
    # Overconfident by 2: the slope says 1/2 within its standard error of .03.
    assert slope == pytest.approx(0.5, abs=0.1)


def test_separated_or_constant_probabilities_have_no_calibration_line():
    truth = np.repeat([0, 1], 20)
    p1 = np.linspace(0.1, 0.9, 40)
    assert np.isnan(metrics.calibration_line(truth, np.stack([1 - p1, p1], axis=1))).all()
    assert np.isnan(metrics.calibration_line(truth, np.full((40, 2), 0.5))).all()


@pytest.mark.parametrize("n", [50, 20000])
def test_curves_keep_their_area_when_thinned(n):
    rng = np.random.default_rng(8)
    truth = rng.integers(0, 2, n)
    score = rng.normal(size=n) + truth
    x, y = metrics.roc_points(truth, score)
    assert len(x) <= metrics.CURVE_POINTS
    assert (x[0], y[0], x[-1], y[-1]) == (0, 0, 1, 1)
    assert (np.diff(x) >= 0).all()
    assert np.trapezoid(y, x) == pytest.approx(metrics.auc(truth, score), abs=0.003)
    found, precision = metrics.pr_points(truth, score)
    assert len(found) <= metrics.CURVE_POINTS
    assert (found[0], found[-1]) == (0, 1)
    assert precision[-1] == pytest.approx(truth.mean())


def by_brute_force(truth, prediction, spacing, tolerance):
    """Distances of every surface voxel to every other, without boxes or trees."""
    offsets = [
        o for o in np.concatenate([np.eye(3, dtype=int), -np.eye(3, dtype=int)]) if truth.shape[abs(o).argmax()] > 1
    ]

    def surface(mask):
        padded = np.pad(mask, 1)
        points = []
        for at in np.argwhere(mask):
            if any(not padded[tuple(at + 1 + o)] for o in offsets):
                points.append(at * np.array(spacing))
        return np.array(points)

    a, b = surface(prediction), surface(truth)
    d = np.linalg.norm(a[:, None] - b[None], axis=2)
    away, back = d.min(axis=1), d.min(axis=0)
    both = np.concatenate([away, back])
    return (both <= tolerance).mean(), max(np.percentile(away, 95), np.percentile(back, 95)), both.mean()


@pytest.mark.parametrize("shape", [(12, 14, 10), (1, 30, 25)])
@pytest.mark.parametrize("seed", range(3))
def test_surface_scores_equal_brute_force(shape, seed):
    rng = np.random.default_rng(seed)
    field = ndimage.gaussian_filter(rng.normal(size=(2, *shape)), (0, 2, 2, 2))
    truth, prediction = field[0] > 0.02, field[0] + 0.6 * field[1] > 0.02
    spacing = (2.5, 0.8, 1.1)
    found = metrics.mask_scores(truth, prediction, spacing, 1.5)
    wanted = by_brute_force(truth, prediction, spacing, 1.5)
    assert (found.surface_dice, found.hd95_mm, found.assd_mm) == pytest.approx(wanted)
    assert found.dice == pytest.approx(2 * (truth & prediction).sum() / (truth.sum() + prediction.sum()))
    turned = metrics.mask_scores(prediction, truth, spacing, 1.5)
    assert (turned.hd95_mm, turned.assd_mm) == pytest.approx((found.hd95_mm, found.assd_mm))


def test_mask_scores_worked_by_hand():
    # Two cubes of 4 voxels side, one shifted by one voxel of 2 mm along j.
    truth, prediction = np.zeros((10, 10, 10), bool), np.zeros((10, 10, 10), bool)
    truth[3:7, 3:7, 3:7] = True
    prediction[3:7, 4:8, 3:7] = True
    found = metrics.mask_scores(truth, prediction, (1.0, 2.0, 1.0), 2.0)
    assert found.dice == pytest.approx(2 * 48 / 128)
    assert (found.surface_dice, found.hd95_mm, found.volume_error) == (1.0, 2.0, 0.0)
    bigger = prediction.copy()
    bigger[3:7, 8, 3:7] = True
    assert metrics.mask_scores(truth, bigger, (1.0, 1.0, 1.0), 1.0).volume_error == pytest.approx(16 / 64)


def test_conventions_for_empty_masks():
    none, some = np.zeros((4, 6, 8), bool), np.zeros((4, 6, 8), bool)
    some[1:3, 2:4, 2:4] = True
    assert metrics.mask_scores(none, none, (1, 1, 1), 1.0) == metrics.MaskScores(1.0, 1.0, 0.0, 0.0, 0.0)
    diagonal = math.sqrt(8**2 + 6**2 + 8**2)  # 4 × 2 mm, 6 × 1 mm, 8 × 1 mm
    missed = metrics.mask_scores(some, none, (2, 1, 1), 1.0)
    assert (missed.dice, missed.surface_dice, missed.volume_error) == (0.0, 0.0, -1.0)
    assert (missed.hd95_mm, missed.assd_mm) == pytest.approx((diagonal, diagonal))
    invented = metrics.mask_scores(none, some, (2, 1, 1), 1.0)
    assert math.isnan(invented.volume_error)
    assert invented.hd95_mm == pytest.approx(diagonal)
    assert metrics.dice(none, none) == 1.0


def test_scores_do_not_depend_on_where_the_organ_lies():
    rng = np.random.default_rng(9)
    small = ndimage.binary_dilation(rng.random((8, 8, 8)) > 0.95)
    other = ndimage.binary_dilation(rng.random((8, 8, 8)) > 0.95)
    alone = metrics.mask_scores(small, other, (1, 1, 2), 1.0)
    around = ((5, 9), (0, 3), (20, 1))
    assert metrics.mask_scores(np.pad(small, around), np.pad(other, around), (1, 1, 2), 1.0) == alone


def test_masks_of_different_shape_are_refused():
    with pytest.raises(UsageError, match=r"\(2, 2, 2\).*\(2, 2, 3\)"):
        metrics.mask_scores(np.ones((2, 2, 3), bool), np.ones((2, 2, 2), bool), (1, 1, 1), 1.0)
