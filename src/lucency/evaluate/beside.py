"""Simple baselines on the same patients, compared with the model."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch

from lucency import baselines, statistics
from lucency.calibration import Calibration
from lucency.case import Case
from lucency.evaluate.evaluation import Comparison
from lucency.evaluate.judge import Grounds, judge_locked, judge_out_of_fold, judged_case, target_of
from lucency.evaluate.missing import ZERO_FILLING
from lucency.evaluate.outcomes import outputs_of
from lucency.losses import IGNORE
from lucency.statistics import Metric
from lucency.tasks import Judged
from lucency.translation.scale import places_of

#: A baseline is "as good" when the corrected p-value is above this.
LEVEL = 0.05


def compared(name: str, cases: Sequence[Case], judged: Sequence[Judged], grounds: Grounds) -> dict[str, Comparison]:
    """Train every simple baseline on what the model was trained on, and compare on the same cases."""
    outputs = BASELINES[grounds.task.baselines](name, cases, grounds)
    rng = np.random.default_rng(grounds.plan.seed + 1)
    rows: dict[str, tuple[Mapping[str, Metric], Metric, float | None, str]] = {}
    rivals = {
        baseline: [judged_case(grounds, case, output, calibration) for case, output in zip(cases, found, strict=True)]
        for baseline, (found, calibration) in outputs.items()
    }
    judge = judge_locked if name == "locked" else judge_out_of_fold
    # What zeros in place of a missing modality do is no simpler model; it stands in a table of its own.
    rivals |= {control: judge(own, cases) for control, own in grounds.controls.items() if control != ZERO_FILLING}
    for baseline, theirs in rivals.items():
        metrics = grounds.task.measure(theirs, grounds.plan, rng).metrics
        difference, p, test = grounds.task.compare(judged, theirs, grounds.plan, rng)
        rows[baseline] = (metrics, difference, p, test)
        grounds.events.emit("evaluate", "baseline", name=baseline, part=name)
    adjusted = statistics.holm([row[2] for row in rows.values()])
    return {
        baseline: Comparison(metrics, difference, p, holm, test, _verdict(difference, holm))
        for (baseline, (metrics, difference, p, test)), holm in zip(rows.items(), adjusted, strict=True)
    }


def _verdict(difference: Metric, p_holm: float | None) -> str:
    if p_holm is None or p_holm > LEVEL or not np.isfinite(difference.value):
        return "no different"
    # Where 0 is best the smaller number is the better one.
    gain = difference.value if difference.best > 0 else -difference.value
    return "better" if gain > 0 else "worse"


def _splits(name: str, cases: Sequence[Case], grounds: Grounds) -> list[tuple[list[str], list[int]]]:
    """Return (training ids, rows of ``cases`` to predict): the same folds as the model's."""
    if name == "locked":
        return [([c.id for c in grounds.cohort.trainable], list(range(len(cases))))]
    folds = grounds.cohort.folds
    return [
        ([c.id for c in grounds.cohort.outside(f)], [n for n, c in enumerate(cases) if folds[c.id] == f])
        for f in grounds.plan.folds
    ]


Outputs = dict[str, tuple[list[np.ndarray], Calibration]]


def _described(cases: Sequence[Case], grounds: Grounds) -> dict[str, np.ndarray]:
    """Return the simple features of every case that is trained on or judged."""
    ids = {c.id for c in cases} | {c.id for c in grounds.cohort.trainable}
    store, dims = grounds.store, grounds.plan.dims
    return {i: baselines.features(store.image(i).astype(np.float32), dims=dims) for i in sorted(ids)}


def _number_baselines(name: str, cases: Sequence[Case], grounds: Grounds) -> Outputs:
    store, table = grounds.store, _described(cases, grounds)
    found: Outputs = {}
    for baseline in baselines.NUMBER_BASELINES.values():
        outputs: list[np.ndarray] = [np.zeros(2)] * len(cases)
        for train_ids, rows in _splits(name, cases, grounds):
            numbers = baseline.fit_predict(
                np.stack([table[i] for i in train_ids]),
                np.array([store.target(i) for i in train_ids]),
                np.stack([table[cases[n].id] for n in rows]),
                grounds.plan.seed,
            )
            for n, row in zip(rows, numbers, strict=True):
                outputs[n] = row
        found[baseline.name] = (outputs, Calibration())
    return found


#: Baselines that stand for several labels: the frequencies, and two that take seconds for dozens of labels.
LABEL_BASELINES = ("majority class", "logistic regression", "random forest")


def _label_baselines(name: str, cases: Sequence[Case], grounds: Grounds) -> Outputs:
    """Fit each label by itself on the cases of which it is known."""
    store, n_labels = grounds.store, len(grounds.plan.classes)
    table = _described(cases, grounds)
    found: Outputs = {}
    for baseline in (baselines.IMAGE_BASELINES[b] for b in LABEL_BASELINES):
        outputs: list[np.ndarray] = [np.zeros(n_labels) for _ in cases]
        for train_ids, rows in _splits(name, cases, grounds):
            targets = np.array([store.target(i) for i in train_ids])
            tested = np.stack([table[cases[n].id] for n in rows])
            for label in range(n_labels):
                known = [k for k, value in enumerate(targets[:, label]) if value >= 0]
                if not known:
                    continue
                described = np.stack([table[train_ids[k]] for k in known])
                there = targets[known, label].astype(int)
                p = baseline.fit_predict(described, there, tested, 2, grounds.plan.seed)
                for n, row in zip(rows, p, strict=True):
                    outputs[n][label] = row[1]
        found[baseline.name] = (outputs, Calibration())
    return found


def _image_baselines(name: str, cases: Sequence[Case], grounds: Grounds) -> Outputs:
    store, n_classes = grounds.store, len(grounds.plan.classes)
    table = _described(cases, grounds)
    found: Outputs = {}
    for baseline in baselines.IMAGE_BASELINES.values():
        outputs: list[np.ndarray] = [np.zeros(n_classes)] * len(cases)
        for train_ids, rows in _splits(name, cases, grounds):
            probabilities = baseline.fit_predict(
                np.stack([table[i] for i in train_ids]),
                np.array([int(store.target(i)) for i in train_ids]),
                np.stack([table[cases[n].id] for n in rows]),
                n_classes,
                grounds.plan.seed,
            )
            for n, row in zip(rows, probabilities, strict=True):
                outputs[n] = row
        found[baseline.name] = (outputs, Calibration())
    return found


def _mask_baselines(name: str, cases: Sequence[Case], grounds: Grounds) -> Outputs:
    store, n_labels = grounds.store, len(grounds.plan.labels)
    found: Outputs = {}
    for baseline in baselines.MASK_BASELINES.values():
        outputs: list[np.ndarray] = [np.zeros(0)] * len(cases)
        for train_ids, rows in _splits(name, cases, grounds):
            step = max(1, len(train_ids) // baselines.MASK_IMAGES)
            chosen = train_ids[::step]
            fitted = baseline.fit(
                [store.image(i).astype(np.float32) for i in chosen],
                [np.asarray(store.mask(i)) for i in chosen],
                n_labels,
                ignore=IGNORE,
            )
            for n in rows:
                mask = fitted.predict(store.image(cases[n].id).astype(np.float32))
                outputs[n] = np.stack([(mask == v).astype(np.float32) for v in range(n_labels + 1)])
        found[baseline.name] = (outputs, Calibration())
    return found


def _outcome_baselines(name: str, cases: Sequence[Case], grounds: Grounds) -> Outputs:
    return {
        key: (found, Calibration()) for key, found in outputs_of(cases, _splits(name, cases, grounds), grounds).items()
    }


def _neighbour_baselines(name: str, cases: Sequence[Case], grounds: Grounds) -> Outputs:
    """Compare images without an encoder; among as many cases as the model's own index held when it was judged."""
    held = [c for fold in grounds.plan.folds for c in grounds.cohort.fold(fold)]
    if name == "locked":
        others = held
    else:
        outside = sorted({c.id: c for f in grounds.plan.folds for c in grounds.cohort.outside(f)}.items())
        take = np.random.default_rng(grounds.plan.seed).permutation(len(outside))[: max(1, len(held) // 2)]
        others = [outside[n][1] for n in sorted(take)]
    found: Outputs = {}
    for baseline, likeness in baselines.LIKENESSES.items():
        rng = np.random.default_rng(grounds.plan.seed)
        theirs = [likeness(grounds.store.image(c.id), rng) for c in others]
        targets = [target_of(grounds.store, grounds.task, c.id) for c in others]
        calibration = grounds.task.calibrate(theirs, targets, grounds.plan, rng)
        raw = torch.from_numpy(np.stack([likeness(grounds.store.image(c.id), rng) for c in cases]))
        found[baseline] = (list(grounds.task.activate(raw, calibration).numpy()), calibration)
    return found


def _picture_baselines(name: str, cases: Sequence[Case], grounds: Grounds) -> Outputs:
    """Make images by simple means, learned from pairs; nothing where there are none."""
    store, (given, wanted) = grounds.store, places_of(grounds.plan)
    made = grounds.plan.made[0]
    paired = {c.id for c in grounds.cohort.cases if made in c.images and len(c.images) == len(grounds.plan.modalities)}
    outputs: dict[str, list[np.ndarray]] = {b: [np.zeros(0)] * len(cases) for b in baselines.PICTURE_BASELINES}
    for train_ids, rows in _splits(name, cases, grounds):
        pairs = [i for i in train_ids if i in paired]
        if not pairs:
            return {}
        voxels = max(int(np.prod(store.entries[i].shape[1:])) for i in pairs)
        chosen = [store.image(i) for i in baselines.pairs_for(pairs, voxels)]
        known = [image[list(given)].astype(np.float32) for image in chosen]
        sought = [image[wanted[0]].astype(np.float32) for image in chosen]
        for key, baseline in baselines.PICTURE_BASELINES.items():
            fitted = baseline.fit(known, sought, np.random.default_rng(grounds.plan.seed))
            for n in rows:
                outputs[key][n] = fitted.predict(store.image(cases[n].id)[list(given)].astype(np.float32))[None]
    return {key: (made, Calibration()) for key, made in outputs.items()}


def _box_baselines(name: str, cases: Sequence[Case], grounds: Grounds) -> Outputs:
    found: Outputs = {}
    for baseline in baselines.BOX_BASELINES.values():
        outputs: list[np.ndarray] = [np.zeros(0)] * len(cases)
        for train_ids, rows in _splits(name, cases, grounds):
            drawn = [np.asarray(grounds.store.target(i)) for i in train_ids]
            answer = baseline.fit_predict(drawn, len(grounds.plan.classes))
            for n in rows:
                outputs[n] = answer
        found[baseline.name] = (outputs, Calibration())
    return found


#: By what a task asks for: see :attr:`lucency.tasks.Task.baselines`.
BASELINES: dict[str, Callable[[str, Sequence[Case], Grounds], Outputs]] = {
    "boxes": _box_baselines,
    "classes": _image_baselines,
    "labels": _label_baselines,
    "masks": _mask_baselines,
    "neighbours": _neighbour_baselines,
    "numbers": _number_baselines,
    "pictures": _picture_baselines,
    "outcomes": _outcome_baselines,
}
