"""One round of annotation: pre-annotations and a work list go out, corrected work comes back."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import numpy as np

from lucency.annotate.compared import Agreement, agreements, write_agreement, write_returned
from lucency.annotate.dataset import write_dataset
from lucency.annotate.exchange import FORMS, Exporter, Told, annotation_of
from lucency.annotate.handed import keep, open_again
from lucency.annotate.orders import STRATEGIES, Place
from lucency.annotate.returned import Work, read_work
from lucency.annotate.room import Look, learned, listed, look
from lucency.annotate.worklist import write_worklist
from lucency.case import Case, Prediction, Skipped
from lucency.errors import DataError, UsageError
from lucency.features import likeness
from lucency.model import Model
from lucency.predict import Answered
from lucency.read.formats import reason
from lucency.tasks import task_named
from lucency.write.dicom_object import Origin
from lucency.write.dicom_result import refuse
from lucency.write.outputs import Names, write_outputs

#: Folders of a round: pre-annotations, and the annotated cases as a data set.
PRE, DATASET = "pre", "annotated"


@dataclass(frozen=True)
class Wish:
    """What is asked of a round.

    Args:
        strategy: One of :data:`lucency.annotate.orders.STRATEGIES`.
        done: Folders with annotations; their cases are left out of the list.
        returned: A folder for each annotator; their cases are left out as well, compared, and made a data set.
        seed: Of the draws.
        nan: Value for NaN voxels; None refuses them.
        forms: In which the cases of the list are given out besides, see :data:`lucency.annotate.exchange.FORMS`.

    Raises:
        UsageError: No such strategy or form, two folders of annotators with one name, or one called as the
            pre-annotations are.
    """

    strategy: str = "mixed"
    done: tuple[Path, ...] = ()
    returned: tuple[Path, ...] = ()
    seed: int = 0
    nan: float | None = None
    forms: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.strategy not in STRATEGIES:
            expected = ", ".join(STRATEGIES)
            raise UsageError(f"No strategy {self.strategy!r}", expected=expected, where="--strategy")
        for form in self.forms:
            if form not in FORMS:
                raise UsageError(f"No format {form!r}", expected=", ".join(FORMS), where="--format")
        names = [folder.resolve().name for folder in self.returned]
        if PRE in names:
            raise UsageError(
                f"A folder of an annotator is called {PRE!r}, as the pre-annotations are",
                expected="a name for each annotator",
                where="--returned",
                remedy="copy it to a folder that is called as the annotator shall be called",
            )
        if len(set(names)) < len(names):
            raise UsageError(
                "Two folders of annotators have one name", expected="a name for each annotator", where="--returned"
            )


@dataclass(frozen=True)
class Round:
    """What came of a round.

    Args:
        listed: The work list in order.
        n_done: Cases that are annotated already.
        n_used: Cases of which an annotation came back and was used.
        agreement: Between the annotators and with the pre-annotation.
        left_out: What came back and could not be used, with the reason.
        skipped: Images that cannot be used.
        dataset: Name of the folder for ``fit``; empty where nothing came back.
    """

    listed: Sequence[tuple[Look, Place]]
    n_done: int = 0
    n_used: int = 0
    agreement: Sequence[Agreement] = ()
    left_out: tuple[Skipped, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    dataset: str = ""


def annotate(
    model: Model,
    cases: Sequence[Case],
    out: Path,
    wish: Wish | None = None,
    *,
    run: Path | None = None,
    paint: Callable[[Answered], Mapping[str, str]] | None = None,
    told: Callable[[int], None] = lambda n: None,
) -> Round:
    """Write pre-annotations and the work list; read, compare and collect what came back.

    Args:
        model: Loaded and thereby verified.
        cases: Images, with patients as far as they are known.
        out: Folder for ``pre/``, ``worklist.csv`` and, with returned work, ``returned.csv``, ``agreement.csv`` and the
            data set ``annotated/``.
        wish: What is asked.
        run: Folder of the model's run: the order keeps away from what the model was trained on; None does without.
        paint: As for :func:`lucency.annotate.room.look`.
        told: Called with the number of cases done so far.

    Raises:
        UsageError: What the model learned cannot be seen on an image, a folder with annotations is one that the round
            writes, or files of the last round were changed where they lie.
        DataError: No image can be used.
        OutputError: The disk cannot be written.
    """
    wish = wish or Wish()
    if wish.returned and any(len(series) > 1 for c in cases for series in c.images.values()):
        raise UsageError(
            "Cases of several visits cannot be made a data set of single images",
            expected="one image of each modality for a case",
            where="--returned",
            remedy="annotate with a model that was trained on single images",
        )
    _kept_apart(out, wish)
    returned, done = (
        [one for folder in folders for one in read_work(folder, cases, model)] for folders in (wish.returned, wish.done)
    )
    given_back = {case for one in (*returned, *done) for case in one.annotations}
    looks, lost = _given_out(model, cases, out, wish, given_back, paint, told)
    keep(out, (PRE, *wish.forms))
    usable = [one.case for one in looks]
    returned, done = ([_of_these(one, usable) for one in side] for side in (returned, done))
    annotated = {case for one in (*returned, *done) for case in one.annotations}
    trained = learned(run, model) if run is not None else []
    order = listed(looks, annotated, wish.strategy, np.random.default_rng(wish.seed), trained)
    write_worklist(out / "worklist.csv", order)
    if not returned:
        return Round(order, len(annotated), left_out=_left_out(done), skipped=tuple(lost))
    pre = read_work(out / PRE, [c for c in usable if c.id in annotated], model)[0]
    patients = {c.id: c.patient for c in usable}
    found = agreements([*returned, pre], patients, model.plan, np.random.default_rng(wish.seed))
    write_agreement(out / "agreement.csv", found)
    write_returned(out / "returned.csv", returned, pre, model.plan)
    n_used = write_dataset(out / DATASET, usable, [*returned, *done], model)
    dataset = DATASET if n_used else ""
    return Round(order, len(annotated), n_used, found, _left_out([*returned, *done]), tuple(lost), dataset)


def _kept_apart(out: Path, wish: Wish) -> None:
    """Refuse to take annotations from where this round writes: it would write over what people corrected."""
    written = [out.resolve() / name for name in (PRE, DATASET, *wish.forms)]
    for folder in (*wish.returned, *wish.done):
        place = folder.resolve()
        for own in written:
            if place == own or own in place.parents or place in own.parents:
                raise UsageError(
                    "Annotations lie where this round writes its own files",
                    expected="a folder apart from those under --out",
                    where=f"{folder.name} and {own.name}",
                    remedy="move them to a folder of their own, or choose another --out",
                )


def _of_these(work: Work, cases: Sequence[Case]) -> Work:
    known = {c.id for c in cases}
    return replace(work, annotations={id_: load for id_, load in work.annotations.items() if id_ in known})


def _left_out(work: Sequence[Work]) -> tuple[Skipped, ...]:
    return tuple(Skipped(f"{one.by}/{s.path}", s.reason) for one in work for s in one.left_out)


def _given_out(
    model: Model,
    cases: Sequence[Case],
    out: Path,
    wish: Wish,
    done: Collection[str],
    paint: Callable[[Answered], Mapping[str, str]] | None,
    told: Callable[[int], None],
) -> tuple[list[Look], list[Skipped]]:
    """Write the pre-annotations and return what is thought of the cases, and what cannot be used."""
    looks: list[Look] = []
    lost: list[Skipped] = []
    task, plan = task_named(model.plan.task), model.plan
    exporters = _exporters(model, cases, out, wish)
    open_again(out)

    def leave_out(case: Case, error: DataError) -> None:
        if len(cases) == 1:
            raise error
        lost.append(Skipped(error.where or case.sources[0].where, reason(error)))

    def predictions() -> Iterator[Prediction]:
        found = look(model, cases, nan=wish.nan, refused=leave_out, likeness=likeness(model), paint=paint)
        for prediction, one in found:
            looks.append(one)
            for exporter in exporters if one.case.id not in done else ():
                said = annotation_of(prediction, plan.labels)
                exporter.add(said, one.case, one.shown.get("finding_en", ""))
            told(len(looks) + len(lost))
            yield prediction
        if not looks:
            raise DataError(
                f"None of {len(lost)} images can be used; the first: {lost[0].reason.rstrip('.')}",
                expected="images that can be decoded and that the model was made for",
                where=lost[0].path,
            )

    names = Names(plan.classes, plan.labels, plan.dims == 2, tables=lambda found: task.tables(found, plan))
    write_outputs(predictions(), cases, names, out / PRE)
    for exporter in exporters:
        exporter.finish()
    return looks, lost


def _exporters(model: Model, cases: Sequence[Case], out: Path, wish: Wish) -> list[Exporter]:
    """Return what writes the other forms, refusing before anything is predicted what cannot be DICOM."""
    plan, task = model.plan, task_named(model.plan.task)
    if wish.forms and not (plan.labels or plan.classes):
        raise UsageError(
            "A number has no place in the files of annotation tools",
            expected="a model of masks, boxes or classes",
            where="--format",
            remedy="leave --format out and correct a copy of pre/predictions.csv",
        )
    if "dicom-seg" in wish.forms:
        refuse("dicom-seg", cases, plan.labels, plan.classes)
    labels = dict(plan.labels) if task.dense else dict(enumerate(plan.classes, start=1)) if task.boxes else {}
    made = Origin(model.digest, datetime.now(), f"Lucency {plan.task} {plan.network}"[:64])
    name = f"{plan.task} {plan.network} {model.digest[:12]}"
    told = Told(labels, () if task.dense or task.boxes else tuple(plan.classes), name, made, nan=wish.nan)
    return [Exporter(out / form, form, told) for form in dict.fromkeys(wish.forms)]
