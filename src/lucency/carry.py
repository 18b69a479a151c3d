"""Weights carried from one run to another: which fit, and whether their model may be judged on these patients."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch

from lucency import model as models
from lucency import record
from lucency.case import Case, Cohort
from lucency.errors import LeakageError, UsageError
from lucency.inspect import Inspection, settle
from lucency.model import Model
from lucency.plan import Plan
from lucency.prepare import unlabelled
from lucency.tasks import Task
from lucency.train.course import fitting

#: Letters of a digest that a sentence shows.
SHOWN = 12


def begun(plan: Plan, start: str | None, cohort: Cohort, task: Task) -> Plan:
    """Return the plan with the digest of the model that training starts from, and with what is known of it.

    Patients cannot be compared across runs, since every run salts its pseudonyms; the checksums of images can.

    Args:
        plan: Otherwise final.
        start: Run or model folder; None leaves the plan as it is.
        cohort: Of this run.
        task: The plan's task.

    Raises:
        LeakageError: The model was trained on images of this run's locked part, and that was not allowed.
        UsageError: None of its weights fits.
        ModelError: No model, or one that was altered.
    """
    if start is None:
        return plan
    folder = Path(start).expanduser()
    if not folder.exists():
        raise UsageError("No such run", where="--from", remedy="check the path")
    model = models.load(folder)
    net = task.build(plan)["net"]
    carried = fitting(model.weights(model.members[0]), net)
    whole = [k for k, v in net.state_dict().items() if v.is_floating_point()]
    if not carried:
        raise UsageError(
            f"No weight of the model under --from fits network {plan.network!r}",
            expected=f"a network with parts of the same names and shapes; that model has {model.plan.network!r}",
            where="--from",
            remedy=f"add --set network={model.plan.network} and the same network_options and channels, or leave it out",
        )
    said = [
        f"{len(carried)} of {len(whole)} tensors are carried over from model {model.digest[:SHOWN]}, "
        "which has them in the same shape",
        *_known(folder, cohort, model.plan),
    ]
    if model.plan.start:
        said.append("that model was itself started from another, whose images are not known here")
    return replace(plan, start=model.digest, reasons={**plan.reasons, "start": "; ".join(said)})


def weights(plan: Plan, start: str | None) -> Mapping[str, torch.Tensor]:
    """Return the weights that the plan starts from, nothing for random ones.

    Raises:
        UsageError: The model under ``--from`` is not there, or not the one that the plan was made with.
    """
    if not plan.start:
        return {}
    found: Model | None = None
    if start is not None and Path(start).expanduser().exists():
        found = models.load(Path(start).expanduser())
    if found is None or found.digest != plan.start:
        raise UsageError(
            "The plan starts from a model that is not there",
            expected=f"digest {plan.start[:SHOWN]}",
            where="--from",
            remedy="name the run that the plan was made with, or make the plan anew",
        )
    return found.weights(found.members[0])


def _known(folder: Path, cohort: Cohort, plan: Plan) -> list[str]:
    """Say what can be told of the images that a model of such a plan was trained on; refuse those of the locked part.

    Raises:
        LeakageError: See :func:`begun`.
    """
    trained = _trained_on(folder, plan)
    if trained is None:
        return ["which images it was trained on is not known, for its run is not beside it"]
    judged = sum(bool(_sums(c) & trained) for c in cohort.locked_cases)
    if judged and not cohort.allow_leak:
        raise LeakageError(
            f"{judged} of {len(cohort.locked_cases)} images of the locked part were trained on by the run under --from",
            expected="a locked part that the starting weights have never seen",
            where="--from",
            remedy="leave --from out, or give other patients with --test; with --allow-leak the report says that "
            "its numbers are too good",
        )
    again = sum(bool(_sums(c) & trained) for c in cohort.trainable)
    said = [
        f"{judged} of {len(cohort.locked_cases)} locked images are among those it was trained on, told by checksum",
        "another image of the same patient, or the same in another format, would not be recognised",
    ]
    if again:
        said.append(
            f"it has seen {again} of the training images, so out-of-fold numbers and calibration are optimistic"
        )
    return said


def _trained_on(folder: Path, plan: Plan) -> frozenset[str] | None:
    """Return the checksums of all images that a run learned from, None where only a model is left of it.

    Those without a label count where the plan uses them: they may have their label by now, and be judged.
    """
    for place in (folder, folder.parent):
        path = place / "cohort.json"
        if path.exists() and (place / "model" / models.MANIFEST).exists():
            found = record.read(Cohort, path)
            inspected = place / "inspection.json"
            if inspected.exists():
                found = settle(found, record.read(Inspection, inspected))
            learned = (*found.trainable, *unlabelled(found, plan))
            return frozenset[str]().union(*(_sums(c) for c in learned))
    return None


def _sums(case: Case) -> frozenset[str]:
    return frozenset(s.checksum for sources in case.images.values() for s in sources if s.checksum)
