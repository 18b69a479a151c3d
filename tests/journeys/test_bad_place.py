"""A disk that is full, a folder that cannot be written, a model that was altered, an image it was not made for."""

import csv
import errno
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lucency import fit as walk
from lucency import record
from lucency.errors import DataError, ModelError, OutputError
from lucency.fit import predict_folder

STORED = Path(__file__).resolve().parents[1] / "data" / "model-v0.1"


# --- where results cannot be written --------------------------------------------------------------------------------


@pytest.mark.parametrize("room", ["read", "inspect", "profile", "prepare"])
def test_a_disk_that_fills_up_in_a_room_is_said_and_the_rooms_before_it_are_kept(bench, monkeypatch, room):
    bench.classes()
    before = bench.prints()
    last = {"read": "", "inspect": "read", "profile": "inspect", "prepare": "profile"}[room]
    if last:
        bench.walk(last)
    kept = {p.name: p.read_bytes() for p in bench.out.glob("*.json") if p.name not in ("run.json", "rooms.json")}

    def full(handle):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        refused = bench.refused(OutputError, "Cannot write", "free space or choose a writable folder", upto=room)
    assert refused.exit_status == 1
    assert bench.prints() == before
    assert {n: (bench.out / n).read_bytes() for n in kept} == kept
    assert not list(bench.out.rglob(".writing-*"))
    bench.walk(room if room != "prepare" else "profile")


def test_a_run_folder_that_cannot_be_made(bench, monkeypatch):
    bench.classes()

    def forbidden(self, *arguments, **options):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(walk.Path, "mkdir", forbidden)
    refused = bench.refused(OutputError, "run: Cannot write", "choose a writable folder with --out")
    assert refused.exit_status == 1
    assert not bench.out.exists()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit on the size of files")
def test_the_command_line_says_a_file_that_cannot_grow_with_status_1(bench):
    bench.classes(40)
    # 2 KiB: the first long file of the walk breaks off, as on a full disk.
    program = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2048, 2048)); "
        "sys.argv = ['lucency', 'inspect', 'data', '--out', 'run']; from lucency.apps.cli import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-B", "-c", program],
        capture_output=True,
        text=True,
        encoding="utf-8",
        cwd=bench.data.parent,
        timeout=300,
        check=False,
    )
    assert done.returncode == 1
    assert "cohort.json: Cannot write" in done.stderr
    assert "free space" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (bench.out / "cohort.json").exists()


# --- models and the images they are given ---------------------------------------------------------------------------


@pytest.fixture
def model(tmp_path):
    """A copy of the stored model that tells 2-D images of one channel apart."""
    shutil.copytree(STORED / "classify", tmp_path / "model")
    return tmp_path / "model"


def sure(model, bench):
    """What is refused below goes through with the sound model and a sound image."""
    bench.picture("sound.png")
    assert len(predict_folder(model, bench.data, bench.data.parent / "sound")) == 1
    (bench.data / "sound.png").unlink()


@pytest.mark.parametrize("name", ["fold0.safetensors", "plan.json", "calibration.json", "card.md"])
def test_a_model_with_one_changed_byte(model, bench, name):
    sure(model, bench)
    content = bytearray((model / name).read_bytes())
    content[len(content) // 2] ^= 1
    (model / name).write_bytes(content)
    bench.picture("sound.png")
    with pytest.raises(ModelError, match=rf"{name}: File was changed after training.*do not use this copy") as caught:
        predict_folder(model, bench.data, bench.out)
    assert caught.value.exit_status == 1
    assert not bench.out.exists()


def colour(bench):
    bench.picture("given.png", bench.rng.integers(0, 255, (16, 16, 3), dtype=np.uint8))


def volume(bench):
    bench.volume("given.nii.gz")


@pytest.mark.parametrize(
    ("give", "words"),
    [
        (colour, r"given\.png: 3 channels.*Expected: 1, as in training.*What to do: \w+"),
        (volume, r"given\.nii\.gz: A volume of 10 slices.*single images, as in training.*What to do: \w+"),
    ],
    ids=["channels", "volume"],
)
def test_an_image_that_the_model_was_not_made_for(model, bench, give, words):
    sure(model, bench)
    give(bench)
    before = bench.prints()
    with pytest.raises(DataError, match=words) as caught:
        predict_folder(model, bench.data, bench.out)
    assert caught.value.exit_status == 3
    assert str(bench.data) not in str(caught.value)
    assert bench.prints() == before


def test_one_truncated_picture_stopped_the_prediction_of_the_whole_folder(model, bench):
    for name in ("a", "b", "c"):
        bench.picture(f"{name}.png")
    broken = bench.data / "b.png"
    broken.write_bytes(broken.read_bytes()[:150])
    found = predict_folder(model, bench.data, bench.out)
    assert [p.case for p in found] == ["a", "c"]
    with (bench.out / "predictions.csv").open(encoding="utf-8", newline="") as file:
        assert [row["case"] for row in csv.DictReader(file)] == ["a", "c"]
    with (bench.out / "skipped.csv").open(encoding="utf-8", newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["path"] == "b.png"
    assert "Cannot be read" in row["reason"]


def test_a_folder_of_truncated_pictures_is_refused_and_listed(model, bench):
    for name in ("a", "b"):
        bench.picture(f"{name}.png")
        (bench.data / f"{name}.png").write_bytes((bench.data / f"{name}.png").read_bytes()[:150])
    with pytest.raises(DataError, match=r"a\.png: None of 2 images can be used.*skipped\.csv") as caught:
        predict_folder(model, bench.data, bench.out)
    assert caught.value.exit_status == 3
    assert len((bench.out / "skipped.csv").read_text("utf-8").splitlines()) == 3
    assert not (bench.out / "predictions.csv").exists()


def test_a_series_of_another_modality(model, bench):
    from lucency.image import Image, diagonal_affine
    from lucency.write.dicom_series import Identity, write_series

    plan = record.read_object(model / "plan.json")
    plan["task_options"]["modality"] = "MR"
    record.write(model / "plan.json", plan)
    manifest = record.read_object(model / "manifest.json")
    manifest["files"]["plan.json"] = hashlib.sha256((model / "plan.json").read_bytes()).hexdigest()
    record.write(model / "manifest.json", manifest)
    slab = Image(bench.rng.integers(-900, 200, (1, 1, 16, 16)).astype(np.int16), diagonal_affine((2, 1, 1)), unit="HU")
    write_series(bench.data / "scan", slab, Identity(1, 1, 50, "F"))
    with pytest.raises(DataError, match=r"scan/.*: The image is CT.*Expected: MR.*trained on this modality"):
        predict_folder(model, bench.data, bench.out)
