"""Generated images in a batch: a share of its rows comes from a second store, until the last part of training.

What a member may see of that store is listed by the fold that is held out from it, because a generator has seen
patients too: images that it made stand in for them.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch

from lucency.errors import DataError, UsageError
from lucency.plan import Plan
from lucency.prepare import Store
from lucency.tasks import Task
from lucency.train.sampler import Sampler

#: Share of the training after which only real images are seen: what a generator gets wrong is unlearned again.
#: A choice, not measured.
UNTIL = 0.8

#: By which a sum of steps may fall short.
ROUNDING = 1e-9


@dataclass(frozen=True, eq=False)
class Extra:
    """Images to train on beside a cohort's own.

    Args:
        store: They lie there as prepared cases on the plan's own grid.
        ids: Fold held out to the ids that its member may see.
        share: Of the rows of a batch, over 0 and under 1. It is also their weight in the loss: an image that should
            count half is drawn half as often.
        until: Share of the training after which only real images are seen.
        digest: Of the images and of how they are used; the training's own digest covers it.

    Raises:
        UsageError: A share out of range.
    """

    store: Store
    ids: Mapping[int, tuple[str, ...]]
    share: float
    until: float = UNTIL
    digest: str = ""

    def __post_init__(self) -> None:
        for name, value in (("share", self.share), ("until", self.until)):
            if not 0 < value < 1 and not (name == "until" and value == 1):
                raise UsageError(f"{name} = {value} of synthetic images", expected="more than 0 and less than 1")


class Mixing:
    """Puts further images into the batches of one member; what is drawn depends on the seed and the step only.

    Args:
        extra: See :class:`Extra`.
        fold: Held out.
        plan: Batch, seed, grid.
        task: Whether targets are masks.

    Raises:
        DataError: There are no such images for the fold.
        UsageError: They cannot be mixed in: the network is told columns beside the image, or batches have one row.
    """

    def __init__(self, extra: Extra, fold: int, plan: Plan, task: Task) -> None:
        ids = extra.ids.get(fold, ())
        if not ids:
            raise DataError(
                f"No synthetic image that the member of fold {fold} may see",
                expected="images of a generator that has not seen the patients of the fold",
                remedy="make synthetic images for every fold that is trained, or train fewer folds",
            )
        if plan.facts or plan.batch < 2:
            raise UsageError(
                "Synthetic images cannot be mixed in",
                expected="a network that is told images alone, and two images or more in a batch",
                where="plan.json",
                remedy="leave the synthetic images out",
            )
        #: Rows of a batch, in the mean, that are not the cohort's own, the first of it; the last may be drawn by class.
        self.rows = min(plan.batch - 1.0, extra.share * plan.batch)
        self.until, self._seed = extra.until, plan.seed
        self._sampler = Sampler(extra.store, ids, replace(plan, batch=math.ceil(self.rows)), dense=task.dense)

    def mixed(
        self, images: torch.Tensor, targets: torch.Tensor, step: int, progress: float
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return a batch with its first rows replaced, or as it is near the end of training.

        Args:
            images: (B, C, K, J, I) float, real.
            targets: (B, ...) as the sampler gives them.
            step: Number of the step.
            progress: 0 at the first step, 1 at the last.
        """
        # Progress is a sum of many small steps, and comes to 0.8 by a rounding error less.
        if progress >= self.until - ROUNDING:
            return images, targets
        # Whole rows, and of what is left over one by chance: in small batches rounding would make all shares one.
        whole = int(self.rows)
        n = whole + int(np.random.default_rng((self._seed, 73, step)).random() < self.rows - whole)
        made, taught = self._sampler.batch(step)
        return torch.cat([made[:n], images[n:]]), torch.cat([taught[:n], targets[n:]])
