"""Which state of a generator's training is kept: the one whose images teach a network most, asked on an inner fold.

No loss of an adversarial training says when its images were best. So the averages are kept at a few points, and at the
end a narrow network of the task learns from images of each state alone, for few steps, and is tried on real images of
the inner fold; how far the images lie from that fold's is measured as well. The patients who judge have no part in it.

All states draw from the same random numbers, and their networks start alike and see as many images.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from lucency.events import Clock
from lucency.plan import Plan
from lucency.statistics import Metric
from lucency.synthesize.arrays import learning
from lucency.synthesize.drawn import Drawn
from lucency.synthesize.encoders import random_encoder
from lucency.synthesize.fidelity.frechet import directions, fd
from lucency.synthesize.fidelity.kernel import standardised
from lucency.synthesize.fidelity.matched import matched
from lucency.synthesize.fidelity.use import leading, tstr
from lucency.synthesize.maker import Look, Maker
from lucency.train.loop import Loop

#: Shares of a training at which its averages are kept; its end is looked at as well. Before half of it the images of no
#: family here are done.
POINTS = (0.5, 0.65, 0.8)

#: Share of a generator's time that looking at its states may take.
SHARE = 0.1

#: Optimiser steps of the network that learns from a state's images: with fewer it has learned nothing that tells the
#: states apart, with more it costs and tells no more.
LEAST_STEPS, MOST_STEPS = 60, 200

#: Images that are drawn of each state, and real ones that it is tried on, at the most.
DRAWN, JUDGED = 600, 1000

#: Widths of the task's network are divided by this, down to so many channels.
NARROWER, LEAST_WIDTH = 2, 4.0

#: Seconds of steps by which the network is timed, at most.
TIMED_S = 1.0

#: Half of an interval of 95 % in standard errors.
NORMAL = 1.96


@dataclass(frozen=True, eq=False)
class Judging:
    """What states are looked at with.

    Args:
        members: What the generator learned from: its classes are drawn in their mix.
        inner: Real images of an inner fold, with classes or masks.
        plan: Of the task.
        folder: For the networks' trainings; whoever asks removes it.
        clock: Working time.
        until: Reading of it by which all must be done.
    """

    members: Drawn
    inner: Drawn
    plan: Plan
    folder: Path
    clock: Clock
    until: float


@dataclass(frozen=True)
class Choice:
    """Which state is kept.

    Args:
        step: Its step.
        looks: States that were looked at, the latest first.
        why: For the report.
    """

    step: int
    looks: tuple[Look, ...]
    why: str


def chosen(states: Mapping[int, Callable[[], Maker]], judging: Judging) -> Choice:
    """Look at the states of a training, as many as there is time for, and choose.

    The latest is looked at first, so that a look that there is no time for is one at an early state.

    Args:
        states: Step to what loads the generator as it was then; the last is the end of the training.
        judging: See :class:`Judging`.
    """
    steps = sorted(states, reverse=True)
    known = np.flatnonzero(np.isin(judging.inner.labels, judging.members.labels))
    if len(steps) < 2 or not len(known):
        return Choice(steps[0], (), "The end of the training was kept: there was nothing to compare it with")
    some = np.random.default_rng((judging.plan.seed, 61)).permutation(known)[:JUDGED]
    judging = replace(judging, inner=judging.inner.take(np.sort(some)))
    begin = judging.clock.elapsed()
    first = _drawn(states[steps[0]](), judging)
    drawn_s = judging.clock.elapsed() - begin
    narrow = narrowed(judging.plan)
    step_s = _timed(first, narrow, judging.folder)
    tried = step_s * math.ceil(len(judging.inner) / narrow.batch)
    n, length = affordable(len(steps), judging.until - judging.clock.elapsed(), drawn_s + tried, step_s)
    looks: list[Look] = []
    spent = 0.0
    for step in steps[:n]:
        begin = judging.clock.elapsed()
        if looks and begin + spent > judging.until:
            break
        drawn = first if step == steps[0] else _drawn(states[step](), judging)
        looks.append(Look(step, _taught(drawn, judging, narrow, length), _distance(drawn, judging)))
        spent = max(spent, judging.clock.elapsed() - begin)
    if len(looks) < 2:
        return Choice(steps[0], (), "The end of the training was kept: there was no time to look at earlier states")
    return decided(looks)


def affordable(states: int, seconds: float, beside_s: float, step_s: float) -> tuple[int, int]:
    """Return how many states there is time to look at, and for how many steps each; (0, 0) for fewer than two.

    Args:
        states: That there are.
        seconds: That looking may take.
        beside_s: Of each look, but for the steps.
        step_s: Of a step.

    Example:
        >>> affordable(4, 40.0, 2.0, 0.05), affordable(4, 13.0, 2.0, 0.05), affordable(4, 6.0, 2.0, 0.05)
        ((4, 160), (2, 90), (0, 0))
    """
    for n in range(states, 1, -1):
        length = int(min(MOST_STEPS, (seconds / n - beside_s) / max(step_s, 1e-9)))
        if length >= LEAST_STEPS:
            return n, length
    return 0, 0


def decided(looks: Sequence[Look]) -> Choice:
    """Choose among states that were looked at.

    What their images teach counts first, then their distance from real ones; what lies within a standard error of the
    best counts as equal to it, and of equals the latest is kept. Where an interval cannot be given, all are equal.

    Args:
        looks: Two or more.

    Source:
        The rule of one standard error: Breiman 1984, Classification and Regression Trees, section 3.4.3.
    """
    end = max(looks, key=lambda one: one.step)
    alike = _best(looks, lambda one: one.teaches, 1)
    kept = max(_best(alike, lambda one: one.fd, -1), key=lambda one: one.step)
    if kept is end:
        why = f"The end of the training was kept: none of {len(looks) - 1} earlier states was better on the inner fold"
    elif not math.isfinite(end.teaches.value):
        why = f"Step {kept.step} of {end.step} was kept: from images of the end a network could not learn"
    elif end not in alike:
        why = (
            f"Step {kept.step} of {end.step} was kept: from its images alone a network learned "
            f"{kept.teaches.value:.3f} on the inner fold, from those of the end {end.teaches.value:.3f}"
        )
    else:
        why = (
            f"Step {kept.step} of {end.step} was kept: its images teach as much and lie nearer to the inner fold's, "
            f"by a distance of {kept.fd.value:.2f} against {end.fd.value:.2f}"
        )
    return Choice(kept.step, tuple(looks), why)


def narrowed(plan: Plan) -> Plan:
    """Return the plan of a network of half the width, which learns as the task's does and costs less.

    Args:
        plan: Of the task.
    """
    widths = plan.network_options.get("widths")
    options = dict(plan.network_options)
    if isinstance(widths, tuple | list):
        options["widths"] = tuple(max(min(w, LEAST_WIDTH), float(w // NARROWER)) for w in widths)
    return replace(plan, network_options=options, compile=False, tta=())


def _best(looks: Sequence[Look], of: Callable[[Look], Metric], sign: int) -> list[Look]:
    """Return those within a standard error of the best; all where none has a value or the best no interval."""
    known = [one for one in looks if math.isfinite(of(one).value)]
    if not known:
        return list(looks)
    best = of(max(known, key=lambda one: sign * of(one).value))
    if best.lower is None or best.upper is None:
        return list(looks)
    error = (best.upper - best.lower) / (2 * NORMAL)
    return [one for one in known if sign * of(one).value >= sign * best.value - error]


def _drawn(maker: Maker, judging: Judging) -> Drawn:
    """Return images of a state, in the mix of the members' classes."""
    rng = np.random.default_rng((judging.plan.seed, 53))
    labels = judging.members.labels
    return maker.sample(labels[np.sort(rng.permutation(len(labels))[:DRAWN])], rng)


def _taught(drawn: Drawn, judging: Judging, narrow: Plan, steps: int) -> Metric:
    """Return what a network that learns from these images reaches on the inner fold; NaN where it cannot learn."""
    return leading(tstr(drawn, judging.inner, narrow, judging.folder, steps=steps, seed=narrow.seed))


def _distance(drawn: Drawn, judging: Judging) -> Metric:
    """Return how far images lie from as many of the inner fold, of the same classes."""
    rng = np.random.default_rng((judging.plan.seed, 59))
    made, real = matched((drawn, judging.inner), rng)
    eye = random_encoder(drawn.images.shape[1], drawn.dims)
    theirs, ours = standardised(eye(real.images), eye(made.images))
    flat = directions(theirs, len(real))
    return fd(flat(ours), flat(theirs), real.people, rng)


def _timed(drawn: Drawn, plan: Plan, folder: Path) -> float:
    """Return the seconds of a step of the network that states are looked at with."""
    return Loop(learning(drawn, plan, folder, steps=LEAST_STEPS, seed=plan.seed), 0, math.inf).time_steps(TIMED_S)
