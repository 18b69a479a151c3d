import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from blobs import blobs

import tiny
from lucency import record
from lucency.errors import DataError, ModelError, UsageError
from lucency.events import Clock, Events
from lucency.generators import family_named
from lucency.model import load_weights, save_weights
from lucency.plan import Plan
from lucency.synthesize import making, sizes
from lucency.synthesize.arrays import cohort_of, store_of
from lucency.synthesize.drawn import UNKNOWN, Drawn
from lucency.synthesize.making import Order, batch_of, make, members_of
from lucency.train import loop as rooms

pytestmark = pytest.mark.usefixtures("ten_images")


def normalised(drawn):
    """Each image by its own mean and deviation, as the plan's z-score does."""
    axes = tuple(range(2, drawn.images.ndim))
    mean, std = drawn.images.mean(axis=axes, keepdims=True), drawn.images.std(axis=axes, keepdims=True)
    return Drawn((drawn.images - mean) / std, drawn.labels, drawn.patients, drawn.masks)


def given(folder, drawn, **changes):
    """Cohort, plan and store of images that are all to be learned from."""
    size = drawn.images.shape[2:]
    plan = tiny.plan_for("classify", dims=drawn.dims, size=size, **changes)
    return cohort_of(drawn, plan, "case"), plan, store_of(drawn, plan, folder / "prepared", "case")


def seconds_for(steps):
    """The time that as many steps of a second are planned for."""
    return (steps + 0.5) / sizes.FILL


def made(folder, drawn=None, steps=6, name="maker", order=None, **changes):
    cohort, plan, store = given(folder, normalised(blobs(40)) if drawn is None else drawn, **changes)
    order = order or Order(family="dcgan", size="tiny", clock=Clock(now=lambda: 0.0))
    return make(cohort, plan, store, 0, folder / name, seconds_for(steps), order)


def test_what_is_drawn_is_of_the_classes_asked_for_and_depends_on_the_generator_given(tmp_path):
    maker = made(tmp_path)
    drawn = maker.sample([0, 1, 1], np.random.default_rng(3))
    assert drawn.images.shape == (3, 1, 1, 16, 16)
    assert drawn.labels.tolist() == [0, 1, 1]
    assert drawn.patients.tolist() == [""] * 3
    assert drawn.masks is None
    assert np.array_equal(drawn.images, maker.sample([0, 1, 1], np.random.default_rng(3)).images)
    assert not np.array_equal(drawn.images, maker.sample([0, 1, 1], np.random.default_rng(4)).images)
    assert maker.score(drawn).shape == (3,)
    assert maker.made.steps == maker.plan.schedule.steps == 6
    assert maker.made.images == {"lying": 20, "standing": 20}
    assert maker.made.patients == 40
    assert maker.made.remarks == ()


def test_images_are_normalised_and_bounded_as_the_real_ones_are(tmp_path):
    real = normalised(blobs(40))
    maker = made(tmp_path, real)
    assert maker.made.normalised
    drawn = maker.sample([0] * 20, np.random.default_rng(0)).images
    (low,), (high,) = maker.made.lowest, maker.made.highest
    assert (low, high) == pytest.approx((real.images.min(), real.images.max()), abs=1e-2)
    assert low <= drawn.min() < drawn.max() <= high
    free = replace(maker, made=replace(maker.made, lowest=(-99.0,), highest=(99.0,)))
    drawn = free.sample([0] * 20, np.random.default_rng(0)).images
    assert np.abs(drawn.mean(axis=(1, 2, 3, 4))).max() < 1e-5
    assert drawn.std(axis=(1, 2, 3, 4)) == pytest.approx(1, abs=1e-4)
    as_stored = made(tmp_path, blobs(40), name="other")
    assert not as_stored.made.normalised


def test_a_generator_learns_what_tells_the_classes_apart(tmp_path):
    """Blobs of class 1 are twice as long along i: the deviation of the place of what is bright."""

    def length(images):
        weight = np.clip(images[:, 0, 0] - 0.4, 0, None).sum(axis=1)
        weight = weight / np.maximum(weight.sum(axis=1, keepdims=True), 1e-9)
        at = np.arange(weight.shape[1])
        mean = weight @ at
        return np.sqrt((weight * (at - mean[:, None]) ** 2).sum(axis=1)).mean()

    real = blobs(200)
    order = Order(family="vae", size="tiny", clock=Clock(now=lambda: 0.0))
    maker = made(tmp_path, real, steps=150, order=order)
    found = [length(maker.sample([k] * 50, np.random.default_rng(1)).images) for k in (0, 1)]
    truth = [length(real.of_class(k).images) for k in (0, 1)]
    assert truth[1] - truth[0] > 0.3
    assert found[1] - found[0] > 0.3 * (truth[1] - truth[0])
    assert maker.score(real) is None


def test_what_was_made_is_loaded_and_not_trained_again(tmp_path, monkeypatch):
    first = made(tmp_path)
    monkeypatch.setattr(making, "train_member", lambda *a: pytest.fail("trained again"))
    again = made(tmp_path)
    assert np.array_equal(*(m.sample([0, 1], np.random.default_rng(0)).images for m in (first, again)))


def test_an_interrupted_training_goes_on_to_the_same_images(tmp_path, monkeypatch):
    for name in "ab":
        (tmp_path / name).mkdir()
    whole = made(tmp_path / "a", steps=12)
    point = rooms.Loop._point

    def stop(self, epoch):
        point(self, epoch)
        if self.step >= 5:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(rooms.Loop, "_point", stop)
        with pytest.raises(KeyboardInterrupt):
            made(tmp_path / "b", steps=12)
    before = record.read(Plan, tmp_path / "b" / "maker" / "plan.json")
    # Were it planned anew, it would have other steps.
    monkeypatch.setattr(sizes, "_timed", lambda work, seconds: pytest.fail("planned again"))
    seen = []
    order = Order(family="dcgan", clock=Clock(now=lambda: 0.0), events=Events(None, seen.append))
    resumed = made(tmp_path / "b", steps=12, order=order)
    assert resumed.plan == before
    assert [e["step"] for e in seen if e["kind"] == "resumed"]
    assert np.array_equal(*(m.sample([0, 1], np.random.default_rng(0)).images for m in (whole, resumed)))


def test_a_generator_of_other_data_is_refused(tmp_path):
    made(tmp_path)
    with pytest.raises(ModelError, match=r"made from other data.*use another --out"):
        made(tmp_path, normalised(blobs(40, seed=1)))


def test_a_training_begun_from_other_data_or_as_another_family_is_refused(tmp_path):
    made(tmp_path)
    (tmp_path / "maker" / "generator.json").unlink()
    with pytest.raises(ModelError, match="begun from other data"):
        made(tmp_path, normalised(blobs(40, seed=1)))
    with pytest.raises(ModelError, match="or as another one"):
        made(tmp_path, order=Order(family="vae", clock=Clock(now=lambda: 0.0)))


@pytest.mark.parametrize("file", ["generator.safetensors", "plan.json"])
def test_a_generator_that_was_altered_is_refused(tmp_path, file):
    made(tmp_path)
    path = tmp_path / "maker" / file
    if file.endswith("json"):
        plan = record.read(Plan, path)
        record.write(path, replace(plan, seed=plan.seed + 1))
    else:
        weights = load_weights(path)
        save_weights(path, {k: v + 1 for k, v in weights.items()})
    with pytest.raises(ModelError, match="changed after training"):
        made(tmp_path)


def test_a_class_of_three_images_is_learned_and_said(tmp_path):
    drawn = normalised(blobs(40))
    few = drawn.take([*np.flatnonzero(drawn.labels == 0), *np.flatnonzero(drawn.labels == 1)[:3]])
    maker = made(tmp_path, few)
    assert maker.made.images == {"lying": 20, "standing": 3}
    assert maker.made.remarks == ("Class 'standing' has 3 images: hardly more than copies of them can be drawn",)
    assert len(maker.sample([1, 1], np.random.default_rng(0))) == 2


def test_a_class_without_an_image_cannot_be_asked_for(tmp_path):
    drawn = normalised(blobs(40))
    maker = made(tmp_path, drawn.of_class(0))
    with pytest.raises(DataError, match=r"class number 1.*learned from: 0"):
        maker.sample([0, 1], np.random.default_rng(0))
    with pytest.raises(DataError, match="No image asked for"):
        maker.sample([], np.random.default_rng(0))


def labelled():
    """Small volumes with a box of label 1 or 2, or none."""
    rng = np.random.default_rng(0)
    masks = np.zeros((20, 6, 8, 10), np.int16)
    masks[:, 2:4, 2:6, 2:8] = rng.integers(0, 3, (20, 1, 1, 1))
    images = (masks[:, None] + rng.normal(0, 0.2, (20, 1, 6, 8, 10))).astype(np.float32)
    return Drawn(images, np.full(20, UNKNOWN), np.array([f"p{n}" for n in range(20)]), masks)


@pytest.mark.parametrize("family", ["dcgan", "vae", "spade", "latent-flow"])
def test_volumes_are_drawn_with_their_masks(tmp_path, family):
    drawn = labelled()
    plan = tiny.plan_for("segment", size=(6, 8, 10), labels={1: "one", 2: "two"})
    cohort, store = cohort_of(drawn, plan, "case"), store_of(drawn, plan, tmp_path / "prepared", "case")
    order = Order(family=family, size="tiny", few=True, clock=Clock(now=lambda: 0.0))
    maker = make(cohort, plan, store, 0, tmp_path / "maker", seconds_for(3), order)
    found = maker.sample([UNKNOWN] * 5, np.random.default_rng(0))
    assert found.images.shape == (5, 1, 6, 8, 10)
    assert found.masks.shape == (5, 6, 8, 10)
    assert set(np.unique(found.masks)) <= {0, 1, 2}
    assert found.labels.tolist() == [UNKNOWN] * 5
    assert maker.plan.channels == 3
    scores = maker.score(found)
    assert scores is None or scores.shape == (5,)
    again = maker.sample([UNKNOWN] * 5, np.random.default_rng(0))
    assert np.array_equal(found.images, again.images)
    assert np.array_equal(found.masks, again.masks)
    if family == "spade":
        assert maker.made.remarks == ("Images are made for the masks of 20 patients, moved, scaled and bent",)
        assert list((tmp_path / "maker" / "training" / "samples").glob("*.png"))
        assert not any("mask" in name for name in load_weights(tmp_path / "maker" / "generator.safetensors"))
    else:
        assert (maker.masks, maker.made.remarks) == (None, ())


def test_a_step_has_no_more_voxels_than_its_family_bears():
    """2 ** 20 voxels of volumes of 64 are 4, of 128 less than one: two, for one has no neighbour."""
    family = family_named("latent-flow")
    volumes = [np.broadcast_to(np.float32(0), (90, 1, side, side, side)) for side in (28, 64, 128)]
    found = [batch_of(family, Drawn(v, np.full(90, UNKNOWN), np.full(90, "")), 90) for v in volumes[:2]]
    assert found == [47, 4]
    few = Drawn(volumes[2][:3], np.full(3, UNKNOWN), np.full(3, ""))
    assert batch_of(family, few, 3) == 2
    assert batch_of(family_named("dcgan"), few, 3) == 3


def test_a_generator_for_masks_is_refused_for_images_without(tmp_path):
    with pytest.raises(DataError, match=r"'spade' for images without masks.*--task segment"):
        made(tmp_path, order=Order(family="spade", clock=Clock(now=lambda: 0.0)))
    assert not (tmp_path / "maker" / "plan.json").exists()


def test_mirroring_is_only_where_the_task_allows_it(tmp_path):
    maker = made(tmp_path, augmentation={"flip_i": 0.5, "rotate": 10.0})
    assert maker.plan.task_options["flips"] == "i"
    assert maker.plan.augmentation == {}


@pytest.mark.parametrize(
    ("drawn", "message"),
    [
        (blobs(10), r"10 images of 10 patients.*16 images or more"),
        (Drawn(blobs(40).images, blobs(40).labels, np.full(40, "one")), r"40 images of 1 patients.*two patients"),
        (Drawn(np.full((40, 1, 1, 16, 16), 2.0), blobs(40).labels, blobs(40).patients), "without any contrast"),
    ],
    ids=["few", "one patient", "constant"],
)
def test_data_that_cannot_support_a_generator_are_refused(tmp_path, drawn, message):
    with pytest.raises(DataError, match=message):
        made(tmp_path, drawn)


def test_images_of_several_sizes_are_refused(tmp_path):
    first, second = normalised(blobs(20)), normalised(blobs(20, size=(1, 16, 20)))
    cohort, plan, store = given(tmp_path, first)
    other = store_of(second, plan, tmp_path / "prepared", "more")
    more = cohort_of(second, plan, "more")
    joined = replace(cohort, cases=(*cohort.cases, *more.cases), folds={**cohort.folds, **more.folds})

    both = SimpleNamespace(entries={**store.entries, **other.entries})
    with pytest.raises(DataError, match="Prepared images of 2 sizes"):
        members_of(joined, plan, both, 0)


def test_too_little_time_is_refused_with_what_it_would_take(tmp_path, monkeypatch):
    monkeypatch.setattr(type(family_named("dcgan")), "least_seen", 100_000)
    with pytest.raises(UsageError, match=r"In 8 s generator 'dcgan' \(tiny\) would see.*better"):
        made(tmp_path)
    assert not (tmp_path / "maker" / "plan.json").exists()


def test_without_a_deadline_an_hour_is_planned_for(tmp_path, monkeypatch):
    planned = []

    def noting(family, size, drafted, work_of, seconds):
        planned.append(seconds)
        return sizes.chosen(family, size, drafted, work_of, seconds_for(2))

    monkeypatch.setattr(making, "chosen", noting)
    cohort, plan, store = given(tmp_path, normalised(blobs(40)))
    make(cohort, plan, store, 0, tmp_path / "maker", math.inf, Order(size="tiny", clock=Clock(now=lambda: 0.0)))
    assert planned == [making.ENOUGH_S]


@pytest.mark.parametrize(
    ("order", "message"),
    [
        ({"size": "huge"}, "Size 'huge'.*tiny, small"),
        ({"chance": 0.95}, r"chance = 0\.95"),
        ({"family": "dcgan:size=huge"}, "Size 'huge'"),
        ({"family": "dcgan:with=8"}, r"with=8.*size=NAME, chance=NUMBER"),
        ({"family": "dcgan:chance=often"}, "chance=often"),
        ({"family": "rflow:few=perhaps"}, "few=perhaps"),
    ],
)
def test_orders_that_cannot_be_met_are_refused(order, message):
    with pytest.raises(UsageError, match=message):
        Order(**order)


def test_what_is_said_after_the_name_of_a_family_counts():
    order = Order(family="dcgan:size=large,chance=0.2,adaptive=yes")
    assert (order.family, order.size, order.chance, order.adaptive, order.few) == ("dcgan", "large", 0.2, True, False)
    assert Order(family="rflow:few=yes").few
    assert Order(family="vae").family == "vae"
    assert not Order(family=":adaptive=no").family
