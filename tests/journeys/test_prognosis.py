"""Times with competing events and a treatment column, from the folder to the report and the prediction."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from lucency.apps.cli import app
from lucency.case import Prediction
from lucency.fit import Settings, fit

#: The steps are set, so that the time of a busy machine decides nothing; the image says nothing here.
VALUES = {"schedule.steps": "60", "quality": "off", "task_options.inputs": "clinical", "batch": "32"}


def patients(folder: Path, n: int = 150) -> Path:
    """Patients with an image of noise, two kinds of events and a treatment by lot that halves the hazard of the first.

    ``Given`` follows the age to the letter, so that nobody is comparable.
    """
    rng = np.random.default_rng(1)
    rows = [("file", "time", "event", "age", "Treatment", "Given")]
    for number in range(n):
        age, arm = rng.uniform(40, 80), ("drug", "none")[int(rng.random() < 0.5)]
        first = rng.exponential(900 / np.exp(0.06 * (age - 60)) * (2.5 if arm == "drug" else 1.0))
        second, seen = rng.exponential(2500), rng.uniform(400, 2000)
        time = min(first, second, seen)
        event = 1 if time == first else 2 if time == second else 0
        np.savez(folder / f"p{number:03d}.npz", image=rng.normal(100, 20, (16, 16)).astype(np.float32))
        given = "new" if age > 60 else "old"
        rows.append((f"p{number:03d}.npz", f"{time:.1f}", str(event), f"{age:.1f}", arm, given))
    with (folder / "patients.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    return folder


@pytest.mark.journey
def test_competing_events_and_a_treatment_by_lot_reach_the_report_and_the_prediction(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    data = patients(tmp_path / "data")
    asked = Settings(target="time,event", minutes=0.5, values=VALUES | {"task_options.horizon_days": "730"})
    run = fit(data, tmp_path / "run", settings=asked)
    assert run.plan.task_options["causes"] == 2
    assert run.plan.task_options["treatment"] == "Treatment"
    assert "taken for a treatment by its name" in run.plan.reasons["treatment"]
    outside = run.metrics["parts"]["out-of-fold"]
    assert outside["metrics"]["uno_c"]["lower"] is not None
    assert {"Kaplan-Meier", "Cox on clinical columns"} <= set(outside["baselines"])
    told = run.metrics["treatment"]
    # By lot: nearly everybody could have had either, and less of the event comes under the drug.
    assert told["n_comparable"] >= 0.9 * told["n_patients"]
    assert told["counts"].keys() == {"drug", "none"}
    values = list(told["counts"])
    for kind in ("model", "Cox on clinical columns"):
        first, second = (told[kind][v] for v in values)
        gap = second["difference"]
        assert gap["value"] * (1 if values[1] == "drug" else -1) > 0
        assert gap["lower"] < gap["value"] < gap["upper"]
        assert gap["value"] == pytest.approx(second["survival"]["value"] - first["survival"]["value"])
    page = run.report.read_text(encoding="utf-8")
    assert "It is no ground to choose a treatment." in page
    lines = (run.report.parent / "treatment.csv").read_text(encoding="utf-8").splitlines()
    assert len(lines) - 1 == told["n_comparable"]
    # The probabilities of both kinds of events together leave room for neither.
    found: list[Prediction] = run.predict(data, tmp_path / "out")
    assert all(p.course is not None and set(p.course.incidence) == {"1", "2"} for p in found)
    assert all(p.course.incidence["1"][-1] + p.course.incidence["2"][-1] <= 1 + 1e-9 for p in found if p.course)

    # Without the table the clinical columns are not known, and each case says so.
    (data / "patients.csv").unlink()
    run.predict(data, tmp_path / "bare")
    text = (tmp_path / "bare" / "notes.txt").read_text(encoding="utf-8")
    assert "150 of 150 cases have no clinical columns" in text


@pytest.mark.journey
def test_no_effect_is_printed_where_nobody_could_have_had_either(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    data = patients(tmp_path / "data")
    values = VALUES | {"treatment": "Given"}
    run = fit(data, tmp_path / "run", settings=Settings(target="time,event", minutes=0.5, lang="zh", values=values))
    told = run.metrics["treatment"]
    assert told["model"] == told["Cox on clinical columns"] == {}
    assert "had, by the other columns, a chance of 10%" in told["refused"]
    page = run.report.read_text(encoding="utf-8")
    assert "未列出 Given 其他取值下的预测" in page
    assert "天内的预测风险：" in page
    # These stood in English in the middle of a Chinese report.
    assert not {w for w in ("Cox on clinical columns", "paired patient bootstrap", "training cases") if w in page}
    assert not (run.report.parent / "treatment.csv").exists()


def refused(folder: Path, rows: list[tuple[str, ...]]) -> tuple[int, str]:
    """Return the exit status and the message of a fit on a table of times and events."""
    rng = np.random.default_rng(0)
    for number in range(len(rows)):
        np.savez(folder / f"p{number:03d}.npz", image=rng.normal(100, 20, (16, 16)).astype(np.float32))
    with (folder / "patients.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(
            [("file", "SurvivalTime", "event"), *((f"p{n:03d}.npz", *r) for n, r in enumerate(rows))]
        )
    words = ["fit", str(folder), "--out", str(folder.parent / "run"), "--target", "time,event", "--minutes", "0.5"]
    said = CliRunner().invoke(app, [*words, "--set", "quality=off"])
    return said.exit_code, " ".join(said.stderr.split())


def test_data_of_which_all_are_censored_are_refused_with_status_3(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    status, said = refused(tmp_path / "data", [(str(100 + n), "0") for n in range(60)])
    assert status == 3
    assert "all are censored" in said
    assert "check that 1 means the event" in said


@pytest.mark.parametrize(
    ("rows", "named"),
    [
        ([("-5", "1")] * 60, "60 cases have a negative time"),
        ([("", "1")] * 60, "60 cases have an event without a time"),
    ],
)
def test_times_that_cannot_be_are_counted_by_their_lines_and_refused_where_none_is_left(
    tmp_path: Path, rows: list[tuple[str, ...]], named: str
) -> None:
    (tmp_path / "data").mkdir()
    status, said = refused(tmp_path / "data", rows)
    assert status == 3
    assert named in said
    assert "No row has a time with an event" in said


def test_single_rows_without_a_time_or_with_a_negative_one_are_named_and_the_rest_is_read(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    folder = tmp_path / "data"
    rows = [(str(50 + n), str(n % 2)) for n in range(58)] + [("-3", "1"), ("", "1")]
    status, said = refused(folder, [*rows[:-2], *rows[-2:]])
    cohort = json.loads((tmp_path / "run" / "cohort.json").read_text(encoding="utf-8"))
    notes = " ".join(cohort["notes"])
    assert "1 cases have a negative time (lines 60 of patients.csv)" in notes
    assert "1 cases have an event without a time (lines 61 of patients.csv)" in notes
    assert sum(c["target"] is not None for c in cohort["cases"]) == 58
    assert status == 0 or "Class" not in said
