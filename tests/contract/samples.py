"""Small cohorts with known truth, one for every kind of target that a case can have, for the tests of every task.

A task is given the first that suits it, so that a new task is tried without a change here, unless what it learns is of
a new kind: then a maker of such a cohort is added, with :func:`sample`.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from lucency.boxes import Box
from lucency.calibration import Calibration
from lucency.case import Case, Cohort, Findings, Outcome, Prediction, Source
from lucency.image import Image
from lucency.plan import Machine, Plan
from lucency.planner import Budget
from lucency.planner import plan as make_plan
from lucency.prepare import Prepared, images_of, prepare_image
from lucency.profile import profile
from lucency.tasks import Judged, Task
from lucency.write.nifti import write_nifti

MACHINE = Machine(cores=1, memory_mib=4000, gflops=50, gflops_fp32=50)
#: Oblique, flipped and with thick slices: nothing of a geometry may be lost on the way.
OBLIQUE = np.eye(4)
OBLIQUE[:3] = np.column_stack(
    [
        Rotation.from_euler("xyz", [12, -8, 5], degrees=True).as_matrix()[:, [2, 1, 0]] * [2.0, -1.1, 0.8],
        [40, -30, 7],
    ]
)


@dataclass(frozen=True)
class Sample:
    """A small cohort that a task can learn from, with the plan for it."""

    cohort: Cohort
    plan: Plan


#: Makes a cohort in a folder, on a grid of that affine; flat ones hold single images.
Maker = Callable[..., Cohort]
MAKERS: list[Maker] = []


def sample(make: Maker) -> Maker:
    """Let every task be offered this cohort."""
    MAKERS.append(make)
    return make


@sample
def masks(folder: Path, affine: np.ndarray, *, flat: bool) -> Cohort:
    """Ten images with two labelled boxes, each as thick as the grid can carry."""
    rng = np.random.default_rng(0)
    size = (1, 32, 32) if flat else (12, 32, 32)
    cases = []
    for number in range(10):
        labels = np.zeros(size, np.uint8)
        k = slice(None) if flat else slice(2, 9)
        j, i = rng.integers(2, 6, 2)
        labels[k, j : j + 12, i : i + 10] = 4
        labels[k, j + 12 : j + 22, i + 12 : i + 22] = 9
        image = Image((labels * 10 + rng.normal(0, 1, size))[None].astype(np.float32), affine)
        write_nifti(folder / f"{number}.nii.gz", image)
        write_nifti(folder / f"{number}m.nii.gz", Image(labels[None], affine, kind="labels"))
        source = Source((f"{number}.nii.gz",), str(folder), "nifti", checksum=str(number))
        target = Source((f"{number}m.nii.gz",), str(folder), "nifti", kind="labels", checksum=f"{number}m")
        cases.append(Case(f"{number}", f"{number}", {"image": (source,)}, target))
    return Cohort(tuple(cases), {c.id: k % 5 for k, c in enumerate(cases)}, frozenset(), labels={4: "four", 9: "nine"})


@sample
def classes(folder: Path, affine: np.ndarray, *, flat: bool) -> Cohort:
    """Thirty images of two classes."""
    rng = np.random.default_rng(0)
    size = (1, 32, 32) if flat else (6, 20, 20)
    cases = []
    for number in range(30):
        image = rng.normal(3.0 * (number % 2), 1, (1, *size)).astype(np.float32)
        write_nifti(folder / f"{number}.nii.gz", Image(image, affine))
        source = Source((f"{number}.nii.gz",), str(folder), "nifti", checksum=str(number))
        cases.append(Case(f"{number:02d}", f"{number}", {"image": (source,)}, "ab"[number % 2]))
    return Cohort(tuple(cases), {c.id: k // 2 % 5 for k, c in enumerate(cases)}, frozenset(), classes=("a", "b"))


@sample
def findings(folder: Path, affine: np.ndarray, *, flat: bool) -> Cohort:
    """Thirty images with up to two labels each; of some the second is not known."""
    cohort = classes(folder, affine, flat=flat)
    cases = []
    for case in cohort.cases:
        number = int(case.id)
        known = {"one": number % 2 == 1} | ({"two": number % 3 == 1} if number % 5 else {})
        cases.append(replace(case, target=Findings(known)))
    return replace(cohort, cases=tuple(cases), classes=("one", "two"))


@sample
def grades(folder: Path, affine: np.ndarray, *, flat: bool) -> Cohort:
    """Thirty images of three grades, the brighter the graver."""
    cohort = classes(folder, affine, flat=flat)
    names = ("mild", "moderate", "severe")
    cases = tuple(replace(c, target=names[int(c.id) % 3]) for c in cohort.cases)
    return replace(cohort, cases=cases, classes=names)


@sample
def numbers(folder: Path, affine: np.ndarray, *, flat: bool) -> Cohort:
    """Thirty images, each as bright as its number."""
    cohort = classes(folder, affine, flat=flat)
    cases = tuple(replace(c, target=0.5 + 2.0 * int(c.id)) for c in cohort.cases)
    return replace(cohort, cases=cases, classes=())


@sample
def outcomes(folder: Path, affine: np.ndarray, *, flat: bool) -> Cohort:
    """Fifty images with what became of the patients, and a clinical column: half have the event on one day."""
    rng = np.random.default_rng(0)
    size = (1, 32, 32) if flat else (6, 20, 20)
    cases = []
    for number in range(50):
        write_nifti(folder / f"{number}.nii.gz", Image(rng.normal(0, 1, (1, *size)).astype(np.float32), affine))
        source = Source((f"{number}.nii.gz",), str(folder), "nifti", checksum=str(number))
        end = Outcome(100.0, 1) if number % 2 else Outcome(900.0, 0)
        known = {"stage": float(number % 4)}
        cases.append(Case(f"{number:02d}", f"{number}", {"image": (source,)}, end, clinical=known))
    return Cohort(tuple(cases), {c.id: k // 2 % 5 for k, c in enumerate(cases)}, frozenset())


@sample
def boxed(folder: Path, affine: np.ndarray, *, flat: bool) -> Cohort:
    """Ten images, each with a bright box of one class and a dark one of another."""
    rng = np.random.default_rng(0)
    size = (1, 32, 32) if flat else (12, 32, 32)
    cases = []
    for number in range(10):
        image = rng.normal(0, 1, size)
        drawn = []
        for label, (j, i), sign in (("dark", rng.integers(1, 5, 2), -9), ("bright", rng.integers(15, 20, 2), 9)):
            k, k_end = (0, 1) if flat else (2, 9)
            image[k:k_end, j : j + 10, i : i + 8] += sign
            drawn.append(Box(label, (float(k), float(j), float(i)), (float(k_end), j + 10.0, i + 8.0)))
        write_nifti(folder / f"{number}.nii.gz", Image(image[None].astype(np.float32), affine))
        source = Source((f"{number}.nii.gz",), str(folder), "nifti", checksum=str(number))
        cases.append(Case(f"{number}", f"{number}", {"image": (source,)}, tuple(drawn)))
    folds = {c.id: k % 5 for k, c in enumerate(cases)}
    return Cohort(tuple(cases), folds, frozenset(), classes=("bright", "dark"))


def sample_of(task: Task, folder: Path, geometry: tuple[np.ndarray, bool]) -> Sample:
    """A cohort that suits the task, planned by the planner itself."""
    affine, flat = geometry
    for make in MAKERS:
        place = folder / make.__name__
        place.mkdir(exist_ok=True)
        cohort = make(place, affine, flat=flat)
        # Below a half a task would do it if nothing else could.
        if task.suits(cohort) >= 0.5:
            seen = profile(cohort, workers=1)
            return Sample(cohort, make_plan(cohort, seen, task.needs(seen), MACHINE, Budget(1.0)))
    pytest.fail(f"no sample suits task {task.name!r}: add one to samples.py")


def prepared_of(case: Case, plan: Plan) -> Prepared:
    """The case on the network's grid."""
    return prepare_image(images_of(case, plan, None), plan)


def judged_of(task: Task, prediction: Prediction, case: Case, plan: Plan) -> Judged:
    """As evaluation keeps it."""
    return Judged(
        case.id,
        case.patient,
        case.target if isinstance(case.target, str) else "",
        prediction.label,
        prediction.probabilities or {},
        task.score(prediction, case, plan),
        prediction.doubt,
        prediction.boxes or (),
        case.target if isinstance(case.target, tuple) else (),
    )


def perfect_of(task: Task, case: Case, plan: Plan) -> Prediction:
    """What a network that is right leads to."""
    target = task.target(case, plan)
    assert target is not None
    return task.decode(task.perfect(target, plan), case, prepared_of(case, plan), plan, Calibration())
