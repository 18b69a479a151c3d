"""Radiomics features: how far from published tables, class by class, and how long a region takes."""

import ast
import csv
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from material import DATA
from recorded import begin, parser, write
from scipy.ndimage import gaussian_filter

from lucency import radiomics
from lucency.case import Source
from lucency.image import Image, diagonal_affine
from lucency.read import load

NAME = "radiomics"
#: Asked for: the largest relative difference from the published numbers.
NEEDED = 1e-3
#: Published numbers below this are 0 but for rounding, and are compared as they are.
ZERO = 1e-12
PUBLISHED = DATA / "pyradiomics"
CASES = ("brain1", "brain2", "breast1")


def main() -> int:
    """Compare, time and record."""
    made = parser(__doc__ or "", NAME)
    made.add_argument("--rounds", type=int, default=5, help="times that each region is measured [5]")
    options = made.parse_args()
    facts = begin()
    rng = np.random.default_rng(options.seed)
    rounds = 1 if options.quick else options.rounds
    found: dict[str, Any] = {"rounds": rounds, "needed_relative": NEEDED}
    # The first call of all imports and fills tables; it is told apart.
    found["first_call_s"] = round(median_s(lambda: radiomics.features(*cube(8, rng)), 1), 3)
    sides = (16,) if options.quick else (16, 32, 64, 128)
    found["generated_s"] = {f"{n}^3": by_class(*cube(n, rng), rounds) for n in sides}
    told = f"{max(sides)}³ voxels in {found['generated_s'][f'{max(sides)}^3']['all']:.2f} s"
    if not options.quick:
        if not PUBLISHED.exists():
            raise SystemExit("No set 'pyradiomics': set LUCENCY_TEST_DATA to the folder of the real data")
        found |= compared(rounds)
        worst = max(found["largest_relative_difference"].values(), key=lambda w: w["relative"])
        told = (
            f"{found['n_numbers']} published numbers, largest relative difference {worst['relative']:.1e} "
            f"({worst['feature']}, {worst['column']}), needed {NEEDED:g}; 64³ voxels, all classes: "
            f"{found['generated_s']['64^3']['all']:.2f} s"
        )
    write(NAME, told, facts | found, options)
    return 0


def cube(n: int, rng: np.random.Generator) -> tuple[Image, Image]:
    """Return a cube of smooth noise with about 60 levels of 25, all of it the region."""
    noise = gaussian_filter(rng.normal(size=(n, n, n)), 1.5)
    image = Image((noise / noise.std() * 200).astype(np.int16)[None], diagonal_affine((1, 1, 1)))
    return image, Image(np.ones((1, n, n, n), np.uint8), image.affine, kind="labels")


def median_s(work: Callable[[], object], rounds: int) -> float:
    """Return the median of the seconds that one call takes."""
    each = []
    for _ in range(rounds):
        before = time.perf_counter()
        work()
        each.append(time.perf_counter() - before)
    return statistics.median(each)


def by_class(image: Image, mask: Image, rounds: int) -> dict[str, float]:
    """Return seconds of each class by itself and of all together."""
    classes = [kind for kind in radiomics.CLASSES if kind != "shape2D"]
    settings = {kind: radiomics.Settings(classes=(kind,)) for kind in classes} | {"all": radiomics.Settings()}

    def timed(chosen: radiomics.Settings) -> float:
        return round(median_s(lambda: radiomics.features(image, mask, chosen), rounds), 4)

    return {kind: timed(chosen) for kind, chosen in settings.items()}


def compared(rounds: int) -> dict[str, Any]:
    """Return the largest difference of each class from the published tables, and the seconds of each case."""
    pairs = {case: pair(case) for case in CASES}
    worst: dict[str, dict[str, Any]] = {}
    beyond: list[str] = []
    count = 0
    for kind in radiomics.CLASSES:
        for column, parameters, expected, k in columns(kind):
            image, mask = pairs[column.split("_")[0]]
            settings = replace(radiomics.from_parameters(parameters), classes=(kind,))
            found = radiomics.features(image, mask if k is None else slice_of(mask, k), settings)
            for name, value in expected.items():
                apart = abs(found[name] - value) / (abs(value) if abs(value) > ZERO else 1.0)
                count += 1
                # A NaN is beyond any limit.
                if not apart <= NEEDED:
                    beyond.append(f"{column}: {name}")
                if apart > worst.get(kind, {"relative": -1.0})["relative"]:
                    worst[kind] = {"relative": float(f"{apart:.3g}"), "feature": name, "column": column}
    default = {
        case: {
            "voxels": int((mask.array == 1).sum()),
            "features": len(radiomics.features(image, mask)),
            "s": round(median_s(lambda i=image, m=mask: radiomics.features(i, m), rounds), 4),  # type: ignore[misc]
        }
        for case, (image, mask) in pairs.items()
    }
    return {"n_numbers": count, "beyond": beyond, "largest_relative_difference": worst, "published_cases": default}


def columns(kind: str) -> Iterator[tuple[str, dict[str, Any], dict[str, float], int | None]]:
    """Yield (column, parameters, feature to number, slice of a 2-D column) for the cases whose images are here."""
    with (PUBLISHED / "baseline" / f"baseline_{kind}.csv").open(newline="", encoding="utf-8") as file:
        head, *rows = csv.reader(file)
    table = {row[0]: dict(zip(head[1:], row[1:], strict=True)) for row in rows}
    for column, text in table["diagnostics_Configuration_Settings"].items():
        if column.split("_")[0] in CASES:
            expected = {n: float(each[column]) for n, each in table.items() if n.startswith("original_")}
            box = ast.literal_eval(table["diagnostics_Mask-corrected_BoundingBox"][column]) if kind == "shape2D" else ()
            yield column, ast.literal_eval(text), expected, box[2] if box else None


def pair(case: str) -> tuple[Image, Image]:
    """Return image and mask of a published case."""
    mask = Source((f"{case}_label.nrrd",), str(PUBLISHED), "itk", kind="labels")
    return load(Source((f"{case}_image.nrrd",), str(PUBLISHED), "itk")), load(mask)


def slice_of(mask: Image, k: int) -> Image:
    """Return a mask with one slice of the region only."""
    only = np.zeros_like(mask.array)
    only[:, k] = mask.array[:, k]
    return mask.with_array(only)


if __name__ == "__main__":
    sys.exit(main())
