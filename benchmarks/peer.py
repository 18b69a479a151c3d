"""MONAI as its tutorials use it: cached data, dictionary transforms, a loader, a plain loop, a sliding window."""

from collections.abc import Iterator

import numpy as np
import torch
from monai.data import CacheDataset, DataLoader, set_track_meta
from monai.inferers import sliding_window_inference
from monai.losses import DeepSupervisionLoss, DiceCELoss
from monai.transforms import (
    Compose,
    EnsureTyped,
    RandAffined,
    RandGaussianNoised,
    RandScaleIntensityd,
    RandShiftIntensityd,
    RandSpatialCropd,
    SpatialPadd,
)
from torch import nn

from lucency.plan import Plan
from lucency.predict import device_of
from lucency.prepare import Store
from lucency.tasks import Batch, Task

IMAGE, LABEL = "image", "label"


def transforms(plan: Plan) -> Compose:
    """Return what the plan's augmentation is in MONAI's words, every transform on every image, as ours.

    Padding comes before anything random, so that it is cached.
    """
    strengths, patch = dict(plan.augmentation), plan.patch
    turn, tilt = np.deg2rad(strengths.get("rotate", 0.0)), np.deg2rad(strengths.get("tilt", 0.0))
    both = (IMAGE, LABEL)
    return Compose(
        [
            # Tensors that carry no history are faster; ours carries none.
            EnsureTyped(both, track_meta=False),
            SpatialPadd(both, patch),
            RandSpatialCropd(both, patch, random_size=False),
            RandAffined(
                both,
                prob=1.0,
                # Ours turns in the slice's plane, about k, and tilts about the other two axes.
                rotate_range=(turn, tilt, tilt),
                scale_range=(strengths.get("scale", 0.0),) * 3,
                translate_range=[strengths.get("shift", 0.0) * n for n in patch],
                mode=("bilinear", "nearest"),
                padding_mode="border",
                spatial_size=patch,
                cache_grid=True,
            ),
            RandScaleIntensityd(IMAGE, factors=strengths.get("contrast", 0.0), prob=1.0),
            RandShiftIntensityd(IMAGE, offsets=strengths.get("brightness", 0.0), prob=1.0),
            RandGaussianNoised(IMAGE, prob=1.0, std=strengths.get("noise", 0.0)),
        ]
    )


def cached(store: Store, cases: list[str], plan: Plan) -> CacheDataset:
    """Return the prepared cases in MONAI's cache: the very arrays that ours trains on, loading and scaling done."""
    set_track_meta(False)
    rows = [
        {
            IMAGE: torch.from_numpy(store.image(c).astype(np.float32)),
            LABEL: torch.from_numpy(store.mask(c).astype(np.float32))[None],
        }
        for c in cases
    ]
    return CacheDataset(rows, transforms(plan).set_random_state(plan.seed), progress=False)


def endless(dataset: CacheDataset, plan: Plan, workers: int) -> Iterator[dict[str, torch.Tensor]]:
    """Yield batches for ever; the workers live on from pass to pass."""
    loader = DataLoader(
        dataset,
        batch_size=plan.batch,
        shuffle=True,
        drop_last=True,
        num_workers=workers,
        persistent_workers=workers > 0,
        generator=torch.Generator().manual_seed(plan.seed),
        pin_memory=device_of(plan) == "cuda",
    )
    while True:
        yield from loader


class PlainLoop:
    """Forward, loss, backward, step: nothing else.

    Args:
        task: Builds the network and, for ``loss="ours"``, gives the loss.
        plan: Its network, learning rate and seed; precision is ``precision``.
        batches: From :func:`endless`.
        precision: ``"fp32"`` or ``"bf16"`` (autocast).
        loss: ``"ours"``, or ``"monai"``: DiceCELoss under DeepSupervisionLoss.
    """

    def __init__(
        self, task: Task, plan: Plan, batches: Iterator[dict[str, torch.Tensor]], precision: str, loss: str
    ) -> None:
        self.task, self.plan, self.batches = task, plan, batches
        self.bf16, self.loss, self.device = precision == "bf16", loss, device_of(plan)
        with torch.random.fork_rng():
            # The seed of our own member for fold 0: both start from the same weights.
            torch.manual_seed(plan.seed * 1000)
            self.net: nn.Module = task.build(plan)["net"].to(self.device).train()
        self.optimiser = torch.optim.AdamW(
            self.net.parameters(), lr=plan.schedule.rate, weight_decay=plan.schedule.weight_decay
        )
        self.criterion = DeepSupervisionLoss(DiceCELoss(include_background=False, to_onehot_y=True, softmax=True))
        self.generator = torch.Generator().manual_seed(plan.seed)
        self.losses: list[float] = []

    def step(self) -> None:
        """Make one step."""
        rows = next(self.batches)
        images, labels = rows[IMAGE].to(self.device), rows[LABEL].to(self.device)
        self.optimiser.zero_grad(set_to_none=True)
        with torch.autocast(self.device, dtype=torch.bfloat16, enabled=self.bf16):
            if self.loss == "monai":
                loss = self.criterion(self.net(images), labels)
            else:
                batch = Batch(images, labels[:, 0].long(), self.plan.task_options, 0.0)
                loss = next(iter(self.task.losses({"net": self.net}, batch, self.generator)))[1]
        loss.backward()
        self.optimiser.step()
        self.losses.append(float(loss.detach()))


@torch.inference_mode()
def slide(net: nn.Module, array: np.ndarray, plan: Plan, *, windows: int, bf16: bool) -> torch.Tensor:
    """Return (L, K, J, I) outputs of a (C, K, J, I) array: Gaussian-weighted windows, half of each overlapping.

    Args:
        net: In eval mode, contiguous.
        array: Prepared.
        plan: Its patch is the window.
        windows: Windows a pass.
        bf16: Autocast.
    """
    device = device_of(plan)
    with torch.autocast(device, dtype=torch.bfloat16, enabled=bf16):
        out = sliding_window_inference(
            torch.from_numpy(array)[None].to(device), plan.patch, windows, net, overlap=0.5, mode="gaussian"
        )
    found: torch.Tensor = out[0].float().cpu()
    return found
