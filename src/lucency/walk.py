"""The machinery of a walk, and its first rooms: read, inspect, profile. They start fast and need no network library."""

import hashlib
import json
import os
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psutil

from lucency import machine, record
from lucency.case import Cohort, Skipped
from lucency.errors import DataError, LucencyError, UsageError
from lucency.events import Clock, Events, Listener
from lucency.inspect import POLICIES, Inspection, inspect, settle
from lucency.plan import Plan
from lucency.profile import Profile, profile
from lucency.read import Inputs, ReadOptions, read, read_inputs
from lucency.read.chosen import chosen
from lucency.read.files import listing
from lucency.read.translated import PAIRINGS, Words, translated
from lucency.write.table import write_table

#: The rooms in order; each leaves a file in the run folder.
ROOMS = ("read", "inspect", "profile", "plan", "prepare", "train", "evaluate", "report")

#: Keys of ``--set`` that decide what is read.
OF_READING = (
    "missing_slices",
    "keep_classes",
    "drop_classes",
    "mixed_patients",
    "visits",
    "pixel_size",
    "outlines",
    "from_modality",
    "to_modality",
    "pairs",
)

#: The user's word that generated images may be used although nothing shows that they help.
CONSENT = "synthetic_without_evidence"

#: Those that say how data are read and looked at, and not how a model is made; and the user's word.
OF_THE_DOORS = (*OF_READING, "nan", "quality", "frame", CONSENT)

#: Working time is written down this often, so that a crash forgets no more of it.
CLOCK_S = 5.0

#: The cohort with the labels that it came with, where another modality is learned in their place.
LABELLED = "labelled.json"


@dataclass(frozen=True)
class Settings:
    """What a user may say; everything else is decided from the data and the machine.

    Args:
        task: Registry name; None finds it from the targets.
        target: Column to learn.
        patient: Column, or a regular expression with one group, that names the patient.
        layout: Name of the layout, where two fit.
        minutes: Wall clock from profile to report.
        seed: Of everything random.
        test: A further folder, file or table whose cases become the locked part.
        lang: ``"en"`` or ``"zh"``, of the report.
        allow_leak: Go on although parts share patients or images; the report says so.
        values: ``--set``: keys of the plan to values, and those of the doors (:data:`OF_THE_DOORS`).
        start: Run or model folder whose weights training starts from.
        synthetic: Folder of a run of ``synthesize`` whose images are trained on beside the real ones.
    """

    task: str | None = None
    target: str | None = None
    patient: str | None = None
    layout: str | None = None
    minutes: float = 10.0
    seed: int = 0
    test: str | None = None
    lang: str = "en"
    allow_leak: bool = False
    values: Mapping[str, str] = field(default_factory=dict)
    start: str | None = None
    synthetic: str | None = None

    def __post_init__(self) -> None:
        # 10 and 10.0 are one setting: it goes into the plan's digest.
        object.__setattr__(self, "minutes", float(self.minutes))
        if not 0 < self.minutes < 100_000:
            raise UsageError(f"{self.minutes} minutes", expected="more than 0", where="--minutes")
        if not 0 <= self.seed < 2**31:
            raise UsageError(f"Seed {self.seed}", expected="0 to 2147483647", where="--seed")
        if self.lang not in ("en", "zh"):
            raise UsageError(f"Language {self.lang!r}", expected="en or zh", where="--lang")
        if self.values.get(CONSENT, "no") not in ("yes", "no"):
            raise UsageError(f"{CONSENT} = {self.values[CONSENT]!r}", expected="yes or no", where=f"--set {CONSENT}")
        if self.quality not in POLICIES:
            raise UsageError(f"quality = {self.quality!r}", expected=", ".join(POLICIES), where="--set quality")

    @property
    def frame(self) -> int:
        """Longest side that every image is scaled to; 0 is what suits the task."""
        text = self.values.get("frame", "0")
        if not text.isdigit():
            raise UsageError(f"frame = {text!r}", expected="a whole number of pixels", where="--set frame")
        return int(text)

    @property
    def quality(self) -> str:
        """What becomes of images far from their set: ``"off"``, ``"warn"`` or ``"reject"``."""
        return self.values.get("quality", "reject")

    @property
    def drop_classes(self) -> tuple[str, ...]:
        """Classes to leave out with their cases."""
        return tuple(w.strip() for w in self.values.get("drop_classes", "").split(",") if w.strip())

    @property
    def keep_classes(self) -> tuple[str, ...]:
        """Classes of boxes to keep; empty keeps all."""
        return tuple(w.strip() for w in self.values.get("keep_classes", "").split(",") if w.strip())

    @property
    def consent(self) -> bool:
        """Whether generated images may be used although nothing shows that they help."""
        return self.values.get(CONSENT) == "yes"

    @property
    def translation(self) -> Words | None:
        """Which modality is to be made of which; None where something else is to be learned."""
        given, wanted = self.values.get("from_modality", ""), self.values.get("to_modality", "")
        if not given and not wanted:
            return None
        names = tuple(w.strip() for w in given.split(",") if w.strip())
        return Words(names, wanted.strip(), self.values.get("pairs", PAIRINGS[0]))

    @property
    def planned(self) -> dict[str, str]:
        """The values that are the plan's."""
        return {k: v for k, v in self.values.items() if k not in OF_THE_DOORS}

    @property
    def nan(self) -> float | None:
        """Value for NaN voxels."""
        text = self.values.get("nan")
        try:
            return None if text is None else float(text)
        except ValueError:
            raise UsageError(
                f"nan = {text!r}", expected="a number", where="--set nan", remedy="write, for example, --set nan=0"
            ) from None


@dataclass(frozen=True)
class Passport:
    """What a run folder says of itself: ``run.json``.

    Args:
        data: Absolute path of the data. It stays in the run and never enters the model.
        settings: As given.
        salt: Of the patients' pseudonyms, hexadecimal. It stays in the run and never enters the model.
    """

    data: str
    settings: Settings
    salt: str


def inputs_as_trained(
    run: str | Path, plan: Plan, src: str | Path, *, missing_slices: str = "refuse", patient: str | None = None
) -> Inputs:
    """Return new images, told apart and joined to cases as those that a model was trained on.

    Args:
        run: Run or model folder. With the run's salt a DICOM series has the same pseudonym here as in training.
        plan: The model's: its modalities, and the columns of its visits.
        src: Image, folder, DICOM tree or npz container.
        missing_slices: As in :class:`lucency.read.ReadOptions`.
        patient: As in :func:`lucency.read.read_inputs`.

    Raises:
        UsageError: No such path, or ``patient`` fits neither a column nor the names.
        DataError: No image, or none that can be read.
    """
    passport, options = Path(run).expanduser() / "run.json", plan.task_options
    return read_inputs(
        Path(src).expanduser().absolute(),
        salt=bytes.fromhex(record.read(Passport, passport).salt) if passport.exists() else b"",
        missing_slices=missing_slices,
        modalities=plan.modalities,
        visits=(str(options.get("visits", "")), str(options.get("patient", ""))),
        patient=patient,
    )


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep a second process out of the folder; a lock whose process is gone is taken over."""
    path = folder / "lock.json"
    me = psutil.Process()
    if path.exists():
        try:
            owner = json.loads(path.read_text(encoding="utf-8"))
            alive = (
                psutil.pid_exists(owner["pid"]) and abs(psutil.Process(owner["pid"]).create_time() - owner["born"]) < 1
            )
        except (json.JSONDecodeError, KeyError, psutil.Error, OSError):
            alive = False
        if alive and owner["pid"] != me.pid:
            raise LucencyError(
                f"Another process (number {owner['pid']}) works in this run",
                where=folder.name,
                remedy="wait for it, or choose another --out",
            )
    record.write(path, {"pid": me.pid, "born": me.create_time()})
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


class Walk:
    """One walk through the rooms. Each room's digest covers all it depends on; equal digest and file: nothing to do.

    Args:
        folder: The run folder.
        data: Absolute path of the data.
        settings: What the user says.
        listeners: Called with every event.
        later: Makes the object whose methods are the rooms after ``profile``.
        looking: The walk ends before ``profile``: data from which nothing can be learned are looked at all the same.
    """

    def __init__(
        self,
        folder: Path,
        data: Path,
        settings: Settings,
        listeners: Sequence[Listener],
        later: "Callable[[Walk], object]",
        *,
        looking: bool = False,
    ) -> None:
        self.looking = looking
        self._later = later
        self._later_rooms: object | None = None
        self.folder, self.data, self.settings = folder, data, settings
        self.passport = self._passport()
        self.state: dict[str, dict[str, Any]] = self._state()
        self.clock = Clock(float(self.state.get("clock", {}).get("seconds", 0.0)))
        self._clock_saved = 0.0
        self.events = Events(folder / "events.jsonl", self._tick, *listeners)
        self.digest = ""
        self.workers = machine.cores()
        self._cohort: Cohort | None = None

    def _passport(self) -> Passport:
        path = self.folder / "run.json"
        old = record.read(Passport, path) if path.exists() else None
        salt = old.salt if old is not None else secrets.token_hex(16)
        passport = Passport(str(self.data), self.settings, salt)
        if old is not None and old.data != str(self.data):
            raise UsageError(
                "The run folder belongs to other data", where=self.folder.name, remedy="choose another --out"
            )
        if old is None:
            record.write(path, passport)
        return passport

    def accept(self) -> None:
        """Write down the settings: a plan was made with them, so they can be walked with again."""
        record.write(self.folder / "run.json", self.passport)

    def _state(self) -> dict[str, dict[str, Any]]:
        path = self.folder / "rooms.json"
        return record.read_object(path) if path.exists() else {}

    def _tick(self, event: Mapping[str, Any]) -> None:
        if self.clock.elapsed() - self._clock_saved > CLOCK_S:
            self.save_state()

    def save_state(self) -> None:
        """Write down the working time and what each room did."""
        self._clock_saved = self.clock.elapsed()
        self.state["clock"] = {"seconds": round(self._clock_saved, 2)}
        record.write(self.folder / "rooms.json", self.state)

    def enter(self, room: str) -> None:
        """Do a room's work unless its file stands and what it depends on is unchanged."""
        rooms = self._rooms(room)
        depends: Callable[[], object] = getattr(rooms, f"{room}_depends")
        self.digest = hashlib.sha256(
            f"{self.digest}|{room}|{json.dumps(record.to_json(depends()))}".encode()
        ).hexdigest()
        done = self.state.get(room, {})
        if done.get("digest") == self.digest and self._file(room).exists():
            self.events.emit(room, "kept", seconds=done.get("seconds", 0.0))
            return
        if room == "read" and self.state:
            # Other settings or other data: the time worked on them does not count here.
            self.clock = Clock()
            self.state = {}
        if room == "plan" and done and done.get("begun") != self.digest:
            # Another plan has a budget of its own; what the kept rooms took belongs to it.
            self.clock = Clock(sum(float(self.state.get(r, {}).get("seconds", 0.0)) for r in ROOMS[:3]))
        before = self.clock.elapsed()
        spent = float(done.get("unfinished", 0.0)) if done.get("begun") == self.digest else 0.0
        self.events.emit(room, "begin")
        self.state[room] = {"begun": self.digest, "unfinished": spent}
        try:
            getattr(rooms, room)()
        except BaseException:
            self.state[room]["unfinished"] = spent + self.clock.elapsed() - before
            self.save_state()
            raise
        seconds = spent + self.clock.elapsed() - before
        extra = {k: v for k, v in self.state[room].items() if k not in ("begun", "unfinished")}
        self.state[room] = {**extra, "digest": self.digest, "seconds": round(seconds, 2)}
        self.save_state()
        self.events.emit(room, "end", seconds=round(seconds, 2))

    def _rooms(self, room: str) -> object:
        """Return who does a room's work: the walk itself, or the later rooms, loaded when they are first entered."""
        if hasattr(self, room):
            return self
        if self._later_rooms is None:
            self._later_rooms = self._later(self)
        return self._later_rooms

    def _file(self, room: str) -> Path:
        names = {
            "read": "cohort.json",
            "inspect": "inspection.json",
            "prepare": "prepared",
            "train": "model/manifest.json",
            "evaluate": "evaluation.json",
            "report": "report/index.html",
        }
        return self.folder / names.get(room, f"{room}.json")

    @contextmanager
    def _listing_left_out(self, earlier: Sequence[Skipped] = ()) -> Iterator[Callable[[Sequence[Skipped]], None]]:
        """Give whom a room tells of files it cannot use: they are listed at once, and a refusal names the list."""
        path = self.folder / "skipped.csv"
        path.unlink(missing_ok=True)

        def left_out(skipped: Sequence[Skipped]) -> None:
            rows = {s.path: s.reason for s in (*earlier, *skipped)}
            if rows:
                write_table(path, ("path", "reason"), sorted(rows.items()))

        try:
            left_out(())
            yield left_out
        except DataError as error:
            raise self._with_list(error) from error

    def _with_list(self, error: DataError) -> DataError:
        """Return a refusal that names the list of files left out, where there is one."""
        path = self.folder / "skipped.csv"
        if not path.exists() or len(path.read_text(encoding="utf-8").splitlines()) < 2:
            return error
        remedy = f"{error.remedy}. {path.name} in the run folder lists every file left out, with its reason"
        return type(error)(error.found, expected=error.expected, where=error.where, remedy=remedy)

    # read ---------------------------------------------------------------------------------------------------------

    def read_depends(self) -> object:
        """What the room depends on beyond the rooms before it."""
        how = {k: v for k, v in self.settings.values.items() if k in OF_READING}
        said = replace(self.settings, minutes=1.0, seed=0, lang="en", values=how, task=None, start=None)
        plain = {k: v for k, v in record.to_json(said).items() if k != "synthetic"}
        return [plain, self._boxes, _listing(self.data), _listing(Path(said.test)) if said.test else ""]

    @property
    def _boxes(self) -> bool:
        """Whether the user asked for a task that learns boxes."""
        if self.settings.task is None:
            return False
        from lucency.tasks import task_named  # noqa: PLC0415 - slow to import, and rarely asked

        return task_named(self.settings.task).boxes

    def read(self) -> None:
        """Do the room's work."""
        s = self.settings
        options = ReadOptions(
            layout=s.layout,
            target=s.target,
            patient=s.patient,
            test=Path(s.test).expanduser().absolute() if s.test else None,
            salt=bytes.fromhex(self.passport.salt),
            allow_leak=s.allow_leak,
            nan=s.nan,
            boxes=self._boxes,
            classes=s.keep_classes,
            missing_slices=s.values.get("missing_slices", "refuse"),
            pixel_size=s.values.get("pixel_size", ""),
            outlines=s.values.get("outlines", ""),
            cache=self.folder / "headers.sqlite",
            visits=s.values.get("visits", ""),
            # Images without a label can be translated.
            untrained=self.looking or s.translation is not None,
        )
        with self._listing_left_out() as left_out:
            cohort = read(self.data, options, left_out=left_out)
        if s.translation is None:
            cohort = chosen(cohort, drop=s.drop_classes, mixed=s.values.get("mixed_patients", "auto"))
        else:
            record.write(self.folder / LABELLED, cohort)
            cohort = translated(cohort, s.translation)
        record.write(self.folder / "cohort.json", cohort)
        self.events.emit(
            "read",
            "found",
            cases=len(cohort.cases),
            labelled=sum(c.target is not None for c in cohort.cases),
            patients=len({c.patient for c in cohort.cases}),
            patient_key=cohort.patient_key,
            layout=cohort.layout,
            skipped=len(cohort.skipped),
        )

    # inspect ------------------------------------------------------------------------------------------------------

    def inspect_depends(self) -> object:
        """What the room depends on beyond the rooms before it."""
        return [self.settings.values.get("nan"), self.settings.quality]

    def inspect(self) -> None:
        """Do the room's work."""
        cohort = record.read(Cohort, self.folder / "cohort.json")
        with self._listing_left_out((*cohort.skipped, *cohort.beside)) as left_out:
            found = inspect(
                cohort,
                nan=self.settings.nan,
                quality=self.settings.quality,
                events=self.events,
                workers=self.workers,
                left_out=left_out,
                untrained=True,
            )
        record.write(self.folder / "inspection.json", found)
        self.events.emit(
            "inspect",
            "found",
            warnings=list(found.warnings),
            left_out=len(found.left_out),
            skipped=len(found.skipped),
            groups=len(found.groups),
        )
        _write_skipped(self.folder / "skipped.csv", cohort, found)
        _write_cases(self.folder / "cases.csv", settle(cohort, found))

    @property
    def inspection(self) -> Inspection:
        """What inspection found."""
        return record.read(Inspection, self.folder / "inspection.json")

    @property
    def cohort(self) -> Cohort:
        """The cohort that later rooms use: left-out cases out, groups together."""
        if self._cohort is None:
            self._cohort = settle(record.read(Cohort, self.folder / "cohort.json"), self.inspection)
        return self._cohort

    # profile ------------------------------------------------------------------------------------------------------

    def profile_depends(self) -> object:
        """What the room depends on beyond the rooms before it."""
        return ""

    def profile(self) -> None:
        """Do the room's work."""
        try:
            self.inspection.refuse_untrainable()
        except DataError as error:
            raise self._with_list(error) from error
        found = profile(self.cohort, nan=self.settings.nan, events=self.events, workers=self.workers)
        record.write(self.folder / "profile.json", found)

    def profiled(self) -> Profile:
        """Return the training part in numbers."""
        return record.read(Profile, self.folder / "profile.json")


def _listing(path: Path) -> str:
    """Return a digest of names, sizes and times: whether the data changed since they were read."""
    state = hashlib.sha256()
    if not path.exists():
        raise UsageError("No such file or folder", where=path.name, remedy="check the path")
    names = listing(path) if path.is_dir() else (path.name,)
    folder = path if path.is_dir() else path.parent
    for name in names:
        try:
            facts = os.stat(f"{folder}/{name}")
        except OSError:
            # A link to nowhere is a file that cannot be read, and the reading room says so.
            continue
        state.update(f"{name}|{facts.st_size}|{facts.st_mtime_ns}\n".encode())
    return state.hexdigest()


def _write_skipped(path: Path, cohort: Cohort, inspection: Inspection) -> None:
    rows = {s.path: s.reason for s in (*cohort.skipped, *cohort.beside, *inspection.skipped)}
    told = {s.reason for s in inspection.skipped}  # under the file at fault; the case need not be listed again
    left_out = {**cohort.left_out, **inspection.left_out}
    rows |= {f"case {case}": reason for case, reason in left_out.items() if reason not in told}
    write_table(path, ("path", "reason"), sorted(rows.items()))


def _write_cases(path: Path, cohort: Cohort) -> None:
    """Write which case is which file, for the eyes of whoever holds the data; it stays in the run folder."""
    rows = []
    for case in cohort.cases:
        part = (
            "locked" if case.id in cohort.locked else f"fold {cohort.folds[case.id]}" if case.id in cohort.folds else ""
        )
        rows.append((case.id, part, case.sources[0].where))
    write_table(path, ("case", "part", "path"), rows)
