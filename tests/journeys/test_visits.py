"""Dated images of patients from the folder to a prediction: classes, numbers and times with events."""

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Picture

from lucency.fit import Settings, fit

#: The steps are set, so that the time of a busy machine decides nothing.
VALUES = {
    "visits": "day",
    "schedule.steps": "3",
    "folds": "[0]",
    "quality": "off",
    "controls": "{}",
    "batch": "4",
}


def visits(folder: Path, n: int = 60) -> Path:
    """Patients with one to four pictures in which a disc grows from visit to visit, quicker in some."""
    rng = np.random.default_rng(0)
    rows = [("file", "patient", "day", "grade", "size", "time", "event")]
    j, i = np.mgrid[:24, :24]
    for number in range(n):
        pace = 1 + number % 2
        for visit in range(1 + number % 4):
            radius = 3 + pace * visit
            shown = 60 + 120 * ((j - 12) ** 2 + (i - 12) ** 2 < radius**2) + rng.normal(0, 8, (24, 24))
            name = f"p{number:02d}_{3 - visit}.png"
            Picture.fromarray(shown.clip(0, 255).astype(np.uint8)).save(folder / name)
            left = 900 / pace - 90 * visit + 7 * (number % 9)
            word = ("slow", "quick")[number % 2]
            rows.append(
                (name, f"P{number:02d}", 90 * visit, word, f"{radius + number / 100:.2f}", left, int(number % 3 > 0))
            )
    with (folder / "visits.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    return folder


@pytest.mark.journey
@pytest.mark.parametrize(
    ("target", "head"),
    [
        ("grade", "case,label,p_quick,p_slow"),
        ("size", "case,value,lower,upper"),
        ("time,event", "case,risk,median_days"),
    ],
)
def test_visits_become_a_model_a_report_and_one_prediction_a_patient(tmp_path: Path, target: str, head: str) -> None:
    (tmp_path / "data").mkdir()
    data = visits(tmp_path / "data")
    values = VALUES | ({"task_options.inputs": "image"} if "," in target else {})
    run = fit(data, tmp_path / "run", settings=Settings(target=target, minutes=0.5, values=values))
    assert run.plan.network == "recurrent"
    assert run.plan.grid.mode == "frames"
    assert run.plan.task_options["visits"] == "day"
    assert "60 of 60" not in run.plan.reasons["network"]  # the locked part is not looked at
    assert "are visits of a patient" in run.plan.reasons["network"]
    text = run.report.read_text(encoding="utf-8")
    assert "were put together as visits: 1 to 4 a sequence" in text
    # The last visit names the case.
    found = run.predict(data, tmp_path / "out")
    assert len(found) == 60
    assert {f.case for f in found} == {f"p{n:02d}_{3 - n % 4}" for n in range(60)}
    assert (tmp_path / "out" / "predictions.csv").read_text(encoding="utf-8").startswith(head)
