"""Every prepared case of a run in two flat files."""

import hashlib
import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

import numpy as np

from lucency.case import Case, Cohort, Source
from lucency.errors import DataError, OutputError
from lucency.events import Events
from lucency.image import Image
from lucency.losses import IGNORE
from lucency.plan import Plan
from lucency.prepare.facts import facts_of
from lucency.prepare.place import Place, Prepared
from lucency.prepare.visits import prepare_visits
from lucency.prepare.worlds import placed_on
from lucency.read import load
from lucency.record import from_json, to_json, write_text

#: Images without a label that are prepared at the most, and the bytes that all of them together may take.
MOST_UNLABELLED, UNLABELLED_BYTES = 20_000, 2 * 2**30

#: What a network is given of a case: the image, (C, K, J, I), or that and its clinical columns, (n,).
Seen = np.ndarray | tuple[np.ndarray, np.ndarray]

#: What a case is to teach: a mask (K, J, I), several numbers (n,), rows (n, m), one number, or nothing.
Learned = np.ndarray | int | float | None

TargetOf = Callable[[Case, Plan], Learned]


@dataclass(frozen=True)
class Entry:
    """Where one case lies in the store.

    Args:
        case: Case id.
        shape: (C, K, J, I).
        image_at: First value in ``images.bin``.
        mask_at: First value in ``masks.bin``; -1 without a mask.
        target: Class index or number; NaN for masks and for what takes several numbers.
        place: The way back.
        affine: 16 numbers, row by row.
        vector: The target, where it takes several numbers; of rows one after the other.
        width: Numbers in a row, where the target is rows of them, as many as there are (boxes); else 0.
        facts: The plan's clinical columns as numbers, NaN where not known.
    """

    case: str
    shape: tuple[int, int, int, int]
    image_at: int
    mask_at: int
    target: float
    place: Place
    affine: tuple[float, ...]
    vector: tuple[float, ...] = ()
    width: int = 0
    facts: tuple[float, ...] = ()


class Store:
    """Prepared cases in two flat files (float16 images, int16 masks), read through memory maps.

    Args:
        folder: ``prepared/<digest>``; may be deleted any time, the next run makes it anew.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        lines = (
            (folder / "index.jsonl").read_text(encoding="utf-8").splitlines()
            if (folder / "index.jsonl").exists()
            else []
        )
        self.entries: dict[str, Entry] = {}
        for line in lines:
            try:
                entry = from_json(Entry, json.loads(line), "index.jsonl")
            except json.JSONDecodeError:
                break  # cut off by a crash; everything before it is whole
            self.entries[entry.case] = entry
        self._images = self._map("images.bin", np.float16)
        self._masks = self._map("masks.bin", np.int16)
        # A line may outlive a power cut that its arrays did not.
        self.entries = {c: e for c, e in self.entries.items() if self._holds(e)}

    def _map(self, name: str, kind: type[np.generic]) -> np.ndarray:
        path = self.folder / name
        if not path.exists() or path.stat().st_size == 0:
            return np.zeros(0, dtype=kind)
        # A crash may have cut the last number in two.
        return np.memmap(path, dtype=kind, mode="r", shape=(path.stat().st_size // np.dtype(kind).itemsize,))

    def _holds(self, entry: Entry) -> bool:
        """Tell whether the arrays reach as far as the entry says."""
        image, mask = int(np.prod(entry.shape)), int(np.prod(entry.shape[1:]))
        return (
            entry.image_at + image <= self._images.size
            and entry.mask_at + mask * (entry.mask_at >= 0) <= self._masks.size
        )

    def image(self, case: str) -> np.ndarray:
        """(C, K, J, I) float16."""
        entry = self.entries[case]
        return self._images[entry.image_at : entry.image_at + int(np.prod(entry.shape))].reshape(entry.shape)

    def mask(self, case: str) -> np.ndarray:
        """(K, J, I) int16; of a case that nobody annotated it is IGNORE throughout."""
        entry = self.entries[case]
        size = entry.shape[1:]
        if entry.mask_at < 0:
            return np.full(size, IGNORE, dtype=np.int16)
        return self._masks[entry.mask_at : entry.mask_at + int(np.prod(size))].reshape(size)

    def target(self, case: str) -> "float | np.ndarray":
        """Class index or number, NaN of a case without a label, or the numbers where the target takes several, (n,)."""
        entry = self.entries[case]
        if entry.width:
            return np.array(entry.vector, dtype=np.float64).reshape(-1, entry.width)
        return np.array(entry.vector) if entry.vector else entry.target

    def facts(self, case: str) -> np.ndarray:
        """(n,) float32: the plan's clinical columns as numbers, NaN where not known."""
        return np.array(self.entries[case].facts, dtype=np.float32)

    def seen(self, case: str) -> "Seen":
        """What a network is given of a case: its image, and its clinical columns where the plan has any."""
        return (self.image(case), self.facts(case)) if self.entries[case].facts else self.image(case)

    def prepared(self, case: str) -> Prepared:
        """The case as :func:`prepare_visits` gave it, at float16 precision."""
        entry = self.entries[case]
        affine = np.array(entry.affine).reshape(4, 4)
        return Prepared(self.image(case).astype(np.float32), entry.place, affine, self.facts(case))

    @property
    def mebibytes(self) -> float:
        """Size of the arrays in MiB."""
        return (self._images.nbytes + self._masks.nbytes) / 2**20


class Writer:
    """Adds cases to the two flat files of a store, arrays first and then the index line that vouches for them.

    Args:
        done: What the store holds already; the next case goes behind it.
        images: ``images.bin``, open for writing there.
        masks: ``masks.bin``.
        index: ``index.jsonl``.
    """

    def __init__(self, done: Mapping[str, Entry], images: IO[bytes], masks: IO[bytes], index: IO[str]) -> None:
        self._images, self._masks, self._index = images, masks, index
        self._image_at = max((e.image_at + int(np.prod(e.shape)) for e in done.values()), default=0)
        self._mask_at = max((e.mask_at + int(np.prod(e.shape[1:])) for e in done.values() if e.mask_at >= 0), default=0)
        images.seek(self._image_at * 2)
        masks.seek(self._mask_at * 2)

    def add(self, case: str, prepared: Prepared, learned: Learned) -> None:
        """Write one case.

        Args:
            case: Its id, new to the store.
            prepared: On the network's grid.
            learned: The target.
        """
        vector = isinstance(learned, np.ndarray) and learned.ndim <= 2
        is_mask = isinstance(learned, np.ndarray) and not vector
        self._images.write(prepared.array.astype(np.float16).tobytes())
        if isinstance(learned, np.ndarray) and not vector:
            self._masks.write(learned.astype(np.int16).tobytes())
        entry = Entry(
            case=case,
            shape=tuple(prepared.array.shape),
            image_at=self._image_at,
            mask_at=self._mask_at if is_mask else -1,
            target=float("nan") if isinstance(learned, np.ndarray) or learned is None else float(learned),
            place=prepared.place,
            affine=tuple(float(v) for v in prepared.affine.reshape(-1)),
            vector=tuple(float(v) for v in np.asarray(learned).ravel()) if vector else (),
            width=learned.shape[1] if isinstance(learned, np.ndarray) and learned.ndim == 2 else 0,
            facts=tuple(float(v) for v in prepared.facts),
        )
        self._image_at += prepared.array.size
        self._mask_at += prepared.array[0].size if is_mask else 0
        self._images.flush()
        self._masks.flush()
        self._index.write(json.dumps(to_json(entry)) + "\n")
        self._index.flush()


@contextmanager
def writing(folder: Path, done: Mapping[str, Entry]) -> Iterator[Writer]:
    """Open a store to add cases to it.

    Args:
        folder: Of the store; made if there is none.
        done: Entries that stay; nothing else does.

    Raises:
        OutputError: The disk is full.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # Written anew: behind a line that a crash cut off, nothing could be appended.
    write_text(folder / "index.jsonl", "".join(json.dumps(to_json(e)) + "\n" for e in done.values()))
    mode = "r+b" if done else "wb"
    try:
        with (
            (folder / "images.bin").open(mode) as images,
            (folder / "masks.bin").open(mode) as masks,
            (folder / "index.jsonl").open("a", encoding="utf-8") as index,
        ):
            yield Writer(done, images, masks, index)
    except OSError as error:
        raise OutputError(
            f"Cannot write prepared arrays ({error.strerror})",
            where=folder.parent.name,
            remedy="free space, then run again",
        ) from error


def images_of(case: Case, plan: Plan, nan: float | None) -> list[Image | None]:
    """Load the images of a case in the plan's channel order; None for what it lacks where the plan can do without.

    Modalities that the plan does not name are passed over. Where one is to be made of others, all lie on the grid of
    the first that is given: that is the grid of what will be made.

    Raises:
        DataError: The case lacks a modality that the plan names, and cannot do without, or has none of them.
        GeometryError: Two modalities of a translation do not show the same part of the patient.
    """
    lacking = [m for m in plan.modalities if m not in case.images]
    if lacking and len(plan.inputs) == len(case.images) == 1:
        ((name, sources),) = case.images.items()
        # Two channel numbers are two modalities; any other name of an only image says nothing.
        if name not in plan.modalities and not (name.isdigit() and lacking[0].isdigit()):
            return [load(sources[0], nan=nan) if m in plan.inputs else None for m in plan.modalities]
    if lacking and (not plan.spares or len(lacking) == len(plan.modalities)):
        without = "complete the case or take it out"
        raise DataError(
            f"Modality {', '.join(lacking)} is missing",
            expected=f"one of {', '.join(plan.modalities)}" if plan.spares else ", ".join(plan.modalities),
            where=case.id,
            remedy=without
            if plan.spares or len(plan.modalities) == 1
            else "complete the case, or train with --set modality_dropout=0.3, which can do without a modality",
        )
    images = [load(case.images[m][0], nan=nan) if m in case.images else None for m in plan.modalities]
    given = (i for m, i in zip(plan.modalities, images, strict=True) if m in plan.inputs and i is not None)
    grid = next(given, None) if plan.made else None
    return images if grid is None else [None if i is None else placed_on(i, grid, case.id) for i in images]


def digest_of(cohort: Cohort, plan: Plan) -> str:
    """Return the name of the store: it changes with the data and with what the grid depends on."""
    state = [
        cohort.digest,
        to_json(plan.grid),
        to_json(plan.normalisation),
        plan.dims,
        sorted(plan.labels),
        plan.ignore,
    ]
    state += [list(plan.classes), list(plan.modalities), plan.task, plan.task_options.get("nan")]
    state += [to_json(plan.facts)] if plan.facts else []
    state += ["unlabelled"] if plan.uses_unlabelled else []
    # The size of pixels that a table states is no part of the files, and may change without them.
    state += sorted(
        [s.paths[0], s.header["spacing"]] for c in cohort.cases for s in c.sources if "spacing_from" in s.header
    )
    state += ["filled"] * any(isinstance(c.target, Source) and "filled" in c.target.header for c in cohort.cases)
    return hashlib.sha256(json.dumps(state, default=str).encode()).hexdigest()[:16]


def used(cohort: Cohort, plan: Plan) -> tuple[Case, ...]:
    """Return the cases that a plan uses: those of the folds and of the locked part, then those without a label."""
    return (*cohort.trainable, *cohort.locked_cases, *unlabelled(cohort, plan))


def unlabelled(cohort: Cohort, plan: Plan) -> tuple[Case, ...]:
    """Return the cases without a label that a plan uses, sorted by id; none where it learns from none.

    Of more than :data:`MOST_UNLABELLED`, or than fit into :data:`UNLABELLED_BYTES`, some are drawn; the draw depends on
    the data only.
    """
    if not plan.uses_unlabelled:
        return ()
    fit = [c for c in cohort.cases if c.id in cohort.unlabelled and set(plan.modalities) <= set(c.images)]
    each = 2 * plan.channels * int(np.prod(plan.grid.size))
    most = min(MOST_UNLABELLED, max(1, UNLABELLED_BYTES // each))
    if len(fit) > most:
        drawn = np.random.default_rng(int(cohort.digest[:15], 16)).choice(len(fit), most, replace=False)
        fit = [fit[int(n)] for n in np.sort(drawn)]
    return tuple(fit)


def prepare(
    cohort: Cohort, plan: Plan, target: TargetOf, folder: Path, *, workers: int = 1, events: Events | None = None
) -> Store:
    """Prepare every case that the plan uses; what an interrupted call left whole is kept.

    Args:
        cohort: After ``inspect``.
        plan: Its grid and normalisation are used.
        target: The task's own ``target``.
        folder: ``RUN/prepared``.
        workers: Threads that decode and resample.
        events: Progress.

    Raises:
        OutputError: The disk is full.
        DataError: A case does not fit the plan; the message names it.
    """
    store_folder = folder / digest_of(cohort, plan)
    store_folder.mkdir(parents=True, exist_ok=True)
    before = Store(store_folder)
    done = before.entries
    todo = [c for c in used(cohort, plan) if c.id not in done]
    if not todo:
        return before
    # What is written anew must not be held by its maps.
    del before

    def work(case: Case) -> tuple[Case, Prepared, Learned]:
        try:
            visits = [images_of(visit, plan, plan.nan) for visit in case.visits]
            image = prepare_visits(visits, plan)
            learned = None if case.target is None else target(case, plan)
            image = replace(image, facts=facts_of(case, plan))
            if isinstance(learned, np.ndarray) and learned.ndim == 3 and learned.shape != image.array.shape[1:]:
                raise DataError(
                    f"On the network's grid the mask is {learned.shape} and the image {image.array.shape[1:]}",
                    expected="a mask on the grid of its image",
                    remedy="resample the mask to the image, or export both again",
                )
            return case, image, learned
        except DataError as error:
            raise type(error)(
                error.found, expected=error.expected, where=error.where or case.id, remedy=error.remedy
            ) from error

    with writing(store_folder, done) as written:
        for number, (case, prepared, learned) in enumerate(in_order(work, todo, workers), start=1):
            written.add(case.id, prepared, learned)
            if events is not None and (number % max(1, len(todo) // 20) == 0 or number == len(todo)):
                events.emit("prepare", "progress", done=number, of=len(todo))
    return Store(store_folder)


def in_order(
    work: Callable[[Case], tuple[Case, Prepared, Learned]],
    cases: Sequence[Case],
    workers: int,
) -> Iterable[tuple[Case, Prepared, Learned]]:
    """Run ``work`` in threads and yield in order; at most four cases a worker are in memory."""
    if workers <= 1:
        yield from map(work, cases)
        return
    with ThreadPoolExecutor(workers) as pool:
        ahead = 4 * workers
        waiting = deque(pool.submit(work, c) for c in cases[:ahead])
        for number in range(len(cases)):
            # A future that is still referred to would keep its arrays in memory.
            result = waiting.popleft().result()
            if number + ahead < len(cases):
                waiting.append(pool.submit(work, cases[number + ahead]))
            yield result


def label_source(case: Case) -> Source:
    """Return the case's mask.

    Raises:
        DataError: The target is not a mask.
    """
    if not isinstance(case.target, Source):
        raise DataError("The target is not a mask", where=case.id, remedy="choose another --task or --target")
    return case.target
