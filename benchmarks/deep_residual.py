"""What skip connections do: plain and residual networks of 8 to 56 layers on the same real images.

Each pair differs in nothing but the skip connections: same convolutions, same normalisation, same start, same batches,
same number of steps. Measured are the norm of the gradient at every convolution, before the first step and after the
last, the loss along the way, and accuracy and AUC on images that took no part in training or in any choice.

Source: He 2016 (doi 10.1109/CVPR.2016.90), section 4.2; pre-activation blocks, He 2016
(doi 10.1007/978-3-319-46493-0_38).
"""

import math
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from material import DATA
from recorded import ROOT, begin, parser, write
from torch import nn
from torch.nn import functional

from lucency import statistics
from lucency.networks import body
from lucency.tasks.classify import ClassifyNet

NAME = "deep_residual"
EVIDENCE = ROOT / "docs" / "evidence"

#: 2 + 6 n layers over three levels, as in the paper; n = 1 … 9.
DEPTHS = (8, 20, 32, 56)
WIDTHS = (8.0, 16.0, 32.0)
KINDS = {"plain": False, "residual": True}

#: Peak rate of AdamW: the planner's own. Warm-up and cosine as in training.
RATE, WARMUP, BATCH = 2e-3, 20, 32

#: Points of a curve; training images on which the final loss is taken.
POINTS, LOOK = 24, 1024


def images(options: Any) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return training images and classes and those to judge by: chest radiographs of 28 × 28, normal or pneumonia."""
    if options.quick:
        rng = np.random.default_rng(options.seed)
        truth = rng.integers(0, 2, 160)
        pixels = rng.normal(0, 1, (160, 28, 28)) + truth[:, None, None] * np.linspace(-1, 1, 28)
        x, y = torch.from_numpy(pixels[:, None]).float(), torch.from_numpy(truth)
        return x[:96], y[:96], x[96:], y[96:]
    with np.load(DATA / "pneumoniamnist_trainval.npz") as file:
        found = {k: file[k] for k in ("train_images", "train_labels", "val_images", "val_labels")}
    mean, std = found["train_images"].mean(), found["train_images"].std()
    parts = []
    for part in ("train", "val"):
        parts.append(torch.from_numpy((found[f"{part}_images"][:, None] - mean) / std).float())
        parts.append(torch.from_numpy(found[f"{part}_labels"].ravel().astype(np.int64)))
    return parts[0], parts[1], parts[2], parts[3]


def network(depth: int, *, residual: bool, seed: int) -> ClassifyNet:
    """Return a network without dropout; both kinds of a depth draw the same convolutions."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        trunk = body("resnet", 1, 2, {"widths": WIDTHS, "depth": depth, "residual": residual, "dropout": 0.0})
        net = ClassifyNet(trunk, 2, 0.0)
        for number, part in enumerate(three_by_three(net)):
            # Bridges draw numbers as well: every layer has its own seed, so that they do not shift those of the next.
            torch.manual_seed(seed * 1000 + number)
            nn.init.kaiming_normal_(part.weight)
        torch.manual_seed(seed * 1000 + 999)
        nn.init.normal_(net.head.weight, std=0.01)
    return net.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def three_by_three(net: nn.Module) -> list[nn.Conv2d]:
    """Return the convolutions along the depth, first to last; the 1 × 1 ones of skip connections do not count."""
    return [m for m in net.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)]


def gradient_norms(net: nn.Module, x: torch.Tensor, y: torch.Tensor) -> list[float]:
    """Return the norm of the loss's gradient at each convolution's weights, first layer first."""
    kept = {k: v.clone() for k, v in net.state_dict().items()}
    net.zero_grad(set_to_none=True)
    functional.cross_entropy(net(x), y).backward()
    norms = [float(m.weight.grad.norm()) for m in three_by_three(net) if m.weight.grad is not None]
    net.zero_grad(set_to_none=True)
    # The look must not move running means.
    net.load_state_dict(kept)
    return norms


def train(net: ClassifyNet, data: tuple[torch.Tensor, ...], steps: int, seed: int) -> list[tuple[int, float]]:
    """Train, and return (step, mean loss since the last point)."""
    x, y = data[:2]
    optimiser = torch.optim.AdamW(net.parameters(), lr=RATE, weight_decay=1e-2)
    rng = np.random.default_rng(seed)
    order = np.concatenate([rng.permutation(len(x)) for _ in range(math.ceil(steps * BATCH / len(x)))])
    curve: list[tuple[int, float]] = []
    losses: list[float] = []
    net.train()
    for step in range(steps):
        warm = min(1.0, (step + 1) / WARMUP)
        for group in optimiser.param_groups:
            group["lr"] = RATE * warm * 0.5 * (1 + math.cos(math.pi * step / steps))
        chosen = torch.from_numpy(order[step * BATCH : (step + 1) * BATCH])
        loss = functional.cross_entropy(net(x[chosen]), y[chosen])
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
        if (step + 1) % max(1, steps // POINTS) == 0:
            curve.append((step + 1, round(float(np.mean(losses)), 4)))
            losses = []
    return curve


@torch.no_grad()
def logits(net: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Return the outputs of the network at rest."""
    net.eval()
    return torch.cat([net(part) for part in x.split(256)])


def measured(net: ClassifyNet, data: tuple[torch.Tensor, ...], steps: int, seed: int) -> tuple[dict[str, Any], Any]:
    """Train one network; return its row and the scores of the judged images."""
    x, y, judged, truth = data
    first = gradient_norms(net.train(), x[:BATCH], y[:BATCH])
    curve = train(net, data, steps, seed)
    last = gradient_norms(net.train(), x[:BATCH], y[:BATCH])
    look = torch.from_numpy(np.linspace(0, len(x) - 1, min(LOOK, len(x))).astype(int))
    found = logits(net, judged)
    score = (found[:, 1] - found[:, 0]).numpy().astype(np.float64)
    hits = int((found.argmax(1) == truth).sum())
    patients = [str(n) for n in range(len(truth))]
    area = statistics.auc_metric(truth.numpy(), score, patients, np.random.default_rng(seed))
    low, high = statistics.wilson(hits, len(truth))
    row = {
        "weights": sum(p.numel() for p in net.parameters()),
        "gradient_norms_first": [float(f"{v:.4g}") for v in first],
        "gradient_norms_last": [float(f"{v:.4g}") for v in last],
        "curve": curve,
        "training_loss": round(float(functional.cross_entropy(logits(net, x[look]), y[look])), 4),
        "accuracy": [round(v, 4) for v in (hits / len(truth), low, high)],
        "auc": [round(float(v), 4) for v in (area.value, area.lower, area.upper)],
    }
    return row, score


def main() -> None:
    """Run the benchmark."""
    made = parser(__doc__ or "", NAME)
    made.add_argument("--steps", type=int, default=53, help="of every network [53]; 3 minutes on two busy cores")
    options = made.parse_args()
    result = begin()
    data = images(options)
    depths = DEPTHS[:2] if options.quick else DEPTHS
    steps = 4 if options.quick else options.steps
    rows: dict[str, Any] = {}
    scores: dict[str, Any] = {}
    began = time.perf_counter()
    for depth in depths:
        for kind, residual in KINDS.items():
            name = f"{kind} {depth}"
            net = network(depth, residual=residual, seed=options.seed)
            rows[name], scores[name] = measured(net, data, steps, options.seed)
            print(name, rows[name]["training_loss"], rows[name]["accuracy"], file=sys.stderr, flush=True)
    truth = data[3].numpy()
    patients = [str(n) for n in range(len(truth))]
    paired = {}
    for depth in depths:
        found = statistics.compare_auc(truth, scores[f"residual {depth}"], scores[f"plain {depth}"], patients)
        gain = found.difference
        paired[str(depth)] = {
            "auc_difference": [round(float(v), 4) for v in (gain.value, gain.lower, gain.upper)],
            "p": found.p,
            "test": found.test,
        }
    result |= {
        "set": "generated" if options.quick else "pneumoniamnist_trainval",
        "n_train": len(data[0]),
        "n_judged": len(truth),
        "share_of_larger_class": round(float(max(truth.mean(), 1 - truth.mean())), 4),
        "steps": steps,
        "batch": BATCH,
        "seconds": round(time.perf_counter() - began, 1),
        "networks": rows,
        "residual_minus_plain": paired,
    }
    deepest = depths[-1]
    said = "; ".join(
        f"{kind} of {deepest} layers: training loss {rows[f'{kind} {deepest}']['training_loss']:.3f}, "
        f"accuracy {rows[f'{kind} {deepest}']['accuracy'][0]:.3f}"
        for kind in KINDS
    )
    write(NAME, f"{said}; {steps} steps each", result, options)
    if not options.quick:
        draw(result, EVIDENCE)


#: Words of the figure.
WORDS = {
    "en": {
        "plain": "plain",
        "residual": "residual",
        "first": "Gradients before the first step",
        "layer": "layer, first to last",
        "norm": "norm of the gradient",
        "curves": "Training",
        "step": "step",
        "loss": "loss",
        "judged": "Images that took no part in training",
        "depth": "layers",
        "accuracy": "accuracy, 95 % interval",
    },
    "zh": {
        "plain": "普通",
        "residual": "残差",
        "first": "第一步之前的梯度",
        "layer": "层（由前至后）",
        "norm": "梯度范数",
        "curves": "训练过程",
        "step": "步",
        "loss": "损失",
        "judged": "未参与训练的图像",
        "depth": "层数",
        "accuracy": "准确率（95 % 区间）",
    },
}


def draw(result: dict[str, Any], folder: Path) -> None:
    """Draw gradients, training curves and accuracies, once in each language."""
    import warnings

    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot as plt

    folder.mkdir(parents=True, exist_ok=True)
    # Letters stay letters: who looks at the figure has the font, the machine that draws it may not.
    mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": NAME, "font.family": "sans-serif"})
    rows = result["networks"]
    depths = sorted({int(name.split()[1]) for name in rows})
    shades = {depth: 0.35 + 0.6 * n / max(1, len(depths) - 1) for n, depth in enumerate(depths)}
    maps = {"plain": plt.get_cmap("Oranges"), "residual": plt.get_cmap("Blues")}
    for lang, words in WORDS.items():
        figure, (left, middle, right) = plt.subplots(1, 3, figsize=(13, 4), layout="constrained")
        for kind, residual in KINDS.items():
            for depth in depths:
                row, colour = rows[f"{kind} {depth}"], maps[kind](shades[depth])
                label = f"{words[kind]} {depth}"
                norms = row["gradient_norms_first"]
                left.semilogy(np.linspace(0, 1, len(norms)), norms, color=colour, label=label)
                middle.plot(*zip(*row["curve"], strict=True), color=colour, label=label)
            found = np.array([rows[f"{kind} {d}"]["accuracy"] for d in depths])
            bars = np.abs(found[:, 1:] - found[:, :1]).T
            shift = 0.5 if residual else -0.5
            right.errorbar(
                np.array(depths) + shift, found[:, 0], bars, fmt="o-", color=maps[kind](0.8), label=words[kind]
            )
        for axes, (title, x, y) in zip(
            (left, middle, right),
            (("first", "layer", "norm"), ("curves", "step", "loss"), ("judged", "depth", "accuracy")),
            strict=True,
        ):
            axes.set(title=words[title], xlabel=words[x], ylabel=words[y])
            axes.legend(fontsize=7)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            figure.savefig(folder / f"deep-residual.{lang}.svg", metadata={"Date": None})
        plt.close(figure)


if __name__ == "__main__":
    main()
