"""Generation: images of a class from random numbers. A task to the loop only; ``synthesize`` asks for it.

What it makes has no right answer for a case, so the rooms that predict, calibrate and score have no questions for it.
"""

from collections.abc import Iterator, Mapping

import numpy as np
import torch
from torch import nn

from lucency.case import Case, Cohort
from lucency.generators import GENERATOR, Family, Noise, Shape, Step, between, family_named
from lucency.generators.differentiable import Transforms
from lucency.plan import Option, Plan, number_of
from lucency.tasks import Batch, Pace, class_index, task

#: Images of each class in a picture of what training has come to, and classes at most.
SHOWN, MOST_CLASSES = 8, 12

#: Grey values that a picture shows, in standard deviations about the mean of an image.
DARK, BRIGHT = -2.0, 3.0

#: How often training may go back from a loss that is not finite.
RECOVERIES = 3


@task
class Generate:
    """The task of the room ``synthesize``; ``fit`` does not offer it."""

    name = "generate"
    dense = False
    headline = ""
    baselines = ""
    offered = False
    validated = False
    delivered = GENERATOR
    recoveries = RECOVERIES
    dealt = True

    def suits(self, cohort: Cohort) -> float:
        """No targets are made for it: it is asked for by its room alone."""
        return 0.0

    def build(self, plan: Plan) -> dict[str, nn.Module]:
        """Return the parts of the plan's family."""
        return family_of(plan).parts(shape_of(plan))

    def target(self, case: Case, plan: Plan) -> int:
        """Return the class index, 0 where there are no classes.

        Raises:
            DataError: A class that the plan does not know.
        """
        return class_index(case, plan) if len(plan.classes) > 1 else 0

    def losses(
        self, parts: Mapping[str, nn.Module], batch: Batch, rng: torch.Generator
    ) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield the family's losses; images are made of every class that there is, each as often."""
        present = [k for k, n in enumerate(batch.counts) if n] or [0]
        labels = batch.targets.long()
        drawn = torch.tensor(present, device=labels.device)
        family = family_named(str(batch.options["family"]))
        transforms, privacy = transforms_of(batch.options), noise_of(batch)
        yield from family.losses(parts, Step(batch.images, labels, drawn, batch.progress, transforms, privacy), rng)

    def private(self, plan: Plan) -> bool:
        """Tell whether the plan's family learns under differential privacy."""
        return family_of(plan).private

    def pace(self, part: str, plan: Plan, step: int, progress: float) -> Pace:
        """Return the family's own, hastened where the plan says so: rate, second decay and average over its burn-in."""
        learning, haste = family_of(plan).learning, number_of(plan.task_options, "haste", 1.0)
        rate, beta2 = (between(pair, learning.burn_in, progress) for pair in (learning.rate, learning.beta2))
        # The average forgets half over so many images; at first over few, or the start would stay in it.
        images = between((learning.ema_images / 20, learning.ema_images), learning.burn_in, progress)
        ema = 0.5 ** (plan.batch / max(images / haste, plan.batch))
        return Pace(haste * rate / learning.rate[0], (learning.beta1, beta2), ema)

    def shown(self, net: nn.Module, plan: Plan) -> np.ndarray:
        """Return :data:`SHOWN` images of each class in rows, the middle slice of volumes, (J, I) uint8."""
        rows = min(len(plan.classes) or 1, MOST_CLASSES)
        device = next(net.parameters()).device
        rng = torch.Generator(device).manual_seed(plan.seed)
        labels = torch.arange(rows, device=device).repeat_interleave(SHOWN)
        masks = ellipses(len(labels), shape_of(plan), rng) if family_of(plan).needs_masks else None
        made = sampled(net, plan, labels, rng, masks)[:, 0]
        return tiled(made[:, made.shape[1] // 2] if made.ndim == 4 else made, SHOWN)


def family_of(plan: Plan) -> Family:
    """Return the family that a plan of this task names as its network.

    Raises:
        UsageError: No such family.
    """
    return family_named(plan.network)


@torch.no_grad()
def sampled(
    generator: nn.Module, plan: Plan, labels: torch.Tensor, rng: torch.Generator, masks: torch.Tensor | None = None
) -> np.ndarray:
    """Return images of these classes, (n, C, ...) float32, drawn as many at once as a step of training has.

    For so many there was memory in training; for all of them, volumes above all, there may be none.

    Args:
        generator: In eval mode.
        plan: Of this task; the one it was built for.
        labels: (n,) int64, on the generator's device; n >= 1.
        rng: On its device.
        masks: (n, M, ...) float32 of -1 and 1, on its device, for a family that needs them.
    """
    family, found = family_of(plan), []
    for start in range(0, len(labels), plan.batch):
        rows = slice(start, start + plan.batch)
        some = None if masks is None else masks[rows]
        found.append(family.sample(generator, labels[rows], rng, some).cpu().numpy())
    return np.concatenate(found)


def ellipses(n: int, shape: Shape, rng: torch.Generator) -> torch.Tensor:
    """Return masks that no patient has, (n, M, ...) float32 of -1 and 1: an ellipse at some place for each label.

    They are for pictures of what training has come to.

    Args:
        n: How many.
        shape: What is generated.
        rng: On the device of the masks.
    """
    device, axes = rng.device, len(shape.size)
    grid = torch.meshgrid(*(torch.linspace(-1, 1, side, device=device) for side in shape.size), indexing="ij")
    place, half = (torch.rand(n, shape.masks, axes, generator=rng, device=device) for _ in range(2))
    middle, half = 0.8 * place - 0.4, 0.2 + 0.3 * half
    each = [((grid[a] - _wide(middle[..., a], axes)) / _wide(half[..., a], axes)).square() for a in range(axes)]
    inside = torch.stack(each).sum(dim=0) <= 1
    return torch.where(inside, 1.0, -1.0)


def _wide(values: torch.Tensor, axes: int) -> torch.Tensor:
    """Return (n, M) as (n, M, 1, ...)."""
    return values.view(*values.shape, *(1 for _ in range(axes)))


def shape_of(plan: Plan) -> Shape:
    """Return what a plan of this task generates.

    Raises:
        UsageError: Sides or a width that cannot be.
    """
    size = tuple(plan.patch[3 - plan.dims :])
    width, masks = number_of(plan.network_options, "width", 0.0), number_of(plan.task_options, "masks", 0.0)
    return Shape(size, plan.channels, max(1, len(plan.classes)), int(width), int(masks))


def transforms_of(options: Mapping[str, Option]) -> Transforms:
    """Return what critics see images through, from the options of a plan of this task."""
    flips = tuple({"k": -3, "j": -2, "i": -1}[a] for a in str(options.get("flips", "")))
    return Transforms(
        chance=number_of(options, "chance", 0.0),
        adaptive=bool(options.get("adaptive", False)),
        flips=flips,
        masks=int(number_of(options, "masks", 0.0)),
    )


def noise_of(batch: Batch) -> Noise | None:
    """Return what hides a single patient in a step; None where the training is not private."""
    if batch.secret is None:
        return None
    noise, clip, rows = (number_of(batch.options, key, 1.0) for key in ("noise", "clip", "rows"))
    return Noise(noise, clip, int(rows), batch.secret)


def tiled(images: np.ndarray, columns: int) -> np.ndarray:
    """Return images side by side, (J, I) uint8, a dark line between them.

    Args:
        images: (n, J, I) float, of mean 0 and standard deviation 1 or so.
        columns: In a row.
    """
    grey = np.clip((images - DARK) / (BRIGHT - DARK), 0, 1)
    framed = np.pad(np.rint(grey * 255).astype(np.uint8), [(0, 0), (0, 1), (0, 1)])
    rows = -(-len(framed) // columns)
    framed = np.concatenate([framed, np.zeros((rows * columns - len(framed), *framed.shape[1:]), np.uint8)])
    _, height, width = framed.shape
    lines: np.ndarray = framed.reshape(rows, columns, height, width).swapaxes(1, 2)
    return lines.reshape(rows * height, columns * width)
