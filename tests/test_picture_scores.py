"""Error and similarity of images, against scikit-image and by hand."""

import math

import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from lucency.errors import UsageError
from lucency.metrics import MOST_DB, picture_scores


@pytest.fixture
def images():
    rng = np.random.default_rng(0)
    truth = np.cumsum(np.cumsum(rng.normal(0, 1, (3, 40, 40)), axis=1), axis=2)
    return truth, truth + rng.normal(0, 2, truth.shape)


def test_scikit_image_says_the_same(images):
    truth, made = images
    span = float(np.ptp(truth))
    found = picture_scores(truth, made, span)
    theirs = [
        structural_similarity(
            a, b, data_range=span, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, full=True
        )[1].mean()
        for a, b in zip(truth, made, strict=True)
    ]
    assert found.ssim == pytest.approx(np.mean(theirs), abs=1e-9)
    assert found.psnr == pytest.approx(peak_signal_noise_ratio(truth, made, data_range=span))


def test_numbers_by_hand():
    """Off by 5 everywhere: the error is 5, and 10 log10(100² / 25) = 26.02 dB."""
    truth = np.arange(200.0).reshape(1, 10, 20) % 100
    found = picture_scores(truth, truth + 5, 100.0)
    assert found.mae == pytest.approx(5)
    assert found.psnr == pytest.approx(26.0206, abs=1e-4)


def test_an_image_is_like_itself():
    truth = np.random.default_rng(0).normal(size=(2, 16, 16))
    found = picture_scores(truth, truth, 4.0)
    assert (found.mae, found.psnr, found.ssim) == (0.0, MOST_DB, pytest.approx(1.0))


def test_a_constant_image_has_an_error_but_no_similarity():
    found = picture_scores(np.zeros((1, 8, 8)), np.ones((1, 8, 8)), 0.0)
    assert found.mae == 1.0
    assert math.isnan(found.ssim)


def test_two_sizes_are_refused():
    with pytest.raises(UsageError, match=r"shape \(1, 8, 8\) and \(1, 8, 9\)"):
        picture_scores(np.zeros((1, 8, 8)), np.zeros((1, 8, 9)), 1.0)
