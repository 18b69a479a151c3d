"""The walk of ``lucency synthesize``: a generator for each fold, looked at and audited, arms, and one verdict.

Every stage leaves a JSON file in ``RUN/synthesis/`` and is not done again; another plan or other data begin anew.
"""

import hashlib
import json
import math
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from lucency import evaluate, record, supplement
from lucency.case import Cohort
from lucency.errors import DivergedError, UsageError
from lucency.events import Clock, Events, Listener
from lucency.fit import Passport, fit, folder_of
from lucency.fit import Run as FitRun
from lucency.inspect import Inspection, settle
from lucency.plan import Forecast, Plan
from lucency.prepare import Store, digest_of
from lucency.profile import Profile
from lucency.synthesize.arrays import ids_of, store_of
from lucency.synthesize.asked import FILE, USUAL_SIDE, Ask, rare_classes, refuse_other, refuse_unfit
from lucency.synthesize.drawn import Drawn, drawn_of, joined
from lucency.synthesize.gate import (
    FAILED,
    Confirmation,
    Verdict,
    chosen,
    contrasted,
    guarded,
    rival_of,
    stopped,
    sure,
    verdict,
)
from lucency.synthesize.gate.arms import AGAIN, NOTHING, Arm, arms_of, rows_of, share_of
from lucency.synthesize.gate.confirming import confirmed
from lucency.synthesize.gate.design import Design, Frame, Timed, designed, seeds_for
from lucency.synthesize.gate.evidence import Runs
from lucency.synthesize.gate.running import Marks, Run, apart, gathered, marked, runs_of, together, trained
from lucency.synthesize.looking import Looked, Looking, counts_of, labels_of
from lucency.synthesize.making import Order, least_time
from lucency.tasks import task_named
from lucency.train import Extra, Work
from lucency.train.loop import Loop
from lucency.train.synthetic import UNTIL
from lucency.walk import locked

#: Seconds of steps by which an arm is timed, at most.
LOOK_S = 3.0

#: What a generator is given at least, against what it takes by the timing of a few steps.
SLACK = 1.2

#: Steps of the training by which all else that a training takes is timed.
TRIAL_STEPS = 3

#: What a network reaches that learned from generated images alone, as a share of what it reaches with as many real
#: ones: certainly below it, nothing more is tried (docs/decisions/0028-gate.md).
TEACHES = 0.9

#: Patients of a class below which the walk says that little can be shown.
FEW = 20

#: Case ids of the images that ``fit`` may use begin so.
PREFIX = "made"

#: Stages' files.
DESIGN, RUNS, LOOK, VERDICT, CLOCK = "design.json", "runs.json", "locked.json", "verdict.json", "clock.json"


@dataclass(frozen=True)
class Synthesis:
    """A finished walk.

    Args:
        folder: The run folder.
        verdict: Of the gate.
        design: What was done.
        looked: What was seen of each fold's generator.
        runs: Every arm over the runs; empty where none was trained.
        seconds: Working time of it all.
    """

    folder: Path
    verdict: Verdict
    design: Design
    looked: tuple[Looked, ...]
    runs: tuple[Runs, ...]
    seconds: float


def walked(data: str | Path, out: str | Path | None, ask: Ask, listeners: Sequence[Listener] = ()) -> Synthesis:
    """Walk, or go on where an earlier walk stopped; see :func:`lucency.synthesize.synthesize`.

    Args:
        data: Folder or file in any layout, or a run folder.
        out: Run folder, or None.
        ask: What the user says.
        listeners: Called with every event.
    """
    side = ask.side or USUAL_SIDE["cuda" if torch.cuda.is_available() else "cpu"]
    settings = replace(ask.settings, synthetic=None, values={**ask.settings.values, "frame": str(side)})
    folder = folder_of(data, out)
    if not _belongs_elsewhere(folder, data):
        refuse_other(folder, ask)

    def noted(event: Mapping[str, object]) -> None:
        # The first room begins, so the folder is one of these data: from here on a walk can be gone on with.
        if (event["room"], event["kind"]) in (("read", "begin"), ("read", "kept")):
            record.write(folder / supplement.FOLDER / FILE, ask)

    run = fit(data, out, settings=settings, upto="prepare", listeners=[*listeners, noted])
    with locked(run.folder):
        return Synthesizing(run, ask, Events(run.folder / "events.jsonl", *listeners)).walk()


def _belongs_elsewhere(folder: Path, data: str | Path) -> bool:
    """Tell whether a run folder is one of other data, which ``fit`` refuses in its own words."""
    place, passport = Path(data).expanduser().absolute(), folder / "run.json"
    return place != folder and passport.exists() and record.read(Passport, passport).data != str(place)


class Synthesizing:
    """One walk.

    Args:
        run: Whose data are prepared on the generator's grid.
        ask: What the user says.
        events: Progress.
    """

    def __init__(self, run: FitRun, ask: Ask, events: Events) -> None:
        self.folder, self.place, self.ask, self.events = run.folder, run.folder / supplement.FOLDER, ask, events
        self.plan: Plan = run.plan
        cohort = record.read(Cohort, run.folder / "cohort.json")
        self.cohort = settle(cohort, record.read(Inspection, run.folder / "inspection.json"))
        self.task = task_named(self.plan.task)
        self.store = Store(run.folder / "prepared" / digest_of(self.cohort, self.plan))
        spent = record.read_object(self.place / CLOCK)["seconds"] if (self.place / CLOCK).exists() else 0.0
        self.clock = Clock(float(spent))
        self.done = self.total = 0

    @property
    def work(self) -> Work:
        """What all arms share; they lie below its folder."""
        return Work(self.cohort, self.plan, self.task, self.store, self.place / "arms", self.clock, self.events)

    def walk(self) -> Synthesis:
        """Go through the stages; what was done is passed through."""
        self.events.emit("synthesize", "begin")
        record.write(self.place / FILE, self.ask)
        folds = refuse_unfit(self.cohort, self.plan, self.store, self.ask.generator)
        design = self._designed(folds)
        looked, early = self._generated(design)
        runs: tuple[Runs, ...] = ()
        if early is None or self.ask.whole:
            runs = self._trained(design, looked)
        found = self._decided(design, looked, runs, early)
        self._supplied(design, looked, found)
        self._tick()
        done = Synthesis(self.folder, found, design, tuple(looked.values()), runs, round(self.clock.elapsed(), 1))
        self.events.emit("synthesize", "found", verdict=found.word, arm=found.arm)
        self.events.emit("synthesize", "end", seconds=done.seconds)
        return done

    # the forecast ---------------------------------------------------------------------------------------------------

    def _designed(self, folds: tuple[int, ...]) -> Design:
        digest = self._digest()
        path = self.place / DESIGN
        if path.exists():
            old = record.read(Design, path)
            if old.digest == digest:
                self.total = len(old.folds) + old.trainings
                return old
            done = len(list(self.place.glob("*/looked.json")))
            if done:
                raise UsageError(
                    f"The data, the plan or the program have changed since {done} of {len(old.folds)} generators were "
                    "trained and looked at",
                    expected="those that the walk was begun with, for what was done cannot be compared with what would "
                    "be done now",
                    where=self.folder.name,
                    remedy="choose another --out, or --force to begin anew",
                )
            shutil.rmtree(self.place)
            self.clock = Clock()
            record.write(self.place / FILE, self.ask)
        seeds = self.ask.seeds or seeds_for(len(folds))
        runs = runs_of(folds, 1)
        counts = counts_of(self.store, [c.id for c in self.cohort.trainable])
        needs = self.task.needs(record.read(Profile, self.folder / "profile.json"))
        arms = arms_of(self.plan, needs, counts, self.ask.ratios)
        n = len(self.cohort.trainable)
        frame = Frame(
            folds,
            seeds,
            arms,
            n * (len(folds) - 2) / len(folds),
            n / len(folds),
            self.plan.batch,
            max(self.plan.grid.size),
            self.ask.steps,
        )
        rooms = record.read_object(self.folder / "rooms.json")
        timed = self._timed(runs[0])
        spent = self.clock.elapsed() + float(rooms.get("clock", {}).get("seconds", 0.0))
        design = designed(frame, timed, self.plan.minutes, spent, digest)
        record.write(path, design)
        self.total = len(folds) + design.trainings
        self._announce(design)
        return design

    def _digest(self) -> str:
        plan = replace(self.plan, forecast=Forecast(), reasons=dict.fromkeys(self.plan.reasons, "-"))
        asked = [self.ask.generator, self.ask.seeds, list(self.ask.ratios), self.ask.steps, self.cohort.split]
        return hashlib.sha256(json.dumps([record.to_json(plan), asked], sort_keys=True).encode()).hexdigest()

    def _timed(self, run: Run) -> Timed:
        """Time a training of the plan's own arm: its steps, and all else."""
        place = self.place / "timing"
        shutil.rmtree(place, ignore_errors=True)
        work = replace(self.work, folder=place, events=Events(None))
        step_s = Loop(work, run.fold, math.inf).time_steps(LOOK_S)
        begin = time.perf_counter()
        marked(work, Arm("timing"), run, TRIAL_STEPS, None)
        beside_s = max(0.0, time.perf_counter() - begin - TRIAL_STEPS * step_s)
        order = Order(family=self.ask.generator, clock=self.clock)
        cohort = apart(self.cohort, run)
        generator_s = least_time(cohort, self.plan, self.store, run.fold, place / "generator", order)
        shutil.rmtree(place, ignore_errors=True)
        return Timed(step_s, beside_s, round(SLACK * generator_s, 1))

    def _announce(self, design: Design) -> None:
        minutes = {stage: seconds / 60 for stage, seconds in design.seconds.items()}
        says = [
            f"about {design.hours:.1f} hours: {minutes['generators']:.0f} minutes for {len(design.folds)} generators, "
            f"{minutes['looking']:.0f} to look at and audit their images, {minutes['arms']:.0f} for {design.trainings} "
            f"trainings of {design.steps} steps; interrupted, it goes on where it was"
        ]
        if design.controls:
            says.append(
                f"that holds {design.controls} generators that are over-fitted on purpose, for "
                f"{design.control_s:.0f} s each, for the audit to be tried on"
            )
        few = rare_classes(self.cohort, FEW)
        if few:
            named = ", ".join(f"{name} ({n})" for name, n in few.items())
            says.append(f"classes with fewer than {FEW} training patients, about which little can be shown: {named}")
        if not self.cohort.patient_key:
            says.append("patients unknown: every image counts as its own patient, also in the audit")
        self.events.emit("synthesize", "forecast", says=says, seconds_left=round(sum(design.seconds.values())))

    # generators -----------------------------------------------------------------------------------------------------

    def _generated(self, design: Design) -> tuple[dict[int, Looked], Verdict | None]:
        """Train and look at the generator of each fold; end early where the verdict is settled."""
        looking = Looking(self.work, design, self.ask.generator, self.place)
        looked: dict[int, Looked] = {}
        early: Verdict | None = None
        for run in runs_of(design.folds, 1):
            looked[run.fold] = found = looking.at(run)
            self._step("generator", fold=run.fold)
            early = early or settled(found)
            if early is not None and not self.ask.whole:
                break
        return looked, early

    # arms -----------------------------------------------------------------------------------------------------------

    def _trained(self, design: Design, looked: Mapping[int, Looked]) -> tuple[Runs, ...]:
        marks: dict[str, list[Marks]] = {arm.name: [] for arm in design.arms}
        for run in runs_of(design.folds, design.seeds):
            for arm in design.arms:
                marks[arm.name].append(self._marked(design, arm, run, looked[run.fold]))
                self._step("arm", arm=arm.name, fold=run.fold, seed=run.seed)
        found = gathered(design.arms, marks)
        record.write(self.place / RUNS, {"runs": found})
        return found

    def _marked(self, design: Design, arm: Arm, run: Run, looked: Looked) -> Marks:
        extra = self._extra(arm, run, looked)
        if extra is None and arm.kind != NOTHING:
            # Too little was left of what the arm wants; it has no score in this run.
            return Marks(math.nan, math.nan, {})
        try:
            return marked(self.work, arm, run, design.steps, extra)
        except DivergedError:
            # A walk of hours does not end at one training: without a score here, what is said rests on fewer runs.
            self.events.emit("synthesize", "diverged", arm=arm.name, fold=run.fold, seed=run.seed)
            return Marks(math.nan, math.nan, {})

    def _extra(self, arm: Arm, run: Run, looked: Looked) -> Extra | None:
        """Return what lies beside the real images of an arm in a run; None for nothing, or for too little."""
        if arm.kind == NOTHING:
            return None
        rng = np.random.default_rng((self.plan.seed, 37, run.fold, run.seed))
        ids: Sequence[str]
        if arm.kind == AGAIN:
            ids = [c.id for c in self.cohort.trainable if self.cohort.folds[c.id] not in (run.fold, run.inner)]
            store, labels = self.store, labels_of(self.store, ids)
        else:
            store, ids, labels = looked.pool(self.place)
        rows = rows_of(arm, looked.counts, labels, rng)
        if not arm.enough(len(rows), looked.counts):
            return None
        return Extra(store, {run.fold: tuple(ids[int(n)] for n in rows)}, share_of(len(rows), looked.counts))

    # the verdict ----------------------------------------------------------------------------------------------------

    def _decided(
        self, design: Design, looked: Mapping[int, Looked], runs: Sequence[Runs], early: Verdict | None
    ) -> Verdict:
        audit = _audited(looked)
        if not runs:
            found = early or stopped("no arm was trained", audit)
            record.write(self.place / VERDICT, found)
            return found
        contrasts = contrasted(runs, design.n_train, design.n_test)
        rival = rival_of(runs)
        candidate = next(r for r in runs if r.arm == (chosen(runs, contrasts) or contrasts[0].arm))
        guards = guarded(candidate, rival, design.n_train, design.n_test)
        # The locked part is looked at only where nothing else stands in the way any more.
        harmless = audit != FAILED and not any(g.state in ("broken", "unsure") for g in guards)
        look = harmless and early is None and candidate.arm in sure(contrasts) and bool(self.cohort.locked_cases)
        confirmation = self._confirmed(design, looked, candidate.arm, rival.arm) if look else None
        found = verdict(runs, contrasts, guards, confirmation, audit)
        if early is not None:
            found = replace(found, word=early.word, reasons=(*early.reasons, *found.reasons))
        record.write(self.place / VERDICT, found)
        return found

    def _confirmed(self, design: Design, looked: Mapping[int, Looked], ours: str, theirs: str) -> Confirmation:
        """Look at the locked part, once: candidate and rival, each the mean of the networks of all its runs."""
        path = self.place / LOOK
        if path.exists():
            return record.read(Confirmation, path)
        cases = list(self.cohort.locked_cases)
        arms = {arm.name: arm for arm in design.arms}
        sides = []
        for name in (ours, theirs):
            every = [
                trained(self.work, arms[name], run, design.steps, self._extra(arms[name], run, looked[run.fold]))
                for run in runs_of(design.folds, design.seeds)
            ]
            sides.append(together(every, cases))
        said = hashlib.sha256(f"{design.digest} {ours} {theirs}".encode()).hexdigest()
        looks = evaluate.enter(self.folder / "ledger.jsonl", self.cohort.digest, said)
        rng = np.random.default_rng((self.plan.seed, 41))
        found = confirmed(sides[0], sides[1], self.task, self.plan, rng, looks)
        record.write(path, found)
        return found

    def _supplied(self, design: Design, looked: Mapping[int, Looked], found: Verdict) -> None:
        """Leave the images of the arm that the verdict is about where ``fit`` finds them."""
        arm = next((a for a in design.arms if a.name == found.arm), None)
        parts: dict[int, Drawn] = {}
        for fold, own in looked.items() if arm is not None else ():
            pool, names, labels = own.pool(self.place)
            rows = rows_of(arm, own.counts, labels, np.random.default_rng(0)) if arm is not None else ()
            if len(rows):
                ids = [names[int(n)] for n in rows]
                parts[fold] = drawn_of(pool, ids, [""] * len(ids), classed=bool(self.plan.classes))
        named: dict[int, tuple[str, ...]] = {}
        store, at = "", 0
        if parts:
            every = joined(list(parts.values()))
            kept = store_of(every, self.plan, self.place / "accepted", PREFIX)
            store = kept.folder.relative_to(self.place).as_posix()
            for fold, part in parts.items():
                named[fold] = ids_of(every, PREFIX)[at : at + len(part)]
                at += len(part)
        shares = [share_of(len(part), looked[fold].counts) for fold, part in parts.items()]
        left = supplement.Supplement(
            verdict=found.word,
            reasons=found.reasons,
            arm=found.arm,
            data=self.cohort.digest,
            split=self.cohort.split,
            plan=supplement.agreed(self.plan),
            frame=design.frame,
            share=round(float(np.mean(shares)), 4) if shares else 0.0,
            until=UNTIL,
            store=store,
            ids=named,
        )
        record.write(self.place / supplement.FILE, left)

    # counting -------------------------------------------------------------------------------------------------------

    def _step(self, stage: str, **facts: object) -> None:
        """Count what is done, and write down the working time."""
        self.done += 1
        self.events.emit("synthesize", "progress", done=self.done, of=self.total, stage=stage, **facts)
        self._tick()

    def _tick(self) -> None:
        record.write(self.place / CLOCK, {"seconds": round(self.clock.elapsed(), 1)})


def settled(looked: Looked) -> Verdict | None:
    """Return the verdict that one fold's generator settles already; None while there is sense in going on."""
    if looked.audit.verdict == FAILED:
        return stopped("the audit failed: the images give patients away", FAILED)
    taught, real, most = looked.teaches, looked.teaches_real, looked.teaches_at_most
    # A fold of few patients leaves much to chance: what may be good enough goes on to the arms, which tell.
    if math.isfinite(most) and most < TEACHES * real:
        return stopped(
            f"trained on generated images alone a network reaches {taught:.3f}, at most {most:.3f}, where as many real "
            f"images give {real:.3f}; {TEACHES * real:.3f} are needed before anything more is tried",
            looked.audit.verdict,
        )
    return None


def _audited(looked: Mapping[int, Looked]) -> str:
    """Return the audit of all generators together: the worst of them."""
    words = {one.audit.verdict for one in looked.values()}
    return next((w for w in (FAILED, "not auditable") if w in words), "pass")
