"""What each process does in the tests of training together: ``torchrun tests/together.py FOLDER``.

The first trains what :data:`JOBS` lists, the others help; each leaves the weights that it ends with, and what it says
of its training.
"""

import itertools
import json
import math
import sys
from dataclasses import replace
from pathlib import Path

import torch

import tiny
from lucency.apps.company import company
from lucency.events import Clock, Events
from lucency.model import save_weights
from lucency.plan import Schedule
from lucency.ranks import joined
from lucency.tasks import task_named
from lucency.train import Work, timed, train_member
from lucency.train.loop import Loop

STEPS = 4

#: What is trained: a name, the family, rows of a batch, precision. Of 7 rows the first process has one more.
JOBS = {
    **{name: (name, 8, "fp32") for name in ("r3gan", "vae", "rflow", "wgan-gp", "dcgan")},
    "r3gan odd": ("r3gan", 7, "fp32"),
    "r3gan bf16": ("r3gan", 8, "bf16"),
    "resumed": ("r3gan", 8, "fp32"),
    "shortened": ("rflow", 8, "fp32"),
}


def work_of(folder, job, name=""):
    """The work of a job, and the reading of its clock by which it must be done."""
    family, batch, precision = JOBS[job]
    place = folder / (name or job)
    place.mkdir(parents=True, exist_ok=True)
    steps = 10 * STEPS if job == "shortened" else STEPS
    plan = tiny.plan_for(
        "generate",
        dims=2,
        network=family,
        network_options={"width": 4},
        augmentation={},
        schedule=Schedule(steps, 2e-4, 0.0, 1, 1000.0, optimiser="adam", shape="constant"),
        task_options={"family": family, "chance": 0.5, "adaptive": True, "flips": "i", "masks": 0},
        batch=batch,
        precision=precision,
    )
    cohort = tiny.stripes(folder)
    # A second passes with every look at it.
    clock = Clock(now=itertools.count().__next__) if job == "shortened" else Clock()
    store, events = tiny.stored(cohort, plan, folder), Events(place / "events.jsonl")
    return Work(
        cohort, plan, task_named("generate"), store, place, clock, events
    ), 100 if job == "shortened" else math.inf


def main(folder):
    """Train together."""
    torch.set_num_threads(1)
    ended, run = [], Loop.run

    def noting(self):
        ended.append(run(self))
        return ended[-1]

    Loop.run = noting
    with company() as asked:
        rank = joined().rank if asked else 1
        if asked:
            for job in JOBS:
                work, deadline = work_of(folder, job)
                train_member(work, 1, deadline)
            assert timed(replace(work, events=Events()), 1, 0.1) > 0
            sys.exit(_left(folder, rank, ended))
    _left(folder, rank, ended)


def _left(folder, rank, ended):
    for job, trained in zip(JOBS, ended, strict=True):
        weights = {f"{n}/{k}": v for n, p in {"": trained.weights, **trained.parts}.items() for k, v in p.items()}
        save_weights(folder / f"{job}.rank{rank}.safetensors", weights)
        facts = {"steps": trained.steps, "history": trained.history}
        (folder / f"{job}.rank{rank}.json").write_text(json.dumps(facts), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
