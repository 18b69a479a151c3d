"""What turns images into numbers that can be compared: one network taught by the training patients, one by nobody.

Both are needed. A taught network knows what matters in these images and may overlook what it was not taught; a random
one overlooks nothing in particular, and nobody can have tuned a generator to it.
"""

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from lucency.events import Clock, Events
from lucency.features import body_of, seen
from lucency.model import load_weights, save_weights
from lucency.plan import Plan
from lucency.predict import device_of, memory_format
from lucency.record import to_json
from lucency.synthesize.arrays import DIGITS, cohort_of, store_of
from lucency.synthesize.drawn import Drawn
from lucency.tasks import task_named
from lucency.train import Work, train_member
from lucency.train.early import of_pretext

#: Channels of the random network's stages; each halves the image.
WIDTHS = (16, 32, 64)

#: Places along each axis at which the random network's maps are averaged: what lies where is part of an image.
PLACES = 2

#: Slope of the random network below 0: without one, half of what it sees would be lost at every stage.
SLOPE = 0.2

#: Images that go through the random network together, by dimensions.
TOGETHER = {2: 256, 3: 16}


@dataclass(frozen=True, eq=False)
class Encoder:
    """Something that embeds images.

    Args:
        name: ``"trained"`` or ``"random"``; a report names it by the catalogue.
        digest: SHA-256 of its weights: two audits with one digest used the same eyes.
        embed: Images (n, C, K, J, I) to features (n, d) float32.
        learned: It was taught by the members: what it sees in them may differ from what it sees in strangers.
    """

    name: str
    digest: str
    embed: Callable[[np.ndarray], np.ndarray]
    learned: bool = False

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Return the features of images, (n, d) float32."""
        return np.asarray(self.embed(images), dtype=np.float32)


class RandomNet(nn.Module):
    """A convolutional network with fixed random weights, the same on every computer.

    Args:
        channels: Of the images.
        dims: 2 or 3.
        seed: Of the weights, which numpy draws.
    """

    def __init__(self, channels: int, dims: int, seed: int) -> None:
        super().__init__()
        rng = np.random.default_rng(seed)
        layer = nn.Conv3d if dims == 3 else nn.Conv2d
        self.dims, self.stages = dims, nn.ModuleList()
        inside = channels
        for width in WIDTHS:
            conv = layer(inside, width, 3, padding=1, padding_mode="replicate", bias=False)
            # He 2015 (doi 10.1109/ICCV.2015.123): the scale of the signal stays the same through the stages.
            deviation = math.sqrt(2 / (inside * 3**dims * (1 + SLOPE**2)))
            drawn = rng.normal(0, deviation, conv.weight.shape).astype(np.float32)
            conv.weight = nn.Parameter(torch.from_numpy(drawn), requires_grad=False)
            self.stages.append(conv)
            inside = width

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return features (B, d) of images (B, C, J, I) or (B, C, K, J, I)."""
        pool, flat = (
            (functional.avg_pool3d, functional.adaptive_avg_pool3d)
            if self.dims == 3
            else (functional.avg_pool2d, functional.adaptive_avg_pool2d)
        )
        found = []
        for stage in self.stages:
            x = functional.leaky_relu(stage(x), SLOPE)
            found.append(flat(x, PLACES).flatten(1))
            x = pool(x, 2, ceil_mode=True)
        return torch.cat(found, dim=1)


def random_encoder(channels: int, dims: int, seed: int = 0) -> Encoder:
    """Return the untaught eye: a fixed random network.

    Args:
        channels: Of the images.
        dims: 2 or 3.
        seed: Another one gives another network; the default is what reports compare.

    Source:
        Random features as a fair witness of generated images: Naeem 2020 (doi 10.48550/arXiv.2002.09797), section 4.
    """
    net = RandomNet(channels, dims, seed).eval()

    @torch.inference_mode()
    def embed(images: np.ndarray) -> np.ndarray:
        step, found = TOGETHER[dims], []
        for at in range(0, len(images), step):
            x = torch.from_numpy(np.array(images[at : at + step], dtype=np.float32))
            found.append(net(x[:, :, 0] if dims == 2 else x).numpy())
        return np.concatenate(found)

    return Encoder("random", _digest(net), embed)


def trained_encoder(members: Drawn, plan: Plan, folder: Path, *, steps: int, seed: int) -> Encoder:
    """Return the taught eye: the body of the task's network, taught by contrast on the members and nobody else.

    Each image is told from all others however it is turned, shifted, scaled or dimmed, which is what finds copies. An
    interrupted training goes on; one that was done is loaded.

    Args:
        members: The images that the generator was trained on, and no others.
        plan: Of the task: its network is used.
        folder: For checkpoints, weights and the store.
        steps: Optimiser steps.
        seed: Of everything random.

    Source:
        Chen 2020 (doi 10.48550/arXiv.2002.05709); as a detector of copies: Dar 2024 (doi 10.48550/arXiv.2402.01054).
    """
    own = replace(
        plan, pretrain="contrastive", pretrain_steps=steps, unlabelled="none", folds=(0,), seed=seed, facts=(), start=""
    )
    told = [to_json(own.network_options), own.network, to_json(own.grid), own.precision, own.batch, steps, seed]
    name = hashlib.sha256(f"{members.digest} {told}".encode()).hexdigest()[:DIGITS]
    place = folder / f"encoder-{name}"
    path = place / "fold0.safetensors"
    if not path.exists():
        place.mkdir(parents=True, exist_ok=True)
        store = store_of(members, own, folder / "arrays", "case")
        work = Work(cohort_of(members, own, "case"), own, task_named(own.task), store, place, Clock(), Events())
        pretext = of_pretext(work, "contrast")
        pretext.folder.mkdir(parents=True, exist_ok=True)
        trained = train_member(pretext, 0, math.inf)
        save_weights(path, {k: v for k, v in trained.weights.items() if k.startswith("body.")})
    net = task_named(own.task).build(own)["net"]
    net.load_state_dict(load_weights(path), strict=False)
    body = body_of(net.eval()).to(device_of(own)).to(memory_format=memory_format(own))  # type: ignore[call-overload]

    def embed(images: np.ndarray) -> np.ndarray:
        return np.stack([one.whole for one in seen(body, list(images), own)])

    return Encoder("trained", _digest(body), embed, learned=True)


def flipped(images: np.ndarray) -> Sequence[np.ndarray]:
    """Return images, (n, C, K, J, I), as they are and mirrored along each of their axes in turn."""
    axes = [a for a in (2, 3, 4) if images.shape[a] > 1]
    return [images, *(np.flip(images, axis=a) for a in axes)]


def _digest(net: nn.Module) -> str:
    state = hashlib.sha256()
    for name, values in sorted(net.state_dict().items()):
        state.update(name.encode())
        state.update(values.detach().cpu().contiguous().numpy().tobytes())
    return state.hexdigest()
