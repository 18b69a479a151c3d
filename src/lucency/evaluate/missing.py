"""What is lost without a modality: every choice of modalities scored on the same cases, beside zeros in their place."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch

from lucency import statistics
from lucency.calibration import Calibration
from lucency.case import Case
from lucency.evaluate.evaluation import Pattern
from lucency.evaluate.judge import Grounds, crossed, judged_case
from lucency.plan import Plan
from lucency.planner.pace import PATTERN_CASES
from lucency.predict import ensemble, networks, raw_outputs
from lucency.prepare import Seen
from lucency.tasks import Judged

#: The same network trained without modality dropout or stems, and given zeros for what is missing.
ZERO_FILLING = "zero filling"


def patterns(name: str, cases: Sequence[Case], judged: Sequence[Judged], grounds: Grounds) -> tuple[Pattern, ...]:
    """Score every choice of modalities of the plan in one part.

    A choice is scored on the cases that have all of it; the loss is against all that the same cases have.

    Args:
        name: ``"locked"`` or ``"out-of-fold"``.
        cases: Of the part.
        judged: The same cases, with all that they have.
        grounds: See :class:`Grounds`.

    Returns:
        One for each choice that any case allows, all modalities first; none where the model needs every modality.
    """
    rows = _rows(len(cases), dense=grounds.task.dense)
    found: list[Pattern] = []
    rng = np.random.default_rng(grounds.plan.seed + 2)
    control = grounds.controls.get(ZERO_FILLING)
    for given in grounds.plan.patterns:
        own = [n for n in rows if set(given) <= set(cases[n].images)]
        if own:
            some, full = [cases[n] for n in own], [judged[n] for n in own]
            ours = full if len(given) == len(grounds.plan.modalities) else _judged(name, some, given, grounds)
            theirs = None if control is None else _judged(name, some, given, control)
            found.append(_compared(given, (ours, full, theirs), grounds, rng))
        grounds.events.emit("evaluate", "pattern", given=list(given), cases=len(own), part=name)
    return _corrected(found)


def _rows(n: int, *, dense: bool) -> list[int]:
    """Return which cases are scored: all, or of masks, which take long, an even choice."""
    if not dense or n <= PATTERN_CASES:
        return list(range(n))
    return sorted({round(v) for v in np.linspace(0, n - 1, PATTERN_CASES)})


def _compared(
    given: tuple[str, ...],
    of: tuple[Sequence[Judged], Sequence[Judged], Sequence[Judged] | None],
    grounds: Grounds,
    rng: np.random.Generator,
) -> Pattern:
    """Sum up one choice of modalities, beside everything and beside zeros."""
    ours, full, theirs = of
    task, plan = grounds.task, grounds.plan
    loss, p_loss, _ = task.compare(ours, full, plan, rng) if ours is not full else (None, None, "")
    zero = None if theirs is None else task.measure(theirs, plan, rng).metrics[task.headline]
    gain, p, test = task.compare(ours, theirs, plan, rng) if theirs is not None else (None, None, "")
    return Pattern(
        given=given,
        n_cases=len(ours),
        n_patients=len({j.patient for j in ours}),
        metric=task.measure(ours, plan, rng).metrics[task.headline],
        loss=loss,
        p_loss=p_loss,
        zero_filling=zero,
        gain=gain,
        p_gain=p,
        test=test,
    )


def _corrected(found: Sequence[Pattern]) -> tuple[Pattern, ...]:
    """Return the patterns with p values after Holm, over all comparisons with zeros and over all losses."""
    losses = statistics.holm([p.p_loss for p in found])
    gains = statistics.holm([p.p_gain for p in found])
    return tuple(replace(p, p_loss=a, p_gain=b) for p, a, b in zip(found, losses, gains, strict=True))


def without(seen: Seen, given: Sequence[str], plan: Plan) -> Seen:
    """Return what a network is given of a case with all modalities but the given ones set to zero.

    Args:
        seen: (C, K, J, I), or that with clinical columns.
        given: Names of modalities.
        plan: Channels of each modality.
    """
    image = (seen[0] if isinstance(seen, tuple) else seen).astype(np.float32)
    at = 0
    for modality, n in zip(plan.modalities, plan.stems, strict=True):
        if modality not in given:
            image[at : at + n] = 0.0
        at += n
    return (image, seen[1]) if isinstance(seen, tuple) else image


def _judged(name: str, cases: Sequence[Case], given: Sequence[str], grounds: Grounds) -> list[Judged]:
    """Score the cases with nothing but the given modalities, by the members that have not seen them."""
    outputs = _delivered(cases, given, grounds) if name == "locked" else _held_out(cases, given, grounds)
    return [judged_case(grounds, c, out, k) for c, (out, k) in zip(cases, outputs, strict=True)]


def _delivered(
    cases: Sequence[Case], given: Sequence[str], grounds: Grounds
) -> Iterator[tuple[np.ndarray, Calibration]]:
    nets = networks(grounds.model, grounds.task)
    arrays = (without(grounds.store.seen(c.id), given, grounds.plan) for c in cases)
    for output in ensemble(nets, arrays, grounds.model, grounds.task):
        yield output, grounds.model.calibration


def _held_out(
    cases: Sequence[Case], given: Sequence[str], grounds: Grounds
) -> Iterator[tuple[np.ndarray, Calibration]]:
    """Yield the output of the member that did not see the case, under the calibration of the other half."""
    task, plan, folds = grounds.task, grounds.plan, grounds.cohort.folds
    learned = crossed(grounds, [c for fold in plan.folds for c in grounds.cohort.fold(fold)])
    nets = dict(zip(grounds.model.members, networks(grounds.model, task), strict=True))
    # Cases of a fold follow each other, so that they are predicted together.
    for fold, own in itertools.groupby(cases, key=lambda c: folds[c.id]):
        some = list(own)
        arrays = (without(grounds.store.seen(c.id), given, plan) for c in some)
        outputs = raw_outputs(nets[f"fold{fold}"], arrays, plan, dense=task.dense, boxes=task.boxes)
        for case, raw in zip(some, outputs, strict=True):
            yield task.activate(torch.from_numpy(raw)[None].float(), learned[case.id])[0].numpy(), learned[case.id]
