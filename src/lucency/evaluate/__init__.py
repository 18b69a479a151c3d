"""Numbers with intervals on patients the model has not seen, beside simple baselines on the same folds."""

from lucency.evaluate.evaluation import Comparison, Curve, Evaluation, Part, Scored
from lucency.evaluate.judge import Grounds, target_of
from lucency.evaluate.parts import LEAKED, evaluate, suspects
from lucency.evaluate.shown import Shown, show

__all__ = [
    "LEAKED",
    "Comparison",
    "Curve",
    "Evaluation",
    "Grounds",
    "Part",
    "Scored",
    "Shown",
    "evaluate",
    "show",
    "suspects",
    "target_of",
]
