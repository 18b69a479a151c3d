"""Real sets tell whether centred or coarse anatomy is taken for copies."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Picture

from lucency.case import Case, Cohort, Source
from lucency.image import Image, diagonal_affine
from lucency.inspect import inspect

DATA = Path(os.environ.get("LUCENCY_TEST_DATA", Path(__file__).parents[2].parent / "shared" / "data"))


def case(name, part, target, patient=""):
    source = Source((name,), str(DATA), "memory", checksum=name)
    return Case(name, patient or name, {"image": (source,)}, target, part)


@pytest.mark.skipif(not (DATA / "pneumoniamnist_trainval.npz").exists(), reason="real data are not on this machine")
def test_coarse_radiographs_are_copies_only_where_their_pixels_agree():
    with np.load(DATA / "pneumoniamnist_trainval.npz") as file:
        arrays = {name: file[name] for name in file.files}
    pixels = {f"{p}-{i}": a for p in ("train", "val") for i, a in enumerate(arrays[f"{p}_images"])}
    cases = [
        case(f"{p}-{i}", p, str(int(v))) for p in ("train", "val") for i, v in enumerate(arrays[f"{p}_labels"].ravel())
    ]

    def load(source, *, nan=None):
        return Image(pixels[source.where][None, None], diagonal_affine((1, 1, 1)))

    found = inspect(Cohort(tuple(cases), {}, frozenset(), classes=("0", "1")), load=load)
    seen: dict[bytes, list[str]] = {}
    for name, array in pixels.items():
        seen.setdefault(array.tobytes(), []).append(name)
    equal = [names for names in seen.values() if len(names) > 1]
    across = [n for names in equal for n in names if n.startswith("train") and any(m.startswith("val") for m in names)]
    assert equal
    assert set(found.left_out) == set(across)
    assert {p.kind for p in found.pairs} == {"exact"}
    assert sum(len(g) for g in found.groups) == sum(len(n) for n in equal if not set(n) & set(across))


@pytest.mark.skipif(not (DATA / "sunnybrook_lv").exists(), reason="real data are not on this machine")
def test_frames_of_one_heart_are_near_duplicates_and_two_hearts_are_not():
    names = sorted(p.name for p in (DATA / "sunnybrook_lv" / "images").iterdir())

    def load(source, *, nan=None):
        pixels = np.asarray(Picture.open(DATA / "sunnybrook_lv" / "images" / source.where).convert("L"))
        return Image(pixels[None, None], diagonal_affine((1, 1, 1)))

    cohort = Cohort(tuple(case(n, "", float(i)) for i, n in enumerate(names)), {}, frozenset())
    found = inspect(cohort, load=load)
    assert len(found.pairs) > 50
    assert all(p.first.split("-IM")[0] == p.second.split("-IM")[0] for p in found.pairs)
