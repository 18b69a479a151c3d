"""What paired runs say: the corrected test, the chances, what could have been seen, and who is compared with whom."""

import math

import numpy as np
import pytest
from scipy import stats

from lucency.errors import UsageError
from lucency.statistics import corrected_error
from lucency.synthesize.gate import Runs, contrasted, detectable, rival_of, the_best
from lucency.synthesize.gate.evidence import ROPE, chances

#: Ten runs: two seeds on five folds.
REAL = (0.90, 0.91, 0.89, 0.92, 0.90, 0.91, 0.90, 0.88, 0.92, 0.90)


def arm(name, gain=0.0, noise=(), candidate=True, inner=0.9):
    outer = tuple(r + gain + (noise[n] if noise else 0.0) for n, r in enumerate(REAL))
    return Runs(name, candidate, (inner,) * 10, outer)


WOBBLE = (0.01, -0.01, 0.005, -0.005, 0.0, 0.01, -0.01, 0.005, -0.005, 0.0)


def test_the_gain_has_the_corrected_error_and_a_one_sided_p_worked_out_by_hand():
    found = contrasted([arm("real", candidate=False), arm("made", 0.02, WOBBLE)], 60, 20)[0]
    # Variance of the wobble: (4 * 1e-4 + 4 * 25e-6) / 9 = 5.5556e-5; error sqrt((1/10 + 20/60) * that).
    error = math.sqrt((0.1 + 1 / 3) * 5e-4 / 9)
    assert found.gain.value == pytest.approx(0.02)
    assert found.p == pytest.approx(stats.t.sf(0.02 / error, 9))
    half = stats.t.ppf(0.975, 9) * error
    assert (found.gain.lower, found.gain.upper) == pytest.approx((0.02 - half, 0.02 + half))
    assert found.p_holm == found.p
    assert found.runs == 10


def test_a_loss_has_a_p_near_one():
    found = contrasted([arm("real", candidate=False), arm("made", -0.02, WOBBLE)], 60, 20)[0]
    assert found.p > 0.99
    assert found.worse > 0.95


def test_chances_are_the_t_distribution_about_the_mean_and_make_one():
    differences = 0.004 + np.array(WOBBLE)
    error = corrected_error(differences, 60, 20)
    worse, same, better = chances(differences, 60, 20)
    assert worse + same + better == pytest.approx(1)
    assert better == pytest.approx(stats.t.sf((ROPE - 0.004) / error, 9))
    assert worse == pytest.approx(stats.t.cdf((-ROPE - 0.004) / error, 9))


@pytest.mark.parametrize(("gain", "expected"), [(0.0, (0, 1, 0)), (0.02, (0, 0, 1)), (-0.02, (1, 0, 0))])
def test_runs_without_spread_leave_no_doubt(gain, expected):
    assert chances(np.full(10, gain), 60, 20) == pytest.approx(expected)


@pytest.mark.parametrize("n_tests", [1, 3])
def test_a_gain_of_the_detectable_size_is_seen_four_times_in_five(n_tests):
    rng = np.random.default_rng(n_tests)
    n, sd = 10, 0.01
    error = sd / math.sqrt(n)
    gain = detectable(error, n, n_tests)
    draws = gain + sd * rng.normal(size=(20_000, n))
    t = draws.mean(axis=1) / (draws.std(axis=1, ddof=1) / math.sqrt(n))
    assert (stats.t.sf(t, n - 1) <= 0.05 / n_tests).mean() == pytest.approx(0.8, abs=0.015)


def test_holm_counts_the_candidates():
    arms = [arm("real", candidate=False), arm("a", 0.02, WOBBLE), arm("b", 0.0, WOBBLE), arm("c", 0.0, WOBBLE[::-1])]
    found = contrasted(arms, 60, 20)
    assert found[0].p_holm == pytest.approx(3 * found[0].p)
    assert found[0].detectable > contrasted(arms[:2], 60, 20)[0].detectable


def test_the_rival_is_chosen_inside_and_not_by_the_patients_that_judge():
    good_inside = arm("real again", -0.01, candidate=False, inner=0.95)
    good_outside = arm("real", candidate=False, inner=0.90)
    assert rival_of([good_outside, good_inside, arm("made", 0.5, inner=0.99)]).arm == "real again"
    assert contrasted([good_outside, good_inside, arm("made")], 60, 20)[0].rival == "real again"


def test_runs_in_which_a_score_is_not_defined_are_left_out_in_pairs():
    holes = Runs("made", True, (0.9,) * 10, (math.nan, math.nan, *(r + 0.01 for r in REAL[2:])))
    found = contrasted([arm("real", candidate=False), holes], 60, 20)[0]
    assert found.runs == 8
    assert found.gain.value == pytest.approx(0.01)


def test_nothing_defined_gives_no_number_and_no_claim():
    never = Runs("made", True, (0.9,) * 10, (math.nan,) * 10)
    found = contrasted([arm("real", candidate=False), never], 60, 20)[0]
    assert (found.runs, found.p, found.p_holm) == (0, None, None)
    assert math.isnan(found.gain.value)
    assert math.isnan(found.better)


def test_one_run_has_no_interval():
    one = [Runs("real", False, (0.9,), (0.9,)), Runs("made", True, (0.9,), (0.95,))]
    found = contrasted(one, 60, 20)[0]
    assert found.gain.lower is None
    assert found.p is None
    assert math.isnan(found.detectable)


def test_unlike_numbers_of_runs_are_refused_and_named():
    with pytest.raises(UsageError, match=r"made: Runs of \[2, 3\] lengths"):
        Runs("made", True, (1.0, 1.0), (1.0, 1.0, 1.0))


def test_no_rival_is_refused():
    with pytest.raises(UsageError, match="No rival with a score"):
        rival_of([arm("made")])


def test_the_best_is_told_by_inner_patients():
    arms = [arm("a", inner=0.91), arm("b", inner=0.93), arm("c", inner=0.99)]
    assert the_best(arms, ["a", "b"]) == "b"
    assert the_best(arms, []) == ""
