"""Train the first look of the text detector: in which blocks of 8 px its network has to look at all.

It learns from the network itself: a block is worth a look where the network sees a line of text. Generated text over
the training backgrounds, and the backgrounds as they are; the threshold is chosen on the tuning part, so that no line
is lost there that the network finds when it looks everywhere.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from burned_in import plane
from lettering import Background, Face, backgrounds, faces, worn, written
from scipy import ndimage

from lucency import burned_in

TARGET = Path(burned_in.__file__).with_name("burned_in_first_look.npz")
#: Marks of a block, blocks around and with it, and units of the hidden layer.
MARKS, BLOCKS, HIDDEN = 8, 9, 24
#: Blocks of either kind taken of one image size.
TAKEN = 300


def picture(items: list[Background], kinds: list[Face], rng: np.random.Generator) -> np.ndarray:
    """Return a background, with text on it in three of five."""
    item = items[rng.integers(len(items))]
    if rng.random() < 0.6:
        image, _ = written(np.clip(plane(item), 0, 1), rng, [kinds[rng.integers(len(kinds))]], (8, 60), 4, 0.2)
        image = worn(image, rng)
    else:
        image = np.asarray(item.image if item.image.ndim == 2 else item.image.mean(2), np.float32)
    return image[::2, ::2] if image.size > 1_200_000 else image


def seen(cells: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Return the blocks in which the network sees a line."""
    groups, _ = ndimage.label(cells >= burned_in.CELL_LEVEL, np.ones((3, 3)))
    lines = np.zeros(cells.shape, bool)
    for number, place in enumerate(ndimage.find_objects(groups), 1):
        member = groups[place] == number
        if cells[place][member].max() >= 0.9:
            lines[place] |= member
    padded = np.pad(lines, [(0, 2 * n - m) for n, m in zip(shape, lines.shape, strict=True)])
    return padded.reshape(shape[0], 2, shape[1], 2).any((1, 3))


def examples(image: np.ndarray, rng: np.random.Generator) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the marks of some blocks and whether the network sees text in them, for every size of an image."""
    values = burned_in._finite(image)
    low, spread = burned_in._range(values)
    if min(image.shape) < burned_in.LEAST_SIDE or spread <= 0:
        return []
    out, level = [], burned_in._scaled(values, low, spread)
    for coarse in burned_in.brightness(values, low, spread):
        cells = burned_in._in_bands(level, burned_in._weights())
        steep, nine = burned_in.marked(coarse)
        wanted = seen(cells, steep.shape)
        yes, no = np.nonzero(wanted[steep])[0], np.nonzero(~wanted[steep])[0]
        some = np.concatenate([rng.permutation(yes)[:TAKEN], rng.permutation(no)[:TAKEN]])
        out.append((nine[some], wanted[steep][some]))
        level = burned_in._halved(level)
    return out


def trained(marks: np.ndarray, wanted: np.ndarray, epochs: int) -> dict[str, np.ndarray]:
    """Return the weights of the small network."""
    x, y = torch.from_numpy(marks), torch.from_numpy(wanted.astype(np.float32))
    net = torch.nn.Sequential(torch.nn.Linear(MARKS * BLOCKS, HIDDEN), torch.nn.ReLU(), torch.nn.Linear(HIDDEN, 1))
    optimiser = torch.optim.AdamW(net.parameters(), 3e-3, weight_decay=1e-4)
    n_steps = epochs * -(-len(x) // 1024)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1e-2, total_steps=n_steps)
    for epoch in range(epochs):
        for some in torch.randperm(len(x)).split(1024):
            # A line that is lost costs more than a look in vain.
            loss = torch.nn.functional.binary_cross_entropy_with_logits(
                net(x[some])[:, 0], y[some], pos_weight=torch.tensor(5.0)
            )
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
        print(f"epoch {epoch + 1} of {epochs}: loss {loss.item():.3f}", flush=True)
    table = [p.detach().numpy() for p in net.parameters()]
    return {"kernel": table[0].T, "bias": table[1], "head": table[2][0], "offset": np.float32(table[3][0])}


def main() -> None:
    """Make examples, train, write the weights."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=2400, help="images to learn from [2400]")
    parser.add_argument("--epochs", type=int, default=4, help="times that all are learned from [4]")
    parser.add_argument("--seed", type=int, default=11, help="of everything random [11]")
    parser.add_argument("--out", type=Path, default=TARGET, help="weights [those of the package]")
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    items = backgrounds("train")
    sources = [[b for b in items if b.source == s] for s in sorted({b.source for b in items})]
    kinds = [f for f in faces() if f.seen]
    found = []
    for n in range(options.images):
        rng = np.random.default_rng([options.seed, n])
        found += examples(picture(sources[n % len(sources)], kinds, rng), rng)
    weights = trained(np.concatenate([m for m, _ in found]), np.concatenate([w for _, w in found]), options.epochs)
    np.savez(options.out, **weights)


if __name__ == "__main__":
    main()
