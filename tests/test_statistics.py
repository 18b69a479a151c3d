import math
import time

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import average_precision_score, roc_auc_score

from lucency import statistics
from lucency.errors import UsageError
from lucency.statistics import Metric


def ids(n):
    return [f"p{i}" for i in range(n)]


def noisy_scores(rng, n, effect=1.0, ties=False):
    truth = (rng.random(n) < 0.4).astype(int)
    truth[:2] = 0, 1
    score = rng.normal(size=n) + effect * truth
    return truth, np.round(score, 1) if ties else score


# Newcombe 1998, doi:10.1002/(SICI)1097-0258(19980430)17:8<857::AID-SIM777>3.0.CO;2-E, table I, methods 3 and 5
@pytest.mark.parametrize(
    ("hits", "n", "score", "exact"),
    [
        (81, 263, (0.2553, 0.3662), (0.2527, 0.3676)),
        (15, 148, (0.0624, 0.1605), (0.0578, 0.1617)),
        (0, 20, (0.0, 0.1611), (0.0, 0.1684)),
        (1, 29, (0.0061, 0.1718), (0.0009, 0.1776)),
    ],
)
def test_intervals_of_proportions_are_the_published_ones(hits, n, score, exact):
    assert statistics.wilson(hits, n) == pytest.approx(score, abs=5e-5)
    assert statistics.clopper_pearson(hits, n) == pytest.approx(exact, abs=5e-5)


def test_clopper_pearson_of_all_hits_is_the_root_of_the_tail():
    # (alpha / 2) ** (1 / n), worked out from P(all n hit) = p ** n
    assert statistics.clopper_pearson(20, 20) == (pytest.approx(0.025 ** (1 / 20)), 1.0)


def delong_by_definition(truth, scores):
    """DeLong's structural components from every pair, as in the paper, without ranks."""
    pos, neg = scores[:, truth == 1], scores[:, truth == 0]
    kernel = (pos[:, :, None] > neg[:, None, :]) + 0.5 * (pos[:, :, None] == neg[:, None, :])
    by_pos, by_neg = kernel.mean(axis=2), kernel.mean(axis=1)
    return kernel.mean(axis=(1, 2)), np.cov(by_pos) / pos.shape[1] + np.cov(by_neg) / neg.shape[1]


@pytest.mark.parametrize("ties", [False, True])
def test_delong_by_ranks_equals_delong_by_pairs(ties):
    rng = np.random.default_rng(1)
    truth, first = noisy_scores(rng, 60, ties=ties)
    scores = np.stack([first, np.round(first + rng.normal(size=60), 1)])
    aucs, covariance = statistics.delong(truth, scores)
    wanted_aucs, wanted = delong_by_definition(truth, scores)
    assert aucs == pytest.approx(wanted_aucs)
    assert covariance == pytest.approx(wanted)
    assert aucs[0] == pytest.approx(roc_auc_score(truth, first))


def test_delong_worked_by_hand():
    # positives 3, 1; negatives 2, 0: pairs 1 1 / 0 1. AUC 3/4. By positive: 1, 1/2, variance 1/8; by negative
    # 1/2, 1, variance 1/8; covariance 1/8 / 2 + 1/8 / 2 = 1/8.
    aucs, covariance = statistics.delong(np.array([1, 1, 0, 0]), np.array([3.0, 1, 2, 0]))
    assert aucs[0] == 0.75
    assert covariance[0, 0] == pytest.approx(0.125)


def obuchowski_by_definition(truth, score, patients):
    """Equations of Obuchowski 1997 with loops over patients."""
    pos, neg = np.flatnonzero(truth == 1), np.flatnonzero(truth == 0)
    kernel = (score[pos][:, None] > score[neg]) + 0.5 * (score[pos][:, None] == score[neg])
    value, by_pos, by_neg = kernel.mean(), kernel.mean(axis=1), kernel.mean(axis=0)
    names = sorted(set(patients))
    s10 = s01 = s11 = 0.0
    i10 = i01 = 0
    for name in names:
        a = [by_pos[k] - value for k, c in enumerate(pos) if patients[c] == name]
        b = [by_neg[k] - value for k, c in enumerate(neg) if patients[c] == name]
        i10, i01 = i10 + bool(a), i01 + bool(b)
        s10, s01, s11 = s10 + sum(a) ** 2, s01 + sum(b) ** 2, s11 + sum(a) * sum(b)
    m, n, i = len(pos), len(neg), len(names)
    return s10 * i10 / ((i10 - 1) * m) / m + s01 * i01 / ((i01 - 1) * n) / n + 2 * s11 * i / (i - 1) / (m * n)


def test_clustered_variance_equals_obuchowskis_formula():
    rng = np.random.default_rng(2)
    truth, score = noisy_scores(rng, 80, ties=True)
    patients = np.array([f"p{i}" for i in rng.integers(0, 25, 80)])
    _, covariance = statistics.delong(truth, score, patients)
    assert covariance[0, 0] == pytest.approx(obuchowski_by_definition(truth, score, patients))


def test_copying_every_case_of_a_patient_hardly_narrows_the_interval():
    rng = np.random.default_rng(3)
    truth, score = noisy_scores(rng, 100)
    single = statistics.auc_metric(truth, score, ids(100), rng)
    copied = statistics.auc_metric(np.tile(truth, 5), np.tile(score, 5), ids(100) * 5, rng)
    assert copied.n == 100
    assert "clustered" in copied.method
    assert copied.value == pytest.approx(single.value)
    # Only the sample variance's n / (n - 1) may differ.
    assert copied.upper - copied.lower == pytest.approx(single.upper - single.lower, rel=0.02)


@pytest.mark.parametrize("effect", [1.0, 2.5])
def test_auc_interval_covers_the_truth_about_as_often_as_it_says(effect):
    rng = np.random.default_rng(4)
    true_auc = stats.norm.cdf(effect / math.sqrt(2))
    inside = 0
    for _ in range(400):
        truth = np.repeat([0, 1], [60, 40])
        found = statistics.auc_metric(truth, rng.normal(size=100) + effect * truth, ids(100), rng)
        inside += found.lower <= true_auc <= found.upper
    # 400 trials at .95 have a standard error of .011
    assert 0.92 <= inside / 400 <= 0.985


def test_perfect_auc_gets_the_exact_bound_of_the_smaller_class():
    truth = np.repeat([0, 1], [30, 10])
    found = statistics.auc_metric(truth, truth.astype(float), ids(40), np.random.default_rng(0))
    assert found.lower == pytest.approx(0.025 ** (1 / 10))
    assert (found.value, found.upper, found.method) == (1.0, 1.0, "exact, smallest class")
    # The same 40 cases of 20 patients, 10 with and 20 without the finding, give 10 pairs still.
    shared = statistics.auc_metric(truth, truth.astype(float), ids(20) * 2, np.random.default_rng(0))
    assert shared.lower == found.lower


def test_constant_score_has_an_auc_of_one_half_for_certain():
    truth = np.repeat([0, 1], 20)
    found = statistics.auc_metric(truth, np.zeros(40), ids(40), np.random.default_rng(0))
    assert (found.value, found.lower, found.upper) == (0.5, 0.5, 0.5)


@pytest.mark.parametrize(("negatives", "positives"), [(14, 5), (40, 4), (4, 40)])
def test_too_few_patients_are_said_to_be_too_few(negatives, positives):
    rng = np.random.default_rng(5)
    truth = np.repeat([0, 1], [negatives, positives])
    score = rng.normal(size=truth.size)
    found = statistics.auc_metric(truth, score, ids(truth.size), rng)
    assert found == Metric(pytest.approx(roc_auc_score(truth, score)), None, None, truth.size, statistics.TOO_FEW)
    pair = statistics.compare_auc(truth, score, -score, ids(truth.size))
    assert (pair.p, pair.difference.lower) == (None, None)


def test_many_images_of_few_patients_are_still_too_few():
    rng = np.random.default_rng(6)
    truth, score = noisy_scores(rng, 400)
    patients = ids(19) * 22
    assert statistics.auc_metric(truth, score, patients[:400], rng).method == statistics.TOO_FEW
    assert statistics.proportion_metric(score > 0, patients[:400], rng).method == statistics.TOO_FEW
    assert statistics.mean_metric(score, patients[:400], rng).lower is None


def test_one_class_has_no_auc():
    found = statistics.auc_metric(np.ones(30, int), np.arange(30.0), ids(30), np.random.default_rng(0))
    assert math.isnan(found.value)
    assert "one class" in found.method


def test_macro_auc_of_several_classes_is_scikit_learns_with_a_bootstrap_interval():
    rng = np.random.default_rng(7)
    truth = rng.integers(0, 3, 90)
    probabilities = rng.dirichlet(np.ones(3), 90) + 0.4 * np.eye(3)[truth]
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    found = statistics.auc_metric(truth, probabilities, ids(90), rng)
    assert found.value == pytest.approx(roc_auc_score(truth, probabilities, multi_class="ovr"))
    assert found.lower < found.value < found.upper
    assert found.method == "patient bootstrap, 2000"


@pytest.mark.parametrize("ties", [False, True])
def test_weighted_auc_equals_the_auc_of_the_repeated_cases(ties):
    rng = np.random.default_rng(8)
    truth, score = noisy_scores(rng, 50, ties=ties)
    fast = statistics.auc_of(truth, score)
    slow = statistics.by_cases(lambda i: roc_auc_score(truth[i], score[i]))
    weights = rng.multinomial(50, np.full(50, 0.02), 20).astype(float)
    assert fast(weights) == pytest.approx(slow(weights))
    assert np.isnan(fast(np.where(truth == 1, 0.0, 1.0)[None])[0])


def test_bootstrap_keeps_the_cases_of_a_patient_together():
    patients = ["a", "b", "a", "c", "b", "a"]
    seen = []

    def spy(weights):
        seen.append(weights)
        return weights.sum(axis=1)

    statistics.resampled(spy, patients, np.random.default_rng(9), n=50)
    weights = np.concatenate(seen)
    assert weights.shape == (50, 6)
    assert (weights[:, 0] == weights[:, 2]).all()
    assert (weights[:, 0] == weights[:, 5]).all()
    assert (weights[:, 1] == weights[:, 4]).all()
    assert (weights[:, 0] + weights[:, 1] + weights[:, 3] == 3).all()


def test_bootstrap_is_the_same_from_the_same_seed_and_in_chunks(monkeypatch):
    values = np.random.default_rng(10).normal(size=40)
    runs = [
        statistics.resampled(statistics.mean_of(values), ids(40), np.random.default_rng(11), n=300) for _ in range(2)
    ]
    assert (runs[0] == runs[1]).all()
    monkeypatch.setattr("lucency.statistics.resampling.CHUNK", 400)
    in_chunks = statistics.resampled(statistics.mean_of(values), ids(40), np.random.default_rng(11), n=300)
    assert in_chunks == pytest.approx(runs[0])


@pytest.mark.parametrize("n", [20, 200])
def test_bootstrap_interval_of_a_normal_mean_is_about_students(n):
    values = np.random.default_rng(12).normal(3.0, 2.0, n)
    found = statistics.mean_metric(values, ids(n), np.random.default_rng(13), best=0.0)
    lower, upper = stats.t.interval(0.95, n - 1, values.mean(), stats.sem(values))
    width = upper - lower
    assert found.lower == pytest.approx(lower, abs=0.08 * width)
    assert found.upper == pytest.approx(upper, abs=0.08 * width)
    assert (found.n, found.best) == (n, 0.0)


def test_mean_interval_grows_when_the_cases_share_patients():
    rng = np.random.default_rng(14)
    effect = np.repeat(rng.normal(size=25), 4)
    own = statistics.mean_metric(effect, ids(100), rng)
    shared = statistics.mean_metric(effect, np.repeat(ids(25), 4), rng)
    # Four equal copies: the standard error doubles.
    assert shared.upper - shared.lower == pytest.approx(2 * (own.upper - own.lower), rel=0.15)


def test_undefined_values_are_left_out_and_counted():
    values = np.array([np.nan, *np.linspace(0.5, 0.9, 30)])
    found = statistics.mean_metric(values, ids(31), np.random.default_rng(0))
    assert found.value == pytest.approx(0.7)
    assert found.n == 30
    assert found.method.endswith("; 1 undefined left out")


def test_perfect_dice_of_all_cases_claims_no_certainty():
    found = statistics.mean_metric(np.ones(30), ids(30), np.random.default_rng(0), bounds=(0.0, 1.0))
    assert (found.lower, found.upper, found.method) == (pytest.approx(0.025 ** (1 / 30)), 1.0, "exact")
    distance = statistics.mean_metric(np.zeros(30), ids(30), np.random.default_rng(0), best=0.0)
    assert (distance.lower, distance.method) == (None, "no spread between patients")


def test_proportions_choose_wilson_exact_or_bootstrap():
    rng = np.random.default_rng(15)
    hits = np.arange(40) % 4 > 0
    single = statistics.proportion_metric(hits, ids(40), rng)
    assert (single.lower, single.upper, single.method) == (*statistics.wilson(30, 40), "Wilson")
    perfect = statistics.proportion_metric(np.ones(80, bool), ids(40) * 2, rng)
    assert (perfect.lower, perfect.n) == (statistics.clopper_pearson(40, 40)[0], 40)
    shared = statistics.proportion_metric(np.tile(hits, 2), ids(40) * 2, rng)
    assert shared.method.startswith("patient bootstrap")
    assert shared.lower == pytest.approx(single.lower, abs=0.04)
    among = statistics.proportion_metric(hits, ids(40), rng, among=np.arange(40) < 8)
    assert (among.n, among.value, among.lower) == (8, 0.75, statistics.wilson(6, 8)[0])
    few = statistics.proportion_metric(hits, ids(40), rng, among=np.arange(40) < 4)
    assert few.method == statistics.TOO_FEW


def test_ten_metrics_of_700_cases_take_about_a_second():
    rng = np.random.default_rng(16)
    truth, score = noisy_scores(rng, 700)
    before = time.process_time()
    for _ in range(5):
        statistics.bootstrap_metric(statistics.auc_of(truth, score), ids(700), rng, truth=truth)
        statistics.bootstrap_metric(statistics.mean_of(truth), ids(700), rng, truth=truth)
    # About 1 s on a slow core; the bound only catches a fall back to one resample at a time (30 s).
    assert time.process_time() - before < 20


def test_by_cases_serves_a_statistic_from_elsewhere():
    rng = np.random.default_rng(17)
    truth, score = noisy_scores(rng, 60)
    statistic = statistics.by_cases(lambda i: average_precision_score(truth[i], score[i]))
    found = statistics.resampled(statistic, ids(60), rng, n=40)
    assert found.std() > 0
    assert statistic(np.ones((1, 60)))[0] == pytest.approx(average_precision_score(truth, score))


def test_paired_delong_equals_the_definition():
    rng = np.random.default_rng(18)
    truth, first = noisy_scores(rng, 80)
    second = first + rng.normal(size=80)
    aucs, covariance = delong_by_definition(truth, np.stack([first, second]))
    error = math.sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    found = statistics.compare_auc(truth, first, second, ids(80))
    assert found.difference.value == pytest.approx(aucs[0] - aucs[1])
    assert found.p == pytest.approx(2 * stats.norm.sf(abs(aucs[0] - aucs[1]) / error))
    assert found.difference.upper - found.difference.value == pytest.approx(1.959964 * error)


def test_paired_delong_rejects_equal_scores_about_as_often_as_it_says():
    rng = np.random.default_rng(19)
    rejected = 0
    for _ in range(400):
        truth = np.repeat([0, 1], [50, 50])
        base = rng.normal(size=100) + truth
        pair = statistics.compare_auc(truth, base + rng.normal(size=100), base + rng.normal(size=100), ids(100))
        rejected += pair.p < 0.05
    assert 0.025 <= rejected / 400 <= 0.085


def test_equal_scores_differ_by_nothing_and_perfect_beats_constant():
    truth = np.repeat([0, 1], 20)
    score = np.random.default_rng(20).normal(size=40) + truth
    same = statistics.compare_auc(truth, score, score, ids(40))
    assert (same.difference.value, same.p) == (0.0, 1.0)
    perfect = statistics.compare_auc(truth, truth.astype(float), np.zeros(40), ids(40))
    assert perfect.difference.value == 0.5
    assert perfect.difference.lower == pytest.approx(0.025 ** (1 / 20) - 0.5)
    assert perfect.p == pytest.approx(2 / math.comb(40, 20))


def test_mcnemar_worked_by_hand():
    # 7 discordant, 1 one way: 2 * (C(7,0) + C(7,1)) / 2**7 = 16 / 128
    assert statistics.mcnemar(1, 6) == pytest.approx(0.125)
    assert statistics.mcnemar(0, 0) == 1.0
    first = np.r_[np.zeros(6, bool), np.ones(19, bool)]
    second = np.r_[np.ones(6, bool), np.zeros(1, bool), np.ones(18, bool)]
    found = statistics.compare_hits(first, second, ids(25), np.random.default_rng(0))
    assert found.p == pytest.approx(0.125)
    assert found.difference.value == pytest.approx(-5 / 25)


def test_several_images_per_patient_are_compared_by_patient():
    rng = np.random.default_rng(21)
    better = np.repeat(rng.random(40) < 0.9, 3)
    worse = np.repeat(rng.random(40) < 0.5, 3)
    found = statistics.compare_hits(better, worse, np.repeat(ids(40), 3), rng)
    assert found.test.startswith("paired patient bootstrap")
    assert found.p < 0.01
    same = statistics.compare_hits(better, better, np.repeat(ids(40), 3), rng)
    assert (same.p, same.difference.lower) == (1.0, None)


def test_wilcoxon_is_the_published_example():
    # Hollander & Wolfe 1973, page 29, depression factor; V = 40, two-sided p = 0.0391
    first = np.array([1.83, 0.50, 1.62, 2.48, 1.68, 1.88, 1.55, 3.06, 1.30])
    second = np.array([0.878, 0.647, 0.598, 2.05, 1.06, 1.29, 1.06, 3.14, 1.29])
    found = statistics.compare_values(first, second, ids(9), np.random.default_rng(0))
    assert found.p == pytest.approx(0.0390625)
    assert found.difference.method == statistics.TOO_FEW
    # The same means from two images per patient change nothing.
    twice = statistics.compare_values(
        np.r_[first + 0.1, first - 0.1], np.r_[second, second], ids(9) * 2, np.random.default_rng(0)
    )
    assert twice.p == pytest.approx(0.0390625)


def test_equal_values_are_no_different():
    values = np.linspace(0, 1, 25)
    assert statistics.compare_values(values, values, ids(25), np.random.default_rng(0)).p == 1.0


def test_nadeau_bengio_worked_by_hand():
    # mean .02, variance .0001 * (1+0+1+0+0)... differences .01 .02 .03 .02 .02: squares 1e-4 * (1, 0, 1, 0, 0) / 4
    # = 5e-5; times 1/5 + 1/4 = .45 -> 2.25e-5; t = .02 / .0047434 = 4.2164, 4 degrees of freedom
    found = statistics.nadeau_bengio(np.array([0.01, 0.02, 0.03, 0.02, 0.02]), n_train=80, n_test=20)
    error = math.sqrt(2.25e-5)
    assert found.p == pytest.approx(2 * stats.t.sf(0.02 / error, 4))
    assert found.difference.lower == pytest.approx(0.02 - 2.776445 * error)
    assert statistics.nadeau_bengio(np.array([0.1]), 80, 20).p is None


def test_holm_is_the_textbook_example():
    # p.adjust(c(.01, .04, .03, .005), "holm") in R
    assert statistics.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx((0.03, 0.06, 0.06, 0.02))
    assert statistics.holm([0.9, None, 0.8]) == (1.0, None, 1.0)
    assert statistics.holm([]) == ()


def test_patients_that_do_not_match_the_cases_are_refused():
    with pytest.raises(UsageError, match="3 patients for 4 cases"):
        statistics.delong(np.array([0, 1, 0, 1]), np.arange(4.0), ids(3))


def test_clustered_interval_covers_the_truth_where_the_plain_one_does_not():
    rng = np.random.default_rng(22)
    owner = np.repeat(np.arange(40), 4)
    patients = np.array(ids(40))[owner]
    inside = plain = 0
    for _ in range(300):
        # Half of the noise belongs to the patient, whose four images share one class: AUC Phi(1.5 / sqrt 2).
        truth = np.repeat(np.arange(40) % 2, 4)
        score = np.sqrt(0.5) * (rng.normal(size=40)[owner] + rng.normal(size=160)) + 1.5 * truth
        true_auc = stats.norm.cdf(1.5 / math.sqrt(2))
        found = statistics.auc_metric(truth, score, patients, rng)
        naive = statistics.auc_metric(truth, score, ids(160), rng)
        inside += found.lower <= true_auc <= found.upper
        plain += naive.lower <= true_auc <= naive.upper
    assert 0.91 <= inside / 300 <= 0.985
    assert plain / 300 < 0.85


def test_importing_the_metric_does_not_cost_scipys_statistics():
    import os
    import subprocess
    import sys

    code = "import sys, lucency.statistics; sys.exit('scipy.stats' in sys.modules)"
    paths = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    assert subprocess.run([sys.executable, "-c", code], env=paths, check=False).returncode == 0
