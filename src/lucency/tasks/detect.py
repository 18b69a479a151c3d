"""Detection: boxes around things, in 2-D and 3-D, any number of classes, from boxes or from instance masks."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from scipy.special import expit, logit
from torch import nn

from lucency import detection, statistics
from lucency.boxes import Box, placed
from lucency.calibration import Calibration
from lucency.case import Case, Cohort, Prediction
from lucency.detector import MOST, Head, with_places
from lucency.detector.anchors import AnchorHead
from lucency.detector.centre import CentreHead
from lucency.detector.judged import (
    CALIBRATED_FROM,
    LIKELY,
    OVERLAP,
    SINGLE_FROM,
    Table,
    score_line,
    told_from,
)
from lucency.detector.together import joined, surest
from lucency.networks import Body, body
from lucency.plan import Needs, Plan
from lucency.planner.boxes import FEW_IMAGES, fitted_anchors, has_places, single_classes, typical_box
from lucency.prepare import Prepared, images_of, place_of
from lucency.prepare.boxes import box_rows, from_grid
from lucency.profile import Profile
from lucency.statistics import Metric
from lucency.tasks import Batch, Figure, Judged, Measures, task

#: Overlaps at which the mean average precision is told: loose, usual, strict.
LOOSE, STRICT = 0.1, detection.COCO

#: Boxes in an answer that is handed out: so many no reader looks at.
TOLD = 100


class DetectNet(nn.Module):
    """A pyramid with a head that finds boxes; told what was drawn, it answers with its loss."""

    def __init__(self, trunk: Body, head: nn.Module, *, placed: bool) -> None:
        super().__init__()
        self.body, self.head, self.placed = trunk, head, placed

    def forward(self, x: torch.Tensor, drawn: torch.Tensor | None = None) -> torch.Tensor:
        """Return found rows (B, MOST, 2 + 2 d), or the loss against drawn rows (B, n, 1 + 2 d)."""
        head: Head = self.head  # type: ignore[assignment]
        maps = self.body(x)
        raw = self.head([with_places(m) for m in maps] if self.placed else maps)
        return head.boxes(raw, x.shape[2:]) if drawn is None else head.loss(raw, drawn, x.shape[2:])


@task
class Detect:
    """The detection task."""

    name = "detect"
    dense = False
    boxes = True
    headline = "map50"
    figures = (Figure("froc", logarithmic=True, share=True, ticks=detection.RATES),)
    baselines = "boxes"

    def suits(self, cohort: Cohort) -> float:
        """Boxes and nothing else."""
        return 1.0 if cohort.classes and any(isinstance(c.target, tuple) for c in cohort.cases) else 0.0

    def needs(self, profile: Profile) -> Needs:
        """A feature pyramid with the head that so many images can teach."""
        dims = max(profile.dims, key=lambda d: profile.dims[d])
        n, total = profile.n_cases, sum(profile.box_shapes.values())
        few, anatomical, single = n < FEW_IMAGES, has_places(profile, dims), single_classes(profile)
        return Needs(
            task=self.name,
            network="fpn",
            outputs=len(profile.class_counts),
            dense=False,
            boxes=True,
            options={
                "head": "centre" if few else "anchors",
                "anchors": tuple(round(float(v), 5) for v in fitted_anchors(profile, dims).reshape(-1)),
                "typical": typical_box(profile, dims),
                "placed": anatomical,
                "single": ",".join(single),
            },
            reasons={
                "task": f"{total} boxes of {len(profile.class_counts)} classes on {n} images",
                "network": "feature pyramid: small things on fine maps, large ones on coarse maps",
                "head": (
                    f"centre heat map: {n} images are fewer than {FEW_IMAGES}, and it has less to learn than anchors"
                    if few
                    else f"anchors fitted to the boxes of the set: {n} images are enough to teach them"
                ),
                "placed": (
                    "the head is told where on the image it looks: a class has its place"
                    if anatomical
                    else "the head is not told where on the image it looks: boxes of every class lie all over"
                ),
                "single": (
                    f"of {', '.join(single)} only the surest box is kept: no training image has two, and nearly every "
                    "one has one at about the same place"
                    if single
                    else "any number of boxes of a class may be on an image"
                ),
            },
        )

    def build(self, plan: Plan) -> dict[str, nn.Module]:
        """Return the pyramid with its head."""
        anchored = plan.task_options.get("head") == "anchors"
        # A heat map is read from the finest map alone; the coarse ones have told it what they see.
        options = plan.network_options if anchored else {**plan.network_options, "maps": 1}
        trunk = body(plan.network, plan.channels, plan.dims, options)
        longest, classes = _longest(plan), len(plan.classes)
        told = plan.task_options.get("placed") is True
        channels = trunk.channels[0] + plan.dims * told
        if anchored:
            shapes = _numbers(plan, "anchors").reshape(-1, plan.dims) * longest[None]
            head: nn.Module = AnchorHead(channels, trunk.strides, classes, shapes.tolist())
        else:
            typical = _numbers(plan, "typical") * longest
            head = CentreHead(channels, trunk.strides[0], classes, (typical / 2).tolist())
        return {"net": DetectNet(trunk, head, placed=told)}

    def target(self, case: Case, plan: Plan) -> np.ndarray:
        """Return (n, 1 + 2 d) rows on the network's grid."""
        image = next(i for i in images_of(case, plan, plan.nan) if i is not None)
        return box_rows(_drawn(case), place_of(image, plan), plan.classes, plan.dims)

    def losses(
        self, parts: Mapping[str, nn.Module], batch: Batch, rng: torch.Generator
    ) -> Iterator[tuple[str, torch.Tensor]]:
        """The head's own: focal for what is where, generalised overlap for how large."""
        yield "net", parts["net"](batch.images, batch.targets)

    def activate(self, raw: torch.Tensor, calibration: Calibration) -> torch.Tensor:
        """Return found rows with calibrated scores, class by class."""
        slopes = torch.tensor(np.atleast_1d(calibration.extra.get("slope", ())), dtype=torch.float32)
        offsets = torch.tensor(np.atleast_1d(calibration.extra.get("offset", ())), dtype=torch.float32)
        if not len(slopes):
            return raw
        out = raw.clone().float()
        label = out[..., 1].long()
        real = (label >= 0) & (out[..., 0] > 0)
        index = label.clamp(0, len(slopes) - 1)
        odds = torch.logit(out[..., 0].clamp(1e-6, 1 - 1e-6))
        out[..., 0] = torch.where(real, (odds * slopes[index] + offsets[index]).sigmoid(), out[..., 0])
        return out

    def calibrate(
        self, raw: Sequence[np.ndarray], targets: Sequence["np.ndarray | float"], plan: Plan, rng: np.random.Generator
    ) -> Calibration:
        """Learn for each class how often a box of a score is right (Platt), and from which score on it is told."""
        said: list[list[float]] = [[] for _ in plan.classes]
        came: list[list[bool]] = [[] for _ in plan.classes]
        wanted = [0] * len(plan.classes)
        for output, target in zip(raw, targets, strict=True):
            found, drawn = _as_boxes(_joined(output, plan), plan), _truth(np.asarray(target), plan)
            for number, name in enumerate(plan.classes):
                score, right = detection.matched(
                    [b for b in found if b.label == name], [b for b in drawn if b.label == name], OVERLAP
                )
                said[number] += score.tolist()
                came[number] += right.tolist()
                wanted[number] += sum(b.label == name for b in drawn)
        least = [SINGLE_FROM if name in _single(plan) else CALIBRATED_FROM for name in plan.classes]
        lines = [score_line(np.array(p), np.array(r)) for p, r in zip(said, came, strict=True)]
        cuts = [
            told_from(expit(a * logit(np.clip(p, 1e-6, 1 - 1e-6)) + b), np.array(r), n, enough)
            for (a, b), p, r, n, enough in zip(lines, said, came, wanted, least, strict=True)
        ]
        return Calibration(
            extra={
                "slope": tuple(a for a, _ in lines),
                "offset": tuple(b for _, b in lines),
                "told_from": tuple(cuts),
            }
        )

    def decode(
        self, output: np.ndarray, case: Case, prepared: Prepared, plan: Plan, calibration: Calibration
    ) -> Prediction:
        """Return the boxes in the source's pixels, the surest first."""
        rows = _joined(output, plan)
        edges = np.zeros((len(rows), 6))
        edges[:, 3] = prepared.array.shape[1]
        axes = [*range(3 - plan.dims, 3), *range(6 - plan.dims, 6)]
        edges[:, axes] = rows[:, 2:]
        cuts = np.atleast_1d(calibration.extra.get("told_from", (LIKELY,) * len(plan.classes)))
        boxes: list[Box] = []
        for row, edge in zip(rows, from_grid(edges, prepared.place), strict=True):
            if (edge[3:] - edge[:3] > 1e-3).all() and len(boxes) < TOLD:
                low, high = (tuple(float(v) for v in part) for part in (edge[:3], edge[3:]))
                label, score = round(float(row[1])), float(np.clip(row[0], 0, 1))
                box = Box(plan.classes[label], low, high, score, told=bool(score >= cuts[label]))  # type: ignore[arg-type]
                boxes.append(placed(box, prepared.affine))
        # Least sure where a score is as often right as wrong.
        doubt = max((1 - abs(2 * b.score - 1) for b in boxes), default=0.0)
        return Prediction(case.id, "", boxes=tuple(boxes), doubt=float(np.clip(doubt, 0, 1)))

    def informative(self, views: Sequence[np.ndarray], prediction: Prediction, plan: Plan) -> float:
        """Return the share of the boxes that is expected to be wrong: 1 minus the F1 that the scores promise."""
        scores = np.array([b.score for b in prediction.boxes or ()], dtype=float)
        told = np.array([b.score for b in prediction.boxes or () if b.told], dtype=float)
        total = len(told) + float(scores.sum())
        # Without a box that is told, a miss is as likely as the surest box that was not.
        return 1 - 2 * float(told.sum()) / total if told.size else float(scores.max(initial=0.0))

    def score(self, prediction: Prediction, case: Case, plan: Plan) -> dict[str, float]:
        """Return hits, misses and false boxes among those that are told, and their F1."""
        found, drawn = prediction.boxes or (), _drawn(case)
        right = wrong = 0
        for name in plan.classes:
            sure = [b for b in found if b.label == name and b.told]
            _, hits = detection.matched(sure, [b for b in drawn if b.label == name], OVERLAP)
            right += int(hits.sum())
            wrong += int((~hits).sum())
        total = right + wrong + len(drawn)
        return {
            "f1": 2 * right / total if total else 1.0,
            "hits": float(right),
            "missed": float(len(drawn) - right),
            "false": float(wrong),
        }

    def worth(self, scores: Mapping[str, float]) -> float:
        """F1 of the boxes that are told."""
        return scores["f1"]

    def measure(self, judged: Sequence[Judged], plan: Plan, rng: np.random.Generator) -> Measures:
        """Return average precision, sensitivity at false positives an image, and how far scores can be believed."""
        patients = [j.patient for j in judged]
        table = _table(judged, plan)
        found: dict[str, Metric] = {
            "map50": _metric(table.mean_precision([OVERLAP]), patients, rng),
            "map10": _metric(table.mean_precision([LOOSE]), patients, rng),
            "map50_95": _metric(table.mean_precision(STRICT), patients, rng),
            "froc": _metric(table.mean_sensitivity(None), patients, rng),
        }
        for column, rate in enumerate(detection.RATES):
            found[f"sensitivity_at_{_rate(rate)}_fp"] = _metric(table.mean_sensitivity(column), patients, rng)
        found["score_error"] = _metric(table.score_error, patients, rng, best=0.0)
        by_label = {
            name: {
                "ap50": _metric(table.precision(name, OVERLAP), patients, rng),
                "ap10": _metric(table.precision(name, LOOSE), patients, rng),
                "sensitivity_at_1_fp": _metric(table.sensitivity(name, detection.RATES.index(1.0)), patients, rng),
            }
            for name in plan.classes
            if table.hits(name, OVERLAP).wanted.any()
        }
        return Measures(metrics=found, by_label=by_label, curves=table.curves())

    def compare(
        self, ours: Sequence[Judged], theirs: Sequence[Judged], plan: Plan, rng: np.random.Generator
    ) -> tuple[Metric, float | None, str]:
        """Compare mean average precision by the paired patient bootstrap."""
        first = _table(ours, plan).mean_precision([OVERLAP])
        second = _table(theirs, plan).mean_precision([OVERLAP])
        paired = statistics.compare_resampled(first, second, [j.patient for j in ours], rng)
        return paired.difference, paired.p, paired.test

    def perfect(self, target: "np.ndarray | float | int", plan: Plan) -> np.ndarray:
        """Return the drawn boxes, found with certainty."""
        rows = np.asarray(target).reshape(-1, 1 + 2 * plan.dims)
        out = np.zeros((MOST, 2 + 2 * plan.dims), dtype=np.float32)
        out[:, 1] = -1
        out[: len(rows), 0] = 1.0
        out[: len(rows), 1:] = rows[:MOST]
        return out


def _table(judged: Sequence[Judged], plan: Plan) -> Table:
    return Table([j.found for j in judged], [j.drawn for j in judged], plan.classes)


def _metric(
    statistic: statistics.Statistic, patients: Sequence[str], rng: np.random.Generator, best: float = 1.0
) -> Metric:
    return statistics.bootstrap_metric(statistic, list(patients), rng, best=best)


def _rate(rate: float) -> str:
    return f"{rate:g}" if rate >= 1 else f"1_{round(1 / rate)}"


def _joined(output: np.ndarray, plan: Plan) -> np.ndarray:
    """Return the rows of all members, mirrored copies and tiles as one answer; of a single thing the surest."""
    rows = joined(output, len(plan.classes))
    return surest(rows, [n for n, name in enumerate(plan.classes) if name in _single(plan)])


def _single(plan: Plan) -> list[str]:
    """Return the classes of which an image has no more than one box."""
    return str(plan.task_options.get("single", "")).split(",")


def _as_boxes(rows: np.ndarray, plan: Plan) -> list[Box]:
    """Return rows of the network's grid as boxes, to be compared there."""
    flat = [(0.0,), (1.0,)] if plan.dims == 2 else [(), ()]
    found = []
    for row in rows:
        low, high = row[2 : 2 + plan.dims], row[2 + plan.dims :]
        if (high > low).all():
            edges = [(*f, *(float(v) for v in part)) for f, part in zip(flat, (low, high), strict=True)]
            found.append(Box(plan.classes[round(float(row[1]))], edges[0], edges[1], float(np.clip(row[0], 0, 1))))  # type: ignore[arg-type]
    return found


def _truth(target: np.ndarray, plan: Plan) -> list[Box]:
    rows = target.reshape(-1, 1 + 2 * plan.dims)
    return _as_boxes(np.concatenate([np.ones((len(rows), 1)), rows], axis=1), plan)


def _drawn(case: Case) -> tuple[Box, ...]:
    return case.target if isinstance(case.target, tuple) else ()


def _longest(plan: Plan) -> np.ndarray:
    """Return the voxels along each axis of the network's grid that an image's longest side would take."""
    size, axes = np.array(plan.grid.size, dtype=float), slice(3 - plan.dims, 3)
    if plan.grid.mode == "spacing":
        spacing = np.array(plan.grid.spacing, dtype=float)
        return np.asarray(((size * spacing).max() / spacing)[axes])
    return np.full(plan.dims, size.max())


def _numbers(plan: Plan, option: str) -> np.ndarray:
    return np.atleast_1d(np.asarray(plan.task_options.get(option, ()), dtype=float))
