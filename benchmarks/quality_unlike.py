"""Images of another kind in a set: how many are marked as unlike it, and how many of its own are marked wrongly.

Three images of one set at a time are put into another, at its size and range of grey, so that neither tells them.
Beside it the share of untouched images that are marked so in the set alone.
"""

import sys
from typing import Any

import numpy as np
from quality import SETS, Seen, beside_set, generated, mednist, proportion, seen
from recorded import begin, parser, write
from scipy import ndimage

from lucency.image import Image, diagonal_affine
from lucency.inspect.quality import UNLIKE, WARN, learn, scores

NAME = "quality_unlike"
#: Images of each other set that are put in at a time; sets whose pictures are small volumes stand aside.
GUESTS = 3
CHOSEN = (
    "hc18",
    "sunnybrook_lv",
    "cxr_mass_boxes",
    "mednist CXR",
    "mednist ChestCT",
    "mednist HeadCT",
    "mednist BreastMRI",
)
MORE = ("AbdomenCT", "Hand")


def guest(image: Image, host: Image) -> Image:
    """Return the image at the size and in the range of grey of its host."""
    own, other = (np.asarray(i.array[0, i.size[0] // 2], dtype=float) for i in (image, host))
    drawn = ndimage.zoom(own, (other.shape[0] / own.shape[0], other.shape[1] / own.shape[1]), order=1)
    low, high = drawn.min(), max(drawn.max(), drawn.min() + 1)
    bottom, top = np.percentile(other, (0.5, 99.5))
    grey = (drawn - low) / (high - low) * (top - bottom) + bottom
    return Image(np.rint(grey).astype(host.array.dtype)[None, None], diagonal_affine((1, 1, 1)))


def marked(given: list[Seen]) -> np.ndarray:
    """Return which images are marked as unlike their set."""
    measures = beside_set(given)
    limits = learn(measures)
    return np.array([scores(m, limits).get(UNLIKE, 0.0) >= WARN for m in measures])


def main() -> int:
    """Measure and record."""
    options = parser(__doc__ or "", NAME).parse_args()
    facts = begin()
    rng = np.random.default_rng(options.seed)
    if options.quick:
        sets = {"generated": generated(rng), "turned": [_turned(i) for i in generated(rng)]}
    else:
        sets = {name: SETS[name][2]() for name in CHOSEN} | {f"mednist {n}": mednist(n) for n in MORE}
    found: dict[str, Any] = {}
    for name, images in sets.items():
        own = [seen(i, "") for i in images]
        clean = marked(own)
        rows = {}
        for other, foreign in sets.items():
            if other != name:
                picked = rng.choice(len(foreign), GUESTS, replace=False)
                put = [seen(guest(foreign[n], images[int(rng.integers(len(images)))]), "") for n in picked]
                rows[other] = round(float(marked([*own, *put])[-GUESTS:].mean()), 3)
        total = float(sum(rows.values()) / len(rows))
        found[name] = {"n": len(images), "own_marked": proportion(float(clean.sum()), len(clean)), "guests": rows}
        found[name]["guests_marked"] = round(total, 3)
        print(
            f"{name} (n = {len(images)}): guests marked {total:.0%}, own images marked {clean.mean():.1%}", flush=True
        )
    least = min(f["guests_marked"] for f in found.values())
    mean = float(np.mean([f["guests_marked"] for f in found.values()]))
    most = max(f["own_marked"]["value"] for f in found.values())
    said = f"guests marked {mean:.0%} (least {least:.0%}), own images marked at most {most:.1%}, {len(found)} sets"
    write(NAME, said, facts | {"guests_each": GUESTS, "sets": found}, options)
    return 0


def _turned(image: Image) -> Image:
    return Image(np.ascontiguousarray(image.array.transpose(0, 1, 3, 2)), image.affine)


if __name__ == "__main__":
    sys.exit(main())
