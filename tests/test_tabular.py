"""A table of features without images: judged by nested cross-validation, refused where it says too little."""

import gzip

import numpy as np
import pytest

from lucency import record
from lucency.baselines import tabular
from lucency.errors import DataError, UsageError
from lucency.evaluate import Evaluation
from lucency.fit import Settings, fit
from lucency.tabular import grouped_folds


def drawn(n=90, p=12, signal=1.5, seed=0):
    """Two classes that the first feature tells apart, one feature twice, a few gaps."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 3 == 0
    x = rng.normal(size=(n, p))
    x[:, 0] += signal * y
    x[:, 1] = 2 * x[:, 0] + 1
    x[rng.random((n, p)) < 0.03] = np.nan
    return x, y.astype(int)


def written(place, x, y, *, header="Target", words=("0", "1"), patients=None):
    """The table as a compressed CSV file."""
    names = [f"original_glcm_F{k}" for k in range(x.shape[1])]
    first = ["PatientID"] if patients is not None else []
    lines = [",".join([*first, *names, header])]
    for n, (row, value) in enumerate(zip(x, y, strict=True)):
        cells = ["" if np.isnan(v) else f"{v:.5f}" for v in row]
        lines.append(",".join([*([patients[n]] if patients is not None else []), *cells, words[value]]))
    with gzip.open(place / "table.csv.gz", "wt", encoding="utf-8") as file:
        file.write("\n".join(lines))
    return place / "table.csv.gz"


def test_models_find_what_is_there_and_nothing_where_nothing_is():
    found = {}
    for signal in (2.0, 0.0):
        x, y = drawn(120, signal=signal)
        scores = tabular.nested(x, y, tabular.folds_of(y, 5, np.random.default_rng(0)), 0)
        assert set(scores) == {*tabular.TABLE_MODELS, tabular.MEAN}
        assert all(((s >= 0) & (s <= 1)).all() for s in scores.values())
        found[signal] = {k: tabular.separations(s[:, None], y)[0] for k, s in scores.items()}
    assert min(found[2.0].values()) > 0.75
    # Choosing features outside the folds would show some 0.7 here.
    assert max(found[0.0].values()) < 0.65


def test_held_out_rows_teach_nothing():
    x, y = drawn()
    fold = tabular.folds_of(y, 5, np.random.default_rng(0))
    turned = y.copy()
    turned[fold == 2] = 1 - turned[fold == 2]
    before = tabular.nested(x, y, fold, 0)["logistic regression of a table"]
    after = tabular.nested(x, turned, fold, 0)["logistic regression of a table"]
    # What fold 2 is said to be must not move how fold 2 is judged.
    assert np.array_equal(before[fold == 2], after[fold == 2])
    assert not np.array_equal(before, after)


def test_a_feature_that_repeats_another_is_seen_once():
    x, y = drawn(signal=3.0)
    x = np.nan_to_num(x)
    x[:, 1] = 2 * x[:, 0] + 1
    seen = tabular.seen_by(x, y, x[:5])
    assert seen.rows.shape == (90, 11)
    assert seen.further.shape == (5, 11)
    assert abs(tabular.separations(seen.rows, y)[0] - 0.5) > 0.4


def test_a_patients_rows_share_a_fold():
    y = np.arange(60) % 2
    patients = [f"p{k // 3}" for k in range(60)]
    fold = grouped_folds(y, patients, 5, np.random.default_rng(0))
    assert all(len(set(fold[k : k + 3])) == 1 for k in range(0, 60, 3))
    assert sorted(np.bincount(fold)) == [12] * 5


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_a_table_alone_leaves_a_report(tmp_path, lang):
    x, y = drawn(60, 5)
    table = written(tmp_path, x, y, patients=[f"p{k}" for k in range(60)])
    run = fit(table, tmp_path / "run", settings=Settings(lang=lang))
    told = record.read(Evaluation, tmp_path / "run" / "evaluation.json")
    assert told.parts[0].name == "out-of-fold"
    assert told.parts[0].n_patients == 60
    assert run.metrics["metrics"]["auc"]["lower"] < run.metrics["metrics"]["auc"]["value"] > 0.6
    assert set(run.metrics["baselines"]) == set(tabular.TABLE_MODELS)
    page = run.report.read_text("utf-8")
    assert {"en": "No model is kept", "zh": "不保存模型"}[lang] in page
    assert str(tmp_path) not in page


def test_times_with_events_are_judged_by_cox_and_trees(tmp_path):
    rng = np.random.default_rng(0)
    risk = rng.normal(size=80)
    time = rng.exponential(np.exp(-risk) * 300)
    lines = ["f1,f2,time,event"] + [
        f"{r:.4f},{rng.normal():.4f},{t + 1:.1f},{int(k % 4 > 0)}"
        for k, (r, t) in enumerate(zip(risk, time, strict=True))
    ]
    (tmp_path / "table.csv").write_text("\n".join(lines))
    metrics = fit(tmp_path / "table.csv", tmp_path / "run").metrics
    assert metrics["metrics"]["uno_c"]["value"] > 0.65
    assert set(metrics["baselines"]) == {"Kaplan-Meier", "boosted trees on radiomics"}


@pytest.mark.parametrize(
    ("changes", "error", "match"),
    [
        ({"header": "answer"}, UsageError, r"does not say what to learn.*name one with --target"),
        ({"words": ("0", "0")}, DataError, r"1 classes in column 'Target'.*two"),
        ({"few": True}, DataError, r"4 patients with '1' in column 'Target'.*6 more are needed"),
    ],
)
def test_a_table_that_says_too_little_is_refused(tmp_path, changes, error, match):
    x, y = drawn(40, 3)
    if changes.pop("few", False):
        y = (np.arange(40) < 4).astype(int)
    with pytest.raises(error, match=match):
        fit(written(tmp_path, x, y, **changes), tmp_path / "run")
