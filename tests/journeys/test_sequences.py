"""Clips from the folder to a prediction; on real ultrasound the refusal and its remedy."""

import os
from pathlib import Path

import numpy as np
import pytest

from lucency import record
from lucency.case import Cohort
from lucency.errors import DataError
from lucency.fit import Settings, fit

DATA = Path(os.environ.get("LUCENCY_TEST_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))


def clips(folder: Path, n: int = 48) -> Path:
    """Clips of one to eight frames in which a bar lies or stands."""
    rng = np.random.default_rng(0)
    lines = ["clip,finding"]
    for number in range(n):
        frame = np.zeros((32, 32))
        frame[(slice(12, 20), slice(4, 28)) if number % 2 else (slice(4, 28), slice(12, 20))] = 120
        frames = frame[None] + rng.normal(60, 12, (1 + number % 8, 32, 32))
        np.savez(folder / f"c{number:02d}.npz", frames=frames.clip(0, 255).astype(np.uint8))
        lines.append(f"c{number:02d},{'lies' if number % 2 else 'stands'}")
    (folder / "index.csv").write_text("\n".join(lines), encoding="utf-8")
    return folder


@pytest.mark.journey
def test_clips_of_all_lengths_become_a_model_with_controls_in_its_report(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    data = clips(tmp_path / "data")
    # The steps are set, so that the time of a busy machine decides nothing.
    values = {"schedule.steps": "12", "folds": "[0]", "quality": "off", "mixed_patients": "keep"}
    run = fit(data, tmp_path / "run", settings=Settings(target="finding", minutes=0.5, values=values))
    assert run.plan.network == "recurrent"
    assert run.plan.grid.mode == "frames"
    assert set(run.plan.controls) == {"mean over frames", "attention over frames", "3-D network"}
    beside = run.metrics["parts"]["out-of-fold"]["baselines"]
    assert set(run.plan.controls) < set(beside)
    text = run.report.read_text(encoding="utf-8")
    assert "same encoder, mean over frames" in text
    found = run.predict(data, tmp_path / "out")
    assert len(found) == 48
    assert (tmp_path / "out" / "predictions.csv").read_text(encoding="utf-8").startswith("case,label,p_lies,p_stands")


@pytest.mark.journey
@pytest.mark.parametrize(
    ("target", "head"), [("speed", "case,value,lower,upper"), ("time,event", "case,risk,median_days")]
)
def test_clips_give_numbers_and_times_to_an_event_too(tmp_path: Path, target: str, head: str) -> None:
    (tmp_path / "data").mkdir()
    data = clips(tmp_path / "data", 60)
    rows = [f"c{n:02d},{n % 7 + n / 100:.2f},{200 + 31 * (n % 17)},{int(n % 3 > 0)}" for n in range(60)]
    (data / "index.csv").write_text("\n".join(["clip,speed,time,event", *rows]), encoding="utf-8")
    values = {"schedule.steps": "3", "folds": "[0]", "quality": "off", "controls": '{"mean over frames": 3}'}
    run = fit(data, tmp_path / "run", settings=Settings(target=target, minutes=0.5, values=values))
    assert run.plan.network == "recurrent"
    part = run.metrics["parts"]["out-of-fold"]
    assert "mean over frames" in part["baselines"]
    assert part["baselines"]["mean over frames"]["difference"]["value"] is not None
    # Clips of one frame are among them, and are named.
    assert "sequences have a single frame" in run.report.read_text(encoding="utf-8")
    run.predict(data, tmp_path / "out")
    assert (tmp_path / "out" / "predictions.csv").read_text(encoding="utf-8").startswith(head)


@pytest.mark.journey
@pytest.mark.skipif(not (DATA / "lus_video").exists(), reason="no real data: set LUCENCY_TEST_DATA")
def test_a_class_of_three_clips_is_refused_with_what_to_type(tmp_path: Path) -> None:
    asked = Settings(target="label", patient="patient")
    with pytest.raises(DataError, match=r"Class 'viral' has \d patients?.*--set drop_classes=viral"):
        fit(DATA / "lus_video", tmp_path / "run", settings=asked, upto="profile")
    dropped = Settings(target="label", patient="patient", values={"drop_classes": "viral"})
    fit(DATA / "lus_video", tmp_path / "other", settings=dropped, upto="profile")
    cohort = record.read(Cohort, tmp_path / "other" / "cohort.json")
    assert cohort.classes == ("covid", "pneumonia", "regular")
    reasons = set(cohort.left_out.values())
    assert reasons == {"class 'viral' is dropped", "the patient has images of two classes"}
