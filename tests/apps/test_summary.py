"""The closing words of each command, from the files that the rooms leave."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from lucency import model as models
from lucency import record
from lucency.apps import summary
from lucency.boxes import Box
from lucency.calibration import Calibration
from lucency.case import UNKNOWN_PATIENTS, Case, Cohort, Findings, Prediction, Skipped, Source, with_folds
from lucency.evaluate import Comparison, Evaluation, Part
from lucency.image import Image
from lucency.inspect import Inspection
from lucency.plan import DECISIONS, Forecast, Grid, Normalisation, Plan, Schedule
from lucency.statistics import Metric

CHINESE = re.compile("[\u4e00-\u9fff]")
PLAN = Plan(
    task="classify",
    network="resnet",
    network_options={},
    channels=1,
    modalities=("image",),
    dims=2,
    grid=Grid("fit", (1, 16, 16)),
    patch=(1, 16, 16),
    batch=4,
    normalisation=Normalisation("zscore"),
    augmentation={},
    schedule=Schedule(20),
    precision="fp32",
    folds=(0,),
    seed=0,
    minutes=1.0,
    reasons={name: f"Because of {name}" for name in DECISIONS},
    classes=("sick", "well"),
    forecast=Forecast(512.0, {"train": 90.0, "report": 30.0}),
)


SICK = Box("sick", (0.0, 1.0, 1.0), (1.0, 4.0, 5.0))


def case(number, target):
    source = Source((f"{number}.png",), "/data", "raster", checksum=f"{number:064x}")
    return Case(f"{number}", f"{number // 2}", {"image": (source,)}, target)


@pytest.fixture
def cohort():
    cases = [case(n, "sick" if n % 3 else "well") for n in range(40)] + [case(40, None)]
    return with_folds(
        Cohort(
            tuple(cases),
            {},
            frozenset(),
            layout="classes",
            classes=("sick", "well"),
            patient_key="folder",
            target_name="folder",
            notes=("The moon was full.",),
            skipped=(Skipped("b/7.png", "empty file"),),
        )
    )


def evaluation(verdict="better", **auc):
    locked = {"auc": Metric(**({"value": 0.9, "lower": 0.8, "upper": 0.95, "n": 30, "method": "DeLong"} | auc))}
    simple = {"auc": Metric(0.7, 0.6, 0.8, 30, "DeLong")}
    against = Comparison(simple, Metric(0.2, 0.1, 0.3, 30, "DeLong", 0.0), 0.001, 0.002, "DeLong", verdict)
    return Evaluation(
        "classify",
        "auc",
        (Part("locked", 40, 30, locked, baselines={"random forest": against}), Part("out-of-fold", 160, 120, locked)),
        ("sick", "well"),
    )


@pytest.fixture
def run(tmp_path, monkeypatch, cohort):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "my run"
    record.write(folder / "cohort.json", cohort)
    record.write(folder / "inspection.json", Inspection("d", warnings=("3 images carry no label.",)))
    record.write(folder / "plan.json", PLAN)
    record.write(folder / "evaluation.json", evaluation())
    record.write(folder / "report" / "metrics.json", {"task": "classify", "n_patients": 30, "metrics": {}})
    models.save(folder / "model", PLAN, Calibration(), {"fold0": {"w": torch.arange(6.0)}}, "# Card\n")
    return folder


def test_reading_previews_what_was_recognised(run):
    said = summary.lines(run, "read", "en")
    assert said == [
        "41 images of 21 patients, layout: class folders",
        "Target: folder",
        "Classes: sick (26), well (14)",  # of 0 to 39, 14 are multiples of three
        "Patients are told apart by folder.",
        "- The moon was full.",
        "Files or series left out: 1. skipped.csv lists them all; the most frequent reasons:",
        "- 1 × empty file (such as b/7.png)",
        f"Written: {Path('my run', 'cohort.json')}",
    ]


@pytest.mark.parametrize(
    ("told", "counted"),
    [
        # Of three cases two are sick, none is well, and of the last that is not known.
        ([Findings({"sick": True, "well": False}), Findings({"sick": True}), Findings({"well": False})], (2, 0)),
        # A case counts once, however many of its boxes are called the same.
        ([(SICK, SICK), (SICK, replace(SICK, label="well")), ()], (2, 1)),
    ],
    ids=["several labels", "boxes"],
)
def test_labels_and_boxes_are_counted_by_the_cases_that_have_them(run, cohort, told, counted):
    cases = tuple(replace(c, target=target) for c, target in zip(cohort.cases, told, strict=False))
    record.write(run / "cohort.json", with_folds(replace(cohort, cases=cases, locked=frozenset(), folds={})))
    said = summary.lines(run, "read", "en")
    assert f"Classes: sick ({counted[0]}), well ({counted[1]})" in said


def test_unknown_patients_are_said_to_be_unknown(run, cohort):
    notes = (UNKNOWN_PATIENTS, "The moon was full.")
    record.write(run / "cohort.json", replace(cohort, patient_key="", notes=notes))
    said = summary.lines(run, "read", "en")
    assert [line for line in said if "atients unknown" in line] == ["patients unknown; intervals optimistic"]
    assert "- The moon was full." in said


def test_inspection_tells_its_warnings_or_that_there_are_none(run):
    assert summary.lines(run, "inspect", "en")[1] == "- 3 images carry no label."
    assert CHINESE.search(summary.lines(run, "inspect", "zh")[1])
    record.write(run / "inspection.json", Inspection("d"))
    assert summary.lines(run, "inspect", "en")[1] == "Nothing to warn of."


def test_plan_gives_every_decision_its_reason_and_the_forecast(run):
    said = summary.lines(run, "plan", "en")
    for name in DECISIONS:
        assert any(line.endswith(f"Because of {name}") for line in said)
    assert "Forecast: 2.0 min, 512 MiB of memory." in said  # 90 s + 30 s


def test_end_quotes_the_locked_part_the_strongest_baseline_the_report_and_the_next_step(run):
    said = summary.lines(run, "report", "en")
    assert said[0] == "Result: AUC 0.900 (95 % interval 0.800–0.950) in 30 patients of the locked part."
    assert "does better" in said[1]
    assert "random forest" in said[1]
    assert said[2] == f"Report: {Path('my run', 'report', 'index.html')} (contains patient images)"
    assert re.search(r"""lucency predict (['"])my run\1 NEW_IMAGES --out predictions""", said[3])
    assert "Research use only" in said[4]


def test_simple_model_that_is_as_good_is_said_plainly(run):
    record.write(run / "evaluation.json", evaluation("no different"))
    assert summary.lines(run, "evaluate", "en")[1].startswith("A simple model is as good")


def test_too_few_patients_for_an_interval_is_said(run):
    record.write(run / "evaluation.json", evaluation(lower=None, upper=None))
    assert "too few for an interval" in summary.lines(run, "report", "en")[0]


@pytest.mark.parametrize("room", ["read", "inspect", "plan", "train", "evaluate", "report"])
def test_every_closing_word_has_its_chinese(run, room):
    said = summary.lines(run, room, "zh")
    assert all(CHINESE.search(line) for line in said if "moon" not in line and "Because" not in line)
    assert not any(re.search(r"[\u4e00-\u9fff] ?[:(]", line) for line in said)


def test_machine_readable_result_grows_with_the_rooms(run):
    assert set(summary.facts(run, "plan")) == {"run", "room", "file"}
    trained = summary.facts(run, "train")
    assert trained["model"]["digest"] == models.load(run).digest
    found = summary.facts(run, "report")
    assert found["report"] == str(run / "report" / "index.html")
    assert (found["task"], found["n_patients"], found["metrics"]) == ("classify", 30, {})


def test_prediction_names_the_table_and_the_folder_of_the_masks(tmp_path):
    classes = [Prediction("a", "m", probabilities={"x": 1.0}, label="x")]
    mask = Image(np.zeros((1, 1, 2, 2), np.uint8), np.eye(4), "labels", "label")
    masks = [Prediction("a", "m", mask=mask)]
    table = str(tmp_path / "predictions.csv")
    assert summary.predicted(classes, tmp_path, "en")[0] == f"Predicted 1 image. The results are in {table}"
    assert summary.predicted(classes * 6, tmp_path, "en")[0].startswith("Predicted 6 images. ")
    assert "Masks" not in summary.predicted(classes, tmp_path, "en")[0]
    assert f"Masks are in {tmp_path}" in summary.predicted(masks, tmp_path, "en")[0]


def test_untouched_model_is_verified(run, lucency):
    assert lucency("verify", run) == 0
    digest = models.load(run).digest
    assert digest in lucency.out
    assert "All 4 files" in lucency.out
    assert lucency("verify", run / "model", "--json") == 0
    assert f'"digest": "{digest}"' in lucency.out


@pytest.mark.parametrize("name", ["plan.json", "calibration.json", "card.md", "fold0.safetensors"])
def test_one_changed_byte_is_found_and_its_file_named(run, lucency, name):
    file = run / "model" / name
    content = bytearray(file.read_bytes())
    content[-3] ^= 1
    file.write_bytes(bytes(content))
    assert lucency("verify", run) == 1
    assert lucency.err.startswith(f"lucency: {name}: File was changed")
    assert lucency.out == ""


def test_missing_file_and_missing_model_are_named(run, lucency, tmp_path):
    (run / "model" / "card.md").unlink()
    assert lucency("verify", run) == 1
    assert "card.md: File of the model is missing" in lucency.err
    assert lucency("verify", tmp_path / "nothing") == 1
    assert "No model here" in lucency.err
