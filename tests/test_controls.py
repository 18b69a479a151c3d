"""Networks that train beside the plan's own, and what becomes of them."""

from dataclasses import replace

import numpy as np
import pytest

import tiny
from lucency import controls
from lucency import model as models
from lucency.case import Case, Cohort, Source
from lucency.evaluate import Grounds
from lucency.evaluate.beside import compared
from lucency.evaluate.judge import judge_out_of_fold
from lucency.events import Clock, Events
from lucency.plan import Grid, Schedule, Timing
from lucency.planner.pace import EVALUATION_MIB
from lucency.tasks import task_named
from lucency.train import OutOfFold, Work, calibrate
from lucency.train.member import member

SIZE = (4, 12, 12)


def clips(folder, n=15):
    """Clips of two to five frames in which a stripe lies or stands; as many patients."""
    rng = np.random.default_rng(0)
    cases = []
    for number in range(n):
        wave = np.sin(np.arange(12) * 0.9)
        frame = wave[:, None] if number % 2 else wave[None]
        frames = frame[None] + rng.normal(0, 0.3, (2 + number % 4, 12, 12))
        np.savez(folder / f"c{number:02d}.npz", frames=(frames * 40 + 128).clip(0, 255).astype(np.uint8))
        source = Source((f"c{number:02d}.npz",), str(folder), "npz", "frames", checksum=f"{number}")
        cases.append(Case(f"{number:02d}", f"{number}", {"image": (source,)}, ("standing", "lying")[number % 2]))
    return Cohort(
        tuple(cases), {c.id: k // 2 % 3 for k, c in enumerate(cases)}, frozenset(), classes=("lying", "standing")
    )


def plan_for(**changes):
    return tiny.plan_for(
        "classify",
        dims=3,
        size=SIZE,
        grid=Grid("frames", SIZE),
        network="recurrent",
        network_options={"widths": (4.0, 8.0), "depth": 6, "hidden": 4},
        schedule=Schedule(4, warmup=1),
        augmentation={"rotate": 10.0, "noise": 0.1},
        controls={"mean over frames": 3, "3-D network": 2},
        **changes,
    )


@pytest.fixture
def work(tmp_path):
    (tmp_path / "data").mkdir()
    plan, cohort = plan_for(), clips(tmp_path / "data")
    store = tiny.stored(cohort, plan, tmp_path)
    return Work(cohort, plan, task_named("classify"), store, tmp_path / "training", Clock(), Events())


def test_a_control_keeps_what_its_network_knows_and_takes_its_own():
    plan = plan_for()
    mean = controls.plan_of(plan, "mean over frames")
    assert (mean.network, mean.network_options["cell"], mean.network_options["widths"]) == (
        "recurrent",
        "none",
        (4.0, 8.0),
    )
    assert (mean.schedule.steps, mean.controls) == (3, {})
    volume = controls.plan_of(plan, "3-D network")
    assert volume.network == "resnet"
    assert "hidden" not in volume.network_options
    assert (volume.grid, volume.seed, volume.folds) == (plan.grid, plan.seed, plan.folds)


def test_a_network_is_not_compared_with_itself():
    assert "mean over frames" in controls.names_of("recurrent", {})
    given = {"cell": "none", "pooling": "mean"}
    assert "mean over frames" not in controls.names_of("recurrent", given)
    assert "3-D network" in controls.names_of("recurrent", given)
    assert controls.names_of("resnet", {}) == ()


def test_steps_of_a_control_are_those_of_the_time_that_the_network_has(work, monkeypatch):
    monkeypatch.setattr(
        "lucency.train.loop.Loop.time_steps", lambda self, s: 0.2 if self.plan.network == "resnet" else 0.05
    )
    timing = Timing(step_s=0.1, predict_s=0, score_s=0, memory_mib=0, store_mib=0)
    # 4 steps of .1 s are 2 of .2 s, and 8 of .05 s.
    monkeypatch.setattr(controls, "peak_memory_mib", lambda: 3000.0)
    found = controls.timed(work, timing)
    assert found.controls == {"mean over frames": 8, "3-D network": 2}
    # The largest network decides, whichever it is.
    assert found.forecast.memory_mib == 3000.0 + EVALUATION_MIB


def test_controls_train_on_the_same_folds_and_stand_among_the_baselines(work, tmp_path):
    run = tmp_path / "run"
    work.folder.mkdir()
    (run / "out_of_fold").mkdir(parents=True)
    weights = {"fold0": member(work, 0, run / "out_of_fold", 1e9).weights}
    assert list(controls.waiting(work, run)) == [("mean over frames", 0), ("3-D network", 0)]
    for name, fold in list(controls.waiting(work, run)):
        assert controls.train(work, run, name, fold, 1e9) == ""
    assert list(controls.waiting(work, run)) == []
    outputs = OutOfFold(run / "out_of_fold")
    model = models.save(run / "model", work.plan, calibrate(work, outputs), weights, "# Model\n")
    grounds = Grounds(work.cohort, work.plan, work.task, work.store, model, outputs, Events())
    grounds = replace(grounds, controls=controls.grounds_of(grounds, run))
    held = list(work.cohort.fold(0))
    found = compared("out-of-fold", held, judge_out_of_fold(grounds, held), grounds)
    assert {"mean over frames", "3-D network", "majority class"} <= set(found)
    assert set(found["3-D network"].metrics) == set(found["majority class"].metrics)
    assert grounds.controls["mean over frames"].model.plan.network_options["cell"] == "none"


def test_clips_of_all_lengths_are_prepared_batched_and_predicted(work):
    shapes = {work.store.image(c.id).shape[1] for c in work.cohort.cases}
    assert shapes == {2, 3, 4}
    outputs = work.folder.parent / "held"
    work.folder.mkdir()
    member(work, 0, outputs, 1e9)
    assert {OutOfFold(outputs).output(c.id).shape for c in work.cohort.fold(0)} == {(2,)}
