"""Whether patients are comparable, and what is said where they are not; the whole section is tested in the journeys."""

from types import SimpleNamespace

import numpy as np
import pytest
from scipy import special

from lucency.baselines.outcomes import cox_incidence
from lucency.baselines.propensity import propensity
from lucency.case import Case, Source
from lucency.columns import Column, treatment_in
from lucency.evaluate import Arm, Effect
from lucency.evaluate.treatment import _refusal, effect_of
from lucency.report.treated import sentences, table
from lucency.statistics import Metric
from lucency.survival.cox import fit_cox
from lucency.survival.outcome import Outcomes
from tiny import plan_for


def given_by(slope, n=4000, seed=0):
    """A column that decides, by a logistic curve of this slope, who is given 1; and the true chances."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 1))
    chance = special.expit(slope * x[:, 0])
    return x, (rng.random(n) < chance).astype(int), chance, np.arange(n) % 5


def test_the_chance_of_a_treatment_is_that_by_which_it_was_given():
    x, given, chance, fold = given_by(1.0)
    found = propensity(x, given, fold, 2)
    assert found.sum(axis=1) == pytest.approx(1.0)
    assert np.abs(found[:, 1] - chance).max() < 0.1


def test_without_a_column_the_chance_is_the_share_of_the_other_folds():
    _, given, _, fold = given_by(0.0, n=50)
    found = propensity(np.zeros((50, 0)), given, fold, 2)
    assert found[fold == 2][0, 1] == pytest.approx(given[fold != 2].mean())


def test_who_is_given_by_a_sharp_rule_has_no_chance_of_the_other():
    x, given, _, fold = given_by(200.0)
    assert (propensity(x, given, fold, 2).min(axis=1) >= 0.1).mean() < 0.3


def test_what_was_not_seen_in_the_other_folds_is_impossible_and_no_fault():
    given = np.array([0, 1] * 10 + [2])
    found = propensity(np.random.default_rng(0).normal(size=(21, 2)), given, np.array([*range(5)] * 4 + [4]), 3)
    # Value 2 is in fold 4 only, so the others know nothing of it.
    assert found[-1, 2] == 0


def test_a_cox_model_set_to_each_value_finds_the_difference_that_was_planted():
    rng = np.random.default_rng(3)
    n = 6000
    arm, age = rng.integers(0, 2, n).astype(float), rng.normal(size=n)
    # Exponential: hazard exp(.7 age - .8 arm) / 1000 a day; nobody is lost before day 730.
    time = rng.exponential(1000 / np.exp(0.7 * age - 0.8 * arm))
    truth = Outcomes(np.minimum(time, 800), (time < 800).astype(int))
    both = []
    for value in (0.0, 1.0):
        changed = np.column_stack([np.full(n, value), age])
        made = cox_incidence(
            np.column_stack([arm, age]), truth, changed, np.array([0.0, 365, 730]), lambda r, o, c: fit_cox(r, o.of(c))
        )
        both.append(1 - made[:, 0, -1].mean())
    true = [np.exp(-0.73 * np.exp(0.7 * age - 0.8 * v)).mean() for v in (0, 1)]
    assert both[1] - both[0] == pytest.approx(true[1] - true[0], abs=0.02)


def test_columns_of_treatments_are_told_by_their_names():
    assert treatment_in((Column("age"), Column("是否化疗", ("否", "是")))) == "是否化疗"
    assert treatment_in((Column("Study arm"),)) == "Study arm"
    assert treatment_in((Column("disarmed"), Column("tumour therapy response"))) == ""


def test_patients_are_counted_and_not_their_images():
    # 20 patients; value 1 was given to four of them, with five images each: 20 images, but 4 patients.
    image = {"image": (Source(("a.nii.gz",), "/", "nifti"),)}
    whose = [f"p{n}" for n in range(16)] + [f"q{n}" for n in range(4) for _ in range(5)]
    cases = [Case(str(n), patient, image) for n, patient in enumerate(whose)]
    given = np.array([0] * 16 + [1] * 20)
    assert "20 of 20 patients" in _refusal(cases, given, np.ones(36, bool), 2)
    spread = [Case(str(n), f"p{n}", image) for n in range(36)]
    assert _refusal(spread, given, np.ones(36, bool), 2) == ""


def test_a_network_that_sees_the_image_alone_says_nothing_of_a_treatment():
    options = {"treatment": "arm", "inputs": "image", "horizon_days": 730.0}
    plan = plan_for("prognose", facts=(Column("arm"),), task_options=options)
    assert effect_of(SimpleNamespace(plan=plan)) is None


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_the_caveat_stands_first_and_a_refusal_has_no_table(lang):
    metric = Metric(0.6, 0.5, 0.7, 60, "patient bootstrap, 2000")
    arms = (Arm(metric), Arm(metric, Metric(-0.05, -0.1, 0.0, 60, "patient bootstrap, 2000")))
    found = Effect("arm", 730.0, 80, ("a", "b"), (40, 40), 60, arms, arms)
    said = sentences(found, lang)
    assert {"en": "no ground to choose", "zh": "不可据此选择治疗"}[lang] in said[0]
    made = table(found, lang)
    assert made is not None
    assert [row[0] for row in made.rows] == ["a", "b"]
    assert "−0.050" in made.rows[1][3]
    refused = Effect("arm", 730.0, 80, ("a", "b"), (75, 5), 12, refused="12 of 80 patients …")
    assert table(refused, lang) is None
    assert "12" in sentences(refused, lang)[0]
