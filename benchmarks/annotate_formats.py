"""Voxels and boxes that change when annotations go out in a form and come back, on real images, form by form."""

import json
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk  # noqa: N813
from material import DATA
from recorded import begin, parser, write

from lucency.annotate.collecting import collected
from lucency.annotate.exchange import FORMS, Told, export, source_grid
from lucency.annotation import Annotation
from lucency.case import Case
from lucency.errors import LucencyError
from lucency.image import Image
from lucency.read import ReadOptions, load, read
from lucency.write.dicom_object import Origin
from lucency.write.dicom_series import Identity, write_series
from lucency.write.nifti import write_nifti

NAME = "annotate_formats"

#: Who made it, for DICOM.
BY = Origin("0" * 64, datetime(2026, 1, 1))

#: Cases taken of each set.
MOST = 20


def main() -> int:
    """Measure and record."""
    made = parser(__doc__ or "", NAME)
    options = made.parse_args()
    facts = begin()
    rows: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as place:
        work = Path(place)
        sets = generated(work, options.seed) if options.quick else (*real(), *generated(work, options.seed))
        for name, cases, said, labels in sets:
            for form in FORMS:
                row = round_trip(cases, said, labels, form, work / name / form)
                if row is not None:
                    rows[f"{name}, {form}"] = row
    wrong = sum(r["voxels_wrong"] + r["boxes_wrong"] for r in rows.values())
    voxels, boxes = (sum(r[k] for r in rows.values()) for k in ("labelled_voxels", "boxes"))
    far = max((r["corner_mm"] for r in rows.values() if r["corner_mm"] is not None), default=0.0)
    phrase = (
        f"{wrong} of {voxels} labelled voxels and {boxes} boxes changed over {len(rows)} round trips in {len(FORMS)} "
        f"forms (needed 0); .seg.nrrd by SimpleITK's reader at most {far:.1e} mm off"
    )
    write(NAME, phrase, {**facts, "rows": rows}, options)
    return 0


Set = tuple[str, Sequence[Case], Sequence[Annotation], dict[int, str]]


def real() -> Iterator[Set]:
    """Yield sets of real images with what was drawn on them."""
    for name in ("hippocampus", "hc18", "sunnybrook_lv"):
        cohort = read(DATA / name, ReadOptions())
        cases = [c for c in cohort.cases if c.target is not None][:MOST]
        labels = dict(cohort.labels)
        said = []
        for case in cases:
            mask = load(case.target)
            said.append(Annotation(case.id, (Image(mask.array, source_grid(case).affine, "labels", "label"),), labels))
        yield name, cases, said, labels
    cohort = read(DATA / "bccd", ReadOptions())
    cases = cohort.cases[:MOST]
    classes = dict(enumerate(cohort.classes, start=1))
    yield "bccd", cases, [Annotation(c.id, boxes=tuple(c.target)) for c in cases], classes


def generated(work: Path, seed: int) -> Iterator[Set]:
    """Yield a volume that lies askew in the patient, as NIfTI and as DICOM."""
    rng = np.random.default_rng(seed)
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    turn[:, 0] = np.cross(turn[:, 2], turn[:, 1])
    affine = np.eye(4)
    affine[:3, :3] = turn * (4.5, 0.7, 0.9)
    affine[:3, 3] = (-120.25, 33.5, 771.125)
    image = Image(rng.integers(-900, 900, (1, 12, 40, 48)).astype(np.int16), affine, unit="HU")
    array = rng.choice([0, 1, 2], (1, 12, 40, 48), p=(0.7, 0.2, 0.1)).astype(np.uint8)
    labels = {1: "liver", 2: "nodule"}
    write_nifti(work / "oblique_nifti" / "a.nii.gz", image)
    write_series(work / "oblique_dicom" / "a", image, Identity(1, 1))
    for name in ("oblique_nifti", "oblique_dicom"):
        (case,) = read(work / name, ReadOptions(untrained=True)).cases
        grid = source_grid(case).affine
        yield name, [case], [Annotation(case.id, (Image(array, grid, "labels", "label"),), labels)], labels


def round_trip(
    cases: Sequence[Case], said: Sequence[Annotation], labels: dict[int, str], form: str, folder: Path
) -> dict[str, Any] | None:
    """Return what one form changes; None where it cannot hold what is drawn, or is not for such images."""
    told = Told(labels, origin=BY)
    start = time.perf_counter()
    try:
        paths = export(said, cases, folder, form, told)
    except LucencyError:
        return None
    out = time.perf_counter() - start
    submitted(folder / "tasks.json")
    start = time.perf_counter()
    found = {i.case: i.load() for i in collected(folder, cases, labels).items}
    back = time.perf_counter() - start
    voxels = boxes = 0
    for one in said:
        two = found.get(one.case, replace(one, layers=(), boxes=()))
        voxels += different(one, two)
        boxes += len(edges(one) ^ edges(two))
    return {
        "cases": len(said),
        "labelled_voxels": sum(int(np.count_nonzero(layer.array)) for a in said for layer in a.layers),
        "boxes": sum(len(a.boxes or ()) for a in said),
        "voxels_wrong": voxels,
        "boxes_wrong": boxes,
        "out_s": round(out, 3),
        "back_s": round(back, 3),
        "bytes": sum(p.stat().st_size for p in paths),
        "corner_mm": furthest(paths, cases) if form == "seg-nrrd" else None,
    }


def submitted(tasks: Path) -> None:
    """Do what Label Studio does when people submit what was proposed as it is."""
    if tasks.exists():
        content = json.loads(tasks.read_text("utf-8"))
        for task in content:
            task["annotations"] = [{"result": task["predictions"][0]["result"], "completed_by": 1}]
        tasks.write_text(json.dumps(content), "utf-8")


def different(one: Annotation, two: Annotation) -> int:
    """Return how many voxels of any label are another one's afterwards."""
    mine, other = ({name: layer.array == v for v, name, layer in a.regions} for a in (one, two))
    nothing = np.zeros(one.layers[0].array.shape if one.layers else (1,), dtype=bool)
    names = {*mine, *other}
    return sum(int((mine.get(n, nothing) != other.get(n, nothing)).sum()) for n in names)


def edges(one: Annotation) -> set[tuple[Any, ...]]:
    """Return the boxes, to a thousandth of a pixel."""
    return {(b.label, *(round(v, 3) for v in (*b.low, *b.high))) for b in one.boxes or ()}


def furthest(paths: Sequence[Path], cases: Sequence[Case]) -> float:
    """Return how far SimpleITK puts a corner of a file from where the image has it, at most, in mm."""
    by_id = {c.id: c for c in cases}
    most = 0.0
    for path in paths:
        grid, back = source_grid(by_id[path.name.removesuffix(".seg.nrrd")]), sitk.ReadImage(str(path))
        for corner in np.ndindex(2, 2, 2):
            k, j, i = (int(c * (n - 1)) for c, n in zip(corner, grid.size, strict=True))
            place = np.array(back.TransformIndexToPhysicalPoint((i, j, k)))
            most = max(most, float(np.linalg.norm(place - (grid.affine @ (k, j, i, 1))[:3])))
    return most


if __name__ == "__main__":
    sys.exit(main())
