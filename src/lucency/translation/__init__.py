"""Images of one modality made of those of another: networks, ways to train them, and how well two modalities fit."""

from lucency.translation.alignment import displacement
from lucency.translation.parts import Critic, Cycle, Field, Heads, Inputs, Translator, warped
from lucency.translation.ways import WAYS, Making, Way, Weights

__all__ = [
    "WAYS",
    "Critic",
    "Cycle",
    "Field",
    "Heads",
    "Inputs",
    "Making",
    "Translator",
    "Way",
    "Weights",
    "displacement",
    "warped",
]
