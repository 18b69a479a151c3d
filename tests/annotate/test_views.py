"""How far a model agrees with itself, on networks whose answers are known."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from lucency import model as models
from lucency.annotate.views import CONTRASTS, agreement_of, alike, box_f1, views_of
from lucency.boxes import Box
from lucency.calibration import Calibration
from lucency.case import Course, Prediction
from lucency.image import Image, diagonal_affine
from lucency.predict import Answered, answers, networks, prepare_case
from lucency.tasks import task_named
from tiny import masks, network_of, plan_for

GRID = diagonal_affine((1, 1, 1))


class Where(nn.Module):
    """Calls foreground what is brighter than a threshold; mirrored images are answered mirrored."""

    def __init__(self, threshold):
        super().__init__()
        self.threshold = nn.Parameter(torch.tensor(float(threshold)))

    def forward(self, x):
        bright = 20 * (x - self.threshold)
        return torch.cat([-bright, bright], dim=1)


@pytest.fixture
def answered(tmp_path):
    """A volume with a ball, prepared, and the plan of its model."""
    cohort = masks(tmp_path, n=1)
    plan = plan_for("segment", tta=("j", "i"))
    model = models.save(tmp_path / "m", plan, Calibration(), {"fold0": network_of(plan).state_dict()}, "# card")
    ready, _ = prepare_case(cohort.cases[0], model)
    return model, cohort.cases[0], ready


def standing(model, case, ready, net):
    task = task_named("segment")
    plain = Answered(case, ready, np.zeros(1), Prediction(case.id, "", value=0.0))
    views = views_of([net], plain, model, task)
    whole = replace(plain, output=np.mean(views, axis=0))
    return views, agreement_of(views, whole, model, task)


def test_views_are_the_image_its_contrasts_and_its_mirrors_brought_back(answered):
    model, case, ready = answered
    views, _ = standing(model, case, ready, Where(1.0))
    assert len(views) == 1 + len(CONTRASTS) + 2
    # What looks at single voxels answers the mirrored image with the mirrored answer.
    for mirrored in views[-2:]:
        np.testing.assert_allclose(mirrored, views[0], atol=1e-6)


def test_quality_falls_where_a_little_contrast_changes_the_answer(answered):
    model, case, ready = answered
    inside, outside = float(ready.array.max()), float(ready.array.min())
    sure = standing(model, case, ready, Where((inside + outside) / 2))[1]
    unsure = standing(model, case, ready, Where(np.percentile(ready.array, 97)))[1]
    assert sure > unsure + 0.1
    assert standing(model, case, ready, Where(1e6))[1] == 1.0


def test_two_members_that_disagree_lower_the_quality(answered, tmp_path):
    model, case, ready = answered
    task = task_named("segment")
    plain = Answered(case, ready, np.zeros(1), Prediction(case.id, "", value=0.0))
    middle = float(ready.array.max() + ready.array.min()) / 2
    one = views_of([Where(middle)], plain, model, task)
    both = views_of([Where(middle), Where(-1e6)], plain, model, task)
    assert len(both) == 2 * len(one)
    whole = replace(plain, output=one[0])
    assert agreement_of(both, whole, model, task) < agreement_of(one, whole, model, task) - 0.2


def test_a_view_of_nothing_new_repeats_the_prediction(answered):
    model, case, _ = answered
    nets = networks(model, task_named("segment"))
    (one,) = answers(model, [case])
    plan = replace(model.plan, tta=())
    first = views_of(nets, one, replace(model, plan=plan), task_named("segment"))[0]
    (again,) = answers(replace(model, plan=plan), [case])
    np.testing.assert_allclose(first, again.output, atol=1e-6)


def test_likeness_of_predictions_by_hand():
    def said(**payload):
        return Prediction("x", "", **payload)

    mask = np.zeros((1, 1, 2, 2), np.uint8)
    one, two = mask.copy(), mask.copy()
    one[..., 0, :], two[..., :, 0] = 1, 1
    a, b = (said(mask=Image(m, GRID, kind="labels")) for m in (one, two))
    # One voxel of two and two.
    assert alike(a, b) == pytest.approx(0.5)
    assert alike(said(mask=Image(mask, GRID, kind="labels")), said(mask=Image(mask, GRID, kind="labels"))) == 1
    assert alike(said(probabilities={"p": 0.9, "q": 0.1}), said(probabilities={"p": 0.6, "q": 0.4})) == pytest.approx(
        0.7
    )
    assert alike(said(value=50.0, lower=45.0, upper=55.0), said(value=48.0)) == pytest.approx(0.8)
    assert alike(said(value=50.0, doubt=0.3), said(value=48.0)) == pytest.approx(0.7)
    course = Course((1.0,), {"1": (0.5,)}, 0.5, 1.0)
    assert alike(said(course=course), said(course=replace(course, risk=0.25))) == pytest.approx(0.75)
    assert alike(said(neighbours=("a", "b")), said(neighbours=("a", "c"))) == pytest.approx(0.5)
    sure, faint = (Box("cell", (0, 0, 0), (1, 4, 4), s, told=s > 0.5) for s in (0.9, 0.2))
    assert alike(said(boxes=(sure, faint)), said(boxes=(sure,))) == 1
    assert box_f1([sure], []) == 0
    assert box_f1([], []) == 1
