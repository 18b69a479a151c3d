"""Generated images in training: a share of the rows, until the end comes near; and who may use them in ``fit``."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

import tiny
from lucency import record, supplement
from lucency.errors import DataError, UsageError
from lucency.events import Clock, Events
from lucency.fit import check_synthetic, fit
from lucency.plan import Schedule
from lucency.supplement import Supplement
from lucency.synthesize.arrays import ids_of, store_of
from lucency.synthesize.drawn import Drawn
from lucency.tasks import task_named
from lucency.train import Extra, Work, train_member
from lucency.train.loop import Loop
from lucency.train.synthetic import Mixing
from lucency.walk import CONSENT, Settings


def made(n=8, value=7.0, label=1, dense=False):
    """Images that no real one resembles: one value throughout."""
    images = np.full((n, 1, 1, 16, 16), value, np.float32)
    masks = np.ones((n, 1, 16, 16), np.int16) if dense else None
    return Drawn(images, np.full(n, -1 if dense else label), np.full(n, ""), masks)


@pytest.fixture
def ground(tmp_path):
    plan = tiny.plan_for("classify", batch=8, schedule=Schedule(10, warmup=1), folds=(0,), augmentation={})
    cohort = tiny.stripes(tmp_path, n=24)
    store = tiny.stored(cohort, plan, tmp_path)
    extra_store = store_of(made(), plan, tmp_path / "made", "made")
    return Work(cohort, plan, task_named("classify"), store, tmp_path / "training", Clock(), Events()), extra_store


def extra_of(store, share=0.5, until=0.8, folds=(0,)):
    return Extra(store, dict.fromkeys(folds, ids_of(made(), "made")), share, until)


@pytest.mark.parametrize(("share", "rows"), [(0.5, 4), (0.25, 2), (0.99, 7)])
def test_a_share_of_the_rows_is_generated_and_one_is_real_at_least(ground, share, rows):
    work, store = ground
    mixing = Mixing(extra_of(store, share), 0, work.plan, work.task)
    real = torch.zeros(8, 1, 1, 16, 16), torch.zeros(8)
    images, targets = mixing.mixed(*real, 3, 0.2)
    assert [float(i.mean()) for i in images] == [7.0] * rows + [0.0] * (8 - rows)
    assert targets.tolist() == [1.0] * rows + [0.0] * (8 - rows)


@pytest.mark.parametrize("share", [0.05, 0.2, 1 / 3])
def test_shares_that_are_no_whole_rows_are_kept_in_the_mean(ground, share):
    work, store = ground
    mixing = Mixing(extra_of(store, share), 0, work.plan, work.task)
    real = torch.zeros(8, 1, 1, 16, 16), torch.zeros(8)
    rows = [int(mixing.mixed(*real, step, 0.2)[1].sum()) for step in range(400)]
    assert set(rows) <= {int(8 * share), int(8 * share) + 1}
    assert np.mean(rows) == pytest.approx(8 * share, abs=0.1)
    assert torch.equal(mixing.mixed(*real, 7, 0.2)[0], mixing.mixed(*real, 7, 0.2)[0])


def test_the_last_part_of_training_is_real(ground):
    work, store = ground
    mixing = Mixing(extra_of(store), 0, work.plan, work.task)
    real = torch.zeros(8, 1, 1, 16, 16), torch.zeros(8)
    assert mixing.mixed(*real, 3, 0.8)[0] is real[0]
    assert mixing.mixed(*real, 3, 0.79)[0] is not real[0]


def seen_by(work, monkeypatch):
    """The batches that the loop hands to the task, as (progress, mean of each image)."""
    seen = []
    kind = type(work.task)
    original = kind.losses

    def watched(self, parts, batch, rng):
        if parts["net"].training:
            seen.append((batch.progress, batch.images.reshape(len(batch.images), -1).mean(dim=1).tolist()))
        return original(self, parts, batch, rng)

    monkeypatch.setattr(kind, "losses", watched)
    return seen


def test_the_loop_trains_on_them_until_the_end_comes_near(ground, monkeypatch):
    work, store = ground
    seen = seen_by(work, monkeypatch)
    train_member(replace(work, extra=extra_of(store)), 0, math.inf)
    assert len(seen) == 10
    for progress, means in seen:
        assert sum(m == 7.0 for m in means) == (4 if progress < 0.8 - 1e-6 else 0)
    assert sum(progress < 0.8 - 1e-6 for progress, _ in seen) == 8


def test_without_them_nothing_changes_and_with_them_the_network_does(ground):
    work, store = ground
    plain, again, mixed = (
        train_member(replace(work, extra=e, folder=work.folder / n), 0, math.inf).weights
        for n, e in (("a", None), ("b", None), ("c", extra_of(store)))
    )
    assert all(torch.equal(plain[k], again[k]) for k in plain)
    assert not all(torch.equal(plain[k], mixed[k]) for k in plain)


def test_an_interrupted_training_goes_on_with_the_same_rows(ground):
    work, store = ground
    own = replace(work, extra=extra_of(store))
    own.folder.mkdir()
    whole = train_member(replace(own, folder=own.folder / "whole"), 0, math.inf).weights
    loop = Loop(own, 0, math.inf)
    for _ in range(4):
        loop._one_step()
    loop.save()
    resumed = train_member(own, 0, math.inf).weights
    assert all(torch.equal(whole[k], resumed[k]) for k in whole)


def test_masks_are_mixed_as_classes_are(tmp_path):
    plan = tiny.plan_for("segment", size=(12, 16, 16), schedule=Schedule(3, warmup=1))
    cohort = tiny.masks(tmp_path, n=6)
    store = tiny.stored(cohort, plan, tmp_path)
    some = Drawn(np.full((4, 1, 12, 16, 16), 7, np.float32), np.full(4, -1), np.full(4, ""), np.ones((4, 12, 16, 16)))
    extra_store = store_of(some, plan, tmp_path / "made", "made")
    mixing = Mixing(Extra(extra_store, {0: ids_of(some, "made")}, 0.5), 0, plan, task_named("segment"))
    images, targets = mixing.mixed(torch.zeros(2, 1, 12, 16, 16), torch.zeros(2, 12, 16, 16, dtype=torch.int64), 0, 0)
    assert images.mean(dim=(1, 2, 3, 4)).tolist() == [7.0, 0.0]
    assert targets.float().mean(dim=(1, 2, 3)).tolist() == [1.0, 0.0]
    work = Work(cohort, plan, task_named("segment"), store, tmp_path / "t", Clock(), Events())
    assert train_member(replace(work, extra=Extra(extra_store, {0: ids_of(some, "made")}, 0.5)), 0, math.inf).steps == 3


def test_a_fold_without_images_of_its_own_is_refused(ground):
    work, store = ground
    with pytest.raises(DataError, match="No synthetic image that the member of fold 1 may see"):
        Loop(replace(work, extra=extra_of(store, folds=(0,))), 1, math.inf)


def test_a_batch_of_one_is_refused(ground):
    work, store = ground
    with pytest.raises(UsageError, match="cannot be mixed in"):
        Mixing(extra_of(store), 0, replace(work.plan, batch=1), work.task)


@pytest.mark.parametrize("share", [0.0, 1.0, -0.2])
def test_shares_out_of_range_are_refused(ground, share):
    with pytest.raises(UsageError, match=r"share = .* of synthetic images"):
        extra_of(ground[1], share)


# --- who may use them ------------------------------------------------------------------------------------------------


def left(folder, planned, cohort, **changes):
    """What a walk leaves, with some of it changed."""
    store = store_of(made(), planned, folder / "synthesis" / "accepted", "made")
    settings = {
        "verdict": "ACCEPT",
        "reasons": ("4.0 points over the best rival in 10 paired runs, and 3.0 points on the locked part",),
        "arm": "generated 1",
        "data": cohort.digest,
        "split": cohort.split,
        "plan": supplement.agreed(planned),
        "frame": 16,
        "share": 0.5,
        "until": 0.8,
        "store": store.folder.relative_to(folder / "synthesis").as_posix(),
        "ids": {0: ids_of(made(), "made")},
    }
    record.write(folder / "synthesis" / "supplement.json", Supplement(**settings | changes))
    return str(folder)


def test_accepted_images_become_a_named_arm_with_its_evidence(ground, tmp_path):
    work, _ = ground
    run = left(tmp_path / "run", work.plan, work.cohort)
    plan = supplement.begun(work.plan, run, work.cohort, consent=False)
    assert plan.synthetic == supplement.digest_of(run)
    assert plan.reasons["synthetic"].startswith("arm generated 1, 50 % of each batch until 80 % of training")
    assert "ACCEPT: 4.0 points" in plan.reasons["synthetic"]
    found = supplement.images(plan, run)
    assert found is not None
    assert found.ids[0] == ids_of(made(), "made")
    assert float(found.store.image(found.ids[0][0]).mean()) == 7.0


@pytest.mark.parametrize("word", ["REJECT", "INCONCLUSIVE"])
def test_images_without_evidence_are_refused_unless_the_user_says_so_and_then_the_plan_says_it(ground, tmp_path, word):
    work, _ = ground
    run = left(tmp_path / "run", work.plan, work.cohort, verdict=word, reasons=("no candidate gains",))
    with pytest.raises(
        DataError, match=rf"verdict was {word} \(no candidate gains\).*with --force they are used all the same"
    ) as told:
        supplement.begun(work.plan, run, work.cohort, consent=False)
    assert told.value.exit_status == 3
    plan = supplement.begun(work.plan, run, work.cohort, consent=True)
    assert plan.reasons["synthetic"].startswith("USED WITHOUT EVIDENCE, on the user's word")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"data": "other"}, "belong to other data"),
        ({"split": "other"}, "belong to other folds of these data"),
        ({"plan": "other"}, "lie on another grid"),
        ({"ids": {}}, "No generated image to use; the gate's verdict was ACCEPT"),
        ({"ids": {1: ("made000000",)}}, "No generated image for fold 0"),
    ],
)
def test_images_of_something_else_are_refused(ground, tmp_path, changes, told):
    work, _ = ground
    run = left(tmp_path / "run", work.plan, work.cohort, **changes)
    with pytest.raises((DataError, UsageError), match=told):
        supplement.begun(work.plan, run, work.cohort, consent=True)


def test_no_run_changes_nothing(ground):
    work, _ = ground
    assert supplement.begun(work.plan, None, work.cohort, consent=False) == work.plan
    assert supplement.images(work.plan, None) is None
    assert (supplement.frame_of(None), supplement.digest_of(None)) == (0, "")


def test_a_folder_that_is_no_such_run_is_refused(tmp_path):
    with pytest.raises(UsageError, match="No generated images that went through the gate"):
        supplement.of_run(str(tmp_path))
    with pytest.raises(UsageError, match="No such run"):
        supplement.of_run(str(tmp_path / "nowhere"))


def test_a_plan_made_with_other_images_is_refused(ground, tmp_path):
    work, _ = ground
    run = left(tmp_path / "run", work.plan, work.cohort)
    plan = supplement.begun(work.plan, run, work.cohort, consent=False)
    left(tmp_path / "run", work.plan, work.cohort, share=0.25)
    with pytest.raises(UsageError, match="uses generated images that are not there"):
        supplement.images(plan, run)


def test_whether_they_may_be_used_is_said_before_anything_is_read_or_removed(ground, tmp_path):
    work, _ = ground
    run, model = left(tmp_path / "run", work.plan, work.cohort, verdict="REJECT"), tmp_path / "model"
    record.write_text(model / "run.json", "an earlier one")
    with pytest.raises(DataError, match="No evidence that these generated images help"):
        fit(tmp_path, model, settings=Settings(synthetic=run))
    with pytest.raises(UsageError, match=r"cannot be the run folder as well.*choose another --out"):
        fit(tmp_path, run, settings=Settings(synthetic=run, values={CONSENT: "yes"}))
    assert sorted(p.name for p in model.iterdir()) == ["run.json"]
    check_synthetic(Settings(synthetic=run, values={CONSENT: "yes"}), model)
