"""From a folder in which some cases lack a modality to predictions that say what is missing."""

import csv
import json

import numpy as np
import pytest
from PIL import Image as Picture

import lucency

pytestmark = pytest.mark.journey


def picture(folder, name, kind, rng, modalities):
    """Stripes that lie or stand: strong in the first modality, faint in the second."""
    folder.mkdir(parents=True, exist_ok=True)
    wave = np.sin(np.arange(24) * 0.9)
    stripes = wave[:, None] + 0 * wave if kind == "lying" else wave[None] + 0 * wave[:, None]
    for modality, strength in modalities.items():
        pixels = 128 + 40 * strength * stripes + rng.normal(0, 12, (24, 24))
        Picture.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"{name}_{modality}.png")


def test_a_folder_with_missing_modalities_becomes_a_model_that_says_what_it_lacks(tmp_path):
    rng, strengths = np.random.default_rng(0), {"0000": 1.0, "0001": 0.6}
    for number in range(60):
        kind = ("lying", "standing")[number % 2]
        gone = {5: "0000", 6: "0001"}.get(number % 10, "")
        own = {m: s for m, s in strengths.items() if m != gone}
        picture(tmp_path / "data" / kind, f"p{number:02d}", kind, rng, own)
    run = lucency.fit(tmp_path / "data", tmp_path / "run", minutes=0.4, seed=0)
    assert run.plan.spares
    assert run.plan.reasons["modality_dropout"].startswith("missing in training cases: 0000 in")
    page = (tmp_path / "run" / "report" / "index.html").read_text(encoding="utf-8")
    assert "When a modality is missing" in page
    scored = json.loads((tmp_path / "run" / "report" / "metrics.json").read_text(encoding="utf-8"))
    given = [p["given"] for p in scored["parts"]["out-of-fold"]["modalities"]]
    assert given == [["0000", "0001"], ["0000"], ["0001"]]
    assert all("minus_zero_filling" in p for p in scored["parts"]["out-of-fold"]["modalities"])

    new = tmp_path / "new"
    picture(new, "whole", "lying", rng, strengths)
    picture(new, "one", "lying", rng, {"0001": 1.0})
    picture(new, "more", "standing", rng, {**strengths, "0002": 1.0})
    picture(new, "alien", "standing", rng, {"0007": 1.0})
    run.predict(new, out=tmp_path / "out")
    lines = (tmp_path / "out" / "predictions.csv").read_text(encoding="utf-8").splitlines()
    rows = {r["case"]: r for r in csv.DictReader(lines)}
    assert sorted(rows) == ["more", "one", "whole"]
    assert "modality 0000 is missing" in rows["one"]["reason"]
    assert "missing" not in rows["whole"]["reason"] + rows["more"]["reason"]
    notes = (tmp_path / "out" / "notes.txt").read_text(encoding="utf-8")
    assert "modality 0002, which training has never seen and which is passed over: more." in notes
    skipped = (tmp_path / "out" / "skipped.csv").read_text(encoding="utf-8")
    assert "Modality 0000, 0001 is missing" in skipped
    (alone,) = run.predict(new / "one_0001.png")
    assert "modality 0000 is missing" in alone.reason
