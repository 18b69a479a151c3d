"""Grades: which classes have an order, probabilities that keep it, and kappa."""

import numpy as np
import pytest
import torch
from sklearn.metrics import cohen_kappa_score

from lucency.calibration import Calibration
from lucency.case import Case, Cohort, Source
from lucency.metrics.agreement import cohen_kappa
from lucency.read.grades import order_of
from lucency.tasks import task_for, task_named
from tiny import plan_for

ORDINAL = task_named("ordinal")
IMAGE = {"image": (Source(("a.npz",), "", "npz"),)}
GRADES = ("mild", "moderate", "severe", "very severe")
PLAN = plan_for("ordinal", classes=GRADES, task_options={"dropout": 0.0})


@pytest.mark.parametrize(
    ("classes", "column", "expected"),
    [
        (["severe", "none", "mild"], "", ("none", "mild", "severe")),
        (["Grade 3", "grade 1", "Grade 2"], "", ("grade 1", "Grade 2", "Grade 3")),
        (["10", "2", "1"], "ISUP grade", ("1", "2", "10")),
        (["10", "2", "1"], "label", ()),
        (["II", "I", "IV"], "stage", ("I", "II", "IV")),
        (["重度", "轻度", "中度"], "", ("轻度", "中度", "重度")),
        (["covid", "pneumonia", "regular"], "stage", ()),
        (["low", "high"], "risk", ()),
        (["mild", "Mild", "severe"], "", ()),
    ],
)
def test_only_known_orders_count(classes: list[str], column: str, expected: tuple[str, ...]) -> None:
    assert order_of(classes, column) == expected


@pytest.mark.parametrize(("column", "name"), [("stage", "ordinal"), ("finding", "classify")])
def test_numbers_are_grades_where_the_column_says_so(column: str, name: str) -> None:
    cases = tuple(Case(f"{k}", f"{k}", IMAGE, "012"[k % 3]) for k in range(9))
    found = Cohort(cases, {}, frozenset(), classes=("0", "1", "2"), target_name=column)
    assert task_for(found).name == name


def test_outputs_are_log_probabilities_and_their_loss_is_cross_entropy() -> None:
    net = ORDINAL.build(PLAN)["net"].eval()
    with torch.no_grad():
        said = net(torch.randn(5, 1, 16, 16))
    assert said.shape == (5, 4)
    assert said.exp().sum(dim=1).numpy() == pytest.approx(1, abs=1e-5)
    # By hand for steps of log odds 0 and ln 3 and -30: 1/2; 1/2 × 1/4; then nearly all that is left.
    with torch.no_grad():
        for name, values in (("head.weight", 0.0), ("head.bias", [0.0, float(np.log(3.0)), -30.0])):
            net.get_parameter(name).copy_(torch.tensor(values))
        p = net(torch.randn(1, 1, 16, 16)).exp()[0]
    assert p.numpy() == pytest.approx([0.5, 0.125, 0.375, 0.0], abs=1e-6)


def test_the_label_is_the_median_grade() -> None:
    def label(*p: float) -> str:
        return ORDINAL.decode(np.array(p), Case("a", "a", IMAGE, "mild"), None, PLAN, Calibration()).label  # type: ignore[arg-type]

    # The likeliest grade is the first, but most of the probability lies above it.
    assert label(0.4, 0.3, 0.3, 0.0) == "moderate"
    assert label(0.6, 0.0, 0.0, 0.4) == "mild"
    assert label(0.0, 0.0, 0.0, 1.0) == "very severe"


def test_doubt_grows_with_the_distance_between_likely_grades() -> None:
    def doubt(*p: float) -> float:
        return ORDINAL.decode(np.array(p), Case("a", "a", IMAGE, "mild"), None, PLAN, Calibration()).doubt  # type: ignore[arg-type]

    assert doubt(1, 0, 0, 0) == pytest.approx(0)
    assert doubt(0.5, 0, 0, 0.5) == pytest.approx(1)
    assert doubt(0.5, 0.5, 0, 0) < doubt(0.5, 0, 0.5, 0)


def test_kappa_is_that_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 4, 200)
    label = np.clip(truth + rng.integers(-1, 2, 200), 0, 3)
    table = np.zeros((1, 4, 4))
    for t, found in zip(truth, label, strict=True):
        table[0, t, found] += 1
    assert cohen_kappa(table, "quadratic")[0] == pytest.approx(cohen_kappa_score(truth, label, weights="quadratic"))


def test_kappa_weighs_a_mistake_by_its_distance() -> None:
    near, far = np.eye(4) * 10, np.eye(4) * 10
    near[0, 1] += 4
    far[0, 3] += 4
    assert cohen_kappa(near[None], "quadratic")[0] > cohen_kappa(far[None], "quadratic")[0]
    assert np.isnan(cohen_kappa(np.array([[[5.0, 0], [0, 0]]]), "quadratic")[0])
