"""``lucency enhance``: the same kind out, nothing written over, every file accounted for."""

import json

import numpy as np
import pytest
from PIL import Image as Picture
from typer.testing import CliRunner

import lucency
from lucency.apps.cli import app
from lucency.filters import FILTERS
from lucency.image import Image
from lucency.read import load, read_inputs
from lucency.write.nifti import write_nifti

AFFINE = np.array([[0, 0.1, 0.8, -20.0], [0.2, 0.8, -0.1, 5.0], [2.0, -0.05, 0, 30.0], [0, 0, 0, 1.0]])


@pytest.fixture
def folder(tmp_path):
    """A grey picture of 8 bits, one of 16, a coloured one and a volume."""
    rng = np.random.default_rng(0)
    grey = np.clip(rng.normal(90, 15, (40, 48)) + 80 * (np.arange(48) > 20), 0, 255)
    src = tmp_path / "src"
    src.mkdir()
    Picture.fromarray(grey.astype(np.uint8)).save(src / "eight.png")
    Picture.fromarray((grey * 200).astype(np.uint16)).save(src / "sixteen.png")
    Picture.fromarray(np.stack([grey, grey / 2, 255 - grey], -1).astype(np.uint8)).save(src / "colour.png")
    write_nifti(src / "volume.nii.gz", Image(rng.normal(0, 50, (1, 6, 20, 24)).astype(np.int16), AFFINE))
    return src


def run(*words):
    return CliRunner().invoke(app, ["enhance", *map(str, words)])


def test_same_kind_comes_out_with_depth_and_place(folder, tmp_path):
    out = tmp_path / "out"
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    done = run(folder, "--out", out, "--filter", "sharpen", "--json")
    assert done.exit_code == 0, done.output
    assert {p.name for p in out.iterdir()} == {
        *("eight.png", "sixteen.png", "colour.png", "volume.nii.gz", "enhanced.json", "README.txt")
    }
    for name, mode in (("eight.png", "L"), ("colour.png", "RGB")):
        with Picture.open(out / name) as picture:
            assert picture.mode == mode
    assert load(read_inputs(out / "sixteen.png")[0].sources[0]).array.dtype == np.uint16
    volume, source = (load(read_inputs(f / "volume.nii.gz")[0].sources[0]) for f in (out, folder))
    assert volume.affine == pytest.approx(source.affine, abs=1e-5)
    assert volume.array.dtype == np.int16
    assert not np.array_equal(volume.array, source.array)
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before
    assert "Research use only" in (out / "README.txt").read_text("utf-8")


def test_chain_settings_and_provenance(folder, tmp_path):
    out = tmp_path / "out"
    words = ("--filter", "denoise", "--filter", "crop", "--set", "crop.margin=2", "--set", "strength=0.5")
    done = run(folder / "volume.nii.gz", "--out", out, *words)
    assert done.exit_code == 0, done.output
    said = json.loads((out / "enhanced.json").read_text("utf-8"))
    assert [s["filter"] for s in said["steps"]] == ["denoise", "crop"]
    assert said["steps"][0]["settings"]["strength"] == 0.5
    assert said["steps"][1]["settings"] == {"margin": 2.0}
    assert said["files"] == {"volume.nii.gz": "volume.nii.gz"}
    assert said["lucency"] == lucency.__version__


def test_a_source_is_never_written_over(folder):
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    done = run(folder, "--out", folder, "--filter", "sharpen")
    assert done.exit_code == 2
    assert "take the place of its source" in done.output
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before


def test_one_folder_holds_one_way_of_filtering(folder, tmp_path):
    assert run(folder / "eight.png", "--out", tmp_path / "out", "--filter", "sharpen").exit_code == 0
    assert run(folder / "colour.png", "--out", tmp_path / "out", "--filter", "sharpen").exit_code == 0
    files = json.loads((tmp_path / "out" / "enhanced.json").read_text("utf-8"))["files"]
    assert sorted(files) == ["colour.png", "eight.png"]
    done = run(folder / "eight.png", "--out", tmp_path / "out", "--filter", "clahe")
    assert done.exit_code == 2
    assert "other filters or settings" in done.output


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--filter", "sharpn"), "did you mean 'sharpen'"),
        (("--filter", "sharpen", "--set", "amout=1"), "did you mean 'amount'"),
        (("--filter", "sharpen", "--set", "clahe.limit=1"), "has no setting"),
        (("--filter", "sharpen", "--set", "amount=x"), "a number"),
        ((), "No filter"),
    ],
)
def test_wrong_use_is_refused_before_anything_is_written(folder, tmp_path, words, said):
    done = run(folder, "--out", tmp_path / "out", *words)
    assert done.exit_code == 2
    assert said in done.output
    assert not (tmp_path / "out").exists()


def test_list_names_every_filter():
    done = run("--list")
    assert done.exit_code == 0
    assert all(name in done.output for name in FILTERS)


def test_unreadable_file_is_skipped_and_counted(folder, tmp_path):
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    done = run(folder, "--out", tmp_path / "out", "--filter", "sharpen", "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["skipped"] == 1


def test_python_mirrors_the_command(folder, tmp_path):
    made = lucency.enhance(folder / "eight.png", tmp_path / "out", "window", settings={"centre": 128, "width": 100})
    assert dict(made.files) == {"eight.png": "eight.png"}
    with Picture.open(tmp_path / "out" / "eight.png") as picture:
        assert np.asarray(picture).max() == 255
