"""Images with what is known of each, and the way into a store and back."""

import numpy as np
import pytest

import tiny
from lucency.errors import DataError, OutputError, UsageError
from lucency.losses import IGNORE
from lucency.plan import Schedule
from lucency.prepare import Store
from lucency.synthesize.arrays import cohort_of, ids_of, store_of, trained_on
from lucency.synthesize.drawn import UNKNOWN, Drawn, drawn_of, joined

pytestmark = pytest.mark.usefixtures("one_thread")


def some(n=6, side=8, seed=0, masks=False, patients=None):
    rng = np.random.default_rng(seed)
    images = rng.normal(size=(n, 1, 1, side, side)).astype(np.float32)
    given = (images[:, 0] > 1).astype(np.int16) if masks else None
    return Drawn(images, np.arange(n) % 2, np.array(patients or [""] * n), given)


def test_rows_classes_and_joins_keep_together_what_belongs_together():
    whole = some(patients=list("aabbcc"), masks=True)
    odd = whole.of_class(1)
    assert len(odd) == 3
    assert odd.patients.tolist() == ["a", "b", "c"]
    assert np.array_equal(odd.images, whole.images[1::2])
    assert np.array_equal(odd.masks, whole.masks[1::2])
    both = joined([odd, whole.take([0, 0])])
    assert both.labels.tolist() == [1, 1, 1, 0, 0]
    assert both.counts == {0: 2, 1: 3}
    assert np.array_equal(both.images[3], both.images[4])
    assert joined([odd, some(masks=False)]).masks is None


def test_an_image_without_a_patient_counts_as_its_own():
    assert some(4, patients=["a", "", "", "a"]).people.tolist() == ["a", "image 1", "image 2", "a"]
    assert set(some(3, patients=list("abc")).nameless().patients) == {""}


def test_the_digest_changes_with_every_part():
    base = some(masks=True, patients=list("aabbcc"))
    others = [
        some(masks=False, patients=list("aabbcc")),
        some(masks=True, patients=list("aabbcd")),
        base.take([1, 0, 2, 3, 4, 5]),
        Drawn(base.images, base.labels * 0, base.patients, base.masks),
    ]
    digests = {base.digest, *(o.digest for o in others)}
    assert len(digests) == 5
    assert some(masks=True, patients=list("aabbcc")).digest == base.digest


def test_what_does_not_fit_is_refused():
    good = some()
    with pytest.raises(DataError, match="6, one for each image"):
        Drawn(good.images, good.labels[:5], good.patients)
    with pytest.raises(DataError, match=r"Expected: \(6, 1, 8, 8\)"):
        Drawn(good.images, good.labels, good.patients, np.zeros((6, 8, 8)))
    broken = good.images.copy()
    broken[[1, 4], 0, 0, 3, 3] = [np.nan, np.inf]
    with pytest.raises(DataError, match="2 of 6 images with voxels that are not finite"):
        Drawn(broken, good.labels, good.patients)
    with pytest.raises(DataError, match="one image or more"):
        good.of_class(7)
    with pytest.raises(UsageError, match="one size"):
        joined([good, some(side=6)])


def test_arrays_cannot_be_changed_through_it():
    with pytest.raises(ValueError, match="read-only"):
        some().images[0] = 0


@pytest.mark.parametrize("masks", [False, True])
def test_arrays_come_back_from_the_store_as_they_went_in(tmp_path, masks):
    plan = tiny.plan_for()
    whole = some(5, masks=masks, patients=list("abcde"))
    store = store_of(whole, plan, tmp_path, "made")
    ids = ids_of(whole, "made")
    back = drawn_of(store, ids, whole.patients.tolist(), classed=not masks)
    # float16 keeps eleven bits.
    assert np.abs(back.images - whole.images).max() < 4 * 2**-11
    if masks:
        assert np.array_equal(back.masks, whole.masks)
        assert set(back.labels) == {UNKNOWN}
    else:
        assert back.masks is None
        assert back.labels.tolist() == whole.labels.tolist()
    assert np.allclose(store.prepared(ids[0]).affine, np.array(store.entries[ids[0]].affine).reshape(4, 4))


def test_a_store_of_arrays_is_written_once_and_told_apart_by_its_content(tmp_path):
    plan = tiny.plan_for()
    first = store_of(some(), plan, tmp_path, "a")
    stamp = (first.folder / "images.bin").stat().st_mtime_ns
    assert store_of(some(), plan, tmp_path, "a").folder == first.folder
    assert (first.folder / "images.bin").stat().st_mtime_ns == stamp
    assert store_of(some(seed=1), plan, tmp_path, "a").folder != first.folder
    # What a crash cut off is written anew.
    index = first.folder / "index.jsonl"
    index.write_text("".join(index.read_text().splitlines(keepends=True)[:3]))
    assert len(Store(first.folder).entries) == 3
    assert len(store_of(some(), plan, tmp_path, "a").entries) == 6


def test_no_label_is_no_target(tmp_path):
    images = some(3)
    unknown = Drawn(images.images, np.full(3, UNKNOWN), images.patients)
    store = store_of(unknown, tiny.plan_for(), tmp_path, "x")
    assert np.isnan(store.target("x000001"))
    assert (store.mask("x000001") == IGNORE).all()


def test_a_folder_that_cannot_be_written_is_said(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lucency.prepare.store.Writer.add", full)
    with pytest.raises(OutputError, match=r"No space left on device.*free space"):
        store_of(some(), tiny.plan_for(), tmp_path, "x")


def test_prepared_cases_of_unlike_sizes_are_refused(tmp_path):
    cohort = tiny.masks(tmp_path, n=2)
    plan = tiny.plan_for()
    store = tiny.stored(cohort, plan, tmp_path)
    (tmp_path / "other").mkdir()
    small = tiny.stored(tiny.masks(tmp_path / "other", n=1, size=(10, 12, 12)), plan, tmp_path / "other")
    store.entries["small"] = next(iter(small.entries.values()))
    with pytest.raises(DataError, match="2 sizes"):
        drawn_of(store, [*(c.id for c in cohort.cases), "small"], ["a", "b", "c"])


def test_real_cases_are_taken_with_their_class_and_patient(tmp_path):
    cohort = tiny.stripes(tmp_path)
    plan = tiny.plan_for("classify")
    store = tiny.stored(cohort, plan, tmp_path)
    real = drawn_of(store, [c.id for c in cohort.cases], [c.patient for c in cohort.cases])
    assert real.labels.tolist() == [plan.classes.index(c.target) for c in cohort.cases]
    assert real.patients.tolist() == [c.patient for c in cohort.cases]
    assert real.dims == 2


def striped(n, seed):
    """Lying stripes are class 0, standing ones 1."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 2
    wave = np.sin(np.arange(16) * 0.9)
    images = [(wave[None] if k else wave[:, None]) * np.ones((16, 16)) + rng.normal(0, 0.3, (16, 16)) for k in labels]
    return Drawn(np.stack(images)[:, None, None].astype(np.float32), labels, np.full(n, ""))


def test_a_network_trained_on_arrays_tells_new_ones_apart_and_is_loaded_the_second_time(tmp_path, monkeypatch):
    options = {"mixup": 0.0, "smoothing": 0.0, "dropout": 0.0}
    plan = tiny.plan_for("classify", schedule=Schedule(1, 2e-2, warmup=50, ema=0.9), task_options=options)
    learned = striped(40, 0)
    answer = trained_on(learned, plan, tmp_path, steps=60, seed=3)
    new = striped(30, 1)
    p = answer(new.images)
    assert p.shape == (30, 2)
    assert p.sum(axis=1) == pytest.approx(1)
    assert (p.argmax(axis=1) == new.labels).mean() > 0.9
    monkeypatch.setattr("lucency.synthesize.arrays.train_member", lambda *_: pytest.fail("trained again"))
    again = trained_on(learned, plan, tmp_path, steps=60, seed=3)
    assert np.array_equal(again(new.images), p)


def test_a_network_for_masks_learns_from_arrays(tmp_path):
    plan = tiny.plan_for()
    rng = np.random.default_rng(0)
    inside = np.stack([tiny.ball((12, 16, 16), rng.uniform(5, 9, 3), 4) for _ in range(4)])
    images = (rng.normal(0, 0.3, inside.shape) + 3 * inside)[:, None].astype(np.float32)
    drawn = Drawn(images, np.full(4, UNKNOWN), np.full(4, ""), inside.astype(np.int16))
    p = trained_on(drawn, plan, tmp_path, steps=4, seed=0)(images)
    assert p.shape == (4, 2, 12, 16, 16)


def test_nobody_is_held_out_of_a_cohort_of_arrays():
    cohort = cohort_of(striped(4, 0), tiny.plan_for("classify"), "a")
    assert [c.target for c in cohort.outside(0)] == ["lying", "standing", "lying", "standing"]
    assert cohort.fold(0) == ()
