"""What a model makes of made images, beside real ones: paired by patient, and with the patients that have both."""

import numpy as np
import pytest

import tiny
from lucency.case import Source
from lucency.downstream import GIVEN, MADE, NOTHING, REAL, compared, fits
from lucency.tasks import Judged, task_named

MODEL = (task_named("segment"), tiny.plan_for("segment"))


def judged(case, patient, dice):
    values = {"dice": dice, "surface_dice": dice, "hd95_mm": 1.0, "volume_error": 0.0}
    return Judged(case, patient, "", "", {}, {**values, **{f"{k}/ball": v for k, v in values.items()}})


def arms(n, each=1, unpaired=(), loss=0.05, seed=0):
    """Dice that differs much between patients and little between arms; some cases have no real image."""
    rng = np.random.default_rng(seed)
    level = np.repeat(rng.uniform(0.5, 0.9, n), each)
    noise = np.repeat(rng.normal(0, 0.004, n), each)
    names = [(f"c{k:03d}", f"p{k // each:03d}") for k in range(n * each)]
    made = [judged(*who, d - loss + e) for who, d, e in zip(names, level, noise, strict=True)]
    paired = [k for k in range(n * each) if k not in unpaired]
    found = {
        MADE: made,
        GIVEN: [judged(*who, d - 0.3) for who, d in zip(names, level, strict=True)],
        NOTHING: [judged(*who, 0.0) for who in names],
        REAL: [judged(*names[k], float(level[k])) for k in paired],
    }
    return found, paired, noise - loss


def test_made_minus_real_is_over_the_patients_that_have_both_and_its_interval_is_paired():
    # Made images do very badly where there is no real one: that must not enter the comparison with real images.
    found, paired, change = arms(40, unpaired=(0, 7, 8, 30))
    for k in (0, 7, 8, 30):
        found[MADE][k] = judged(found[MADE][k].case, found[MADE][k].patient, 0.01)
    beside = compared(found, paired, *MODEL)
    against = beside.made_minus[REAL]
    assert against.value == pytest.approx(change[paired].mean())
    assert against.n == 36
    assert against.lower < against.value < against.upper < 0
    # 1.96 x .004 / sqrt(36) = .0013 either way; unpaired it would be 1.96 x sqrt(2) x .115 / 6 = .053.
    assert against.upper - against.lower == pytest.approx(2 * 0.0013, rel=0.35)
    assert beside.arms[REAL].n == 36
    assert beside.arms[MADE].n == beside.made_minus[GIVEN].n == beside.n_patients == 40
    assert beside.made_minus[NOTHING].value == pytest.approx(np.mean([j.scores["dice"] for j in found[MADE]]))


def test_several_images_of_a_patient_narrow_no_interval():
    one, many = (compared(*arms(30, each)[:2], *MODEL).made_minus[REAL] for each in (1, 4))
    assert many.value == pytest.approx(one.value)
    assert many.upper - many.lower == pytest.approx(one.upper - one.lower, rel=0.25)
    assert many.n == one.n == 30


def test_no_difference_is_not_called_one_and_p_values_are_adjusted_together():
    found, paired, _ = arms(40, loss=0.0)
    beside = compared(found, paired, *MODEL)
    assert beside.made_minus[REAL].lower < 0 < beside.made_minus[REAL].upper
    assert beside.p_holm[REAL] > 0.05
    assert beside.p_holm[GIVEN] < 0.001
    assert set(beside.p_holm) == {REAL, GIVEN, NOTHING}


def test_a_mask_on_another_grid_than_the_real_image_teaches_nothing():
    mask, image = (Source(("a",), "", "nifti", header={"size": s}) for s in ((4, 8, 8), (8, 8, 8)))
    assert fits(mask, None)
    assert fits("class", (image,))
    assert fits(mask, (mask,))
    assert not fits(mask, (image,))
