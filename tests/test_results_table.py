"""The READMEs' tables say what was recorded, and that the rest was not measured."""

import json
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TABLE = runpy.run_path(str(ROOT / "benchmarks" / "table.py"))

FIT = {
    "quick": False,
    "commit": "abc1234",
    "machine": {"processor": "Some CPU", "accelerator": "", "cores": 2},
    "locked": {"dice": {"value": 0.8912, "lower": 0.8849, "upper": 0.8971, "n": 30, "method": "bootstrap"}},
    "headline": "dice",
    "n_patients_locked": 30,
    "n_patients": {"locked": 30},
    "out_of_fold": {},
    "best_baseline": {"name": "threshold", "dice": {"value": 0.3, "lower": None, "upper": None, "n": 30, "method": ""}},
    "profile_to_report_to_budget": 0.934,
    "memory_actual_to_forecast": None,
    "time_guard": "",
}


def stored(folder, **results):
    for name, result in results.items():
        (folder / f"{name}.json").write_text(json.dumps(result), encoding="utf-8")
    return TABLE["recorded"](folder)


def line(block, *words):
    (found,) = [one for one in block.splitlines() if all(w in one for w in words)]
    return [cell.strip() for cell in found.strip("|").split("|")]


@pytest.mark.parametrize(("lang", "absent"), [("en", "not measured yet"), ("zh", "尚未测量")])
def test_what_was_not_recorded_is_said_to_be_unmeasured(tmp_path, lang, absent):
    block = TABLE["block"](stored(tmp_path), lang)
    rows = [one for one in block.splitlines() if one.startswith("|") and "---" not in one]
    # Eleven fits, three speeds, ten rows of the clinical doors.
    assert sum(absent in one for one in rows) == 11 + 3 + 10
    assert "commit" not in block


def test_a_recorded_fit_stands_in_its_own_row_alone(tmp_path):
    block = TABLE["block"](stored(tmp_path, fit_hippocampus_10=FIT), "en")
    measured = line(block, "hippocampus, MR", "| 10 |")
    assert measured[2:6] == ["Dice 0.891 (0.885–0.897); 30 patients", "intensity threshold: Dice 0.300", "0.93", "–"]
    assert line(block, "hippocampus, MR", "| 30 |")[2] == "not measured yet"
    assert "Some CPU, 2 cores, commit abc1234" in block


def test_a_cross_validated_fit_shows_its_held_out_patients(tmp_path):
    pooled = {"map50": {"value": 0.75, "lower": None, "upper": None, "n": 27, "method": ""}}
    found = FIT | {
        "judged_part": "out-of-fold",
        "out_of_fold": {"out-of-fold": pooled},
        "n_patients": {"out-of-fold": 27},
    }
    block = TABLE["block"](stored(tmp_path, fit_cxr_structures_15=found), "en")
    assert line(block, "chest radiographs", "| 15 |")[2] == "mAP at overlap .5 0.750; out of fold, 27 patients"


def test_a_run_cut_short_says_so(tmp_path):
    block = TABLE["block"](stored(tmp_path, fit_hippocampus_10={**FIT, "time_guard": "shortened"}), "en")
    assert "cut short by the clock" in line(block, "hippocampus, MR", "| 10 |")[2]


def test_a_trial_run_is_no_result(tmp_path):
    assert stored(tmp_path, fit_hippocampus_10={**FIT, "quick": True}) == {}


def test_speeds_name_both_sides_and_the_difference_in_dice(tmp_path):
    shared = {k: FIT[k] for k in ("quick", "commit", "machine")}
    train = {
        **shared,
        "ratios": {"ours bf16 to monai fp32, 2 workers": 1.95, "ours fp32 to monai fp32, 2 workers": 1.1},
        "patches_per_s": {"ours bf16": {"median": 7.2}, "monai fp32, 2 workers": {"median": 3.7}},
    }
    one = {
        "megavoxels_per_s": {"ours": {"median": 8.0}, "monai fp32, 4 windows": {"median": 2.0}},
        "fastest_monai": "monai fp32, 4 windows",
        "ratio": 4.0,
        "dice_difference": -0.0002,
    }
    predict = {**shared, "sets": {"volumes": one, "mosaics": {**one, "ratio": 5.5}}}
    block = TABLE["block"](stored(tmp_path, throughput_train=train, throughput_predict=predict), "en")
    assert line(block, "training, 3-D U-Net")[1:] == ["7.20 (bf16)", "3.70 (fp32, 2 workers)", "1.95 ×"]
    assert line(block, "mosaics")[1:] == ["8.00", "2.00 (fp32, 4 windows)", "5.50 ×; Dice differs by -0.0002"]


def test_only_what_stands_between_the_markers_changes():
    text = "before\n<!-- results:begin -->\nold\n<!-- results:end -->\nafter\n"
    assert TABLE["replaced"](text, "new", "README.md") == (
        "before\n<!-- results:begin -->\nnew\n<!-- results:end -->\nafter\n"
    )
    with pytest.raises(SystemExit, match=r"README\.md: expected"):
        TABLE["replaced"]("no markers", "new", "README.md")


@pytest.mark.parametrize("name", sorted(TABLE["READMES"]))
def test_the_readmes_show_the_records(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    block = TABLE["block"](TABLE["recorded"](TABLE["RESULTS"]), TABLE["READMES"][name])
    message = "out of date: run benchmarks/table.py"
    assert TABLE["replaced"](text, block, name) == text, message


@pytest.mark.parametrize(
    "name", ["README.md", "README.zh.md", "docs/guide.en.md", "docs/guide.zh.md", "benchmarks/README.md"]
)
def test_every_file_that_a_page_links_to_is_there(name):
    page = ROOT / name
    links = [part.split(")")[0].split("#")[0] for part in page.read_text(encoding="utf-8").split("](")[1:]]
    lost = [link for link in links if link and "://" not in link and not (page.parent / link).exists()]
    assert lost == []
