import json
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

import tiny
from lucency import model as models
from lucency import predict as rooms
from lucency import record
from lucency.calibration import Calibration
from lucency.case import Case, Source
from lucency.errors import LucencyError, ModelError

STORED = Path(__file__).parent / "data" / "model-v0.1"


@pytest.fixture
def folder(tmp_path):
    plan = tiny.plan_for("classify", folds=(0, 2))
    weights = {f"fold{n}": tiny.network_of(plan, seed=n).state_dict() for n in plan.folds}
    models.save(tmp_path / "model", plan, Calibration(1.5, (), (0.4,)), weights, "# Card\n")
    return tmp_path / "model"


def test_a_model_comes_back_as_it_was_saved(folder):
    model = models.load(folder)
    plan = tiny.plan_for("classify", folds=(0, 2))
    assert record.to_json(model.plan) == record.to_json(plan)
    assert model.calibration == Calibration(1.5, (), (0.4,))
    assert model.members == ("fold0", "fold2")
    for number in (0, 2):
        state = tiny.network_of(plan, seed=number).state_dict()
        found = model.weights(f"fold{number}")
        assert list(found) == sorted(state) or set(found) == set(state)
        assert all(torch.equal(found[k], state[k]) for k in state)


def test_a_run_is_loaded_by_the_model_in_it(folder):
    assert models.load(folder.parent).digest == models.load(folder).digest


@pytest.mark.parametrize("name", ["plan.json", "calibration.json", "card.md", "fold0.safetensors", "fold2.safetensors"])
def test_one_changed_byte_is_refused_and_the_file_named(folder, name):
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(ModelError, match=rf"{name}: File was changed after training.*do not use this copy") as error:
        models.load(folder)
    assert error.value.exit_status == 1
    assert str(folder.parent) not in str(error.value)


@pytest.mark.parametrize("name", ["plan.json", "calibration.json", "card.md", "fold2.safetensors"])
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(ModelError, match=rf"{name}: File of the model is missing"):
        models.load(folder)


def test_no_manifest_no_model(folder):
    (folder / "manifest.json").unlink()
    with pytest.raises(ModelError, match=r"No model here"):
        models.load(folder)


def changed(folder, change):
    manifest = json.loads((folder / "manifest.json").read_text())
    change(manifest)
    (folder / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize("name", ["plan.json", "calibration.json", "card.md"])
def test_a_file_taken_off_the_manifest_is_not_loaded_unchecked(folder, name):
    changed(folder, lambda m: m["files"].pop(name))
    with pytest.raises(ModelError, match=rf"manifest does not list {name}"):
        models.load(folder)


def test_a_manifest_without_weights_is_refused(folder):
    changed(folder, lambda m: [m["files"].pop(n) for n in list(m["files"]) if n.startswith("fold")])
    with pytest.raises(ModelError, match=r"does not list weights"):
        models.load(folder)


@pytest.mark.parametrize("name", ["../x.safetensors", "sub/x.safetensors", "/etc/hostname"])
def test_a_manifest_that_names_a_file_elsewhere_is_refused(folder, name):
    (folder.parent / "x.safetensors").write_bytes((folder / "fold0.safetensors").read_bytes())
    changed(folder, lambda m: m["files"].update({name: m["files"]["fold0.safetensors"]}))
    with pytest.raises(ModelError, match=r"File of the model is missing"):
        models.load(folder)


@pytest.mark.parametrize("text", ["[]", "{", '{"files": 3}', "{}", '{"schema": "x", "files": {}}', "\xff"])
def test_a_manifest_that_is_none_is_refused(folder, text):
    (folder / "manifest.json").write_text(text, encoding="latin-1")
    with pytest.raises(ModelError, match=r"manifest\.json"):
        models.load(folder)


@pytest.mark.parametrize("name", ["manifest.json", "plan.json"])
def test_a_later_schema_asks_for_a_newer_program(folder, name):
    payload = json.loads((folder / name).read_text()) | {"schema": record.SCHEMA + 1}
    (folder / name).write_text(json.dumps(payload))
    if name != "manifest.json":
        changed(folder, lambda m: m["files"].update({name: models._sha256(folder / name)}))
    with pytest.raises(ModelError, match=rf"{name}: Written in schema 2.*newer lucency"):
        models.load(folder)


def test_weights_of_another_format_are_refused(folder, tmp_path):
    torch.save({"a": torch.ones(2)}, tmp_path / "a.pt")
    for read in (models.load_weights, models.load_facts):
        with pytest.raises(ModelError, match=r"a\.pt: Weights cannot be read"):
            read(tmp_path / "a.pt")


def test_no_pickle_is_inside_and_no_patient(folder):
    for path in folder.iterdir():
        content = path.read_bytes()
        assert not zipfile.is_zipfile(path)
        assert b"\x80\x02" not in content[:2]
        assert b"\x80\x04" not in content[:2]
        if path.suffix == ".safetensors":
            # Eight bytes of length, then JSON: nothing that could run.
            length = int.from_bytes(content[:8], "little")
            header = json.loads(content[8 : 8 + length])
            assert all(set(v) == {"dtype", "shape", "data_offsets"} for k, v in header.items() if k != "__metadata__")
        else:
            content.decode("utf-8")


def test_loading_runs_nothing_and_opens_nothing_else(folder, monkeypatch):
    """An audit hook would see code compiled or run, a module imported, a process started."""
    models.load(folder)  # what is imported on first use is imported now
    seen = []
    active = [True]

    def hook(event, args):
        if active[0] and event in {"compile", "exec", "import", "pickle.find_class", "subprocess.Popen", "os.system"}:
            seen.append((event, args[:1]))
        if active[0] and event == "open" and isinstance(args[0], str | Path):
            seen.append(("open", Path(args[0]))) if Path(args[0]).parent != folder else None

    sys.addaudithook(hook)
    model = models.load(folder)
    model.weights("fold0")
    active[0] = False
    assert seen == []


def test_digest_tells_models_apart_but_not_cards(folder):
    digest = models.load(folder).digest
    assert models.replace_card(folder, "# Another card\n").digest == digest
    assert (folder / "card.md").read_text() == "# Another card\n"
    plan = tiny.plan_for("classify")
    other = models.save(folder.parent / "b", plan, Calibration(), {"fold0": tiny.network_of(plan).state_dict()}, "c")
    assert other.digest != digest


def test_saved_again_with_fewer_members_nothing_of_the_old_model_stays(folder):
    plan = tiny.plan_for("classify")
    model = models.save(folder, plan, Calibration(), {"fold0": tiny.network_of(plan).state_dict()}, "c")
    assert model.members == ("fold0",)
    assert {p.name for p in folder.iterdir()} == {"manifest.json", "fold0.safetensors", *models.PARTS}


def test_a_save_that_breaks_off_leaves_no_model_that_loads(folder, monkeypatch):
    def broken(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(models, "save_weights", broken)
    with pytest.raises(OSError, match="No space"):
        models.save(folder, tiny.plan_for("classify"), Calibration(), {"fold0": {}}, "c")
    with pytest.raises(LucencyError, match=r"No model here"):
        models.load(folder)


def test_stored_model_of_version_0_1_still_predicts_what_it_did(tmp_path):
    """Made once by data/make_model.py; later versions must read it and come to the same numbers."""
    assert sum(p.stat().st_size for p in STORED.rglob("*") if p.is_file()) < 60_000
    recorded = record.read_object(STORED / "recorded.json")
    arrays = np.load(STORED / "recorded.npz")
    for name in ("classify", "segment"):
        model = models.load(STORED / name)
        assert model.digest == recorded[name]["digest"]
        np.save(tmp_path / f"{name}.npy", arrays[f"{name}_image"])
        case = Case("a", "a", {"image": (Source((f"{name}.npy",), str(tmp_path), "npy"),)}, None)
        (found,) = rooms.predict(model, [case])
        if name == "classify":
            assert found.label == recorded[name]["label"]
            assert found.probabilities == pytest.approx(recorded[name]["probabilities"], abs=1e-5)
        else:
            expected = arrays["segment_mask"]
            assert 0 < (expected == 200).mean() < 1
            assert (found.mask.array[0] == expected).mean() > 0.999
        assert found.doubt == pytest.approx(recorded[name]["doubt"], abs=1e-4)
