import pytest

from lucency.errors import DataError, UsageError
from lucency.read import read, read_inputs


def test_no_such_path_and_an_empty_folder(folder):
    with pytest.raises(UsageError, match="nowhere: No such file or folder"):
        read(folder.root / "nowhere")
    with pytest.raises(DataError, match="data: The folder is empty"):
        read(folder.root)
    folder.text("notes.txt", "no images")
    for door in (read, read_inputs):
        with pytest.raises(DataError, match="No image"):
            door(folder.root)


def test_a_few_broken_files_are_listed_and_many_are_refused(folder):
    for n in range(40):
        folder.picture(f"images/{n:02d}.png")
        folder.mask(f"masks/{n:02d}.png")
    (folder.root / "images/07.png").write_bytes(b"")
    cohort = read(folder.root)
    assert [s.path for s in cohort.skipped] == ["images/07.png"]
    assert "0 bytes" in cohort.skipped[0].reason
    assert "07" not in {c.id for c in cohort.cases}
    for n in range(3):
        (folder.root / f"images/{n:02d}.png").write_bytes(b"broken")
    with pytest.raises(DataError, match=r"4 of 40 files or series cannot be used.*images/00\.png") as caught:
        read(folder.root)
    assert caught.value.exit_status == 3
    assert str(folder.root) not in str(caught.value)


def test_inputs_go_on_with_what_can_be_read(folder):
    folder.picture("a.png")
    folder.text("b.png", "")
    inputs = read_inputs(folder.root)
    assert [c.id for c in inputs] == ["a"]
    assert [s.path for s in inputs.skipped] == ["b.png"]
    with pytest.raises(DataError, match="None of 1 files can be read"):
        read_inputs(folder.root / "b.png")


def test_reading_is_the_same_from_any_place(folder, tmp_path):
    for n in range(15):
        folder.picture(f"images/{n:02d}.png")
        folder.mask(f"masks/{n:02d}.png")
    first = read(folder.root)
    moved = folder.root.rename(tmp_path / "elsewhere")
    second = read(moved)
    assert (first.digest, first.folds, first.locked) == (second.digest, second.folds, second.locked)
