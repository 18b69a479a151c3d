"""Train the text detector on generated text over real images, and write its table of weights.

The network is the one that ``lucency.burned_in`` computes in numpy; the export is compared with it at the end.
Backgrounds of the report part and the fonts held out are never seen.
"""

import argparse
import logging
import sys
import time
from pathlib import Path

import numpy as np
import torch
from lettering import Background, Face, backgrounds, faces, worn, written
from PIL import Image
from torch import nn

from lucency import burned_in

SIDE = 192
#: Height of ink that one image size answers for; smaller and larger text may be called either way.
HEIGHTS = (6, 24)


class Detector(nn.Module):
    """The network with batch normalisation, which the export folds into the kernels."""

    def __init__(self, widths: tuple[int, ...]) -> None:
        super().__init__()
        parts: list[nn.Module] = []
        before = 1
        for (stride, dilation), width in zip(burned_in.LAYERS, widths, strict=True):
            side = 5 if before == 1 else 3
            reach = dilation * (side // 2)
            parts.append(
                nn.Sequential(
                    nn.Conv2d(before, width, side, stride, reach, dilation, bias=False), nn.BatchNorm2d(width)
                )
            )
            before = width
        self.parts = nn.ModuleList(parts)
        self.head = nn.Conv2d(before, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for number, part in enumerate(self.parts):
            y = part(x)
            x = torch.relu(y + x if number in burned_in.SKIPS else y)
        return self.head(x)

    def table(self) -> dict[str, np.ndarray]:
        """Return kernels (side, side, in, out) and biases, batch normalisation folded in."""
        out: dict[str, np.ndarray] = {}
        for number, part in enumerate(self.parts):
            conv, norm = part[0], part[1]
            scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
            kernel = conv.weight * scale[:, None, None, None]
            out[f"kernel{number}"] = kernel.permute(2, 3, 1, 0).detach().numpy().astype(np.float16)
            out[f"bias{number}"] = (norm.bias - norm.running_mean * scale).detach().numpy().astype(np.float32)
        out["head"] = self.head.weight[0, :, 0, 0].detach().numpy().astype(np.float32)
        out["offset"] = self.head.bias[0].detach().numpy().astype(np.float32)
        return out


class Samples(torch.utils.data.IterableDataset):  # type: ignore[type-arg]
    """Endless pairs of a normalised image and its target: 1 text, 0 none, -1 either."""

    def __init__(self, images: list[Background], faces_: list[Face], seed: int, marks: dict[str, list[list[int]]]):
        self.faces, self.seed, self.marks = faces_, seed, marks
        self.by_source: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
        for b in images:
            self.by_source.setdefault(b.source, []).append(self._plane(b))

    def _plane(self, b: Background) -> tuple[np.ndarray, np.ndarray]:
        image = b.image
        marked = np.zeros(image.shape[:2], np.uint8)
        for top, left, bottom, right in self.marks.get(f"{b.source}/{b.name}", []):
            marked[top:bottom, left:right] = 1
        if b.source.startswith("CXR"):
            # Nearly every radiograph carries a side marker there, often with initials.
            j, i = marked.shape
            marked[: j // 4] = marked[:, : i // 10] = marked[:, -(i // 10) :] = 1
        if image.ndim == 3:
            image = np.stack([image.mean(2), image.max(2).astype(float) - image.min(2)], -1)
        image = image.astype(np.float32)
        low, high = np.percentile(image, (0.5, 99.5), axis=(0, 1))
        image = np.clip((image - low) / np.maximum(high - low, 1e-6), 0, 1)
        return np.atleast_3d(image).astype(np.float16), marked

    def __iter__(self):
        worker = torch.utils.data.get_worker_info()
        rng = np.random.default_rng([self.seed, worker.id if worker else 0])
        sources = sorted(self.by_source)
        while True:
            items = self.by_source[sources[rng.integers(len(sources))]]
            image, marked = items[rng.integers(len(items))]
            yield self._sample(image[..., rng.integers(image.shape[2])], marked, rng)

    def _sample(self, image: np.ndarray, marked: np.ndarray, rng: np.random.Generator):
        # A small image is enlarged until it fills the frame; a large one may be shrunk.
        least = SIDE / min(image.shape)
        scale = max(least, float(np.exp(rng.uniform(np.log(0.5), np.log(1.7)))))
        size = (max(SIDE, round(image.shape[1] * scale)), max(SIDE, round(image.shape[0] * scale)))
        way = [Image.Resampling.BICUBIC, Image.Resampling.BILINEAR, Image.Resampling.NEAREST][
            rng.choice(3, p=[0.6, 0.3, 0.1])
        ]
        picture = Image.fromarray(image.astype(np.float32))
        top, left = int(rng.integers(0, size[1] - SIDE + 1)), int(rng.integers(0, size[0] - SIDE + 1))
        sx, sy = image.shape[1] / size[0], image.shape[0] / size[1]
        part = (left * sx, top * sy, (left + SIDE) * sx, (top + SIDE) * sy)
        crop = np.asarray(picture.resize((SIDE, SIDE), way, box=part)).astype(np.float32)
        hidden = np.asarray(Image.fromarray(marked * 255).resize((SIDE, SIDE), Image.Resampling.BILINEAR, box=part)) > 0
        if rng.random() < 0.12:
            # A whole small image in its frame: a body seen from far is no letter.
            crop, hidden = self._small(image, rng), np.zeros((SIDE, SIDE), bool)
        turn = int(rng.integers(4))
        crop, hidden = np.rot90(crop, turn).copy(), np.rot90(hidden, turn)
        crop = np.clip(crop, 0, 1) * np.float32(rng.uniform(0.5, 1))
        target = np.where(hidden, -1, 0).astype(np.float32)
        if rng.random() < 0.6:
            # Harder to see than what is measured later: fainter, and some shrunk after it was drawn.
            crop, lines = written(
                crop, rng, self.faces, HEIGHTS, int(rng.integers(1, 7)), float(rng.uniform(0.12, 0.22))
            )
            for line in lines:
                target[max(0, line.top - 3) : line.bottom + 3, max(0, line.left - 3) : line.right + 3] = -1
            for line in lines:
                target[max(0, line.top - 1) : line.bottom + 1, max(0, line.left - 1) : line.right + 1] = 1
        elif rng.random() < 0.2:
            # Larger letters belong to a smaller image size.
            crop, lines = written(crop, rng, self.faces, (30, 90), 2)
            for line in lines:
                target[max(0, line.top - 6) : line.bottom + 6, max(0, line.left - 6) : line.right + 6] = -1
        return (
            torch.from_numpy(burned_in.normalised(worn(crop, rng))[None].copy()),
            torch.from_numpy(target[:: burned_in.CELL, :: burned_in.CELL].copy())[None],
        )

    def _small(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return a frame of background with a whole image in it, 40 to 160 px high."""
        frame = np.full((SIDE, SIDE), float(rng.choice([0, 0, 0, 1, 0.5])), np.float32)
        side = int(np.exp(rng.uniform(np.log(40), np.log(160))))
        factor = side / max(image.shape)
        size = (max(8, round(image.shape[1] * factor)), max(8, round(image.shape[0] * factor)))
        way = Image.Resampling.BOX if rng.random() < 0.5 else Image.Resampling.BICUBIC
        small = np.asarray(Image.fromarray(image.astype(np.float32)).resize(size, way))
        top, left = int(rng.integers(0, SIDE - size[1] + 1)), int(rng.integers(0, SIDE - size[0] + 1))
        frame[top : top + size[1], left : left + size[0]] = small
        return frame


def loss_of(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Cross entropy over the cells that are to be judged, the hard ones counting more."""
    judged = target >= 0
    each = nn.functional.binary_cross_entropy_with_logits(logits, target.clamp(0), reduction="none")
    hard = (torch.sigmoid(logits) - target).abs().detach()
    return (each * (0.2 + hard) * judged).sum() / judged.sum()


def main() -> int:
    """Train and write."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    made = argparse.ArgumentParser(description=__doc__)
    made.add_argument("--minutes", type=float, default=20, help="[20]")
    made.add_argument("--batch", type=int, default=24, help="images of 192 × 192 in a step [24]")
    made.add_argument("--rate", type=float, default=3e-3, help="highest learning rate [0.003]")
    made.add_argument("--seed", type=int, default=0)
    made.add_argument("--workers", type=int, default=1, help="processes that draw text [1]")
    made.add_argument("--fonts", type=Path, nargs="*", default=[], help="folders of further fonts")
    made.add_argument("--from", dest="start", type=Path, help="weights of an earlier run (.pt) to go on from")
    made.add_argument("--marks", type=Path, help="CSV source/name,top,left,bottom,right of real text in backgrounds")
    made.add_argument("--out", type=Path, default=Path(burned_in.__file__).with_suffix(".npz"))
    options = made.parse_args()
    torch.manual_seed(options.seed)
    marks: dict[str, list[list[int]]] = {}
    if options.marks:
        for row in options.marks.read_text("utf-8").splitlines()[1:]:
            name, *numbers = row.rsplit(",", 4)
            marks.setdefault(name, []).append([int(n) for n in numbers])
    images = backgrounds("train")
    samples = Samples(images, [f for f in faces(options.fonts) if f.seen], options.seed, marks)
    loader = iter(torch.utils.data.DataLoader(samples, options.batch, num_workers=options.workers, prefetch_factor=4))
    net = Detector((16, 24, 24, 24, 24, 24))
    if options.start:
        net.load_state_dict(torch.load(options.start, weights_only=True))
    torch.set_num_threads(1)
    optimizer = torch.optim.AdamW(net.parameters(), options.rate, weight_decay=1e-4)
    begin, n_steps, mean = time.monotonic(), 0, 1.0
    while (gone := (time.monotonic() - begin) / (60 * options.minutes)) < 1:
        for group in optimizer.param_groups:
            group["lr"] = options.rate * min(1, n_steps / 200) * 0.5 * (1 + np.cos(np.pi * gone))
        x, y = next(loader)
        loss = loss_of(net(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        n_steps += 1
        mean = 0.98 * mean + 0.02 * float(loss)
        if n_steps % 100 == 0:
            logging.info("step %d, %.0f %%, loss %.4f", n_steps, 100 * gone, mean)
    net.eval()
    torch.save(net.state_dict(), options.out.with_suffix(".pt"))
    np.savez_compressed(options.out, **net.table())
    return 0


if __name__ == "__main__":
    sys.exit(main())
