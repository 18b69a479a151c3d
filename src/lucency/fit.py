"""Fit and predict: from a folder of images to a run folder with model and report, resumable at every door."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lucency import record
from lucency.case import Case, Prediction, Skipped
from lucency.errors import DataError, LucencyError, OutputError, UsageError
from lucency.events import Events, Listener, read_events
from lucency.plan import Plan
from lucency.read.formats import reason
from lucency.read.layout import is_lone_table
from lucency.text import sentence
from lucency.walk import ROOMS, Passport, Settings, Walk, inputs_as_trained, locked
from lucency.write.dicom_object import Origin
from lucency.write.dicom_result import encoded
from lucency.write.outputs import Names, write_outputs
from lucency.write.table import write_table

if TYPE_CHECKING:
    from lucency.model import Model

__all__ = ["LEFT", "ROOMS", "Passport", "Run", "Settings", "events_of", "fit", "forget", "predict_folder"]


def fit(
    data: str | Path,
    out: str | Path | None = None,
    *,
    settings: Settings | None = None,
    upto: str = "report",
    listeners: Sequence[Listener] = (),
) -> "Run":
    """Walk from a folder of images to a run with model and report, or go on where an earlier walk stopped.

    Args:
        data: Folder or file in any layout, or a run folder to go on with.
        out: Run folder; None is ``runs/<name of data>`` in the current folder.
        settings: What the user says.
        upto: Last room, one of :data:`ROOMS`.
        listeners: Called with every event.

    Raises:
        UsageError: The command is wrong.
        DataError: The data cannot support a model; the message says why.
        LucencyError: Disk full, memory short, another process at work in the folder.
    """
    if upto not in ROOMS:
        raise UsageError(f"No room {upto!r}", expected=", ".join(ROOMS))
    folder = folder_of(data, out)
    place = Path(data).expanduser().absolute()
    known = place / "run.json"
    if known.exists():
        passport = record.read(Passport, known)
        settings = settings or passport.settings
        place = Path(passport.data)
    if not place.exists():
        raise UsageError("No such file or folder", where=place.name, remedy="check the path")
    run = Run(folder)
    settings = settings or Settings()
    check_synthetic(settings, folder)
    if is_lone_table(place):
        run.judge(place, settings)
        return run
    run.walk(place, settings, upto, listeners)
    return run


def folder_of(data: str | Path, out: str | Path | None) -> Path:
    """Return the run folder of a walk, absolute.

    Args:
        data: Data, or a run folder to go on with.
        out: As given, or None.

    Raises:
        UsageError: A run is to go on in another folder.
    """
    place = Path(data).expanduser().absolute()
    given = None if out is None else Path(out).expanduser().absolute()
    if not (place / "run.json").exists():
        return given or Path.cwd() / "runs" / _stem(place)
    if given not in (None, place):
        raise UsageError("A run goes on in its own folder", where="--out", remedy="leave --out out")
    return place


def check_synthetic(settings: Settings, folder: Path) -> None:
    """Refuse generated images that may not be used, before anything is read or removed.

    Args:
        settings: What the user says.
        folder: The run folder.

    Raises:
        DataError: There is no evidence for the images, or there are none.
        UsageError: No finished run of ``synthesize``, or the run folder itself.
    """
    if settings.synthetic is None:
        return
    from lucency import supplement  # noqa: PLC0415 - torch takes seconds; walks without generated images do without

    if Path(settings.synthetic).expanduser().absolute() == folder:
        raise UsageError(
            "The run with the generated images cannot be the run folder as well",
            expected="a folder of its own for the model",
            where="--out",
            remedy="choose another --out",
        )
    supplement.usable(settings.synthetic, consent=settings.consent)


#: What a walk leaves in its folder and :func:`forget` removes; the passport, the ledger and the events stay.
LEFT = (
    *(
        "rooms.json",
        "cohort.json",
        "inspection.json",
        "skipped.csv",
        "cases.csv",
        "profile.json",
        "machine.json",
        "plan.json",
        "trial.json",
    ),
    *("evaluation.json", "prepared", "trial", "training", "out_of_fold", "controls", "model", "report"),
    *("labelled.json", "downstream", "synthesis"),
)


def forget(run: str | Path, data: str | Path) -> None:
    """Remove what an earlier walk left in a run folder, so that the next walk starts anew.

    The ledger stays: that a locked part has been looked at is not forgotten. A folder that is no run is left alone.

    Args:
        run: Run folder; it need not exist.
        data: What the next walk reads. When it is another data set, the salt of the pseudonyms is made anew.

    Raises:
        LucencyError: Another process works in the folder.
        OutputError: A file cannot be removed.
    """
    folder, place = Path(run).expanduser().absolute(), Path(data).expanduser().absolute()
    passport = folder / "run.json"
    if not passport.exists():
        return
    other = place != folder and record.read(Passport, passport).data != str(place)
    with locked(folder):
        try:
            for name in (*LEFT, *(("run.json",) if other else ())):
                path = folder / name
                if path.is_dir():
                    shutil.rmtree(path)
                else:
                    path.unlink(missing_ok=True)
        except OSError as error:
            raise OutputError(f"Cannot remove ({error.strerror})", where=Path(str(error.filename)).name) from error


def _stem(path: Path) -> str:
    return path.name.split(".")[0] or "data"


class Run:
    """A run folder: what the rooms left, and what can be done with it.

    Args:
        folder: The run folder; it need not exist yet.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    @property
    def report(self) -> Path:
        """The report's page."""
        return self.folder / "report" / "index.html"

    @property
    def metrics(self) -> dict[str, Any]:
        """What ``report/metrics.json`` holds."""
        return record.read_object(self.folder / "report" / "metrics.json")

    @property
    def plan(self) -> Plan:
        """The plan."""
        return record.read(Plan, self.folder / "plan.json")

    @property
    def model(self) -> "Model":
        """The trained model, verified on every call."""
        from lucency.model import load  # noqa: PLC0415 - as in predict_folder

        return load(self.folder / "model")

    def predict(
        self,
        src: str | Path,
        out: str | Path | None = None,
        *,
        format: str = "auto",
        encoding: Mapping[str, str] | None = None,
        nan: float | None = None,
        listeners: Sequence[Listener] = (),
    ) -> list[Prediction]:
        """Predict every image in ``src``; see :func:`predict_folder`."""
        return predict_folder(self.folder, src, out, format=format, encoding=encoding, nan=nan, listeners=listeners)

    def _repr_html_(self) -> str:
        try:
            found = self.metrics
        except LucencyError:
            return f"<p>Lucency run <code>{self.folder.name}</code>, not finished.</p>"
        rows = "".join(
            f"<tr><td>{name}</td><td>{_shown(m.get('value'))}</td><td>{_shown(m.get('lower'))} – "
            f"{_shown(m.get('upper'))}</td></tr>"
            for name, m in found["metrics"].items()
        )
        return (
            f"<p>Lucency run <code>{self.folder.name}</code>, {found['n_patients']} patients in the locked part. "
            f"Research use only.</p><table><tr><th>metric</th><th>value</th><th>95 % interval</th></tr>{rows}</table>"
        )

    def judge(self, table: Path, settings: Settings) -> None:
        """Judge simple models on a table of features beside which there are no images."""
        from lucency.tabular import fit_table  # noqa: PLC0415 - as in predict_folder

        self._make()
        with locked(self.folder):
            fit_table(
                table,
                self.folder,
                target=settings.target,
                patient=settings.patient,
                seed=settings.seed,
                lang=settings.lang,
            )

    # --- the walk ---------------------------------------------------------------------------------------------------

    def walk(self, data: Path, settings: Settings, upto: str, listeners: Sequence[Listener]) -> None:
        """Go from room to room up to ``upto``; rooms whose inputs have not changed are passed through."""
        self._make()
        with locked(self.folder):
            looking = ROOMS.index(upto) < ROOMS.index("profile")
            walk = Walk(self.folder, data, settings, listeners, _later_rooms, looking=looking)
            for room in ROOMS[: ROOMS.index(upto) + 1]:
                walk.enter(room)

    def _make(self) -> None:
        """Make the run folder."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            (self.folder / "events.jsonl").touch()
        except OSError as error:
            raise OutputError(
                f"Cannot write ({error.strerror})", where=self.folder.name, remedy="choose a writable folder with --out"
            ) from error


def _shown(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _later_rooms(walk: Walk) -> object:
    from lucency.learn import Learning  # noqa: PLC0415 - torch takes seconds; the first rooms do without

    return Learning(walk)


def predict_folder(  # noqa: PLR0913 - one parameter for each option of the interface
    run: str | Path,
    src: str | Path,
    out: str | Path | None = None,
    *,
    format: str = "auto",
    encoding: Mapping[str, str] | None = None,
    nan: float | None = None,
    missing_slices: str = "refuse",
    listeners: Sequence[Listener] = (),
) -> list[Prediction]:
    """Predict every image in ``src`` with the model of a run.

    What could not be read, or was left out or filled in, stands in ``OUT/skipped.csv`` and ``OUT/notes.txt``. With
    ``out`` an image that turns out to be unusable when it is decoded is left out in the same way; without, there is
    no such list, and it is refused.

    Args:
        run: Run folder or model folder.
        src: Image, folder, DICOM tree or npz container.
        out: Folder for ``predictions.csv`` and masks; None writes nothing.
        format: ``"auto"``, ``"nifti"``, ``"png"``, ``"dicom-seg"``, ``"dicom-sr"``, ``"dicom-sc"`` or ``"csv"``.
        encoding: Of DICOM results: ``{"seg": "labelmap"}``, ``{"sr": "enhanced"}``.
        nan: Value for NaN voxels; None refuses them.
        missing_slices: As in :class:`lucency.read.ReadOptions`.
        listeners: Called with progress events.

    Returns:
        One prediction per image, in the order of the case ids. With ``out`` the masks are on the disk and left out
        of the list, so that a long list fits into memory.

    Raises:
        ModelError: The model was altered.
        DataError: No image, or none that can be decoded and that the model was made for.
    """
    from lucency import model as models  # noqa: PLC0415 - torch takes seconds; other uses of this module do without
    from lucency.features import likeness  # noqa: PLC0415
    from lucency.predict import predict, unlike_training  # noqa: PLC0415
    from lucency.tasks import task_named  # noqa: PLC0415

    model = models.load(Path(run).expanduser())
    cases = inputs_as_trained(run, model.plan, src, missing_slices=missing_slices)
    if not cases:
        raise DataError("No image to predict on", where=Path(src).name, remedy="give a folder with images")
    events = Events(None, *listeners)
    lost: list[Skipped] = []

    def leave_out(case: Case, error: DataError) -> None:
        if len(cases) == 1:
            raise error
        lost.append(Skipped(error.where or case.sources[0].where, reason(error)))

    def counted() -> Iterator[Prediction]:
        refused = None if out is None else leave_out
        found = predict(model, cases, nan=nan, refused=refused, likeness=likeness(model))
        for number, one in enumerate(found, start=1):
            events.emit("predict", "progress", done=number + len(lost), of=len(cases))
            yield one
        if len(lost) == len(cases):
            raise _none_usable(lost)

    if out is None:
        return list(counted())
    task, plan = task_named(model.plan.task), model.plan
    wanted = (", ".join(plan.made), plan.inputs)
    names = Names(plan.classes, plan.labels, plan.dims == 2, lambda found: task.tables(found, plan), *wanted)
    made = Origin(model.digest, datetime.now(), f"Lucency {model.plan.task} {model.plan.network}"[:64])
    dicom = encoded(made, model.plan.labels, encoding or {}, model.plan.classes, wanted)
    folder = Path(out).expanduser()
    try:
        done = write_outputs(counted(), cases, names, folder, format, dicom)
    except DataError:
        if lost:
            # Nothing could be predicted, so the list of reasons is the only result.
            _write_left_out(folder, (*cases.skipped, *lost), cases.notes)
        raise
    _write_left_out(folder, (*cases.skipped, *lost), (*cases.notes, *unlike_training(cases, plan)))
    return done


def _none_usable(lost: Sequence[Skipped]) -> DataError:
    return DataError(
        f"None of {len(lost)} images can be used; the first: {lost[0].reason.rstrip('.')}",
        expected="images that can be decoded and that the model was made for",
        where=lost[0].path,
        remedy="skipped.csv in the output folder lists every image with its reason",
    )


def _write_left_out(folder: Path, skipped: Sequence[Skipped], notes: Sequence[str]) -> None:
    """Write what was left out and what there is to say; lists of an earlier prediction into the folder go."""
    for name in ("skipped.csv", "notes.txt"):
        (folder / name).unlink(missing_ok=True)
    if skipped:
        write_table(folder / "skipped.csv", ("path", "reason"), [(s.path, s.reason) for s in skipped])
    if notes:
        record.write_text(folder / "notes.txt", "\n".join((*(sentence(n, "en") for n in notes), "")))


def events_of(run: str | Path) -> list[dict[str, Any]]:
    """Return the events of a run, in order."""
    return read_events(Path(run) / "events.jsonl")
