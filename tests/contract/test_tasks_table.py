"""The READMEs list every task, as the registry has it."""

import runpy
from pathlib import Path
from typing import Any

import pytest

from lucency.tasks import every_task

ROOT = Path(__file__).resolve().parents[2]
TABLE: dict[str, Any] = runpy.run_path(str(ROOT / "benchmarks" / "tasks_table.py"))


@pytest.mark.parametrize(("file", "lang"), TABLE["READMES"].items())
def test_every_task_stands_in_the_readme(file: str, lang: str) -> None:
    text = (ROOT / file).read_text(encoding="utf-8")
    wanted = TABLE["block"](every_task(), lang)
    assert wanted in text, "run: python benchmarks/tasks_table.py"
    assert all(f"`--task {name}`" in wanted for name in every_task())


def test_a_readme_without_its_markers_is_refused() -> None:
    with pytest.raises(SystemExit, match="expected <!-- tasks:begin -->"):
        TABLE["replaced"]("no table here", "| a |", "README.md")


def test_only_what_stands_between_the_markers_is_exchanged() -> None:
    before = f"a\n{TABLE['BEGIN']}\nold\n{TABLE['END']}\nb"
    assert TABLE["replaced"](before, "new", "x") == f"a\n{TABLE['BEGIN']}\nnew\n{TABLE['END']}\nb"
