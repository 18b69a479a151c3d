"""Boxes found in tiles, in mirrored copies and by several members lie in the pixels of the whole image."""

import numpy as np
import pytest
import torch
from torch import nn

import tiny
from lucency import predict as rooms
from lucency.calibration import Calibration
from lucency.detector import LOOKED

MOST = 3


class Brightest(nn.Module):
    """Gives the box around everything above 0.5, with the share of the view that is bright as its score."""

    strides = ((4, 4),)

    def __init__(self):
        super().__init__()
        self.sizes = []

    def forward(self, x):
        self.sizes.append(tuple(x.shape[2:]))
        d = x.ndim - 2
        rows = torch.zeros(len(x), MOST, 2 + 2 * d)
        rows[:, :, 1] = -1
        for n, image in enumerate(x[:, 0]):
            places = torch.nonzero(image > 0.5)
            if len(places):
                edges = torch.cat([places.amin(dim=0), places.amax(dim=0) + 1])
                rows[n, 0] = torch.tensor([len(places) / image.numel(), 0, *edges.tolist()])
        return rows


def picture(size, low, high):
    array = np.zeros((1, *size), np.float32)
    array[(0, *(slice(a, b) for a, b in zip(low, high, strict=True)))] = 1
    return array


def real(rows):
    return rows[rows[:, 0] > 0]


@pytest.mark.parametrize("tta", [(), ("i",), ("j", "i")])
@pytest.mark.parametrize("tile", [(1, 40, 48), (1, 16, 20)])
def test_every_view_says_the_same_place(tile, tta):
    plan = tiny.plan_for("classify", tile=tile, tta=tta)
    array = picture((1, 40, 48), (0, 9, 26), (1, 14, 33))
    (found,) = rooms.raw_outputs(Brightest(), [array], plan, dense=False, boxes=True)
    boxes = real(found)
    # Whole views hold all of it; a tile may hold a part, which lies inside.
    assert (boxes[:, 2:4] >= [9, 26]).all()
    assert (boxes[:, 4:] <= [14, 33]).all()
    assert any((row[2:] == [9, 26, 14, 33]).all() for row in boxes)
    assert len(boxes) >= 2 ** len(tta)


def test_every_view_says_the_same_place_in_a_volume():
    plan = tiny.plan_for("segment", tile=(8, 8, 8), tta=("k", "i"))
    array = picture((20, 12, 17), (11, 3, 5), (14, 7, 9))
    (found,) = rooms.raw_outputs(Brightest3(), [array], plan, dense=False, boxes=True)
    assert any((row[2:] == [11, 3, 5, 14, 7, 9]).all() for row in real(found))
    assert (real(found)[:, 2:5] >= [11, 3, 5]).all()
    assert (real(found)[:, 5:] <= [14, 7, 9]).all()


def test_every_look_says_where_it_looked():
    plan = tiny.plan_for("classify", tile=(1, 16, 20), tta=("i",))
    array = picture((1, 40, 48), (0, 9, 26), (1, 14, 33))
    (found,) = rooms.raw_outputs(Brightest(), [array], plan, dense=False, boxes=True)
    ends = found[found[:, 0] == LOOKED]
    # Rows 0 to 24 in steps of 8, columns 0 to 28 in four steps: 9⅓ apart; mirrored they are the same.
    places = {(a, b) for a in (0, 8, 16, 24) for b in (0, 9, 19, 28)}
    assert {(r[2], r[3]) for r in ends[:16]} == places
    assert {(r[2], 48 - r[5]) for r in ends[16:]} == places
    assert ((ends[:, 4:] - ends[:, 2:4]) == [16, 20]).all()
    assert len(found) == len(ends) * (MOST + 1)


class Brightest3(Brightest):
    strides = ((4, 4, 4),)


def test_the_input_is_padded_to_the_stride():
    net = Brightest()
    plan = tiny.plan_for("classify", tile=(1, 30, 30))
    list(rooms.raw_outputs(net, [picture((1, 10, 11), (0, 2, 2), (1, 4, 5))], plan, dense=False, boxes=True))
    assert net.sizes == [(12, 12)]


def test_boxes_of_all_members_follow_each_other():
    class Given:
        plan = tiny.plan_for("classify", tile=(1, 40, 48))
        calibration = Calibration()

    class Boxes:
        boxes, dense = True, False

        def activate(self, raw, calibration):
            return raw.double()

    arrays = [picture((1, 40, 48), (0, n, n), (1, n + 5, n + 6)) for n in (3, 20)]
    found = list(rooms.ensemble([Brightest(), Brightest()], arrays, Given(), Boxes()))
    assert [f.shape for f in found] == [(2 * (MOST + 1), 6)] * 2
    for n, rows in zip((3, 20), found, strict=True):
        assert [row[2:].tolist() for row in real(rows)] == [[n, n, n + 5, n + 6]] * 2
