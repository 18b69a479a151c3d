"""One fold's generator: trained, its images compared, audited and sieved; what arms may use of it is kept."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from lucency import record
from lucency.prepare import Store
from lucency.report.overlay import overlay
from lucency.synthesize.arrays import store_of, trained_on
from lucency.synthesize.audit import Ask as Asked
from lucency.synthesize.audit import Audit, Control, audit
from lucency.synthesize.drawn import UNKNOWN, Drawn, drawn_of, joined
from lucency.synthesize.encoders import random_encoder, trained_encoder
from lucency.synthesize.fidelity import Panel, headline, leading, panel, use_of
from lucency.synthesize.gate.arms import pool_of
from lucency.synthesize.gate.design import Design, control_fold
from lucency.synthesize.gate.filters import agreement, sieved
from lucency.synthesize.gate.running import Run, apart
from lucency.synthesize.maker import Maker
from lucency.synthesize.making import Order, make, members_of
from lucency.synthesize.overfitting import few_of, overfitted
from lucency.synthesize.privacy import Privacy
from lucency.train import Work

#: Images drawn for each that the arms need: the sieve takes half at most where the generator is good.
DRAWN_FOR_EACH = 2.2

#: Parts of the training patients; each judge of labels leaves one out.
JUDGES = 3

#: Judges, encoder and what tells how much images teach learn for this share of an arm's steps.
SHARE_OF_STEPS = 0.5

#: Images of each class in a report, and the longest side of each in px.
SHOWN, SIDE = 8, 96

#: Generated images that an audit looks at, at the most.
AUDITED = 2000

#: Images that judges look at together.
AT_ONCE = 256


@dataclass(frozen=True)
class Looked:
    """What was seen of one generator, ``RUN/synthesis/foldN/looked.json``.

    Args:
        fold: Outer fold; its patients and those of the inner fold are unknown to the generator.
        inner: Inner fold.
        counts: Class number to real training images.
        kept: Class number to generated images that arms may use.
        lost: Step of the sieve to images that it took.
        drawn: Images drawn.
        store: Folder of the kept images, below ``RUN/synthesis``.
        panel: How like real images they are.
        audit: Whether they give patients away.
        family: Of the generator.
        facts: What it says of its training.
        privacy: What its training has cost, of a private generator.
    """

    fold: int
    inner: int
    counts: Mapping[int, int]
    kept: Mapping[int, int]
    lost: Mapping[str, int]
    drawn: int
    store: str
    panel: Panel
    audit: Audit
    family: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)
    privacy: Privacy | None = None

    @property
    def teaches(self) -> float:
        """What a network reaches that learned from generated images alone; NaN where it was not tried."""
        return headline(self.panel.use.tstr) if self.panel.use is not None else float("nan")

    @property
    def teaches_at_most(self) -> float:
        """The upper end of its interval; NaN where there are too few patients for one, for then it may be anything."""
        upper = leading(self.panel.use.tstr).upper if self.panel.use is not None else None
        return float("nan") if upper is None else upper

    @property
    def teaches_real(self) -> float:
        """What it reaches with as many real ones."""
        return headline(self.panel.use.trtr) if self.panel.use is not None else float("nan")

    def pool(self, place: Path) -> tuple[Store, Sequence[str], np.ndarray]:
        """Return the kept images: their store, ids and class numbers.

        Args:
            place: ``RUN/synthesis``.
        """
        store = Store(place / self.store)
        ids = sorted(store.entries)
        return store, ids, labels_of(store, ids)


class Looking:
    """Trains and looks at the generators of a walk.

    Args:
        work: With the whole cohort and the plan.
        design: Seconds, steps and arms.
        generator: Name of a family; "" leaves it to the budget.
        place: ``RUN/synthesis``.
    """

    def __init__(self, work: Work, design: Design, generator: str, place: Path) -> None:
        self.work, self.design, self.generator, self.place = work, design, generator, place
        self.classed = bool(work.plan.classes)

    def at(self, run: Run) -> Looked:
        """Train and look at the generator of an outer fold, unless that was done."""
        folder = self.place / f"fold{run.fold}"
        path = folder / "looked.json"
        if path.exists():
            return record.read(Looked, path)
        folder.mkdir(parents=True, exist_ok=True)
        found = self._looked(run, folder)
        record.write(path, found)
        return found

    def _looked(self, run: Run, folder: Path) -> Looked:
        work, plan = self.work, self.work.plan
        maker = self.maker(run, folder)
        members = members_of(apart(work.cohort, run), plan, work.store, run.fold)
        strangers, inner = self._real([run.fold, run.inner]), self._real([run.inner])
        counts = counts_in(members)
        wanted = pool_of(self.design.arms, counts)
        rng = np.random.default_rng((plan.seed, 43, run.fold))
        made = maker.sample(asked_for(wanted), rng)
        steps = max(1, int(SHARE_OF_STEPS * self.design.steps))
        trained = trained_encoder(members, plan, folder / "encoder", steps=steps, seed=plan.seed)
        encoders = [trained, random_encoder(plan.channels, plan.dims)]
        # The patients who judge the arms have no part in anything that is chosen: what images teach is tried on others.
        use = use_of(made, members, inner, plan, folder / "use", steps=self.design.steps, seed=plan.seed)
        found = panel(made, members, strangers, encoders, rng, use)
        some = made.take(np.sort(rng.permutation(len(made))[:AUDITED]))
        asked = Asked(
            critic_of(maker, members, strangers),
            self.control(run, members),
            known=bool(work.cohort.patient_key),
            masks=0 if maker.masks is None else len(set(members.people.tolist())),
        )
        looked_at = audit(some, members, strangers, encoders, rng, asked)
        sureness = self._sureness(made, members, folder / "judges", steps)
        kept = sieved(made, members, sureness, (trained(made.images), trained(members.images)))
        store, left = self._kept(made, kept.kept, wanted, folder)
        self._drawn_pictures(some, members, looked_at, folder)
        return Looked(
            fold=run.fold,
            inner=run.inner,
            counts=counts,
            kept=left,
            lost=kept.lost,
            drawn=len(made),
            store=store,
            panel=found,
            audit=looked_at,
            family=maker.plan.network,
            facts=said_of(maker),
            privacy=maker.made.privacy,
        )

    def maker(self, run: Run, folder: Path) -> Maker:
        """Return the generator of an outer fold, trained in its time and kept as it was best on the inner fold.

        Args:
            run: Neither of its folds is learned from.
            folder: Of the outer fold.
        """
        work = self.work
        inner = self._real([run.inner])
        order = replace(self._order(), events=work.events, inner=inner)
        deadline = work.clock.elapsed() + self.design.generator_s
        cohort = apart(work.cohort, run)
        return make(cohort, work.plan, work.store, run.fold, folder / "generator", deadline, order)

    def control(self, run: Run, members: Drawn) -> Control | None:
        """Return a generator that was over-fitted on purpose to a few members; None where there is no time for one.

        Args:
            run: The members are of other folds.
            members: As :func:`lucency.synthesize.making.members_of` gives them.
        """
        design, plan = self.design, self.work.plan
        if not design.control_s:
            return None
        fold = control_fold(design.folds, run)
        outside = apart(self.work.cohort, run).outside(run.fold)
        rows = np.array([n for n, c in enumerate(outside) if self.work.cohort.folds[c.id] == fold], dtype=np.int64)
        # The same few in every run that may know them: one training serves these.
        few = few_of(members, rows, np.random.default_rng((plan.seed, 67, fold)))
        place = self.place / f"control{fold}"
        images = overfitted(members.take(few), plan, place, design.control_s, self._order())
        return None if images is None else Control(images, few)

    def _order(self) -> Order:
        return Order(family=self.generator, clock=self.work.clock)

    def _real(self, folds: Sequence[int]) -> Drawn:
        cases = [c for f in folds for c in self.work.cohort.fold(f)]
        return drawn_of(self.work.store, [c.id for c in cases], [c.patient for c in cases], classed=self.classed)

    def _sureness(self, made: Drawn, members: Drawn, folder: Path, steps: int) -> np.ndarray:
        """Return how sure networks of the training patients are of what each image was made to show, their mean."""
        people = list(dict.fromkeys(members.people.tolist()))
        rng = np.random.default_rng((self.work.plan.seed, 47))
        part = dict(zip(people, (rng.permutation(len(people)) % JUDGES).tolist(), strict=True))
        side = np.array([part[p] for p in members.people.tolist()])
        answers = []
        for left_out in range(JUDGES):
            some = members.take(side != left_out)
            answer = trained_on(some, self.work.plan, folder, steps=steps, seed=self.work.plan.seed + left_out)
            each = [answer(made.images[at : at + AT_ONCE]) for at in range(0, len(made), AT_ONCE)]
            answers.append(agreement(np.concatenate(each), made))
        return np.asarray(np.mean(answers, axis=0))

    def _kept(
        self, made: Drawn, rows: np.ndarray, wanted: Mapping[int, int], folder: Path
    ) -> tuple[str, dict[int, int]]:
        """Write what arms may use; return where, below the walk's folder, and how many of each class."""
        chosen = [rows[made.labels[rows] == label][:n] for label, n in wanted.items()]
        every = np.concatenate([*chosen, np.zeros(0, dtype=np.int64)])
        left = {label: len(some) for label, some in zip(wanted, chosen, strict=True)}
        if not len(every):
            return "", left
        store = store_of(made.take(every), self.work.plan, folder / "made", "made")
        return store.folder.relative_to(self.place).as_posix(), left

    def _drawn_pictures(self, made: Drawn, members: Drawn, found: Audit, folder: Path) -> None:
        """Write what a report shows: some images of each class, and the pairs that are most alike."""
        some = [np.flatnonzero(made.labels == label)[:SHOWN] for label in sorted(set(made.labels.tolist()))]
        shown = {str(int(made.labels[rows[0]])): [_picture(made, int(n)) for n in rows] for rows in some}
        pairs = [[_picture(made, pair.made), _picture(members, pair.member)] for pair in found.gallery]
        record.write(folder / "pictures.json", {"generated": shown, "pairs": pairs})


def labels_of(store: Store, ids: Sequence[str]) -> np.ndarray:
    """Return (n,) int, the class number of each case; :data:`UNKNOWN` of one that has a mask instead."""
    targets = [store.entries[i].target for i in ids]
    return np.array([int(v) if math.isfinite(v) else UNKNOWN for v in targets], dtype=np.int64)


def counts_of(store: Store, ids: Sequence[str]) -> dict[int, int]:
    """Return how many of these cases each class has; all under :data:`UNKNOWN` without classes."""
    labels, counts = np.unique(labels_of(store, ids), return_counts=True)
    return dict(zip(labels.tolist(), counts.tolist(), strict=True))


def counts_in(members: Drawn) -> dict[int, int]:
    """Return how many images of each class there are; all under :data:`UNKNOWN` without classes."""
    return members.counts or {UNKNOWN: len(members)}


def asked_for(wanted: Mapping[int, int]) -> np.ndarray:
    """Return (n,) class numbers to draw, class by class; more than are wanted, for some are sieved out."""
    return np.concatenate([np.full(math.ceil(DRAWN_FOR_EACH * n), label) for label, n in wanted.items() if n])


def critic_of(maker: Maker, *real: Drawn) -> Callable[[np.ndarray], np.ndarray] | None:
    """Return what the generator's critic says of real images alone; None where it has no critic.

    Args:
        maker: Its critic is told class and mask as well, so they are looked up.
        real: All images that may be asked about.
    """
    every = joined([r.nameless() for r in real])
    if maker.score(every.take([0])) is None:
        return None
    rows = {image.tobytes(): row for row, image in enumerate(every.images)}

    def said(images: np.ndarray) -> np.ndarray:
        found = maker.score(every.take([rows[image.tobytes()] for image in images]))
        return np.zeros(len(images)) if found is None else found

    return said


def said_of(maker: Maker) -> dict[str, str]:
    """Return what a generator says of its training, in words."""
    made = maker.made
    shortened = f" of {made.planned}" if made.steps < made.planned else ""
    return {
        "network_options": maker.plan.reasons.get("network_options", ""),
        "schedule": f"{made.steps}{shortened} steps in {made.seconds:.0f} s",
        "data": made.data,
        "weights": made.weights,
        "remarks": "; ".join(said for said in (made.why, *made.remarks) if said),
    }


def _picture(drawn: Drawn, row: int) -> str:
    """Return an image as a PNG in a data address, its mask in colour."""
    mask = None if drawn.masks is None else (drawn.masks[row] > 0).astype(np.float32)
    return overlay(drawn.images[row], mask, side=SIDE)
