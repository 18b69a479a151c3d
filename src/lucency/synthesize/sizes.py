"""Which generator, how wide, and for how many steps: chosen by timing a few steps of each on this machine."""

import math
from collections.abc import Callable
from dataclasses import replace

from lucency import machine
from lucency.errors import DataError, MemoryShortError, UsageError
from lucency.events import Events
from lucency.generators import SIZES, Family, every_family, family_named
from lucency.plan import Forecast, Plan
from lucency.tasks.generate import shape_of
from lucency.train import Work, ranks_of, timed

#: Share of the time that steps are planned for; the loop's guard shortens what would still be too long.
FILL = 0.92

#: Seconds of steps by which one width is timed, and their share of the time at most.
LOOK_S, LOOK_SHARE = 3.0, 0.02

#: Images that training should see at each width, as a multiple of the family's least: wider networks are worth their
#: time only where they come to the end of it.
WORTH = {"tiny": 1.0, "small": 2.0, "medium": 8.0, "large": 20.0}

#: Share of the family's least below which no images are worth looking at.
HOPELESS = 0.25

#: Images seen beyond which a small set is only learned by heart.
MOST_SEEN = 3_000_000

#: Step time of the next width against this one at least: convolutions at twice the width cost up to four times.
DEARER = 1.5

#: See docs/decisions/0026-generators.md for where the border between the two comes from.
DEFAULT = {"cpu": "dcgan", "cuda": "r3gan"}


def default_family(accelerator: str) -> str:
    """Return the generator that is taken where nobody names one.

    Args:
        accelerator: ``"cpu"``, ``"cuda"`` or ``"mps"``.
    """
    return DEFAULT.get(accelerator, DEFAULT["cpu"])


def chosen(
    family: Family, size: str, drafted: Callable[[int], Plan], work_of: Callable[[Plan], Work], seconds: float
) -> Plan:
    """Return a generator's plan with width, steps and memory layout that suit the time.

    Args:
        family: Of generators.
        size: A name of :data:`lucency.generators.SIZES` where the user has said it, else "".
        drafted: Makes the plan for a width.
        work_of: Makes the work for a plan; its folder is not written to.
        seconds: That training may take.

    Raises:
        UsageError: The time is too short for anything worth looking at; the message says what it would take.
        MemoryShortError: Not even the narrowest fits.
    """
    names = (size,) if size else SIZES
    best: tuple[str, Plan, float] | None = None
    for number, name in enumerate(names):
        draft = drafted(family.widths[name])
        step_s = _timed(work_of(draft), seconds) if _fits(family, draft) else None
        if step_s is None:
            break
        if best is None or _seen(draft, step_s, seconds) >= WORTH[name] * family.least_seen:
            best = name, draft, step_s
        else:
            break
        following = names[number + 1 : number + 2]
        if following and _seen(draft, DEARER * step_s, seconds) < WORTH[following[0]] * family.least_seen:
            break
    if best is None:
        needed = family.memory_mib(shape_of(draft), draft.batch)
        raise MemoryShortError(
            f"Memory ran out in one step of generator {family.name!r}"
            + (f", or would: about {needed:.0f} MiB beside what is in use" if needed else ""),
            remedy="close other programs, name a smaller size of generator, or plan with smaller images",
        )
    name, draft, step_s = best
    other = replace(draft, channels_last=not draft.channels_last)
    other_s = _timed(work_of(other), seconds)
    if other_s is not None and other_s < step_s:
        best = name, other, other_s
    return _decided(family, best, size, seconds)


def least_seconds(family: Family, draft: Plan, work: Work) -> float:
    """Return how long a generator must train for its images to be worth looking at; 0 where memory runs out.

    Args:
        family: Of generators.
        draft: Of the narrowest.
        work: For that plan; its folder is not written to.
    """
    step_s = _timed(work, LOOK_S / LOOK_SHARE)
    return 0.0 if step_s is None else HOPELESS * family.least_seen * step_s / (FILL * draft.batch)


def _decided(family: Family, best: tuple[str, Plan, float], size: str, seconds: float) -> Plan:
    """Put the steps that there is time for into the plan, with their reasons."""
    name, draft, step_s = best
    seen = _seen(draft, step_s, seconds)
    if seen < HOPELESS * family.least_seen:
        needed = HOPELESS * family.least_seen * step_s / (FILL * draft.batch)
        raise UsageError(
            f"In {spoken(seconds)} generator {family.name!r} ({name}) would see {seen:.0f} images",
            expected=f"{HOPELESS * family.least_seen:.0f} at least, better {family.least_seen}",
            where="--minutes",
            remedy=f"give {spoken(needed)} or more for each generator, better {spoken(needed / HOPELESS)}",
        )
    steps = max(1, int(min(seen, MOST_SEEN) / draft.batch))
    pace = f"{1000 * step_s:.0f} ms a step, {draft.batch / step_s:.0f} images a second"
    why = "as the user says" if size else f"the widest that sees {WORTH[name] * family.least_seen:.0f} images"
    reasons = {
        **draft.reasons,
        "network_options": f"{name}: {why}" if size or name != SIZES[0] else f"{name}: there is no time for more",
        "schedule": f"{steps} steps, {steps * draft.batch} images seen: {pace}",
    }
    schedule = replace(draft.schedule, steps=steps, warmup=max(1, min(draft.schedule.warmup, steps // 20)))
    forecast = Forecast(round(family.memory_mib(shape_of(draft), draft.batch), 1))
    return replace(draft, schedule=schedule, reasons=reasons, forecast=forecast)


def _fits(family: Family, draft: Plan) -> bool:
    """Tell whether a step fits into the free memory, as far as the family knows; a GPU says so itself when it is tried.

    A processor does not: its operating system ends a program that takes too much.
    """
    needed = family.memory_mib(shape_of(draft), draft.batch)
    return draft.accelerator != "cpu" or needed <= machine.MEMORY_SHARE * machine.free_memory_mib()


def spoken(seconds: float) -> str:
    """Return a time in words, rounded up.

    Example:
        >>> spoken(42.0), spoken(90.0), spoken(5400.0)
        ('42 s', '2 min', '1.5 h')
    """
    if seconds < 60:
        return f"{math.ceil(seconds)} s"
    return f"{math.ceil(seconds / 60)} min" if seconds < 3600 else f"{math.ceil(seconds / 360) / 10} h"


def _seen(draft: Plan, step_s: float, seconds: float) -> float:
    return FILL * seconds / step_s * draft.batch


def _timed(work: Work, seconds: float) -> float | None:
    """Return the seconds of a step, or None where memory runs out."""
    try:
        return timed(replace(work, events=Events()), 0, min(LOOK_S, LOOK_SHARE * seconds))
    except (RuntimeError, MemoryError) as error:
        # Processes that train together are in the middle of a step then, and cannot go on with another.
        if not machine.is_out_of_memory(error) or ranks_of(work).n > 1:
            raise
        return None


def refuse_maskless(family: Family, *, masked: bool) -> None:
    """Refuse a family that needs masks for images that have none.

    Raises:
        DataError: See above.
    """
    if family.needs_masks and not masked:
        raise DataError(
            f"Generator {family.name!r} for images without masks",
            expected="a task with a mask for each image: it makes images for masks",
            where="--generator",
            remedy=f"put masks beside the images (--task segment), or choose another: {_maskless()}",
        )


def _maskless() -> str:
    return ", ".join(name for name, one in every_family().items() if not one.needs_masks)


def family_for(name: str, n_images: int, accelerator: str, *, few: bool, masked: bool) -> Family:
    """Return the family that is asked for, or the default.

    Args:
        name: Registry name; "" for the default.
        n_images: That it learns from.
        accelerator: ``"cpu"``, ``"cuda"`` or ``"mps"``.
        few: The user says that so few images will do.
        masked: The images have masks.

    Raises:
        UsageError: No such family.
        DataError: Fewer images than the family is for, or no masks where it needs them.
    """
    family = family_named(name or default_family(accelerator))
    refuse_maskless(family, masked=masked)
    if n_images < family.least_images and not few:
        raise DataError(
            f"{n_images} images for generator {family.name!r}",
            expected=f"{family.least_images} at least, for of fewer it learns many by heart",
            where="--generator",
            remedy=f"choose another generator, or write --generator {family.name}:few=yes and read the audit closely",
        )
    return family
