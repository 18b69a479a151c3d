"""Every task, with two modalities of which some cases lack one: planned, prepared, learned from, answered."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from samples import MACHINE, sample_of

from lucency import controls
from lucency.calibration import Calibration
from lucency.case import Case, Cohort, Source
from lucency.evaluate import ZERO_FILLING
from lucency.events import Clock, Events
from lucency.image import diagonal_affine
from lucency.plan import Plan
from lucency.planner import Budget, overridden
from lucency.planner import plan as make_plan
from lucency.predict import raw_outputs
from lucency.prepare import Prepared, prepare
from lucency.profile import profile
from lucency.tasks import Task, every_task
from lucency.train import Work
from lucency.train.loop import Loop

TASKS = list(every_task().values())
#: Cases without one or the other; the others have both.
LACKING = {0: "b", 3: "a", 5: "b"}


def doubled(cohort: Cohort, lacking: Mapping[int, str], more: Mapping[int, str] | None = None) -> Cohort:
    """The cohort with its image as two modalities; ``more`` gives cases a third."""

    def images(number: int, case: Case) -> dict[str, tuple[Source, ...]]:
        (sources,) = case.images.values()
        names = [m for m in ("a", "b") if lacking.get(number) != m] + [(more or {}).get(number, "")]
        return {m: tuple(replace(s, checksum=f"{m}/{s.checksum}") for s in sources) for m in names if m}

    cases = tuple(replace(c, images=images(n, c)) for n, c in enumerate(cohort.cases))
    return replace(cohort, cases=cases)


def planned(task: Task, cohort: Cohort, **settings: str) -> Plan:
    """What the planner makes of the cohort."""
    seen = profile(cohort, workers=1)
    return overridden(make_plan(cohort, seen, task.needs(seen), MACHINE, Budget(1.0)), settings)


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("flat", [True, False], ids=["flat", "volume"])
@pytest.mark.parametrize("task", TASKS, ids=lambda t: t.name)
def test_every_task_does_without_a_modality(task: Task, tmp_path: Path, flat: bool) -> None:
    whole = sample_of(task, tmp_path, (diagonal_affine((1, 1, 1)), flat))
    cohort = doubled(whole.cohort, LACKING)
    plan = planned(task, cohort)
    assert plan.spares
    assert "missing in training cases" in plan.reasons["modality_dropout"]
    assert (plan.modalities, plan.channels) == (("a", "b"), 2 * whole.plan.channels)
    assert ZERO_FILLING in controls.with_zero_filling(plan).controls
    plan = replace(plan, schedule=replace(plan.schedule, steps=2, warmup=1), folds=(0,), minutes=1.0)
    store = prepare(cohort, plan, task.target, tmp_path / "prepared")
    (tmp_path / "training").mkdir()
    work = Work(cohort, plan, task, store, tmp_path / "training", Clock(), Events())
    trained = Loop(work, 0, 1e9).run()
    net = task.build(plan)["net"]
    net.load_state_dict(dict(trained.weights))
    net.eval()
    for number in (0, 1, 3):
        case = cohort.cases[number]
        (raw,) = raw_outputs(net, [store.seen(case.id)], plan, dense=task.dense, boxes=task.boxes)
        assert np.isfinite(raw).all()
        found: Prepared = store.prepared(case.id)
        output = task.activate(torch.from_numpy(raw)[None].float(), Calibration())[0].numpy()
        assert task.decode(output, case, found, plan, Calibration()).case == case.id


@pytest.mark.parametrize("task", TASKS, ids=lambda t: t.name)
def test_with_every_modality_there_the_network_stays_as_it_was_until_it_is_asked(task: Task, tmp_path: Path) -> None:
    whole = sample_of(task, tmp_path, (diagonal_affine((1, 1, 1)), True))
    cohort = doubled(whole.cohort, {})
    plan = planned(task, cohort)
    assert not plan.spares
    assert not any("stems.stems" in n for n in task.build(plan)["net"].state_dict())
    asked = planned(task, cohort, modality_dropout="0.4")
    assert asked.spares
    assert asked.reasons["modality_dropout"] == "set by the user: modality_dropout = 0.4"
    assert any("stems.stems" in n for n in task.build(asked)["net"].state_dict())


def test_a_modality_of_a_case_or_two_is_passed_over_and_named(tmp_path: Path) -> None:
    task = next(t for t in TASKS if t.name == "classify")
    whole = sample_of(task, tmp_path, (diagonal_affine((1, 1, 1)), True))
    plan = planned(task, doubled(whole.cohort, {}, {2: "pet", 4: "pet"}))
    assert plan.modalities == ("a", "b")
    assert plan.reasons["modalities"].endswith("training cases have it: pet (2)")
