"""Targets that are rows, as many as there are: kept in the store, cut with the patch, filled up in a batch."""

from dataclasses import replace

import numpy as np
import pytest

import tiny
from lucency.plan import Grid
from lucency.prepare import prepare
from lucency.train import Sampler

BOXES = {
    "case0": [],
    "case1": [[0, 2, 2, 2, 6, 6, 6]],
    "case2": [[1, 0, 0, 0, 3, 4, 5], [0, 5, 6, 7, 9, 9, 9], [1, 8.5, 3, 3, 11, 6.25, 7]],
}


def rows_of(case, plan):
    return np.array(BOXES[case.id], dtype=float).reshape(-1, 7)


def stored(tmp_path, plan):
    cohort = tiny.masks(tmp_path, n=3)
    return cohort, prepare(cohort, plan, rows_of, tmp_path / "prepared")


def test_rows_come_back_from_the_store_as_they_were(tmp_path):
    plan = tiny.plan_for()
    _, store = stored(tmp_path, plan)
    for case, rows in BOXES.items():
        assert store.target(case).shape == (len(rows), 7)
        assert store.target(case).tolist() == rows
    # A second call reads what the first one left.
    again = stored(tmp_path, plan)[1]
    assert again.target("case2").tolist() == BOXES["case2"]


def test_a_batch_is_filled_up_with_rows_of_nothing(tmp_path):
    plan = tiny.plan_for(batch=3)
    cohort, store = stored(tmp_path, plan)
    images, rows = Sampler(store, [c.id for c in cohort.cases], plan, dense=False).batch(0)
    assert images.shape == (3, 1, 12, 16, 16)
    assert rows.shape == (3, 3, 7)
    counts = sorted(int((r[:, 0] >= 0).sum()) for r in rows)
    assert counts == [0, 1, 3]
    assert (rows[rows[..., 0] < 0] == -1).all()


@pytest.mark.parametrize("step", range(8))
def test_boxes_lie_in_the_patch_where_their_voxels_lie(tmp_path, step):
    """Every voxel of the image says where it is, so that a patch says where it was cut."""
    plan = tiny.plan_for(batch=2, patch=(6, 8, 8), grid=Grid("spacing", (12, 16, 16)))
    _, store = stored(tmp_path, plan)
    sampler = Sampler(store, ["case1", "case2"], plan, dense=False)
    images, rows = sampler.batch(step)
    for image, own in zip(images, rows, strict=True):
        found = [r for r in own.numpy() if r[0] >= 0]
        for case in ("case1", "case2"):
            whole = np.asarray(store.image(case)[0], np.float32)
            at = [
                s
                for s in np.ndindex(7, 9, 9)
                if np.array_equal(whole[tuple(slice(a, a + n) for a, n in zip(s, (6, 8, 8), strict=True))], image[0])
            ]
            if not at:
                continue
            wanted = []
            for row in BOXES[case]:
                edges = np.array(row[1:]) - np.tile(at[0], 2)
                cut = np.clip(edges, 0, np.tile([6, 8, 8], 2))
                if np.prod(cut[3:] - cut[:3]) >= 0.5 * np.prod(edges[3:] - edges[:3]):
                    wanted.append([row[0], *cut])
            assert [r.tolist() for r in found] == [pytest.approx(w) for w in wanted]
            break
        else:
            pytest.fail("the patch is of no image")


def test_patches_go_where_boxes_are(tmp_path):
    plan = tiny.plan_for(batch=2, patch=(4, 4, 4), grid=Grid("spacing", (12, 16, 16)), seed=3)
    _, store = stored(tmp_path, plan)
    sampler = Sampler(store, ["case1"], replace(plan, batch=2), dense=False)
    held = []
    for step in range(30):
        _, rows = sampler.batch(step)
        held.append((rows[0, :, 0] >= 0).any().item() if rows.shape[1] else False)
    # A patch of 4³ anywhere in 12 × 16 × 16 holds half of the one box of 4³ in few of a hundred draws.
    assert np.mean(held) > 0.2
