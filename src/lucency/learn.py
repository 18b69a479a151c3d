"""The rooms of a walk that learn: plan, prepare, train, evaluate, report."""

import math
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

from lucency import __version__, carry, controls, downstream, evaluate, machine, planner, record, supplement, trial
from lucency import model as models
from lucency.calibration import Calibration
from lucency.case import Case, Source
from lucency.errors import DataError, MemoryShortError
from lucency.evaluate import Evaluation, Grounds
from lucency.features import learn_foreign
from lucency.image import Image
from lucency.inspect import ImageFacts
from lucency.networks import every_network, options_of
from lucency.plan import Forecast, Machine, Needs, Option, Plan, Timing
from lucency.planner import Budget
from lucency.prepare import Store, digest_of, prepare, used
from lucency.read import load
from lucency.report import Facts, Picture, card, cases_to_show, doubtful, picture, thumbnail, write_report
from lucency.tasks import Task, task_for, task_named
from lucency.train import OutOfFold, Work, calibrate, early, rehearse
from lucency.train.member import member
from lucency.walk import ROOMS, Walk

#: Share of the budget that one rehearsal may take, and the least and most seconds.
REHEARSAL = (0.04, 3.0, 20.0)


class Learning:
    """The rooms after ``profile``.

    Args:
        walk: Folder, settings, clock and what the first rooms found.
    """

    def __init__(self, walk: Walk) -> None:
        self.walk = walk
        self._cases_told: tuple[str, dict[str, Option], dict[str, str]] = ("", {}, {})

    # plan ---------------------------------------------------------------------------------------------------------

    def plan_depends(self) -> object:
        """What the room depends on beyond the rooms before it."""
        s = self.walk.settings
        beside = [supplement.digest_of(s.synthetic)] if s.synthetic else []
        return [s.minutes, s.seed, s.task, dict(s.values), __version__, s.start, *beside]

    def plan(self) -> None:
        """Do the room's work: decide, try what is worth a trial, and write it down."""
        folder = self.walk.folder
        begun = trial.waiting(folder, self.walk.digest)
        if begun is None:
            final, tried = self._decided()
            trial.begin(folder, self.walk.digest, final, tried, self.walk.clock.elapsed())
        else:
            final, tried = begun
        if tried is not None:
            final = trial.settled(self._work(task_named(final.task), final, self.store(final)), tried, folder)
        record.write(folder / "plan.json", final)
        trial.end(folder)
        self.walk.accept()
        self.walk.events.emit(
            "plan",
            "found",
            network=final.network,
            steps=final.schedule.steps,
            members=len(final.folds),
            memory_mib=round(final.forecast.memory_mib),
            seconds=round(sum(final.forecast.seconds.values())),
        )

    def _decided(self) -> tuple[Plan, planner.Trial | None]:
        """Return the plan as it is without a trial, and the trial that it is worth."""
        task = task_named(self.walk.settings.task) if self.walk.settings.task else task_for(self.walk.cohort)
        if task.suits(self.walk.cohort) <= 0:
            raise DataError(
                f"The targets of these data are not made for task {task.name!r}",
                where="--task",
                remedy="leave --task out, or name another column with --target",
            )
        measured = machine.measure()
        budget = Budget(self.walk.settings.minutes, self.walk.settings.seed)
        before = 1.0
        for attempt in range(3):
            draft = self._draft(task, measured, budget)
            store, prepare_s = self._prepared(task, draft)
            timing = self._rehearsed(task, draft, store, budget)
            if timing is None:
                measured = replace(measured, memory_mib=measured.memory_mib / 2)
                continue
            surprise = planner.surprise(draft, timing, self.walk.profiled(), dense=task.dense)
            guessed = replace(measured, gflops=measured.gflops * surprise)
            redrawn = self._draft(task, guessed, budget)
            # One direction only: a grid that was coarsened is not refined again.
            turned = (surprise - 1) * (before - 1) < 0
            if attempt < 2 and not turned and (redrawn.grid, redrawn.patch) != (draft.grid, draft.patch):
                measured, before = guessed, surprise
                continue
            break
        else:
            raise MemoryShortError(
                "Memory ran out while one training step was rehearsed, with smaller and smaller plans",
                remedy="close other programs, or use a machine with more memory",
            )
        found, said = self.walk.profiled(), tuple(self.walk.settings.planned)
        # Beside generated images nothing else is tried: the gate has compared them with every other choice.
        asked = replace(task.needs(found), tried={}) if self._frame else task.needs(found)
        tried, refused = planner.designed(draft, asked, timing, self.walk.cohort, found, said=said)
        final = planner.timed(
            replace(draft, reasons=planner.remarked(draft.reasons, refused)),
            timing,
            found,
            n_locked=len(self.walk.cohort.locked),
            spent_s=self.walk.clock.elapsed(),
            dense=task.dense,
            trial_s=tried.seconds if tried else 0.0,
            beside_s=downstream.seconds(self.walk.cohort, self.walk.folder, draft.minutes),
        )
        final = planner.overridden(final, self.walk.settings.planned)
        final = carry.begun(final, self.walk.settings.start, self.walk.cohort, task)
        told = self.walk.settings
        final = supplement.begun(final, told.synthetic, self.walk.cohort, consent=told.consent)
        final = early.timed(self._work(task, final, store), timing, said="pretrain_steps" in self.walk.settings.planned)
        final = controls.timed(self._work(task, final, store), timing)
        self.walk.state["plan"]["prepare_s"] = round(prepare_s, 2)
        record.write(self.walk.folder / "machine.json", measured)
        return final, tried

    def _draft(self, task: Task, measured: Machine, budget: Budget) -> Plan:
        found = self.walk.profiled()
        needs = _for_network(task.needs(found), self.walk.settings.planned)
        if self.walk.settings.start is not None:
            # What a network starts with is said already.
            needs = replace(needs, pretrain="none")
        needs = replace(needs, frame=self._frame)
        draft = planner.plan(self.walk.cohort, found, needs, measured, budget)
        if self.walk.settings.nan is not None:
            draft = replace(draft, task_options={**draft.task_options, "nan": self.walk.settings.nan})
        early = {k: v for k, v in self.walk.settings.planned.items() if not k.startswith(("schedule", "folds"))}
        made = self._told(task, planner.overridden(draft, early))
        return made if "controls" in early else controls.with_zero_filling(made)

    @property
    def _frame(self) -> int:
        """The side of generated images, where some are to be made or used; else 0."""
        return self.walk.settings.frame or supplement.frame_of(self.walk.settings.synthetic)

    def _told(self, task: Task, draft: Plan) -> Plan:
        """Put in what only the training cases can tell; they are asked once for the same settings."""
        asked = repr((task.name, sorted(draft.task_options.items())))
        if self._cases_told[0] != asked:
            self._cases_told = (asked, *task.told(self.walk.cohort, draft.task_options))
        _, options, reasons = self._cases_told
        return replace(draft, task_options={**draft.task_options, **options}, reasons={**draft.reasons, **reasons})

    def _prepared(self, task: Task, draft: Plan) -> tuple[Store, float]:
        begin = time.monotonic()
        for old in (self.walk.folder / "prepared").glob("*"):
            if old.is_dir() and old.name != digest_of(self.walk.cohort, draft):
                shutil.rmtree(old, ignore_errors=True)
        store = prepare(
            self.walk.cohort,
            draft,
            task.target,
            self.walk.folder / "prepared",
            workers=self.walk.workers,
            events=self.walk.events,
        )
        return store, time.monotonic() - begin

    def _rehearsed(self, task: Task, draft: Plan, store: Store, budget: Budget) -> Timing | None:
        """Return what a rehearsal took, or None where it ran out of memory."""
        work = self._work(task, draft, store)
        labelled = (*self.walk.cohort.trainable, *self.walk.cohort.locked_cases)
        case = max(labelled, key=lambda c: math.prod(store.entries[c.id].shape[1:]))
        largest = case.id
        prepared = store.prepared(largest)
        truth = evaluate.target_of(store, task, largest)
        output = task.perfect(truth, draft)

        def score() -> object:
            return task.score(task.decode(output, case, prepared, draft, Calibration()), case, draft)

        try:
            share, least, most = REHEARSAL
            allowance = min(most, max(least, share * budget.seconds))
            return rehearse(work, largest, score, allowance)
        except (RuntimeError, MemoryError) as error:
            if not machine.is_out_of_memory(error):
                raise
            self.walk.events.emit(
                "plan", "memory", found="out of memory while a training step was rehearsed", action="smaller"
            )
            return None

    def _work(self, task: Task, plan: Plan, store: Store) -> Work:
        start = carry.weights(plan, self.walk.settings.start)
        folder = self.walk.folder / "training"
        extra = supplement.images(plan, self.walk.settings.synthetic)
        work = Work(self.walk.cohort, plan, task, store, folder, self.walk.clock, self.walk.events, start)
        return replace(work, extra=extra)

    def planned(self) -> Plan:
        """Return the plan, as planned or as a person edited it."""
        return record.read(Plan, self.walk.folder / "plan.json")

    # prepare ------------------------------------------------------------------------------------------------------

    def prepare_depends(self) -> object:
        """What the room depends on beyond the rooms before it."""
        plan = self.planned()
        return digest_of(self.walk.cohort, plan)

    def prepare(self) -> None:
        """Do the room's work."""
        plan = self.planned()
        self._prepared(task_named(plan.task), plan)

    def store(self, plan: Plan) -> Store:
        """The prepared cases; made anew if somebody deleted them."""
        folder = self.walk.folder / "prepared" / digest_of(self.walk.cohort, plan)
        wanted = len(used(self.walk.cohort, plan))
        store = Store(folder)
        return store if len(store.entries) == wanted else self._prepared(task_named(plan.task), plan)[0]

    # train --------------------------------------------------------------------------------------------------------

    def train_depends(self) -> object:
        """What the room depends on beyond the rooms before it."""
        plan = self.planned()
        return record.to_json(replace(plan, forecast=Forecast(), reasons=dict.fromkeys(plan.reasons, "-")))

    def train(self) -> None:
        """Do the room's work."""
        plan = self.planned()
        if self.walk.state["train"].get("unfinished", 0.0) == 0.0:
            self._clear_training()
        try:
            self._train_all(plan)
        except (RuntimeError, MemoryError) as error:
            if not machine.is_out_of_memory(error):
                raise
            plan = planner.smaller(plan)
            self.walk.events.emit(
                "train", "memory", found="out of memory while training", action="smaller plan, once more"
            )
            record.write(self.walk.folder / "plan.json", plan)
            self._clear_training(anew=True)
            self._train_all(plan)

    def _clear_training(self, *, anew: bool = False) -> None:
        """Checkpoints of another plan are of no use; those of this plan carry its digest, and go where it changed."""
        stamp = self.walk.folder / "training" / "digest.txt"
        if not anew and stamp.exists() and stamp.read_text(encoding="utf-8") == self.walk.digest:
            return
        for name in ("training", "out_of_fold", "model", "controls", downstream.FOLDER):
            shutil.rmtree(self.walk.folder / name, ignore_errors=True)
        record.write_text(stamp, self.walk.digest)

    def _train_all(self, plan: Plan) -> None:
        task, store = task_named(plan.task), self.store(plan)
        work = self._work(task, plan, store)
        after = sum(plan.forecast.seconds.get(k, 0.0) for k in ("evaluate", "report"))
        end = max(plan.minutes * 60 * 0.97 - after, self.walk.clock.elapsed() + 1.0)
        whole, end = end, end - downstream.seconds(self.walk.cohort, self.walk.folder, plan.minutes)
        weights, history, guards, shares, rows = {}, [], [], [], []
        beside = list(controls.waiting(work, self.walk.folder))
        now, n = self.walk.clock.elapsed(), len(plan.folds)
        early.first_round(work, now + (end - now) * n / (n + len(beside)))
        for number, fold in enumerate(plan.folds):
            left = len(plan.folds) - number + len(beside)
            now = self.walk.clock.elapsed()
            one = member(work, fold, self.walk.folder / "out_of_fold", now + (end - now) / left)
            weights[f"fold{fold}"] = one.weights
            history += one.facts["history"]
            rows += one.facts["early"]
            guards += [one.facts["guard"]] if one.facts["guard"] else []
            shares.append(one.facts["augment"])
        for number, (name, fold) in enumerate(beside):
            now = self.walk.clock.elapsed()
            guard = controls.train(work, self.walk.folder, name, fold, now + (end - now) / (len(beside) - number))
            guards += [guard] if guard else []
        downstream.train(work, self.walk.folder, whole)
        calibration = calibrate(work, OutOfFold(self.walk.folder / "out_of_fold"))
        models.save(
            self.walk.folder / "model",
            plan,
            calibration,
            weights,
            _first_card(plan),
            self.walk.inspection.limits,
            foreign=learn_foreign(work.cohort, store, plan, weights[f"fold{plan.folds[0]}"]),
        )
        self.walk.state["train"]["augment_share"] = round(sum(shares) / len(shares), 4)
        told = {"rows": history, "time_guard": "; ".join(guards), "pretraining": rows}
        record.write(self.walk.folder / "training" / "history.json", told)

    # evaluate -----------------------------------------------------------------------------------------------------

    def _grounds(self) -> Grounds:
        plan = self.planned()
        grounds = Grounds(
            cohort=self.walk.cohort,
            plan=plan,
            task=task_named(plan.task),
            store=self.store(plan),
            model=models.load(self.walk.folder / "model"),
            outputs=OutOfFold(self.walk.folder / "out_of_fold"),
            events=self.walk.events,
            nan=self.walk.settings.nan,
        )
        return replace(grounds, controls=controls.grounds_of(grounds, self.walk.folder))

    def evaluate_depends(self) -> object:
        """What the room depends on beyond the rooms before it."""
        return models.weights_digest(self.walk.folder / "model")

    def evaluate(self) -> None:
        """Do the room's work."""
        grounds = self._grounds()
        found = evaluate.evaluate(grounds, self.walk.folder / "ledger.jsonl")
        found = replace(found, downstream=downstream.judged(grounds, self.walk.folder))
        record.write(self.walk.folder / "evaluation.json", found)

    # report -------------------------------------------------------------------------------------------------------

    def report_depends(self) -> object:
        """What the room depends on beyond the rooms before it."""
        return self.walk.settings.lang

    def report(self) -> None:
        """Do the room's work."""
        evaluation = record.read(Evaluation, self.walk.folder / "evaluation.json")
        grounds, inspection = self._grounds(), self.walk.inspection
        history = record.read_object(self.walk.folder / "training" / "history.json")
        chosen = [c.case for group in cases_to_show(evaluation).values() for c in group]
        shown = evaluate.show(grounds, chosen, _truth_of)
        seconds = {r: float(self.walk.state.get(r, {}).get("seconds", 0.0)) for r in ROOMS if r != "report"}
        moved = float(self.walk.state.get("plan", {}).get("prepare_s", 0.0))
        tried = trial.of_run(self.walk.folder)
        trial_s = tried.seconds if tried else 0.0
        seconds["plan"], seconds["prepare"] = seconds["plan"] - moved - trial_s, seconds["prepare"] + moved
        before = sum(v for r, v in seconds.items() if r not in ("train", "evaluate"))
        seconds = {"before training": before, **({"trial": trial_s} if tried else {}), **seconds}
        facts = Facts(
            cohort=self.walk.cohort,
            plan=grounds.plan,
            evaluation=evaluation,
            machine=record.read(Machine, self.walk.folder / "machine.json"),
            version=__version__,
            model_digest=models.weights_digest(self.walk.folder / "model"),
            inspection_warnings=inspection.warnings,
            inspection_skipped=inspection.skipped,
            history=history["rows"],
            pretraining=history.get("pretraining", ()),
            actual=Forecast(machine.peak_memory_mib(), seconds),
            pictures={s.case.id: picture(s) for s in shown},
            images=inspection.images,
            thumbnails=self._thumbnails(inspection.images),
            time_guard=history["time_guard"],
            tried=tried,
        )
        write_report(facts, self.walk.folder / "report", self.walk.settings.lang)
        models.replace_card(self.walk.folder / "model", card(facts, self.walk.settings.lang))

    def _thumbnails(self, images: Sequence[ImageFacts]) -> dict[str, Picture]:
        """Return pictures of the images whose quality is doubted; what cannot be read has none."""
        by_id = {c.id: c for c in self.walk.cohort.cases}
        found = {}
        for facts in doubtful(images):
            try:
                source = by_id[facts.case].images[facts.modality][facts.time]
                image = load(source, nan=self.walk.settings.nan)
            except DataError:
                continue
            found[facts.case] = thumbnail(image, inverted=bool(source.header.get("inverted")))
        return found


def _for_network(needs: Needs, settings: Mapping[str, str]) -> Needs:
    """Return what the task asks for with what its network, or the one that the user names, asks for in turn."""
    name = settings.get("network", needs.network)
    options_of(name)  # refuses a network that there is not
    chosen = every_network()[name]
    reading = replace(needs, network=name, sequence=chosen.sequence)
    given = {k.removeprefix("network_options."): v for k, v in settings.items() if k.startswith("network_options.")}
    return reading if needs.dense else replace(reading, controls=controls.names_of(name, given))


def _truth_of(case: Case) -> Image | None:
    return load(case.target) if isinstance(case.target, Source) else None


def _first_card(plan: Plan) -> str:
    return f"# Model card\n\nTask {plan.task}, network {plan.network}. Not evaluated yet: finish the run.\n"
