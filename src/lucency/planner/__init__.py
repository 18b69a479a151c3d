"""How decisions are made: profile, needs, machine and budget in; a plan with its reasons out."""

from lucency.planner.change import overridden, smaller
from lucency.planner.draft import Budget, plan
from lucency.planner.pace import passes, surprise, timed

__all__ = ["Budget", "overridden", "passes", "plan", "smaller", "surprise", "timed"]
