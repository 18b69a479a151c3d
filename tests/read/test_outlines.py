"""Masks that were drawn as lines."""

import numpy as np
import pytest

from lucency.errors import UsageError
from lucency.read import ReadOptions, load, read
from lucency.read.outlines import filled, is_outline


def disc(size=(60, 80), centre=(30, 40), radius=20.0):
    j, i = np.mgrid[: size[0], : size[1]]
    return np.hypot(j - centre[0], i - centre[1]) < radius


def line(**where):
    whole, inner = disc(**where), disc(**{**where, "radius": where.get("radius", 20.0) - 2})
    return whole & ~inner, whole


@pytest.mark.parametrize("centre", [(30, 40), (5, 40), (30, 72), (52, 40), (30, 6)])
def test_a_line_becomes_what_it_encloses_also_where_the_edge_cuts_it(centre):
    drawn, whole = line(centre=centre)
    assert np.array_equal(filled(drawn[None, None].astype(np.uint8))[0, 0], whole)


def test_every_label_of_every_slice_is_filled_and_none_covers_another():
    array = np.zeros((1, 2, 60, 80), np.uint8)
    outer, whole = line(radius=25.0)
    inner, core = line(radius=12.0)
    array[0, 1][outer], array[0, 1][inner] = 1, 2
    found = filled(array)
    assert not found[0, 0].any()
    assert (found[0, 1] == 2).sum() == core.sum() - (core & ~inner & (found[0, 1] == 1)).sum()
    assert np.array_equal(found[0, 1] > 0, whole)
    assert (found[0, 1][inner] == 2).all()


def test_a_thing_is_no_line_and_a_thick_wall_neither():
    assert is_outline(line()[0][None, None])
    assert not is_outline(disc()[None, None])
    wall = disc(radius=20.0) & ~disc(radius=12.0)
    assert not is_outline(wall[None, None])
    assert not is_outline(np.zeros((1, 1, 9, 9), np.uint8))
    assert np.array_equal(filled(disc()[None, None]), disc()[None, None])


def drawn_in(folder, shape):
    for n in range(12):
        folder.picture(f"images/{n:02d}.png", folder.rng.integers(0, 255, shape.shape, dtype=np.uint8))
        folder.picture(f"masks/{n:02d}.png", np.where(shape, 255, 0).astype(np.uint8))


def test_lines_are_noticed_and_filled_only_where_that_is_asked_for(folder):
    drawn, whole = line()
    drawn_in(folder, drawn)
    plain, asked = read(folder.root), read(folder.root, ReadOptions(outlines="fill"))
    assert any("lines around things" in n and "--set outlines=fill" in n for n in plain.notes)
    assert any("cover what their lines enclose" in n for n in asked.notes)
    assert np.array_equal(load(plain.cases[0].target).array[0, 0] > 0, drawn)
    assert np.array_equal(load(asked.cases[0].target).array[0, 0] > 0, whole)
    assert plain.labels == asked.labels


def test_masks_that_are_things_are_left_alone_and_nothing_is_said(folder):
    drawn_in(folder, disc())
    assert not any("lines" in n for n in read(folder.root).notes)


def test_another_word_is_refused():
    with pytest.raises(UsageError, match=r"outlines = 'yes'. Expected: fill"):
        ReadOptions(outlines="yes")
