"""What the report is made from: everything the other rooms found, and nothing it would have to look up."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from lucency.case import Cohort, Skipped
from lucency.errors import UsageError
from lucency.evaluate import Evaluation, Part, Scored
from lucency.inspect import ImageFacts
from lucency.plan import Forecast, Machine, Plan
from lucency.planner import Tried

#: Cases shown with a picture: the worst first, then some from the middle and the best, so that neither flatters.
N_WORST, N_MIDDLE, N_BEST = 8, 2, 2


@dataclass(frozen=True, eq=False)
class Picture:
    """One slice of one case, ready to be looked at.

    Args:
        image: (J, I) or (J, I, 3) float, 0 (black) to 1 (white).
        truth: (J, I) int, mask values of the reference, or None.
        predicted: (J, I) int, mask values of the model, or None.
        aspect: Height of a pixel over its width, for grids that are not square.
        caption: Facts for the caption: ``"slice"`` -> ``"17 of 35"``, ``"spacing_mm"`` …
        truth_boxes: (n, 5): number of the class from 1, then left, top, right and bottom edge in pixels; None where
            the case has no boxes.
        predicted_boxes: The same of the boxes that are likelier right than wrong.

    Raises:
        UsageError: Shapes that do not belong together.
    """

    image: np.ndarray
    truth: np.ndarray | None = None
    predicted: np.ndarray | None = None
    aspect: float = 1.0
    caption: Mapping[str, str | float] = field(default_factory=dict)
    truth_boxes: np.ndarray | None = None
    predicted_boxes: np.ndarray | None = None

    def __post_init__(self) -> None:
        shape = self.image.shape
        if len(shape) not in (2, 3) or (len(shape) == 3 and shape[2] != 3) or 0 in shape:
            raise UsageError(f"Picture of shape {shape}", expected="(J, I) or (J, I, 3)", where="report")
        for mask in (self.truth, self.predicted):
            if mask is not None and mask.shape != shape[:2]:
                raise UsageError(f"Mask of shape {mask.shape}", expected=f"{shape[:2]}, as the picture", where="report")
        if not self.aspect > 0:
            raise UsageError(f"aspect = {self.aspect}", expected="more than 0", where="report")


@dataclass(frozen=True, eq=False)
class Facts:
    """Everything the report and the model card are written from.

    Args:
        cohort: As training used it.
        plan: As training used it.
        evaluation: Parts, the locked one first.
        machine: As measured before planning.
        version: Of this program.
        model_digest: SHA-256 of the delivered model.
        inspection_warnings: Sentences.
        inspection_skipped: Files that could not be decoded.
        history: One row for each epoch of each member: ``member``, ``epoch``, ``step``, ``loss``, ``val_loss``,
            ``rate``; ``val_loss`` may be absent or NaN.
        pretraining: The same rows, of what members learned from images alone before.
        actual: Measured peak memory and seconds per room, to set beside ``plan.forecast``.
        pictures: Case id to picture; see :func:`cases_to_show`.
        images: What inspection measured and thought of every image.
        thumbnails: Case id to picture, of the images that ``report.quality.doubtful`` names.
        time_guard: What the time guard stopped or cut, as a sentence; empty when nothing.
        tried: What a trial of choices before training showed; None where nothing was tried.
    """

    cohort: Cohort
    plan: Plan
    evaluation: Evaluation
    machine: Machine
    version: str
    model_digest: str = ""
    inspection_warnings: tuple[str, ...] = ()
    inspection_skipped: tuple[Skipped, ...] = ()
    history: Sequence[Mapping[str, float]] = ()
    pretraining: Sequence[Mapping[str, float]] = ()
    actual: Forecast = field(default_factory=Forecast)
    pictures: Mapping[str, Picture] = field(default_factory=dict)
    images: Sequence[ImageFacts] = ()
    thumbnails: Mapping[str, Picture] = field(default_factory=dict)
    time_guard: str = ""
    tried: Tried | None = None

    def __post_init__(self) -> None:
        if not self.evaluation.parts:
            raise UsageError("Evaluation without a part", expected="at least the locked part", where="evaluation.json")

    @property
    def locked(self) -> Part:
        """The part that the first line quotes: the locked one, or the first there is."""
        named = [p for p in self.evaluation.parts if p.name == "locked"]
        return (named or list(self.evaluation.parts))[0]

    @property
    def others(self) -> tuple[Part, ...]:
        """The remaining parts, in order."""
        return tuple(p for p in self.evaluation.parts if p is not self.locked)

    @property
    def skipped(self) -> tuple[Skipped, ...]:
        """Files left out by the reader or by inspection, each path once."""
        by_path = {s.path: s for s in (*self.cohort.skipped, *self.inspection_skipped)}
        return tuple(by_path[path] for path in sorted(by_path))


def cases_to_show(evaluation: Evaluation) -> dict[str, tuple[Scored, ...]]:
    """Return which cases of the locked part deserve a picture: ``"worst"``, ``"middle"`` and ``"best"``.

    Args:
        evaluation: Its first part's cases are worst first.

    Returns:
        Group to cases, worst first within each; a case is in one group only.
    """
    named = [p for p in evaluation.parts if p.name == "locked"] or list(evaluation.parts)
    cases = named[0].cases if named else ()
    worst = cases[: max(N_WORST, 0)]
    rest = cases[len(worst) :]
    best = rest[max(len(rest) - N_BEST, 0) :]
    between = rest[: len(rest) - len(best)]
    middle = len(cases) // 2 - len(worst)
    start = min(max(middle - N_MIDDLE // 2, 0), max(len(between) - N_MIDDLE, 0))
    return {"worst": worst, "middle": between[start : start + N_MIDDLE], "best": best}
