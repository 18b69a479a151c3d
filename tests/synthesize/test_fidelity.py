"""Measures of likeness against values worked out by hand, other people's code, and sets whose likeness is known."""

import numpy as np
import pytest
import torch
from blobs import blobs

import tiny
from lucency import record
from lucency.errors import DataError, UsageError
from lucency.plan import Schedule
from lucency.synthesize.drawn import Drawn, joined
from lucency.synthesize.encoders import random_encoder, trained_encoder
from lucency.synthesize.fidelity import (
    Panel,
    fd,
    frechet_distance,
    headline,
    kid,
    manifold,
    matched,
    ms_ssim,
    panel,
    repeats,
    similarity,
    squared_mmd,
    tstr,
    use_of,
)
from lucency.synthesize.fidelity.frechet import directions

pytestmark = pytest.mark.usefixtures("one_thread")


def rng(seed=0):
    return np.random.default_rng(seed)


def test_the_kernel_distance_is_that_of_other_peoples_kernels():
    polynomial_kernel = pytest.importorskip("sklearn.metrics.pairwise").polynomial_kernel
    a, b = rng(0).normal(size=(7, 4)), rng(1).normal(0.5, 1.5, size=(9, 4))
    kaa, kbb, kab = (polynomial_kernel(x, y, degree=3, coef0=1) for x, y in ((a, a), (b, b), (a, b)))
    off = [k[~np.eye(len(k), dtype=bool)].mean() for k in (kaa, kbb)]
    assert squared_mmd(a, b) == pytest.approx(sum(off) - 2 * kab.mean())


def test_the_kernel_distance_of_two_samples_of_one_law_is_about_nothing_and_of_two_laws_is_not():
    alone = np.arange(400)
    inside = 0
    for seed in range(20):
        same = kid(rng(seed).normal(size=(400, 8)), rng(100 + seed).normal(size=(400, 8)), alone, rng(seed))
        inside += same.lower <= 0 <= same.upper
    # Of 20 honest intervals at 95 %, fewer than 16 would hold the truth once in 3000 times.
    assert inside >= 16
    other = kid(rng(0).normal(size=(400, 8)), rng(1).normal(0.7, 1, size=(400, 8)), alone, rng(2))
    assert other.lower > 0


def test_a_kernel_distance_of_few_images_has_no_interval():
    few = kid(rng(0).normal(size=(30, 3)), rng(1).normal(size=(30, 3)), np.arange(30), rng())
    assert few.lower is None
    assert np.isfinite(few.value)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_frechet_distance_is_that_of_other_peoples_code():
    fid = pytest.importorskip("monai.metrics").FIDMetric()
    a, b = rng(0).normal(size=(200, 6)), rng(1).normal(0.3, 1.2, size=(150, 6)) @ rng(2).normal(size=(6, 6))
    theirs = float(fid(torch.from_numpy(a), torch.from_numpy(b)))
    assert frechet_distance(a, b) == pytest.approx(theirs, rel=1e-3)


def test_the_frechet_distance_of_diagonal_laws_is_the_sum_over_axes():
    """Means differ by (1, 2); deviations are (1, 3) and (2, 3): 1 + 4 + (1 - 2)² + 0 = 6, with 200 000 draws."""
    a = rng(0).normal(size=(200_000, 2)) * [1, 3]
    b = rng(1).normal(size=(200_000, 2)) * [2, 3] + [1, 2]
    assert frechet_distance(a, b) == pytest.approx(6, rel=0.02)


def test_the_frechet_distance_has_an_interval_that_leaving_patients_out_gives():
    a, b = rng(0).normal(size=(300, 4)), rng(1).normal(0.5, 1, size=(300, 4))
    found = fd(a, b, np.arange(300) // 3, rng())
    assert found.n == 100
    assert 0 < found.lower < found.value < found.upper
    # Means differ by .5 in four directions: 1, and about 2 d (d + 1) / n of bias.
    assert found.lower < 1.1 < found.upper


def test_no_more_directions_are_looked_at_than_cases_can_bear():
    x = rng(0).normal(size=(100, 80))
    assert directions(x, 100)(x).shape == (100, 20)
    assert directions(x, 5000)(x).shape == (100, 64)


def test_precision_recall_density_and_coverage_worked_out_by_hand():
    """Real 0, 1, 3 have balls of radius 1, 1, 2; made .5 lies in two of them, made 10 in none; made balls have 9.5."""
    found = manifold(np.array([[0.5], [10.0]]), np.array([[0.0], [1.0], [3.0]]), np.arange(3), rng(), k=1)
    assert {k: pytest.approx(m.value) for k, m in found.items()} == {
        "precision": 1 / 2,
        "recall": 1.0,
        "density": 1.0,
        "coverage": 2 / 3,
    }


def test_samples_of_one_law_cover_each_other_and_a_narrow_one_is_precise_and_covers_little():
    real, same = rng(0).normal(size=(500, 3)), rng(1).normal(size=(500, 3))
    found = manifold(same, real, np.arange(500), rng())
    assert found["coverage"].value > 0.93
    assert found["density"].value == pytest.approx(1, abs=0.1)
    narrow = manifold(0.2 * same, real, np.arange(500), rng())
    assert narrow["precision"].value == 1.0
    assert narrow["coverage"].upper < 0.5
    assert narrow["recall"].upper < 0.3


def test_structural_similarity_at_one_scale_is_that_of_other_peoples_code():
    from skimage.metrics import structural_similarity

    a, b = rng(0).normal(size=(20, 20)), rng(1).normal(size=(20, 20))
    b = 0.6 * a + 0.4 * b
    theirs = structural_similarity(
        a - a.min(), b - a.min(), data_range=6.0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    ours = ms_ssim(*(torch.from_numpy(x)[None, None].float() for x in (a, b)), float(a.min()), float(a.min()) + 6)
    # Their mean leaves out five pixels at each border, where our window does not fit.
    assert float(ours[0]) == pytest.approx(theirs, abs=1e-4)


@pytest.mark.parametrize("size", [(32, 32), (24, 24, 24), (8, 9)])
def test_structural_similarity_is_one_for_equal_images_and_falls_with_noise(size):
    a = torch.from_numpy(rng(0).normal(size=(3, 2, *size)).astype(np.float32))
    noise = torch.from_numpy(rng(1).normal(size=(3, 2, *size)).astype(np.float32))
    equal, near, far = (ms_ssim(a, a + s * noise, -3, 3) for s in (0, 0.2, 1))
    assert torch.allclose(equal, torch.ones(3), atol=1e-5)
    assert (near < 1).all()
    assert (far < near).all()


def test_a_class_that_repeats_is_seen_by_both_measures():
    real = blobs(80, 0, classes=1)
    fresh, few = blobs(80, 1, classes=1), blobs(4, 2, classes=1)
    again = few.take(np.arange(80) % 4)
    again = Drawn(again.images + rng().normal(0, 0.01, again.images.shape), again.labels, np.full(80, ""))
    ends = (float(real.images.min()), float(real.images.max()))
    like = [similarity(d.images, d.nameless().people, ends, rng()) for d in (real, fresh, again)]
    assert like[0].lower <= like[1].value <= like[0].upper
    assert like[2].lower > like[0].upper
    eye = random_encoder(1, 2)
    for made, expected in ((fresh, 0.1), (again, 1.0)):
        share, usual = repeats(eye(made.images), eye(real.images), real.people, rng())
        assert usual.value <= 0.02
        assert share.value == pytest.approx(expected, abs=0.1)


def test_images_of_one_patient_are_not_called_repeats():
    real = blobs(40, 0, classes=1, each=2)
    eye = random_encoder(1, 2)
    _, known = repeats(eye(real.images), eye(real.images), real.people, rng())
    assert known.value <= 0.03
    apart = similarity(real.images, real.people, (-0.5, 1.5), rng())
    mixed = similarity(real.images, real.nameless().people, (-0.5, 1.5), rng())
    assert apart.value < mixed.value


def test_sets_are_matched_in_number_and_mix():
    first, second = blobs(30, 0), blobs(21, 1, classes=3)
    a, b = matched((first, second), rng())
    assert a.counts == b.counts == {0: 7, 1: 7}
    assert [len(x) for x in matched((first, second), rng(), most=8)] == [8, 8]
    with pytest.raises(DataError, match="No class is in all sets"):
        matched((first.of_class(0), first.of_class(1)), rng())


def test_the_random_eye_is_the_same_everywhere_and_sees_flat_images_and_volumes():
    flat, deep = blobs(3), blobs(3, size=(8, 9, 10))
    first, again = random_encoder(1, 2), random_encoder(1, 2)
    assert first.digest == again.digest != random_encoder(1, 2, seed=1).digest
    assert np.array_equal(first(flat.images), again(flat.images))
    assert first(flat.images).shape == (3, 4 * (16 + 32 + 64))
    assert random_encoder(1, 3)(deep.images).shape == (3, 8 * (16 + 32 + 64))


def test_the_panel_tells_real_images_noise_and_a_collapsed_class_apart(tmp_path):
    members, held = blobs(160, 0), blobs(160, 1)
    eyes = [random_encoder(1, 2)]
    fresh = blobs(200, 2).nameless()
    good = panel(fresh, members, held, eyes, rng())
    assert good.mix == {0: 80, 1: 80}
    found = good.by_encoder["random"]
    assert found["fd"].synthetic.lower < found["fd"].real.upper
    assert found["fd"].ratio < 1.5
    assert found["kid"].synthetic.lower < 0.05
    assert found["coverage"].synthetic.value > 0.8
    assert good.collapsed == ()
    noisy = Drawn(fresh.images + rng().normal(0, 0.3, fresh.images.shape), fresh.labels, fresh.patients)
    bad = panel(noisy, members, held, eyes, rng()).by_encoder["random"]
    assert bad["fd"].ratio > 3
    assert bad["kid"].synthetic.lower > found["kid"].synthetic.upper
    stuck = fresh.of_class(1).take(np.arange(100) % 3)
    half = panel(joined([fresh.of_class(0), stuck]), members, held, eyes, rng())
    assert half.collapsed == (1,)
    one = panel(fresh.of_class(0), members, held, eyes, rng())
    assert one.missing == (1,)
    record.write(tmp_path / "panel.json", good)
    assert record.read(Panel, tmp_path / "panel.json") == good


def test_a_panel_of_volumes(tmp_path):
    members, held, made = (blobs(24, s, size=(8, 8, 8)) for s in range(3))
    found = panel(made.nameless(), members, held, [random_encoder(1, 3)], rng())
    assert found.by_encoder["random"]["fd"].synthetic.value < 5 * found.by_encoder["random"]["fd"].real.value


def test_constant_images_are_refused():
    flat = Drawn(np.ones((30, 1, 1, 16, 16)), np.zeros(30), np.full(30, ""))
    with pytest.raises(DataError, match="one value throughout"):
        panel(flat, flat, flat, [random_encoder(1, 2)], rng())


def plan_of(**changes):
    options = {"mixup": 0.0, "smoothing": 0.0, "dropout": 0.0}
    schedule = Schedule(1, 2e-2, warmup=50, ema=0.9)
    return tiny.plan_for("classify", schedule=schedule, task_options=options, augmentation={}, batch=8, **changes)


def test_generated_images_teach_as_much_as_they_hold(tmp_path):
    members, held, made = blobs(60, 0), blobs(60, 1), blobs(80, 2).nameless()
    told = use_of(made, members, held, plan_of(), tmp_path, steps=50)
    assert told.n == 60
    assert headline(told.tstr) > 0.9
    assert told.share == pytest.approx(1, abs=0.1)
    assert headline(told.trts) > 0.9
    wrong = Drawn(made.images, 1 - made.labels, made.patients)
    taught = tstr(wrong, held, plan_of(), tmp_path, steps=50, seed=0)
    assert taught["auc"].value < 0.1
    assert taught["accuracy"].value < 0.2


def test_images_without_a_truth_cannot_be_judged(tmp_path):
    unknown = Drawn(blobs(4).images, np.full(4, -1), np.full(4, ""))
    with pytest.raises(UsageError, match="a class or a mask"):
        tstr(blobs(8), unknown, plan_of(), tmp_path, steps=2, seed=0)


def test_the_trained_eye_learns_from_the_members_alone_and_is_kept(tmp_path, monkeypatch):
    members = blobs(24)
    eye = trained_encoder(members, plan_of(), tmp_path, steps=6, seed=0)
    features = eye(members.images)
    assert features.shape[0] == 24
    assert np.isfinite(features).all()
    monkeypatch.setattr("lucency.synthesize.encoders.train_member", lambda *_: pytest.fail("trained again"))
    again = trained_encoder(members, plan_of(), tmp_path, steps=6, seed=0)
    assert again.digest == eye.digest
    assert np.array_equal(again(members.images), features)
