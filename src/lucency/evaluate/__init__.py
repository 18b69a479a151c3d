"""Numbers with intervals on patients the model has not seen, beside simple baselines on the same folds."""

from lucency.evaluate.evaluation import Arm, Comparison, Curve, Effect, Evaluation, Part, Pattern, Scored
from lucency.evaluate.judge import Grounds, target_of
from lucency.evaluate.missing import ZERO_FILLING
from lucency.evaluate.parts import LEAKED, evaluate, suspects
from lucency.evaluate.shown import Shown, show

__all__ = [
    "LEAKED",
    "ZERO_FILLING",
    "Arm",
    "Comparison",
    "Curve",
    "Effect",
    "Evaluation",
    "Grounds",
    "Part",
    "Pattern",
    "Scored",
    "Shown",
    "evaluate",
    "show",
    "suspects",
    "target_of",
]
