"""The walk: from a folder of images to a run folder with model and report, room by room, resumable at every door."""

import hashlib
import json
import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psutil

from lucency import __version__, evaluate, machine, planner, record
from lucency import model as models
from lucency.calibration import Calibration
from lucency.case import Case, Cohort, Prediction, Source
from lucency.errors import DataError, LucencyError, MemoryShortError, OutputError, UsageError
from lucency.evaluate import Evaluation, Grounds
from lucency.events import Events, Listener, read_events
from lucency.image import Image
from lucency.inspect import Inspection, inspect, settle
from lucency.model import Model
from lucency.plan import Forecast, Machine, Plan, Timing
from lucency.planner import Budget
from lucency.predict import predict
from lucency.prepare import Store, digest_of, prepare
from lucency.profile import Profile, profile
from lucency.read import ReadOptions, load, read, read_inputs
from lucency.report import Facts, card, cases_to_show, picture, write_report
from lucency.tasks import Task, task_for, task_named
from lucency.train import Clock, OutOfFold, Work, calibrate, predict_held_out, rehearse, train_member
from lucency.write.outputs import Names, write_outputs
from lucency.write.table import write_table

#: The rooms in order; each leaves a file in the run folder.
ROOMS = ("read", "inspect", "profile", "plan", "prepare", "train", "evaluate", "report")

#: Working time is written down this often, so that a crash forgets no more of it.
CLOCK_S = 5.0

#: A plan is drawn anew when the machine turned out this many times faster or slower than its first measurement.
SURPRISE = 1.6


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
        values: ``--set``: keys of the plan to values, and ``nan``.
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

    def __post_init__(self) -> None:
        if not 0 < self.minutes < 100_000:
            raise UsageError(f"{self.minutes} minutes", expected="more than 0", where="--minutes")
        if not 0 <= self.seed < 2**31:
            raise UsageError(f"Seed {self.seed}", expected="0 to 2147483647", where="--seed")
        if self.lang not in ("en", "zh"):
            raise UsageError(f"Language {self.lang!r}", expected="en or zh", where="--lang")

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
    place = Path(data).expanduser().absolute()
    known = place / "run.json"
    if known.exists():
        passport = record.read(Passport, known)
        folder = Path(out).expanduser().absolute() if out is not None else place
        if folder != place:
            raise UsageError("A run goes on in its own folder", where="--out", remedy="leave --out out")
        settings = settings or passport.settings
        place = Path(passport.data)
    else:
        folder = Path(out).expanduser().absolute() if out is not None else Path.cwd() / "runs" / _stem(place)
    run = Run(folder)
    run.walk(place, settings or Settings(), upto, listeners)
    return run


#: What a walk leaves in its folder and :func:`forget` removes; the passport, the ledger and the events stay.
LEFT = (
    *("rooms.json", "cohort.json", "inspection.json", "skipped.csv", "profile.json", "machine.json", "plan.json"),
    *("evaluation.json", "prepared", "training", "out_of_fold", "model", "report"),
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
    with _locked(folder):
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
    def model(self) -> Model:
        """The trained model, verified on every call."""
        return models.load(self.folder / "model")

    def predict(
        self,
        src: str | Path,
        out: str | Path | None = None,
        *,
        format: str = "auto",
        nan: float | None = None,
        listeners: Sequence[Listener] = (),
    ) -> list[Prediction]:
        """Predict every image in ``src``; see :func:`predict_folder`."""
        return predict_folder(self.folder, src, out, format=format, nan=nan, listeners=listeners)

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

    # --- the walk ---------------------------------------------------------------------------------------------------

    def walk(self, data: Path, settings: Settings, upto: str, listeners: Sequence[Listener]) -> None:
        """Go from room to room up to ``upto``; rooms whose inputs have not changed are passed through."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            (self.folder / "events.jsonl").touch()
        except OSError as error:
            raise OutputError(
                f"Cannot write ({error.strerror})", where=self.folder.name, remedy="choose a writable folder with --out"
            ) from error
        with _locked(self.folder):
            walk = _Walk(self.folder, data, settings, listeners)
            for room in ROOMS[: ROOMS.index(upto) + 1]:
                walk.enter(room)


def _shown(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
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


class _Walk:
    """One walk through the rooms. Each room's digest covers all it depends on; equal digest and file: nothing to do."""

    def __init__(self, folder: Path, data: Path, settings: Settings, listeners: Sequence[Listener]) -> None:
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
        record.write(path, passport)
        return passport

    def _state(self) -> dict[str, dict[str, Any]]:
        path = self.folder / "rooms.json"
        return record.read_object(path) if path.exists() else {}

    def _tick(self, event: Mapping[str, Any]) -> None:
        if self.clock.elapsed() - self._clock_saved > CLOCK_S:
            self._save_state()

    def _save_state(self) -> None:
        self._clock_saved = self.clock.elapsed()
        self.state["clock"] = {"seconds": round(self._clock_saved, 2)}
        record.write(self.folder / "rooms.json", self.state)

    def enter(self, room: str) -> None:
        """Do a room's work unless its file stands and what it depends on is unchanged."""
        depends: Callable[[], object] = getattr(self, f"_{room}_depends")
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
        before = self.clock.elapsed()
        spent = float(done.get("unfinished", 0.0)) if done.get("begun") == self.digest else 0.0
        self.events.emit(room, "begin")
        self.state[room] = {"begun": self.digest, "unfinished": spent}
        try:
            getattr(self, f"_{room}")()
        except BaseException:
            self.state[room]["unfinished"] = spent + self.clock.elapsed() - before
            self._save_state()
            raise
        seconds = spent + self.clock.elapsed() - before
        extra = {k: v for k, v in self.state[room].items() if k not in ("begun", "unfinished")}
        self.state[room] = {**extra, "digest": self.digest, "seconds": round(seconds, 2)}
        self._save_state()
        self.events.emit(room, "end", seconds=round(seconds, 2))

    def _file(self, room: str) -> Path:
        names = {
            "read": "cohort.json",
            "inspect": "inspection.json",
            "prepare": "prepared",
            "train": f"model/{models.MANIFEST}",
            "evaluate": "evaluation.json",
            "report": "report/index.html",
        }
        return self.folder / names.get(room, f"{room}.json")

    # read ---------------------------------------------------------------------------------------------------------

    def _read_depends(self) -> object:
        said = replace(self.settings, minutes=1.0, seed=0, lang="en", values={}, task=None)
        return [record.to_json(said), _listing(self.data), _listing(Path(said.test)) if said.test else ""]

    def _read(self) -> None:
        s = self.settings
        options = ReadOptions(
            layout=s.layout,
            target=s.target,
            patient=s.patient,
            test=Path(s.test).expanduser().absolute() if s.test else None,
            salt=bytes.fromhex(self.passport.salt),
            allow_leak=s.allow_leak,
            nan=s.nan,
        )
        cohort = read(self.data, options)
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

    def _inspect_depends(self) -> object:
        return self.settings.values.get("nan")

    def _inspect(self) -> None:
        cohort = record.read(Cohort, self.folder / "cohort.json")
        found = inspect(cohort, nan=self.settings.nan, events=self.events, workers=self.workers)
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

    def _profile_depends(self) -> object:
        return ""

    def _profile(self) -> None:
        found = profile(self.cohort, nan=self.settings.nan, events=self.events, workers=self.workers)
        record.write(self.folder / "profile.json", found)

    @property
    def profile(self) -> Profile:
        """The training part in numbers."""
        return record.read(Profile, self.folder / "profile.json")

    # plan ---------------------------------------------------------------------------------------------------------

    def _plan_depends(self) -> object:
        s = self.settings
        return [s.minutes, s.seed, s.task, dict(s.values), __version__]

    def _plan(self) -> None:
        task = task_named(self.settings.task) if self.settings.task else task_for(self.cohort)
        if task.suits(self.cohort) <= 0:
            raise DataError(
                f"The targets of these data are not made for task {task.name!r}",
                where="--task",
                remedy="leave --task out, or name another column with --target",
            )
        measured = machine.measure()
        budget = Budget(self.settings.minutes, self.settings.seed)
        for attempt in range(3):
            draft = self._draft(task, measured, budget)
            store, prepare_s = self._prepared(task, draft)
            timing = self._rehearsed(task, draft, store)
            if timing is None:
                measured = replace(measured, memory_mib=measured.memory_mib / 2)
                continue
            expected = planner.step_seconds(draft, measured)
            surprise = timing.step_s / max(expected, 1e-9)
            redrawn = self._draft(task, replace(measured, gflops=measured.gflops / surprise), budget)
            if attempt < 2 and not 1 / SURPRISE < surprise < SURPRISE and redrawn.patch != draft.patch:
                measured = replace(measured, gflops=measured.gflops / surprise)
                continue
            break
        else:
            raise MemoryShortError(
                "Memory ran out while one training step was rehearsed, with smaller and smaller plans",
                remedy="close other programs, or use a machine with more memory",
            )
        final = planner.timed(
            draft,
            timing,
            self.profile,
            n_locked=len(self.cohort.locked),
            spent_s=self.clock.elapsed(),
            dense=task.dense,
        )
        final = planner.overridden(final, {k: v for k, v in self.settings.values.items() if k != "nan"})
        self.state["plan"]["prepare_s"] = round(prepare_s, 2)
        record.write(self.folder / "machine.json", measured)
        record.write(self.folder / "plan.json", final)
        self.events.emit(
            "plan",
            "found",
            network=final.network,
            steps=final.schedule.steps,
            members=len(final.folds),
            memory_mib=round(final.forecast.memory_mib),
            seconds=round(sum(final.forecast.seconds.values())),
        )

    def _draft(self, task: Task, measured: Machine, budget: Budget) -> Plan:
        found = self.profile
        draft = planner.plan(self.cohort, found, task.needs(found), measured, budget)
        if self.settings.nan is not None:
            draft = replace(draft, task_options={**draft.task_options, "nan": self.settings.nan})
        early = {
            k: v for k, v in self.settings.values.items() if k != "nan" and not k.startswith(("schedule", "folds"))
        }
        return planner.overridden(draft, early)

    def _prepared(self, task: Task, draft: Plan) -> tuple[Store, float]:
        begin = time.monotonic()
        for old in (self.folder / "prepared").glob("*"):
            if old.is_dir() and old.name != digest_of(self.cohort, draft):
                shutil.rmtree(old, ignore_errors=True)
        store = prepare(
            self.cohort, draft, task.target, self.folder / "prepared", workers=self.workers, events=self.events
        )
        return store, time.monotonic() - begin

    def _rehearsed(self, task: Task, draft: Plan, store: Store) -> Timing | None:
        """Return what a rehearsal took, or None where it ran out of memory."""
        work = self._work(task, draft, store)
        largest = max(store.entries.values(), key=lambda e: e.shape[1] * e.shape[2] * e.shape[3]).case
        case = next(c for c in self.cohort.cases if c.id == largest)
        prepared = store.prepared(largest)
        truth = evaluate.target_of(store, task, largest)
        output = task.perfect(truth, draft)

        def score() -> object:
            return task.score(task.decode(output, case, prepared, draft, Calibration()), case, draft)

        try:
            return rehearse(work, largest, score)
        except (RuntimeError, MemoryError) as error:
            if not machine.is_out_of_memory(error):
                raise
            self.events.emit(
                "plan", "memory", found="out of memory while a training step was rehearsed", action="smaller"
            )
            return None

    def _work(self, task: Task, plan: Plan, store: Store) -> Work:
        return Work(self.cohort, plan, task, store, self.folder / "training", self.clock, self.events)

    @property
    def plan(self) -> Plan:
        """The plan, as planned or as a person edited it."""
        return record.read(Plan, self.folder / "plan.json")

    # prepare ------------------------------------------------------------------------------------------------------

    def _prepare_depends(self) -> object:
        plan = self.plan
        return digest_of(self.cohort, plan)

    def _prepare(self) -> None:
        plan = self.plan
        self._prepared(task_named(plan.task), plan)

    def store(self, plan: Plan) -> Store:
        """The prepared cases; made anew if somebody deleted them."""
        folder = self.folder / "prepared" / digest_of(self.cohort, plan)
        wanted = len(self.cohort.trainable) + len(self.cohort.locked_cases)
        store = Store(folder)
        return store if len(store.entries) == wanted else self._prepared(task_named(plan.task), plan)[0]

    # train --------------------------------------------------------------------------------------------------------

    def _train_depends(self) -> object:
        plan = self.plan
        return record.to_json(replace(plan, forecast=Forecast(), reasons=dict.fromkeys(plan.reasons, "-")))

    def _train(self) -> None:
        plan = self.plan
        if self.state["train"].get("unfinished", 0.0) == 0.0:
            self._clear_training()
        try:
            self._train_all(plan)
        except (RuntimeError, MemoryError) as error:
            if not machine.is_out_of_memory(error):
                raise
            plan = planner.smaller(plan)
            self.events.emit("train", "memory", found="out of memory while training", action="smaller plan, once more")
            record.write(self.folder / "plan.json", plan)
            self._clear_training()
            self._train_all(plan)

    def _clear_training(self) -> None:
        """Checkpoints of another plan are of no use; those of this plan carry its digest."""
        stamp = self.folder / "training" / "digest.txt"
        if stamp.exists() and stamp.read_text(encoding="utf-8") == self.digest:
            return
        for name in ("training", "out_of_fold", "model"):
            shutil.rmtree(self.folder / name, ignore_errors=True)
        record.write_text(stamp, self.digest)

    def _train_all(self, plan: Plan) -> None:
        task, store = task_named(plan.task), self.store(plan)
        work = self._work(task, plan, store)
        after = sum(plan.forecast.seconds.get(k, 0.0) for k in ("evaluate", "report"))
        end = max(plan.minutes * 60 * 0.97 - after, self.clock.elapsed() + 1.0)
        weights, history, guards, shares = {}, [], [], []
        for number, fold in enumerate(plan.folds):
            path = self.folder / "training" / f"fold{fold}.safetensors"
            outputs = OutOfFold(self.folder / "out_of_fold")
            if not (path.exists() and outputs.has(fold)):
                left = len(plan.folds) - number
                now = self.clock.elapsed()
                trained = train_member(work, fold, now + (end - now) / left)
                predict_held_out(work, fold, trained.weights, self.folder / "out_of_fold")
                facts = {"history": trained.history, "guard": trained.shortened, "augment": trained.augment_share}
                models.save_weights(path, trained.weights, {"facts": json.dumps(facts)})
                (self.folder / "training" / f"fold{fold}.checkpoint.safetensors").unlink(missing_ok=True)
            facts = json.loads(models.load_facts(path)["facts"])
            weights[f"fold{fold}"] = models.load_weights(path)
            history += facts["history"]
            guards += [facts["guard"]] if facts["guard"] else []
            shares.append(facts["augment"])
        calibration = calibrate(work, OutOfFold(self.folder / "out_of_fold"))
        models.save(self.folder / "model", plan, calibration, weights, _first_card(plan))
        self.state["train"]["augment_share"] = round(sum(shares) / len(shares), 4)
        record.write(self.folder / "training" / "history.json", {"rows": history, "time_guard": "; ".join(guards)})

    # evaluate -----------------------------------------------------------------------------------------------------

    def _grounds(self) -> Grounds:
        plan = self.plan
        return Grounds(
            cohort=self.cohort,
            plan=plan,
            task=task_named(plan.task),
            store=self.store(plan),
            model=models.load(self.folder / "model"),
            outputs=OutOfFold(self.folder / "out_of_fold"),
            events=self.events,
            nan=self.settings.nan,
        )

    def _evaluate_depends(self) -> object:
        return models.weights_digest(self.folder / "model")

    def _evaluate(self) -> None:
        found = evaluate.evaluate(self._grounds(), self.folder / "ledger.jsonl")
        record.write(self.folder / "evaluation.json", found)

    # report -------------------------------------------------------------------------------------------------------

    def _report_depends(self) -> object:
        return self.settings.lang

    def _report(self) -> None:
        evaluation = record.read(Evaluation, self.folder / "evaluation.json")
        grounds, inspection = self._grounds(), self.inspection
        history = record.read_object(self.folder / "training" / "history.json")
        chosen = [c.case for group in cases_to_show(evaluation).values() for c in group]
        shown = evaluate.show(grounds, chosen, _truth_of)
        seconds = {r: float(self.state.get(r, {}).get("seconds", 0.0)) for r in ROOMS if r != "report"}
        moved = float(self.state.get("plan", {}).get("prepare_s", 0.0))
        seconds["plan"], seconds["prepare"] = seconds["plan"] - moved, seconds["prepare"] + moved
        seconds = {"before training": sum(v for r, v in seconds.items() if r not in ("train", "evaluate")), **seconds}
        facts = Facts(
            cohort=self.cohort,
            plan=grounds.plan,
            evaluation=evaluation,
            machine=record.read(Machine, self.folder / "machine.json"),
            version=__version__,
            model_digest=models.weights_digest(self.folder / "model"),
            inspection_warnings=inspection.warnings,
            inspection_skipped=inspection.skipped,
            history=history["rows"],
            actual=Forecast(machine.peak_memory_mib(), seconds),
            pictures={s.case.id: picture(s) for s in shown},
            time_guard=history["time_guard"],
        )
        write_report(facts, self.folder / "report", self.settings.lang)
        models.replace_card(self.folder / "model", card(facts, self.settings.lang))


def _truth_of(case: Case) -> Image | None:
    return load(case.target) if isinstance(case.target, Source) else None


def _first_card(plan: Plan) -> str:
    return f"# Model card\n\nTask {plan.task}, network {plan.network}. Not evaluated yet: finish the run.\n"


def _listing(path: Path) -> str:
    """Return a digest of names, sizes and times: whether the data changed since they were read."""
    state = hashlib.sha256()
    if not path.exists():
        raise UsageError("No such file or folder", where=path.name, remedy="check the path")
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    for file in files:
        facts = file.stat()
        name = file.relative_to(path).as_posix() if path.is_dir() else file.name
        state.update(f"{name}|{facts.st_size}|{facts.st_mtime_ns}\n".encode())
    return state.hexdigest()


def _write_skipped(path: Path, cohort: Cohort, inspection: Inspection) -> None:
    rows = {s.path: s.reason for s in (*cohort.skipped, *inspection.skipped)}
    rows |= {f"case {case}": reason for case, reason in {**cohort.left_out, **inspection.left_out}.items()}
    write_table(path, ("path", "reason"), sorted(rows.items()))


def predict_folder(
    run: str | Path,
    src: str | Path,
    out: str | Path | None = None,
    *,
    format: str = "auto",
    nan: float | None = None,
    listeners: Sequence[Listener] = (),
) -> list[Prediction]:
    """Predict every image in ``src`` with the model of a run.

    Args:
        run: Run folder or model folder.
        src: Image, folder, DICOM tree or npz container.
        out: Folder for ``predictions.csv`` and masks; None writes nothing.
        format: ``"auto"``, ``"nifti"``, ``"png"`` or ``"csv"``.
        nan: Value for NaN voxels; None refuses them.
        listeners: Called with progress events.

    Returns:
        One prediction per image, in the order of the case ids. With ``out`` the masks are on the disk and left out
        of the list, so that a long list fits into memory.

    Raises:
        ModelError: The model was altered.
        DataError: An image that the model was not made for, or none at all.
    """
    model = models.load(Path(run).expanduser())
    passport = Path(run).expanduser() / "run.json"
    # With the run's salt a DICOM series has the same pseudonym here as in training.
    salt = bytes.fromhex(record.read(Passport, passport).salt) if passport.exists() else b""
    cases = read_inputs(Path(src).expanduser().absolute(), salt=salt)
    if not cases:
        raise DataError("No image to predict on", where=Path(src).name, remedy="give a folder with images")
    events = Events(None, *listeners)

    def counted() -> Iterator[Prediction]:
        for number, one in enumerate(predict(model, cases, nan=nan), start=1):
            events.emit("predict", "progress", done=number, of=len(cases))
            yield one

    if out is None:
        return list(counted())
    names = Names(model.plan.classes, model.plan.labels, flat=model.plan.dims == 2)
    return write_outputs(counted(), cases, names, Path(out).expanduser(), format)


def events_of(run: str | Path) -> list[dict[str, Any]]:
    """Return the events of a run, in order."""
    return read_events(Path(run) / "events.jsonl")
