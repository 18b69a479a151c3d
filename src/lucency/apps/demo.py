"""The whole line on patients who never lived, and what the model then finds in one more of them."""

from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path

import numpy as np
from scipy import ndimage

from lucency.apps import summary
from lucency.apps.boundary import Manner
from lucency.apps.terminal import display
from lucency.errors import OutputError
from lucency.events import Events
from lucency.fit import Settings, fit
from lucency.image import Image
from lucency.phantom import Phantom, patient
from lucency.read import load, read_inputs
from lucency.text import counted, t
from lucency.write.demo import write_demo
from lucency.write.dicom_series import Identity, write_series

#: The demo's patients: enough for five folds and a locked part, few enough to be made in seconds.
N_PATIENTS, SEED = 30, 2


@dataclass(frozen=True)
class Spot:
    """One nodule, true or found.

    Args:
        centre_mm: x, y, z in LPS mm: towards the left, the back and the head.
        diameter_mm: Of the sphere of equal volume.
    """

    centre_mm: tuple[float, float, float]
    diameter_mm: float


def show(out: Path, minutes: float, manner: Manner) -> None:
    """Generate the data, walk the line, predict an unseen patient and tell what was found.

    Args:
        out: Folder for ``data``, ``run``, ``unseen`` and ``predictions``; a second call goes on where one stopped.
        minutes: Wall clock from profile to report.
        manner: How to speak.

    Raises:
        LucencyError: As the rooms raise it.
    """
    lang = manner.lang
    manner.say(t("demo.making", lang, n=N_PATIENTS, folder=summary.short(out / "data")))
    write_demo(out / "data", n_patients=N_PATIENTS, seed=SEED)
    with display(lang, quiet=manner.quiet) as shown:
        run = fit(out / "data", out / "run", settings=Settings(minutes=minutes, lang=lang), listeners=[shown])
        number, person = unseen_patient()
        folder = out / "unseen" / f"chest-{number}"
        if not folder.exists():
            write_series(folder, person.image, Identity(number, SEED, person.age, person.sex))
        Events(None, shown).emit("predict", "begin")
        run.predict(folder, out / "predictions", listeners=[shown])
    truth, found = nodules(person), spots(predicted_mask(out / "predictions"))
    said, pairs = compared(truth, found, lang)
    manner.say(*summary.lines(run.folder, "evaluate", lang)[:-1], said)
    manner.say(t("cli.report", lang, path=summary.short(run.report)), t("report.banner", lang))
    manner.result(
        {
            **summary.facts(run.folder, "report"),
            "unseen": {
                "truth": [asdict(s) for s in truth],
                "found": [asdict(s) for s in found],
                "pairs": pairs,
            },
        }
    )


def unseen_patient() -> tuple[int, Phantom]:
    """Return the first patient after those of the data who has a nodule, with their number."""
    for number in count(N_PATIENTS + 1):
        person = patient(number, SEED)
        if person.diameters_mm:
            return number, person
    raise AssertionError


def nodules(person: Phantom) -> list[Spot]:
    """Return the nodules that were painted, the largest first."""
    painted = zip(person.centres_mm.tolist(), person.diameters_mm, strict=True)
    return _ordered([Spot((c[0], c[1], c[2]), d) for c, d in painted])


def predicted_mask(folder: Path) -> Image:
    """Return the one mask in a folder of predictions, read back as any other image.

    Raises:
        OutputError: There is not exactly one.
    """
    cases = read_inputs(folder)
    if len(cases) != 1:
        raise OutputError(
            f"{len(cases)} masks", expected="one", where=folder.name, remedy="remove the folder and start the demo anew"
        )
    return load(cases[0].sources[0])


def spots(mask: Image) -> list[Spot]:
    """Return the connected regions of a mask, the largest first; voxels that touch by a corner belong together.

    Args:
        mask: (1, K, J, I); above 0 is nodule.
    """
    regions, n = ndimage.label(mask.array[0] > 0, structure=np.ones((3, 3, 3)))
    voxel_mm3 = abs(float(np.linalg.det(mask.affine[:3, :3])))
    found = []
    for number in range(1, n + 1):
        voxels = np.argwhere(regions == number)
        x, y, z = (mask.affine @ (*voxels.mean(axis=0), 1.0))[:3]
        diameter = (6 * len(voxels) * voxel_mm3 / np.pi) ** (1 / 3)
        found.append(Spot((float(x), float(y), float(z)), float(diameter)))
    return _ordered(found)


def _ordered(found: list[Spot]) -> list[Spot]:
    return sorted(found, key=lambda s: -s.diameter_mm)


def matched(truth: list[Spot], found: list[Spot]) -> list[tuple[int, int]]:
    """Return (true, found) pairs: each true nodule with the nearest free region whose centre lies inside it.

    A region counts when its centre is no further from the true centre than the true radius, and at least 5 mm, which
    is about a voxel; the nearest pairs are taken first.
    """
    near = sorted(
        (distance(a, b), i, j)
        for i, a in enumerate(truth)
        for j, b in enumerate(found)
        if distance(a, b) <= max(5.0, a.diameter_mm / 2)
    )
    pairs: list[tuple[int, int]] = []
    for _, i, j in near:
        if all(i != a and j != b for a, b in pairs):
            pairs.append((i, j))
    return sorted(pairs)


def distance(a: Spot, b: Spot) -> float:
    """Return the distance of two centres in mm."""
    return float(np.linalg.norm(np.subtract(a.centre_mm, b.centre_mm)))


def compared(truth: list[Spot], found: list[Spot], lang: str) -> tuple[str, list[tuple[int, int]]]:
    """Return one paragraph on what was found against what is there, and the pairs behind it."""
    pairs = matched(truth, found)
    partner = dict(pairs)
    said = [
        counted("demo.unseen", len(truth), lang),
        counted("demo.marked", len(found) - len(pairs), lang, n_hit=len(pairs), n_true=len(truth)),
    ]
    for number, spot in enumerate(truth):
        words = {"number": number + 1, "true": f"{spot.diameter_mm:.1f}", "place": place(spot, lang)}
        if number in partner:
            seen = found[partner[number]]
            said.append(
                t(
                    "demo.hit",
                    lang,
                    **words,
                    found=f"{seen.diameter_mm:.1f}",
                    seen=place(seen, lang),
                    off=f"{distance(spot, seen):.1f}",
                )
            )
        else:
            said.append(t("demo.missed", lang, **words))
    hits = {j for _, j in pairs}
    said += [
        t("demo.false", lang, found=f"{s.diameter_mm:.1f}", place=place(s, lang))
        for j, s in enumerate(found)
        if j not in hits
    ]
    return ("" if lang == "zh" else " ").join(said), pairs


def place(spot: Spot, lang: str) -> str:
    """Return a place in the patient in mm: left or right, back or front, head or feet of the scanner's origin."""
    ways = (("left", "right"), ("back", "front"), ("up", "down"))
    return t("report.comma", lang).join(
        t(f"demo.{way[value < 0]}", lang, mm=f"{abs(value):.0f}")
        for way, value in zip(ways, spot.centre_mm, strict=True)
    )
