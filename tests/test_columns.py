"""Clinical columns as numbers: which are taken, how words and gaps become numbers, nothing from outside the fold."""

import numpy as np
import pytest

from lucency.case import Case, Source
from lucency.columns import REGION_VOLUME, Column, columns_of, encoded, standard, told_columns
from lucency.errors import DataError


def rows(n=40):
    return [
        {
            "age": 50.0 + k,
            "stage": ("I", "II", "III")[k % 3],
            "OS_months": float(k),
            "随访时间": float(k),
            "PatientNo id": float(k),
            "remark": f"text {k}",
            "same": 1.0,
            "rare": "x" if k else "y",
            "marker": ("high" if k < 20 else f"odd {k}"),
        }
        | ({"dose": 60.0 + k} if k % 2 else {})
        for k in range(n)
    ]


def test_only_columns_that_can_be_learned_from_are_taken():
    found = {c.name: c for c in columns_of(rows())}
    assert set(found) == {"age", "dose", "stage", "marker"}
    assert found["stage"].levels == ("I", "II", "III")
    assert found["marker"].levels == ("", "high")


def test_order_of_the_rows_does_not_matter():
    assert columns_of(rows()) == columns_of(rows()[::-1])


def test_words_become_groups_and_gaps_stay_gaps():
    columns = (Column("age"), Column("stage", ("I", "II", "III")))
    assert encoded({"age": 61.0, "stage": "III"}, columns) == (61.0, 0.0, 1.0)
    assert encoded({"stage": "IV"}, columns)[1:] == (0.0, 0.0)
    assert np.isnan(encoded({}, columns)).all()
    assert columns[1].names == ("stage = II", "stage = III")


def test_a_fold_standardises_by_itself_and_flags_what_is_missing():
    table = np.array([[1.0, np.nan], [3.0, 5.0]] * 10)
    learned = standard(table)
    found = learned.apply(np.array([[2.0, np.nan], [3.0, 5.0]]))
    # Mean 2, deviation 1; the second column is 5 wherever it is known, so only its absence says anything.
    assert found.tolist() == [[0, 0, 1], [1, 0, 0]]


def test_columns_of_one_word_are_flagged_once():
    table = np.full((20, 2), np.nan)
    table[:10] = np.random.default_rng(0).normal(size=(10, 2))
    assert standard(table).apply(table).shape == (20, 3)


def test_nobody_to_learn_from_is_refused():
    with pytest.raises(DataError, match="No row to learn from"):
        standard(np.zeros((0, 2)))


def test_radiomics_features_are_not_told_but_the_volume_of_the_region_is():
    source = Source(("a.npz",), "data", "npz")
    cases = [
        Case(
            str(k), str(k), {"image": (source,)}, clinical={"age": 50.0 + k, "original_glcm_Idn": k / 9}, region=source
        )
        for k in range(12)
    ]
    assert [c.name for c in told_columns(cases)] == ["age", REGION_VOLUME]
