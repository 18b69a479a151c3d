"""What a trained network sees in an image: one vector for the whole image, and one for each place of its coarsest map.

All maps take part and not the last alone: what the last one knows best is what the network was trained for, and
similarity rests on more than that.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from lucency.case import Cohort
from lucency.errors import ModelError
from lucency.foreign import Foreign, learn
from lucency.index import Space
from lucency.model import Model
from lucency.networks import Body, means
from lucency.plan import Plan
from lucency.predict import autocast, device_of, memory_format, networks
from lucency.prepare import Store
from lucency.tasks import task_named

#: Images that go through the network together, by dimensions.
TOGETHER = {2: 32, 3: 2}


@dataclass(frozen=True, eq=False)
class Seen:
    """One image as the network sees it.

    Args:
        whole: (d,) float32, the means of all maps of the network one behind the other, the finest first.
        places: (d, k, j, i) float32, all maps on the grid of the coarsest; their mean over the places is ``whole``.
    """

    whole: np.ndarray
    places: np.ndarray


def body_of(net: nn.Module) -> Body:
    """Return the part of a network that makes feature maps.

    Raises:
        ModelError: The network has none, so there is nothing to embed images with.
    """
    for part in net.modules():
        if isinstance(part, Body):
            return part
    raise ModelError("The network has no feature maps", expected="a network with a body of the registry")


def encoder(model: Model) -> Body:
    """Return the body of the model's first member, ready to embed.

    One member and not their mean: the features of members that were trained apart do not lie in one space.
    """
    return body_of(networks(model, task_named(model.plan.task))[0])


def seen(body: Body, arrays: Iterable[np.ndarray], plan: Plan) -> Iterator[Seen]:
    """Yield what a network sees in each prepared image.

    An image larger than the plan's tile is seen in pieces beside each other and their mean is taken by size; its map
    is that of the whole image at the coarsest grid, put together from the pieces.

    Args:
        body: From :func:`encoder`.
        arrays: (C, K, J, I) float each, on the network's grid.
        plan: Precision, tile, dimensions.
    """
    tile = plan.tile if plan.grid.mode == "spacing" and min(plan.tile) > 0 else None
    waiting: list[np.ndarray] = []
    for array in arrays:
        size = array.shape[1:]
        whole = tile is None or all(n <= t for n, t in zip(size, tile, strict=True))
        if waiting and (not whole or array.shape != waiting[0].shape or len(waiting) >= TOGETHER[plan.dims]):
            yield from _looked(body, waiting, plan)
            waiting = []
        if whole:
            waiting.append(array)
        elif tile is not None:
            yield _in_pieces(body, array, tile, plan)
    if waiting:
        yield from _looked(body, waiting, plan)


@torch.inference_mode()
def _looked(body: Body, arrays: Sequence[np.ndarray], plan: Plan) -> list[Seen]:
    """Return what the network sees in arrays of one size that it can take whole."""
    x = torch.from_numpy(np.stack(arrays).astype(np.float32))
    x = _padded(x, body, plan)
    x = x[:, :, 0] if plan.dims == 2 else x
    x = x.to(device_of(plan)).contiguous(memory_format=memory_format(plan))
    with autocast(plan):
        maps = [m.float() for m in body(x)]
    whole = means(maps)
    pool = functional.adaptive_avg_pool2d if plan.dims == 2 else functional.adaptive_avg_pool3d
    coarse = maps[-1].shape[2:]
    places = torch.cat([pool(m, coarse) for m in maps], dim=1)
    # Sides that do not divide evenly weigh some places twice; the mean is put right, so that shares add up exactly.
    axes = tuple(range(2, places.ndim))
    places = places + (whole - places.mean(dim=axes)).view(*whole.shape, *(1 for _ in axes))
    found = places.cpu().numpy()
    found = found[:, :, None] if plan.dims == 2 else found
    return [Seen(w, p) for w, p in zip(whole.cpu().numpy(), found, strict=True)]


def _padded(x: torch.Tensor, body: Body, plan: Plan) -> torch.Tensor:
    """Pad volumes and large images to whole steps of the network, as prediction does; fitted images fit."""
    if plan.grid.mode != "spacing":
        return x
    step = (1, *body.strides[-1]) if plan.dims == 2 else body.strides[-1]
    pads: list[int] = []
    for n, s in zip(reversed(x.shape[2:]), reversed(step), strict=True):
        pads += [0, -n % s]
    return nn.functional.pad(x, pads) if any(pads) else x


def _in_pieces(body: Body, array: np.ndarray, tile: tuple[int, int, int], plan: Plan) -> Seen:
    size = array.shape[1:]
    total: np.ndarray | None = None
    voxels = 0
    rows = []
    for k in range(0, size[0], tile[0]):
        row = []
        for j in range(0, size[1], tile[1]):
            line = []
            for i in range(0, size[2], tile[2]):
                piece = array[:, k : k + tile[0], j : j + tile[1], i : i + tile[2]]
                one = _looked(body, [piece], plan)[0]
                weight = piece[0].size
                mean = one.whole * weight
                total = mean if total is None else total + mean
                voxels += weight
                line.append(one.places)
            row.append(np.concatenate(line, axis=3))
        rows.append(np.concatenate(row, axis=2))
    if total is None:
        raise ModelError("An image without voxels")
    return Seen((total / voxels).astype(np.float32), np.concatenate(rows, axis=1))


def shares(mine: Seen, other: Seen, space: Space) -> tuple[np.ndarray, np.ndarray]:
    """Return how much each place of two images adds to their similarity.

    The embedding is the mean over the places, and the similarity is bilinear in it, so it falls apart into one number
    a place without any approximation: the mean of either map is the cosine of the two embeddings.

    Args:
        mine: The query.
        other: A neighbour.
        space: Of the index.

    Returns:
        (k, j, i) for the query and (k, j, i) for the neighbour.

    Source:
        The decomposition of Zhou 2016 (class activation maps, doi 10.1109/CVPR.2016.319) with the other image in the
        place of the class; Stylianou 2019 (doi 10.1109/WACV.2019.00217) for similarity.
    """
    centre, matrix = np.asarray(space.centre, dtype=np.float32), space.matrix
    ours, theirs = (mine.whole - centre) @ matrix, (other.whole - centre) @ matrix
    length = max(float(np.linalg.norm(ours) * np.linalg.norm(theirs)), 1e-12)

    def along(places: np.ndarray, embedding: np.ndarray) -> np.ndarray:
        return np.asarray(np.tensordot(matrix @ embedding, places - centre[:, None, None, None], axes=1) / length)

    return along(mine.places, theirs), along(other.places, ours)


#: Images that are looked at to learn what is usual, trained on and held out alike, by dimensions: more make the stated
#: false alarm no truer than it need be, and volumes take a second each.
LOOKED = {2: 400, 3: 60}


def learn_foreign(cohort: Cohort, store: Store, plan: Plan, weights: Mapping[str, torch.Tensor]) -> Foreign | None:
    """Learn from the first member how far images of its own kind lie from those that it was trained on.

    Args:
        cohort: As training used it.
        store: Prepared cases.
        plan: Its first fold was held out from the weights.
        weights: Of the member.

    Returns:
        None where too few images were trained on or held out, or where the network reads sequences: there a frame says
        little about the whole.
    """
    if plan.grid.mode == "frames":
        return None
    net = task_named(plan.task).build(plan)["net"]
    net.load_state_dict(dict(weights))
    net.eval().to(device_of(plan)).to(memory_format=memory_format(plan))  # type: ignore[call-overload]
    try:
        body_of(net)
    except ModelError:
        return None
    rng = np.random.default_rng(plan.seed)
    sides = []
    for every in (cohort.outside(plan.folds[0]), cohort.fold(plan.folds[0])):
        # What is only wanted is never given to the network.
        cases = [c for c in every if not plan.made or any(m in c.images for m in plan.inputs)]
        take = np.sort(rng.permutation(len(cases))[: LOOKED[plan.dims]])
        found = [_usual(net, store.image(cases[n].id), plan) for n in take]
        sides.append(np.stack(found) if found else np.zeros((0, 1)))
    return learn(sides[0], sides[1])


def likeness(model: Model) -> Callable[[np.ndarray], float] | None:
    """Return what says of a prepared image how like the training images it is; None where that was not learned.

    The function takes (C, K, J, I) and gives a chance, 0 to 1: see :meth:`lucency.foreign.Foreign.chances`.
    """
    foreign = model.foreign
    if foreign is None or not foreign.can_tell:
        return None
    net = networks(model, task_named(model.plan.task))[0]

    def of(array: np.ndarray) -> float:
        return float(foreign.chances(_usual(net, array, model.plan)[None])[0])

    return of


@torch.inference_mode()
def _usual(net: nn.Module, array: np.ndarray, plan: Plan) -> np.ndarray:
    """Return what is looked at to tell foreign images: the features, and of an autoencoder the log of its error."""
    features = next(seen(body_of(net), [array], plan)).whole
    error_of = getattr(net, "reconstruction_error", None)
    if error_of is None:
        return features
    x = torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))[None]
    with autocast(plan):
        error = error_of((x[:, :, 0] if plan.dims == 2 else x).to(device_of(plan)))
    return features if error is None else np.append(features, np.log(float(error[0]) + 1e-6)).astype(np.float32)
