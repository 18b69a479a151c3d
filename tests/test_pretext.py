"""What a body learns from images alone."""

import numpy as np
import pytest
import torch

from lucency.pretext import BLOCKS, HIDDEN, PretextNet, hidden, pretext_loss, views
from lucency.tasks import task_named
from lucency.train.early import Pretext, pretext_batch
from tiny import network_of, plan_for

pytestmark = pytest.mark.usefixtures("one_thread")


def drawn(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("size", [(28, 28), (12, 16, 16), (1, 40, 24), (5, 64, 64)])
def test_whole_blocks_are_hidden_about_as_many_as_wanted(size):
    unseen = hidden(torch.zeros(64, 1, *size), drawn())
    assert unseen.shape == (64, 1, *size)
    assert float(unseen.float().mean()) == pytest.approx(HIDDEN, abs=0.05)
    sides = [-(-n // min(n, BLOCKS)) for n in size]
    block = unseen[(slice(None), 0, *(slice(s) for s in sides))].flatten(1)
    assert bool((block.all(dim=1) | ~block.any(dim=1)).all())


def test_only_what_was_hidden_counts():
    images = torch.randn(4, 1, 16, 16, generator=drawn(1))
    unseen = hidden(images, drawn(2))

    class Answers(torch.nn.Module):
        def forward(self, x):
            # Right by 0.5 where hidden, wrong by 100 where not.
            return torch.where(unseen, images + 0.5, images + 100)

    assert float(pretext_loss(Answers(), "masked", images, drawn(2), frames=False)) == pytest.approx(0.5, abs=1e-5)


def test_what_is_hidden_is_not_shown():
    images = torch.randn(2, 1, 16, 16, generator=drawn(1)) + 7
    shown = []

    class Looks(torch.nn.Module):
        def forward(self, x):
            shown.append(x)
            return x

    pretext_loss(Looks(), "masked", images, drawn(2), frames=False)
    unseen = hidden(images, drawn(2))
    assert bool((shown[0][unseen] == 0).all())
    assert bool((shown[0][~unseen] == images[~unseen]).all())


def test_two_views_of_an_image_are_partners():
    """A projection that says which image it was has the least contrast; one that says the opposite has more."""
    images = torch.randn(6, 1, 8, 8, generator=drawn())
    right, wrong = torch.eye(6).repeat(2, 1), torch.eye(6)[[0, 1, 2, 3, 4, 5, 1, 2, 3, 4, 5, 0]]

    def of(answer):
        net = torch.nn.Module()
        net.forward = lambda x: answer
        return float(pretext_loss(net, "contrastive", images, drawn(), frames=False))

    # Cosines 1 with the partner, 0 with ten others, at temperature 0.2: log(1 + 10 exp(-5)).
    assert of(right) == pytest.approx(float(np.log1p(10 * np.exp(-5.0))), abs=1e-5)
    assert of(wrong) > of(right) + 1


def test_views_differ_and_a_missing_frame_stays_missing():
    clip = torch.randn(2, 1, 4, 16, 16, generator=drawn())
    clip[:, :, 2] = 0.0
    both = views(clip, drawn(3), frames=True)
    assert both.shape == (4, 1, 4, 16, 16)
    assert not torch.equal(both[:2], both[2:])
    assert float(both[:, :, 2].abs().max()) == 0.0


@pytest.mark.parametrize("kind", ["contrastive", "masked"])
@pytest.mark.parametrize(("name", "dims"), [("classify", 2), ("segment", 3)])
def test_what_is_handed_on_are_the_tasks_own_weights_by_name(name, dims, kind):
    plan = plan_for(name, pretrain=kind)
    net = Pretext(task_named(name), kind, frames=False).build(plan)["net"]
    own = network_of(plan).state_dict()
    given = {k: v for k, v in net.state_dict().items() if k.startswith("body.")}
    assert given
    assert {k: v.shape for k, v in given.items()} == {k: v.shape for k, v in own.items() if k.startswith("body.")}
    x = torch.randn(2, 1, *plan.patch[3 - dims :], generator=drawn())
    out = net.train()(x)
    assert out.shape == ((2, 64) if kind == "contrastive" else x.shape)


@pytest.mark.parametrize("kind", ["contrastive", "masked"])
def test_every_weight_of_the_body_that_can_learn_does(kind):
    plan = plan_for("classify", pretrain=kind)
    net = Pretext(task_named("classify"), kind, frames=False).build(plan)["net"].train()
    images = torch.randn(4, 1, 16, 16, generator=drawn())
    pretext_loss(net, kind, images, drawn(), frames=False).backward()
    still = [n for n, p in net.body.named_parameters() if p.grad is None or float(p.grad.abs().sum()) == 0]
    assert still == []


def test_the_batch_grows_for_contrast_but_not_beyond_memory():
    small = plan_for("classify", batch=8)
    assert pretext_batch(small, dense=False) == 64
    large = plan_for("classify", size=(1, 512, 512), batch=8)
    # 2 000 000 / 512² = 7.6: no more than the plan's own batch.
    assert pretext_batch(large, dense=False) == 8
    assert pretext_batch(plan_for("segment"), dense=True) == 4


def test_a_net_is_of_one_kind():
    plan = plan_for("classify")
    net = PretextNet(network_of(plan).body, "masked", plan, dense=False)
    assert net(torch.zeros(2, 1, 15, 17)).shape == (2, 1, 15, 17)
