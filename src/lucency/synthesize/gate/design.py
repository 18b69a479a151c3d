"""How long the gate will take, told before it starts: from a training that was timed, not from a guess.

All arms make as many steps. What is left of the budget after the least that a verdict needs goes to the generators
first, whose images are what is judged, and then to the arms.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lucency.errors import UsageError
from lucency.synthesize.gate.arms import Arm
from lucency.synthesize.gate.evidence import LEAST_RUNS
from lucency.synthesize.gate.running import Run, runs_of

#: Passes over its training images of each arm, at least and at most: with fewer no network of these families has
#: converged, and the arms would be judged by how fast they learn.
LEAST_PASSES, MOST_PASSES = 8.0, 40.0

#: Optimiser steps of each arm at least: warm-up and cosine need some.
LEAST_STEPS = 40

#: Seconds that a generator is given at least, and at most.
LEAST_GENERATOR_S, MOST_GENERATOR_S = 60.0, 3600.0

#: Share of a generator's time that one takes which is over-fitted on purpose, for the audit to be tried on; in seconds
#: at most, and at least: in less none comes to repeat its images.
CONTROL, MOST_CONTROL_S, LEAST_CONTROL_S = 0.25, 120.0, 15.0

#: Share of the budget that is planned; the rest is for what a forecast cannot know.
FILL = 0.9

#: Share of the generators' time that looking at their images takes, and trainings of an arm's length that go with each:
#: three judges of labels, three that tell what the images teach, the encoder.
LOOKING, BESIDE = 0.25, 7


@dataclass(frozen=True)
class Timed:
    """What was timed on this machine.

    Args:
        step_s: One optimiser step of an arm.
        beside_s: All else that a training takes: prediction, calibration, judgement.
        generator_s: In which the narrowest generator sees so many images that they are worth looking at.
    """

    step_s: float
    beside_s: float
    generator_s: float = 0.0


@dataclass(frozen=True)
class Design:
    """What will be done, ``RUN/synthesis/design.json``.

    Args:
        digest: Of all that it depends on; another one begins anew.
        folds: Outer folds.
        seeds: Repetitions of each.
        arms: Trained in every run.
        steps: Optimiser steps of each.
        passes: Over the training images of a run.
        generator_s: Seconds for each generator; one for each fold.
        seconds: Stage to seconds, as forecast.
        n_train: Training images of a run, the mean over the folds.
        n_test: Images that judge it.
        frame: Longest side of the images.
        control_s: Seconds for each generator that is over-fitted on purpose; 0 where there is no time for one.
    """

    digest: str
    folds: tuple[int, ...]
    seeds: int
    arms: tuple[Arm, ...]
    steps: int
    passes: float
    generator_s: float
    seconds: Mapping[str, float]
    n_train: float
    n_test: float
    frame: int
    control_s: float = 0.0

    @property
    def controls(self) -> int:
        """Generators that are over-fitted on purpose."""
        return controls_of(self.folds) if self.control_s else 0

    @property
    def trainings(self) -> int:
        """Trainings of arms."""
        return len(self.folds) * self.seeds * len(self.arms)

    @property
    def hours(self) -> float:
        """Hours of all stages together."""
        return sum(self.seconds.values()) / 3600


@dataclass(frozen=True)
class Frame:
    """What a design is fitted into.

    Args:
        folds: Outer folds.
        seeds: Repetitions.
        arms: Trained in every run.
        n_train: Training images of a run.
        n_test: Images that judge it.
        batch: Images of a step.
        side: Longest side.
        steps: Optimiser steps that the user asks for; 0 leaves it to the budget.
    """

    folds: tuple[int, ...]
    seeds: int
    arms: tuple[Arm, ...]
    n_train: float
    n_test: float
    batch: int
    side: int
    steps: int = 0


def designed(frame: Frame, timed: Timed, minutes: float, spent_s: float, digest: str) -> Design:
    """Fit the gate into the budget.

    Args:
        frame: What is to be done.
        timed: On this machine.
        minutes: Budget.
        spent_s: Of it, before now.
        digest: Of what the design depends on.

    Raises:
        UsageError: The budget is too small for a verdict; the message says what it would take.
    """
    epoch = math.ceil(frame.n_train / frame.batch)
    least = frame.steps or max(LEAST_STEPS, math.ceil(LEAST_PASSES * epoch))
    most = frame.steps or max(least, math.ceil(MOST_PASSES * epoch))
    n = len(frame.folds)
    least_s = max(LEAST_GENERATOR_S, timed.generator_s)
    runs = n * frame.seeds
    trainings = runs * len(frame.arms) + BESIDE * n

    def arms_s(steps: int) -> float:
        return trainings * (steps * timed.step_s + timed.beside_s)

    room = FILL * minutes * 60 - spent_s
    beside = LOOKING + CONTROL * controls_of(frame.folds) / n
    needed = arms_s(least) + n * least_s * (1 + beside)
    if needed > room:
        raise UsageError(
            f"{minutes:g} minutes are too few for a verdict: {runs} paired runs of {len(frame.arms)} arms and {n} "
            f"generators, {least} steps of {1000 * timed.step_s:.0f} ms each",
            expected=f"about {math.ceil((needed + spent_s) / FILL / 60)} minutes",
            where="--minutes",
            remedy="give more --minutes; smaller images (--set side=28) or fewer patients take less",
        )
    generator_s = min(MOST_GENERATOR_S, (room - arms_s(least)) / n / (1 + beside) / 2)
    generator_s = max(least_s, generator_s)
    left = room - n * generator_s * (1 + beside)
    steps = int(min(most, max(least, (left / trainings - timed.beside_s) / timed.step_s)))
    # What the arms have no use for, the generators may have.
    spare = room - arms_s(steps)
    generator_s = min(max(MOST_GENERATOR_S, least_s), max(generator_s, spare / n / (1 + beside)))
    each = steps * timed.step_s + timed.beside_s
    control_s = min(MOST_CONTROL_S, CONTROL * generator_s)
    control_s = round(control_s, 1) if control_s >= LEAST_CONTROL_S else 0.0
    controls = controls_of(frame.folds)
    return Design(
        digest=digest,
        folds=frame.folds,
        seeds=frame.seeds,
        arms=frame.arms,
        steps=steps,
        passes=round(steps * frame.batch / max(1.0, frame.n_train), 1),
        generator_s=round(generator_s, 1),
        seconds={
            "generators": round(n * generator_s, 1),
            "looking": round(n * (LOOKING * generator_s + BESIDE * each) + controls * control_s, 1),
            "arms": round(runs * len(frame.arms) * each, 1),
        },
        n_train=frame.n_train,
        n_test=frame.n_test,
        frame=frame.side,
        control_s=control_s,
    )


def control_fold(folds: Sequence[int], run: Run) -> int:
    """Return the fold whose patients a generator is over-fitted to for a run: one that the run learns from.

    It is the same for as many runs as may be, for one training serves them all.

    Args:
        folds: Outer folds, three or more.
        run: Fold and inner fold.
    """
    return next(f for f in (folds[-1], folds[len(folds) // 2], *folds) if f not in (run.fold, run.inner))


def controls_of(folds: Sequence[int]) -> int:
    """Return how many generators are over-fitted on purpose.

    Example:
        >>> controls_of((0, 1, 2, 3, 4)), controls_of((0, 1, 2))
        (2, 3)
    """
    return len({control_fold(folds, run) for run in runs_of(folds, 1)})


def seeds_for(folds: int) -> int:
    """Return how many repetitions give enough paired runs.

    Example:
        >>> seeds_for(5), seeds_for(3)
        (2, 4)
    """
    return math.ceil(LEAST_RUNS / folds)
