"""Generated images that ``fit`` trains on beside the real ones: what ``synthesize`` leaves of them, and who may use it.

They are a named arm of training only with evidence. Without it they are refused, unless the user says in so many words
that they shall be used all the same; plan, card and report then say so.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from lucency import record
from lucency.case import Cohort
from lucency.errors import DataError, UsageError
from lucency.plan import UNPROVEN, Plan
from lucency.prepare import Store
from lucency.train import Extra

#: In a run folder of ``synthesize``: its files, and among them what may be used of it.
FOLDER, FILE = "synthesis", "supplement.json"

#: The verdict that allows it.
ACCEPTED = "ACCEPT"

#: Letters of a digest that a sentence shows.
SHOWN = 12


@dataclass(frozen=True)
class Supplement:
    """What may be used: the arm that the verdict is about, ``RUN/synthesis/supplement.json``.

    Args:
        verdict: ``"ACCEPT"``, ``"REJECT"`` or ``"INCONCLUSIVE"``.
        reasons: Of the verdict.
        arm: Name of the arm.
        data: Digest of the cohort, its parts included.
        split: Digest of its folds and locked part; a generator has seen patients of all folds but one.
        plan: What images must agree in with a plan that uses them; see :func:`agreed`.
        frame: Longest side.
        share: Of the rows of a batch.
        until: Share of training after which only real images are seen.
        store: Folder of the images, below :data:`FOLDER`.
        ids: Fold held out to the ids that its member may see; their generator has not seen the fold's patients.
    """

    verdict: str
    reasons: tuple[str, ...]
    arm: str
    data: str
    split: str
    plan: str
    frame: int
    share: float
    until: float
    store: str = ""
    ids: Mapping[int, tuple[str, ...]] = field(default_factory=dict)


def agreed(plan: Plan) -> str:
    """Return the digest of what generated images and a plan must agree in."""
    state: list[object] = [
        plan.grid,
        plan.normalisation,
        plan.dims,
        plan.channels,
        list(plan.modalities),
        list(plan.classes),
    ]
    state += [dict(plan.labels), plan.ignore, plan.task]
    return hashlib.sha256(repr(record.to_json(state)).encode()).hexdigest()


def of_run(run: str) -> Supplement:
    """Return what a run of ``synthesize`` leaves.

    Raises:
        UsageError: Not such a run, or one that is not finished.
    """
    folder = Path(run).expanduser()
    if not folder.exists():
        raise UsageError("No such run", where="--synthetic", remedy="check the path")
    path = folder / FOLDER / FILE
    if not path.exists():
        raise UsageError(
            "No generated images that went through the gate",
            expected="the folder of a finished run of 'lucency synthesize'",
            where="--synthetic",
            remedy="finish it with 'lucency synthesize DATA --out RUN'",
        )
    return record.read(Supplement, path)


def usable(run: str, *, consent: bool) -> Supplement:
    """Return what a run of ``synthesize`` leaves, where it may be used.

    Args:
        run: Its folder.
        consent: The user has said that images without evidence shall be used.

    Raises:
        DataError: There is no evidence for the images, or there are none.
        UsageError: Not such a run, or one that is not finished.
    """
    found = of_run(run)
    if not found.ids:
        raise DataError(
            f"No generated image to use; the gate's verdict was {found.verdict}",
            where="--synthetic",
            remedy="leave --synthetic out; report/synthesis.html of that run says why. For research, 'lucency "
            "synthesize RUN --set whole=yes' goes through all stages and leaves images",
        )
    if found.verdict != ACCEPTED and not consent:
        raise DataError(
            f"No evidence that these generated images help: the gate's verdict was {found.verdict} "
            f"({'; '.join(found.reasons)})",
            where="--synthetic",
            remedy="leave --synthetic out; with --force they are used all the same, plan, card and report say so, and "
            "what an earlier run left in the output folder is removed",
        )
    return found


def frame_of(run: str | None) -> int:
    """Return the longest side of a run's images; 0 without a run."""
    return of_run(run).frame if run is not None else 0


def digest_of(run: str | None) -> str:
    """Return the digest of a run's images and of how they are used; "" without a run."""
    return hashlib.sha256(repr(record.to_json(of_run(run))).encode()).hexdigest() if run is not None else ""


def begun(plan: Plan, run: str | None, cohort: Cohort, *, consent: bool) -> Plan:
    """Return the plan with the digest of the images that it uses, and with the verdict on them.

    Args:
        plan: Otherwise final.
        run: Of ``synthesize``; None leaves the plan as it is.
        cohort: Of this run.
        consent: The user has said that images without evidence shall be used.

    Raises:
        DataError: There is no evidence for the images, or there are none for a fold that is trained.
        UsageError: They belong to other data, or to another grid.
    """
    if run is None:
        return plan
    found = usable(run, consent=consent)
    if found.data != cohort.digest:
        raise UsageError(
            "The generated images belong to other data, or to other parts of these",
            expected="the DATA, target and patients that 'lucency synthesize' was given",
            where="--synthetic",
            remedy="run 'lucency synthesize' on these data",
        )
    if found.split != cohort.split:
        raise UsageError(
            "The generated images belong to other folds of these data: their generators have seen patients whom this "
            "model would be judged by",
            expected="patients told apart, and images left out, as 'lucency synthesize' did",
            where="--synthetic",
            remedy="give the same --patient and the same settings, or run 'lucency synthesize' with these",
        )
    if found.plan != agreed(plan):
        raise UsageError(
            "The generated images lie on another grid than this plan's",
            expected="the grid, normalisation and classes that they were made on: the evidence holds there only",
            where="--synthetic",
            remedy="leave out the settings that change them",
        )
    lacking = [f for f in plan.folds if not found.ids.get(f)]
    if lacking:
        raise DataError(
            f"No generated image for fold {', '.join(map(str, lacking))}", where="--synthetic", remedy="set fewer folds"
        )
    parts = f"{100 * found.share:.0f} % of each batch until {100 * found.until:.0f} % of training"
    said = (
        f"arm {found.arm}, {parts}, each fold's images by a generator that has not seen its patients; the gate's "
        f"verdict was {found.verdict}: {'; '.join(found.reasons)}"
    )
    if found.verdict != ACCEPTED:
        said = f"{UNPROVEN}, on the user's word (--force): {said}"
    # The evidence is for images alone: no pretext, and no images without a label beside them.
    own = replace(plan, synthetic=digest_of(run), reasons={**plan.reasons, "synthetic": said})
    return replace(own, pretrain="none", pretrain_steps=0, pretrain_share=0.0, unlabelled="none")


def images(plan: Plan, run: str | None) -> Extra | None:
    """Return the images that a plan uses, None for a plan that uses none.

    Raises:
        UsageError: The run is not the one that the plan was made with.
        DataError: Its images are gone.
    """
    if not plan.synthetic:
        return None
    if run is None or digest_of(run) != plan.synthetic:
        raise UsageError(
            "The plan uses generated images that are not there",
            expected=f"digest {plan.synthetic[:SHOWN]}",
            where="--synthetic",
            remedy="name the run that the plan was made with, or make the plan anew",
        )
    found = of_run(run)
    store = Store(Path(run).expanduser() / FOLDER / found.store)
    if not {i for ids in found.ids.values() for i in ids} <= set(store.entries):
        raise DataError(
            "Generated images are missing from the run", where="--synthetic", remedy="run 'lucency synthesize' again"
        )
    return Extra(store, found.ids, found.share, found.until, plan.synthetic)
