"""Numbers with intervals on patients the model has not seen, beside simple baselines on the same folds."""

from lucency.evaluate.evaluation import Arm, Comparison, Curve, Downstream, Effect, Evaluation, Part, Pattern, Scored
from lucency.evaluate.judge import Grounds, judged_of, target_of
from lucency.evaluate.missing import ZERO_FILLING
from lucency.evaluate.parts import LEAKED, SUBGROUP_PATIENTS, enter, evaluate, subgroups, suspects
from lucency.evaluate.shown import Shown, show

__all__ = [
    "LEAKED",
    "SUBGROUP_PATIENTS",
    "ZERO_FILLING",
    "Arm",
    "Comparison",
    "Curve",
    "Downstream",
    "Effect",
    "Evaluation",
    "Grounds",
    "Part",
    "Pattern",
    "Scored",
    "Shown",
    "enter",
    "evaluate",
    "judged_of",
    "show",
    "subgroups",
    "suspects",
    "target_of",
]
