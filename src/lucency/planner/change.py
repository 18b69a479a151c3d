"""A plan that does not fit into memory, and a plan that a person changes."""

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from lucency.errors import UsageError
from lucency.plan import OPTIMISERS, Plan
from lucency.planner.shape import triple
from lucency.record import from_json, to_json


def smaller(draft: Plan) -> Plan:
    """Return the plan after memory ran out: half the batch, then smaller patches and tiles.

    Raises:
        UsageError: Nothing is left to shrink.
    """
    reasons = dict(draft.reasons)
    if draft.batch > 2:
        reasons["batch"] = f"{draft.batch // 2}: {draft.batch} did not fit into memory"
        tile = triple([max(p, t // 2) for p, t in zip(draft.patch, draft.tile, strict=True)])
        return replace(draft, batch=draft.batch // 2, tile=tile, reasons=reasons)
    if draft.grid.mode == "spacing" and math.prod(draft.patch) > 4096:
        patch = triple([max(8, p // 2 // 8 * 8) if p >= 16 else p for p in draft.patch])
        reasons["patch"] = f"{'×'.join(map(str, patch))}: {'×'.join(map(str, draft.patch))} did not fit into memory"
        return replace(draft, patch=patch, tile=patch, reasons=reasons)
    raise UsageError(
        "Memory ran out and the plan cannot be made smaller", remedy="close other programs or use a larger machine"
    )


def overridden(draft: Plan, settings: Mapping[str, str]) -> Plan:
    """Return the plan with ``--set key=value`` put in.

    Args:
        draft: Any plan.
        settings: Keys of the plan, dotted for its parts: ``schedule.rate``, ``network_options.residual``; a task's and
            a network's own settings also by their names alone; values as JSON, or as text where they are not.

    Raises:
        UsageError: An unknown key; the message names the nearest.
    """
    payload: dict[str, Any] = to_json(draft)
    said: dict[str, list[str]] = {}
    for key, text in _with_usual(settings).items():
        # A task's or a network's own settings go by their names alone as well.
        owner = next((o for o in ("task_options", "network_options") if key not in payload and key in payload[o]), "")
        *parents, last = (owner, key) if owner else key.split(".")
        place = payload
        for parent in parents:
            if not isinstance(place.get(parent), dict):
                raise UsageError(f"No part {parent!r} in the plan", where=f"--set {key}", expected=", ".join(payload))
            place = place[parent]
        place[last] = _fitting(place.get(last), text, key)
        told = last if last in payload["reasons"] else key.split(".")[0]
        said.setdefault(told, []).append(f"{key} = {text}")
    payload["reasons"] |= {part: f"set by the user: {', '.join(texts)}" for part, texts in said.items()}
    return from_json(Plan, payload, "--set")


def _with_usual(settings: Mapping[str, str]) -> dict[str, str]:
    """Return the settings; an optimiser brings its usual rate and weight decay, unless they are set as well."""
    name = settings.get("schedule.optimiser", "")
    if name not in OPTIMISERS:
        return dict(settings)
    rate, decay = OPTIMISERS[name]
    return {"schedule.rate": f"{rate:g}", "schedule.weight_decay": f"{decay:g}", **settings}


def _fitting(old: Any, text: str, key: str) -> Any:
    """Return the value in ``text``, of the kind that stands in the plan; a new key takes any.

    Raises:
        UsageError: Another kind.
    """
    if isinstance(old, str):
        return text
    try:
        new = json.loads(text)
    except json.JSONDecodeError:
        new = text
    number = isinstance(new, int | float) and not isinstance(new, bool)
    wanted = {
        bool: ("true or false", isinstance(new, bool)),
        int: ("a whole number", number and isinstance(new, int)),
        float: ("a number", number),
        dict: ("an object in braces", isinstance(new, dict)),
    }
    if isinstance(old, list):
        # The number of levels of a network, of folds and of mirrors is free; all other lists have their length.
        free = key.split(".", maxsplit=1)[0] in {"network_options", "folds", "tta"}
        fits = isinstance(new, list) and (free or len(new) == len(old))
        expected = "a list in brackets" if free else f"a list of {len(old)} in brackets"
    else:
        expected, fits = wanted.get(type(old), ("", True))
    if not fits:
        raise UsageError(f"Value {text}", expected=expected, where=f"--set {key}")
    return new
