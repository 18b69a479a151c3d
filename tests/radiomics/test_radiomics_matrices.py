"""Tiny matrices, counted and summed by hand."""

from dataclasses import replace

import numpy as np
import pytest

from lucency import radiomics
from lucency.radiomics import Settings, glcm, gldm, glrlm, glszm, ngtdm
from lucency.radiomics.region import discretised, region_of

ONE = Settings(bin_width=1, min_dimensions=1)


def region(image, mask, **changes):
    return region_of(image, mask, replace(ONE, **changes), 1)


#: Haralick 1973, figure 2, with every level raised by one; matrices as printed there.
HARALICK = [[1, 1, 2, 2], [1, 1, 2, 2], [1, 3, 3, 3], [3, 3, 4, 4]]
PRINTED = {
    (0, 0, 1): [[4, 2, 1, 0], [2, 4, 0, 0], [1, 0, 6, 1], [0, 0, 1, 2]],
    (0, 1, 0): [[6, 0, 2, 0], [0, 4, 2, 0], [2, 2, 2, 2], [0, 0, 2, 0]],
    (0, 1, 1): [[2, 1, 3, 0], [1, 2, 1, 0], [3, 1, 0, 2], [0, 0, 2, 0]],
    (0, 1, -1): [[4, 1, 0, 0], [1, 2, 2, 0], [0, 2, 4, 1], [0, 0, 1, 0]],
}


@pytest.mark.parametrize("step", PRINTED)
def test_cooccurrence_is_that_of_haralicks_figure(step):
    ranks = np.array([HARALICK]) - 1
    once = glcm.matrix(ranks, np.ones(ranks.shape, bool), step, 4)
    assert (once + once.T).tolist() == PRINTED[step]


def test_cooccurrence_features_by_hand():
    # Levels 1 and 3 only, p = [[.5, .125], [.125, .25]]: rows .625 and .375, mean .625 + 1.125 = 1.75.
    p, g = np.array([[0.5, 0.125], [0.125, 0.25]]), np.array([1.0, 3.0])
    found = glcm.described(p, g, 3)
    assert found["JointAverage"] == 1.75
    assert found["SumAverage"] == 3.5
    # |a - b| is 0 with .75 and 2 with .25.
    assert found["Contrast"] == 1.0  # .25 × 4
    assert found["DifferenceAverage"] == 0.5
    assert found["DifferenceVariance"] == 0.75  # 1 - .25
    assert found["InverseVariance"] == 0.0625  # .25 / 4
    assert found["Id"] == pytest.approx(0.75 + 0.25 / 3)
    assert found["Idm"] == 0.8  # .75 + .25 / 5
    assert found["Idn"] == pytest.approx(0.75 + 0.25 / (1 + 2 / 3))
    assert found["Idmn"] == pytest.approx(0.75 + 0.25 / (1 + 4 / 9))
    # Variance .625 × .75² + .375 × 1.25² = .9375; E(ab) = .5 + .75 + 2.25 = 3.5, covariance 3.5 - 3.0625 = .4375.
    assert found["SumSquares"] == 0.9375
    assert found["Autocorrelation"] == 3.5
    assert found["Correlation"] == pytest.approx(0.4375 / 0.9375)
    # With two levels the maximal correlation is the correlation.
    assert found["MCC"] == pytest.approx(0.4375 / 0.9375)
    # a + b - 3.5 is -1.5 (.5), .5 (.25), 2.5 (.25).
    assert found["ClusterTendency"] == 0.5 * 2.25 + 0.25 * 0.25 + 0.25 * 6.25
    assert found["ClusterShade"] == 0.5 * -3.375 + 0.25 * 0.125 + 0.25 * 15.625
    assert found["JointEntropy"] == 0.5 * 1 + 2 * 0.125 * 3 + 0.25 * 2
    assert found["JointEnergy"] == 0.25 + 2 / 64 + 0.0625


#: Rows 1 1 2 / 2 2 2 / 3 1 1.
LITTLE = [[1, 1, 2], [2, 2, 2], [3, 1, 1]]


def listed(c):
    return sorted(zip(c.level.tolist(), c.size.tolist(), c.count.tolist(), strict=True))


def test_runs_by_hand(pair):
    # Along the rows: 1 twice, 2 once, 2 three times, 3 once, 1 twice.
    levels = np.array([LITTLE])
    assert listed(glrlm.runs(levels, (0, 0, 1))) == [(1, 2, 2), (2, 1, 1), (2, 3, 1), (3, 1, 1)]
    # Down the columns: 1 2 3 / 1 2 1 / 2 2 1.
    assert listed(glrlm.runs(levels, (0, 1, 0))) == [(1, 1, 4), (2, 1, 2), (2, 2, 1), (3, 1, 1)]
    # Downwards to the right the diagonals are 3, 2 1, 1 2 1, 1 2, 2: all single.
    assert listed(glrlm.runs(levels, (0, 1, 1))) == [(1, 1, 4), (2, 1, 4), (3, 1, 1)]
    # Downwards to the left 1, 1 2, 2 2 3, 2 1, 1.
    assert listed(glrlm.runs(levels, (0, 1, -1))) == [(1, 1, 4), (2, 1, 2), (2, 2, 1), (3, 1, 1)]
    found = glrlm.described(glrlm.runs(levels, (0, 0, 1)), glrlm.NAMES)
    assert found["ShortRunEmphasis"] == pytest.approx((2 / 4 + 1 + 1 / 9 + 1) / 5)
    assert found["LongRunEmphasis"] == pytest.approx((2 * 4 + 1 + 9 + 1) / 5)
    assert found["GrayLevelNonUniformity"] == pytest.approx((2**2 + 2**2 + 1) / 5)
    assert found["RunLengthNonUniformity"] == pytest.approx((2**2 + 2**2 + 1) / 5)
    assert found["RunPercentage"] == pytest.approx(5 / 9)
    assert found["HighGrayLevelRunEmphasis"] == pytest.approx((2 * 1 + 2 * 4 + 9) / 5)
    assert found["LongRunHighGrayLevelEmphasis"] == pytest.approx((2 * 4 + 4 + 4 * 9 + 9) / 5)
    assert found["RunEntropy"] == pytest.approx(0.4 * np.log2(2.5) + 0.6 * np.log2(5))
    # Lengths 2 2 1 3 1: mean 1.8, squares' mean 3.8.
    assert found["RunVariance"] == pytest.approx(3.8 - 1.8**2)


def test_a_run_does_not_cross_a_hole_nor_the_border():
    levels = np.array([[[2, 0, 2, 2], [2, 2, 0, 2]]])
    assert listed(glrlm.runs(levels, (0, 0, 1))) == [(2, 1, 2), (2, 2, 2)]


def test_zones_by_hand(pair):
    # Two zones of 1 with two voxels each, one of 2 with four (its lone voxel touches the row below), one of 3.
    assert listed(glszm.zones(region(*pair(LITTLE)))) == [(1, 2, 2), (2, 4, 1), (3, 1, 1)]
    found = radiomics.features(*pair(LITTLE), replace(ONE, classes=("glszm",)))
    assert found["original_glszm_SmallAreaEmphasis"] == pytest.approx((2 / 4 + 1 / 16 + 1) / 4)
    assert found["original_glszm_ZonePercentage"] == pytest.approx(4 / 9)
    assert found["original_glszm_ZoneVariance"] == pytest.approx((4 + 4 + 16 + 1) / 4 - (9 / 4) ** 2)


def test_zones_touch_at_corners_in_space_and_not_between_planes(pair):
    values = np.zeros((2, 2, 2), int)
    values[0, 0, 0] = values[1, 1, 1] = 5
    assert listed(glszm.zones(region(*pair(values)))) == [(1, 2, 1)]
    assert listed(glszm.zones(region(*pair(values), planar=True))) == [(1, 1, 2)]


def test_dependences_by_hand(pair):
    # Itself and its equal neighbours, row by row: 2 2 3 / 2 4 3 / 1 2 2.
    found = listed(gldm.dependences(region(*pair(LITTLE))))
    assert found == [(1, 2, 4), (2, 2, 1), (2, 3, 2), (2, 4, 1), (3, 1, 1)]
    features = radiomics.features(*pair(LITTLE), replace(ONE, classes=("gldm",)))
    assert features["original_gldm_LargeDependenceEmphasis"] == pytest.approx((5 * 4 + 2 * 9 + 16 + 1) / 9)
    assert features["original_gldm_DependenceNonUniformity"] == pytest.approx((5**2 + 2**2 + 1 + 1) / 9)


def test_dependence_accepts_levels_as_far_apart_as_asked(pair):
    # 1 2 4: within 1, the first two depend on each other; within 2, the middle one on both.
    assert listed(gldm.dependences(region(*pair([[1, 2, 4]]), dependence=1))) == [(1, 2, 1), (2, 2, 1), (4, 1, 1)]
    assert listed(gldm.dependences(region(*pair([[1, 2, 4]]), dependence=2))) == [(1, 2, 1), (2, 3, 1), (4, 2, 1)]


def test_tone_differences_by_hand(pair):
    image, mask = pair([[1, 2, 5, 2], [3, 5, 1, 3], [1, 3, 5, 5], [3, 1, 1, 1]])
    level, count, s = ngtdm.differences(region(image, mask))
    assert level.tolist() == [1, 2, 3, 5]
    assert count.tolist() == [6, 2, 4, 4]
    # The 1s, row by row, less the means of 3, 8, 5, 5, 5 and 3 neighbours.
    ones = (10 / 3 - 1) + (30 / 8 - 1) + (15 / 5 - 1) + (13 / 5 - 1) + (15 / 5 - 1) + (11 / 3 - 1)
    twos = abs(2 - 15 / 5) + abs(2 - 9 / 3)
    threes = (3 - 12 / 5) + (18 / 5 - 3) + (3 - 20 / 8) + (3 - 5 / 3)
    fives = (5 - 13 / 5) + (5 - 21 / 8) + (5 - 20 / 8) + (5 - 11 / 5)
    assert s == pytest.approx([ones, twos, threes, fives])


def test_tone_difference_features_by_hand():
    # Levels 1 and 3, three voxels and one, differences 1.5 and 2: p = .75 and .25.
    found = ngtdm.described(np.array([1.0, 3.0]), np.array([3.0, 1.0]), np.array([1.5, 2.0]))
    # Σ p s = 1.125 + .5; Σ s = 3.5.
    assert found["Coarseness"] == pytest.approx(1 / 1.625)
    # Σ p p (a - b)² = 2 × .1875 × 4 = 1.5, over 2 × 1, times 3.5 / 4.
    assert found["Contrast"] == pytest.approx(1.5 / 2 * 3.5 / 4)
    # |.75 × 1 - .25 × 3| is 0: nothing to divide by.
    assert found["Busyness"].reason == "The levels balance out: a division by 0"
    # Both orders: 2 × |1 - 3| × (1.125 + .5) / 1, over 4 voxels.
    assert found["Complexity"] == pytest.approx(2 * 2 * 1.625 / 4)
    # 2 × 1 × 4 over 3.5.
    assert found["Strength"] == pytest.approx(8 / 3.5)


def test_a_voxel_without_neighbours_does_not_count_in_tone_differences(pair):
    _, count, s = ngtdm.differences(region(*pair([[1, 2, 0, 0, 7]])))
    assert count.tolist() == [1, 1, 0]
    assert s.tolist() == [1, 1, 0]


def test_levels_of_fixed_width_begin_at_a_multiple_of_it_and_of_fixed_number_at_the_minimum():
    values = np.array([-30.0, -25.0, -0.1, 0.0, 24.9, 50.0])
    # Bins of 25 from -50: -50…-25, -25…0, 0…25, 25…50, 50….
    assert discretised(values, Settings(bin_width=25)).tolist() == [1, 2, 2, 3, 3, 5]
    # Four bins of 20 from -30: edges -10, 10, 30; the maximum belongs to the last.
    assert discretised(values, Settings(bin_count=4)).tolist() == [1, 1, 2, 2, 3, 4]


def test_weights_of_directions_fall_with_their_length_in_mm(pair):
    from lucency.radiomics.neighbours import weights

    steps, spacing = [(0, 0, 1), (0, 1, 1)], (1.0, 0.5, 2.0)
    assert weights(steps, spacing, Settings(weighting="euclidean")) == pytest.approx(np.exp([-4, -4.25]))
    assert weights(steps, spacing, Settings(weighting="manhattan")) == pytest.approx(np.exp([-4, -6.25]))
    assert weights(steps, spacing, Settings(weighting="infinity")) == pytest.approx(np.exp([-4, -4]))
    assert weights(steps, spacing, Settings(weighting="merged")).tolist() == [1, 1]


def test_neighbours_in_space_and_in_a_plane_by_distance():
    from lucency.radiomics.neighbours import directions

    size = (9, 9, 9)
    assert len(directions(Settings(), (1,), size)) == 13
    assert len(directions(Settings(), (1, 2), size)) == 62
    assert len(directions(Settings(planar=True), (1,), size)) == 4
    # One slice: steps across it join nothing.
    assert len(directions(Settings(), (1,), (1, 9, 9))) == 4
