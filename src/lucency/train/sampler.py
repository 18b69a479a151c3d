"""Batches from the store; what is drawn depends on the seed and the step only."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from lucency.errors import DataError
from lucency.losses import IGNORE
from lucency.plan import Plan
from lucency.prepare import Store

#: Share of the patches that hold a labelled voxel for certain where patches are smaller than images; a third is usual
#: (Isensee 2021, doi 10.1038/s41592-020-01008-z), but runs of minutes see too few small lesions with it.
FOREGROUND = 1 / 2

#: Class of a row that only fills up.
NOTHING = -1

#: A box of which a patch holds less than this share is not learned from it.
HELD = 0.5


@dataclass(frozen=True)
class Alone:
    """Patients are drawn each by himself, with one case of his (Poisson sampling).

    Args:
        patients: Of the cases, in their order.
        secret: Whom a step draws depends on it; whoever knows it knows that.
    """

    patients: Sequence[str]
    secret: int


class Sampler:
    """Draws batches from the store; what is drawn depends on the seed and the step only, so a resume draws the same.

    Args:
        store: Prepared cases.
        cases: Ids to draw from.
        plan: Patch and batch.
        dense: Whether targets are masks.
        balance: Share of a batch, its last rows, for which first a class is drawn and then one of its cases.
        blind: Images alone; every target is 0.
        alone: Patients are drawn each by himself; ``plan.batch`` is their mean number.
    """

    def __init__(
        self,
        store: Store,
        cases: Sequence[str],
        plan: Plan,
        *,
        dense: bool,
        balance: float = 0.0,
        blind: bool = False,
        alone: Alone | None = None,
    ) -> None:
        self.store, self.cases, self.plan, self.dense, self.blind = store, list(cases), plan, dense, blind
        self._n_balanced = int(balance * plan.batch)
        self._alone, self._people = alone, _rows_of(alone.patients if alone is not None else ())
        if not self.cases:
            raise DataError("No training case", remedy="label more cases")
        self._orders: dict[int, np.ndarray] = {}
        self._foreground: dict[str, np.ndarray] = {}
        whole = {store.entries[c].shape for c in self.cases}
        self._stack: torch.Tensor | None = None
        cut = (blind or any(store.entries[c].width for c in self.cases)) and whole != {(plan.channels, *plan.patch)}
        if not dense and len(whole) == 1 and not cut:
            # Every image is the same size: one tensor in memory, a batch is one indexing.
            self._stack = torch.from_numpy(np.stack([store.image(c) for c in self.cases]))
            self._targets = _numbers([0.0 if blind else store.target(c) for c in self.cases])

        self._by_class: list[np.ndarray] = []
        if plan.classes and not dense and not blind:
            classes = [store.target(c) for c in self.cases]
            if not any(isinstance(c, np.ndarray) for c in classes):
                self._by_class = [np.flatnonzero(np.array(classes) == k) for k in range(len(plan.classes))]

    @property
    def steps_per_epoch(self) -> int:
        """Steps in which every case is drawn once."""
        return max(1, math.ceil(len(self.cases) / self.plan.batch))

    @property
    def counts(self) -> tuple[int, ...]:
        """Cases of each class, where targets are classes."""
        return tuple(len(rows) for rows in self._by_class)

    def batch(self, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return images (B, C, K, J, I) float32 and targets.

        Returns:
            Targets as in :class:`lucency.tasks.Batch`; masks are (B, K, J, I). Boxes are those within the patch, in
            its pixels.
        """
        rng = np.random.default_rng((self.plan.seed, step))
        chosen = self._chosen(step)
        if self._stack is not None:
            index = torch.tensor(chosen, dtype=torch.int64)
            return self._stack[index].float(), self._targets[index]
        patch = self.plan.patch
        images = torch.zeros(len(chosen), self.plan.channels, *patch)
        targets: list[float | np.ndarray] = []
        masks = torch.full((len(chosen), *patch), IGNORE if self.dense else 0, dtype=torch.int64)
        for row, number in enumerate(chosen):
            case = self.cases[number]
            image = self.store.image(case)
            start = self._start(case, image.shape[1:], rng, forced=row < round(FOREGROUND * len(chosen)))
            source, target = _windows(image.shape[1:], patch, start)
            images[row][(slice(None), *target)] = torch.from_numpy(
                np.ascontiguousarray(image[(slice(None), *source)], dtype=np.float32)
            )
            if not self.dense:
                targets.append(self._within(case, start))
            else:
                masks[row][target] = torch.from_numpy(np.ascontiguousarray(self.store.mask(case)[source], np.int64))
        return images, masks if self.dense else _numbers(targets)

    def _within(self, case: str, start: tuple[int, ...]) -> "float | np.ndarray":
        """Return what a case is to teach, boxes as they lie in the patch."""
        if self.blind:
            return 0.0
        target = self.store.target(case)
        if not self.store.entries[case].width or not isinstance(target, np.ndarray):
            return target
        d = (target.shape[1] - 1) // 2
        corner, size = np.tile(start[3 - d :], 2), np.tile(self.plan.patch[3 - d :], 2)
        edges = target[:, 1:] - corner
        inside = np.clip(edges, 0, size)
        whole, left = ((e[:, d:] - e[:, :d]).prod(axis=1) for e in (edges, inside))
        return np.asarray(np.concatenate([target[:, :1], inside], axis=1)[left >= HELD * whole])

    def facts(self, step: int) -> torch.Tensor | None:
        """Return the clinical columns of the batch, (B, n) float32 with NaN where not known; None without any."""
        if not self.plan.facts:
            return None
        return torch.from_numpy(np.stack([self.store.facts(self.cases[n]) for n in self._chosen(step)]))

    def _chosen(self, step: int) -> list[int]:
        """Return which cases are in the batch: first those drawn in turn, then those drawn by class."""
        if self._alone is not None:
            chance = np.random.default_rng((self._alone.secret, step))
            taken = np.flatnonzero(chance.random(len(self._people)) < self.plan.batch / len(self._people))
            return [int(chance.choice(self._people[n])) for n in taken]
        in_turn = self.plan.batch - self._n_balanced
        chosen = [self._case(step * in_turn + n) for n in range(in_turn)]
        rng = np.random.default_rng((self.plan.seed, 11, step))
        present = [rows for rows in self._by_class if len(rows)]
        for _ in range(self._n_balanced):
            rows = present[rng.integers(len(present))]
            chosen.append(int(rows[rng.integers(len(rows))]))
        return chosen

    def _case(self, draw: int) -> int:
        epoch, place = divmod(draw, len(self.cases))
        if epoch not in self._orders:
            order = np.random.default_rng((self.plan.seed, 7, epoch)).permutation(len(self.cases))
            self._orders = {e: o for e, o in self._orders.items() if e >= epoch - 1} | {epoch: order}
        return int(self._orders[epoch][place])

    def _start(self, case: str, size: tuple[int, ...], rng: np.random.Generator, *, forced: bool) -> tuple[int, ...]:
        """Return where the patch begins; negative where the image is smaller and comes to lie in the middle."""
        spare = [n - p for n, p in zip(size, self.plan.patch, strict=True)]
        if all(s <= 0 for s in spare):
            return tuple(s // 2 for s in spare)
        centre: np.ndarray | None = None
        if forced and not self.blind and (self.dense or self.store.entries[case].width):
            places = self._places(case)
            if len(places):
                centre = places[rng.integers(len(places))]
        start = []
        for axis, room in enumerate(spare):
            if room <= 0:
                start.append(room // 2)
            elif centre is not None:
                wanted = int(centre[axis]) - int(rng.integers(self.plan.patch[axis]))
                start.append(min(max(wanted, 0), room))
            else:
                start.append(int(rng.integers(room + 1)))
        return tuple(start)

    def _places(self, case: str) -> np.ndarray:
        """Return up to 4000 labelled voxels of a case, or the middles of its boxes, (n, 3)."""
        if case not in self._foreground and not self.dense:
            rows = np.asarray(self.store.target(case))
            d = (rows.shape[1] - 1) // 2
            middles = (rows[:, 1 : 1 + d] + rows[:, 1 + d :]) / 2
            self._foreground[case] = np.pad(middles, [(0, 0), (3 - d, 0)]).astype(np.int32)
        if case not in self._foreground:
            flat = np.flatnonzero(self.store.mask(case) > 0)
            flat = flat[:: max(1, len(flat) // 4000)]
            places = np.stack(np.unravel_index(flat, self.store.mask(case).shape), axis=1)
            self._foreground[case] = places.astype(np.int32)
        return self._foreground[case]


def _rows_of(patients: Sequence[str]) -> list[list[int]]:
    """Return the cases of each patient, by their numbers."""
    rows: dict[str, list[int]] = {}
    for number, patient in enumerate(patients):
        rows.setdefault(patient, []).append(number)
    return list(rows.values())


def _numbers(targets: "Sequence[float | np.ndarray]") -> torch.Tensor:
    """Return targets as one tensor, float32: (n,), (n, m), or of rows (n, most, m), filled up with rows of -1."""
    most = max((len(t) for t in targets if isinstance(t, np.ndarray) and t.ndim == 2), default=-1)
    if most < 0:
        return torch.from_numpy(np.array(targets, dtype=np.float32))
    filled = [np.pad(t, [(0, most - len(t)), (0, 0)], constant_values=NOTHING) for t in map(np.asarray, targets)]
    return torch.from_numpy(np.stack(filled).astype(np.float32))


def _windows(
    size: tuple[int, ...], patch: tuple[int, ...], start: tuple[int, ...]
) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    source, target = [], []
    for n, p, a in zip(size, patch, start, strict=True):
        low, high = max(a, 0), min(a + p, n)
        source.append(slice(low, high))
        target.append(slice(low - a, high - a))
    return tuple(source), tuple(target)
