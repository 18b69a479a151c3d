"""``lucency deidentify`` and ``lucency pseudonyms`` as a hospital engineer meets them."""

import json

import planted
import pytest
from typer.testing import CliRunner

from lucency.apps.cli import app


def run(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


def test_clean_output_exits_with_0_and_says_what_was_done(room, image):
    room.put(image)
    said = run("deidentify", room.src, room.dst, "--key", room.key)
    assert said.exit_code == 0, said.output
    assert "1 written" in said.output
    assert "nothing is left" in said.output
    assert "A new key was made" in said.output
    assert "mithson" not in said.output


def test_json_and_a_finding_exit_with_1(room, image):
    room.put(image)
    run("deidentify", room.src, room.dst, "--key", room.key)
    (room.dst / "letter.txt").write_text("x")
    said = run("deidentify", room.src, room.dst, "--key", room.key, "--json")
    assert said.exit_code == 1
    result = json.loads(said.stdout.strip().splitlines()[-1])
    assert result["clean"] is False
    assert result["exit_status"] == 1
    assert result["actions"] == {"written": 1}


@pytest.mark.parametrize(
    "more", [["--dates", "tomorrow"], ["--keep", "names"], ["--clean", "faces"], ["--profile", "x"],
             ["--keep", "full-dates", "--dates", "shift"]],
)  # fmt: skip
def test_wrong_use_exits_with_2_and_writes_nothing(room, image, more):
    room.put(image)
    assert run("deidentify", room.src, room.dst, "--key", room.key, *more).exit_code == 2
    assert not room.dst.exists()
    assert not room.key.exists()


def test_options_reach_the_engine(room, image):
    image.PatientWeight = "70"
    room.put(image)
    said = run(
        "deidentify", room.src, room.dst, "--key", room.key, "--profile", "basic", "--keep", "patient-characteristics"
    )
    assert said.exit_code == 0, said.output
    (after,) = room.cleaned()
    assert after.PatientWeight == 70
    assert after.StudyDate == ""


def test_pseudonym_is_looked_up_with_the_key(room, image):
    room.put(image)
    run("deidentify", room.src, room.dst, "--key", room.key)
    (after,) = room.cleaned()
    said = run("pseudonyms", "--key", room.key, after.PatientID)
    assert planted.NUMBER in said.output
    assert run("pseudonyms", "--key", room.key, "P000").exit_code == 2
    assert json.loads(run("pseudonyms", "--key", room.key, "--json").stdout)["patients"]
