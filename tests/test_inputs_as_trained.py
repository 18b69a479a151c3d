"""New images come to a model as its training images did, whatever is asked of it."""

import ast
from pathlib import Path

import numpy as np
from PIL import Image as Picture

from lucency import record
from lucency.case import pseudonym
from lucency.walk import Passport, Settings, inputs_as_trained
from tiny import plan_for

SOURCE = Path(__file__).resolve().parents[1] / "src" / "lucency"

#: Who may read images without a model: the one function for those with one, image processing, and the demo's truth.
WITHOUT_A_MODEL = {"walk.py", "enhance.py", "apps/demo.py"}


def visits_of_two_patients(folder):
    rng = np.random.default_rng(0)
    lines = ["file,who,day"]
    for name, who, day in (("a0.png", "P", 0), ("a1.png", "P", 90), ("b0.png", "Q", 0)):
        Picture.fromarray(rng.integers(0, 255, (24, 24)).astype(np.uint8)).save(folder / name)
        lines.append(f"{name},{who},{day}")
    (folder / "visits.csv").write_text("\n".join(lines), encoding="utf-8")


def test_visits_and_pseudonyms_are_those_of_training(tmp_path):
    new, run = tmp_path / "new", tmp_path / "run"
    new.mkdir()
    visits_of_two_patients(new)
    record.write(run / "run.json", Passport(str(tmp_path), Settings(), b"salt".hex()))
    plan = plan_for("classify", task_options={"visits": "day", "patient": "who"})
    found = inputs_as_trained(run, plan, new)
    assert {c.id: len(c.visits) for c in found} == {"a1": 2, "b0": 1}
    assert {c.patient for c in found} == {pseudonym(b"salt", "P"), pseudonym(b"salt", "Q")}


def test_a_model_without_its_run_has_no_salt_and_no_visits_to_join(tmp_path):
    visits_of_two_patients(tmp_path)
    found = inputs_as_trained(tmp_path / "model", plan_for("classify"), tmp_path)
    assert [c.id for c in found] == ["a0", "a1", "b0"]
    assert found[0].patient == pseudonym(b"", "case:a0")


def test_nobody_reads_new_images_for_a_model_in_another_way():
    readers = set()
    for path in SOURCE.rglob("*.py"):
        place = path.relative_to(SOURCE).as_posix()
        names = {n.id for n in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(n, ast.Name)}
        if "read_inputs" in names and not place.startswith("read/"):
            readers.add(place)
    assert readers == WITHOUT_A_MODEL
