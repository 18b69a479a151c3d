"""Outputs on the cases a member did not see: what calibration learns from and evaluation judges."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lucency import record
from lucency.calibration import Calibration
from lucency.errors import OutputError
from lucency.predict import raw_outputs, ready
from lucency.train.loop import Work


def _kind(axes: int) -> type[np.generic]:
    """Return the type that outputs are kept in: one for each voxel are many and need few digits."""
    return np.float16 if axes >= 4 else np.float32


class OutOfFold:
    """Raw outputs on held-out cases, on disk: what calibration learns from and out-of-fold evaluation judges.

    Args:
        folder: ``RUN/out_of_fold``.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._places: dict[str, tuple[Path, int, tuple[int, ...]]] = {}
        for path in sorted(folder.glob("fold*.json")):
            index = record.read_object(path)
            at = 0
            for case, shape in index["cases"].items():
                self._places[case] = (path.with_suffix(".bin"), at, tuple(shape))
                at += int(np.prod(shape))

    def has(self, fold: int) -> bool:
        """Tell whether the fold's outputs are complete."""
        return (self.folder / f"fold{fold}.json").exists()

    def output(self, case: str) -> np.ndarray:
        """(L,) or (n, m) … float32, or (L, K, J, I) float16."""
        path, at, shape = self._places[case]
        kind = _kind(len(shape))
        flat = np.memmap(path, dtype=kind, mode="r")
        return flat[at : at + int(np.prod(shape))].reshape(shape)

    def some(self, cases: Sequence[str]) -> "Outputs":
        """Return the outputs of these cases, loaded one at a time."""
        return Outputs(self, cases)

    @property
    def cases(self) -> list[str]:
        """Ids of the cases there are outputs for."""
        return sorted(self._places)


class Outputs(Sequence[np.ndarray]):
    """A sequence of out-of-fold outputs that holds one at a time."""

    def __init__(self, source: OutOfFold, cases: Sequence[str]) -> None:
        self._source, self._cases = source, list(cases)

    def __len__(self) -> int:
        return len(self._cases)

    def __getitem__(self, number: Any) -> Any:
        return self._source.output(self._cases[number])


def predict_held_out(work: Work, fold: int, weights: Mapping[str, torch.Tensor], folder: Path) -> None:
    """Predict the fold that a member did not see, by the same code that predicts new patients.

    Args:
        work: See :class:`Work`.
        fold: Held out.
        weights: Of the member.
        folder: ``RUN/out_of_fold``.

    Raises:
        OutputError: The disk is full.
    """
    net = ready(work.task, work.plan, weights)
    held = [c.id for c in work.cohort.fold(fold)]
    shapes: dict[str, tuple[int, ...]] = {}
    folder.mkdir(parents=True, exist_ok=True)
    arrays = (work.store.seen(c) for c in held)
    try:
        with (folder / f"fold{fold}.bin").open("wb") as file:
            for case, raw in zip(
                held, raw_outputs(net, arrays, work.plan, dense=work.task.dense, boxes=work.task.boxes), strict=True
            ):
                file.write(raw.astype(_kind(raw.ndim)).tobytes())
                shapes[case] = raw.shape
    except OSError as error:
        raise OutputError(
            f"Cannot write held-out outputs ({error.strerror})", where=folder.name, remedy="free space, then run again"
        ) from error
    record.write(folder / f"fold{fold}.json", {"cases": shapes})


def calibrate(work: Work, outputs: OutOfFold) -> Calibration:
    """Learn from all out-of-fold outputs what is learned after training; this calibration is delivered."""
    cases = outputs.cases
    targets = [work.store.mask(c) if work.task.dense else work.store.target(c) for c in cases]
    return work.task.calibrate(outputs.some(cases), targets, work.plan, np.random.default_rng(work.plan.seed))
