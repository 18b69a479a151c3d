"""Segmentation: a label for every voxel, in 2-D and 3-D, any number of labels, partly annotated masks included."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from scipy import ndimage
from torch import nn
from torch.nn import functional

from lucency import metrics, statistics
from lucency.calibration import Calibration
from lucency.case import Case, Cohort, Prediction, Source
from lucency.image import Image
from lucency.losses import IGNORE, dice_and_cross_entropy
from lucency.networks import Body, body
from lucency.plan import Needs, Option, Plan, number_of
from lucency.prepare import Prepared, label_source, prepare_labels, restore
from lucency.profile import Profile
from lucency.radiomics import ellipsoid
from lucency.read import load
from lucency.statistics import Metric
from lucency.tasks import Batch, Judged, Measures, measured, task
from lucency.write.rows import Rows, tabled

#: Maps with a head of their own: full resolution and the next; deeper ones cost time and add nothing measurable here.
SUPERVISED = 3

#: Scores of a mask and their best values; overall they are means over the labels of a case.
SCORES = {"dice": 1.0, "surface_dice": 1.0, "hd95_mm": 0.0, "volume_error": 0.0}

#: Surface Dice counts a surface as right within this distance; where the size of a voxel is not known, a voxel counts
#: as 1 mm (doi 10.2196/26151).
TOLERANCE_MM = 1.0

#: Voxels that stand for the place where a finding is likeliest, where none was found.
LIKELIEST = 50

#: True masks whose ellipses of equal moments overlap with them so far (mean Dice) were drawn as ellipses: fetal heads
#: have .998 on the network's grid, the left ventricle .978, lungs .91, the hippocampus .84 and less.
DRAWN_ROUND = 0.985

#: Cases that must have shown it, and standard errors above 0 that the gain in Dice must have, for found masks to be
#: made ellipses.
ROUND_CASES, ROUND_ERRORS = 10, 2.0


class SegmentNet(nn.Module):
    """A body with a 1 × 1 head per supervised map; outside training only the finest answers."""

    def __init__(self, trunk: Body, outputs: int, supervised: int) -> None:
        super().__init__()
        self.body = trunk
        dims = len(trunk.strides[0])
        kind = nn.Conv3d if dims == 3 else nn.Conv2d
        self.heads = nn.ModuleList(kind(c, outputs, 1) for c in trunk.channels[:supervised])

    def expect(self, priors: tuple[float, ...]) -> None:
        """Let an untrained network claim each label as often as it occurs.

        Otherwise thousands of false claims drown the few voxels of a small lesion in the first hundred steps, and the
        network learns to claim nothing (Lin 2017, section 3.3, doi 10.1109/ICCV.2017.324).
        """
        background = max(1e-3, 1 - sum(priors))
        bias = torch.log(torch.tensor([background, *priors]))
        with torch.no_grad():
            for head in self.heads:
                if isinstance(head.bias, torch.Tensor):
                    head.bias.copy_(bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor | list[torch.Tensor]:
        """Return logits (B, 1 + L, ...), or one per supervised map while training."""
        maps = self.body(x)
        if self.training:
            return [head(m) for head, m in zip(self.heads, maps, strict=False)]
        out: torch.Tensor = self.heads[0](maps[0])
        return out


@task
class Segment:
    """The segmentation task."""

    name = "segment"
    semi = True
    dense = True
    headline = "dice"
    baselines = "masks"

    def suits(self, cohort: Cohort) -> float:
        """Masks and nothing else."""
        return 1.0 if cohort.labels and any(isinstance(c.target, Source) for c in cohort.cases) else 0.0

    def needs(self, profile: Profile) -> Needs:
        """A U-Net with one output per label and one for the background."""
        labels = len(profile.label_cases)
        return Needs(
            task=self.name,
            network="unet",
            outputs=1 + labels,
            dense=True,
            # The contrast of whole images would teach the encoder only.
            pretrain="masked",
            options={"supervised": SUPERVISED, "priors": _priors(profile), "measure": "", "measure_factors": ()},
            reasons={
                "task": f"masks with {labels} label{'' if labels == 1 else 's'} beside the images",
                "network": "U-Net: the encoder–decoder that ten years of segmentation challenges left standing",
            },
        )

    def told(self, cohort: Cohort, options: Mapping[str, Option]) -> tuple[dict[str, Option], dict[str, str]]:
        """Find the columns of tables that state measures of the masks."""
        return measured.told(cohort, options)

    def build(self, plan: Plan) -> dict[str, nn.Module]:
        """Return the U-Net with its heads."""
        trunk = body(plan.network, plan.channels, plan.dims, plan.network_options)
        supervised = min(int(number_of(plan.task_options, "supervised", SUPERVISED)), max(1, len(trunk.channels) - 1))
        net = SegmentNet(trunk, 1 + len(plan.labels), supervised)
        priors = plan.task_options.get("priors", ())
        if isinstance(priors, tuple) and len(priors) == len(plan.labels):
            net.expect(priors)
        return {"net": net}

    def target(self, case: Case, plan: Plan) -> np.ndarray:
        """Return (K, J, I) int16 on the network's grid."""
        return prepare_labels(load(label_source(case)), plan)

    def losses(
        self, parts: Mapping[str, nn.Module], batch: Batch, rng: torch.Generator
    ) -> Iterator[tuple[str, torch.Tensor]]:
        """Dice + cross-entropy, at half weight for each coarser map (deep supervision)."""
        outputs = parts["net"](batch.images)
        outputs = [outputs] if isinstance(outputs, torch.Tensor) else outputs
        total = torch.zeros((), device=batch.images.device)
        weight, weights = 1.0, 0.0
        for logits in outputs:
            target = batch.targets
            if logits.shape[2:] != target.shape[1:]:
                target = functional.interpolate(target[:, None].float(), size=logits.shape[2:], mode="nearest-exact")
                target = target[:, 0].long()
            total = total + weight * dice_and_cross_entropy(logits, target)
            weights += weight
            weight /= 2
        yield "net", total / weights

    def activate(self, raw: torch.Tensor, calibration: Calibration) -> torch.Tensor:
        """Return label probabilities."""
        return torch.softmax(raw.float() / calibration.temperature, dim=1)

    def calibrate(
        self, raw: Sequence[np.ndarray], targets: Sequence["np.ndarray | float"], plan: Plan, rng: np.random.Generator
    ) -> Calibration:
        """Decide for each label what is done to what is found, where that raises the mean Dice.

        Only its largest component is kept; and it is made an ellipse, where the true masks are such.
        """
        labels = len(plan.labels)
        gains: list[list[float]] = [[] for _ in range(labels)]
        rounds: list[list[tuple[float, float]]] = [[] for _ in range(labels)]
        for output, target in zip(raw, targets, strict=True):
            truth = np.asarray(target)
            found = output.argmax(axis=0)
            for label in range(1, labels + 1):
                here = (found == label) & (truth != IGNORE)
                if not here.any():
                    continue
                largest = _largest(found == label)
                before, kept = (_dice(m & (truth != IGNORE), truth == label) for m in (here, largest))
                gains[label - 1].append(kept - before)
                rounds[label - 1].append(_rounded(largest, truth, label, kept))
        gain = [float(np.mean(g)) if g else 0.0 for g in gains]
        # Where more than the largest part counts, nothing was learned of the others' shape.
        ellipses = [g >= 0 and _worth_rounding(r) for g, r in zip(gain, rounds, strict=True)]
        keep = tuple(float(g > 0) for g in gain)
        return Calibration(extra={"largest_component": keep, "ellipse": tuple(map(float, ellipses))})

    def remarks(self, plan: Plan, calibration: Calibration) -> tuple[str, ...]:
        """Say which masks are made ellipses."""
        made = np.atleast_1d(np.asarray(calibration.extra.get("ellipse", ()), dtype=float))
        names = [name for (_, name), yes in zip(sorted(plan.labels.items()), made, strict=False) if yes]
        if not names:
            return ()
        return (
            f"True masks of {', '.join(names)} are ellipses: found masks are made ellipses too, since that brought "
            "them closer to the truth out of fold. What is not round by nature would look round",
        )

    def decode(
        self, output: np.ndarray, case: Case, prepared: Prepared, plan: Plan, calibration: Calibration
    ) -> Prediction:
        """Return the mask on the source's own grid, in the training masks' own values."""
        place = prepared.place
        same_size = place.scaled == place.frame == place.source_size == place.upright_size
        if same_size and place.turn.order == (0, 1, 2) and not any(place.turn.flip):
            probabilities = output
        else:
            probabilities = restore(output, place)
        index = probabilities.argmax(axis=0)
        keep = np.atleast_1d(np.asarray(calibration.extra.get("largest_component", ()), dtype=float))
        for label, only in enumerate(keep, start=1):
            if only:
                here = index == label
                index[here & ~_largest(here)] = 0
        depths = _made_round(index, calibration)
        values = np.array([0, *sorted(plan.labels)])
        kind = np.min_scalar_type(values.max()) if values.min() >= 0 else np.dtype(np.int32)
        mask = Image(values.astype(kind)[index][None], prepared.affine, kind="labels", unit="label")
        in_mm, below = measured.scale_known(case), None
        if plan.dims == 2:
            # A border between pixels is lost in the mask. Volumes are measured by their voxels, when asked for.
            margins = {v: depths.get(n, _margin(probabilities, n)) for n, v in enumerate(sorted(plan.labels), start=1)}
            below = measured.of_mask(mask, plan.labels, margins, in_mm=in_mm)
        return Prediction(case.id, "", mask=mask, doubt=_doubt(probabilities, index), measures=below, in_mm=in_mm)

    def tables(self, prediction: Prediction, plan: Plan) -> Mapping[str, Rows]:
        """Return the usual row, and a row of measures for every label."""
        usual = tabled(prediction, plan.classes, plan.labels, flat=plan.dims == 2)
        return usual | {measured.TABLE: measured.rows(prediction, plan)}

    def informative(self, views: Sequence[np.ndarray], prediction: Prediction, plan: Plan) -> float:
        """Return the mean entropy along the border of what was found, as a share of the largest there can be.

        The border is where a person corrects; the wide and certain background would drown it. Where nothing was found,
        it is the place where a finding is likeliest.
        """
        p = np.mean(np.stack([np.asarray(v, dtype=np.float32) for v in views]), axis=0)
        p = np.clip(p, 1e-6, 1)
        index = p.argmax(axis=0)
        border = ndimage.maximum_filter(index, 3) != ndimage.minimum_filter(index, 3)
        if not border.any():
            last = min(LIKELIEST, p[0].size) - 1
            border = p[0] <= np.partition(p[0].reshape(-1), last)[last]
        entropy = -(p[:, border] * np.log(p[:, border])).sum(axis=0) / np.log(len(p))
        return float(np.clip(entropy.mean(), 0, 1))

    def score(self, prediction: Prediction, case: Case, plan: Plan) -> dict[str, float]:
        """Return Dice, surface Dice, HD95 and volume error per label, and the mean Dice."""
        if prediction.mask is None:
            return {}
        truth_image = load(label_source(case))
        truth, found = truth_image.array[0], prediction.mask.array[0]
        known = np.ones(truth.shape, dtype=bool) if plan.ignore is None else truth != plan.ignore
        spacing = truth_image.spacing
        scores: dict[str, float] = {}
        for value, name in sorted(plan.labels.items()):
            a, b = (truth == value) & known, (found == value) & known
            found_here = metrics.mask_scores(a, b, spacing, TOLERANCE_MM)
            scores[f"dice/{name}"] = found_here.dice
            scores[f"surface_dice/{name}"] = found_here.surface_dice
            scores[f"hd95_mm/{name}"] = found_here.hd95_mm
            scores[f"volume_error/{name}"] = found_here.volume_error
        means = {}
        for metric in SCORES:
            values = np.array([scores[f"{metric}/{name}"] for name in plan.labels.values()])
            means[metric] = float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")
        return {**means, **scores, **dict(measured.scores(prediction, truth_image, case, plan))}

    def measure(self, judged: Sequence[Judged], plan: Plan, rng: np.random.Generator) -> Measures:
        """Return means over patients with their intervals, overall and per label."""
        patients = [j.patient for j in judged]
        by_label = {
            name: {metric: _mean(judged, f"{metric}/{name}", patients, best, rng) for metric, best in SCORES.items()}
            for name in plan.labels.values()
        }
        overall = {metric: _mean(judged, metric, patients, best, rng) for metric, best in SCORES.items()}
        beside, curves = measured.summed(judged, plan, rng)
        return Measures(metrics=overall | beside, by_label=by_label, curves=curves)

    def compare(
        self, ours: Sequence[Judged], theirs: Sequence[Judged], plan: Plan, rng: np.random.Generator
    ) -> tuple[Metric, float | None, str]:
        """Compare mean Dice, paired by patient."""
        first = np.array([j.scores["dice"] for j in ours])
        second = np.array([j.scores["dice"] for j in theirs])
        paired = statistics.compare_values(first, second, [j.patient for j in ours], rng)
        return paired.difference, paired.p, paired.test

    def perfect(self, target: "np.ndarray | float | int", plan: Plan) -> np.ndarray:
        """Return one-hot probabilities of the target."""
        truth = np.asarray(target)
        return np.stack([(truth == n).astype(np.float32) for n in range(1 + len(plan.labels))])


def _priors(profile: Profile) -> tuple[float, ...]:
    """Return the share of the training voxels under each label, at least one in a hundred thousand."""
    total = max(1.0, profile.voxels.mean * profile.voxels.count)
    return tuple(max(1e-5, profile.label_voxels[v] / total) for v in sorted(profile.label_voxels))


def _largest(mask: np.ndarray) -> np.ndarray:
    """Return the largest component (faces touching); the mask itself when it is empty or whole."""
    parts, n = ndimage.label(mask)
    if n <= 1:
        return mask
    sizes = np.bincount(parts.reshape(-1))
    sizes[0] = 0
    largest: np.ndarray = parts == int(sizes.argmax())
    return largest


def _rounded(largest: np.ndarray, truth: np.ndarray, label: int, dice: float) -> tuple[float, float]:
    """Return how far the truth is an ellipse (Dice), and what it gains when the found mask is made one; NaN if not."""
    known, true = truth != IGNORE, truth == label
    own = ellipsoid.depth(_largest(true)) if true.any() else None
    if own is None:
        return float("nan"), float("nan")
    like = _dice((own > 0) & known, true)
    # What is far from round need not be measured twice: volumes of organs take their time.
    made = ellipsoid.fitted(largest) if like > 1 - 2 * (1 - DRAWN_ROUND) else None
    return like, float("nan") if made is None else _dice((made > 0) & known, true) - dice


def _worth_rounding(found: Sequence[tuple[float, float]]) -> bool:
    """Tell whether a label's masks were drawn as ellipses and what is found gains by being made one, beyond chance."""
    like, gain = np.array([f[0] for f in found]), np.array([f[1] for f in found])
    like, gain = like[~np.isnan(like)], gain[~np.isnan(gain)]
    if gain.size < ROUND_CASES or float(like.mean()) < DRAWN_ROUND:
        return False
    return bool(gain.mean() > ROUND_ERRORS * gain.std(ddof=1) / gain.size**0.5)


def _made_round(index: np.ndarray, calibration: Calibration) -> dict[int, np.ndarray]:
    """Make the labels ellipses for which that was learned, in place, and return how deep each voxel lies in them."""
    depths: dict[int, np.ndarray] = {}
    for label, yes in enumerate(np.atleast_1d(np.asarray(calibration.extra.get("ellipse", ()), dtype=float)), start=1):
        if not yes:
            continue
        parts = ndimage.label(index == label)[0]
        large = np.flatnonzero(np.bincount(parts.reshape(-1))[1:] >= ellipsoid.LEAST_VOXELS) + 1
        # Each for itself: where the images that this was learned from show one, a second is no less a finding.
        for part in large.tolist():
            depth = ellipsoid.fitted(parts == part)
            if depth is None:
                continue
            depths[label] = np.maximum(depths[label], depth) if label in depths else depth
            index[(parts == part) & (depth <= 0)] = 0
            # Another label is not painted over.
            index[(index == 0) & (depth > 0)] = label
    return depths


def _margin(probabilities: np.ndarray, label: int) -> np.ndarray:
    """Return by how much a label is likelier than the likeliest other, (K, J, I)."""
    others = np.delete(probabilities, label, axis=0).max(axis=0)
    margin: np.ndarray = probabilities[label] - others
    return margin


def _dice(a: np.ndarray, b: np.ndarray) -> float:
    total = int(a.sum()) + int(b.sum())
    return 2 * int((a & b).sum()) / total if total else 1.0


def _doubt(probabilities: np.ndarray, index: np.ndarray) -> float:
    """Return the expected share of wrong foreground: 1 - soft Dice of the mask against its own probabilities."""
    inside = index > 0
    foreground = 1 - probabilities[0]
    total = float(inside.sum()) + float(foreground.sum())
    if total < 1:
        return float(np.clip(foreground.max(), 0, 1))
    return float(np.clip(1 - 2 * float(foreground[inside].sum()) / total, 0, 1))


def _mean(judged: Sequence[Judged], key: str, patients: Sequence[str], best: float, rng: np.random.Generator) -> Metric:
    values = np.array([j.scores.get(key, np.nan) for j in judged], dtype=float)
    if not np.isfinite(values).any():
        return Metric(float("nan"), n=0, method="not defined on these cases", best=best)
    return statistics.mean_metric(values, patients, rng, best=best)
