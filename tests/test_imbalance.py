"""Classes of unlike size: losses by hand, draws by count, base rates that come back."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import special

import tiny
from lucency import calibration
from lucency.case import Cohort
from lucency.errors import UsageError
from lucency.events import Clock, Events
from lucency.losses import IMBALANCE, effective_weights, imbalanced_cross_entropy, margins
from lucency.plan import Schedule
from lucency.planner import overridden
from lucency.tasks import Batch, task_named
from lucency.tasks.classify import CosineHead, imbalance_of
from lucency.train import Sampler, Work, train_member

TASK = task_named("classify")


def test_focal_loss_of_one_image_is_what_arithmetic_says():
    """p = .8 for the truth: (1 - .8)² · -ln .8 = .04 · .223144 = .0089257."""
    logits = torch.tensor([[0.2, 0.8]]).log()
    loss = imbalanced_cross_entropy(logits, torch.tensor([[0.0, 1.0]]), (1, 1), "focal")
    assert float(loss) == pytest.approx(0.0089257, abs=1e-6)


def test_logit_adjustment_asks_more_of_the_rare_class():
    """Equal logits, 9 to 1 images: the rare class is taken to have p = .1, so its loss is ln 10."""
    loss = imbalanced_cross_entropy(torch.zeros(1, 2), torch.tensor([[0.0, 1.0]]), (9, 1), "logit_adjustment")
    assert float(loss) == pytest.approx(math.log(10), abs=1e-5)


def test_effective_numbers_weigh_small_classes_by_their_count_and_have_mean_one():
    """With beta = .9999 and few images the effective number is nearly the count: weights 10 : 1, mean 1."""
    weights = effective_weights(torch.tensor([100, 10]))
    assert float(weights[1] / weights[0]) == pytest.approx(10, rel=0.01)
    assert float(weights.mean()) == pytest.approx(1)
    # Far beyond 1 / (1 - beta) = 10 000 images further ones count for nothing.
    many = effective_weights(torch.tensor([10**6, 10**7]))
    assert float(many[0] / many[1]) == pytest.approx(1, abs=1e-3)


def test_margins_go_with_the_fourth_root():
    """16 times fewer images, twice the margin; the largest is .5."""
    assert margins(torch.tensor([1600, 100])).tolist() == pytest.approx([0.25, 0.5])


def test_rare_classes_weigh_more_only_late_in_deferred_reweighting():
    logits, truth, counts = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]]), (100, 10)
    early, late = (float(imbalanced_cross_entropy(logits, truth, counts, "ldam_drw", progress=p)) for p in (0.79, 0.81))
    assert late / early == pytest.approx(float(effective_weights(torch.tensor(counts))[1]), rel=1e-5)


def unlike(folder, n=24):
    """Stripes of which every sixth stands: 20 lying, 4 standing."""
    cohort = tiny.stripes(folder, n=2 * n)
    lying = [c for c in cohort.cases if c.target == "lying"][: n * 5 // 6]
    standing = [c for c in cohort.cases if c.target == "standing"][: n - len(lying)]
    kept = tuple(sorted([*lying, *standing], key=lambda c: c.id))
    return Cohort(kept, {c.id: cohort.folds[c.id] for c in kept}, frozenset(), classes=cohort.classes)


def plan_of(choice, **changes):
    options = {"mixup": 0.0, "smoothing": 0.0, "dropout": 0.0, "imbalance": choice}
    return tiny.plan_for("classify", task_options=options, augmentation={}, batch=8, **changes)


def test_the_last_rows_of_a_batch_are_drawn_class_by_class(tmp_path):
    cohort, plan = unlike(tmp_path), plan_of("balanced_sampling")
    store = tiny.stored(cohort, plan, tmp_path)
    ids = [c.id for c in cohort.cases]
    drawn = {
        share: np.stack([Sampler(store, ids, plan, dense=False, balance=share).batch(s)[1].numpy() for s in range(60)])
        for share in (0.0, 0.5, 1.0)
    }
    assert drawn[0.0].mean() == pytest.approx(4 / 24, abs=0.01)
    # 480 draws at even odds: three standard deviations are .07.
    assert drawn[1.0].mean() == pytest.approx(0.5, abs=0.07)
    assert drawn[0.5][:, :4].mean() == pytest.approx(4 / 24, abs=0.01)
    assert drawn[0.5][:, 4:].mean() == pytest.approx(0.5, abs=0.1)
    assert Sampler(store, ids, plan, dense=False).counts == (20, 4)


@pytest.mark.parametrize("choice", IMBALANCE)
def test_every_choice_learns_the_rare_class(tmp_path, choice):
    cohort = unlike(tmp_path)
    plan = plan_of(choice, schedule=Schedule(90, 2e-2, warmup=5, ema=0.9))
    store = tiny.stored(cohort, plan, tmp_path)
    (tmp_path / "training").mkdir()
    work = Work(cohort, plan, TASK, store, tmp_path / "training", Clock(now=lambda: 0.0), Events())
    weights = train_member(work, 0, math.inf).weights
    net = TASK.build(plan)["net"].eval()
    net.load_state_dict(weights)
    arrays = torch.from_numpy(np.stack([store.image(c.id) for c in cohort.cases]).astype(np.float32))[:, :, 0]
    with torch.no_grad():
        raw = net(arrays).numpy().astype(np.float64)
    truth = np.array([c.target == "standing" for c in cohort.cases])
    p = TASK.calibrate(list(raw), list(truth.astype(float)), plan, np.random.default_rng(0)).apply(raw)[:, 1]
    assert p[truth].min() > p[~truth].max()


def test_balanced_mixup_mixes_an_image_as_it_comes_with_one_drawn_by_class():
    seen = {}

    class Net(torch.nn.Module):
        outputs = 2

        def forward(self, x):
            seen["x"] = x
            return torch.zeros(len(x), 2, requires_grad=True)

    images = torch.arange(8.0).reshape(8, 1, 1, 1)
    batch = Batch(images, torch.tensor([0, 0, 0, 0, 1, 1, 1, 1]), {"imbalance": "balanced_mixup"}, counts=(4, 4))
    list(TASK.losses({"net": Net().train()}, batch, torch.Generator().manual_seed(1)))
    share = (seen["x"].flatten() - torch.arange(4.0)) / 4
    assert len(share) == 4
    assert ((share >= 0) & (share <= 1)).all()
    # Beta(.2, 1) has the mean 1/6: images as they come prevail.
    draws = torch.rand(20_000, generator=torch.Generator().manual_seed(0)) ** 5
    assert float(draws.mean()) == pytest.approx(1 / 6, abs=0.01)


def test_base_rates_come_back_after_learning_at_even_odds():
    """Outputs of a perfect model of even odds, seen in patients of whom 5 % are ill: 5 % is what it must say."""
    rng = np.random.default_rng(3)
    truth = (rng.random(4000) < 0.05).astype(int)
    x = rng.normal(0, 1, 4000) + 1.5 * truth
    even = np.stack([np.zeros(4000), 1.5 * x - 1.5**2 / 2], axis=1)
    before, after = calibration.fit(even, truth).apply(even)[:, 1], calibration.fit_with_rates(even, truth)
    p = after.apply(even)[:, 1]
    assert before.mean() > 0.1
    assert p.mean() == pytest.approx(truth.mean(), abs=0.01)
    right = special.expit(even[:, 1] + special.logit(0.05))
    assert np.abs(p - right).max() < 0.08


def test_a_choice_is_set_by_its_name_alone_and_a_misspelt_one_is_answered():
    draft = tiny.plan_for("classify", task_options={"imbalance": "plain"})
    draft = replace(draft, reasons={**draft.reasons, "imbalance": "plain cross-entropy"})
    found = overridden(draft, {"imbalance": "focal"})
    assert found.task_options["imbalance"] == "focal"
    assert found.reasons["imbalance"] == "set by the user: imbalance = focal"
    with pytest.raises(UsageError, match=r"imbalance = 'ldam'.*did you mean 'ldam_drw'"):
        TASK.build(overridden(draft, {"imbalance": "ldam"}))
    assert isinstance(TASK.build(overridden(draft, {"imbalance": "ldam_drw"}))["net"].head, CosineHead)
    assert imbalance_of({}) == "plain"
