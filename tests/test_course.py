"""Optimisers and shapes of the rate that a plan may name."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

import tiny
from lucency import record
from lucency.errors import UsageError
from lucency.events import Clock, Events
from lucency.plan import OPTIMISERS, SHAPES, Plan, Schedule
from lucency.planner import overridden
from lucency.tasks import task_named
from lucency.train import Work, train_member
from lucency.train.course import drops, optimiser_of, share_of_rate


def work_of(folder, schedule):
    cohort = tiny.stripes(folder)
    plan = tiny.plan_for(
        "classify", schedule=schedule, task_options={"mixup": 0.0, "smoothing": 0.0, "dropout": 0.0}, augmentation={}
    )
    store = tiny.stored(cohort, plan, folder)
    (folder / "training").mkdir(exist_ok=True)
    return Work(cohort, plan, task_named("classify"), store, folder / "training", Clock(now=lambda: 0.0), Events())


@pytest.mark.parametrize("optimiser", OPTIMISERS)
@pytest.mark.parametrize("shape", SHAPES)
def test_every_optimiser_learns_with_every_shape(tmp_path, optimiser, shape):
    rate = {"sgd": 0.05, "adam": 2e-2, "adamw": 2e-2}[optimiser]
    schedule = Schedule(50, rate, weight_decay=1e-4, warmup=5, ema=0.8, optimiser=optimiser, shape=shape)
    history = train_member(work_of(tmp_path, schedule), 0, math.inf).history
    assert history[-1]["loss"] < 0.6 * history[0]["loss"]


def test_a_training_with_momentum_resumes_where_it_stopped(tmp_path):
    """The plateau looks back at the curve and momentum at the last steps: both must come back from the checkpoint."""

    class Struck:
        def __init__(self, at):
            self.at, self.read = at, 0

        def __call__(self):
            self.read += 1
            if self.read == self.at:
                raise KeyboardInterrupt
            return 0.0

    schedule = Schedule(24, 0.3, warmup=2, optimiser="sgd", shape="plateau")
    for name in "ab":
        (tmp_path / name).mkdir()
    whole = train_member(work_of(tmp_path / "a", schedule), 0, math.inf)
    with pytest.raises(KeyboardInterrupt):
        train_member(replace(work_of(tmp_path / "b", schedule), clock=Clock(now=Struck(61))), 0, math.inf)
    resumed = train_member(work_of(tmp_path / "b", schedule), 0, math.inf)
    assert all(torch.equal(whole.weights[k], resumed.weights[k]) for k in whole.weights)


@pytest.mark.parametrize(
    ("shape", "progress", "share"),
    [
        ("cosine", 0.0, 1.0),
        ("cosine", 0.5, 0.5),
        ("cosine", 1.0, 0.0),
        ("step", 0.49, 1.0),
        ("step", 0.5, 0.1),
        ("step", 0.8, 0.01),
        ("constant", 0.99, 1.0),
    ],
)
def test_shapes_by_hand(shape, progress, share):
    assert share_of_rate(shape, progress, [1.0] * 20) == pytest.approx(share)


def test_a_plateau_lowers_the_rate_once_for_every_three_points_without_a_new_low():
    assert share_of_rate("plateau", 0.9, [1.0, 0.9, 0.8, 0.7]) == 1.0
    # 0.795 is no new low: it falls by less than a hundredth.
    assert drops([1.0, 0.8, 0.795, 0.8, 0.8]) == 1
    assert share_of_rate("plateau", 0.1, [0.5] + [0.5] * 6) == pytest.approx(0.3**2)


def test_decay_is_for_kernels_and_not_for_norms_and_biases():
    part = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Linear(2, 2))
    for name in OPTIMISERS:
        decayed, free = optimiser_of(part, Schedule(1, weight_decay=0.25, optimiser=name)).param_groups
        assert (decayed["weight_decay"], free["weight_decay"]) == (0.25, 0.0)
        assert [p.ndim for p in decayed["params"]] == [4, 2]
        assert [p.ndim for p in free["params"]] == [1] * 4


@pytest.mark.parametrize(("key", "text", "near"), [("optimiser", "sdg", "sgd"), ("shape", "cosin", "cosine")])
def test_a_misspelt_name_is_answered_with_the_nearest(key, text, near):
    with pytest.raises(UsageError, match=rf"schedule\.{key} = '{text}'.*did you mean '{near}'"):
        overridden(tiny.plan_for("classify"), {f"schedule.{key}": text})


def test_an_optimiser_brings_its_usual_rate_unless_that_is_set_too():
    draft = tiny.plan_for("classify")
    found = overridden(draft, {"schedule.optimiser": "sgd", "schedule.shape": "step"})
    assert (found.schedule.rate, found.schedule.weight_decay) == OPTIMISERS["sgd"]
    assert "optimiser = sgd" in found.reasons["schedule"]
    assert "shape = step" in found.reasons["schedule"]
    assert overridden(draft, {"schedule.optimiser": "sgd", "schedule.rate": "0.2"}).schedule.rate == 0.2


def test_a_plan_from_before_shapes_had_names_falls_along_a_cosine():
    payload = record.to_json(tiny.plan_for("classify"))
    del payload["schedule"]["shape"]
    assert record.from_json(Plan, payload).schedule.shape == "cosine"
