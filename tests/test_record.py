import dataclasses
import json
import types
import typing
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from lucency import calibration, case, evaluate, fit, inspect, plan, prepare, profile, record, statistics
from lucency.errors import ModelError, OutputError, UsageError
from lucency.image import Orientation

#: Every type that a room writes and another reads.
STORED = (
    case.Source,
    case.Case,
    case.Cohort,
    inspect.Inspection,
    profile.Profile,
    plan.Plan,
    plan.Machine,
    plan.Timing,
    plan.Needs,
    calibration.Calibration,
    evaluate.Evaluation,
    fit.Passport,
    prepare.Entry,
    statistics.Metric,
    Orientation,
)

#: Fields whose values are not free.
KNOWN = {
    (case.Case, "part"): "val",
    (case.Case, "facts"): {"age": 41.5, "sex": "F"},
    (case.Cohort, "folds"): {"x": 3},
    (case.Cohort, "locked"): frozenset(["y"]),
    (plan.Plan, "reasons"): dict.fromkeys(plan.DECISIONS, "because"),
    (plan.Plan, "dims"): 2,
    (plan.Plan, "precision"): "bf16",
    (plan.Plan, "pretrain"): "masked",
    (plan.Plan, "pretrain_share"): 0.25,
    (plan.Plan, "unlabelled"): "pseudo",
    (plan.Plan, "folds"): (0, 2),
    (plan.Plan, "tta"): ("j", "i"),
    (plan.Plan, "accelerator"): "cuda",
    (plan.Normalisation, "kind"): "fixed",
    (plan.Grid, "mode"): "fit",
    (plan.Schedule, "optimiser"): "sgd",
    (plan.Schedule, "shape"): "plateau",
    (profile.Summary, "count"): 7,
    (profile.Summary, "bins"): {-3: 2, 12: 5},
    (fit.Settings, "lang"): "zh",
}


def sample(kind, number=1):
    """A value of an annotated type, no field at its default."""
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        names = [f.name for f in dataclasses.fields(kind) if f.init]
        return kind(**{n: KNOWN.get((kind, n), sample(hints[n], k + 1)) for k, n in enumerate(names)})
    if origin is typing.Literal:
        return args[-1]
    if origin in (typing.Union, types.UnionType):
        return sample(next(a for a in args if a is not type(None)), number)
    if origin is tuple:
        return (sample(args[0], number),) if args[-1] is Ellipsis else tuple(sample(a, number) for a in args)
    if origin is frozenset:
        return frozenset([sample(args[0], number)])
    if origin is list:
        return [sample(args[0], number)]
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return {sample(args[0], number): sample(args[1], number)}
    plain = {str: f"字 {number}", int: number, float: number + 0.25, bool: True, np.ndarray: np.eye(2) * number}
    return plain[kind]


@pytest.mark.parametrize("kind", STORED, ids=lambda k: k.__name__)
def test_what_is_written_comes_back_the_same(kind, tmp_path):
    value = sample(kind)
    record.write(tmp_path / "x.json", value)
    back = record.read(kind, tmp_path / "x.json")
    assert type(back) is kind
    assert repr(back) == repr(value)
    assert record.to_json(back) == record.to_json(value)


@pytest.mark.parametrize("kind", STORED, ids=lambda k: k.__name__)
def test_an_unknown_key_is_refused_with_the_nearest_one(kind, tmp_path):
    record.write(tmp_path / "x.json", sample(kind))
    stored = json.loads((tmp_path / "x.json").read_text(encoding="utf-8"))
    first = dataclasses.fields(kind)[0].name
    stored[f"{first}s"] = 1
    (tmp_path / "x.json").write_text(json.dumps(stored), encoding="utf-8")
    with pytest.raises(UsageError, match=rf"x\.json: Unknown key '{first}s' in {kind.__name__}.*did you mean '{first}"):
        record.read(kind, tmp_path / "x.json")


@pytest.mark.parametrize("target", ["name", "3", 2.0, 2.5, None, case.Source(("m.png",), "r", "raster", kind="labels")])
def test_every_kind_of_target_keeps_its_type(target):
    one = case.Case("x", "p", {"image": (case.Source(("i.png",), "r", "raster"),)}, target)
    back = record.from_json(case.Case, json.loads(json.dumps(record.to_json(one))))
    assert (back.target, type(back.target)) == (target, type(target))


def test_a_missing_key_is_named_with_its_place():
    stored = {**record.to_json(sample(plan.Plan)), "grid": {"mode": "fit"}}
    with pytest.raises(UsageError, match=r"plan\.json\.grid: Grid lacks size.*restore the file"):
        record.from_json(plan.Plan, stored, "plan.json")


def test_what_a_person_types_into_a_plan_is_corrected():
    stored = {**record.to_json(sample(plan.Plan)), "schedule": {"steps": 5, "warmupp": 1}}
    with pytest.raises(UsageError, match=r"plan\.json\.schedule: Unknown key 'warmupp'.*did you mean 'warmup'"):
        record.from_json(plan.Plan, stored, "plan.json")


def test_the_class_checks_what_is_read():
    stored = {**record.to_json(sample(plan.Plan)), "reasons": {}}
    with pytest.raises(UsageError, match=r"Decision 'task' has no reason"):
        record.from_json(plan.Plan, stored)


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ("{", ModelError, r"x\.json: Not readable as JSON"),
        ("[1]", ModelError, "Found list.*an object"),
        ('{"schema": 99}', ModelError, "Written in schema 99.*use a newer lucency"),
        (None, UsageError, r"x\.json: No such file.*lucency fit"),
    ],
)
def test_files_that_are_no_record(tmp_path, text, error, words):
    if text is not None:
        (tmp_path / "x.json").write_text(text, encoding="utf-8")
    with pytest.raises(error, match=words):
        record.read_object(tmp_path / "x.json")


def test_numpy_paths_and_sets_become_plain_and_nan_becomes_null():
    value = {"a": np.float32(1.5), "b": np.arange(3), "c": {2, 1}, "d": Path("x/y"), "e": float("nan"), 4: np.int64(7)}
    plain = {"a": 1.5, "b": [0, 1, 2], "c": [1, 2], "d": "x/y", "e": None, "4": 7}
    assert json.loads(json.dumps(record.to_json(value), allow_nan=False)) == plain


def test_a_write_that_breaks_off_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    record.write(tmp_path / "x.json", {"a": 1})

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(record.os, "fsync", full)
    with pytest.raises(OutputError, match=r"x\.json: Cannot write \(No space left on device\).*free space"):
        record.write(tmp_path / "x.json", {"a": 2})
    assert record.read_object(tmp_path / "x.json") == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]
