"""Held-out cases, predicted and scored one by one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from lucency.calibration import Calibration
from lucency.case import Case, Cohort
from lucency.events import Events
from lucency.model import Model
from lucency.plan import Plan
from lucency.predict import ensemble, networks
from lucency.prepare import Prepared, Store
from lucency.tasks import Judged, Task
from lucency.train import OutOfFold


@dataclass(frozen=True, eq=False)
class Grounds:
    """What evaluation stands on.

    Args:
        cohort: As training used it.
        plan: As training used it.
        task: The plan's task.
        store: Prepared cases.
        model: As delivered.
        outputs: Out-of-fold outputs.
        events: Progress.
        nan: Value for NaN voxels, or None.
        controls: Simpler network to what its own evaluation stands on.
    """

    cohort: Cohort
    plan: Plan
    task: Task
    store: Store
    model: Model
    outputs: OutOfFold
    events: Events
    nan: float | None = None
    controls: Mapping[str, "Grounds"] = field(default_factory=dict)


def judge_locked(grounds: Grounds, cases: Sequence[Case]) -> list[Judged]:
    """Score cases of the locked part with the model as it is delivered: all members, its own calibration."""
    nets = networks(grounds.model, grounds.task)
    arrays = (grounds.store.seen(c.id) for c in cases)
    judged = []
    for number, (case, output) in enumerate(
        zip(cases, ensemble(nets, arrays, grounds.model, grounds.task), strict=True), start=1
    ):
        judged.append(judged_case(grounds, case, output, grounds.model.calibration))
        _progress(grounds, number, len(cases), "locked")
    return judged


def judge_out_of_fold(grounds: Grounds, cases: Sequence[Case]) -> list[Judged]:
    """Score each case with the calibration that the other half of the patients gave."""
    learned = crossed(grounds, cases)
    judged = []
    for number, case in enumerate(cases, start=1):
        raw = torch.from_numpy(np.array(grounds.outputs.output(case.id), dtype=np.float32))
        output = grounds.task.activate(raw[None], learned[case.id])[0].numpy()
        judged.append(judged_case(grounds, case, output, learned[case.id]))
        _progress(grounds, number, len(cases), "out-of-fold")
    return judged


def crossed(grounds: Grounds, cases: Sequence[Case]) -> dict[str, Calibration]:
    """Return case id to the calibration that the out-of-fold outputs of the other half of the patients gave."""
    rng = np.random.default_rng(grounds.plan.seed)
    # As they come, not by name: pseudonyms differ from run to run, and the halves must not.
    patients = list(dict.fromkeys(c.patient for c in cases))
    half = dict(zip(patients, rng.permutation(len(patients)) % 2, strict=True))
    calibrations = {}
    for side in (0, 1):
        others = [c.id for c in cases if half[c.patient] != side]
        calibrations[side] = (
            grounds.task.calibrate(
                grounds.outputs.some(others),
                [target_of(grounds.store, grounds.task, i) for i in others],
                grounds.plan,
                rng,
            )
            if others
            else Calibration()
        )
    return {c.id: calibrations[int(half[c.patient])] for c in cases}


def judge_uncalibrated(grounds: Grounds, cases: Sequence[Case]) -> list[Judged]:
    """Score raw outputs as they are, to show what calibration changed."""
    raw = [torch.from_numpy(np.array(grounds.outputs.output(c.id), dtype=np.float32))[None] for c in cases]
    outputs = [grounds.task.activate(one, Calibration())[0].numpy() for one in raw]
    return [judged_case(grounds, case, output, Calibration()) for case, output in zip(cases, outputs, strict=True)]


def _progress(grounds: Grounds, number: int, total: int, part: str) -> None:
    if number % max(1, total // 10) == 0 or number == total:
        grounds.events.emit("evaluate", "progress", done=number, of=total, part=part)


def target_of(store: Store, task: Task, case: str) -> "np.ndarray | float":
    """Return what the case was to learn, as the store holds it."""
    return store.mask(case) if task.dense else store.target(case)


def judged_case(grounds: Grounds, case: Case, output: np.ndarray, calibration: Calibration) -> Judged:
    """Return one case with the scores of an output, already activated."""
    return judged_of(grounds.task, grounds.plan, grounds.store.prepared(case.id), case, output, calibration)


def judged_of(
    task: Task, plan: Plan, prepared: Prepared, case: Case, output: np.ndarray, calibration: Calibration
) -> Judged:
    """Return one case with the scores of an output.

    Args:
        task: The plan's task.
        plan: Under which the network was trained.
        prepared: The case on the plan's grid.
        case: With its truth.
        output: Activated, (L,) or (L, K, J, I).
        calibration: As it decides.
    """
    prediction = task.decode(output, case, prepared, plan, calibration)
    return Judged(
        case=case.id,
        patient=case.patient,
        truth=case.target if isinstance(case.target, str) and not plan.made else "",
        label=prediction.label,
        probabilities=prediction.probabilities or {},
        scores=task.score(prediction, case, plan),
        doubt=prediction.doubt,
        found=prediction.boxes or (),
        drawn=case.target if isinstance(case.target, tuple) else (),
    )
