"""What a model that was trained on real images makes of images that were made: the score that counts.

A made image may be near the real one in every voxel and still have lost what a doctor or a program looks for. Where the
data came with labels, a model learns them from real images of the wanted modality, on the patients that the translation
was trained on, and is then shown others: their real image, the one that was made for them, what it was made of, and
nothing.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from lucency import planner, record, statistics
from lucency.calibration import Calibration
from lucency.case import Case, Cohort, Source
from lucency.errors import ModelError
from lucency.evaluate import Downstream, Grounds, judged_of
from lucency.events import Events
from lucency.image import Image
from lucency.machine import measure
from lucency.model import load_weights, save_weights
from lucency.plan import Plan
from lucency.planner import Budget
from lucency.predict import ensemble, networks, raw_outputs, ready
from lucency.prepare import Prepared, placed_on, prepare, prepare_image
from lucency.profile import profile
from lucency.read import load
from lucency.statistics import Metric
from lucency.tasks import Judged, Task, task_for, task_named
from lucency.train import Work, train_member
from lucency.train.loop import Loop
from lucency.walk import LABELLED

#: In the run folder.
FOLDER = "downstream"

#: Share of the budget that the model has, and training patients from which on it is worth it.
SHARE, LEAST_PATIENTS = 0.2, 8

#: Passes over the images at the most: as for any model, more would learn them by heart.
MOST_PASSES = 200

#: Seconds of steps by which it is timed.
LOOK_S = 3.0

#: What held-out patients are shown, in the order of the report: all are compared with what was made.
REAL, MADE, GIVEN, NOTHING = "real", "made", "given", "nothing"


def cohort_of(cohort: Cohort, run: Path) -> Cohort | None:
    """Return the cases that have an image of the wanted modality and a label, in the folds of the translation.

    Args:
        cohort: Of the translation, settled.
        run: Its folder, which keeps the labels.

    Returns:
        None where the data came without labels, or with too few.
    """
    path = run / LABELLED
    if not cohort.made or not path.exists():
        return None
    labelled = record.read(Cohort, path)
    said = {c.id: c.target for c in labelled.cases if isinstance(c.target, str)}
    words = {m.lower() for c in cohort.cases for m in c.images}
    by_name = {w.lower() for w in labelled.classes} & words
    kept = []
    for case in cohort.cases:
        target = case.region if labelled.labels else None if by_name else said.get(case.id)
        if target is not None and fits(target, case.images.get(cohort.made)):
            kept.append(replace(case, target=target, region=None))
    with_image = [c for c in kept if cohort.made in c.images]
    trainable = [c for c in with_image if c.id in cohort.folds]
    if len({c.patient for c in trainable}) < LEAST_PATIENTS:
        return None
    masks = any(isinstance(c.target, Source) for c in kept)
    found = replace(
        cohort,
        cases=tuple(kept),
        folds={c.id: cohort.folds[c.id] for c in trainable},
        locked=frozenset(c.id for c in kept if c.id in cohort.locked),
        classes=() if masks else labelled.classes,
        labels=labelled.labels if masks else {},
        ignore=labelled.ignore,
        target_name=labelled.target_name,
        made="",
        unlabelled={},
    )
    return found if masks or len({c.target for c in trainable}) > 1 else None


def fits(target: object, wanted: Sequence[Source] | None) -> bool:
    """Tell whether a mask has the size of the image of the wanted modality, as far as their headers say.

    Args:
        target: A label, or the source of a mask.
        wanted: Sources of the wanted modality; None where the case lacks it.
    """
    if not isinstance(target, Source) or not wanted:
        return True
    sizes = [s.header.get("size") for s in (target, wanted[0])]
    return None in sizes or sizes[0] == sizes[1]


def seconds(cohort: Cohort, run: Path, minutes: float) -> float:
    """Return what is set aside for the model; 0 where there is none."""
    return 0.0 if cohort_of(cohort, run) is None else SHARE * minutes * 60


def train(work: Work, run: Path, deadline: float) -> None:
    """Train the model on real images of the wanted modality; what an earlier call finished is kept.

    Args:
        work: Of the translation.
        run: The run folder.
        deadline: Reading of the clock by which it must be done.
    """
    folder = run / FOLDER
    labelled = cohort_of(work.cohort, run)
    if labelled is None or (folder / "weights.safetensors").exists():
        return
    own = _only(labelled, work.cohort.made)
    task = task_for(own)
    plan = _planned(own, task, work.plan, work.cohort.made)
    fold = plan.folds[0]
    store = prepare(_trained_on(own, fold), plan, task.target, folder / "prepared")
    (folder / "training").mkdir(parents=True, exist_ok=True)
    mine = Work(_trained_on(own, fold), plan, task, store, folder / "training", work.clock, Events())
    if (folder / "plan.json").exists():
        plan = record.read(Plan, folder / "plan.json")
    else:
        step_s = Loop(mine, fold, math.inf).time_steps(LOOK_S)
        cases = len(mine.cohort.outside(fold))
        most = max(1, MOST_PASSES * math.ceil(cases / plan.batch))
        steps = int(min(most, max(1.0, (deadline - work.clock.elapsed()) / step_s)))
        schedule = replace(plan.schedule, steps=steps, warmup=max(1, min(plan.schedule.warmup, steps // 10)))
        plan = replace(plan, schedule=schedule)
        record.write(folder / "plan.json", plan)
    trained = train_member(replace(mine, plan=plan), fold, deadline)
    save_weights(folder / "weights.safetensors", trained.weights, {"steps": str(trained.steps)})
    work.events.emit("train", "downstream", task=plan.task, steps=trained.steps)


def _only(cohort: Cohort, made: str) -> Cohort:
    """Return the cases with their image of the wanted modality alone; those without it keep what they have."""
    cases = tuple(replace(c, images={made: c.images[made]}) if made in c.images else c for c in cohort.cases)
    return replace(cohort, cases=cases)


def _trained_on(cohort: Cohort, fold: int) -> Cohort:
    """Return the cohort without the locked part, which this training need not open, and without the other cases."""
    cases = tuple(c for c in cohort.cases if cohort.folds.get(c.id, fold) != fold)
    return replace(cohort, cases=cases, folds={c.id: cohort.folds[c.id] for c in cases}, locked=frozenset())


def _planned(cohort: Cohort, task: Task, translation: Plan, made: str) -> Plan:
    """Return the planner's own plan for the labels, with the fold of the translation held out."""
    shown = _trained_on(cohort, translation.folds[0])
    seen = profile(shown, workers=1)
    fill = {} if translation.nan is None else {"nan": translation.nan}
    needs = replace(task.needs(seen), controls=(), pretrain="none", tried={}, facts=False)
    draft = planner.plan(shown, seen, needs, measure(), Budget(SHARE * translation.minutes, translation.seed))
    options, reasons = task.told(shown, draft.task_options)
    return replace(
        draft,
        folds=translation.folds[:1],
        tta=(),
        controls={},
        facts=(),
        compile=False,
        task_options={**draft.task_options, **options, **fill},
        reasons={**draft.reasons, **reasons},
    )


def judged(grounds: Grounds, run: Path) -> Downstream | None:
    """Show the model held-out patients' images, real and made, and compare.

    Args:
        grounds: Of the translation.
        run: The run folder.

    Returns:
        None where no such model was trained, or no held-out patient has a label and something to translate.
    """
    folder = run / FOLDER
    labelled = cohort_of(grounds.cohort, run)
    if labelled is None or not (folder / "weights.safetensors").exists():
        return None
    plan = record.read(Plan, folder / "plan.json")
    fold = plan.folds[0]
    ids = {c.id for c in (*grounds.cohort.fold(fold), *grounds.cohort.locked_cases)}
    cases = [c for c in labelled.cases if c.id in ids and all(m in c.images for m in grounds.plan.inputs)]
    if not cases:
        return None
    shown = _Shown(grounds, plan, folder)
    arms = {name: [shown.judged(c, name) for c in cases] for name in (MADE, GIVEN, NOTHING)}
    paired = [n for n, c in enumerate(cases) if grounds.cohort.made in c.images]
    if paired:
        arms[REAL] = [shown.judged(cases[n], REAL) for n in paired]
    return compared(arms, paired, shown.task, shown.plan)


class _Shown:
    """The model and the translator, ready to be shown cases."""

    def __init__(self, grounds: Grounds, plan: Plan, folder: Path) -> None:
        self.grounds, self.plan = grounds, plan
        self.task = task_named(plan.task)
        self.net = ready(self.task, plan, load_weights(folder / "weights.safetensors"))
        self.translators = dict(zip(grounds.model.members, networks(grounds.model, grounds.task), strict=True))

    def judged(self, case: Case, arm: str) -> Judged:
        """Return a case as the model sees it, scored against its label."""
        image = self._image(case, arm)
        if isinstance(case.target, Source) and self.task.dense:
            # What was made lies on the grid of what was given; the mask may lie on that of the real image.
            image = placed_on(image, load(case.target), case.id)
        prepared = prepare_image([image], self.plan)
        if arm == NOTHING:
            prepared = Prepared(np.zeros_like(prepared.array), prepared.place, prepared.affine)
        (raw,) = raw_outputs(self.net, [prepared.array], self.plan, dense=self.task.dense)
        output = self.task.activate(torch.from_numpy(raw)[None].float(), Calibration())[0].numpy()
        return judged_of(self.task, self.plan, prepared, case, output, Calibration())

    def _image(self, case: Case, arm: str) -> Image:
        grounds = self.grounds
        if arm == REAL:
            return load(case.images[grounds.cohort.made][0], nan=grounds.nan)
        if arm != MADE:
            given = load(case.images[grounds.plan.inputs[0]][0], nan=grounds.nan)
            return given.with_array(given.array[:1])
        store, fold = grounds.store, grounds.cohort.folds.get(case.id)
        # Out of fold by the member that has not seen the case, as its own errors are.
        nets = [net for name, net in self.translators.items() if fold is None or name == f"fold{fold}"]
        (output,) = ensemble(nets, [store.seen(case.id)], grounds.model, grounds.task)
        made = grounds.task.decode(output, case, store.prepared(case.id), grounds.plan, grounds.model.calibration).image
        if made is None:
            raise ModelError("The translator made no image", where=case.id, remedy="report this as a bug")
        return made


def compared(arms: Mapping[str, Sequence[Judged]], paired: Sequence[int], task: Task, plan: Plan) -> Downstream:
    """Sum up every arm, and what was made against each of the others on the same patients.

    Args:
        arms: Name to the judged cases: all in the same order, of the real images only those that there are.
        paired: Numbers of the cases that have a real image.
        task: Of the model that was shown them.
        plan: Its plan.
    """
    made = arms[MADE]
    rng = np.random.default_rng(plan.seed + 3)
    metrics = {name: task.measure(judged, plan, rng).metrics[task.headline] for name, judged in arms.items()}
    differences: dict[str, Metric] = {}
    p_values: dict[str, float | None] = {}
    test = ""
    for name, judged in arms.items():
        if name != MADE:
            mine = [made[n] for n in paired] if name == REAL else made
            differences[name], p_values[name], test = task.compare(mine, judged, plan, rng)
    adjusted = statistics.holm(list(p_values.values()))
    return Downstream(
        task=task.name,
        headline=task.headline,
        names=plan.classes or tuple(plan.labels[v] for v in sorted(plan.labels)),
        steps=plan.schedule.steps,
        n_patients=len({j.patient for j in made}),
        arms=metrics,
        made_minus=differences,
        p_holm=dict(zip(p_values, adjusted, strict=True)),
        test=test,
    )
