"""Three maps of what in an image speaks for an answer: from gradients of features, from gradients of pixels, by hiding.

Each is a few lines over the network itself; nothing but torch is needed.
"""

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from lucency.errors import UsageError
from lucency.features import body_of
from lucency.plan import Plan
from lucency.prepare import resize
from lucency.tasks import Task

#: Points on the way from the empty image to the image; the sum differs from the integral by a few per cent.
STEPS = 24

#: The hidden window is this part of each side, and moves by half of itself (Zeiler 2014 hides about a fifth).
WINDOW = 6


@dataclass(frozen=True, eq=False)
class Scored:
    """A network and the one number of its answer that is explained.

    Args:
        net: In eval mode.
        score: Raw output, (B, L) or (B, L, ...), to one number an image, (B,).
        flat: The network takes (B, C, J, I).
    """

    net: nn.Module
    score: Callable[[torch.Tensor], torch.Tensor]
    flat: bool

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Return the number for each image of (B, C, K, J, I)."""
        return self.score(self.net(x[:, :, 0] if self.flat else x).float())


def scored_of(net: nn.Module, task: Task, plan: Plan, array: np.ndarray) -> tuple[Scored, str]:
    """Return the network with the number that decides its answer to an image, and what the answer is called.

    Of classes it is the winning class's output before calibration; of masks the sum over the voxels that it labels; of
    several numbers their sum.

    Raises:
        UsageError: The answer is not one number: boxes, embeddings, or one that clinical columns take part in.
    """
    if task.boxes or task.baselines == "neighbours" or plan.facts or plan.grid.mode == "frames":
        raise UsageError(
            "What this model says is not one number about one image",
            expected="a model that classifies, measures or segments images",
            remedy="for similar cases 'lucency search' says why",
        )
    x = torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))[None]
    flat = plan.dims == 2
    with torch.inference_mode():
        raw = net(x[:, :, 0] if flat else x).float()
    if task.dense:
        labelled = raw.argmax(dim=1, keepdim=True) > 0
        inside = labelled.float().clone()
        if not bool(labelled.any()):
            inside = torch.ones_like(inside)
        # What speaks for any label against background, where the network found one.
        return Scored(
            net,
            lambda out: ((out[:, 1:].amax(dim=1, keepdim=True) - out[:, :1]) * inside).mean(
                dim=tuple(range(1, out.ndim))
            ),
            flat,
        ), "labels"
    if plan.classes and raw.shape[1] == len(plan.classes):
        winner = int(raw[0].argmax())
        others = [c for c in range(raw.shape[1]) if c != winner]
        return Scored(net, lambda out: out[:, winner] - out[:, others].logsumexp(dim=1), flat), plan.classes[winner]
    return Scored(net, lambda out: out.sum(dim=1) if out.shape[1] > 2 else out[:, 0], flat), "value"


def grad_cam(scored: Scored, array: np.ndarray) -> np.ndarray:
    """Return Grad-CAM of the coarsest map, (K, J, I) float32, 0 where nothing speaks for the answer.

    Source:
        Selvaraju 2017, doi 10.1109/ICCV.2017.74.
    """
    kept: list[torch.Tensor] = []
    hook = body_of(scored.net).register_forward_hook(lambda _m, _x, out: kept.append(out[-1]))
    try:
        value = scored(_tensor(array))
    finally:
        hook.remove()
    (gradient,) = torch.autograd.grad(value.sum(), kept[0])
    axes = tuple(range(2, gradient.ndim))
    coarse = (gradient.mean(dim=axes, keepdim=True) * kept[0]).sum(dim=1)[0].detach().float()
    coarse = functional.relu(coarse)[None] if coarse.ndim == 3 else functional.relu(coarse)[None, None]
    size = (array.shape[1], array.shape[2], array.shape[3])
    return resize(coarse, size)[0].numpy()


def integrated_gradients(scored: Scored, array: np.ndarray) -> np.ndarray:
    """Return integrated gradients from the empty image, (K, J, I) float32; their sum is the change of the answer.

    The empty image is the mean grey of every image after normalisation, 0. Channels are summed.

    Source:
        Sundararajan 2017, doi 10.48550/arXiv.1703.01365.
    """
    whole = _tensor(array)
    total = torch.zeros_like(whole)
    for step in range(STEPS):
        x = (whole * ((step + 0.5) / STEPS)).requires_grad_()
        (gradient,) = torch.autograd.grad(scored(x).sum(), x)
        total += gradient
    found: np.ndarray = (total / STEPS * whole)[0].sum(dim=0).detach().numpy()
    return found


@torch.inference_mode()
def occlusion(scored: Scored, array: np.ndarray) -> np.ndarray:
    """Return by how much the answer falls when a window around each place is hidden, (K, J, I) float32.

    Source:
        Zeiler 2014, doi 10.1007/978-3-319-10590-1_53.
    """
    whole = _tensor(array)
    size = array.shape[1:]
    window = [max(1, -(-n // WINDOW)) for n in size]
    starts = [list(range(0, max(1, n - w + 1), max(1, w // 2))) for n, w in zip(size, window, strict=True)]
    for places, n, w in zip(starts, size, window, strict=True):
        if places[-1] + w < n:
            places.append(n - w)
    before = float(scored(whole)[0])
    total, count = torch.zeros(size), torch.zeros(size)
    for place in itertools.product(*starts):
        hidden = tuple(slice(a, a + w) for a, w in zip(place, window, strict=True))
        x = whole.clone()
        x[(slice(None), slice(None), *hidden)] = 0
        total[hidden] += before - float(scored(x)[0])
        count[hidden] += 1
    return (total / count).numpy()


def _tensor(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))[None]


Method = Callable[[Scored, np.ndarray], np.ndarray]

#: Name to what makes the map.
METHODS: Mapping[str, Method] = {
    "grad-cam": grad_cam,
    "integrated-gradients": integrated_gradients,
    "occlusion": occlusion,
}
