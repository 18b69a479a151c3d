"""The retrieval task: what it learns from, what it judges by, and that learning brings likes together."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from lucency import model as models
from lucency.calibration import Calibration
from lucency.errors import UsageError
from lucency.features import learn_foreign, likeness
from lucency.tasks import Batch, task_named
from lucency.tasks.retrieve import RetrieveNet, reference
from tiny import network_of, plan_for, stored, stripes

TASK = task_named("retrieve")


def plan_of(**options):
    return plan_for("retrieve", task_options={"temperature": 0.2, "labels": False, "pretext": "contrast"} | options)


def case_of(label):
    return SimpleNamespace(id="x", target=label)


def loss_of(net, plan, images, targets, seed=0):
    batch = Batch(images, targets, plan.task_options)
    ((name, loss),) = TASK.losses({"net": net}, batch, torch.Generator().manual_seed(seed))
    assert name == "net"
    return loss


def test_neighbours_are_ranked_and_judged_by_hand():
    # Unit vectors of three reference cases: after the query's turn towards its nearest the order stays b, a, a.
    reference_of = Calibration(
        extra={
            "centre": (0.0, 0.0),
            "axes": (1.0, 0.0, 0.0, 1.0),
            "reference": (1.0, 0.0, 0.0, 1.0, 0.6, 0.8),
            "reference_class": (0.0, 1.0, 0.0),
        }
    )
    plan = plan_for("retrieve", classes=("a", "b"))
    output = TASK.activate(torch.tensor([[0.0, 7.0]]), reference_of)[0].numpy()
    assert output.tolist() == [0.0, 1.0]
    found = TASK.decode(output, case_of("a"), None, plan, reference_of)
    assert found.neighbours == ("b", "a", "a")
    scores = TASK.score(found, case_of("a"), plan)
    # Two right ones, of which one is among the first two: P@2; precision 1/2 at place 2 and 2/3 at place 3.
    assert scores["precision_at_10"] == 0.5
    assert scores["average_precision"] == pytest.approx((1 / 2 + 2 / 3) / 2)
    discount = 1 / np.log2([2, 3, 4])
    assert scores["ndcg_at_10"] == pytest.approx(discount[1:].sum() / discount[:2].sum())


def test_of_ten_and_more_right_ones_precision_is_that_at_ten():
    ranked = ("a",) * 4 + ("b",) * 6 + ("a",) * 20
    scores = TASK.score(SimpleNamespace(neighbours=ranked), case_of("a"), plan_of())
    assert scores["precision_at_10"] == 0.4


def test_labels_take_part_in_the_loss_only_where_they_are_asked_for():
    images = torch.randn(6, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    one, other = torch.tensor([0, 0, 0, 1, 1, 1]), torch.tensor([0, 1, 0, 1, 0, 1])
    plain, told = plan_of(), plan_of(labels=True)
    net = network_of(plain).train()
    for layer in net.modules():
        if isinstance(layer, torch.nn.Dropout):
            layer.p = 0.0
    assert float(loss_of(net, plain, images, one).detach()) == float(loss_of(net, plain, images, other).detach())
    assert float(loss_of(net, told, images, one).detach()) != float(loss_of(net, told, images, other).detach())


@pytest.mark.parametrize("pretext", ["contrast", "autoencoder"])
def test_learning_lowers_the_loss(tmp_path, pretext):
    plan = plan_of(pretext=pretext)
    store = stored(stripes(tmp_path, n=16), plan, tmp_path)
    images = torch.from_numpy(np.stack([store.image(c) for c in sorted(store.entries)])).float()[:, :, 0]
    net = network_of(plan).train()
    optimiser = torch.optim.AdamW(net.parameters(), 5e-3)
    losses = []
    for step in range(60):
        loss = loss_of(net, plan, images, torch.zeros(len(images)), seed=step)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    # Eight images of each kind look alike, so contrast cannot tell all of them apart.
    assert np.mean(losses[-10:]) < 0.85 * np.mean(losses[:5])


def test_an_unknown_pretext_is_refused():
    with pytest.raises(UsageError, match=r"No pretext 'jigsaw'.*contrast, autoencoder"):
        TASK.build(plan_of(pretext="jigsaw"))


def test_only_an_autoencoder_has_a_reconstruction_error_and_noise_has_more_of_it():
    plan = plan_of(pretext="autoencoder")
    assert isinstance(network_of(plan), RetrieveNet)
    assert network_of(plan_of()).reconstruction_error(torch.zeros(1, 1, 16, 16)) is None
    net = network_of(plan)
    with torch.inference_mode():
        x = torch.cat([torch.zeros(1, 1, 16, 16), 3 * torch.randn(1, 1, 16, 16)])
        error = net.reconstruction_error(x)
    assert error.shape == (2,)
    assert error[1] > error[0]


@pytest.mark.parametrize("pretext", ["contrast", "autoencoder"])
def test_a_foreign_image_is_less_like_the_training_images_than_their_own_kind(tmp_path, pretext):
    plan = plan_of(pretext=pretext)
    cohort = stripes(tmp_path, n=90)
    store = stored(cohort, plan, tmp_path)
    weights = network_of(plan).state_dict()
    foreign = learn_foreign(cohort, store, plan, weights)
    assert foreign is not None
    assert foreign.can_tell
    models.save(tmp_path / "model", plan, Calibration(), {"fold0": weights}, "# card", foreign=foreign)
    of = likeness(models.load(tmp_path / "model"))
    own = np.array([of(store.image(c.id).astype(np.float32)) for c in cohort.fold(0)])
    assert own.mean() > 0.3
    rng = np.random.default_rng(0)
    blots = [rng.normal(0, 1, (1, 1, 16, 16)).astype(np.float32) for _ in range(10)]
    assert np.mean([of(b) <= 0.05 for b in blots]) > 0.8


def test_a_reference_keeps_what_it_is_given_in_order():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(30, 6)) + np.repeat([[4.0], [-4.0]], 15, axis=0)
    kept = reference(features, [0.0] * 15 + [1.0] * 15)
    plan = plan_for("retrieve", classes=("a", "b"))
    output = TASK.activate(torch.from_numpy(features[:1]), kept)[0].numpy()
    found = TASK.decode(output, case_of("a"), None, plan, kept)
    assert set(found.neighbours[:10]) == {"a"}
    assert found.label == "a"
