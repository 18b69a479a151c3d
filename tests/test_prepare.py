import gc
import json
import threading
import weakref

import numpy as np
import pytest
from scipy import ndimage

import tiny
from lucency.case import Case, Source
from lucency.errors import DataError, OutputError
from lucency.events import Events
from lucency.image import Image, diagonal_affine, orientation_of
from lucency.losses import IGNORE
from lucency.metrics import dice
from lucency.plan import Grid, Normalisation
from lucency.prepare import (
    Store,
    digest_of,
    images_of,
    place_of,
    prepare,
    prepare_image,
    prepare_labels,
    restore,
)
from lucency.prepare.store import in_order
from lucency.tasks import task_named
from lucency.write.nifti import write_nifti

GEOMETRIES = {
    "plain": tiny.turned(0),
    "flipped": tiny.turned(1, flips=(0, 2)),
    "permuted": tiny.turned(2, order=(2, 0, 1), flips=(1,)),
    "oblique": tiny.turned(3, oblique=0.3),
    "anisotropic": tiny.turned(4, (4.0, 0.7, 0.9)),
    "everything": tiny.turned(5, (0.8, 2.5, 1.1), order=(1, 2, 0), flips=(0, 1), oblique=0.2),
}
SIZE = (19, 26, 23)


def anatomy(affine, size=SIZE):
    """Two labelled balls of different size, 8 and 6 mm: each of the labels is round in mm."""
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    extent = np.array(size) * spacing
    radius = extent.min() / 4
    labels = np.zeros(size, np.uint8)
    labels[tiny.ball(size, [n * 0.4 for n in size], radius, spacing)] = 7
    labels[tiny.ball(size, [n * 0.7 for n in size], radius * 0.8, spacing)] = 3
    return Image(labels[None], affine, kind="labels")


def one_hot(index, n):
    return np.stack([(index == k).astype(np.float32) for k in range(n)])


def plan_of(mode, spacing=(1.0, 1.0, 1.0), size=(24, 24, 24), dims=3, **changes):
    return tiny.plan_for(grid=Grid(mode, size, spacing), labels={3: "small", 7: "large"}, dims=dims, **changes)


@pytest.mark.parametrize("name", GEOMETRIES)
def test_every_voxel_returns_to_its_place_when_nothing_is_resampled(name):
    """Each voxel carries its own number: after the way there and back it stands where it stood."""
    affine = GEOMETRIES[name]
    numbers = np.arange(np.prod(SIZE), dtype=np.float32).reshape(SIZE)
    turn = orientation_of(affine)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)[list(turn.order)]
    plan = plan_of(
        "spacing", tuple(spacing), normalisation=Normalisation("fixed", (0.0,), (1e6,), (0.0,), (float(numbers.max()),))
    )
    prepared = prepare_image([Image(numbers[None], affine)], plan)
    back = restore(prepared.array, prepared.place)
    assert back.shape == (1, *SIZE)
    assert np.abs(back[0] * numbers.max() - numbers).max() < 0.01


@pytest.mark.parametrize("name", GEOMETRIES)
def test_the_prepared_image_lies_superior_posterior_left(name):
    """A ramp along a patient axis grows along k, j or i of the network's grid, however the file is stored."""
    affine = GEOMETRIES[name]
    index = np.stack([*np.meshgrid(*(np.arange(n) for n in SIZE), indexing="ij"), np.ones(SIZE)])
    world = np.tensordot(affine, index, 1)
    for axis, coordinate in enumerate((2, 1, 0)):
        prepared = prepare_image([Image(world[coordinate][None], affine)], plan_of("spacing"))
        slopes = [np.diff(prepared.array[0], axis=a).mean() * prepared.array.shape[1 + a] for a in range(3)]
        assert int(np.argmax(np.abs(slopes))) == axis
        assert slopes[axis] > 0


@pytest.mark.parametrize("name", GEOMETRIES)
def test_labels_come_back_exactly_when_nothing_is_resampled(name):
    mask = anatomy(GEOMETRIES[name])
    turn = orientation_of(mask.affine)
    plan = plan_of("spacing", tuple(np.array(mask.spacing)[list(turn.order)]))
    index = prepare_labels(mask, plan)
    back = restore(one_hot(index, 3), place_of(mask, plan)).argmax(0)
    assert np.array_equal(np.array([0, 3, 7])[back], mask.array[0])


@pytest.mark.parametrize("name", GEOMETRIES)
@pytest.mark.parametrize("mode", ["finer", "coarser", "fit"])
def test_labels_prepared_and_restored_agree_with_the_source(name, mode):
    """What another grid gets wrong lies within half of its step of the surface, and no label moves or swells."""
    size = (38, 52, 46)
    mask = anatomy(GEOMETRIES[name], size)
    own = np.array(mask.spacing)
    plan = {
        "finer": plan_of("spacing", (own.min() * 0.8,) * 3),
        "coarser": plan_of("spacing", tuple(own[list(orientation_of(mask.affine).order)] * 1.3)),
        "fit": plan_of("fit", size=(61, 67, 64)),
    }[mode]
    place = place_of(mask, plan)
    index = prepare_labels(mask, plan)
    assert index.shape == place.frame
    back = restore(one_hot(index, 3), place).argmax(0)
    turned = np.array([size[a] * own[a] for a in place.turn.order])
    step = max(*(turned / np.array(place.scaled)), own.max())
    for number, value in ((1, 3), (2, 7)):
        found, truth = back == number, mask.array[0] == value
        # A voxel of the truth is at least one step from the background, so a half is counted as one and a half.
        depth = ndimage.distance_transform_edt(truth, own) + ndimage.distance_transform_edt(~truth, own)
        assert depth[found != truth].max(initial=0) <= 1.01 * step
        # Linear sampling there and back blurs with a variance of step² / 3, which moves a surface of radius r inwards
        # by step² / 3r and takes (step / r)² of the volume, to first order; half as much again covers balls of 2 steps.
        radius = np.cbrt(truth.sum() * own.prod() * 3 / 4 / np.pi)
        assert found.sum() == pytest.approx(truth.sum(), rel=0.02 + 1.5 * (step / radius) ** 2)
        drift = (np.argwhere(found).mean(0) - np.argwhere(truth).mean(0)) * own
        assert np.abs(drift).max() < 0.15 * step
        if mode == "finer":
            assert dice(found, truth) >= 0.97


@pytest.mark.parametrize("size", [(1, 37, 52), (1, 64, 20), (1, 31, 31)])
@pytest.mark.parametrize("frame", [(1, 64, 64), (1, 96, 64)])
def test_flat_images_are_fitted_without_distortion_and_come_back(size, frame):
    inside = tiny.ball(size, (0, size[1] * 0.5, size[2] * 0.5), min(size[1:]) * 0.3)
    mask = Image((inside * 7).astype(np.uint8)[None], np.eye(4)[:, [2, 1, 0, 3]], kind="labels")
    plan = plan_of("fit", size=frame, dims=2)
    place = place_of(mask, plan)
    # One of the sides is filled, the other follows within half a pixel.
    factors = [s / n for s, n in zip(place.scaled[1:], size[1:], strict=True)]
    assert max(s / f for s, f in zip(place.scaled[1:], frame[1:], strict=True)) == 1
    assert abs(factors[0] - factors[1]) * max(size) <= 1
    prepared = prepare_labels(mask, plan)
    rows, columns = np.nonzero(prepared[0])
    assert np.ptp(rows) == pytest.approx(np.ptp(columns), abs=2)
    back = restore(one_hot(prepared, 3), place).argmax(0)
    assert dice(back == 2, inside) > 0.97


def test_frames_hold_the_edge_of_images_and_background_beside_masks():
    plan = plan_of("fit", size=(1, 8, 16), dims=2, normalisation=Normalisation("fixed", (0.0,), (9.0,), (0.0,), (1.0,)))
    affine = np.eye(4)[:, [2, 1, 0, 3]]
    image = prepare_image([Image(np.full((1, 1, 8, 8), 5.0), affine)], plan)
    mask = prepare_labels(Image(np.full((1, 1, 8, 8), 7), affine, kind="labels"), plan)
    assert image.place.start == (0, 0, 4)
    assert (image.array == 5).all()
    assert (mask[:, :, 4:12] == 2).all()
    assert not mask[:, :, :4].any()
    assert not mask[:, :, 12:].any()


def test_voxels_that_nobody_annotated_stay_so():
    array = np.zeros((1, 4, 12, 12), np.uint8)
    array[:, :, :6], array[:, :, 6:, 6:] = 9, 3
    mask = Image(array, diagonal_affine((1, 1, 1)), kind="labels")
    for plan in (plan_of("spacing", ignore=9), plan_of("spacing", (1.0, 0.5, 0.5), ignore=9)):
        index = prepare_labels(mask, plan)
        n = index.shape[1]
        assert (index[:, : n // 2 - 1] == IGNORE).all()
        assert set(np.unique(index[:, n // 2 + 1 :])) == {0, 1}


@pytest.mark.parametrize("seed", range(40))
def test_image_and_mask_come_to_the_same_size_when_headers_differ_in_the_last_digit(seed):
    """A 0.5 mm image of odd size on a 1 mm grid: n / 2 ends in .5, and one header rounds up, the other down."""
    rng = np.random.default_rng(seed)
    size = tuple(int(n) for n in 2 * rng.integers(8, 200, 3) + 1)
    affine = diagonal_affine((0.5, 0.5, 0.5))
    other = affine.copy()
    other[:3, :3] *= 1 + rng.uniform(-1e-6, 1e-6)
    a, b = (Image(np.broadcast_to(np.uint8(0), (1, *size)), m, kind="labels") for m in (affine, other))
    plan = plan_of("spacing")
    assert place_of(a, plan).scaled == place_of(b, plan).scaled


@pytest.mark.parametrize("seed", range(20))
def test_image_and_mask_are_turned_alike_at_exactly_45_degrees(seed):
    rng = np.random.default_rng(seed)
    half = np.sqrt(0.5)
    affine = np.eye(4)
    affine[:3, :3] = np.array([[0, half, half], [0, half, -half], [1, 0, 0]])
    noisy = affine.copy()
    noisy[:3, :3] += rng.normal(0, 1e-7, (3, 3))
    assert orientation_of(noisy) == orientation_of(affine)


def test_zscore_uses_the_image_alone_and_outliers_stay_out():
    rng = np.random.default_rng(0)
    voxels = rng.normal(500, 20, (1, 10, 40, 40))
    affine = diagonal_affine((1, 1, 1))
    plain = prepare_image([Image(voxels, affine)], plan_of("spacing")).array
    scaled = prepare_image([Image(voxels * 3e4 - 7e5, affine)], plan_of("spacing")).array
    assert plain.mean() == pytest.approx(0, abs=1e-3)
    assert plain.std() == pytest.approx(1, abs=1e-3)
    assert np.abs(plain - scaled).max() < 1e-3
    voxels[0, 0, 0, :5] = 1e7
    hot = prepare_image([Image(voxels, affine)], plan_of("spacing")).array
    assert np.abs(hot - plain)[0, 1:].max() < 0.05
    assert hot.max() <= 10


def test_fixed_normalisation_is_what_arithmetic_says():
    """Clipped to -100 … 300, minus 50, over 100: -500 → -1.5, 150 → 1, 900 → 2.5."""
    voxels = np.array([-500.0, 150.0, 900.0, 50.0]).reshape(1, 1, 2, 2)
    how = Normalisation("fixed", (-100.0,), (300.0,), (50.0,), (100.0,))
    plan = plan_of("fit", size=(1, 2, 2), dims=2, normalisation=how)
    found = prepare_image([Image(voxels, np.eye(4)[:, [2, 1, 0, 3]])], plan).array
    assert found.reshape(-1) == pytest.approx([-1.5, 1, 2.5, 0])


def test_a_constant_image_is_prepared_as_zeros():
    found = prepare_image(
        [Image(np.full((1, 4, 5, 6), 1000.1, np.float32), diagonal_affine((1, 1, 1)))], plan_of("spacing")
    )
    assert not found.array.any()


@pytest.mark.parametrize(
    ("array", "dims", "match"),
    [
        ((2, 4, 8, 8), 3, r"2 channels.*Expected: 1, as in training"),
        ((1, 4, 8, 8), 2, r"volume of 4 slices.*single images"),
        ((1, 1, 8, 8), 3, r"single image.*volumes"),
    ],
)
def test_an_image_that_the_plan_was_not_made_for_is_refused(array, dims, match):
    plan = plan_of("spacing" if dims == 3 else "fit", size=(4, 8, 8), dims=dims)
    with pytest.raises(DataError, match=match):
        prepare_image([Image(np.zeros(array), diagonal_affine((1, 1, 1)))], plan)


def test_modalities_on_different_grids_are_refused():
    a, b = (Image(np.zeros((1, 4, 8, n)), diagonal_affine((1, 1, 1))) for n in (8, 9))
    with pytest.raises(DataError, match=r"different grids.*registered"):
        prepare_image([a, b], plan_of("spacing", channels=2))


def test_modalities_are_loaded_in_the_order_of_the_plan(tmp_path):
    for number, name in enumerate(("t1", "t2")):
        write_nifti(tmp_path / f"{name}.nii", Image(np.full((1, 4, 4, 4), number + 1.0), diagonal_affine((1, 1, 1))))
    images = {n: (Source((f"{n}.nii",), str(tmp_path), "nifti"),) for n in ("t1", "t2")}
    case = Case("a", "a", images, None)
    plan = plan_of("spacing", channels=2, modalities=("t2", "t1"))
    assert [float(i.array.mean()) for i in images_of(case, plan, None)] == [2, 1]
    with pytest.raises(DataError, match=r"a: Modality t3 is missing"):
        images_of(case, plan_of("spacing", modalities=("t1", "t3")), None)


# --- the store -----------------------------------------------------------------------------------------------------


def target_of(plan):
    return task_named(plan.task).target


def test_store_gives_back_what_was_prepared(tmp_path):
    cohort, plan = tiny.masks(tmp_path, n=4, affine=GEOMETRIES["everything"], value=5), tiny.plan_for(labels={5: "b"})
    store = prepare(cohort, plan, target_of(plan), tmp_path / "prepared", workers=3)
    assert list(store.entries) == [c.id for c in cohort.cases]
    for case in cohort.cases:
        prepared = prepare_image(images_of(case, plan, None), plan)
        assert np.abs(store.image(case.id).astype(np.float32) - prepared.array).max() < 0.01
        assert np.array_equal(store.mask(case.id), target_of(plan)(case, plan))
        assert store.mask(case.id).max() == 1
        again = store.prepared(case.id)
        assert again.place == prepared.place
        assert np.array_equal(again.affine, prepared.affine)
    assert store.mebibytes > 0


def test_store_keeps_class_indices(tmp_path):
    cohort, plan = tiny.stripes(tmp_path), tiny.plan_for("classify")
    store = prepare(cohort, plan, target_of(plan), tmp_path / "prepared")
    assert [store.target(c.id) for c in cohort.cases] == [plan.classes.index(c.target) for c in cohort.cases]


def test_prepared_again_nothing_is_loaded_and_nothing_written(tmp_path):
    cohort, plan = tiny.masks(tmp_path, n=3), tiny.plan_for()
    first = prepare(cohort, plan, target_of(plan), tmp_path / "prepared")
    stamps = {p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in first.folder.iterdir()}
    for path in tmp_path.glob("*.nii.gz"):
        path.unlink()
    prepare(cohort, plan, target_of(plan), tmp_path / "prepared")
    assert {p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in first.folder.iterdir()} == stamps


@pytest.mark.parametrize("cut", ["index", "index without newline", "arrays", "half a number"])
def test_an_interrupted_preparation_goes_on_and_ends_as_if_it_had_not_been(tmp_path, cut):
    cohort, plan = tiny.masks(tmp_path, n=4), tiny.plan_for()
    whole = prepare(cohort, plan, target_of(plan), tmp_path / "whole")
    folder = prepare(cohort, plan, target_of(plan), tmp_path / "cut").folder
    index = folder / "index.jsonl"
    text = index.read_text()
    if cut == "index":
        index.write_text(text[: text.rindex('"place"')])
    elif cut == "index without newline":
        index.write_text("".join(text.splitlines(keepends=True)[:3]).rstrip("\n"))
    else:
        size = (folder / "images.bin").stat().st_size
        with (folder / "images.bin").open("r+b") as file:
            file.truncate(size - (1000 if cut == "arrays" else 1))
    again = prepare(cohort, plan, target_of(plan), tmp_path / "cut")
    assert list(again.entries) == list(whole.entries)
    for case in whole.entries:
        assert np.array_equal(again.image(case), whole.image(case))
        assert np.array_equal(again.mask(case), whole.mask(case))
    assert list(Store(folder).entries) == list(whole.entries)
    assert all(json.loads(line) for line in index.read_text().splitlines())


def test_digest_changes_with_what_the_grid_depends_on_and_with_nothing_else(tmp_path):
    cohort, plan = tiny.masks(tmp_path, n=2), tiny.plan_for()
    name = digest_of(cohort, plan)
    assert digest_of(cohort, tiny.plan_for(seed=5, batch=7, folds=(1,))) == name
    for other in (
        tiny.plan_for(grid=Grid("spacing", (12, 16, 16), (2.0, 1.0, 1.0))),
        tiny.plan_for(normalisation=Normalisation("fixed", (0.0,), (1.0,), (0.0,), (1.0,))),
        tiny.plan_for(labels={2: "ball"}),
        tiny.plan_for(ignore=4),
    ):
        assert digest_of(cohort, other) != name
    assert digest_of(tiny.masks(tmp_path, n=2, seed=1), plan) != name


def test_at_most_four_cases_a_worker_are_in_memory():
    """Every array that has been handed out is let go of, also by the queue."""
    alive, most, lock = weakref.WeakSet(), [0], threading.Lock()

    class Thing:
        pass

    def work(number):
        thing = Thing()
        with lock:
            alive.add(thing)
            most[0] = max(most[0], len(alive))
        return thing

    for thing in in_order(work, list(range(100)), workers=2):
        del thing
    gc.collect()
    assert most[0] <= 2 * 4 + 2
    assert not alive


def test_order_is_that_of_the_cases_with_any_number_of_workers():
    assert [list(in_order(lambda n: n * n, list(range(30)), workers=w)) for w in (1, 3)] == [
        [n * n for n in range(30)]
    ] * 2


def test_a_case_that_does_not_fit_is_named(tmp_path):
    cohort, plan = tiny.masks(tmp_path, n=2), tiny.plan_for()
    write_nifti(tmp_path / "case1.nii.gz", Image(np.zeros((2, 12, 16, 16), np.float32), diagonal_affine((1, 1, 1))))
    with pytest.raises(DataError, match=r"case1: 2 channels"):
        prepare(cohort, plan, target_of(plan), tmp_path / "prepared", workers=2)


def test_a_mask_of_another_size_is_refused_before_training_sees_it(tmp_path):
    cohort, plan = tiny.masks(tmp_path, n=2), tiny.plan_for()
    wrong = Image(np.ones((1, 12, 16, 20), np.uint8), diagonal_affine((1, 1, 1)), kind="labels")
    write_nifti(tmp_path / "case1_mask.nii.gz", wrong)
    with pytest.raises(DataError, match=r"case1: .*mask is \(12, 16, 20\) and the image \(12, 16, 16\)"):
        prepare(cohort, plan, target_of(plan), tmp_path / "prepared")


def test_a_full_disk_is_said_in_plain_words(tmp_path, monkeypatch):
    cohort, plan = tiny.masks(tmp_path, n=2), tiny.plan_for()

    def full(case, plan):
        raise OSError(28, "No space left on device")

    with pytest.raises(OutputError, match=r"No space left on device.*free space"):
        prepare(cohort, plan, full, tmp_path / "prepared")


def test_progress_is_told(tmp_path):
    seen = []
    cohort, plan = tiny.masks(tmp_path, n=3), tiny.plan_for()
    prepare(cohort, plan, target_of(plan), tmp_path / "prepared", events=Events(None, seen.append))
    assert [(e["done"], e["of"]) for e in seen] == [(1, 3), (2, 3), (3, 3)]
