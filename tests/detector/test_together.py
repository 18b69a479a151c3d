"""Several answers become one box each, with a score that says how many agreed."""

import numpy as np
import pytest

from lucency.detector.together import clustered, joined, surest, without_cut


def rows(*found: tuple[float, ...]) -> np.ndarray:
    return np.array(found, dtype=float).reshape(-1, 6)


def test_one_answer_stays_as_it_is_sorted_without_what_fills_up() -> None:
    got = clustered([rows((0.3, 0, 0, 0, 5, 5), (0.0, -1, 0, 0, 0, 0), (0.9, 1, 0, 0, 5, 5))])
    assert got[:, 0].tolist() == [0.9, 0.3]


def test_corners_are_weighted_by_score_and_scores_averaged() -> None:
    # The same box, moved by one pixel of ten: overlap 9 / 11. Weights 1 and 9/11; scores .8 and .4.
    # Score (.8 + .4 · 9/11) / (1 + 9/11) = .62; low corner .4 · 9/11 / (.8 + .4 · 9/11) = .2903.
    got = clustered([rows((0.8, 0, 0, 0, 10, 10)), rows((0.4, 0, 1, 0, 11, 10))])
    assert len(got) == 1
    assert got[0, 0] == pytest.approx(0.62)
    assert got[0, 2] == pytest.approx(0.4 * 9 / 11 / (0.8 + 0.4 * 9 / 11))


def test_a_box_that_one_of_two_answers_lacks_has_half_its_score() -> None:
    got = clustered([rows((0.8, 0, 0, 0, 10, 10)), rows()])
    assert got[0, 0] == pytest.approx(0.4)


def test_tiles_that_could_not_see_all_of_a_box_do_not_vote_on_it() -> None:
    tiles = [np.array([0.0, 0, 20, 24]), np.array([0.0, 16, 20, 40])]
    got = clustered([rows((0.8, 0, 0, 0, 10, 10), (0.6, 0, 12, 14, 18, 21)), rows()], tiles)
    assert got[:, 0].tolist() == pytest.approx([0.8, 0.6])


def test_boxes_of_two_classes_are_not_joined() -> None:
    got = clustered([rows((0.8, 0, 0, 0, 10, 10)), rows((0.6, 1, 0, 0, 10, 10))])
    assert sorted(got[:, 1].tolist()) == [0, 1]


def test_a_box_cut_by_a_tile_is_dropped_where_another_holds_it_whole() -> None:
    # Columns 0 to 24 and 16 to 40. Cut at 24, but whole in the other; at the image's own edge; cut in both.
    tiles = [np.array([0.0, 0, 20, 24]), np.array([0.0, 16, 20, 40])]
    found = rows((0.9, 0, 0, 19, 10, 24), (0.8, 0, 5, 0, 20, 10), (0.7, 0, 5, 15, 10, 24))
    assert without_cut(found, tiles[0], tiles)[:, 0].tolist() == [0.8, 0.7]


def test_looks_are_told_apart_by_the_rows_that_end_them() -> None:
    # Two tiles of 20 × 24 that overlap from column 16 to 24. The box at 18.5 to 21.5 lies whole in both, and the second
    # tile lacks it: .8 of one in two looks is .4. The one at 2 to 8 was in the first tile alone and keeps its score.
    # The one that the first tile cuts at its border is dropped, the whole one of the second stays.
    first = rows(
        (0.8, 0, 5, 18.5, 10, 21.5),
        (0.7, 1, 2, 2, 8, 8),
        (0.6, 1, 12, 19, 18, 24),
        (0, -1, 0, 0, 0, 0),
        (-1, -1, 0, 0, 20, 24),
    )
    second = rows((0.9, 1, 12, 25, 18, 35), (-1, -1, 0, 16, 20, 40))
    got = joined(np.concatenate([first, second]), 2)
    assert got[:, 0].tolist() == pytest.approx([0.9, 0.7, 0.4])
    assert got[2, 2:].tolist() == pytest.approx([5, 18.5, 10, 21.5])


def test_rows_of_classes_that_are_not_there_only_fill_up() -> None:
    assert len(joined(rows((0.9, 2, 0, 0, 5, 5), (0.4, 1, 0, 0, 5, 5)), 2)) == 1


def test_of_a_single_thing_the_surest_box_is_kept_and_of_others_all() -> None:
    found = rows((0.9, 1, 0, 0, 5, 5), (0.8, 0, 0, 0, 5, 5), (0.7, 1, 9, 9, 15, 15), (0.6, 0, 9, 9, 15, 15))
    assert surest(found, [1])[:, 0].tolist() == [0.9, 0.8, 0.6]
    assert surest(found, [])[:, 0].tolist() == [0.9, 0.8, 0.7, 0.6]
    assert surest(found[:0], [1]).shape == (0, 6)
