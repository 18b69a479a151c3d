"""Quality of images: which injected faults are told from untouched images, and what is rejected wrongly.

For each set and fault a tenth of the images is degraded at a time, in ten turns, so that every image is degraded once;
limits are learned anew from each contaminated set. The AUC is that of the fault's own score; beside it the share that
the gate warns of or rejects, and the share of untouched images that it does so to.
"""

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from material import DATA
from quality_faults import FAULTS, STRENGTHS
from recorded import begin, parser, write
from scipy.stats import fisher_exact

from lucency.image import Image, diagonal_affine
from lucency.inspect import verdict
from lucency.inspect.quality import REJECT, WARN, learn, scores
from lucency.inspect.quality_layout import layout
from lucency.inspect.quality_measures import measure
from lucency.inspect.quality_unlike import unlike
from lucency.inspect.thumbnail import glance
from lucency.read import load, read_inputs
from lucency.statistics import wilson

NAME = "quality"
#: What the project asks of itself.
AUC_NEEDED, FALSE_MOST = 0.95, 0.02
TURNS = 10
BOOTSTRAPS = 1000

Seen = tuple[dict[str, float], np.ndarray]


def files(folder: str, step: int = 1) -> list[Image]:
    """Return every ``step``-th image of a folder."""
    return [load(case.sources[0]) for case in read_inputs(DATA / folder)[::step]]


def scans() -> list[Image]:
    """Return the CT scans around lung tumours, HU."""
    found = sorted((DATA / "nsclc_survival" / "ct").glob("*.npz"))
    affine = diagonal_affine((2, 2, 2))
    return [Image(np.load(f)["scan"][None], affine, unit="HU") for f in found]


def mednist(name: str) -> list[Image]:
    """Return half the images of one class."""
    container = np.load(DATA / "mednist" / "mednist_64.npz")
    own = container["labels"] == list(container["class_names"]).index(name)
    return [Image(a[None, None], diagonal_affine((1, 1, 1))) for a in container["images"][own][:150]]


def generated(rng: np.random.Generator) -> list[Image]:
    """Return pictures with a common layout: a disc with stripes."""
    made = []
    for _ in range(40):
        j, i = np.mgrid[:96, :96] - 48 + rng.normal(0, 2, (2, 1, 1))
        grey = 120.0 * (j**2 + i**2 < 900) + 40 * np.sin(i * 0.8) + rng.normal(30, 4, (96, 96))
        made.append(Image(grey.clip(0, 255).astype(np.uint8)[None, None], diagonal_affine((1, 1, 1))))
    return made


#: Set to (modality, whether it counts for the target, images). One set of each modality counts; the rest is said.
SETS: dict[str, tuple[str, bool, Callable[[], list[Image]]]] = {
    "cxr_mass_boxes": ("X-ray", True, lambda: files("cxr_mass_boxes/images")),
    "nsclc_survival": ("CT", True, scans),
    "sunnybrook_lv": ("MR", True, lambda: files("sunnybrook_lv/images", 3)),
    "hc18": ("US", True, lambda: files("hc18/images", 2)),
    "cxr_structures": ("X-ray", False, lambda: files("cxr_structures/images")),
    "mednist CXR": ("X-ray", False, lambda: mednist("CXR")),
    "mednist ChestCT": ("CT", False, lambda: mednist("ChestCT")),
    "mednist HeadCT": ("CT", False, lambda: mednist("HeadCT")),
    "mednist BreastMRI": ("MR", False, lambda: mednist("BreastMRI")),
    "hippocampus": ("MR", False, lambda: files("hippocampus/images", 2)),
}


def main() -> int:
    """Measure and record."""
    made = parser(__doc__ or "", NAME)
    made.add_argument("--sets", help="names with commas [all]")
    options = made.parse_args()
    facts = begin()
    rng = np.random.default_rng(options.seed)
    chosen = SETS
    if options.quick:
        chosen = {"generated": ("none", True, lambda: generated(rng))}
    elif options.sets:
        chosen = {name: SETS[name] for name in options.sets.split(",")}
    found = {}
    for name, (modality, counts, images) in chosen.items():
        found[name] = {"modality": modality, "counts": counts, **judged(images(), modality, rng)}
        show(name, found[name])
    result = facts | {
        "needed": {"auc": AUC_NEEDED, "false_rejection_most": FALSE_MOST},
        "strengths": STRENGTHS,
        "warn": WARN,
        "reject": REJECT,
        "sets": found,
        "ms_per_512_image": round(cost(rng), 2),
    }
    if not options.quick:
        result["label"] = label_dependence()
    aim = [s for s in found.values() if s["counts"]]
    asked = [f for f in FAULTS if f != "crop, enlarged"]
    worst = min(s["faults"][f]["auc"] for s in aim for f in asked)
    most = max(s["false_rejection"]["value"] for s in aim)
    result["reached"] = worst >= AUC_NEEDED and most <= FALSE_MOST
    write(
        NAME,
        f"lowest AUC {worst:.3f} (needed {AUC_NEEDED}), most untouched images rejected {most:.1%} "
        f"(at most {FALSE_MOST:.0%}), {len(aim)} sets",
        result,
        options,
    )
    return 0


def seen(image: Image, modality: str) -> Seen:
    """Return measures and small picture, as inspection takes them."""
    picture = glance(image.array).picture
    # An image of one value has no picture; its standardised picture would be flat.
    blank = np.zeros((1 if image.size[0] == 1 else 8, 32, 32), np.float16)
    return measure(image, modality=modality), blank if picture is None else picture


def judged(images: Sequence[Image], modality: str, rng: np.random.Generator) -> dict[str, Any]:
    """Return AUC, detection and false alarms of one set."""
    clean = [seen(i, modality) for i in images]
    order = rng.permutation(len(images))
    faults: dict[str, Any] = {}
    false = np.zeros((2, len(images)))
    passes = 0
    for fault, (make, score) in FAULTS.items():
        bad = [seen(make(image, number), modality) for number, image in enumerate(images)]
        own, top = np.zeros((2, len(images))), np.zeros((2, len(images)))
        for turn in range(TURNS):
            degraded = set(order[turn::TURNS].tolist())
            given = [bad[n] if n in degraded else clean[n] for n in range(len(images))]
            for n, found in enumerate(judge(given)):
                row = int(n in degraded)
                share = 1.0 if row else 1 / (TURNS - 1)
                own[row, n] += share * found.get(score, 0.0)
                top[row, n] = max(found.values())
                if not row:
                    false[0, n] += top[0, n] >= WARN
                    false[1, n] += top[0, n] >= REJECT
        passes += TURNS - 1
        faults[fault] = {
            **interval(own[0], own[1], rng),
            "warned": round(float(np.mean(top[1] >= WARN)), 4),
            "rejected": round(float(np.mean(top[1] >= REJECT)), 4),
        }
    shares = {key: proportion(float(row.sum()) / passes, len(images)) for key, row in zip("wr", false, strict=True)}
    return {
        "n": len(images),
        "size": list(images[0].size),
        "faults": faults,
        "false_warning": shares["w"],
        "false_rejection": shares["r"],
    }


def judge(given: Sequence[Seen]) -> list[dict[str, float]]:
    """Return the scores of every image against limits learned from all of them."""
    measures = beside_set(given)
    limits = learn(measures)
    return [scores(m, limits) for m in measures]


def beside_set(given: Sequence[Seen]) -> list[dict[str, float]]:
    """Return the measures of every image with those that its set is needed for."""
    pictures, own = [picture for _, picture in given], [m for m, _ in given]
    return [a | b | c for a, b, c in zip(own, layout(pictures), unlike(pictures, own), strict=True)]


def auc(clean: np.ndarray, bad: np.ndarray) -> float:
    """Return the chance that a degraded image scores higher than an untouched one."""
    return float(np.mean(bad[:, None] > clean[None]) + np.mean(bad[:, None] == clean[None]) / 2)


def interval(clean: np.ndarray, bad: np.ndarray, rng: np.random.Generator) -> dict[str, Any]:
    """Return the AUC with its 95 % interval over images; at 1 Wilson's, which does not shrink to a point."""
    value, n = auc(clean, bad), len(clean)
    if value == 1.0:
        lower, upper = wilson(n, n)
        return {"auc": 1.0, "lower": round(lower, 4), "upper": round(upper, 4), "method": "Wilson"}
    draws = [auc(clean[p], bad[p]) for p in (rng.integers(0, n, n) for _ in range(BOOTSTRAPS))]
    lower, upper = (float(v) for v in np.quantile(draws, (0.025, 0.975)))
    return {
        "auc": round(value, 4),
        "lower": round(lower, 4),
        "upper": round(upper, 4),
        "method": f"bootstrap over images, {BOOTSTRAPS}",
    }


def proportion(expected: float, n: int) -> dict[str, float]:
    """Return an expected number of images as a share with Wilson's interval."""
    lower, upper = wilson(expected, n)
    return {"value": round(expected / n, 5), "lower": round(lower, 5), "upper": round(upper, 5)}


def show(name: str, found: dict[str, Any]) -> None:
    """Print one set's rows."""
    false = found["false_rejection"]
    print(f"{name} ({found['modality']}, n = {found['n']}): untouched images rejected {false['value']:.2%} "
          f"({false['lower']:.2%} to {false['upper']:.2%}), warned {found['false_warning']['value']:.2%}")  # fmt: skip
    for fault, row in found["faults"].items():
        print(f"  {fault:15} AUC {row['auc']:.3f} ({row['lower']:.3f} to {row['upper']:.3f}), "
              f"warned or rejected {row['warned']:.0%}, rejected {row['rejected']:.0%}", flush=True)  # fmt: skip


def cost(rng: np.random.Generator) -> float:
    """Return the processor time in ms that measuring a 512 × 512 image takes, the median of 20."""
    image = Image(rng.integers(0, 4000, (1, 1, 512, 512)).astype(np.int16), diagonal_affine((1, 1, 1)))
    times = []
    for _ in range(20):
        before = time.process_time()
        measure(image)
        times.append(time.process_time() - before)
    return 1000 * float(np.median(times))


def label_dependence() -> dict[str, Any]:
    """Return the share that is flagged among normal and pneumonia radiographs, and whether chance explains it."""
    container = np.load(Path(DATA) / "pneumoniamnist_trainval.npz")
    images = np.concatenate([container["train_images"], container["val_images"]])
    labels = np.concatenate([container["train_labels"], container["val_labels"]]).ravel()
    given = [seen(Image(a[None, None], diagonal_affine((1, 1, 1))), "X-ray") for a in images]
    measures = beside_set(given)
    limits = learn(measures)
    found: dict[str, Any] = {"judged": sorted({k for m in measures[:100] for k in scores(m, limits)})}
    said = np.array([verdict(m, limits).quality for m in measures])
    for word, flagged in (("rejected", said == "reject"), ("warned or rejected", said != "accept")):
        counts = [[int(flagged[labels == c].sum()), int((~flagged)[labels == c].sum())] for c in (0, 1)]
        found[word] = {
            "normal": round(counts[0][0] / sum(counts[0]), 5),
            "pneumonia": round(counts[1][0] / sum(counts[1]), 5),
            "p_fisher": round(float(fisher_exact(counts)[1]), 5),
        }
    print(f"flagged by class: {found}")
    return found


if __name__ == "__main__":
    sys.exit(main())
