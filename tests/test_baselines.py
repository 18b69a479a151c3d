import os
import time
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from lucency import baselines, metrics
from lucency.errors import DataError, UsageError

DATA = Path(os.environ.get("LUCENCY_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))


def stripes(rng, n, size=24):
    """Images of two classes: stripes along j or along i; mean and noise are the same."""
    truth = np.arange(n) % 2
    wave = np.sin(np.arange(size) * 0.9)
    images = []
    for c in truth:
        plane = wave[:, None] if c else wave[None, :]
        images.append((plane + rng.normal(0, 0.7, (size, size))).astype(np.float32)[None, None])
    return images, truth


@pytest.mark.parametrize("shape", [(1, 1, 64, 64), (3, 1, 28, 28), (1, 1, 3, 2), (1, 1, 1, 1), (1, 5, 9, 8)])
def test_features_are_finite_and_as_many_for_every_size(shape):
    image = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    found = baselines.features(image)
    bigger = baselines.features(np.pad(image, ((0, 0), (0, 0), (2, 3), (1, 4))))
    assert found.dtype == np.float32
    assert np.isfinite(found).all()
    assert found.shape == bigger.shape
    assert np.isfinite(baselines.features(np.zeros(shape, np.float32))).all()


def test_features_of_a_single_slice_fit_a_3d_set_when_told():
    rng = np.random.default_rng(1)
    thin, thick = (rng.normal(size=(1, k, 12, 12)).astype(np.float32) for k in (1, 6))
    assert baselines.features(thin, dims=3).shape == baselines.features(thick).shape
    with pytest.raises(UsageError, match="6 slices"):
        baselines.features(thick, dims=2)


def test_features_of_a_ramp_are_what_arithmetic_says():
    # 0 .. 7 along i: mean 3.5, standard deviation sqrt(63 / 12), gradient 1 everywhere, blocks .5 2.5 4.5 6.5
    ramp = np.tile(np.arange(8, dtype=np.float32), (8, 1))[None, None]
    found = baselines.features(ramp)
    assert found[:2] == pytest.approx([3.5, np.sqrt(63 / 12)])
    assert found[4:6].tolist() == [0, 7]
    gradient = found[13:19]
    assert gradient == pytest.approx([1, 0, 1, 1, 1, 1])
    assert found[25:41] == pytest.approx(np.tile([0.5, 2.5, 4.5, 6.5], 4))
    # All gradients point along i: only the first of the nine directions, equally in 16 cells, of length 1.
    directions = found[-144:].reshape(16, 9)
    assert directions[:, 0] == pytest.approx(np.full(16, 0.25))
    assert directions[:, 1:] == pytest.approx(0)


def test_features_of_a_small_image_take_milliseconds():
    image = np.random.default_rng(2).normal(size=(1, 1, 64, 64)).astype(np.float32)
    times = []
    for _ in range(20):
        before = time.perf_counter()
        baselines.features(image)
        times.append(time.perf_counter() - before)
    assert min(times) < 50e-3  # about 1 ms alone; the bound only catches a loop over pixels


@pytest.mark.parametrize("name", baselines.IMAGE_BASELINES)
def test_image_baseline_gives_probabilities_and_repeats_itself(name):
    rng = np.random.default_rng(3)
    images, truth = stripes(rng, 120)
    table = np.stack([baselines.features(image) for image in images])
    model = baselines.IMAGE_BASELINES[name]
    p = model.fit_predict(table[:80], truth[:80], table[80:], 2, 7)
    assert p.shape == (40, 2)
    assert p.sum(axis=1) == pytest.approx(1)
    assert (p == model.fit_predict(table[:80], truth[:80], table[80:], 2, 7)).all()
    reached = metrics.auc(truth[80:], p)
    assert reached == 0.5 if name == "majority class" else reached > 0.9
    assert model.name == name
    assert model.description.endswith(".")


@pytest.mark.parametrize("name", baselines.IMAGE_BASELINES)
def test_image_baseline_survives_rare_and_absent_classes(name):
    rng = np.random.default_rng(4)
    table = rng.normal(size=(31, 6))
    truth = np.array([0] * 15 + [2] * 13 + [3] * 2 + [4])  # class 1 absent, class 4 once
    p = baselines.IMAGE_BASELINES[name].fit_predict(table, truth, table[:5], 5, 0)
    assert p.shape == (5, 5)
    assert p.sum(axis=1) == pytest.approx(1)
    assert (p[:, 1] == 0).all()


@pytest.mark.parametrize("name", baselines.IMAGE_BASELINES)
def test_one_class_alone_is_given_every_time(name):
    p = baselines.IMAGE_BASELINES[name].fit_predict(np.ones((6, 2)), np.ones(6, int), np.zeros((3, 2)), 2, 0)
    assert p.tolist() == [[0.0, 1.0]] * 3
    with pytest.raises(DataError, match="No training image"):
        baselines.IMAGE_BASELINES[name].fit_predict(np.ones((0, 2)), np.ones(0, int), np.zeros((3, 2)), 2, 0)


@pytest.mark.parametrize("name", sorted(set(baselines.IMAGE_BASELINES) - {"majority class"}))
def test_unit_and_offset_of_a_feature_change_nothing(name):
    rng = np.random.default_rng(5)
    truth = np.arange(60) % 2
    table = rng.normal(size=(60, 5)) + truth[:, None]
    table[:, 4] = 3.0  # never varies in training ...
    test = rng.normal(size=(20, 5))
    test[:, 4] = 50.0  # ... and leaps afterwards
    model = baselines.IMAGE_BASELINES[name]
    plain = model.fit_predict(table, truth, test, 2, 0)
    scaled = model.fit_predict(table * 1024 + 2048, truth, test * 1024 + 2048, 2, 0)
    assert scaled == pytest.approx(plain, abs=1e-3)
    test[:, 4] = 3.0
    assert model.fit_predict(table, truth, test, 2, 0) == pytest.approx(plain)


def test_subsample_keeps_the_shares_and_the_rare_class():
    truth = np.repeat([0, 1, 2], [7000, 2990, 10])
    rows = baselines.classes._subsample(np.arange(10000), truth, 1000, 0)
    assert np.bincount(truth[rows]).tolist() == [700, 299, 2]
    assert (rows == baselines.classes._subsample(np.arange(10000), truth, 1000, 0)).all()
    assert (baselines.classes._subsample(np.arange(10), truth[:10], 1000, 0) == np.arange(10)).all()


def organs(rng, n, shape=(10, 24, 24), noise=0.3):
    """Images with label 1 bright on the left and label 2 dark on the right; sizes differ from case to case."""
    images, masks = [], []
    for _ in range(n):
        k, j, i = (s + int(rng.integers(-1, 2)) if s > 1 else 1 for s in shape)
        mask = np.zeros((k, j, i), np.uint8)
        half = slice(k // 4, k - k // 4) if k > 1 else slice(None)
        mask[half, j // 2 - 5 : j // 2 + 5, i // 2 - 9 : i // 2 - 1] = 1
        mask[half, j // 2 - 5 : j // 2 + 5, i // 2 + 2 : i // 2 + 9] = 2
        image = np.choose(mask, [0.0, 2.0, -2.0]) + rng.normal(0, noise, mask.shape)
        images.append(image.astype(np.float32)[None])
        masks.append(mask)
    return images, masks


@pytest.mark.parametrize("name", baselines.MASK_BASELINES)
@pytest.mark.parametrize("shape", [(10, 24, 24), (1, 30, 30)])
def test_mask_baseline_finds_labels_that_brightness_and_place_give_away(name, shape):
    images, masks = organs(np.random.default_rng(6), 16, shape)
    model = baselines.MASK_BASELINES[name].fit(images[:12], masks[:12], 2)
    for label in (1, 2):
        scores = []
        for image, mask in zip(images[12:], masks[12:], strict=True):
            found = model.predict(image)
            assert found.dtype == np.uint8
            assert found.shape == mask.shape
            scores.append(metrics.dice(found == label, mask == label))
        # The organs are 8 voxels wide and their place is known to one voxel.
        assert np.mean(scores) > 0.8


def test_threshold_finds_the_best_interval_of_the_best_channel():
    rng = np.random.default_rng(7)
    truth = (rng.random((4, 20, 20)) < 0.3).astype(np.uint8)
    signal = np.where(truth, rng.uniform(1.0, 2.0, truth.shape), rng.choice([0.5, 3.0], truth.shape))
    image = np.stack([rng.normal(size=truth.shape), signal]).astype(np.float32)
    model = baselines.MASK_BASELINES["threshold"].fit([image], [truth], 1)
    (band,) = model.bands
    assert band.channel == 1
    assert 0.5 < band.lower <= 1.01
    assert 1.99 <= band.upper <= 3.0
    assert band.dice == pytest.approx(1.0, abs=0.01)
    assert (model.predict(image) == truth).mean() > 0.99


def test_best_band_equals_the_search_over_all_intervals():
    rng = np.random.default_rng(8)
    image = rng.integers(0, 9, (1, 3, 8, 8)).astype(np.float32)
    mask = (np.abs(image[0] - 4 + rng.normal(0, 1.5, image[0].shape)) < 2).astype(np.int16)
    mask[0, :2] = -1  # not annotated
    known = mask >= 0
    best = max(
        metrics.dice((mask == 1)[known], ((image[0] >= low) & (image[0] < high))[known])
        for low in range(10)
        for high in range(low, 10)
    )
    assert baselines.masks._best_band([image], [mask], 1).dice == pytest.approx(best)


def test_smoothing_and_the_largest_part_are_used_when_they_help():
    images, masks = organs(np.random.default_rng(9), 10, (10, 24, 24), noise=2.5)
    model = baselines.MASK_BASELINES["threshold"].fit(images, masks, 2)
    assert model.sigma > 0
    assert model.largest
    clean, masks = organs(np.random.default_rng(10), 6, noise=0.1)
    assert baselines.MASK_BASELINES["threshold"].fit(clean, masks, 2).sigma == 0


def test_largest_part_is_the_largest():
    mask = np.zeros((1, 8, 8), bool)
    mask[0, :2, :2] = mask[0, 4:, 4:7] = True
    kept = baselines.masks._largest_part(mask)
    assert kept.sum() == 12
    assert (kept <= mask).all()


@pytest.mark.parametrize("name", baselines.MASK_BASELINES)
def test_voxels_that_are_not_annotated_count_for_nothing(name):
    images, masks = organs(np.random.default_rng(11), 12)
    hidden = []
    for mask in masks:
        part = mask.copy()
        part[: mask.shape[0] // 2] = 255  # half of every case is not annotated
        hidden.append(part)
    model = baselines.MASK_BASELINES[name].fit(images, hidden, 2, ignore=255)
    scores = [metrics.dice(model.predict(x)[5:] == 1, m[5:] == 1) for x, m in zip(images, masks, strict=True)]
    assert np.mean(scores) > 0.85
    assert model.predict(images[0]).max() <= 2


def test_location_prior_is_the_mode_of_the_training_masks():
    masks = [np.zeros((1, 4, 4), np.uint8) for _ in range(5)]
    for n, mask in enumerate(masks):
        mask[0, 1:3, 1:3] = 1  # always
        mask[0, 0, 0] = n == 0  # once in five
    images = [np.zeros((1, 1, 4, 4), np.float32)] * 5
    found = baselines.MASK_BASELINES["location prior"].fit(images, masks, 1).predict(images[0])
    wanted = np.zeros((1, 4, 4))
    wanted[0, 1:3, 1:3] = 1
    assert (found == wanted).all()
    wider = baselines.MASK_BASELINES["location prior"].fit(images, masks, 1).predict(np.zeros((1, 1, 8, 6)))
    assert (wider[0, 3:5, 2:4] == 1).all()
    assert wider.sum() == 4


def test_location_prior_of_large_images_is_thinned_and_still_in_place(monkeypatch):
    images, masks = organs(np.random.default_rng(12), 8, (12, 40, 40))
    full = baselines.MASK_BASELINES["location prior"].fit(images, masks, 2)
    monkeypatch.setattr("lucency.baselines.masks.PRIOR_VOXELS", 2500)
    thin = baselines.MASK_BASELINES["location prior"].fit(images, masks, 2)
    assert full.step == (1, 1, 1)
    assert thin.step == (3, 3, 3)
    assert thin.atlas.size < 4000
    a, b = full.predict(images[0]), thin.predict(images[0])
    assert metrics.dice(a == 1, b == 1) > 0.7
    offset = np.array(ndimage.center_of_mass(a == 1)) - ndimage.center_of_mass(b == 1)
    assert np.abs(offset).max() < 1.5  # half a cell


@pytest.mark.parametrize("name", baselines.MASK_BASELINES)
def test_mask_baseline_refuses_what_does_not_fit_and_survives_empty_masks(name):
    model = baselines.MASK_BASELINES[name]
    image = np.random.default_rng(13).normal(size=(1, 2, 6, 6)).astype(np.float32)
    with pytest.raises(DataError, match="1 images and 0 masks"):
        model.fit([image], [], 1)
    with pytest.raises(DataError, match=r"\(2, 6, 6\) with a mask \(2, 6, 5\)"):
        model.fit([image], [np.zeros((2, 6, 5), int)], 1)
    assert not model.fit([image], [np.zeros((2, 6, 6), int)], 2).predict(image).any()


def test_scikit_learn_is_not_imported_before_it_is_needed():
    import subprocess
    import sys

    code = "import sys, lucency.baselines; sys.exit('sklearn' in sys.modules)"
    paths = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    assert subprocess.run([sys.executable, "-c", code], env=paths, check=False).returncode == 0


def test_baselines_on_real_radiographs_and_hippocampi():
    if not (DATA / "hippocampus").is_dir():
        pytest.skip("real data not found; set LUCENCY_TEST_DATA")
    import nibabel

    files = sorted((DATA / "hippocampus" / "images").glob("*.nii.gz"))[:40]
    images, masks = [], []
    for file in files:
        array = np.asarray(nibabel.load(file).dataobj, dtype=np.float32).T
        images.append(((array - array.mean()) / array.std())[None])
        masks.append(np.asarray(nibabel.load(DATA / "hippocampus" / "labels" / file.name).dataobj, dtype=np.int16).T)
    prior = baselines.MASK_BASELINES["location prior"].fit(images[:30], masks[:30], 2)
    scores = [metrics.dice(prior.predict(x) == 1, m == 1) for x, m in zip(images[30:], masks[30:], strict=True)]
    # .70 with 70 training cases when this was written; chance is below .1
    assert np.mean(scores) > 0.55
    held = np.load(DATA / "pneumoniamnist_trainval.npz")

    def table(part):
        planes = held[f"{part}_images"][:400].astype(np.float32)
        planes = (planes - planes.mean((1, 2), keepdims=True)) / planes.std((1, 2), keepdims=True)
        return np.stack([baselines.features(plane[None, None]) for plane in planes])

    y, v = held["train_labels"][:400].ravel(), held["val_labels"][:400].ravel()
    p = baselines.IMAGE_BASELINES["logistic regression"].fit_predict(table("train"), y, table("val"), 2, 0)
    assert metrics.auc(v, p) > 0.95
