"""Inspecting data from which nothing can be learned: looked at all the same, and told what training would need."""

import pytest

from lucency import record
from lucency.apps import summary
from lucency.case import Cohort
from lucency.errors import DataError, UsageError
from lucency.inspect import Inspection


def one_class(bench):
    bench.pictures().table([f"{n:03d}.png,well" for n in range(24)])


def flat_among_deep(bench):
    bench.classes()
    for number in range(4):
        bench.volume(f"cat/v{number}.nii.gz")


def grey_among_colour(bench):
    bench.classes()
    for number in range(4):
        bench.picture(f"cat/c{number}.png", bench.rng.integers(0, 255, (16, 16, 3), dtype="uint8"))


def half_broken(bench):
    bench.classes()
    for number in range(12):
        bench.file(f"cat/{2 * number:03d}.png").write_bytes(b"")


@pytest.mark.parametrize(
    ("made", "n_images", "why", "needs"),
    [
        (one_class, 24, "Only one class: 'well'", "at least two classes"),
        (flat_among_deep, 28, "24 2-D images", "2-D or 3-D images, not both"),
        (grey_among_colour, 28, "4 3-channel images", "one number of channels"),
        (half_broken, 12, "12 of 24 files or series cannot be used", "at most 5% of them"),
    ],
)
def test_data_that_training_refuses_could_not_be_inspected(bench, made, n_images, why, needs):
    made(bench)
    bench.walk("inspect")
    found = record.read(Inspection, bench.out / "inspection.json")
    assert len(found.images) == n_images
    assert why in found.untrainable[0]
    said = summary.lines(bench.out, "inspect", "en")
    assert any(s.startswith("Nothing can be trained from these data yet: ") and why in s for s in said)
    assert any(s.startswith("Training needs: ") and needs in s for s in said)
    assert any(s.startswith("What to do: ") for s in said)
    assert not any("{" in s for s in summary.lines(bench.out, "inspect", "zh"))
    assert bench.refused(DataError, why).exit_status == 3


def test_a_table_of_several_columns_could_not_be_inspected_without_a_target(bench):
    bench.pictures().table([f"{n:03d}.png,{n % 2},{n % 3}" for n in range(24)], header="image,grade,stage")
    bench.walk("read")
    cohort = record.read(Cohort, bench.out / "cohort.json")
    assert len(cohort.cases) == 24
    assert "does not say what to learn" in cohort.untrainable[0]
    assert any("--target" in s for s in summary.lines(bench.out, "read", "en"))
    with pytest.raises(UsageError, match="No column 'size'"):
        bench.walk("inspect", target="size")
