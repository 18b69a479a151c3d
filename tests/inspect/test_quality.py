"""Quality: measures worked out by hand, faults found in a contaminated set, and what the verdicts may not do."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from lucency import record
from lucency.case import Case, Source
from lucency.errors import UsageError
from lucency.image import Image, diagonal_affine
from lucency.inspect import SEARCHED, Limits, inspect, settle, verdict
from lucency.inspect.quality import LEARN_FROM, REJECT, WARN, learn, scores
from lucency.inspect.quality_layout import layout
from lucency.inspect.quality_measures import measure
from lucency.inspect.quality_set import missing
from lucency.inspect.quality_unlike import unlike
from lucency.inspect.thumbnail import glance

UNIT = diagonal_affine((1, 1, 1))


def picture(rng, size=(96, 80)):
    """A body with ribs: a bright ellipse with stripes, a little different in each patient."""
    j, i = np.mgrid[: size[0], : size[1]].astype(float)
    j, i = j - size[0] / 2 + rng.normal(0, 1), i - size[1] / 2 + rng.normal(0, 1)
    inside = (j / (0.42 * size[0])) ** 2 + (i / (0.4 * size[1])) ** 2 < 1
    grey = 20 + inside * (110 + 40 * np.sin(0.9 * j + rng.normal(0, 0.3)) + 0.6 * j + rng.normal(0, 4))
    return ndimage.gaussian_filter(grey, 0.7) + rng.normal(0, 2, size)


def image(array):
    return Image(np.clip(array, 0, 255).astype(np.uint8)[None, None], UNIT)


FAULTS = {
    "blurred": lambda x, rng: ndimage.gaussian_filter(x, 1.6),
    "noisy": lambda x, rng: x + rng.normal(0, 14, x.shape),
    "overexposed": lambda x, rng: 2.2 * x,
    "underexposed": lambda x, rng: 0.4 * x,
    "cropped": lambda x, rng: x[: int(0.65 * len(x))],
    "inverted": lambda x, rng: 200 - x,
}


def judged(arrays, policy="reject"):
    images = [image(a) for a in arrays]
    pictures, plain = [glance(i.array).picture for i in images], [measure(i) for i in images]
    measures = [a | b | c for a, b, c in zip(plain, layout(pictures), unlike(pictures, plain), strict=True)]
    limits = learn(measures)
    return [verdict(m, limits, policy=policy) for m in measures], [scores(m, limits) for m in measures]


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("seed", range(3))
def test_each_fault_is_found_in_a_set_that_holds_a_tenth_of_it(fault, seed):
    rng = np.random.default_rng(seed)
    arrays = [picture(rng) for _ in range(60)]
    bad = set(range(0, 60, 10))
    arrays = [FAULTS[fault](a, rng) if n in bad else a for n, a in enumerate(arrays)]
    verdicts, found = judged(arrays)
    own = np.array([f[fault] for f in found])
    at = np.array([n in bad for n in range(60)])
    assert own[at].min() > own[~at].max()
    assert all(verdicts[n].quality != "accept" for n in bad)
    assert all(any(r.startswith(fault) for r in verdicts[n].reasons) for n in bad)
    assert sum(v.quality == "reject" for n, v in enumerate(verdicts) if n not in bad) == 0


def organ(rng, size=(96, 80)):
    """A round body of its own size with lumps in it: no two are alike, as in patients."""
    j, i = np.mgrid[: size[0], : size[1]].astype(float)
    j, i = (
        (j - size[0] / 2) / (size[0] * rng.uniform(0.33, 0.43)),
        (i - size[1] / 2) / (size[1] * rng.uniform(0.33, 0.43)),
    )
    lumps = ndimage.gaussian_filter(rng.normal(0, 1, size), 6)
    grey = (
        25 + (j**2 + i**2 < 1) * (110 + 30 * lumps / lumps.std()) + ndimage.gaussian_filter(rng.normal(0, 18, size), 1)
    )
    return grey + rng.normal(0, 2, size)


def other_body_part(rng, size=(96, 80)):
    """Five bright fingers on black, as a radiograph of a hand has."""
    i = np.arange(size[1])[None] + rng.normal(0, 1)
    fingers = (np.sin(i / size[1] * 10 * np.pi) > 0) * np.linspace(60, 220, size[0])[:, None]
    return ndimage.gaussian_filter(fingers, 1.0) + rng.normal(0, 2, size)


@pytest.mark.parametrize("seed", range(3))
def test_another_body_part_passed_without_a_word(seed):
    rng = np.random.default_rng(seed)
    arrays = [organ(rng) for _ in range(70)] + [other_body_part(rng) for _ in range(2)]
    verdicts, _ = judged(arrays)
    assert all(v.quality != "accept" and v.reasons[0].startswith("unlike the set") for v in verdicts[70:])
    # At most one of 70 sound ones, and that is kept: an unusual picture may be an unusual patient.
    said = [v for v in verdicts[:70] if any(r.startswith("unlike the set") for r in v.reasons)]
    assert len(said) <= 1
    assert all(v.quality == "warn" for v in said)


@pytest.mark.parametrize("fault", ["blurred", "noisy"])
def test_blur_and_noise_are_not_called_another_body_part_first(fault):
    rng = np.random.default_rng(4)
    arrays = [FAULTS[fault](organ(rng), rng) if n < 4 else organ(rng) for n in range(60)]
    verdicts, _ = judged(arrays)
    assert all(v.reasons[0].startswith(fault) for v in verdicts[:4])


def test_noise_is_measured_as_its_standard_deviation_over_the_grey_range():
    rng = np.random.default_rng(0)
    ramp = np.linspace(0, 1000, 200)[:, None].repeat(200, axis=1)
    found = measure(Image((ramp + rng.normal(0, 20, ramp.shape))[None, None], UNIT))
    # From the 1st to the 99th percentile the ramp covers 980 of 1000, and the noise a little more.
    assert 10 ** found["noise"] == pytest.approx(20 / 985, rel=0.1)


def test_levels_by_hand():
    grey = np.arange(101, dtype=np.float32)[None, :].repeat(101, axis=0)
    found = measure(Image(grey[None, None], diagonal_affine((1, 0.5, 2))))
    assert (found["lowest"], found["p5"], found["p50"], found["p95"], found["highest"]) == (0, 5, 50, 95, 100)
    assert found["middle"] == pytest.approx(0.5)
    assert 10 ** found["clipped"] == pytest.approx(1 / 101, rel=0.05)
    assert found["rows"] == pytest.approx(np.log10(101 * 0.5), abs=1e-5)
    assert found["aspect"] == pytest.approx(np.log10(0.25), abs=1e-5)
    assert "slices" not in found


@pytest.mark.parametrize(("gain", "offset"), [(3.0, 0.0), (1.0, -1000.0), (0.01, 5.0)])
def test_relative_measures_do_not_depend_on_the_unit(gain, offset):
    array = picture(np.random.default_rng(1))
    plain, scaled = (measure(Image(a[None, None], UNIT)) for a in (array, gain * array + offset))
    for name in ("middle", "centre", "clipped", "noise", "detail", "coarse"):
        assert scaled[name] == pytest.approx(plain[name], abs=1e-3)


def test_blur_lowers_detail_and_noise_raises_it():
    rng = np.random.default_rng(2)
    array = picture(rng)
    soft = ndimage.gaussian_filter(array, 1.5)
    found = [measure(image(a)) for a in (soft, array, array + rng.normal(0, 15, array.shape))]
    fine = [one["detail"] + one["coarse"] for one in found]
    assert fine[0] < fine[1] - 0.1
    assert found[2]["detail"] > found[1]["detail"] + 0.1


def test_small_images_are_not_judged_for_blur_and_noise():
    found = measure(image(picture(np.random.default_rng(3), (28, 28))))
    assert not {"noise", "detail", "coarse"} & set(found)
    assert {"p50", "span", "middle"} <= set(found)


def test_metal_and_ghosts_are_measured_where_they_can_be():
    head = np.full((1, 12, 64, 64), 40, np.int16)
    head[0, 3, 20:30, 20:30] = 3071
    assert measure(Image(head, UNIT, unit="HU"))["metal"] == pytest.approx(100 / head.size, abs=1e-6)
    assert "metal" not in measure(Image(head, UNIT))
    rng = np.random.default_rng(4)
    still = np.abs(rng.normal(0, 10, (64, 64)))
    still[16:48, 16:48] += 800
    moved = still + 60 * (np.abs(np.arange(64) - 32) < 16)[None, :]
    plain, ghosted = (measure(Image(a[None, None], UNIT), modality="MR")["ghost"] for a in (still, moved))
    # A ghost of 60 over half of the top and bottom strips, none left and right: about (30 + 30) / 2 of a range of 800.
    assert plain < 0.005
    assert ghosted == pytest.approx(30 / 800, rel=0.3)
    assert "ghost" not in measure(Image(still[None, None], UNIT), modality="CT")


def test_empty_image_is_rejected_in_a_set_of_any_size():
    array = np.zeros((64, 64))
    array[5, 5:8] = 200
    found = measure(image(array))
    assert verdict(found, Limits(1)).quality == "reject"
    assert verdict(found, Limits(1)).reasons == ("empty",)
    assert verdict(found, Limits(1), policy="warn").quality == "warn"


def test_small_set_is_judged_by_physical_rules_only():
    rng = np.random.default_rng(5)
    arrays = [picture(rng) for _ in range(LEARN_FROM - 1)]
    measures = [measure(image(a)) for a in [*arrays[1:], FAULTS["blurred"](arrays[0], rng)]]
    limits = learn(measures)
    assert limits.measures == {}
    assert all(verdict(m, limits).quality == "accept" for m in measures)
    white = np.full((64, 64), 255.0)
    white[:30] = 90
    assert "overexposed" in verdict(measure(image(white)), limits).reasons[0]


def test_without_a_common_unit_a_gain_is_no_fault():
    rng = np.random.default_rng(6)
    measures = [
        measure(Image((picture(rng) * 10 ** rng.uniform(0, 3)).astype(np.float32)[None, None], UNIT)) for _ in range(40)
    ]
    limits = learn(measures)
    assert "p99" not in limits.measures
    assert all("underexposed" not in scores(m, limits) for m in measures)


def test_limits_hold_numbers_only_and_survive_their_file(tmp_path):
    rng = np.random.default_rng(7)
    limits = learn([measure(image(picture(rng))) for _ in range(30)])
    record.write(tmp_path / "limits.json", limits)
    assert record.read(Limits, tmp_path / "limits.json") == limits
    assert all(isinstance(v, float) for one in limits.measures.values() for v in vars(one).values())


def test_order_of_the_images_does_not_matter():
    rng = np.random.default_rng(8)
    arrays = [picture(rng) for _ in range(30)]
    turn = rng.permutation(30)
    straight, turned = judged(arrays)[1], judged([arrays[n] for n in turn])[1]
    for n, at in enumerate(turn):
        assert turned[n] == pytest.approx(straight[at], abs=1e-3)


def test_unknown_policy_is_refused(shelf):
    with pytest.raises(UsageError, match="off, warn, reject"):
        verdict({}, Limits(1), policy="maybe")
    shelf.add("a")
    with pytest.raises(UsageError, match="off, warn, reject"):
        inspect(shelf.cohort(), load=shelf.load, quality="maybe")


# --- the set as a whole ----------------------------------------------------------------------------------------------


def stocked(shelf, n=60, bad=(), fault="noisy", target=lambda n: "ab"[n % 2]):
    """A shelf of pictures of which some have a fault strong enough to be rejected."""
    rng = np.random.default_rng(9)
    for number in range(n):
        array = picture(rng)
        if number in bad:
            array = array + rng.normal(0, 60, array.shape) if fault == "noisy" else FAULTS[fault](array, rng)
        pixels = np.clip(array, 0, 255).astype(np.uint8)[None, None]
        shelf.add(f"case{number:03}", pixels, target=target(number))
    return shelf


def test_rejected_images_are_left_out_with_the_reason_and_said(shelf):
    stocked(shelf, bad=(4, 17, 31))
    cohort = shelf.cohort()
    found = inspect(cohort, load=shelf.load)
    assert set(found.left_out) == {"case004", "case017", "case031"}
    assert all(r.startswith("quality: noisy") for r in found.left_out.values())
    assert any(w.startswith("3 cases are left out for their quality: case004") for w in found.warnings)
    assert not set(found.left_out) & set(settle(cohort, found).folds)
    facts = {i.case: i for i in found.images}
    assert facts["case004"].quality == "reject"
    assert facts["case004"].faults["noisy"] >= REJECT > WARN > facts["case005"].faults["noisy"]


@pytest.mark.parametrize(("policy", "quality"), [("warn", "warn"), ("off", "accept")])
def test_user_may_keep_all(shelf, policy, quality):
    found = inspect(stocked(shelf, bad=(4,)).cohort(), load=shelf.load, quality=policy)
    assert found.left_out == {}
    assert {i.case: i.quality for i in found.images}["case004"] == quality


def test_many_poor_images_do_not_stop_the_run_but_are_said(shelf):
    # A tenth is twice what unreadable files may be before the set is refused.
    found = inspect(stocked(shelf, bad=range(0, 60, 10)).cohort(), load=shelf.load)
    assert len(found.left_out) == 6


def test_so_many_that_they_are_the_set_are_kept(shelf):
    found = inspect(stocked(shelf, bad=range(0, 60, 4)).cohort(), load=shelf.load)
    said = [w for w in found.warnings if "so many are part of it" in w]
    rejected = [i for i in found.images if i.faults.get("noisy", 0) >= REJECT]
    assert bool(said) == (len(rejected) > 12)
    assert found.left_out == {} or len(found.left_out) <= 12


def test_class_that_looks_different_is_not_taken_for_poor_quality(shelf):
    # Class b is grainy in 9 of 10 of its images: quality would stand for the label.
    stocked(shelf, n=100, bad=range(9), target=lambda n: "b" if n < 10 else "a")
    found = inspect(shelf.cohort(), load=shelf.load)
    assert found.left_out == {}
    assert any("are of class 'b', more than chance allows" in w for w in found.warnings)
    assert {i.quality for i in found.images if i.case < "case009"} == {"warn"}


def test_what_is_missing_is_listed_by_case():
    def source(name, **header):
        return Source((f"{name}.nii",), "nowhere", "nifti", header=header)

    cases = [Case(f"c{n}", f"p{n}", {"t1": (source(f"{n}a"),), "t2": (source(f"{n}b"),)}, "x") for n in range(6)]
    cases[1] = Case("c1", "p1", {"t1": (source("1a"),)}, "x")
    cases[2] = replace(cases[2], target=None)
    cases[3] = Case("c3", "p3", {"t1": (source("3a", interpolated=(4.0, 5.0)),), "t2": (source("3b"),)}, "x")
    lacking, warnings = missing(cases)
    assert lacking == {"c1": ("modality t2",), "c2": ("label",), "c3": ("slices 4, 5",)}
    assert warnings == [
        "1 cases lack a modality that most have: c1.",
        "Missing slices were interpolated, as asked, in 1 cases: c3.",
    ]


def test_another_body_part_is_pointed_out(shelf):
    stocked(shelf, n=40)
    shelf.cases = [replace(c, facts={"body_part": "CHEST" if n else "HAND"}) for n, c in enumerate(shelf.cases)]
    found = inspect(shelf.cohort(), load=shelf.load)
    assert "1 cases are of another body part than the rest of the set: case000." in found.warnings
    assert "another body part" in found.images[0].reason
    assert not any("HAND" in w for w in (*found.warnings, found.images[0].reason))


# --- real images -----------------------------------------------------------------------------------------------------

DATA = Path(os.environ.get("LUCENCY_TEST_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
real = pytest.mark.skipif(not (DATA / "mednist").is_dir(), reason="no real data (LUCENCY_TEST_DATA)")


@real
@pytest.mark.parametrize(("fault", "least"), [("noisy", 0.95), ("underexposed", 0.95), ("inverted", 0.95)])
def test_faults_are_told_on_real_radiographs(fault, least):
    container = np.load(DATA / "mednist" / "mednist_64.npz")
    own = container["labels"] == list(container["class_names"]).index("CXR")
    arrays = list(container["images"][own][:100].astype(float))
    rng = np.random.default_rng(0)
    made = {**FAULTS, "inverted": lambda x, rng: x.max() + x.min() - x}
    bad = set(range(0, 100, 10))
    verdicts, found = judged([made[fault](a, rng) if n in bad else a for n, a in enumerate(arrays)])
    own_scores = np.array([f[fault] for f in found])
    at = np.array([n in bad for n in range(100)])
    auc = float(np.mean(own_scores[at][:, None] > own_scores[~at][None]))
    assert auc >= least
    assert sum(v.quality == "reject" for n, v in enumerate(verdicts) if n not in bad) <= 2


@real
def test_quality_does_not_stand_for_pneumonia():
    container = np.load(DATA / "pneumoniamnist_trainval.npz")
    chosen = slice(0, 1500)
    verdicts, _ = judged(list(container["train_images"][chosen].astype(float)))
    rejected = np.array([v.quality == "reject" for v in verdicts])
    assert rejected.mean() <= 0.02
    labels = container["train_labels"][chosen].ravel()
    # Under chance the numbers of rejected images go as the classes; three or fewer say nothing either way.
    assert abs(rejected[labels == 1].mean() - rejected[labels == 0].mean()) < 0.01


@real
@pytest.mark.skipif(not (DATA / "hc18").is_dir(), reason="no real data (LUCENCY_TEST_DATA)")
def test_abdomen_among_fetal_heads_was_accepted():
    from PIL import Image as Picture

    files = sorted((DATA / "hc18" / "images").iterdir())[:70]
    heads = [np.asarray(Picture.open(f).convert("L")).astype(float) for f in files]
    mednist = np.load(DATA / "mednist" / "mednist_64.npz")
    names = list(mednist["class_names"])
    abdomen = mednist["images"][mednist["labels"] == names.index("AbdomenCT")][:9:3]
    size = heads[0].shape
    enlarged = [ndimage.zoom(a.astype(float), (size[0] / 64, size[1] / 64), order=1) for a in abdomen]
    verdicts, _ = judged([*heads, *enlarged])
    assert all(v.reasons[:1] and v.reasons[0].startswith("unlike the set") for v in verdicts[-3:])
    sound = verdicts[:-3]
    assert sum(any(r.startswith("unlike") for r in v.reasons) for v in sound) <= 0.02 * len(sound)


def test_it_was_not_said_how_many_images_no_text_was_searched_in(shelf):
    rng = np.random.default_rng(2)
    for n in range(SEARCHED + 7):
        shelf.add(f"case{n:03}", rng.integers(0, 255, (1, 1, 96, 96)).astype(np.uint8), target="ab"[n % 2])
    said = inspect(shelf.cohort(), load=shelf.load).warnings
    assert any(w.startswith("7 images were not searched for burned-in text: of a large set") for w in said)
