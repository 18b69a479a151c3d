"""The demo's reckoning: what was found against what was painted."""

import numpy as np
import pytest

from lucency.apps.demo import N_PATIENTS, SEED, Spot, compared, matched, nodules, place, spots, unseen_patient
from lucency.image import Image, diagonal_affine
from lucency.phantom import patient


def test_unseen_patient_is_none_of_the_data_and_has_a_nodule():
    number, person = unseen_patient()
    assert number > N_PATIENTS
    assert person.diameters_mm
    assert np.array_equal(person.image.array, patient(number, SEED).image.array)


def test_regions_of_the_true_mask_are_the_painted_nodules():
    _, person = unseen_patient()
    truth, found = nodules(person), spots(person.mask)
    assert len(found) == len(truth)
    assert matched(truth, found) == [(i, i) for i in range(len(truth))]
    for true, seen in zip(truth, found, strict=True):
        assert seen.centre_mm == pytest.approx(true.centre_mm, abs=3.0)  # less than a voxel of 4.5 × 3.5 mm
        assert seen.diameter_mm == pytest.approx(true.diameter_mm, rel=0.25)


def test_region_has_the_volume_of_its_sphere_and_its_place_in_the_patient():
    array = np.zeros((1, 5, 5, 5), np.uint8)
    array[0, 1:3, 1:3, 1:3] = 1  # 8 voxels of 2 × 2 × 2 mm: 64 mm³, diameter (6 · 64 / π)^(1/3) = 4.96 mm
    array[0, 3, 3, 3] = 1  # touches by a corner: one more voxel of the same region
    array[0, 0, 4, 4] = 1
    first, second = spots(Image(array, diagonal_affine((2, 2, 2)), "labels", "label"))
    assert first.diameter_mm == pytest.approx((6 * 72 / np.pi) ** (1 / 3))
    assert first.centre_mm == pytest.approx([2 * (4 * 1 + 4 * 2 + 3) / 9] * 3)
    assert second.centre_mm == pytest.approx((8, 8, 0))


def test_nearest_pairs_come_first_and_none_is_counted_twice():
    truth = [Spot((0, 0, 0), 20), Spot((12, 0, 0), 20)]
    found = [Spot((7, 0, 0), 9), Spot((2, 0, 0), 9), Spot((80, 0, 0), 9)]
    assert matched(truth, found) == [(0, 1), (1, 0)]


def test_region_outside_the_nodule_is_no_hit():
    assert matched([Spot((0, 0, 0), 12)], [Spot((6.5, 0, 0), 12)]) == []
    assert matched([Spot((0, 0, 0), 6)], [Spot((4.5, 0, 0), 6)]) == [(0, 0)]


def test_paragraph_tells_hits_misses_and_false_marks():
    truth = [Spot((40, -10, 80), 12), Spot((-50, 20, -30), 7)]
    found = [Spot((41, -10, 80), 11), Spot((0, 90, 90), 6)]
    said, pairs = compared(truth, found, "en")
    assert pairs == [(0, 0)]
    assert said == (
        "One more generated patient, whom the model has not seen, has 2 nodules. "
        "The model found 1 of 2 and marked 1 other place. "
        "Nodule 1, 12.0 mm at 40 mm left, 10 mm front, 80 mm up: found at 41 mm left, 10 mm front, 80 mm up, "
        "1.0 mm away, 11.0 mm across. "
        "Nodule 2, 7.0 mm at 50 mm right, 20 mm back, 30 mm down: missed. "
        "Marked without a nodule: 6.0 mm at 0 mm left, 90 mm back, 90 mm up."
    )
    chinese, _ = compared(truth, found, "zh")
    assert "\u6f0f\u68c0" in chinese


def test_place_is_in_the_patients_own_directions():
    assert place(Spot((-1, -2, -3), 1), "en") == "1 mm right, 2 mm front, 3 mm down"
