"""Makes ``model-v0.1``: a classifier and a segmenter with the numbers they predict, for the tests of later versions.

Run once per stored version, from the project's root: ``python tests/data/make_model.py``. A stored model is never made
again by a later version; that is what it is stored for.
"""

import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import tiny  # noqa: E402
from lucency import model, record  # noqa: E402
from lucency.calibration import Calibration  # noqa: E402
from lucency.case import Case, Source  # noqa: E402
from lucency.events import Clock, Events  # noqa: E402
from lucency.plan import Schedule  # noqa: E402
from lucency.predict import predict  # noqa: E402
from lucency.tasks import task_named  # noqa: E402
from lucency.train import Work, train_member  # noqa: E402


def main() -> None:
    """Train both for a few steps and record what they say of one image each."""
    target = HERE / "model-v0.1"
    if target.exists():
        raise SystemExit(f"{target.name} exists; a stored model is not made anew")
    torch.set_num_threads(1)
    recorded: dict[str, dict[str, object]] = {}
    arrays: dict[str, np.ndarray] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for task in ("classify", "segment"):
            place = folder / task
            place.mkdir()
            recorded[task], arrays[f"{task}_image"], mask = made(task, place)
            if mask is not None:
                arrays[f"{task}_mask"] = mask
            shutil.copytree(place / "model", target / task)
    record.write(target / "recorded.json", recorded)
    np.savez_compressed(target / "recorded.npz", **arrays)


def made(name: str, folder: Path) -> tuple[dict[str, object], np.ndarray, np.ndarray | None]:
    """Return what the freshly trained model in ``folder`` says of an image, the image, and the mask it finds."""
    if name == "classify":
        cohort, changes, calibration = tiny.stripes(folder), {}, Calibration(1.3, (), (0.45,))
        image = np.tile(np.sin(np.arange(16) * 0.9)[:, None], (1, 16))
    else:
        cohort, changes = tiny.masks(folder, value=200), {"labels": {200: "ball"}}
        calibration = Calibration(extra={"largest_component": (1.0,)})
        image = 3.0 * tiny.ball((12, 16, 16), (6, 8, 7), 4)
    plan = tiny.plan_for(name, schedule=Schedule(60, warmup=5, ema=0.9), tta=("j",), **changes)
    store = tiny.stored(cohort, plan, folder)
    (folder / "training").mkdir()
    work = Work(cohort, plan, task_named(name), store, folder / "training", Clock(), Events())
    trained = train_member(work, 0, 1e9)
    delivered = model.save(folder / "model", plan, calibration, {"fold0": trained.weights}, "# A stored model\n")
    image = np.round(image, 3).astype(np.float32)
    np.save(folder / "image.npy", image)
    case = Case("a", "a", {"image": (Source(("image.npy",), str(folder), "npy"),)}, None)
    (found,) = predict(delivered, [case])
    said: dict[str, object] = {"digest": delivered.digest, "doubt": found.doubt}
    if found.mask is not None:
        return said, image, found.mask.array[0]
    return said | {"label": found.label, "probabilities": found.probabilities}, image, None


if __name__ == "__main__":
    main()
