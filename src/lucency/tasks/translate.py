"""Translation: the image that another modality would show, made of those that are there."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import cast

import numpy as np
import torch
from torch import nn

from lucency import metrics, statistics
from lucency.calibration import Calibration
from lucency.case import Case, Cohort, Prediction
from lucency.errors import DataError, UsageError
from lucency.image import Image
from lucency.networks import OF_MODALITIES, Body, body
from lucency.plan import Needs, Option, Plan, number_of
from lucency.prepare import Prepared, own_scale, placed_on, restore
from lucency.profile import Profile
from lucency.read import load
from lucency.read.translated import BOTH
from lucency.statistics import Metric
from lucency.tasks import Batch, Judged, Measures, Pace, task
from lucency.translation import WAYS, Making, Weights, displacement
from lucency.translation.scale import places_of, scale_of
from lucency.translation.ways import Step
from lucency.write.rows import PREDICTIONS, Rows

#: Scores of an image and their best values.
SCORES = {"mae": 0.0, "psnr": metrics.MOST_DB, "ssim": 1.0}

#: Patients with both modalities from which on pairs are learned from, where there are images of one side alone as well.
LEAST_PAIRS = 10

#: Pixels that the median pair lies apart from which on pairs are taken for misaligned.
APART_PX = 1.0

#: Training cases that are looked at for that, and for the usual intensities of what is wanted; fewer large volumes, so
#: that no more than so many voxels are decoded, but three.
LOOKED, LOOKED_VOXELS, LOOKED_LEAST = 24, 100_000_000, 3

#: Voxels of a median volume up to which the network works in three dimensions: it fits whole into a step.
WHOLE_VOXELS = 110_000

#: Slices several times thicker than wide say little about their neighbours' pixels.
THICK = 3.0

#: How a network sees volumes, and the neighbours of a slice that it sees.
SLICES = {"2d": 0, "2.5d": 1, "3d": 0}

#: Rate of each part as a share of the schedule's, and Adam's betas (Isola 2017: .5 and .999). Critics learn slowly, or
#: they win before there is anything to criticise.
RATES = {"net": 0.5, "critic": 0.1, "field": 0.25, "heads": 0.5}
BETAS = (0.5, 0.999)


@task
class Translate:
    """The translation task."""

    name = "translate"
    dense = True
    headline = "mae"
    baselines = "pictures"
    offered = False
    recoveries = 3
    #: No full run of its benchmark has been recorded.
    experimental = True

    def suits(self, cohort: Cohort) -> float:
        """Cases that were put together as pairs or sides of a translation."""
        return 1.0 if cohort.made and any(c.target is not None for c in cohort.cases) else 0.0

    def needs(self, profile: Profile) -> Needs:
        """A U-Net; intensities stay what they are."""
        weights = Weights()
        slices, why = _slices(profile)
        return Needs(
            task=self.name,
            network="unet",
            outputs=1,
            dense=True,
            classes=False,
            # A mean of sharp images that were made apart is a blurred one.
            members=1,
            pretrain="none",
            exact=True,
            options={
                "translate": "auto",
                "slices": slices,
                **{k: float(v) for k, v in vars(weights).items()},
            },
            reasons={
                "task": "the image that another modality would show, for display and further processing, marked as "
                "synthetic",
                "network": "U-Net, and beside it a path that sees a voxel's own intensity alone, which keeps the scale",
                "slices": why,
                "translate": "not chosen yet",
            },
        )

    def told(self, cohort: Cohort, options: Mapping[str, Option]) -> tuple[dict[str, Option], dict[str, str]]:
        """Choose the way by what cases have and how well pairs lie on each other; look at usual intensities.

        Raises:
            UsageError: No such way.
            DataError: The way that was asked for needs pairs, and there are none; images of several channels are
                wanted; or two images of a pair have no place in common.
        """
        cases = [c for c in cohort.trainable if cohort.made in c.images]
        pairs = [c for c in cohort.trainable if c.target == BOTH]
        found = _usual(cases, cohort.made, options) | _given_word(cohort)
        asked = str(options.get("translate", "auto"))
        if asked not in ("auto", *WAYS):
            raise UsageError(f"translate = {asked!r}", expected=f"auto, {', '.join(WAYS)}", where="--set translate")
        if asked != "auto":
            if WAYS[asked].paired and not pairs:
                raise DataError(
                    f"No training case has {cohort.made!r} and what it is to be made of",
                    expected=f"pairs, which {asked} needs",
                    where="--set translate",
                    remedy="use --set translate=cyclegan",
                )
            _, _, unlike = _apart(pairs, cohort.made, options)
            return found, {"grids": unlike} if unlike else {}
        n_pairs = len({c.patient for c in pairs})
        n_all = len({c.patient for c in cohort.trainable})
        if n_pairs < LEAST_PAIRS and n_pairs < n_all:
            why = f"{n_pairs} of {n_all} training patients have both modalities, too few to learn from pairs"
            return found | {"translate": "cyclegan"}, {
                "translate": f"cyclegan: {why}; what is made must look real and turn back into what was given"
            }
        apart, n, unlike = _apart(pairs, cohort.made, options)
        found["apart_px"] = round(apart, 2)
        reasons = {"grids": unlike} if unlike else {}
        said = f"{n_pairs} training patients have both modalities; edges of the median pair lie {apart:.1f} pixels "
        said += f"apart, by {n} pairs"
        if apart >= APART_PX:
            return found | {"translate": "reggan"}, reasons | {
                "translate": f"reggan: {said}; a field moves what is made onto the real image before they are compared"
            }
        return found | {"translate": "pix2pix"}, reasons | {"translate": f"pix2pix: {said}"}

    def build(self, plan: Plan) -> dict[str, nn.Module]:
        """Return the parts of the plan's way; the network knows which channels are which."""
        parts = WAYS[_way(plan)].parts(making_of(plan))
        parts["net"].sides = places_of(plan)  # type: ignore[assignment]
        return parts

    def target(self, case: Case, plan: Plan) -> None:
        """What is wanted lies among the images."""

    def losses(
        self, parts: Mapping[str, nn.Module], batch: Batch, rng: torch.Generator
    ) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield the losses of the plan's way."""
        given, wanted = cast(tuple[tuple[int, ...], tuple[int, ...]], parts["net"].sides)
        weights = Weights(**{k: number_of(batch.options, k, v) for k, v in vars(Weights()).items()})
        step = Step(batch.images, given, wanted, weights, batch.progress, rng)
        yield from WAYS[str(batch.options["translate"])].losses(parts, step)

    def pace(self, part: str, plan: Plan, step: int, progress: float) -> Pace:
        """Critics learn at a fifth of the network's rate, all with less momentum than usual."""
        return Pace(rate=RATES[part], betas=BETAS)

    def activate(self, raw: torch.Tensor, calibration: Calibration) -> torch.Tensor:
        """Return the image as it is."""
        return raw.float()

    def calibrate(
        self, raw: Sequence[np.ndarray], targets: Sequence["np.ndarray | float"], plan: Plan, rng: np.random.Generator
    ) -> Calibration:
        """Nothing is learned after training."""
        return Calibration()

    def decode(
        self, output: np.ndarray, case: Case, prepared: Prepared, plan: Plan, calibration: Calibration
    ) -> Prediction:
        """Return the image on the source's own grid, in stored units."""
        place, scale = prepared.place, scale_of(plan)
        same_size = place.scaled == place.frame == place.source_size == place.upright_size
        still = place.turn.order == (0, 1, 2) and not any(place.turn.flip)
        restored = output if same_size and still else restore(output, place)
        made = Image(scale.stored(restored), prepared.affine, unit=scale.unit)
        return Prediction(case.id, "", image=made)

    def informative(self, views: Sequence[np.ndarray], prediction: Prediction, plan: Plan) -> float:
        """Return how far views of an image differ, in deviations of the modality."""
        return float(np.clip(np.stack(views).std(axis=0).mean(), 0, 1))

    def tables(self, prediction: Prediction, plan: Plan) -> Mapping[str, Rows]:
        """Return one row that says what was made of what."""
        heads = ("case", "synthetic", "modality", "made_of", "unit", "mean", "minimum", "maximum")
        if prediction.image is None:
            return {PREDICTIONS: Rows(heads, ((prediction.case, *[None] * 7),))}
        array = prediction.image.array
        numbers = (float(array.mean(dtype=np.float64)), float(array.min()), float(array.max()))
        words = ("yes", ", ".join(plan.made), ", ".join(plan.inputs), prediction.image.unit)
        return {PREDICTIONS: Rows(heads, ((prediction.case, *words, *numbers),))}

    def score(self, prediction: Prediction, case: Case, plan: Plan) -> dict[str, float]:
        """Return error and similarity on the source's grid; nothing where the real image is not there."""
        sources = case.images.get(plan.made[0])
        if prediction.image is None or not sources:
            return {}
        scale = scale_of(plan)
        real = placed_on(load(sources[0], nan=plan.nan), prediction.image, case.id)
        truth = scale.comparable(real.array[0])
        made = prediction.image.array[0].astype(np.float64)
        span = scale.span if scale.fixed else float(truth.max() - truth.min())
        found = metrics.picture_scores(truth, made, span)
        return {"mae": found.mae, "psnr": found.psnr, "ssim": found.ssim}

    def worth(self, scores: Mapping[str, float]) -> float:
        """The smaller the error, the better."""
        return -scores.get("mae", float("nan"))

    def measure(self, judged: Sequence[Judged], plan: Plan, rng: np.random.Generator) -> Measures:
        """Return means over the patients whose real image is there."""
        patients = [j.patient for j in judged]
        return Measures(metrics={name: _mean(judged, name, patients, best, rng) for name, best in SCORES.items()})

    def compare(
        self, ours: Sequence[Judged], theirs: Sequence[Judged], plan: Plan, rng: np.random.Generator
    ) -> tuple[Metric, float | None, str]:
        """Compare mean absolute errors, paired by patient."""
        first, second = (np.array([j.scores.get("mae", np.nan) for j in side], dtype=float) for side in (ours, theirs))
        if not np.isfinite(first - second).any():
            return Metric(math.nan, method=NO_TRUTH, best=0.0), None, NO_TRUTH
        paired = statistics.compare_values(first, second, [j.patient for j in ours], rng, best=0.0)
        return paired.difference, paired.p, paired.test

    def perfect(self, target: "np.ndarray | float | int", plan: Plan) -> np.ndarray:
        """Return an image of the size of a target."""
        return np.zeros((len(places_of(plan)[1]), *np.shape(target)), dtype=np.float32)


#: Said in the place of an interval or a test.
NO_TRUTH = "no patient has both modalities"


def making_of(plan: Plan) -> Making:
    """Return what the plan's networks are built for.

    Raises:
        UsageError: No such way of seeing volumes.
    """
    given, wanted = places_of(plan)
    slices = str(plan.task_options.get("slices", "2d"))
    if slices not in SLICES:
        raise UsageError(f"slices = {slices!r}", expected=", ".join(SLICES), where="--set slices")
    flat = plan.dims == 3 and slices != "3d"
    options = {k: v for k, v in plan.network_options.items() if k not in OF_MODALITIES}
    if flat and options.get("strides"):
        options["strides"] = ",".join(f"1x{s.split('x', 1)[1]}" for s in str(options["strides"]).split(","))

    def trunk(channels: int) -> Body:
        return body(plan.network, channels, plan.dims, options)

    return Making(plan.dims, given, wanted, plan.patch[3 - plan.dims :], trunk, SLICES[slices] if flat else 0, flat)


def _way(plan: Plan) -> str:
    way = str(plan.task_options.get("translate", "auto"))
    if way not in WAYS:
        raise UsageError(f"translate = {way!r}", expected=", ".join(WAYS), where="--set translate")
    return way


def _slices(profile: Profile) -> tuple[str, str]:
    """Choose how a network sees volumes, with the reason."""
    if max(profile.dims, key=lambda d: profile.dims[d]) == 2:
        return "2d", "single images"
    size, spacing = profile.median_size(), profile.median_spacing()
    if math.prod(size) <= WHOLE_VOXELS and max(spacing) < THICK * min(spacing):
        return "3d", f"3d: a median volume of {'×'.join(map(str, size))} voxels fits whole into a step"
    return "2.5d", (
        "2.5d: each slice with its two neighbours, in a third of the time of three dimensions; overlapping pieces are "
        "weighed by their distance from the middle, so that no seam is seen"
    )


def _usual(cases: Sequence[Case], made: str, options: Mapping[str, Option]) -> dict[str, Option]:
    """Return unit, type and usual intensities of the wanted modality, and where its channels lie.

    Raises:
        DataError: Images of several channels, or all of them of one number.
    """
    some = _some(cases, made)
    images = [load(c.images[made][0], nan=number_of(options, "nan", None)) for c in some]
    if any(i.channels > 1 for i in images):
        raise DataError(
            f"Images of {made!r} have {max(i.channels for i in images)} channels",
            expected="one: what is made is grey",
            remedy="convert them to grey first",
        )
    own = [own_scale(i.array[0].astype(np.float32)) for i in images]
    if all(std <= 1e-6 * (1 + abs(mean)) for _, mean, std in own):
        raise DataError(
            f"Every image of {made!r} that was looked at holds one number only ({len(own)} of {len(cases)})",
            expected="images with something in them",
            where=some[0].images[made][0].where,
        )
    unit = max({i.unit for i in images}, key=lambda u: sum(i.unit == u for i in images))
    return {
        "wanted_mean": float(np.median([mean for _, mean, _ in own])),
        "wanted_std": float(np.median([std for _, _, std in own])),
        "wanted_low": float(min(clipped.min() for clipped, _, _ in own)),
        "wanted_high": float(max(clipped.max() for clipped, _, _ in own)),
        "wanted_whole": all(i.array.dtype.kind in "iu" for i in images),
        "wanted_unit": unit,
    }


def _some(cases: Sequence[Case], made: str) -> list[Case]:
    """Return an even choice of cases, as many as can be looked at in seconds."""
    sizes = (c.images[made][0].header.get("size", (1.0,)) for c in cases)
    largest = max((math.prod(s) for s in sizes if isinstance(s, tuple)), default=1.0)
    most = min(LOOKED, len(cases), max(LOOKED_LEAST, int(LOOKED_VOXELS / max(largest, 1.0))))
    return [cases[n] for n in np.unique(np.linspace(0, len(cases) - 1, most).astype(int))]


def _given_word(cohort: Cohort) -> dict[str, Option]:
    """Return the DICOM modality of what is given, where all headers say the same: another is refused at prediction."""
    sources = [s[0] for c in cohort.trainable for m, s in c.images.items() if m != cohort.made]
    words = {str(s.header.get("modality", "")) for s in sources}
    return {"modality": words.pop()} if len(words) == 1 and "" not in words else {}


def _apart(pairs: Sequence[Case], made: str, options: Mapping[str, Option]) -> tuple[float, int, str]:
    """Return how many pixels the median pair lies apart by middle slices, of how many, and a remark on their grids."""
    found, unlike = [], 0
    for case in _some(pairs, made):
        given = next(m for m in sorted(case.images) if m != made)
        first, second = (load(case.images[m][0], nan=number_of(options, "nan", None)) for m in (given, made))
        unlike += not first.same_grid(second)
        second = placed_on(second, first, case.id)
        k = first.size[0] // 2
        found.append(displacement(second.array[0, k], first.array[0, k])[0])
    said = f"{unlike} of {len(found)} pairs that were looked at lie on two grids: what is wanted is brought onto the "
    said += "grid of what is given, by the positions in the headers, and what is made lies there"
    return (float(np.median(found)) if found else 0.0), len(found), said if unlike else ""


def _mean(judged: Sequence[Judged], key: str, patients: Sequence[str], best: float, rng: np.random.Generator) -> Metric:
    values = np.array([j.scores.get(key, np.nan) for j in judged], dtype=float)
    if not np.isfinite(values).any():
        return Metric(float("nan"), n=0, method=NO_TRUTH, best=best)
    return statistics.mean_metric(values, patients, rng, best=best)
