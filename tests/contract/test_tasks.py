"""The contract of a task, over the whole registry: the line from a case to a scored prediction and back."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from samples import OBLIQUE, Sample, judged_of, perfect_of, prepared_of, sample_of

from lucency import record
from lucency.calibration import Calibration
from lucency.case import Cohort, Source
from lucency.errors import UsageError
from lucency.image import diagonal_affine
from lucency.plan import DECISIONS
from lucency.read.formats import load
from lucency.tasks import Batch, Task, every_task, task_for, task_named
from lucency.text import known
from lucency.write.rows import joined

TASKS = list(every_task().values())


pytestmark = pytest.mark.usefixtures("seeded")


@pytest.fixture(params=["flat", "volume", "oblique"])
def geometry(request: pytest.FixtureRequest) -> tuple[np.ndarray, bool]:
    """(affine, flat)."""
    known: dict[str, tuple[np.ndarray, bool]] = {
        "flat": (diagonal_affine((1, 1, 1)), True),
        "volume": (diagonal_affine((1, 1, 1)), False),
        "oblique": (OBLIQUE, False),
    }
    return known[request.param]


@pytest.mark.parametrize("task", TASKS, ids=lambda t: t.name)
def test_perfect_output_scores_best_and_returns_to_the_patient(
    task: Task, tmp_path: Path, geometry: tuple[np.ndarray, bool]
) -> None:
    """Where nothing is resampled nothing is lost: every score is its best, every mask lies where its image lies."""
    sample = sample_of(task, tmp_path, geometry)
    judged = []
    for case in sample.cohort.cases:
        prediction = perfect_of(task, case, sample.plan)
        assert prediction.case == case.id
        if prediction.mask is not None:
            image = load(case.sources[0])
            assert prediction.mask.same_grid(image)
            assert isinstance(case.target, Source)
            assert np.array_equal(prediction.mask.array, load(case.target).array)
        assert prediction.doubt == pytest.approx(0, abs=1e-6)
        judged.append(judged_of(task, prediction, case, sample.plan))
    measures = task.measure(judged, sample.plan, np.random.default_rng(0))
    assert next(iter(measures.metrics)) == task.headline
    bounded = {n: m for n, m in measures.metrics.items() if "recalibration" not in m.method}
    assert {n: m.value for n, m in bounded.items()} == {n: pytest.approx(m.best, abs=1e-9) for n, m in bounded.items()}
    for found in measures.by_label.values():
        assert all(m.value == pytest.approx(m.best, abs=1e-9) for m in found.values())


@pytest.mark.parametrize("task", TASKS, ids=lambda t: t.name)
def test_a_wrong_output_scores_worse_than_a_right_one(task: Task, tmp_path: Path) -> None:
    sample = sample_of(task, tmp_path, (diagonal_affine((1, 1, 1)), True))
    right, wrong = [], []
    cases = sample.cohort.cases
    for case, other in zip(cases, (*cases[1:], cases[0]), strict=True):
        # What is right for the next case, whose target is another.
        target = task.target(other, sample.plan)
        assert target is not None
        right.append(judged_of(task, perfect_of(task, case, sample.plan), case, sample.plan))
        found = task.decode(
            task.perfect(target, sample.plan), case, prepared_of(case, sample.plan), sample.plan, Calibration()
        )
        wrong.append(judged_of(task, found, case, sample.plan))
    rng = np.random.default_rng(0)
    best, worst = (task.measure(j, sample.plan, rng).metrics[task.headline] for j in (right, wrong))
    assert best.best is not None
    assert abs(best.value - best.best) < abs(worst.value - best.best)
    difference, p, test = task.compare(right, wrong, sample.plan, rng)
    assert difference.value == pytest.approx(best.value - worst.value)
    assert p is None or p < 0.05
    assert test
    same, _, _ = task.compare(right, right, sample.plan, rng)
    assert same.value == 0


@pytest.mark.parametrize("task", TASKS, ids=lambda t: t.name)
def test_a_case_that_went_right_is_worth_more_than_one_that_went_wrong(task: Task, tmp_path: Path) -> None:
    """Pictures of the report begin with the worst, so a task must tell which that is."""
    sample = sample_of(task, tmp_path, (diagonal_affine((1, 1, 1)), True))
    right, wrong = [], []
    for case, other in zip(sample.cohort.cases, (*sample.cohort.cases[1:], sample.cohort.cases[0]), strict=True):
        target = task.target(other, sample.plan)
        assert target is not None
        output, prepared = task.perfect(target, sample.plan), prepared_of(case, sample.plan)
        found = task.decode(output, case, prepared, sample.plan, Calibration())
        right.append(task.worth(task.score(perfect_of(task, case, sample.plan), case, sample.plan)))
        wrong.append(task.worth(task.score(found, case, sample.plan)))
    assert np.isfinite(right).all()
    # Two neighbours may be alike; over all cases the right answers are worth more.
    assert all(a >= b for a, b in zip(right, wrong, strict=True) if np.isfinite(b))
    assert np.nanmean(wrong) < np.mean(right)


@pytest.mark.parametrize("task", TASKS, ids=lambda t: t.name)
def test_an_undecided_answer_is_worth_asking_a_person_and_a_certain_one_is_not(task: Task, tmp_path: Path) -> None:
    sample = sample_of(task, tmp_path, (diagonal_affine((1, 1, 1)), True))
    plan, certain, undecided = sample.plan, [], []
    for case, other in zip(sample.cohort.cases, (*sample.cohort.cases[1:], sample.cohort.cases[0]), strict=True):
        targets = [task.target(c, plan) for c in (case, other)]
        mine, theirs = (task.perfect(t, plan) for t in targets if t is not None)
        torn = (mine + theirs) / 2 if not task.boxes else np.where(np.arange(mine.shape[1]) == 0, mine / 2, mine)
        prepared = prepared_of(case, plan)
        found = task.decode(torn, case, prepared, plan, Calibration())
        views = [mine, theirs] if not task.boxes else [torn]
        certain.append(task.informative([mine, mine], perfect_of(task, case, plan), plan))
        undecided.append(task.informative(views, found, plan))
    assert certain == pytest.approx([0.0] * len(certain), abs=1e-3)
    assert all(0 <= v <= 1 for v in undecided)
    assert np.mean(undecided) > 0.05


@pytest.mark.parametrize("task", TASKS, ids=lambda t: t.name)
def test_predictions_leave_one_row_a_case_and_tables_that_join(
    task: Task, tmp_path: Path, geometry: tuple[np.ndarray, bool]
) -> None:
    sample = sample_of(task, tmp_path, geometry)
    cases = sample.cohort.cases[:3]
    left = [task.tables(perfect_of(task, case, sample.plan), sample.plan) for case in cases]
    for case, tables in zip(cases, left, strict=True):
        (row,) = tables["predictions"].rows
        assert row[0] == case.id
        assert all(t.columns[0] == "case" and all(r[0] == case.id for r in t.rows) for t in tables.values())
        assert all(len(r) == len(t.columns) for t in tables.values() for r in t.rows)
    for name in {name for tables in left for name in tables}:
        assert len(joined([tables[name] for tables in left], name).columns) > 1


@pytest.mark.parametrize("task", TASKS, ids=lambda t: t.name)
def test_what_the_report_says_of_a_task_stands_in_the_catalogue(task: Task, tmp_path: Path) -> None:
    sample = sample_of(task, tmp_path, (diagonal_affine((1, 1, 1)), True))
    judged = [judged_of(task, perfect_of(task, c, sample.plan), c, sample.plan) for c in sample.cohort.cases]
    measures = task.measure(judged, sample.plan, np.random.default_rng(0))
    assert all(known(f"{kind}.{task.name}") for kind in ("task", "learns", "answers"))
    unnamed = [m for m in measures.metrics if not known(f"metric.{m.partition('/')[0]}")]
    assert unnamed == []
    families = {name.partition("/")[0] for name in measures.curves}
    for figure in task.figures:
        assert figure.family in families
        assert all(known(f"figure.{figure.family}{end}") for end in ("", "_x", "_y"))


@pytest.mark.parametrize("task", TASKS, ids=lambda t: t.name)
def test_targets_lie_on_the_grid_that_the_network_sees(
    task: Task, tmp_path: Path, geometry: tuple[np.ndarray, bool]
) -> None:
    sample = sample_of(task, tmp_path, geometry)
    for case in sample.cohort.cases[:3]:
        target = task.target(case, sample.plan)
        shape = prepared_of(case, sample.plan).array.shape[1:]
        assert target is not None
        if task.boxes:
            assert np.shape(target)[1:] == (1 + 2 * sample.plan.dims,)
            continue
        assert np.shape(target) == (shape if task.dense else np.shape(target)[:1])


def batch_of(task: Task, sample: Sample) -> Batch:
    """Two cases as the loop hands them over."""
    images, targets = [], []
    for case in (sample.cohort.cases[0], sample.cohort.cases[1]):
        images.append(torch.from_numpy(prepared_of(case, sample.plan).array))
        learned = np.asarray(task.target(case, sample.plan))
        targets.append(torch.from_numpy(learned if learned.dtype.kind == "f" else learned.astype(np.int64)))
    picture, target = torch.stack(images), torch.stack(targets)
    if sample.plan.dims == 2:
        picture = picture[:, :, 0]
        target = target[:, 0] if task.dense else target
    return Batch(picture, target, sample.plan.task_options)


@pytest.mark.parametrize("task", TASKS, ids=lambda t: t.name)
def test_losses_name_a_part_and_reach_all_of_it(task: Task, tmp_path: Path, geometry: tuple[np.ndarray, bool]) -> None:
    sample = sample_of(task, tmp_path, geometry)
    parts = task.build(sample.plan)
    assert "net" in parts
    batch = batch_of(task, sample)
    seen = set()
    for name, loss in task.losses(parts, batch, torch.Generator().manual_seed(0)):
        assert loss.shape == ()
        assert torch.isfinite(loss)
        loss.backward()  # type: ignore[no-untyped-call]
        idle = [n for n, p in parts[name].named_parameters() if p.grad is None]
        assert idle == []
        seen.add(name)
    assert seen == set(parts)


@pytest.mark.parametrize("task", TASKS, ids=lambda t: t.name)
def test_losses_draw_from_the_generator_they_are_given(task: Task, tmp_path: Path) -> None:
    sample = sample_of(task, tmp_path, (diagonal_affine((1, 1, 1)), True))
    # Dropout draws from the global generator, which the loop seeds; what is left is the task's own chance.
    parts = {n: p.train() for n, p in task.build(sample.plan).items()}
    for part in parts.values():
        for layer in part.modules():
            if isinstance(layer, torch.nn.Dropout):
                layer.p = 0.0
    batch = batch_of(task, sample)
    found = []
    for _ in range(2):
        found.append([float(v.detach()) for _, v in task.losses(parts, batch, torch.Generator().manual_seed(3))])
    assert found[0] == found[1]


@pytest.mark.parametrize("task", TASKS, ids=lambda t: t.name)
def test_outside_training_the_network_gives_one_answer_that_can_be_averaged(
    task: Task, tmp_path: Path, geometry: tuple[np.ndarray, bool]
) -> None:
    sample = sample_of(task, tmp_path, geometry)
    net = task.build(sample.plan)["net"].eval()
    images = batch_of(task, sample).images
    with torch.inference_mode():
        raw = net(images)
    assert raw.shape[0] == 2
    if task.boxes:
        # Rows of boxes, as many for each image: score, class, low corner, high corner.
        assert raw.shape[2:] == (2 + 2 * sample.plan.dims,)
        assert torch.equal(task.activate(raw, Calibration()), raw)
        return
    assert raw.shape[2:] == (images.shape[2:] if task.dense else ())
    active = task.activate(raw, Calibration())
    assert len(active) == len(raw)
    assert active.shape[2:] == raw.shape[2:]
    if task.baselines == "neighbours":
        assert active.norm(dim=1).numpy() == pytest.approx(1, abs=1e-5)
        return
    if not sample.plan.classes and not sample.plan.labels:
        assert torch.isfinite(active).all()
        return
    assert float(active.min()) >= 0
    if task.baselines == "labels":
        # Labels do not exclude each other.
        assert float(active.max()) <= 1
        return
    assert active.sum(dim=1).numpy() == pytest.approx(1, abs=1e-5)
    # A higher temperature says less, and never something else.
    softer = task.activate(raw, Calibration(temperature=4.0))
    assert torch.equal(softer.argmax(dim=1), active.argmax(dim=1))
    assert float(softer.max(dim=1).values.mean()) < float(active.max(dim=1).values.mean())


@pytest.mark.parametrize("task", TASKS, ids=lambda t: t.name)
def test_calibration_is_learned_written_and_read_back(task: Task, tmp_path: Path) -> None:
    sample = sample_of(task, tmp_path, (diagonal_affine((1, 1, 1)), True))
    rng = np.random.default_rng(0)
    targets = []
    for case in sample.cohort.cases:
        target = task.target(case, sample.plan)
        assert target is not None
        targets.append(target if isinstance(target, np.ndarray) else float(target))
    raw = [6 * task.perfect(t, sample.plan) + rng.normal(0, 1, np.shape(task.perfect(t, sample.plan))) for t in targets]
    found = task.calibrate(raw, targets, sample.plan, np.random.default_rng(0))
    again = task.calibrate(raw, targets, sample.plan, np.random.default_rng(0))
    assert record.to_json(found) == record.to_json(again)
    record.write(tmp_path / "calibration.json", found)
    back = record.read(Calibration, tmp_path / "calibration.json")
    assert record.to_json(back) == record.to_json(found)
    case = sample.cohort.cases[0]
    one = np.asarray(task.activate(torch.from_numpy(raw[0])[None], back)[0])
    prediction = task.decode(one, case, prepared_of(case, sample.plan), sample.plan, back)
    assert prediction.case == case.id


@pytest.mark.parametrize("task", TASKS, ids=lambda t: t.name)
def test_needs_are_planned_for_with_reasons(task: Task, tmp_path: Path) -> None:
    sample = sample_of(task, tmp_path, (diagonal_affine((1, 1, 1)), False))
    assert sample.plan.task == task.name
    assert all(sample.plan.reasons[d] for d in DECISIONS)
    # A task that is second choice for its targets is asked for by name.
    assert task_for(sample.cohort) is task or task.suits(sample.cohort) < 1
    foreign = Cohort(tuple(replace(c, target=None) for c in sample.cohort.cases), {}, frozenset())
    assert task.suits(foreign) == 0


def test_a_name_nearly_right_is_refused_with_the_right_one() -> None:
    with pytest.raises(UsageError, match=r"No task 'clasify'.*did you mean 'classify'"):
        task_named("clasify")
