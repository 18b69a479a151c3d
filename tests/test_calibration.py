import dataclasses

import numpy as np
import pytest
from scipy import special

from lucency import calibration, record
from lucency.calibration import Calibration
from lucency.errors import DataError, UsageError


def drawn(n, temperature=1.0, classes=2, seed=0, shift=0.0):
    """Logits whose true probabilities are softmax(logits / temperature + shift on the last class)."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2.0 * temperature, (n, classes))
    true = logits / temperature
    true[:, -1] += shift
    p = special.softmax(true, axis=1)
    return logits, (rng.random((n, 1)) > np.cumsum(p, axis=1)).sum(axis=1).clip(max=classes - 1)


def test_default_is_the_identity():
    logits = np.array([[0.0, 1.0], [2.0, -1.0]])
    p = Calibration().apply(logits)
    assert p == pytest.approx(special.softmax(logits, axis=1))
    assert Calibration().label(p).tolist() == [1, 0]


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("temperature", [0.4, 1.0, 3.0])
def test_temperature_is_found_again(temperature, classes):
    logits, targets = drawn(4000, temperature, classes)
    assert calibration.fit_temperature(logits, targets).temperature == pytest.approx(temperature, rel=0.1)


def test_temperature_minimises_the_likelihood_and_its_prior():
    logits, targets = drawn(80, 2.0, 3, seed=1)

    def loss(t):
        return -special.log_softmax(logits / t, axis=1)[np.arange(80), targets].sum() + 0.5 * np.log(t) ** 2

    grid = np.exp(np.linspace(-2, 3, 5001))
    best = grid[np.argmin([loss(t) for t in grid])]
    assert calibration.fit_temperature(logits, targets).temperature == pytest.approx(best, rel=2e-3)


def test_few_cases_all_labelled_rightly_do_not_make_certainty():
    logits = np.array([[1.0, -1.0]] * 10 + [[-1.0, 1.0]] * 10)
    p = calibration.fit_temperature(logits, np.repeat([0, 1], 10)).apply(logits)
    # Without the prior the likelihood has no maximum and p goes to 1.
    assert 0.9 < p.max() < 0.999


def test_bias_is_found_again_and_left_out_for_few_cases():
    logits, targets = drawn(6000, 1.5, 3, shift=1.2)
    found = calibration.fit_temperature(logits, targets, bias=True)
    assert found.bias == pytest.approx((-0.4, -0.4, 0.8), abs=0.12)
    assert sum(found.bias) == pytest.approx(0.0, abs=1e-9)
    assert calibration.fit_temperature(logits[:499], targets[:499], bias=True).bias == ()
    assert calibration.fit_temperature(logits, targets).bias == ()


def test_a_common_shift_of_the_logits_changes_nothing():
    logits, targets = drawn(300, 2.0, 3)
    shifted = calibration.fit_temperature(logits + 500.0, targets)
    assert shifted.temperature == pytest.approx(calibration.fit_temperature(logits, targets).temperature, rel=1e-4)


def test_labels_follow_the_thresholds():
    p = np.array([[0.7, 0.3], [0.69, 0.31], [0.2, 0.8]])
    assert Calibration(thresholds=(0.305,)).label(p).tolist() == [0, 1, 1]
    assert Calibration(thresholds=(0.31,)).label(p).tolist() == [0, 1, 1]  # at the threshold is class 1
    three = np.array([[0.6, 0.3, 0.1], [0.6, 0.2, 0.2]])
    assert Calibration(thresholds=(0.8, 0.1, 0.1)).label(three).tolist() == [1, 1]
    assert Calibration(thresholds=(0.8, 0.15, 0.05)).label(three).tolist() == [1, 2]
    with pytest.raises(UsageError, match="One threshold for 3 classes"):
        Calibration(thresholds=(0.5,)).label(three)


def balanced(targets, labels):
    return np.mean([(labels[targets == c] == c).mean() for c in np.unique(targets)])


def regret(n, seed, choose):
    """Balanced accuracy lost against the best cut on a population with 20 % of class 1."""
    rng = np.random.default_rng(seed)

    def cases(m):
        y = (rng.random(m) < 0.2).astype(int)
        y[:2] = 0, 1
        z = 2 * (rng.normal(size=m) + 2 * y) - 2 + np.log(0.2 / 0.8)
        return y, special.expit(np.stack([-z, z], axis=1))

    y, p = cases(n)
    y_all, p_all = cases(20000)
    best = balanced(y_all, (p_all[:, 1] >= 0.2).astype(int))
    return best - balanced(y_all, (p_all[:, 1] >= choose(p, y)).astype(int))


def raw_optimum(p, y):
    cuts = np.unique(p[:, 1])
    return max(cuts, key=lambda t: balanced(y, (p[:, 1] >= t).astype(int)))


@pytest.mark.parametrize("n", [60, 300])
def test_threshold_loses_less_than_half_of_what_the_raw_optimum_loses(n):
    smooth = [regret(n, seed, lambda p, y: calibration.choose_thresholds(p, y)[0]) for seed in range(25)]
    raw = [regret(n, seed, raw_optimum) for seed in range(25)]
    assert np.mean(smooth) < 0.5 * np.mean(raw)
    assert np.mean(smooth) < 0.008


def test_threshold_adapts_when_the_probabilities_are_wrong():
    rng = np.random.default_rng(2)
    y = np.repeat([0, 1], 2000)
    z = 2 * (rng.normal(size=4000) + 2 * y) - 2 + 3.0  # three logits too high
    (cut,) = calibration.choose_thresholds(special.expit(np.stack([-z, z], axis=1)), y)
    assert special.logit(cut) == pytest.approx(3.0, abs=0.3)


def test_threshold_of_separated_classes_lies_in_the_gap():
    p1 = np.r_[np.linspace(0.05, 0.2, 100), np.linspace(0.7, 0.9, 100)]
    (cut,) = calibration.choose_thresholds(np.stack([1 - p1, p1], axis=1), np.repeat([0, 1], 100))
    assert 0.25 < cut < 0.65


def test_one_more_case_hardly_moves_the_threshold():
    logits, targets = drawn(200, seed=3)
    p = special.softmax(logits, axis=1)
    cuts = [calibration.choose_thresholds(np.delete(p, i, 0), np.delete(targets, i))[0] for i in range(0, 200, 10)]
    assert np.std(cuts) < 0.01


def test_accuracy_rule_cuts_calibrated_probabilities_near_one_half():
    logits, targets = drawn(3000, seed=4, shift=1.0)
    logits = logits + np.array([0.0, 1.0])
    (cut,) = calibration.choose_thresholds(special.softmax(logits, axis=1), targets, "accuracy")
    assert cut == pytest.approx(0.5, abs=0.06)
    assert calibration.choose_thresholds(np.full((6, 3), 1 / 3), np.arange(6) % 3, "accuracy") == ()


def test_thresholds_of_several_classes_raise_the_balanced_accuracy():
    logits, targets = drawn(3000, classes=3, seed=5, shift=2.5)
    logits = logits + np.array([0.0, 0.0, 2.5])
    found = calibration.fit(logits, targets)
    p = found.apply(logits)
    assert len(found.thresholds) == 3
    assert balanced(targets, found.label(p)) > balanced(targets, p.argmax(axis=1)) + 0.02


def test_one_class_alone_gives_no_threshold():
    assert calibration.choose_thresholds(np.full((5, 2), 0.5), np.zeros(5, int)) == ()


def test_cross_fit_judges_no_patient_by_a_calibration_that_saw_them(monkeypatch):
    logits, targets = drawn(120, 2.0, seed=6)
    patients = np.repeat([f"p{i}" for i in range(40)], 3)
    seen = []
    real = calibration.fit

    def spy(part_logits, part_targets, **options):
        seen.append({tuple(row) for row in part_logits})
        return real(part_logits, part_targets, **options)

    monkeypatch.setattr(calibration, "fit", spy)
    probabilities, labels = calibration.cross_fit(logits, targets, patients, np.random.default_rng(7))
    owners = [{patients[i] for i, row in enumerate(logits) if tuple(row) in part} for part in seen]
    assert owners[0] | owners[1] == set(patients)
    assert not owners[0] & owners[1]
    # What a half got is what the calibration of the other half gives.
    first = np.isin(patients, list(owners[0]))
    other = real(logits[~first], targets[~first])
    assert probabilities[first] == pytest.approx(other.apply(logits[first]))
    assert (labels[first] == other.label(probabilities[first])).all()


def test_cross_fit_halves_hold_every_class_and_follow_the_generator():
    logits, targets = drawn(60, seed=8)
    targets = np.zeros(60, int)
    targets[:4] = 1
    names = [f"p{i}" for i in range(60)]
    half = calibration._halves(targets, np.array(names), np.random.default_rng(9))
    assert (half[:4].sum(), half.sum()) == (2, 30)
    again = calibration.cross_fit(logits, targets, names, np.random.default_rng(9))
    once = calibration.cross_fit(logits, targets, names, np.random.default_rng(9))
    assert (again[0] == once[0]).all()


def test_one_patient_cannot_be_cross_fitted():
    with pytest.raises(DataError, match="1 patient to calibrate on"):
        calibration.cross_fit(np.zeros((4, 2)), np.array([0, 1, 0, 1]), ["a"] * 4, np.random.default_rng(0))


def test_calibration_survives_the_round_trip(tmp_path):
    made = Calibration(1.7, (0.1, -0.1), (0.42,), {"components": 1.0, "volumes": (1.0, 2.0)})
    record.write(tmp_path / "calibration.json", made)
    assert record.read(Calibration, tmp_path / "calibration.json") == made
    assert record.from_json(Calibration, record.to_json(Calibration())) == Calibration()


@pytest.mark.parametrize("wrong", [{"temperature": 0.0}, {"thresholds": (-0.1,)}, {"bias": (np.inf, 0.0)}])
def test_impossible_numbers_are_refused(wrong):
    with pytest.raises(UsageError, match="finite numbers"):
        dataclasses.replace(Calibration(), **wrong)


def test_outputs_that_are_not_finite_are_refused():
    with pytest.raises(DataError, match="No case or no finite output"):
        calibration.fit_temperature(np.array([[np.nan, 1.0]]), np.array([1]))
