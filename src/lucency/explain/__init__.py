"""Where a network looked, with tests that say how far each map may be believed."""

from lucency.explain.maps import METHODS, Scored, grad_cam, integrated_gradients, occlusion, scored_of
from lucency.explain.room import Explained, Mapped, explain
from lucency.explain.trials import Trials, randomised, trials

__all__ = [
    "METHODS",
    "Explained",
    "Mapped",
    "Scored",
    "Trials",
    "explain",
    "grad_cam",
    "integrated_gradients",
    "occlusion",
    "randomised",
    "scored_of",
    "trials",
]
