"""Several labels of one image in a table."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Picture

from lucency.case import Cohort, Findings
from lucency.read import ReadOptions, read


def data(folder: Path, header: str, rows: list[str]) -> Path:
    for number in range(len(rows)):
        array = np.random.default_rng(number).integers(0, 255, (9, 11)).astype(np.uint8)
        Picture.fromarray(array).save(folder / f"c{number:02d}.png")
    lines = [f"file,{header}", *(f"c{n:02d}.png,{row}" for n, row in enumerate(rows))]
    (folder / "list.csv").write_text("\n".join(lines), encoding="utf-8")
    return folder


def known(cohort: Cohort) -> list[dict[str, bool] | None]:
    return [dict(c.target.known) if isinstance(c.target, Findings) else None for c in cohort.cases]


def test_columns_of_yes_and_no_are_labels_and_gaps_are_not_known(tmp_path: Path) -> None:
    rows = ["1,0", "0,", "-1,1", "1,1", ",", *["0,0"] * 15]
    found = read(data(tmp_path, "mass,effusion", rows), ReadOptions(target="mass,effusion"))
    assert found.classes == ("mass", "effusion")
    first = [{"mass": True, "effusion": False}, {"mass": False}, {"effusion": True}, {"mass": True, "effusion": True}]
    assert known(found)[:5] == [*first, None]
    assert any("are not known" in n for n in found.notes)


@pytest.mark.parametrize("separator", ["|", ";", "、"])
def test_a_column_that_lists_labels_is_taken_apart(tmp_path: Path, separator: str) -> None:
    both = f"mass{separator}effusion"
    rows = [both, "mass", "effusion", "No Finding", both, *["mass", "effusion", "none"] * 6]
    found = read(data(tmp_path, "finding", rows), ReadOptions(target="finding"))
    assert found.classes == ("effusion", "mass")
    assert known(found)[:4] == [
        {"effusion": True, "mass": True},
        {"effusion": False, "mass": True},
        {"effusion": True, "mass": False},
        {"effusion": False, "mass": False},
    ]


def test_a_column_of_single_classes_stays_one_of_classes(tmp_path: Path) -> None:
    found = read(data(tmp_path, "finding", ["mass", "effusion"] * 10), ReadOptions(target="finding"))
    assert found.classes == ("effusion", "mass")
    assert all(isinstance(c.target, str) for c in found.cases)


def test_a_time_with_an_event_is_no_pair_of_labels(tmp_path: Path) -> None:
    rows = [f"{10 * (k + 1)},{k % 2}" for k in range(20)]
    found = read(data(tmp_path, "time,event", rows), ReadOptions(target="time,event"))
    assert not any(isinstance(c.target, Findings) for c in found.cases)
    assert all(c.target is not None for c in found.cases)
