"""Explanations of a network whose reasons are known: what it looks at is built in."""

import csv

import numpy as np
import pytest
import torch
from PIL import Image as Picture
from torch import nn

from lucency import model as models
from lucency.calibration import Calibration
from lucency.errors import UsageError
from lucency.explain import (
    METHODS,
    Scored,
    explain,
    grad_cam,
    integrated_gradients,
    occlusion,
    randomised,
    scored_of,
    trials,
)
from lucency.explain.trials import Trials
from lucency.networks import Body
from lucency.read import read_inputs
from lucency.tasks import task_named
from tiny import network_of, plan_for


class Bright(Body):
    """A body with one map: the image itself, at half the size."""

    channels = (1, 1)
    strides = ((1, 1), (2, 2))

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1, 1, 1, 1))

    def forward(self, x):
        x = x * self.weight
        return [x, nn.functional.avg_pool2d(x, 2)]


class Net(nn.Module):
    """The answer is the mean brightness of the upper left quarter."""

    def __init__(self):
        super().__init__()
        self.body = Bright()

    def forward(self, x):
        coarse = self.body(x)[-1]
        n = coarse.shape[-1] // 2
        value = coarse[:, :, :n, :n].mean(dim=(1, 2, 3))
        return torch.stack([value, torch.zeros_like(value)], dim=1)


@pytest.fixture
def bright():
    array = np.zeros((1, 1, 16, 16), np.float32)
    array[0, 0, 2:6, 2:6] = 3.0
    array[0, 0, 10:14, 10:14] = 5.0  # brighter, but of no account
    return Scored(Net().eval(), lambda out: out[:, 0] - out[:, 1], flat=True), array


@pytest.mark.parametrize("method", [integrated_gradients, occlusion], ids=lambda m: m.__name__)
def test_the_map_points_at_what_the_answer_rests_on_and_not_at_what_is_brightest(bright, method):
    scored, array = bright
    drawn = method(scored, array)
    assert drawn.shape == (1, 16, 16)
    _, j, i = np.unravel_index(drawn.argmax(), drawn.shape)
    assert 2 <= j < 6
    assert 2 <= i < 6
    assert np.abs(drawn[0, 9:, 9:]).max() < 1e-6


def test_integrated_gradients_sum_to_the_change_of_the_answer(bright):
    scored, array = bright
    whole = float(scored(torch.from_numpy(array)[None])[0].detach())
    empty = float(scored(torch.zeros(1, 1, 1, 16, 16))[0].detach())
    # 16 pixels of 3 in a quarter of 64: the answer is 48 / 64.
    assert whole == pytest.approx(0.75)
    assert integrated_gradients(scored, array).sum() == pytest.approx(whole - empty, rel=1e-4)


def test_grad_cam_is_the_map_weighed_by_its_gradient(bright):
    scored, array = bright
    # One channel, gradient 1 / 16 in the 4 × 4 quarter of the 8 × 8 map: on the mean 1 / 64 everywhere.
    coarse = nn.functional.avg_pool2d(torch.from_numpy(array[0]), 2)[0] / 64
    drawn = grad_cam(scored, array)[0]
    assert drawn.max() <= float(coarse.max()) + 1e-6
    assert drawn.sum() == pytest.approx(4 * float(coarse.sum()), rel=0.05)


def test_a_map_of_what_counts_passes_and_one_of_edges_fails(bright):
    scored, array = bright
    rng = np.random.default_rng(0)
    assert trials(integrated_gradients, scored, array, integrated_gradients(scored, array), rng).pointing >= 0.9

    def brightness(scored, array):
        return array[0].astype(np.float32)

    found = trials(brightness, scored, array, brightness(scored, array), rng)
    assert found.randomised == pytest.approx(1.0)
    assert "randomised" in found.failed


def test_what_fails_is_named():
    assert Trials(0.1, 0.9, 1.0).failed == ()
    assert Trials(-0.7, 0.5, 0.2).failed == ("randomised", "repeated", "pointing")


def test_random_weights_have_the_size_of_the_old_ones_and_leave_them_alone():
    net = network_of(plan_for("classify"))
    before = {k: v.clone() for k, v in net.state_dict().items()}
    other = randomised(net, np.random.default_rng(0))
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    for (name, one), two in zip(net.named_parameters(), other.parameters(), strict=True):
        if one.ndim > 1:
            assert not torch.equal(one, two), name
            assert float(two.detach().std()) == pytest.approx(float(one.detach().std()), rel=0.35)


def test_a_model_that_gives_no_number_is_refused():
    plan = plan_for("retrieve")
    with pytest.raises(UsageError, match="lucency search"):
        scored_of(network_of(plan), task_named("retrieve"), plan, np.zeros((1, 1, 16, 16), np.float32))


@pytest.mark.parametrize("kind", ["classify", "segment"])
def test_maps_lie_on_the_image_s_own_grid(tmp_path, kind):
    plan = plan_for(kind) if kind == "classify" else plan_for(kind, dims=2, size=(1, 16, 16))
    models.save(tmp_path / "model", plan, Calibration(), {"fold0": network_of(plan).state_dict()}, "# card")
    (tmp_path / "new").mkdir()
    noise = np.random.default_rng(0).integers(0, 255, (24, 20)).astype(np.uint8)
    Picture.fromarray(noise).save(tmp_path / "new" / "one.png")
    (found,) = explain(models.load(tmp_path / "model"), read_inputs(tmp_path / "new"))
    assert set(found.maps) == set(METHODS)
    assert all(m.image.size == (1, 24, 20) for m in found.maps.values())
    assert all(np.isfinite(m.grid).all() for m in found.maps.values())
    (again,) = explain(models.load(tmp_path / "model"), read_inputs(tmp_path / "new"))
    assert [m.trials for m in again.maps.values()] == [m.trials for m in found.maps.values()]
    with pytest.raises(UsageError, match="No method 'lime'"):
        list(explain(models.load(tmp_path / "model"), read_inputs(tmp_path / "new"), ["lime"]))


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_the_command_writes_maps_a_table_and_a_page_with_the_verdicts(tmp_path, lang, capsys):
    from typer.testing import CliRunner

    from lucency.apps.cli import app

    plan = plan_for("classify")
    models.save(tmp_path / "model", plan, Calibration(), {"fold0": network_of(plan).state_dict()}, "# card")
    (tmp_path / "new").mkdir()
    noise = np.random.default_rng(0).integers(0, 255, (16, 16)).astype(np.uint8)
    Picture.fromarray(noise).save(tmp_path / "new" / "one.png")
    out = tmp_path / "out"
    said = CliRunner().invoke(
        app, ["explain", str(tmp_path / "model"), str(tmp_path / "new"), "--out", str(out), "--lang", lang]
    )
    assert said.exit_code == 0, said.output
    with (out / "explained.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [r["method"] for r in rows] == list(METHODS)
    assert {p.name for p in out.glob("*.nii.gz")} == {f"one-{m}.nii.gz" for m in METHODS}
    page = (out / "index.html").read_text("utf-8")
    assert page.count("data:image/png") == 4
    assert ("权重" if lang == "zh" else "random weights") in page
