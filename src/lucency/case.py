"""What comes in and what goes out: Source, Case, Cohort, Prediction."""

import hashlib
import hmac
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from lucency.boxes import Box
from lucency.errors import DataError
from lucency.image import Image

#: The only things about a patient that a Case may carry; none of them identifies anybody.
FACTS = (
    "age",
    "sex",
    "site",
    "scanner",
    "modality",
    "body_part",
    "time",
    "event",
)

#: Parts that a data set may supply.
PARTS = ("", "train", "val", "test")

N_FOLDS = 5
#: Share of the patients that is locked when the data bring no test part (architecture, section 2).
LOCKED_SHARE = 0.15


@dataclass(frozen=True)
class Source:
    """Where an image or a mask lies; not an image yet, so nothing is half loaded.

    Args:
        paths: Files relative to ``root``, in slice order; one for most formats.
        root: Absolute folder that the paths are relative to.
        reader: Name of the format that loads it, a file of ``lucency.read``.
        item: Which part of a container file, for example ``"train_images/17"`` in an npz; empty otherwise.
        kind: ``"intensity"`` or ``"labels"``.
        header: Facts read without the pixels: ``size`` (K, J, I), ``spacing`` (mm), ``channels``, ``dtype``,
            ``modality``, ``spacing_known`` …; numbers and short words, nothing that identifies. With ``channel`` only
            that channel of the file is meant.
        checksum: SHA-256 of the bytes of the files (of the item, in a container).
    """

    paths: tuple[str, ...]
    root: str
    reader: str
    item: str = ""
    kind: str = "intensity"
    header: Mapping[str, int | float | str | bool | tuple[float, ...]] = field(default_factory=dict)
    checksum: str = ""

    @property
    def files(self) -> tuple[Path, ...]:
        """Absolute paths."""
        return tuple(Path(self.root, p) for p in self.paths)

    @property
    def where(self) -> str:
        """What an error may show: the first path, relative to the data folder, and the item."""
        return self.paths[0] + (f"[{self.item}]" if self.item else "")


@dataclass(frozen=True)
class Outcome:
    """How it went on with a patient after the image.

    Args:
        time: Days until the event, or until the patient was last seen without one; >= 0.
        event: 0 last seen without an event (censored), 1 the event, 2 and more competing events.

    Raises:
        DataError: A time that is negative or not finite, or a negative event.
    """

    time: float
    event: int

    def __post_init__(self) -> None:
        if not 0 <= self.time < float("inf") or self.event < 0:
            raise DataError(f"Time {self.time:g} with event {self.event}", expected="a time and an event of 0 or more")


@dataclass(frozen=True)
class Findings:
    """Several labels of one image, each there or not; a label that is absent here is not known.

    Args:
        known: Label to whether the image has it.
    """

    known: Mapping[str, bool]


Target = str | float | Source | Outcome | Findings | tuple[Box, ...] | None


@dataclass(frozen=True)
class Case:
    """One thing to learn from or to predict.

    Args:
        id: Unique in the cohort; section 7 of the architecture says how it is made.
        patient: Salted digest. The salt stays in the run, not in the model.
        images: By modality name, each ordered by time; one entry of one Source in the plain case.
        target: Class name, number, mask, outcome, several labels, boxes (none of them: nothing to find), or None for
            "not labelled".
        part: ``"train"``, ``"val"``, ``"test"`` as the data supply it, or ``""``.
        facts: Keys from :data:`FACTS` only.
        clinical: Further columns of a table, to number or word; what is not known is absent. They stay in the run:
            a model holds names of columns and of groups of patients only (:mod:`lucency.columns`).
        region: Mask of what the case is about (a tumour), where it is not what is to be learned.

    Raises:
        DataError: No image, an unknown part or a fact outside the list.
    """

    id: str
    patient: str
    images: Mapping[str, tuple[Source, ...]]
    target: Target = None
    part: str = ""
    facts: Mapping[str, str | float] = field(default_factory=dict)
    clinical: Mapping[str, str | float] = field(default_factory=dict)
    region: Source | None = None

    def __post_init__(self) -> None:
        if not self.images or not all(self.images.values()):
            raise DataError("A case without an image", where=self.id)
        if self.part not in PARTS:
            raise DataError(f"Part {self.part!r}", expected="train, val or test", where=self.id)
        unknown = sorted(set(self.facts) - set(FACTS))
        if unknown:
            raise DataError(f"Facts {unknown}", expected=f"only {', '.join(FACTS)}", where=self.id)

    @property
    def sources(self) -> tuple[Source, ...]:
        """The images of the first time point, one per modality, in the order of the modality names."""
        return tuple(self.images[m][0] for m in sorted(self.images))

    @property
    def visits(self) -> "tuple[Case, ...]":
        """The case at each of its time points, the earliest first."""
        n = max(len(s) for s in self.images.values())
        if n == 1:
            return (self,)
        return tuple(replace(self, images={m: (s[t],) for m, s in self.images.items() if t < len(s)}) for t in range(n))

    @property
    def classes(self) -> frozenset[str]:
        """The class, the labels that are there, or what its boxes are called; empty for other targets."""
        if isinstance(self.target, Findings):
            return frozenset(name for name, there in self.target.known.items() if there)
        if isinstance(self.target, tuple):
            return frozenset(box.label for box in self.target)
        return frozenset({self.target} if isinstance(self.target, str) else ())


@dataclass(frozen=True)
class Skipped:
    """A file that was left out, and why. Written to ``skipped.csv``."""

    path: str
    reason: str


#: Of the files or cases of a set this share may be unusable; more is a fault of the data set, not of single files …
BAD_SHARE = 0.05
#: … save that in a small set so many may be, since one broken series in ten is ordinary in a hospital …
BAD_FEW = 3
#: … unless they are more than this share of it.
BAD_SHARE_FEW = 0.2
#: The same for messages.
BAD_RULE = f"at most {BAD_SHARE:.0%} of them, or {BAD_FEW} if these are no more than {BAD_SHARE_FEW:.0%}"


def too_many_bad(n: int, total: int) -> bool:
    """Tell whether so many unusable ones among ``total`` make the set unfit.

    Example:
        >>> too_many_bad(2, 30), too_many_bad(4, 30), too_many_bad(3, 12), too_many_bad(5, 100)
        (False, True, True, False)
    """
    return n > BAD_SHARE_FEW * total or (n > BAD_FEW and n > BAD_SHARE * total)


def by_reason(skipped: Iterable[Skipped]) -> list[tuple[int, Skipped]]:
    """Return how many were left out for each reason, with the first of them; the most frequent reason first.

    Numbers do not make another reason: a gap after slice 5 and one after slice 9 count together.
    """
    groups: dict[str, list[Skipped]] = {}
    for one in skipped:
        groups.setdefault(re.sub(r"[\d.]+", "#", one.reason.partition(" Expected: ")[0]), []).append(one)
    return sorted(((len(g), g[0]) for g in groups.values()), key=lambda pair: -pair[0])


#: The note of a cohort in which nothing tells the patients apart.
UNKNOWN_PATIENTS = "Patients unknown: every image counts as its own patient, and intervals are optimistic."


@dataclass(frozen=True)
class Cohort:
    """Who, which image, which label, which fold.

    Args:
        cases: Sorted by id.
        folds: Case id to fold 0..4, for labelled cases outside the locked part.
        locked: Ids of the labelled cases that no training or choice may see.
        layout: Name of the layout that recognised the data.
        classes: Class names in order, when the targets are classes; else empty.
        labels: Mask value to name, without background 0, when the targets are masks; else empty.
        ignore: Mask value that means "not annotated", or None.
        patient_key: How patients were told apart, for the report: ``"column 'PatientID'"``, ``"folder"``,
            ``"name prefix …"``; empty when unknown, and then every case is its own patient.
        target_name: Column or folder that gave the target.
        left_out: Case id to reason (for example the training copy of a validation image); these are in no fold.
        notes: Sentences for the report: what the reader saw and decided.
        skipped: Files that could not be read.
        beside: Files of other kinds; listed as well, but not counted as unusable.
        untrainable: Why nothing can be learned from the data as they are (found, expected, where, remedy); else empty.
        unlabelled: Case id to the fold whose network must not see it, -1 where every one may: the cases without a label
            that may be learned from (:mod:`lucency.spare`).
        visits: Column by which a patient's images were put together as one sequence; empty where none were.
        made: Modality that is to be made of the others; empty where something else is learned.

    Raises:
        DataError: Ids not unique, or a patient in two folds or in a fold and the locked part.
    """

    cases: tuple[Case, ...]
    folds: Mapping[str, int]
    locked: frozenset[str]
    layout: str = ""
    classes: tuple[str, ...] = ()
    labels: Mapping[int, str] = field(default_factory=dict)
    ignore: int | None = None
    patient_key: str = ""
    target_name: str = ""
    left_out: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    allow_leak: bool = False
    untrainable: tuple[str, ...] = ()
    beside: tuple[Skipped, ...] = ()
    unlabelled: Mapping[str, int] = field(default_factory=dict)
    visits: str = ""
    made: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "cases", tuple(sorted(self.cases, key=lambda c: c.id)))
        ids = [c.id for c in self.cases]
        if len(set(ids)) != len(ids):
            twice = sorted(i for i, n in Counter(ids).items() if n > 1)[:5]
            raise DataError(f"Case ids that occur twice: {', '.join(twice)}", remedy="give every case its own name")
        place: dict[str, int] = {}
        for case in self.cases:
            seat = -1 if case.id in self.locked else self.folds.get(case.id)
            if seat is None:
                continue
            if place.setdefault(case.patient, seat) != seat and not self.allow_leak:
                raise DataError("A patient is in two parts of the split", where=case.id, remedy="report this as a bug")

    @property
    def digest(self) -> str:
        """SHA-256 over names, checksums, targets and parts; independent of file order, place and salt."""
        state = hashlib.sha256()
        for content in sorted(_content(c) for c in self.cases):
            state.update(repr(content).encode())
        return state.hexdigest()

    @property
    def split(self) -> str:
        """SHA-256 over the same and the place of each case: locked, in which fold, or left out.

        Patients, near-duplicates and what is left out decide it, and neither the order of the files nor the salt does.
        """
        places = ((_content(c), "locked" if c.id in self.locked else str(self.folds.get(c.id))) for c in self.cases)
        return hashlib.sha256(repr(sorted(places)).encode()).hexdigest()

    @property
    def trainable(self) -> tuple[Case, ...]:
        """The cases in the folds: labelled, not locked, not left out."""
        return tuple(c for c in self.cases if c.id in self.folds)

    def fold(self, number: int) -> tuple[Case, ...]:
        """The cases held out by fold ``number``."""
        return tuple(c for c in self.cases if self.folds.get(c.id) == number)

    def outside(self, number: int) -> tuple[Case, ...]:
        """The cases that fold ``number`` trains on."""
        return tuple(c for c in self.cases if self.folds.get(c.id, number) != number)

    @property
    def locked_cases(self) -> tuple[Case, ...]:
        """The cases of the locked part."""
        return tuple(c for c in self.cases if c.id in self.locked)


def _content(case: Case) -> tuple[str, list[str], str, str]:
    """Return what a case is, whoever reads it: a DICOM case's id depends on the run's salt, its files do not."""
    name = "" if any(s.reader == "dicom" for s in case.sources) else case.id
    target = case.target.checksum if isinstance(case.target, Source) else repr(case.target)
    sums = [s.checksum for m in sorted(case.images) for s in case.images[m]]
    return name, sums, target, case.part


@dataclass(frozen=True)
class Course:
    """What is to be expected after the image.

    Args:
        days: Ascending; the grid of ``incidence``.
        incidence: Kind of event (``"1"`` is the one in question) to its probability by each day.
        risk: Probability of the event in question by ``horizon``.
        horizon: Days.
        median_days: When half of such patients have had an event of any kind; None beyond what was observed.
        group: Risk group, 0 the lowest.

    Raises:
        DataError: A probability outside 0 to 1, or curves of another length than ``days``.
    """

    days: tuple[float, ...]
    incidence: Mapping[str, tuple[float, ...]]
    risk: float
    horizon: float
    median_days: float | None = None
    group: int = 0

    def __post_init__(self) -> None:
        values = [self.risk, *(p for curve in self.incidence.values() for p in curve)]
        if not all(-1e-6 <= p <= 1 + 1e-6 for p in values):
            raise DataError("A probability outside 0 to 1")
        if any(len(curve) != len(self.days) for curve in self.incidence.values()):
            raise DataError("A curve of another length than its days", remedy="report this as a bug")


@dataclass(frozen=True, eq=False)
class Prediction:
    """What the model says of one case, in the patient's own coordinates. One payload is set.

    Args:
        case: Case id.
        model: Digest of the model.
        probabilities: Class name to calibrated probability; they sum to 1.
        label: The class at the calibrated threshold.
        value: A number, for regression; with ``lower`` and ``upper``.
        mask: Labels on the source's own grid, in the training masks' own values.
        course: What is to be expected over time.
        boxes: What was found, the surest first; none of them is an answer too.
        neighbours: Targets of the cases of an index, the nearest first.
        image: A synthetic image on the source's own grid, in stored units.
        doubt: 0 (sure) to 1 (no idea).
        quality: What is thought of the image: ``"accept"``, ``"warn"`` or ``"reject"``; empty where it was not judged.
        reason: Why not ``"accept"``.
        likeness: Chance that an image of the kind the model was trained on looks as unlike the training images to it;
            None where that was not learned.
        measures: What was measured beyond the mask's own pixels: name of a label to measure with its unit to number;
            nothing for a label that was not found. None where the mask says it all.
        in_mm: Whether lengths are millimetres; False where the source does not say how large its pixels are.

    Raises:
        DataError: No payload, or numbers out of range.
    """

    case: str
    model: str
    probabilities: Mapping[str, float] | None = None
    label: str = ""
    value: float | None = None
    lower: float | None = None
    upper: float | None = None
    mask: Image | None = None
    doubt: float = 0.0
    quality: str = ""
    reason: str = ""
    course: Course | None = None
    boxes: tuple[Box, ...] | None = None
    neighbours: tuple[str, ...] | None = None
    image: Image | None = None
    likeness: float | None = None
    measures: Mapping[str, Mapping[str, float]] | None = None
    in_mm: bool = True

    def __post_init__(self) -> None:
        given = (self.probabilities, self.value, self.mask, self.course, self.boxes, self.neighbours, self.image)
        payloads = [v is not None for v in given]
        if sum(payloads) != 1:
            raise DataError(f"A prediction with {sum(payloads)} payloads", expected="exactly one", where=self.case)
        if self.probabilities is not None and not all(-1e-6 <= p <= 1 + 1e-6 for p in self.probabilities.values()):
            raise DataError("A probability outside 0 to 1", where=self.case)
        if not 0.0 <= self.doubt <= 1.0:
            raise DataError(f"Doubt {self.doubt}", expected="0 to 1", where=self.case)


def pseudonym(salt: bytes, key: str) -> str:
    """Return the salted digest that stands for a patient (HMAC-SHA-256, 16 hex digits)."""
    return hmac.new(salt, key.encode("utf-8"), hashlib.sha256).hexdigest()[:16]


def with_folds(cohort: Cohort, groups: Iterable[Iterable[str]] = ()) -> Cohort:
    """Return the cohort with its locked part and five folds drawn anew.

    Patients and ``groups`` (near-duplicates) are never torn apart. The draw is stratified by class and depends
    on the data's digest only, not on a seed, the order of the files or the salt. A supplied test part is the locked
    part; a supplied validation part is fold 0.

    Args:
        cohort: Its cases, ``left_out`` and ``allow_leak`` are used.
        groups: Sets of case ids that must stay together.

    Returns:
        A new Cohort whose ``folds`` and ``locked`` hold every labelled case that is not left out.
    """
    usable = [c for c in cohort.cases if c.target is not None and c.id not in cohort.left_out]
    usable.sort(key=_content)
    blocks = _blocks(usable, groups, keep_parts=cohort.allow_leak)
    rng = np.random.default_rng(int(cohort.digest[:15], 16))
    order = rng.permutation(len(blocks))
    blocks = [blocks[i] for i in order]
    test, rest = _parted(blocks, "test")
    val, train = _parted(rest, "val")
    locked_blocks = test
    if not test:
        locked_blocks, train = _take_share(train, LOCKED_SHARE * len({c.patient for c in usable}), cohort)
    fold_blocks: list[list[list[Case]]] = [[] for _ in range(N_FOLDS)]
    if val:
        fold_blocks[0] = val
        for number, part in enumerate(_deal(train, N_FOLDS - 1, cohort), start=1):
            fold_blocks[number] = part
    else:
        fold_blocks = _deal(train, N_FOLDS, cohort)
    folds = {c.id: n for n, part in enumerate(fold_blocks) for block in part for c in block}
    locked = frozenset(c.id for block in locked_blocks for c in block)
    return replace(cohort, folds=folds, locked=locked)


def _parted(blocks: list[list[Case]], part: str) -> tuple[list[list[Case]], list[list[Case]]]:
    """Return the blocks with a case of a supplied part, and the others."""
    inside: list[list[Case]] = []
    others: list[list[Case]] = []
    for block in blocks:
        (inside if any(c.part == part for c in block) else others).append(block)
    return inside, others


def _blocks(cases: list[Case], groups: Iterable[Iterable[str]], *, keep_parts: bool) -> list[list[Case]]:
    """Join cases that share a patient or a group; union-find over ids, in id order."""
    parent = {c.id: c.id for c in cases}

    def root(a: str) -> str:
        while parent[a] != a:
            parent[a] = parent[parent[a]]
            a = parent[a]
        return a

    part = {c.id: c.part for c in cases}
    seen: dict[str, str] = {}
    for case in cases:
        # A leak that the user allowed stays as supplied: the same patient may then be in two supplied parts.
        key = f"{case.patient}/{case.part}" if keep_parts else case.patient
        parent[root(case.id)] = root(seen.setdefault(key, case.id))
    for group in groups:
        members = [g for g in group if g in parent]
        for member in members[1:]:
            if not keep_parts or part[member] == part[members[0]]:
                parent[root(member)] = root(members[0])
    joined: dict[str, list[Case]] = {}
    for case in cases:
        joined.setdefault(root(case.id), []).append(case)
    return list(joined.values())


def _strata(case: Case) -> tuple[str, ...]:
    """Return what the draw balances: class, kind of event, or each label that is known; one of "" for other targets."""
    if isinstance(case.target, Outcome):
        return (f"event {case.target.event}",)
    if isinstance(case.target, Findings):
        return tuple(f"{name} {int(there)}" for name, there in sorted(case.target.known.items())) or ("",)
    return (case.target if isinstance(case.target, str) else "",)


def _deal(blocks: list[list[Case]], hands: int, cohort: Cohort) -> list[list[list[Case]]]:
    """Deal blocks to ``hands`` so that every stratum is as even as can be; big blocks first, ties by draw order.

    Where cases have several labels the blocks of the rarest label are dealt first, while there is still a choice.

    Source:
        Sechidis 2011, doi:10.1007/978-3-642-23808-6_10 (iterative stratification).
    """
    strata = sorted({s for b in blocks for c in b for s in _strata(c)})
    counts = np.zeros((hands, len(strata)))
    mixes = {id(b): Counter(s for c in b for s in _strata(c)) for b in blocks}
    totals = np.array([sum(m[s] for m in mixes.values()) for s in strata], dtype=float)
    several = any(isinstance(c.target, Findings) for b in blocks for c in b)
    hand: list[list[list[Case]]] = [[] for _ in range(hands)]

    def turn(block: list[Case]) -> tuple[float, int]:
        rarest = min(totals[n] for n, s in enumerate(strata) if mixes[id(block)][s]) if several else 0.0
        return rarest, -len(block)

    for block in sorted(blocks, key=turn):
        adds = np.array([mixes[id(block)][s] for s in strata], dtype=float)
        # Share of each stratum that a hand would hold; the rarest stratum of the block weighs most.
        cost = (((counts + adds) / totals) ** 2 - (counts / totals) ** 2).sum(axis=1)
        choice = int(np.lexsort((counts.sum(axis=1), np.round(cost, 12)))[0])
        counts[choice] += adds
        hand[choice].append(block)
    return hand


def _take_share(blocks: list[list[Case]], wanted: float, cohort: Cohort) -> tuple[list[list[Case]], list[list[Case]]]:
    """Split off about ``wanted`` patients, stratum by stratum; the first blocks in draw order are taken."""
    common = Counter(s for b in blocks for c in b for s in _strata(c))
    mixes = [Counter(_strata_of_patients(b, common).values()) for b in blocks]
    strata = sum(mixes, Counter[str]())
    total = sum(strata.values())
    if total == 0:
        return [], []
    quota = {s: wanted * n / total for s, n in strata.items()}
    taken: set[int] = set()
    for number, mix in enumerate(mixes):
        # Half a patient over quota is allowed, so that small strata are rounded and not starved.
        if all(n <= quota[s] + 0.5 for s, n in mix.items()):
            taken.add(number)
            for s, n in mix.items():
                quota[s] -= n
    for stratum in sorted(strata):
        # Blocks of many patients may all be over quota; the smallest one is then nearest to it.
        own = [n for n, mix in enumerate(mixes) if mix[stratum]]
        if len(own) > N_FOLDS and not taken & set(own):
            taken.add(min(own, key=lambda n: (sum(mixes[n].values()), len(blocks[n]))))
    return [b for n, b in enumerate(blocks) if n in taken], [b for n, b in enumerate(blocks) if n not in taken]


def _strata_of_patients(block: list[Case], common: Counter[str]) -> dict[str, str]:
    """Return patient to stratum: of several, the one that fewest cases have, since it is the hardest to balance."""
    found: dict[str, str] = {}
    for case in block:
        # Of a label that is there or not, the rarer answer; of several labels, the rarest.
        mine = min(_strata(case), key=lambda s: (common[s], s))
        found[case.patient] = min(found.get(case.patient, mine), mine, key=lambda s: (common[s], s))
    return found
