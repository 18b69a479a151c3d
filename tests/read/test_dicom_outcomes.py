"""Every odd DICOM file at hand, by name, with its decided outcome: an image, left out as what it is, or refused.

``outcomes/*.toml`` list them. A file that is not listed fails: nothing is accepted that nobody has looked at. Run this
file as a program to print the outcomes of a folder in the form of the lists.
"""

import sys
import tomllib
from collections import Counter
from pathlib import Path

import pydicom
import pytest

from lucency.errors import DataError
from lucency.read import dicom, load
from lucency.read.formats import completed
from lucency.read.kinds import NO_SIZE, kind_of
from lucency.read.layout import Tree, tree_of

LISTS = Path(__file__).parent / "outcomes"


def said(sentence: str) -> str:
    """A refusal without what to do, which the tests of its own trap look at."""
    return sentence.split(" Expected:", maxsplit=1)[0].split(" What to do:", maxsplit=1)[0].rstrip(".")


def outcome(tree: Tree) -> str:
    """What becomes of the files of a tree, as one line."""
    found: list[str] = []
    for unit in tree.units:
        try:
            image = load(completed(unit.source))
        except DataError as error:
            found.append(f"refused: {said(error.found)}")
            continue
        size = "x".join(str(n) for n in image.array.shape)
        over = " over time" if image.k_axis == "time" else ""
        found.append(f"image {size} {image.array.dtype} {image.unit}{over}")
    found += [f"skipped: {said(s.reason)}" for s in tree.skipped]
    kinds = Counter(kind for head in tree.heads.found.values() if (kind := kind_of(head)) not in ("", NO_SIZE))
    found += [f"no image: {n} {kind}" for kind, n in kinds.items()]
    return "; ".join(f"{n} × {o}" if n > 1 else o for o, n in sorted(Counter(found).items())) or "not DICOM"


def outcomes(root: Path) -> dict[str, str]:
    """Relative path to outcome, each file by itself and each folder of several as a whole."""
    files = sorted(p for p in root.rglob("*") if p.is_file() and p.suffix != ".py")
    found = {p.relative_to(root).as_posix(): outcome(Tree(p.parent, (p.name,))) for p in files}
    folders = sorted({p.parent for p in files} - {root})
    for folder in folders:
        inside = tuple(sorted(p.name for p in folder.iterdir() if p.is_file()))
        if 1 < len(inside) < 60:
            found[folder.relative_to(root).as_posix() + "/"] = outcome(Tree(folder, inside))
    return found


def compared(root: Path, name: str) -> None:
    listed = tomllib.loads((LISTS / name).read_text("utf-8"))
    found = outcomes(root)
    assert len(found) > 100
    assert {k: v for k, v in found.items() if listed.get(k) != v} == {}


@pytest.fixture
def shared(real):
    if not (real / "dicom").is_dir():
        pytest.skip("real data are not here: set LUCENCY_TEST_DATA")
    return real / "dicom"


def test_every_file_of_the_real_data_has_its_outcome(shared):
    compared(shared, "shared.toml")


def test_every_local_test_file_of_pydicom_has_its_outcome():
    root = Path(pydicom.__file__).parent / "data" / "test_files"
    if not root.is_dir():
        pytest.skip("pydicom was installed without its test files")
    if not pydicom.__version__.startswith("3.0."):
        pytest.skip("the list was made with the test files of pydicom 3.0")
    compared(root, "pydicom.toml")


def test_no_file_of_a_tree_is_lost_between_image_refusal_and_count(shared):
    tree = tree_of(shared)
    made = dicom.grouped(tree.root, tree.heads.found, tree.heads.broken)
    used = {p for s in made.images for p in s.paths}
    series = {p: h.get("SeriesInstanceUID") or p for p, h in tree.heads.found.items()}
    # A refusal names one file and speaks for its series; copies lie beside the one that was kept.
    spoken = {series[s.path] for s in made.skipped if s.path in series}
    spoken |= {series[p] for p in used}
    lost = [p for p in series if p not in used and p not in made.left_out and series[p] not in spoken]
    assert lost == []
    assert len(series) > 250


if __name__ == "__main__":
    for path, words in outcomes(Path(sys.argv[1])).items():
        print(f'"{path}" = "{words}"')  # noqa: T201
