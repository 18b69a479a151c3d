"""Search over a small run: an untrained network tells lying from standing stripes well enough."""

import csv
import json

import numpy as np
import pytest
from PIL import Image as Picture

from lucency import model as models
from lucency import record
from lucency.calibration import Calibration
from lucency.case import pseudonym
from lucency.errors import DataError, ModelError, UsageError
from lucency.features import body_of, encoder, seen, shares
from lucency.index import space_of
from lucency.search import Ask, search
from lucency.walk import Passport, Settings
from tiny import network_of, plan_for, stripes

SALT = "00112233"


@pytest.fixture
def run(tmp_path):
    """A run folder with cohort and model; patients are pairs of images."""
    data = tmp_path / "data"
    data.mkdir()
    cohort = stripes(data, n=16)
    folder = tmp_path / "run"
    plan = plan_for("classify", task_options={"dropout": 0.1})
    models.save(folder / "model", plan, Calibration(), {"fold0": network_of(plan).state_dict()}, "# card")
    record.write(folder / "cohort.json", cohort)
    record.write(folder / "run.json", Passport(str(data), Settings(), SALT))
    return folder


def picture(folder, name, *, lying, seed=1):
    rng = np.random.default_rng(seed)
    wave = np.sin(np.arange(16) * 0.9)
    image = (wave[:, None] if lying else wave[None]) + rng.normal(0, 0.3, (16, 16))
    folder.mkdir(exist_ok=True)
    Picture.fromarray((image * 40 + 128).clip(0, 255).astype(np.uint8)).save(folder / f"{name}.png")


def rows_of(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_neighbours_are_of_the_query_s_kind_and_the_table_and_page_say_so(run, tmp_path):
    picture(tmp_path / "new", "one", lying=True)
    picture(tmp_path / "new", "two", lying=False)
    answers = search(run, tmp_path / "new", tmp_path / "out", ask=Ask(top=4))
    rows = rows_of(tmp_path / "out" / "neighbours.csv")
    assert [r["rank"] for r in rows if r["query"] == "one"] == ["1", "2", "3", "4"]
    similar = [float(r["similarity"]) for r in rows if r["query"] == "one"]
    assert similar == sorted(similar, reverse=True)
    first = {a.case: a.neighbours[0].facts["label"] for a in answers}
    assert first == {"one": "lying", "two": "standing"}
    page = (tmp_path / "out" / "index.html").read_text("utf-8")
    assert page.count("data:image/png") == 2 * (1 + 4 + 2 * 3)
    assert "contains patient images" in page.lower() or "patient" in page


def test_the_page_speaks_chinese(run, tmp_path):
    picture(tmp_path / "new", "one", lying=True)
    search(run, tmp_path / "new", tmp_path / "out", ask=Ask(top=2, lang="zh"))
    assert "相似病例" in (tmp_path / "out" / "index.html").read_text("utf-8")


def test_the_same_image_under_another_name_never_finds_its_own_patient(run, tmp_path):
    cohort = json.loads((run / "cohort.json").read_text("utf-8"))
    place = cohort["cases"][0]["images"]["image"][0]
    pixels = np.load(f"{place['root']}/all.npz")["train_images"][0]
    (tmp_path / "new").mkdir()
    Picture.fromarray(pixels).save(tmp_path / "new" / "renamed.png")
    # Files of two kinds have different bytes: what stands for the image is set to the query's.
    from lucency.read import read_inputs

    checksum = read_inputs(tmp_path / "new")[0].sources[0].checksum
    cohort["cases"][0]["images"]["image"][0]["checksum"] = checksum
    cohort["cases"][0]["patient"] = cohort["cases"][2]["patient"] = "both"
    cohort["folds"] = dict.fromkeys(cohort["folds"], 0)
    (run / "cohort.json").write_text(json.dumps(cohort), "utf-8")
    (answer,) = search(run, tmp_path / "new", ask=Ask(top=16))
    found = {n.case for n in answer.neighbours}
    assert len(found) == 14
    assert not found & {cohort["cases"][0]["id"], cohort["cases"][2]["id"]}


def test_the_index_holds_no_case_id_and_no_file_name(run, tmp_path):
    picture(tmp_path / "new", "one", lying=True)
    search(run, tmp_path / "new")
    text = "".join(p.read_text("utf-8") for p in (run / "model" / "index").glob("*.json"))
    assert "all.npz" not in text
    assert '"003"' not in text
    assert pseudonym(bytes.fromhex(SALT), "row:003") in text


def test_a_filter_narrows_the_search_and_one_that_cannot_be_fulfilled_is_refused(run, tmp_path):
    picture(tmp_path / "new", "one", lying=True)
    (answer,) = search(run, tmp_path / "new", ask=Ask(where={"label": "standing"}))
    assert {n.facts["label"] for n in answer.neighbours} == {"standing"}
    with pytest.raises(DataError, match=r"label = sitting.*lying, standing"):
        search(run, tmp_path / "new", ask=Ask(where={"label": "sitting"}))
    with pytest.raises(UsageError, match="did you mean"):
        search(run, tmp_path / "new", ask=Ask(where={"labl": "lying"}))
    with pytest.raises(UsageError, match="1 or more"):
        Ask(top=0)


def test_a_query_of_another_modality_is_named_and_answered(run, tmp_path):
    cohort = json.loads((run / "cohort.json").read_text("utf-8"))
    for case in cohort["cases"]:
        case["facts"] = {"modality": "CT"}
    (run / "cohort.json").write_text(json.dumps(cohort), "utf-8")
    picture(tmp_path / "new", "one", lying=True)
    from lucency.search import asking

    (plain,) = search(run, tmp_path / "new")
    assert plain.note == ""
    seen_as = asking.modality_of
    asking.modality_of = lambda case: "MR"
    try:
        (answer,) = search(run, tmp_path / "new", tmp_path / "out")
    finally:
        asking.modality_of = seen_as
    assert len(answer.neighbours) == 10
    assert "MR" in answer.note
    assert "CT" in answer.note
    assert rows_of(tmp_path / "out" / "neighbours.csv")[0]["note"] == answer.note


def test_what_cannot_be_read_is_listed_and_the_rest_is_answered(run, tmp_path):
    picture(tmp_path / "new", "one", lying=True)
    Picture.fromarray(np.zeros((16, 16, 3), np.uint8)).save(tmp_path / "new" / "colour.png")
    answers = search(run, tmp_path / "new", tmp_path / "out")
    assert [a.case for a in answers] == ["one"]
    (lost,) = rows_of(tmp_path / "out" / "skipped.csv")
    assert lost["path"] == "colour.png"
    assert "3 channels" in lost["reason"]
    with pytest.raises(DataError, match="None of 1 images"):
        search(run, tmp_path / "new" / "colour.png")


def test_a_model_alone_answers_with_its_index_and_says_so_without(run, tmp_path):
    picture(tmp_path / "new", "one", lying=True)
    with pytest.raises(ModelError, match="No index beside this model"):
        search(run / "model", tmp_path / "new")
    (with_run,) = search(run, tmp_path / "new", ask=Ask(top=3))
    (alone,) = search(run / "model", tmp_path / "new", tmp_path / "out", ask=Ask(top=3))
    assert [n.similarity for n in alone.neighbours] == [n.similarity for n in with_run.neighbours]
    assert all(len(n.case) == 16 for n in alone.neighbours)
    assert (tmp_path / "out" / "index.html").exists()


def test_an_index_of_an_older_model_is_built_anew(run, tmp_path):
    picture(tmp_path / "new", "one", lying=True)
    search(run, tmp_path / "new")
    before = (run / "model" / "index" / "index.json").read_text("utf-8")
    plan = plan_for("classify", task_options={"dropout": 0.1})
    models.save(run / "model", plan, Calibration(), {"fold0": network_of(plan, seed=5).state_dict()}, "# card")
    search(run, tmp_path / "new")
    assert (run / "model" / "index" / "index.json").read_text("utf-8") != before


def test_what_the_places_add_is_the_similarity():
    plan = plan_for("classify", task_options={"dropout": 0.1})
    body = body_of(network_of(plan))
    rng = np.random.default_rng(0)
    mine, other = seen(body, rng.normal(size=(2, 1, 1, 16, 16)).astype(np.float32), plan)
    space = space_of(rng.normal(size=(30, len(mine.whole))) + mine.whole)
    first, second = shares(mine, other, space)
    a, b = space.unit(np.stack([mine.whole, other.whole]))
    cosine = a @ b
    assert first.mean() == pytest.approx(cosine, abs=1e-5)
    assert second.mean() == pytest.approx(cosine, abs=1e-5)


def test_an_image_larger_than_a_tile_is_seen_in_pieces_and_covered_once():
    plan = plan_for("segment", dims=3, size=(4, 8, 8))
    body = body_of(network_of(plan))
    array = np.random.default_rng(0).normal(size=(1, 4, 20, 8)).astype(np.float32)
    (whole,) = seen(body, [array], plan)
    parts = [next(seen(body, [array[:, :, a : a + 8]], plan)) for a in (0, 8, 16)]
    expected = (8 * parts[0].whole + 8 * parts[1].whole + 4 * parts[2].whole) / 20
    np.testing.assert_allclose(whole.whole, expected, atol=1e-5)
    assert whole.places.shape[2] == sum(p.places.shape[2] for p in parts)


def test_the_encoder_is_the_body_of_the_first_member(run):
    model = models.load(run)
    assert encoder(model).channels == (4, 8)
