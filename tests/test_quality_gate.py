"""Quality after training: the limits travel with the model, and every prediction says what its image is worth."""

import csv

import numpy as np
import pytest

import tiny
from lucency import model as models
from lucency.calibration import Calibration
from lucency.case import Case, Source
from lucency.image import Image, diagonal_affine
from lucency.inspect import Limits
from lucency.inspect.quality import learn
from lucency.inspect.quality_measures import measure
from lucency.predict import predict
from lucency.write.outputs import Names, write_outputs


def striped(rng, noise=6.0):
    grey = 128 + 40 * np.sin(0.9 * np.arange(64))[:, None] + rng.normal(0, noise, (64, 64))
    return Image(grey.clip(0, 255).astype(np.uint8)[None, None], diagonal_affine((1, 1, 1)))


@pytest.fixture
def limits():
    rng = np.random.default_rng(0)
    return {"image": learn([measure(striped(rng), placed=False) for _ in range(40)])}


def model(folder, quality):
    plan = tiny.plan_for("classify")
    weights = {"fold0": tiny.network_of(plan).state_dict()}
    return models.save(folder, plan, Calibration(), weights, "card", quality)


def cases(folder):
    """A sound image and a very noisy one."""
    rng = np.random.default_rng(1)
    arrays = [striped(rng).array[0, 0], striped(rng, noise=70).array[0, 0]]
    np.savez(folder / "new.npz", test_images=np.stack(arrays))
    header = {"spacing_known": False}
    sources = [Source(("new.npz",), str(folder), "npz", f"test_images/{n}", header=header) for n in range(2)]
    return [Case(f"new-{n}", f"p{n}", {"image": (s,)}) for n, s in enumerate(sources)]


def rows(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_predictions_are_made_for_all_and_say_which_image_is_poor(tmp_path, limits):
    given = cases(tmp_path)
    found = list(predict(model(tmp_path / "model", limits), given))
    assert [p.quality for p in found] == ["accept", "reject"]
    assert "noisy (" in found[1].reason
    assert all(p.probabilities is not None for p in found)
    write_outputs(found, given, Names(("lying", "standing")), tmp_path / "out")
    table = rows(tmp_path / "out" / "predictions.csv")
    assert list(table[0]) == ["case", "label", "p_lying", "p_standing", "quality", "reason"]
    assert [r["quality"] for r in table] == ["accept", "reject"]


def test_model_without_limits_judges_nothing(tmp_path):
    given = cases(tmp_path)
    found = list(predict(model(tmp_path / "model", None), given))
    assert [(p.quality, p.reason) for p in found] == [("", ""), ("", "")]
    write_outputs(found, given, Names(("lying", "standing")), tmp_path / "out")
    assert "quality" not in rows(tmp_path / "out" / "predictions.csv")[0]


def test_masks_have_the_columns_too(tmp_path):
    cohort = tiny.masks(tmp_path, n=2)
    plan = tiny.plan_for("segment")
    weights = {"fold0": tiny.network_of(plan).state_dict()}
    few = {"image": Limits(2)}
    made = models.save(tmp_path / "model", plan, Calibration(), weights, "card", few)
    write_outputs(predict(made, cohort.cases), cohort.cases, Names(labels={1: "ball"}), tmp_path / "out")
    table = rows(tmp_path / "out" / "predictions.csv")
    assert [r["quality"] for r in table] == ["accept", "accept"]
    assert [r["case"] for r in table] == ["case0", "case1"]


def test_limits_are_covered_by_the_manifest_and_change_the_digest(tmp_path, limits):
    first, second = model(tmp_path / "a", limits), model(tmp_path / "b", None)
    assert first.quality == limits
    assert second.quality == {}
    assert first.digest != second.digest
    path = tmp_path / "a" / models.QUALITY
    path.write_text(path.read_text("utf-8").replace('"n": 40', '"n": 41'), encoding="utf-8")
    with pytest.raises(models.ModelError, match="was changed after training"):
        models.load(tmp_path / "a")


def test_model_saved_anew_without_limits_keeps_none_of_the_old(tmp_path, limits):
    model(tmp_path / "a", limits)
    assert model(tmp_path / "a", None).quality == {}
    assert not (tmp_path / "a" / models.QUALITY).exists()
