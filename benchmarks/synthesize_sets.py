"""What the evidence gate says of real, small and unlike sets: ``lucency synthesize`` as a user starts it.

``pneumonia``: 40 normal and 400 pneumonia radiographs for training, the others of the same set as the locked part (no
patient identifiers: images count as patients). ``hippocampus``: the slices of 8 volumes, with their masks, and those of
sixty other patients as the locked part. The verdict is recorded whatever it is.
"""

import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from material import DATA
from recorded import begin, parser, write

from lucency import record
from lucency.image import Image, diagonal_affine
from lucency.read import load, read_inputs
from lucency.synthesize import synthesize
from lucency.synthesize.asked import Ask
from lucency.synthesize.walked import Synthesis
from lucency.walk import Settings
from lucency.write.raster import write_picture

NAME = "synthesize"
#: Training images of the two classes.
NORMAL, PNEUMONIA = 40, 400
#: Volumes of the training part and of the locked part; of each every other slice.
TRAINED, LOCKED, EVERY = 8, 60, 2


def main() -> int:
    """Make the set, walk, record."""
    made = parser(__doc__ or "", NAME)
    made.add_argument("set", nargs="?", default="pneumonia", choices=sorted(SETS))
    made.add_argument("--minutes", type=float, default=60.0, help="of the walk [60]")
    made.add_argument("--generator", default="", help="family [what suits the machine]")
    made.add_argument("--side", type=int, default=0, help="longest side of the images [what suits the machine]")
    made.add_argument("--whole", action="store_true", help="go through all stages whatever the first show")
    made.add_argument("--keep", type=Path, help="run folder to keep, or to go on with")
    options = made.parse_args()
    facts = begin()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as place:
        data = (options.keep.with_name(options.keep.name + "_data")) if options.keep else Path(place) / "data"
        settings = Settings(minutes=options.minutes, seed=options.seed)
        ask = Ask(settings, options.generator, options.side, whole=options.whole)
        if options.quick:
            generated(data, options.seed)
            settings = Settings(minutes=30.0, values={"network_options.widths": "[4, 8]", "network_options.depth": "6"})
            ask = Ask(settings, "gan-mlp", 28, 1, (1.0,), 8, whole=True)
        elif not data.exists():
            ask = Ask(SETS[options.set](data, settings, options.seed), *rest(ask)[1:])
        else:
            ask = Ask(PLACES[options.set](data, settings), *rest(ask)[1:])
        found = synthesize(
            data / "train" if (data / "train").exists() else data, options.keep or Path(place) / "run", ask=ask
        )
    result = facts | {"settings": {"set": options.set, "minutes": options.minutes, "side": found.design.frame}}
    write(f"{NAME}_{options.set}", told(found), result | summed(found), options)
    return 0


def rest(ask: Ask) -> tuple[Any, ...]:
    return tuple(vars(ask).values())


def told(found: Synthesis) -> str:
    """Return the verdict in one phrase."""
    gains = [f"{c.arm} {100 * c.gain.value:+.1f}" for c in found.verdict.contrasts]
    shown = f" ({', '.join(gains)} points over {found.verdict.rival!r})" if gains else ""
    return f"{found.verdict.word}: {found.verdict.reasons[0]}{shown}"


def summed(found: Synthesis) -> dict[str, Any]:
    """Return what the walk left, for the record."""
    looked = [
        {
            "fold": one.fold,
            "family": one.family,
            "teaches": value(one.teaches),
            "teaches_real": value(one.teaches_real),
            "audit": one.audit.verdict,
            "kept": dict(one.kept),
            "lost": dict(one.lost),
        }
        for one in found.looked
    ]
    arms = {
        r.arm: {"inner": [value(v) for v in r.inner], "outer": [value(v) for v in r.outer], "candidate": r.candidate}
        for r in found.runs
    }
    design: Mapping[str, Any] = record.to_json(found.design)
    kept = {k: design[k] for k in ("folds", "seeds", "steps", "passes", "generator_s", "seconds", "n_train", "n_test")}
    verdict = record.to_json(found.verdict)
    return {"verdict": verdict, "design": kept, "looked": looked, "arms": arms, "seconds": found.seconds}


def value(number: float) -> float | None:
    return round(float(number), 4) if np.isfinite(number) else None


# --- the sets ---------------------------------------------------------------------------------------------------------


def pneumonia(data: Path, settings: Settings, seed: int) -> Settings:
    """Write 40 normal and 400 pneumonia radiographs, and all others as the test part, each image once."""
    rng = np.random.default_rng(seed)
    with np.load(DATA / "pneumoniamnist_trainval.npz") as file:
        images = np.concatenate([file["train_images"], file["val_images"]])
        classes = np.concatenate([file["train_labels"], file["val_labels"]]).ravel()
    # The set holds 26 images twice; one on each side would be a leak, which the walk refuses.
    _, once = np.unique(images.reshape(len(images), -1), axis=0, return_index=True)
    mixed = [rng.permutation(once[classes[once] == c]) for c in (0, 1)]
    learned = np.sort(np.concatenate([mixed[0][:NORMAL], mixed[1][:PNEUMONIA]]))
    judged = np.sort(np.concatenate([mixed[0][NORMAL:], mixed[1][PNEUMONIA:]]))
    data.mkdir(parents=True)
    np.savez(
        data / "chest.npz",
        train_images=images[learned],
        train_labels=classes[learned],
        test_images=images[judged],
        test_labels=classes[judged],
    )
    return settings


def hippocampus(data: Path, settings: Settings, seed: int) -> Settings:
    """Write the slices of 8 volumes with their masks, and those of others as the test part."""
    rng = np.random.default_rng(seed)
    cases = read_inputs(DATA / "hippocampus" / "images")
    masks = {p.name.split(".")[0]: p for p in (DATA / "hippocampus" / "labels").iterdir()}
    chosen = [cases[int(n)] for n in rng.permutation(len(cases))[: TRAINED + LOCKED]]
    for number, case in enumerate(chosen):
        part = "train" if number < TRAINED else "test"
        image, mask = load(case.sources[0]).array[0], load(read_inputs(masks[case.id])[0].sources[0]).array[0]
        low, high = np.percentile(image, (0.5, 99.5))
        grey = (255 * np.clip((image - low) / max(float(high - low), 1e-9), 0, 1)).astype(np.uint8)
        for k in range(0, len(grey), EVERY):
            for kind, plane in (("images", grey[k]), ("masks", mask[k].astype(np.uint8))):
                path = data / part / kind / f"v{number:03d}_{k:02d}.png"
                write_picture(path, Image(plane[None, None], diagonal_affine((1, 1, 1))))
    return where(data, settings)


def where(data: Path, settings: Settings) -> Settings:
    """Return the settings that tell volumes apart and name the test part."""
    from dataclasses import replace

    return replace(settings, patient=r"(v\d+)_", test=str(data / "test"))


def generated(data: Path, seed: int, n: int = 90) -> None:
    """Write noise with a square in it, bright or dark, for a trial."""
    rng = np.random.default_rng(seed)
    for number in range(n):
        plane = rng.integers(60, 120, (28, 28)).astype(np.uint8)
        j, i = rng.integers(2, 16, 2)
        plane[j : j + 9, i : i + 9] = 200 if number % 3 else 10
        image = Image(plane[None, None], diagonal_affine((1, 1, 1)))
        write_picture(data / ("bright" if number % 3 else "dark") / f"{number:03d}.png", image)


SETS = {"pneumonia": pneumonia, "hippocampus": hippocampus}
PLACES = {"pneumonia": lambda data, settings: settings, "hippocampus": where}


if __name__ == "__main__":
    sys.exit(main())
