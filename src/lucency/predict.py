"""From an image to a prediction in the patient's own coordinates: tiles, mirrored copies, members, undo of prepare."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import torch
from torch import nn

from lucency.case import Case, Prediction
from lucency.columns import REGION_VOLUME
from lucency.detector import LOOKED, NOTHING
from lucency.errors import DataError, ModelError
from lucency.image import Image
from lucency.inspect import Verdict, measured_of, verdict
from lucency.inspect.checks import listed
from lucency.model import Model
from lucency.plan import Plan
from lucency.prepare import Prepared, Seen, facts_of, images_of, prepare_visits, tile_starts
from lucency.tasks import Task, task_named

#: Standard deviation of a tile's weight as a share of its side (Isensee 2021, doi 10.1038/s41592-020-01008-z).
GAUSS = 1 / 8


def device_of(plan: Plan) -> str:
    """Return where the network runs: the plan's accelerator if this machine has it, else the processor."""
    return "cuda" if plan.accelerator == "cuda" and torch.cuda.is_available() else "cpu"


def autocast(plan: Plan) -> torch.autocast:
    """Return the precision the plan asks for, as a context."""
    return torch.autocast(device_of(plan), dtype=torch.bfloat16, enabled=plan.precision == "bf16")


def memory_format(plan: Plan) -> torch.memory_format:
    """Return the memory layout the plan asks for."""
    # A network over frames works on them in 2-D and lays them out itself.
    if not plan.channels_last or plan.grid.mode == "frames":
        return torch.contiguous_format
    return torch.channels_last_3d if plan.dims == 3 else torch.channels_last


class _Told(nn.Module):
    """A network that is told the same clinical columns whatever view of the images it is given."""

    def __init__(self, net: nn.Module, facts: torch.Tensor) -> None:
        super().__init__()
        self.net, self.facts = net, facts

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return what the network says of the images and their columns."""
        out: torch.Tensor = self.net(x, self.facts.to(x.device))
        return out


def raw_outputs(
    net: nn.Module, arrays: Iterable[Seen], plan: Plan, *, dense: bool, boxes: bool = False
) -> Iterator[np.ndarray]:
    """Yield the network's output for each prepared array, mirrored copies averaged (boxes: put together).

    Args:
        net: In eval mode.
        arrays: (C, K, J, I) float each, or that with (n,) clinical columns.
        plan: Precision, tile, mirrors.
        dense: One output per voxel.
        boxes: Rows of boxes found; see :attr:`lucency.tasks.Task.boxes`.

    Yields:
        (L,) float32, (L, K, J, I) float32 on the array's own grid, or (n, 2 + 2 d) float32 of boxes in its pixels.
    """
    for group in _same_size(arrays, limit=_images_at_once(plan)):
        batch = torch.from_numpy(np.stack([_image(one) for one in group]).astype(np.float32))
        facts = [one[1] for one in group if isinstance(one, tuple)]
        told = _Told(net, torch.from_numpy(np.stack(facts).astype(np.float32))) if facts else net
        out = _every_box(told, batch, plan) if boxes else _mirrored(told, batch, plan, dense=dense)
        yield from out.float().cpu().numpy()


def _images_at_once(plan: Plan) -> int:
    """Return how many whole images a pass may hold: twice a training batch, which needed more memory than that."""
    return 2 * plan.batch if plan.grid.mode != "spacing" else 1


def _image(seen: Seen) -> np.ndarray:
    return seen[0] if isinstance(seen, tuple) else seen


def _same_size(arrays: Iterable[Seen], limit: int) -> Iterator[list[Seen]]:
    group: list[Seen] = []
    for array in arrays:
        if group and (_image(array).shape != _image(group[0]).shape or len(group) >= limit):
            yield group
            group = []
        group.append(array)
    if group:
        yield group


@torch.inference_mode()
def _mirrored(net: nn.Module, batch: torch.Tensor, plan: Plan, *, dense: bool) -> torch.Tensor:
    """Average the outputs over every combination of the plan's mirror axes."""
    axes = {"k": -3, "j": -2, "i": -1}
    total: torch.Tensor | None = None
    views = [c for n in range(len(plan.tta) + 1) for c in itertools.combinations(plan.tta, n)]
    for view in views:
        flips = [axes[a] for a in view]
        out = _whole_or_tiled(net, batch.flip(flips) if flips else batch, plan, dense=dense)
        if dense and flips:
            out = out.flip(flips)
        total = out if total is None else total.float() + out
    if total is None:
        raise ModelError("No view of the image was predicted", remedy="report this as a bug")
    return total / len(views)


@torch.inference_mode()
def _every_box(net: nn.Module, batch: torch.Tensor, plan: Plan) -> torch.Tensor:
    """Return the boxes of every tile of every mirrored copy in the pixels of the whole image, (B, n, 2 + 2 d).

    The rows of each tile end with one that says where the tile lies: see :mod:`lucency.detector`.
    """
    size = batch.shape[2:]
    tile = [min(n, t) for n, t in zip(size, plan.tile, strict=True)]
    axes = {"k": 0, "j": 1, "i": 2}
    found: list[torch.Tensor] = []
    for view in (c for n in range(len(plan.tta) + 1) for c in itertools.combinations(plan.tta, n)):
        seen = batch.flip([2 + axes[a] for a in view]) if view else batch
        for place in tile_starts(size, tile):
            window = tuple(slice(a, a + t) for a, t in zip(place, tile, strict=True))
            rows = _forward(net, seen[(slice(None), slice(None), *window)], plan, dense=False, padded=True)
            rows = rows.float().cpu().clone()
            d = (rows.shape[2] - 2) // 2
            looked = torch.tensor([LOOKED, NOTHING, *[0.0] * d, *tile[3 - d :]]).expand(len(rows), 1, -1)
            rows = torch.cat([rows, looked], dim=1)
            for axis in range(3 - d, 3):
                low, high = 2 + axis - (3 - d), 2 + d + axis - (3 - d)
                rows[..., [low, high]] += place[axis]
                if "kji"[axis] in view:
                    rows[..., [low, high]] = size[axis] - rows[..., [high, low]]
            found.append(rows)
    return torch.cat(found, dim=1)


def _whole_or_tiled(net: nn.Module, batch: torch.Tensor, plan: Plan, *, dense: bool) -> torch.Tensor:
    size = batch.shape[2:]
    if not dense or all(n <= t for n, t in zip(size, plan.tile, strict=True)):
        return _forward(net, batch, plan, dense=dense)
    tile = [min(n, t) for n, t in zip(size, plan.tile, strict=True)]
    weight = _gauss(tuple(tile))
    total: torch.Tensor | None = None
    weights = torch.zeros(tuple(size))
    for place in tile_starts(size, tile):
        window = tuple(slice(a, a + t) for a, t in zip(place, tile, strict=True))
        out = _forward(net, batch[(slice(None), slice(None), *window)], plan, dense=True).float().cpu()
        if total is None:
            total = torch.zeros(len(batch), out.shape[1], *size)
        total[(slice(None), slice(None), *window)] += out * weight
        weights[window] += weight
    if total is None:
        raise DataError("An image without voxels")
    return total / weights


@cache
def _gauss(tile: tuple[int, ...]) -> torch.Tensor:
    weight = torch.ones(tile)
    for axis, n in enumerate(tile):
        place = (torch.arange(n) - (n - 1) / 2) / max(n * GAUSS, 1e-6)
        view = [1] * len(tile)
        view[axis] = n
        weight = weight * torch.exp(-0.5 * place**2).view(view)
    # No floor: the far corners weigh exp(-24), which single precision holds; a floor would make all tiles count alike
    # along the edges of an image and let their seams show there.
    return weight


def _forward(net: nn.Module, batch: torch.Tensor, plan: Plan, *, dense: bool, padded: bool = False) -> torch.Tensor:
    """Run the network on (B, C, K, J, I), padded to the network's stride and cropped back."""
    size = batch.shape[2:]
    step = total_stride(net, plan)
    pads: list[int] = []
    for n, s in zip(reversed(size), reversed(step), strict=True):
        pads += [0, -n % s if dense or padded else 0]
    x = nn.functional.pad(batch, pads) if any(pads) else batch
    x = x[:, :, 0] if plan.dims == 2 else x
    x = x.to(device_of(plan)).contiguous(memory_format=memory_format(plan))
    with autocast(plan):
        out: torch.Tensor = net(x)
    if not dense:
        return out
    out = out[:, :, None] if plan.dims == 2 else out
    return out[:, :, : size[0], : size[1], : size[2]]


def total_stride(net: nn.Module, plan: Plan) -> tuple[int, int, int]:
    """Return (k, j, i): what the network's input must be a multiple of."""
    for part in net.modules():
        strides = getattr(part, "strides", None)
        if isinstance(strides, tuple) and strides:
            last = tuple(int(s) for s in strides[-1])
            return (1, last[0], last[1]) if plan.dims == 2 else (last[0], last[1], last[2])
    return (1, 1, 1)


def ready(task: Task, plan: Plan, weights: Mapping[str, torch.Tensor]) -> nn.Module:
    """Return the delivered part of a task with these weights, where and as it predicts.

    Args:
        task: Builds it.
        plan: The one that the weights were trained by.
        weights: All of the part's own.
    """
    net = task.build(plan)[task.delivered]
    net.load_state_dict(dict(weights))
    return net.eval().to(device_of(plan)).to(memory_format=memory_format(plan))  # type: ignore[call-overload,no-any-return]


def networks(model: Model, task: Task) -> list[nn.Module]:
    """Return the members of a model, ready to predict."""
    return [ready(task, model.plan, model.weights(member)) for member in model.members]


def ensemble(nets: Sequence[nn.Module], arrays: Iterable[Seen], model: Model, task: Task) -> Iterator[np.ndarray]:
    """Yield the members' mean activated output for each array; each member is scaled, then averaged.

    Boxes are not averaged: those of all members follow each other.

    Args:
        nets: From :func:`networks`.
        arrays: (C, K, J, I) each, or that with (n,) clinical columns; taken in groups, never all at once.
        model: Its plan and calibration.
        task: The plan's task.

    Yields:
        (L,) or (L, K, J, I) float32; of boxes (n, 2 + 2 d).
    """
    for group in _same_size(arrays, limit=_images_at_once(model.plan)):
        if task.boxes:
            yield from _all_boxes(nets, group, model, task)
            continue
        total: torch.Tensor | None = None
        for net in nets:
            for number, raw in enumerate(raw_outputs(net, group, model.plan, dense=task.dense)):
                active = task.activate(torch.from_numpy(raw)[None], model.calibration)[0] / len(nets)
                if total is None:
                    total = torch.zeros(len(group), *active.shape, dtype=active.dtype)
                total[number] += active
        if total is not None:
            yield from total.numpy()


def _all_boxes(nets: Sequence[nn.Module], group: Sequence[Seen], model: Model, task: Task) -> list[np.ndarray]:
    """Return the boxes of all members for each array, (n, 2 + 2 d) float32."""
    found: list[list[np.ndarray]] = [[] for _ in group]
    for net in nets:
        for rows, raw in zip(found, raw_outputs(net, group, model.plan, dense=False, boxes=True), strict=True):
            rows.append(task.activate(torch.from_numpy(raw)[None], model.calibration)[0].numpy())
    return [np.concatenate(rows) for rows in found]


@dataclass(frozen=True, eq=False)
class Answered:
    """A prediction with what it was made from.

    Args:
        case: What was predicted on.
        prepared: Its images on the network's grid.
        output: The members' mean activated output, (L,) or (L, K, J, I); of boxes (n, 2 + 2 d).
        prediction: In the patient's own coordinates.
    """

    case: Case
    prepared: Prepared
    output: np.ndarray
    prediction: Prediction


def answers(
    model: Model,
    cases: Iterable[Case],
    *,
    nan: float | None = None,
    refused: Callable[[Case, DataError], None] | None = None,
    likeness: Callable[[np.ndarray], float] | None = None,
) -> Iterator[Answered]:
    """Yield a prediction per case, in order, with what it was made from; see :func:`predict`."""
    task = task_named(model.plan.task)
    nets = networks(model, task)
    stream = iter(cases)
    while group := list(itertools.islice(stream, _images_at_once(model.plan))):
        prepared = []
        for case in group:
            try:
                prepared.append((case, *prepare_case(case, model, nan)))
            except DataError as error:
                if refused is None:
                    raise
                refused(case, error)
        outputs = ensemble(nets, [seen_of(ready) for _, ready, _ in prepared], model, task)
        for (case, ready, judged), output in zip(prepared, outputs, strict=True):
            found = task.decode(output, case, ready, model.plan, model.calibration)
            quality = judged.quality if model.quality or judged.reasons else ""
            like = None if likeness is None else likeness(ready.array)
            reason = "; ".join(judged.reasons)
            whole = replace(found, model=model.digest, quality=quality, reason=reason, likeness=like)
            yield Answered(case, ready, output, whole)


def predict(
    model: Model,
    cases: Iterable[Case],
    *,
    nan: float | None = None,
    refused: Callable[[Case, DataError], None] | None = None,
    likeness: Callable[[np.ndarray], float] | None = None,
) -> Iterator[Prediction]:
    """Yield a prediction per case, in order, each in the coordinates of its own source.

    Args:
        model: Loaded and thereby verified.
        cases: Labelled or not.
        nan: Value to put in place of NaN and infinite voxels; None refuses them.
        refused: Told of every image that cannot be used, and the others go on; None raises at the first.
        likeness: Says of a prepared image how like the training images it is, see :func:`lucency.features.likeness`.

    Raises:
        DataError: An image that cannot be decoded, or that the model was not made for (modality, channels, 2-D
            against 3-D); only where ``refused`` is None.
    """
    return (a.prediction for a in answers(model, cases, nan=nan, refused=refused, likeness=likeness))


def seen_of(ready: Prepared) -> Seen:
    """Return what the network is shown of a prepared case: the images, with clinical columns where it takes them."""
    return (ready.array, ready.facts) if ready.facts.size else ready.array


def prepare_case(case: Case, model: Model, nan: float | None = None) -> tuple[Prepared, Verdict]:
    """Load and prepare one case and judge the quality of its images, with errors that name it."""
    plan = model.plan
    _check_modality(case, plan)
    try:
        visits = [images_of(visit, plan, nan) for visit in case.visits]
        lost = [m for m, i in zip(plan.modalities, visits[0], strict=True) if m in plan.inputs and i is None]
        if plan.made and lost:
            raise DataError(
                f"Modality {', '.join(lost)} is missing",
                expected=f"{', '.join(plan.inputs)}, of which {plan.made[0]} is made",
                remedy="complete the case or take it out",
            )
        judged = [_judged(visit, images, model) for visit, images in zip(case.visits, visits, strict=True)]
        worst = max(judged, key=lambda v: ("accept", "warn", "reject").index(v.quality))
        if _untold(case, plan):
            known = worst if worst.quality == "reject" else replace(worst, quality="warn")
            worst = replace(known, reasons=(*known.reasons, "no clinical column is known: they count as missing"))
        return replace(prepare_visits(visits, plan), facts=facts_of(case, plan)), worst
    except DataError as error:
        where = error.where or case.sources[0].where
        raise type(error)(error.found, expected=error.expected, where=where, remedy=error.remedy) from error


def _judged(case: Case, images: "Sequence[Image | None]", model: Model) -> Verdict:
    """Return the worst verdict on the images of a case, by what the model's training images taught."""
    # A model of one modality takes the only image of a case whatever it is called.
    known = set(model.plan.modalities) <= set(case.images)
    names = model.plan.modalities if known or len(images) > 1 else tuple(case.images)[:1]
    lacking = lacking_in(case, model.plan)
    worst = Verdict("warn", tuple(f"modality {m} is missing" for m in lacking)) if lacking else Verdict()
    for name, modality, image in zip(names, model.plan.modalities, images, strict=True):
        limits = model.quality.get(modality)
        if limits is not None and image is not None:
            # An only image may have any name.
            source = (case.images.get(name) or next(iter(case.images.values())))[0]
            found = verdict(measured_of(source, image), limits)
            graver = max(worst, found, key=lambda v: ("accept", "warn", "reject").index(v.quality))
            worst = Verdict(graver.quality, (*worst.reasons, *found.reasons))
    return worst


def lacking_in(case: Case, plan: Plan) -> tuple[str, ...]:
    """Return the modalities that the model asks for and the case lacks; none where it asks for one only."""
    return tuple(m for m in plan.inputs if m not in case.images) if len(plan.inputs) > 1 else ()


def unlike_training(cases: Iterable[Case], plan: Plan) -> tuple[str, ...]:
    """Return sentences that name what is missing (modalities, clinical columns) and what training has never seen.

    Args:
        cases: To predict on.
        plan: Of the model.
    """
    cases = list(cases)
    bare = sorted(c.id for c in cases if _untold(c, plan))
    said = [f"{len(bare)} of {len(cases)} cases have no clinical columns: {listed(bare)}."] if bare else []
    if len(plan.inputs) < 2:
        # The only image of a case is taken whatever it is called; beside others it is told by its name.
        cases = [c for c in cases if len(c.images) > 1 and set(plan.modalities) <= set(c.images)]
    lacking: dict[str, list[str]] = {}
    foreign: dict[str, list[str]] = {}
    for case in cases:
        for modality in lacking_in(case, plan):
            lacking.setdefault(modality, []).append(case.id)
        for modality in sorted(set(case.images) - set(plan.modalities)):
            foreign.setdefault(modality, []).append(case.id)
    said += [f"{len(c)} cases lack modality {m}: {listed(sorted(c))}." for m, c in sorted(lacking.items())]
    for m, c in sorted(foreign.items()):
        never = "which training has never seen and which is passed over"
        said.append(f"{len(c)} cases have modality {m}, {never}: {listed(sorted(c))}.")
    return tuple(said)


def _untold(case: Case, plan: Plan) -> bool:
    """Tell whether the plan has clinical columns and none of them is known of a case."""
    names = [c.name for c in plan.facts if c.name != REGION_VOLUME]
    return bool(names) and not any(n in case.clinical for n in names)


def _check_modality(case: Case, plan: Plan) -> None:
    """Refuse an image whose header says another modality than all training images had."""
    trained = str(plan.task_options.get("modality", ""))
    source = next((case.images[m][0] for m in plan.inputs if m in case.images), case.sources[0])
    given = str(source.header.get("modality", ""))
    if trained and given and trained != given:
        raise DataError(
            f"The image is {given}",
            expected=f"{trained}, which the model was trained on",
            where=source.where,
            remedy="use a model trained on this modality",
        )
