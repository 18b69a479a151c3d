import itertools

import numpy as np
import pytest
import torch
from torch import nn

import tiny
from lucency import model as models
from lucency import predict as rooms
from lucency.calibration import Calibration
from lucency.case import Case, Source
from lucency.errors import DataError
from lucency.image import Image, diagonal_affine
from lucency.plan import Grid
from lucency.prepare import tile_starts
from lucency.tasks import task_named
from lucency.write.nifti import write_nifti

pytestmark = pytest.mark.usefixtures("one_thread")


class Pointwise(nn.Module):
    """Answers at every voxel from that voxel alone."""

    def __init__(self, dims):
        super().__init__()
        self.conv = (nn.Conv3d if dims == 3 else nn.Conv2d)(1, 2, 1)
        nn.init.constant_(self.conv.weight[:1], 2.0)
        nn.init.constant_(self.conv.weight[1:], -1.0)
        nn.init.constant_(self.conv.bias, 0.5)

    def forward(self, x):
        return self.conv(x)


class Looking(nn.Module):
    """Counts the voxels of its input and which of its sizes it has seen."""

    strides = ((1, 1, 1), (2, 4, 4))

    def __init__(self, dims=3):
        super().__init__()
        self.sizes = []
        self.dims = dims
        if dims == 2:
            self.strides = ((1, 1), (4, 4))

    def forward(self, x):
        self.sizes.append(tuple(x.shape[2:]))
        return x.repeat(1, 2, *(1 for _ in x.shape[2:]))


def volume(size, seed=0):
    return np.random.default_rng(seed).normal(size=(1, *size)).astype(np.float32)


@pytest.mark.parametrize("tile", [(8, 8, 8), (5, 16, 9), (12, 7, 30), (1, 4, 4)])
@pytest.mark.parametrize("size", [(12, 16, 16), (13, 17, 9), (30, 8, 41)])
def test_tiles_of_a_pointwise_network_are_the_whole_image(size, tile):
    plan = tiny.plan_for(tile=tile)
    array = volume(size)
    (found,) = rooms.raw_outputs(Pointwise(3), [array], plan, dense=True)
    assert found.shape == (2, *size)
    assert found[0] == pytest.approx(array[0] * 2 + 0.5, abs=1e-5)
    assert found[1] == pytest.approx(-array[0] + 0.5, abs=1e-5)


def test_no_seam_shows_for_a_network_that_sees_little_not_even_at_the_corners():
    """A 3 × 3 × 3 network sees one voxel beyond: where tiles overlap by 8 voxels, their weighted mean is its answer."""
    torch.manual_seed(0)
    net = nn.Conv3d(1, 2, 3, padding=1).eval()
    array = volume((40, 40, 40))
    (whole,) = rooms.raw_outputs(net, [array], tiny.plan_for(tile=(40, 40, 40)), dense=True)
    (tiled,) = rooms.raw_outputs(net, [array], tiny.plan_for(tile=(16, 16, 16)), dense=True)
    # At the edge of a tile its zero padding shows, where the middle of another weighs exp(.5 · (7.5 / 2)²) = 1100 times
    assert np.abs(tiled - whole).max() < 0.01
    assert np.abs(tiled - whole).mean() < 3e-4


@pytest.mark.parametrize(("n", "tile"), list(itertools.product([1, 7, 16, 33, 100], [1, 4, 7, 16])))
def test_tiles_cover_the_axis_and_overlap_by_half(n, tile):
    starts = [start for (start,) in tile_starts((n,), (min(n, tile),))]
    covered = np.zeros(n)
    for start in starts:
        assert 0 <= start <= n - min(n, tile)
        covered[start : start + tile] += 1
    assert covered.min() >= 1
    assert max(np.diff(starts), default=0) <= max(1, np.ceil(tile / 2))


@pytest.mark.parametrize("tile", [(1, 8, 8), (16, 16, 16), (5, 9, 40)])
def test_weights_of_a_tile_are_symmetric_highest_in_the_middle_and_never_0(tile):
    weight = rooms._gauss(tile)
    assert weight.shape == tile
    assert torch.allclose(weight, weight.flip(0, 1, 2))
    # Three axes at 4 standard deviations: exp(-.5 · 3 · 16).
    assert float(weight.min()) > np.exp(-24)
    assert float(weight[tuple(n // 2 for n in tile)]) == float(weight.max())


def test_input_is_padded_to_the_stride_and_the_answer_is_cut_back():
    net = Looking()
    (found,) = rooms.raw_outputs(net, [volume((5, 10, 11))], tiny.plan_for(tile=(32, 32, 32)), dense=True)
    assert net.sizes == [(6, 12, 12)]
    assert np.array_equal(found[0], volume((5, 10, 11))[0])
    flat = Looking(2)
    plan = tiny.plan_for(dims=2, tile=(1, 32, 32), size=(1, 10, 11))
    (found,) = rooms.raw_outputs(flat, [volume((1, 10, 11))], plan, dense=True)
    assert flat.sizes == [(12, 12)]
    assert np.array_equal(found[1], volume((1, 10, 11))[0])


def test_no_pass_is_larger_than_the_tile():
    net = Looking()
    list(rooms.raw_outputs(net, [volume((40, 33, 20))], tiny.plan_for(tile=(16, 16, 16)), dense=True))
    assert len(net.sizes) > 1
    assert all(n <= 16 for size in net.sizes for n in size)


@pytest.mark.parametrize("dims", [2, 3])
def test_mirrored_answers_are_turned_back_before_they_are_averaged(dims):
    """A pointwise network answers alike in every mirror: the mean is the plain answer. A ramp would show a slip."""
    size = (6, 9, 10) if dims == 3 else (1, 9, 10)
    array = np.arange(np.prod(size), dtype=np.float32).reshape(1, *size) / 100
    axes = ("k", "j", "i") if dims == 3 else ("j", "i")
    plan = tiny.plan_for(dims=dims, size=size, tile=size, tta=axes)
    (found,) = rooms.raw_outputs(Pointwise(dims), [array], plan, dense=True)
    assert found[0] == pytest.approx(array[0] * 2 + 0.5, abs=1e-5)


def test_mirrored_copies_are_all_combinations_of_the_axes():
    seen = []

    class Noting(nn.Module):
        def forward(self, x):
            seen.append(tuple(x[0, 0].flatten().tolist()))
            return x.sum(dim=(2, 3), keepdim=False) * len(seen)

    plan = tiny.plan_for("classify", size=(1, 2, 2), tta=("j", "i"))
    array = np.array([[[[1.0, 2.0], [3.0, 4.0]]]], np.float32)
    (found,) = rooms.raw_outputs(Noting(), [array], plan, dense=False)
    assert sorted(seen) == sorted([(1, 2, 3, 4), (2, 1, 4, 3), (3, 4, 1, 2), (4, 3, 2, 1)])
    # 10 · (1 + 2 + 3 + 4) / 4 copies
    assert found.tolist() == [25.0]


def test_images_of_many_sizes_come_back_in_order():
    arrays = [volume((4, n, 8), seed=k) for k, n in enumerate([8, 8, 6, 8, 8, 5])]
    found = list(rooms.raw_outputs(Pointwise(3), arrays, tiny.plan_for(tile=(16, 16, 16)), dense=True))
    assert [f.shape[2] for f in found] == [8, 8, 6, 8, 8, 5]
    assert all(f[0] == pytest.approx(a[0] * 2 + 0.5, abs=1e-5) for f, a in zip(found, arrays, strict=True))


def test_total_stride_is_found_in_every_task_network():
    assert rooms.total_stride(tiny.network_of(tiny.plan_for()), tiny.plan_for()) == (2, 2, 2)
    flat = tiny.plan_for("classify")
    assert rooms.total_stride(tiny.network_of(flat), flat) == (1, 2, 2)
    assert rooms.total_stride(Pointwise(3), tiny.plan_for()) == (1, 1, 1)


# --- with a model on disk ------------------------------------------------------------------------------------------


def delivered(folder, plan, members=1, calibration=None):
    weights = {f"fold{n}": tiny.network_of(plan, seed=n).state_dict() for n in range(members)}
    return models.save(folder, plan, calibration or Calibration(), weights, "card")


def test_members_are_scaled_and_then_averaged(tmp_path):
    plan = tiny.plan_for("classify", folds=(0, 1))
    model = delivered(tmp_path / "model", plan, 2, Calibration(temperature=2.0))
    task = task_named("classify")
    array = volume((1, 16, 16))
    nets = rooms.networks(model, task)
    (found,) = rooms.ensemble(nets, [array], model, task)
    with torch.inference_mode():
        each = [torch.softmax(n(torch.from_numpy(array)) / 2, 1)[0] for n in nets]
    assert found == pytest.approx(((each[0] + each[1]) / 2).numpy(), abs=1e-6)
    assert not np.allclose(each[0], each[1], atol=1e-4)


def test_ensemble_takes_arrays_as_they_come(tmp_path):
    plan = tiny.plan_for(folds=(0, 1))
    model = delivered(tmp_path / "model", plan, 2)
    taken = []

    def arrays():
        for n in range(4):
            taken.append(n)
            yield volume((12, 16, 16), seed=n)

    task = task_named("segment")
    stream = rooms.ensemble(rooms.networks(model, task), arrays(), model, task)
    next(stream)
    assert len(taken) <= 2
    assert len(list(stream)) == 3


@pytest.mark.parametrize("seed", range(3))
def test_prediction_lies_on_the_grid_of_its_source(tmp_path, seed):
    affine = tiny.turned(seed, (0.8, 2.5, 1.1), order=(1, 2, 0), flips=(0, 1), oblique=0.2)
    cohort = tiny.masks(tmp_path, n=2, size=(13, 9, 17), affine=affine, value=200)
    model = delivered(tmp_path / "model", tiny.plan_for(labels={200: "ball"}))
    for case, found in zip(cohort.cases, rooms.predict(model, cohort.cases), strict=True):
        assert found.case == case.id
        assert found.model == model.digest
        assert found.mask.size == (13, 9, 17)
        assert np.abs(found.mask.affine - affine).max() < 1e-4
        assert set(np.unique(found.mask.array)) <= {0, 200}


def test_a_frame_as_large_as_the_source_is_no_reason_to_skip_the_way_back(tmp_path):
    """A 16 × 16 image of 1 × 0.5 mm fills 16 × 8 of a 16 × 16 frame: the mask must be stretched back."""
    affine = diagonal_affine((1.0, 1.0, 0.5))
    plan = tiny.plan_for(dims=2, grid=Grid("fit", (1, 16, 16)), size=(1, 16, 16))
    task = task_named("segment")
    inside = np.zeros((1, 1, 16, 16), np.uint8)
    inside[..., 4:12, :6] = 1
    image = Image(inside.astype(np.float32), affine)
    mask = Image(inside, affine, kind="labels")
    from lucency.prepare import prepare_image, prepare_labels

    prepared = prepare_image([image], plan)
    assert prepared.place.scaled == (1, 16, 8)
    output = task.perfect(prepare_labels(mask, plan), plan)
    case = Case("a", "a", {"image": (Source(("a",), "", "npy"),)}, None)
    found = task.decode(output, case, prepared, plan, Calibration())
    assert np.array_equal(found.mask.array, inside)


def test_same_model_same_case_same_answer(tmp_path):
    cohort = tiny.stripes(tmp_path)
    model = delivered(tmp_path / "model", tiny.plan_for("classify"))
    first, second = ([p.probabilities for p in rooms.predict(model, cohort.cases)] for _ in range(2))
    assert first == second
    assert all(sum(p.values()) == pytest.approx(1) for p in first)


def test_another_modality_is_refused(tmp_path):
    model = delivered(tmp_path / "model", tiny.plan_for(task_options={"modality": "CT", "supervised": 2}))
    case = tiny.masks(tmp_path, n=1).cases[0]
    source = case.images["image"][0]
    odd = Case("a", "a", {"image": (Source(source.paths, source.root, "nifti", header={"modality": "MR"}),)}, None)
    with pytest.raises(DataError, match=r"case0\.nii\.gz: The image is MR.*CT, which the model was trained on"):
        list(rooms.predict(model, [odd]))
    list(rooms.predict(model, [case]))


def test_another_number_of_channels_is_refused_and_the_file_named(tmp_path):
    model = delivered(tmp_path / "model", tiny.plan_for())
    write_nifti(tmp_path / "rgb.nii", Image(np.zeros((3, 12, 16, 16), np.float32), diagonal_affine((1, 1, 1))))
    case = Case("a", "a", {"image": (Source(("rgb.nii",), str(tmp_path), "nifti"),)}, None)
    with pytest.raises(DataError, match=r"rgb\.nii: 3 channels.*1, as in training"):
        list(rooms.predict(model, [case]))
