"""The only loop: it serves every task, resumes at the step it was killed, and keeps to its time."""

from lucency.train.company import ranks_of, serve, timed, train_member
from lucency.train.held_out import OutOfFold, Outputs, calibrate, predict_held_out
from lucency.train.loop import Trained, Work
from lucency.train.rehearsal import rehearse
from lucency.train.sampler import Sampler
from lucency.train.synthetic import Extra

__all__ = [
    "Extra",
    "OutOfFold",
    "Outputs",
    "Sampler",
    "Trained",
    "Work",
    "calibrate",
    "predict_held_out",
    "ranks_of",
    "rehearse",
    "serve",
    "timed",
    "train_member",
]
