"""A walk with a trial in it: tried once, written down once, passed through afterwards, gone on with after a stop."""

import json
from dataclasses import replace

import numpy as np
import pytest

from lucency import trial
from lucency.events import read_events
from lucency.fit import Settings, fit
from lucency.walk import ROOMS

pytestmark = pytest.mark.journey

FEW = {"schedule.steps": "8", "folds": "[0]", "network_options.widths": "[4, 8]", "network_options.depth": "6"}


@pytest.fixture
def unlike(bench, monkeypatch):
    """Noise with a square in it, bright in 200 images and dark in 38; trials of a few steps."""
    for number in range(238):
        array = bench.rng.integers(0, 120, (16, 16), dtype=np.uint8) + 60
        j, i = bench.rng.integers(0, 10, 2)
        array[j : j + 6, i : i + 6] += 60 if number < 200 else -50 % 256
        bench.picture(f"{'bright' if number < 200 else 'dark'}/{number:03d}.png", array)
    # Three folds and four steps, however slow the machine.
    changed = {"FOLDS": (3,), "FEWEST_PASSES": 0, "MOST_PASSES": 0, "FEWEST_STEPS": 4, "TRIAL_SHARE": 1e3}
    for name, value in {**changed, "LEAST_EPOCHS": {False: -1e9}}.items():
        monkeypatch.setattr(f"lucency.planner.trial.{name}", value)
    monkeypatch.setattr(trial, "PATIENCE", 1e6)
    return bench


def walked(bench, upto="report", **more):
    return fit(bench.data, bench.out, settings=Settings(minutes=1, values={**FEW, **more}), upto=upto)


def kinds(bench):
    return [(e["room"], e["kind"]) for e in read_events(bench.out / "events.jsonl")]


def test_a_trial_is_told_in_plan_events_and_report_and_done_once(unlike):
    run = walked(unlike)
    told = trial.of_run(unlike.out)
    plan = run.plan
    assert [a.choice for a in told.arms] == ["plain", "balanced_mixup", "logit_adjustment"]
    assert plan.task_options["imbalance"] == told.kept
    assert told.why in plan.reasons["imbalance"]
    assert plan.forecast.seconds["trial"] == pytest.approx(told.trial.seconds)
    assert kinds(unlike).count(("plan", "tried")) == 1
    page = run.report.read_text(encoding="utf-8")
    assert "What was tried for imbalance" in page
    assert "trial of choices" in page
    before = {n: (unlike.out / n).read_bytes() for n in ("plan.json", "trial.json", "report/metrics.json")}
    walked(unlike)
    assert kinds(unlike)[-len(ROOMS) :] == [(room, "kept") for room in ROOMS]
    assert before == {n: (unlike.out / n).read_bytes() for n in before}
    assert json.loads(before["trial.json"])["kept"] == told.kept


def test_a_walk_stopped_in_its_trial_goes_on_with_the_same_plan(unlike, monkeypatch):
    real, seen = trial.member, []

    def stopping(work, fold, outputs, deadline):
        if len(seen) == 2:
            raise KeyboardInterrupt
        seen.append(fold)
        return real(work, fold, outputs, deadline)

    monkeypatch.setattr(trial, "member", stopping)
    with pytest.raises(KeyboardInterrupt):
        walked(unlike, upto="plan")
    assert not (unlike.out / "plan.json").exists()
    begun = json.loads((unlike.out / "trial" / "plan.json").read_text(encoding="utf-8"))
    monkeypatch.setattr(trial, "member", real)
    run = walked(unlike, upto="plan")
    kept = run.plan.task_options["imbalance"]
    assert begun["schedule"] == json.loads((unlike.out / "plan.json").read_text(encoding="utf-8"))["schedule"]
    assert not (unlike.out / "trial").exists()
    told = trial.of_run(unlike.out)
    assert told.kept == kept
    # Another plan forgets what was tried for this one.
    walked(unlike, upto="plan", imbalance="focal")
    assert trial.of_run(unlike.out) is None
    assert replace(run.plan).task_options["imbalance"] == "focal"
