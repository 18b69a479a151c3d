"""The contract of annotation, over the whole registry of tasks: out to people, back from them, and on to learning."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from samples import Sample, perfect_of, sample_of

from lucency import model as models
from lucency.annotate import Wish, annotate
from lucency.annotate.room import UNSEEN
from lucency.boxes import edges_of
from lucency.calibration import Calibration
from lucency.case import Case, Findings, Source
from lucency.image import diagonal_affine
from lucency.model import Model
from lucency.plan import Plan
from lucency.read import load, read
from lucency.tasks import Task, every_task
from lucency.write.outputs import Names, write_outputs

TASKS = list(every_task().values())
SEEN = [t for t in TASKS if t.baselines not in UNSEEN]


pytestmark = pytest.mark.usefixtures("seeded")


def model_of(task: Task, plan: Plan, folder: Path) -> Model:
    """A model that has learned nothing."""
    net = task.build(plan)["net"]
    models.save(folder, plan, Calibration(), {"fold0": net.state_dict()}, "# card")
    return models.load(folder)


def given(sample: Sample, n: int) -> tuple[list[Case], list[Case]]:
    """The first cases with their targets, and without, their headers read as at the door."""
    from lucency.read.formats import completed

    known = [
        replace(c, images={m: tuple(completed(s) for s in series) for m, series in c.images.items()})
        for c in sample.cohort.cases[:n]
    ]
    return known, [replace(c, target=None) for c in known]


def drawn_by(name: str, task: Task, cases: list[Case], plan: Plan, folder: Path) -> Path:
    """A folder in which somebody who is always right left their work, in the form in which it was given out."""
    names = Names(plan.classes, plan.labels, plan.dims == 2, tables=lambda found: task.tables(found, plan))
    write_outputs([perfect_of(task, c, plan) for c in cases], cases, names, folder / name)
    return folder / name


def same(truth: object, came: object) -> bool:
    """Whether a target is what it was."""
    if isinstance(truth, Source):
        assert isinstance(came, Source)
        return np.array_equal(load(truth).array, load(came).array) and load(truth).same_grid(load(came))
    if isinstance(truth, Findings):
        there = {name for name, value in truth.known.items() if value}
        found = {name for name, value in came.known.items() if value} if isinstance(came, Findings) else {came}
        return there == found
    if isinstance(truth, tuple):
        assert isinstance(came, tuple)
        return [b.label for b in truth] == [b.label for b in came] and np.allclose(
            edges_of(truth), edges_of(came), atol=1e-3
        )
    return truth == came


@pytest.mark.parametrize("flat", [True, False], ids=["flat", "volume"])
@pytest.mark.parametrize("task", SEEN, ids=lambda t: t.name)
def test_what_people_return_becomes_the_targets_of_a_data_set_that_can_be_read(
    task: Task, tmp_path: Path, flat: bool
) -> None:
    (tmp_path / "data").mkdir()
    sample = sample_of(task, tmp_path / "data", (diagonal_affine((1, 1, 1)), flat))
    model = model_of(task, sample.plan, tmp_path / "model")
    # A list of labels is known as one by how often its words come.
    known, open_ = given(sample, 6 if task.dense else 10)
    reader = drawn_by("reader", task, known, sample.plan, tmp_path)
    found = annotate(model, open_, tmp_path / "out", Wish(returned=(reader,)))
    assert [s.reason for s in found.left_out] == []
    assert (found.n_used, found.n_done, len(found.listed)) == (len(known), len(known), 0)
    cohort = read(tmp_path / "out" / found.dataset)
    came = {c.id: c.target for c in cohort.cases}
    assert sorted(came) == sorted(c.id for c in known)
    assert [c.id for c in known if not same(c.target, came[c.id])] == []
