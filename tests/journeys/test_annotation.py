"""The loop of annotation by the command line alone: fit, give out, correct, take back, fit again."""

import csv
import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image as Picture

SIDE = 24
#: The budget only bounds; the steps are set, so that a busy machine learns as much as an idle one.
SMALL = ("--minutes", "5", "--set", "schedule.steps=40", "--set", "folds=[0]", "--set", "batch=4", "--json")


def picture(rng):
    """A bright disc in noise, and its mask with 255 inside, as drawing programs write it."""
    j, i = np.meshgrid(np.arange(SIDE), np.arange(SIDE), indexing="ij")
    inside = (j - rng.uniform(8, 16)) ** 2 + (i - rng.uniform(8, 16)) ** 2 < rng.uniform(4, 6) ** 2
    return (60 + 120 * inside + rng.normal(0, 15, (SIDE, SIDE))).clip(0, 255).astype(np.uint8), inside * np.uint8(255)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    rng = np.random.default_rng(5)
    root = tmp_path_factory.mktemp("annotation")
    for folder, images, masks, n in (("data", "images", "masks", 24), ("new", "", "../truth", 24)):
        for number in range(n):
            image, mask = picture(rng)
            for sub, array in ((images, image), (masks, mask)):
                path = root / folder / sub / f"{folder}p{number // 2:02d}_{number % 2}.png"
                path.resolve().parent.mkdir(parents=True, exist_ok=True)
                Picture.fromarray(array).save(path.resolve())
    return root


def lucency(place, *arguments):
    done = subprocess.run(
        [sys.executable, "-m", "lucency", *arguments],
        capture_output=True,
        text=True,
        encoding="utf-8",
        cwd=place,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done


def rows_of(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.journey
def test_fit_give_out_correct_take_back_and_fit_again(place):
    lucency(place, "fit", "data", "--out", "run", *SMALL)
    given = json.loads(lucency(place, "annotate", "run", "new", "--out", "todo", "--json").stdout)
    assert (given["n_cases"], given["n_annotated"]) == (24, 0)
    rows = rows_of(place / "todo" / "worklist.csv")
    # Names of two images each tell the patients: the first twelve are twelve patients.
    assert len({r["case"][:6] for r in rows[:12]}) == 12
    page = (place / "todo" / "index.html").read_text("utf-8")
    assert page.count("data:image/png") == 24
    assert "patient images" in page

    # An annotator corrects all but two and gives the files back under the names under which they came.
    reader = place / "anna"
    reader.mkdir()
    for case in [r["case"] for r in rows[:22]]:
        pre = np.asarray(Picture.open(place / "todo" / "pre" / f"{case}.png"))
        truth = np.asarray(Picture.open(place / "truth" / f"{case}.png"))
        assert set(np.unique(pre)) <= {0, 255}
        Picture.fromarray(truth).save(reader / f"{case}.png")
    taken = json.loads(
        lucency(place, "annotate", "run", "new", "--out", "todo", "--returned", "anna", "--lang", "zh", "--json").stdout
    )
    assert (taken["n_returned"], taken["n_not_used"], taken["n_cases"]) == (22, 0, 2)
    (dice,) = [r for r in rows_of(place / "todo" / "agreement.csv") if r["measure"] == "dice"]
    assert (dice["first"], dice["second"], dice["n_cases"], dice["n_patients"]) == ("anna", "pre", "22", "12")
    assert 0 < float(dice["value"]) <= 1
    described = json.loads((place / "todo" / "annotated" / "dataset.json").read_text("utf-8"))
    assert set(described["annotators"].values()) == {"anna"}

    again = json.loads(lucency(place, "fit", "todo/annotated", "--out", "second", *SMALL).stdout)
    assert again["task"] == "segment"
    cohort = json.loads((place / "second" / "cohort.json").read_text("utf-8"))
    assert len(cohort["cases"]) == 22
    # Whose an image is went with it: no patient on two sides of the split.
    assert len({c["patient"] for c in cohort["cases"]}) == 12
