"""Several labels an image: what is not known takes no part in learning, calibration and judging."""

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from lucency.calibration import Calibration
from lucency.case import Case, Findings, Source
from lucency.errors import DataError
from lucency.tasks import Batch, Judged, task_named
from tiny import plan_for

TASK = task_named("multilabel")
IMAGE = {"image": (Source(("a.npz",), "", "npz"),)}
PLAN = plan_for("multilabel", classes=("mass", "nodule"), task_options={"dropout": 0.0, "smoothing": 0.0})


def case(**known):
    return Case("a", "a", IMAGE, Findings(known))


def test_a_label_that_is_not_known_takes_no_part_in_the_loss():
    net = TASK.build(PLAN)["net"]
    images = torch.randn(3, 1, 16, 16)
    targets = torch.tensor([[1.0, -1.0], [0.0, 1.0], [-1.0, -1.0]])
    loss = next(TASK.losses({"net": net.eval()}, Batch(images, targets, PLAN.task_options), torch.Generator()))[1]
    p = torch.sigmoid(net(images)).detach().double()
    # Three known labels: there, not there, there.
    expected = -float((p[0, 0].log() + (1 - p[1, 0]).log() + p[1, 1].log()) / 3)
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-5)


def test_the_target_says_there_not_there_or_not_known():
    assert TASK.target(case(mass=True, nodule=False), PLAN).tolist() == [1, 0]
    assert TASK.target(case(nodule=True), PLAN).tolist() == [-1, 1]
    with pytest.raises(DataError, match="Label 'effusion'"):
        TASK.target(case(effusion=True), PLAN)


def test_each_label_has_its_own_temperature_and_threshold_from_its_known_cases():
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (600, 2))
    truth = (rng.random((600, 2)) < 1 / (1 + np.exp(-logits / [1.0, 4.0]))).astype(float)
    truth[::3, 0] = -1
    wrong = logits.copy()
    # Nonsense where the label is not known: it must not be looked at.
    wrong[::3, 0] = 50
    found = TASK.calibrate(list(wrong), list(truth), PLAN, rng)
    assert found.extra["temperatures"][0] == pytest.approx(1, rel=0.3)
    assert found.extra["temperatures"][1] == pytest.approx(4, rel=0.5)
    p = TASK.activate(torch.tensor([[0.0, 4.0]]), found).numpy()[0]
    assert p == pytest.approx([0.5, 1 / (1 + np.exp(-4 / found.extra["temperatures"][1]))])


def test_labels_are_those_above_their_thresholds():
    calibration = Calibration(extra={"temperatures": (1.0, 1.0), "cuts": (0.2, 0.9)})
    prediction = TASK.decode(np.array([0.3, 0.8]), case(mass=True), None, PLAN, calibration)
    assert prediction.label == "mass"
    assert prediction.probabilities == {"mass": pytest.approx(0.3), "nodule": pytest.approx(0.8)}
    both = TASK.decode(np.array([0.3, 0.95]), case(mass=True), None, PLAN, calibration)
    assert both.label == "mass|nodule"


def test_auc_is_over_the_cases_of_which_the_label_is_known():
    rng = np.random.default_rng(1)
    judged, truth, said = [], [], []
    for number in range(80):
        there, other = bool(rng.random() < 0.5), bool(rng.random() < 0.3)
        p = np.clip(np.array([there, other]) * 0.3 + rng.random(2) * 0.7, 0, 1)
        known = {"mass": there} | ({"nodule": other} if number % 4 else {})
        one = Case(f"{number}", f"{number}", IMAGE, Findings(known))
        prediction = TASK.decode(p, one, None, PLAN, Calibration())
        scores = TASK.score(prediction, one, PLAN)
        judged.append(Judged(one.id, one.patient, "", prediction.label, prediction.probabilities, scores))
        truth.append([there, other if number % 4 else np.nan])
        said.append(p)
    truth, said = np.array(truth, dtype=float), np.array(said)
    found = TASK.measure(judged, PLAN, rng)
    kept = ~np.isnan(truth[:, 1])
    each = [roc_auc_score(truth[:, 0], said[:, 0]), roc_auc_score(truth[kept, 1], said[kept, 1])]
    assert found.metrics["macro_auc"].value == pytest.approx(np.mean(each))
    assert found.by_label["nodule"]["auc"].value == pytest.approx(each[1])
    assert found.by_label["nodule"]["auc"].n == 60
    assert TASK.worth({"there/a": 1.0, "called/a": 1.0, "there/b": 0.0, "called/b": 1.0}) == 0.5
