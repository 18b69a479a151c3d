"""How decisions are made: profile, needs, machine and budget in; a plan with its reasons out."""

from lucency.planner.change import overridden, smaller
from lucency.planner.draft import Budget, plan
from lucency.planner.pace import passes, surprise, timed
from lucency.planner.trial import Arm, Trial, Tried, designed, remarked

__all__ = [
    "Arm",
    "Budget",
    "Trial",
    "Tried",
    "designed",
    "overridden",
    "passes",
    "plan",
    "remarked",
    "smaller",
    "surprise",
    "timed",
]
