"""One member from the first step to its held-out outputs; what an interrupted run left whole is kept."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from lucency.model import load_facts, load_weights, save_weights
from lucency.train.company import train_member
from lucency.train.early import early
from lucency.train.held_out import OutOfFold, predict_held_out
from lucency.train.loop import Work


@dataclass(frozen=True, eq=False)
class Member:
    """A trained member, as it lies on the disk.

    Args:
        weights: Averaged weights and buffers.
        facts: ``history``, ``guard`` and ``augment``, as :class:`lucency.train.Trained` has them; ``early`` and
            ``sure_at``, as :class:`lucency.train.early.Early` has them.
    """

    weights: Mapping[str, torch.Tensor]
    facts: Mapping[str, Any]


def is_done(work: Work, fold: int, outputs: Path) -> bool:
    """Tell whether the fold's weights and held-out outputs are both complete."""
    return _path(work, fold).exists() and OutOfFold(outputs).has(fold)


def member(work: Work, fold: int, outputs: Path, deadline: float) -> Member:
    """Train one member and predict the fold it did not see, unless both were done.

    Args:
        work: See :class:`lucency.train.Work`.
        fold: Held out.
        outputs: Folder of the held-out outputs.
        deadline: Reading of the clock by which training must be done.

    Raises:
        LucencyError: The loss is no longer finite, or the disk is full.
    """
    path = _path(work, fold)
    if not is_done(work, fold, outputs):
        begun = early(work, fold, deadline)
        trained = train_member(begun.work, fold, deadline)
        predict_held_out(work, fold, trained.weights, outputs)
        facts = {"history": trained.history, "guard": trained.shortened, "augment": trained.augment_share}
        facts |= {"early": list(begun.rows), "sure_at": list(begun.sure_at)}
        save_weights(path, trained.weights, {"facts": json.dumps(facts)})
        (work.folder / f"fold{fold}.checkpoint.safetensors").unlink(missing_ok=True)
    return Member(load_weights(path), json.loads(load_facts(path)["facts"]))


def _path(work: Work, fold: int) -> Path:
    return work.folder / f"fold{fold}.safetensors"
