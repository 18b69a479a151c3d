"""A few steps, one prediction and one score are timed before anything is promised."""

import math
import time
from collections.abc import Callable
from dataclasses import replace

from lucency.events import Events
from lucency.machine import best_time, peak_memory_mib
from lucency.plan import Timing
from lucency.predict import device_of, raw_outputs
from lucency.train.loop import Loop, Work


def rehearse(work: Work, held: str, score: Callable[[], object], allowance_s: float) -> Timing:
    """Time a few steps in both memory layouts, one prediction and one score, before anything is promised.

    Args:
        work: A draft plan; its folder is not written to. Its layout is tried first.
        held: Case to predict: a large one.
        score: Decodes and scores one case.
        allowance_s: Seconds that it may take; on a slow or busy machine only the draft's layout is tried.

    Returns:
        What :func:`lucency.planner.timed` needs.
    """
    begin = time.perf_counter()
    loops: dict[bool, Loop] = {}
    steps: dict[bool, float] = {}
    first = work.plan.channels_last
    for layout in (first, not first):
        # One look at each layout and a second at the winner, of three steps at least, and the prediction.
        if layout != first and time.perf_counter() - begin > allowance_s / 4:
            break
        plan = replace(work.plan, channels_last=layout)
        loops[layout] = Loop(replace(work, plan=plan, events=Events()), work.plan.folds[0], math.inf)
        steps[layout] = loops[layout].time_steps(allowance_s / 6)
    best = min(steps, key=lambda k: steps[k])
    loop, step_s = loops[best], steps[best]
    if time.perf_counter() - begin < allowance_s / 2:
        # The first layout also paid for what warms up once; a second look at the winner is the fair time.
        step_s = min(step_s, loop.time_steps(allowance_s / 6))
    net, plan = loop.average[work.task.delivered], loop.plan
    array = work.store.seen(held)

    def once() -> None:
        for _ in raw_outputs(net, [array], plan, dense=work.task.dense, boxes=work.task.boxes):
            pass

    predict_s = best_time(once, repeats=1, device=device_of(work.plan))
    score_s = best_time(score, repeats=1)
    return Timing(step_s, predict_s, score_s, peak_memory_mib(), work.store.mebibytes, best)
