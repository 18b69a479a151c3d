"""The benchmark of images without a label: who is judged, and what a gain is."""

import sys
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture
def benchmark(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    before = set(sys.modules)
    yield __import__("unlabelled")
    for name in set(sys.modules) - before:
        if Path(getattr(sys.modules[name], "__file__", None) or "").parent == BENCHMARKS:
            del sys.modules[name]


def test_all_but_a_few_labels_are_taken_away_and_who_is_judged_is_never_learned_from(benchmark, tmp_path):
    cohort = benchmark.cohort_of(benchmark.made(tmp_path), 3, 20)
    assert len(cohort.trainable) == 20
    assert {c.target for c in cohort.trainable} == set(cohort.classes)
    assert len(cohort.unlabelled) == 100
    assert all(c.target is None for c in cohort.cases if c.id in cohort.unlabelled)
    assert {c.id.split("-")[0] for c in cohort.locked_cases} == {"val"}
    assert not cohort.locked & {*cohort.folds, *cohort.unlabelled}
    assert set(cohort.folds.values()) == set(range(5))


def test_a_gain_is_the_mean_difference_of_the_areas(benchmark):
    truth = np.array([0, 0, 1, 1] * 10)
    wrong, right = (np.stack([1 - p, p], axis=1) for p in (np.tile([0.1, 0.7, 0.6, 0.9], 10), truth * 0.8 + 0.1))
    found = benchmark.against_scratch(truth, {"scratch": [wrong, wrong], "other": [wrong, right]})
    # Of the pairs of a 0 and a 1 one in four is the wrong way round: .75. The other way gains .25 in one of two draws.
    assert found["scratch"]["mean_auc"] == pytest.approx(0.75)
    assert found["other"]["gain"] == pytest.approx(0.125)
    assert found["scratch"]["gain_lower"] == found["scratch"]["gain_upper"] == 0
    assert found["other"]["gain_lower"] == pytest.approx(0, abs=1e-9)
    assert 0.2 < found["other"]["gain_upper"] < 0.45
