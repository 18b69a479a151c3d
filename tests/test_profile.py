import math
from collections.abc import Mapping

import numpy as np
import pytest

from lucency import record
from lucency.case import Case, Cohort, Source
from lucency.errors import DataError
from lucency.image import Image, diagonal_affine
from lucency.profile import Profile, Summary, profile, summary


class Shelf:
    """A cohort whose pixels lie in a dictionary; all its cases are in the folds."""

    def __init__(self, **settings):
        self.pixels, self.cases, self.opened, self.settings = {}, [], [], settings

    def source(self, path, array, affine, **header):
        kind = header.pop("kind", "intensity")
        unit = header.pop("unit", "1")
        self.pixels[path] = (array, affine, kind, unit)
        return Source((path,), "nowhere", "shelf", kind=kind, header=header, checksum=path)

    def add(self, name, array, target="a", *, affine=None, patient="", facts=None, **header):
        affine = diagonal_affine((1, 1, 1)) if affine is None else affine
        arrays = array if isinstance(array, dict) else {"image": array}
        images = {m: (self.source(f"{name}/{m}", a, affine, **header),) for m, a in arrays.items()}
        if isinstance(target, np.ndarray):
            target = self.source(f"{name}/mask", target, affine, kind="labels")
        self.cases.append(Case(name, patient or name, images, target, facts=facts or {}))

    def cohort(self, names=None):
        cases = [c for c in self.cases if names is None or c.id in names]
        folds = {c.id: 0 for c in cases if c.target is not None}
        return Cohort(tuple(cases), folds, frozenset(), **self.settings)

    def load(self, source, *, nan=None):
        self.opened.append(source.where)
        array, affine, kind, unit = self.pixels[source.where]
        return Image(array, affine, kind=kind, unit=unit)

    def profile(self, names=None, workers=2):
        return profile(self.cohort(names), load=self.load, workers=workers)


def assert_same(a, b):
    """Equal, floats up to rounding."""
    if isinstance(a, Mapping):
        assert list(a) == list(b)
        for key in a:
            assert_same(a[key], b[key])
    elif isinstance(a, list):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            assert_same(x, y)
    elif isinstance(a, float):
        assert a == pytest.approx(b, rel=1e-9)
    else:
        assert a == b


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("scale", [1e-8, 1.0, 1e6])
def test_summary_agrees_with_numpy_within_its_step(seed, scale):
    rng = np.random.default_rng(seed)
    values = rng.normal(0.3, 1, 5000) * scale * rng.choice([1, 100], 5000)
    seen = summary(values)
    assert seen.mean == pytest.approx(values.mean())
    assert seen.std == pytest.approx(values.std())
    for q in (0, 0.5, 1, 25, 50, 75, 99, 99.5, 100):
        truth = np.percentile(values, q, method="inverted_cdf")
        assert seen.percentile(q) == pytest.approx(truth, rel=0.01)


def test_percentiles_of_few_numbers_by_hand():
    # Four numbers; 25 % is the first, 26 % the second. Bins are 1 % wide and cover -3, 0, 2 and 50 separately.
    seen = summary(np.array([50.0, -3, 0, 2]))
    assert [round(seen.percentile(q), 1) for q in (25, 26, 50, 51, 75, 76, 100)] == [-3, 0, 0, 2.0, 2.0, 50, 50]


@pytest.mark.parametrize("value", [0.0, 0.7, -1024.0, 1.7e6, 1e-10])
def test_equal_numbers_are_exact(value):
    seen = summary(np.full(9, value))
    assert (seen.mean, seen.std, seen.minimum, seen.maximum) == (value, 0.0, value, value)
    assert [seen.percentile(q) for q in (0.5, 50, 99.5)] == [value] * 3


def test_weights_are_repetitions():
    values, counts = np.array([3.0, 5.0, -2.0]), np.array([4, 1, 7])
    assert_same(record.to_json(summary(values, counts)), record.to_json(summary(np.repeat(values, counts))))


def test_summaries_of_large_offset_keep_their_deviation():
    values = 1e9 + np.arange(1000.0)
    merged = summary(values[:300]).merge(summary(values[300:]))
    assert merged.std == pytest.approx(values.std())


def test_no_numbers_have_no_percentile_and_change_nothing():
    assert math.isnan(Summary().percentile(50))
    some = summary(np.array([1.0, 2.0]))
    assert Summary().merge(some) == some == some.merge(Summary())


def test_summary_whose_bins_do_not_add_up_is_refused():
    with pytest.raises(DataError, match="histogram of 3 of 4 values"):
        Summary(4, 0.0, 0.0, 0.0, 0.0, {0: 3})


def mixed(n, seed=0):
    """Volumes of many sizes and types with masks; some unlabelled."""
    rng = np.random.default_rng(seed)
    shelf = Shelf(labels={1: "organ", 2: "tumour", 4: "never"}, ignore=9)
    for i in range(n):
        size = tuple(int(v) for v in rng.integers(3, 12, 3))
        dtype = [np.uint8, np.int16, np.float32][i % 3]
        array = rng.gamma(2, 30, (1 + i % 2, *size)).astype(dtype)
        if i % 4 == 0:
            array[:, 0] = 0
        mask = rng.choice([0, 1, 2, 9], (1, *size), p=[0.5, 0.3, 0.1, 0.1]).astype(np.uint8)
        spacing = tuple(float(s) for s in rng.choice([0.5, 0.7, 1.0, 5.0], 3))
        facts = {"age": 60.0} if i % 2 else {}
        shelf.add(f"c{i:02}", array, mask, affine=diagonal_affine(spacing), facts=facts, modality="MR", unit="1")
    return shelf


@pytest.mark.parametrize("seed", range(5))
def test_merged_profiles_are_the_profile_of_the_union(seed):
    shelf = mixed(40, seed)
    names = np.random.default_rng(seed).permutation([c.id for c in shelf.cases])
    cut = int(np.random.default_rng(seed).integers(1, 40))
    one, two = shelf.profile(set(names[:cut])), shelf.profile(set(names[cut:]))
    whole = record.to_json(shelf.profile())
    assert_same(record.to_json(one.merge(two)), whole)
    assert_same(record.to_json(two.merge(one)), whole)


def test_threads_do_not_change_a_single_digit():
    shelf = mixed(40)
    assert shelf.profile(workers=1) == shelf.profile(workers=4)


def test_profile_survives_its_file(tmp_path):
    seen = mixed(20).profile()
    record.write(tmp_path / "profile.json", seen)
    assert record.read(Profile, tmp_path / "profile.json") == seen


def test_sizes_and_spacings_are_those_of_the_patient_however_the_array_lies():
    shelf = Shelf()
    array = np.random.default_rng(0).normal(size=(1, 4, 10, 20))
    shelf.add("axial", array, affine=diagonal_affine((5, 0.7, 0.5)))
    # The same body with the axes stored in the order i, k, j: columns of the affine move with them.
    sagittal = diagonal_affine((5, 0.7, 0.5))[:, [2, 0, 1, 3]]
    shelf.add("sagittal", np.moveaxis(array, 3, 1), affine=sagittal)
    seen = shelf.profile()
    assert seen.sizes == ({4: 2}, {10: 2}, {20: 2})
    assert seen.median_spacing() == (5.0, 0.7, 0.5)
    assert seen.dims == {3: 2}


def test_size_percentiles_are_exact():
    shelf = Shelf()
    for n in (31, 512, 64, 63, 40):
        shelf.add(f"c{n}", np.arange(n * 7.0).reshape(1, 1, n, 7))
    seen = shelf.profile()
    assert seen.median_size() == (1, 63, 7)
    assert seen.size_percentile(100) == (1, 512, 7)
    assert seen.dims == {2: 5}
    assert seen.voxels.maximum == 512 * 7


def test_unknown_spacings_do_not_count():
    shelf = Shelf()
    shelf.add("known", np.ones((1, 1, 4, 4)), affine=diagonal_affine((1, 0.2, 0.2)))
    shelf.add("unknown", np.ones((1, 1, 4, 4)), spacing_known=False)
    seen = shelf.profile()
    assert (seen.spacing_known, seen.median_spacing()) == (1, (1.0, 0.2, 0.2))
    assert Profile().median_spacing() == (1.0, 1.0, 1.0)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.float32, np.float64])
def test_intensities_of_all_voxels_and_of_the_body(dtype):
    rng = np.random.default_rng(1)
    shelf, everything, inside = Shelf(), [], []
    for i in range(6):
        array = rng.integers(3, 250, (1, 2, 16, 16)).astype(dtype)
        array[0, :, :4] = 0  # A quarter of background.
        shelf.add(f"c{i}", array)
        everything.append(array.ravel())
        inside.append(array[array > 0])
    seen = shelf.profile()
    for got, values in ((seen.intensity, everything), (seen.body, inside)):
        truth = np.concatenate(values).astype(float)
        (one,) = got["image"]
        assert one.count == truth.size
        assert one.mean == pytest.approx(truth.mean())
        assert one.std == pytest.approx(truth.std())
        assert one.percentile(99.5) == pytest.approx(np.percentile(truth, 99.5, method="inverted_cdf"), rel=0.01)


def test_single_darkest_voxel_is_not_background():
    shelf = Shelf()
    shelf.add("c", np.arange(400, dtype=np.int16).reshape(1, 1, 20, 20))
    seen = shelf.profile()
    assert seen.body == seen.intensity


def test_slabs_do_not_change_the_numbers(monkeypatch):
    shelf = mixed(6)
    whole = record.to_json(shelf.profile())
    monkeypatch.setattr("lucency.profile.look.SLAB", 100)
    assert_same(record.to_json(shelf.profile()), whole)


def test_labels_are_measured_in_voxels_millimetres_and_boxes():
    shelf = Shelf(labels={1: "organ", 200: "tumour", 7: "never"}, ignore=3)
    mask = np.zeros((1, 5, 10, 10), np.uint8)
    mask[0, 1:4, 2:6, 3:9] = 1  # 3 * 4 * 6 = 72 voxels …
    mask[0, 1, 2, 3] = 3  # … one of them not annotated
    mask[0, 4, 9, 0:2] = 200
    image = np.zeros((1, 5, 10, 10), np.float32)
    image[mask == 200] = 50.0
    shelf.add("c0", image, mask, affine=diagonal_affine((2, 0.5, 0.5)))
    shelf.add("c1", image, np.zeros_like(mask), affine=diagonal_affine((2, 0.5, 0.5)))
    seen = shelf.profile()
    assert seen.label_voxels == {1: 71, 7: 0, 200: 2}
    assert seen.label_mm3 == pytest.approx({1: 71 * 0.5, 7: 0.0, 200: 2 * 0.5})  # 2 * .5 * .5 = .5 mm³ a voxel
    assert seen.label_cases == {1: 1, 7: 0, 200: 1}
    assert seen.label_extents == {1: ({3: 1}, {4: 1}, {6: 1}), 200: ({1: 1}, {1: 1}, {2: 1})}
    assert (seen.n_masks, seen.n_empty_masks) == (2, 1)
    (under,) = seen.labelled["image"]
    assert (under.count, under.maximum) == (73, 50.0)


def test_modalities_channels_units_and_missing_facts_are_counted():
    shelf = Shelf(classes=("a", "b"))
    image = np.random.default_rng(0).normal(size=(1, 3, 4, 5))
    shelf.add("c0", {"T1": image, "T2": np.concatenate([image, image])}, "a", modality="MR", facts={"age": 50.0})
    shelf.add("c1", {"T1": image}, "b", modality="MR", facts={"age": 70.0, "sex": "F"})
    seen = shelf.profile()
    assert seen.modalities == {"T1": 2, "T2": 1}
    assert seen.dicom_modalities == {"MR": 3}
    assert seen.channels == {1: 1, 3: 1}
    assert {m: len(c) for m, c in seen.intensity.items()} == {"T1": 1, "T2": 2}
    assert (seen.missing["age"], seen.missing["sex"], seen.missing["site"]) == (0, 1, 2)
    assert seen.units == {"1": 3}


def test_only_the_training_part_is_opened_and_patients_are_counted_once():
    shelf = Shelf(classes=("a", "b"))
    for i in range(12):
        shelf.add(f"c{i:02}", np.full((1, 1, 4, 4), i), "ab"[i % 2] if i < 10 else None, patient=f"P{i // 2}")
    folds = {f"c{i:02}": i // 2 for i in range(8)}
    left_out = {"c09": "copy"}
    cohort = Cohort(tuple(shelf.cases), folds, frozenset({"c08"}), left_out=left_out, classes=("a", "b"))
    seen = profile(cohort, load=shelf.load)
    assert shelf.opened == [f"c{i:02}/image" for i in range(8)]
    assert (seen.n_cases, seen.n_patients, seen.n_unlabelled) == (8, 4, 2)
    assert seen.class_counts == {"a": 4, "b": 4}
    assert seen.intensity["image"][0].maximum == 7


def test_numbers_to_predict_are_summarised():
    shelf = Shelf()
    for i in range(4):
        shelf.add(f"c{i}", np.ones((1, 1, 2, 2)), float(10 * i))
    assert (shelf.profile().values.mean, shelf.profile().values.maximum) == (15.0, 30.0)


def test_nothing_to_train_on_is_refused():
    with pytest.raises(DataError, match="No labelled case to train on"):
        profile(Cohort((), {}, frozenset()), load=Shelf().load)
