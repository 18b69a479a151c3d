"""From two modalities to images of one made of the other, marked as synthetic wherever they go."""

import csv
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Picture

from lucency.errors import DataError
from lucency.fit import Settings, fit, predict_folder

sys.path.append(str(Path(__file__).resolve().parents[1] / "translation"))

from pairs import nnunet, pair

pytestmark = pytest.mark.journey


def settings(minutes=0.5, lang="en", **values):
    return Settings(
        task="translate",
        minutes=minutes,
        lang=lang,
        values={"from_modality": "0000", "to_modality": "0001", **values},
    )


def rows_of(path):
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))


def test_pairs_become_a_translator_that_is_judged_by_what_a_model_sees(tmp_path):
    data = nnunet(tmp_path / "data", 60)
    # Half a minute leaves some thirty steps and an error of 68; a minute on a free core 548 and 16.
    run = fit(data, tmp_path / "run", settings=settings(1.0))
    assert run.plan.task_options["translate"] == "pix2pix"
    scored = json.loads((run.folder / "report" / "metrics.json").read_text(encoding="utf-8"))
    assert set(scored["baselines"]) == {"mean image", "intensity lookup", "linear neighbourhood"}
    assert scored["metrics"]["mae"]["value"] < 60
    beside = scored["downstream"]
    assert (beside["task"], beside["metric"]) == ("segment", "dice")
    assert set(beside["arms"]) == {"real", "made", "given", "nothing"}
    assert set(beside["made_minus"]) == {"real", "given", "nothing"}
    page = (run.folder / "report" / "index.html").read_text(encoding="utf-8")
    assert "Made images" in page
    assert "It can invent lesions and erase them" in page
    assert "does not mean that a doctor or a program can do more" in page

    new = tmp_path / "new"
    new.mkdir()
    rng = np.random.default_rng(7)
    for name in ("x", "y"):
        Picture.fromarray(pair(rng)[0]).save(new / f"{name}.png")
    found = predict_folder(run.folder, new, tmp_path / "out")
    assert [p.case for p in found] == ["x", "y"]
    rows = rows_of(tmp_path / "out" / "predictions.csv")
    assert [(r["case"], r["synthetic"], r["modality"], r["made_of"]) for r in rows] == [
        ("x", "yes", "0001", "0000"),
        ("y", "yes", "0001", "0000"),
    ]
    with Picture.open(tmp_path / "out" / "x.png") as made:
        assert made.info["Synthetic"] == "yes"
        assert run.model.digest in made.info["Description"]
        assert np.asarray(made).shape == (24, 24)
    assert json.loads((tmp_path / "out" / "x.synthetic.json").read_text())["synthetic"] is True


def test_a_run_that_is_walked_again_changes_nothing_and_speaks_chinese(tmp_path):
    data = nnunet(tmp_path / "data", 30, labels=False)
    first = fit(data, tmp_path / "run", settings=settings(0.3))
    before = (first.folder / "report" / "metrics.json").read_bytes()
    again = fit(data, tmp_path / "run", settings=settings(0.3, "zh"))
    assert (again.folder / "report" / "metrics.json").read_bytes() == before
    page = (again.folder / "report" / "index.html").read_text(encoding="utf-8")
    assert "合成图像" in page
    assert "并非采集所得" in page
    assert "downstream" not in json.loads(before)


def test_single_sides_are_learned_from_and_have_no_error_to_show(tmp_path):
    data = nnunet(tmp_path / "data", 40, lambda n: ("0000",) if n % 2 else ("0001",))
    run = fit(data, tmp_path / "run", settings=settings(0.4))
    assert run.plan.task_options["translate"] == "cyclegan"
    scored = json.loads((run.folder / "report" / "metrics.json").read_text(encoding="utf-8"))
    assert scored["metrics"]["mae"]["value"] is None or np.isnan(scored["metrics"]["mae"]["value"])
    assert scored["baselines"] == {}
    assert set(scored["downstream"]["arms"]) == {"made", "given", "nothing"}


def test_the_command_names_what_it_lacks_and_the_data_say_what_they_cannot_support(tmp_path):
    data = nnunet(tmp_path / "data", 12)
    bare = subprocess.run(
        [sys.executable, "-m", "lucency", "translate", str(data), "--out", str(tmp_path / "a")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert bare.returncode == 2
    assert "--source and --target" in bare.stderr
    few = nnunet(tmp_path / "few", 24, lambda n: ("0000",) if n > 3 else ("0001",))
    with pytest.raises(DataError, match=r"patients with what '0001' is to be made of, 0 with '0001' itself"):
        fit(few, tmp_path / "b", settings=settings())


def test_constant_images_and_one_patient_are_refused(tmp_path):
    data = nnunet(tmp_path / "flat", 24, labels=False)
    for path in (data / "imagesTr").glob("*_0001.png"):
        Picture.fromarray(np.full((24, 24), 90, np.uint8)).save(path)
    with pytest.raises(DataError, match=r"24 of 24 cases cannot be used \(image without a picture: 24\)"):
        fit(data, tmp_path / "a", settings=settings())
    one = nnunet(tmp_path / "one", 24, labels=False)
    said = replace(settings(), patient=r"/(p)\d\d")
    with pytest.raises(DataError, match="1 patients with what '0001' is to be made of"):
        fit(one, tmp_path / "b", settings=said)
