"""Retrieval: an encoder under which similar images lie close together, learned without looking at the labels."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from lucency import ranking, statistics
from lucency.augment import augment
from lucency.calibration import Calibration
from lucency.case import Case, Cohort, Prediction
from lucency.errors import UsageError
from lucency.index import Space, averaged, averaged_all, nearest, space_of
from lucency.losses import contrast
from lucency.networks import Body, body, means
from lucency.networks.autoencoder import Decoder
from lucency.plan import Needs, Plan
from lucency.prepare import Prepared
from lucency.pretext import PROJECTED, TEMPERATURE, views
from lucency.profile import Profile
from lucency.statistics import Metric
from lucency.tasks import Batch, Judged, Measures, class_index, task

#: What is done to an image before an autoencoder gives it back clean (Vincent 2008, doi 10.1145/1390156.1390294).
SPOILT = {"noise": 0.5, "cutout": 0.5}

#: What an encoder may learn without labels.
PRETEXTS = ("contrast", "autoencoder")

#: Passes over the images that the contrast needs; each takes two views. On six kinds of images at 32 pixels 13 passes
#: gave P@10 .969, an untrained network .94 and the pixels .91 (by hand; no benchmark records it).
PASSES = 30

#: Neighbours that precision and discounted gain look at.
TOP = 10

#: Out-of-fold cases that stand as the index while the encoder is judged; more change P@10 by less than its interval.
REFERENCES = 500


class RetrieveNet(nn.Module):
    """A body; its maps averaged are the embedding, and a projection of the last of them is what is contrasted.

    With a decoder in the place of the projection it is an autoencoder.
    """

    def __init__(self, trunk: Body, decoder: Decoder | None = None) -> None:
        super().__init__()
        self.body = trunk
        width = trunk.channels[-1]
        self.decoder = decoder
        if decoder is None:
            self.project = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, PROJECTED))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return embeddings, (B, all channels); in training the projection, (B, :data:`PROJECTED`), or the image."""
        maps = self.body(x)
        if self.training and self.decoder is not None:
            image: torch.Tensor = self.decoder(maps[-1], x.shape[2:])
            return image
        if not self.training:
            return means(maps)
        out: torch.Tensor = self.project(means(maps[-1:]))
        return out

    def reconstruction_error(self, x: torch.Tensor) -> torch.Tensor | None:
        """Return how badly an autoencoder gives back each image, (B,) mean squared; None where there is no decoder."""
        if self.decoder is None:
            return None
        back: torch.Tensor = self.decoder(self.body(x)[-1], x.shape[2:])
        return (back.float() - x).square().mean(dim=tuple(range(1, x.ndim)))


@task
class Retrieve:
    """The retrieval task."""

    name = "retrieve"
    dense = False
    headline = "precision_at_10"
    baselines = "neighbours"
    #: No full run on its reference data has been recorded that reaches what it must.

    def suits(self, cohort: Cohort) -> float:
        """Class names to judge by; asked for by name, since the same targets are made for classification."""
        return 0.5 if len(cohort.classes) >= 2 and any(isinstance(c.target, str) for c in cohort.cases) else 0.0

    def needs(self, profile: Profile) -> Needs:
        """A residual network, one member: embeddings of members that trained apart cannot be compared."""
        return Needs(
            task=self.name,
            network="resnet",
            outputs=PROJECTED,
            dense=False,
            members=1,
            pretrain="none",
            passes=2 * PASSES,
            least_side=32,
            batch=64,
            options={"temperature": TEMPERATURE, "labels": False, "pretext": PRETEXTS[0]},
            reasons={
                "task": f"{profile.n_cases} images to find similar ones among; labels are used to judge, not to learn",
                "network": "pre-activation ResNet: its maps of all scales make up the embedding; images are scaled "
                f"down as far as {PASSES} passes of two views each ask for",
                "loss": "two views of an image lie closer together than those of any other image of the batch "
                "(SimCLR, doi 10.48550/arXiv.2002.05709); task_options.labels contrasts by class instead "
                "(doi 10.48550/arXiv.2004.11362)",
            },
        )

    def build(self, plan: Plan) -> dict[str, nn.Module]:
        """Return the encoder with its projection, or with its decoder.

        Raises:
            UsageError: No such pretext.
        """
        trunk = body(plan.network, plan.channels, plan.dims, plan.network_options)
        pretext = plan.task_options.get("pretext", PRETEXTS[0])
        if pretext not in PRETEXTS:
            raise UsageError(f"No pretext {pretext!r}", expected=", ".join(PRETEXTS), where="task_options.pretext")
        return {"net": RetrieveNet(trunk, Decoder(plan.dims, trunk, plan.channels) if pretext == PRETEXTS[1] else None)}

    def target(self, case: Case, plan: Plan) -> int:
        """Return the class index, by which neighbours are judged.

        Raises:
            DataError: A class that the plan does not know.
        """
        return class_index(case, plan)

    def losses(
        self, parts: Mapping[str, nn.Module], batch: Batch, rng: torch.Generator
    ) -> Iterator[tuple[str, torch.Tensor]]:
        """Contrast of two views, each seen anew; by image, or by class where ``labels`` is set.

        An autoencoder gives back the clean image from a spoilt one; outside training, where there is only the
        embedding, contrast stands for both.
        """
        images = batch.images
        if rng.device != images.device:
            rng = torch.Generator(images.device).manual_seed(rng.initial_seed())
        if batch.options.get("pretext") == PRETEXTS[1] and parts["net"].training:
            spoilt, _ = augment(images, None, SPOILT, rng)
            yield "net", functional.mse_loss(parts["net"](spoilt).float(), images)
            return
        kinds = batch.targets if batch.options.get("labels") else torch.arange(len(images), device=images.device)
        kinds = kinds.repeat(2)
        temperature = float(batch.options.get("temperature", TEMPERATURE))  # type: ignore[arg-type]
        yield "net", contrast(parts["net"](views(images, rng)), kinds[:, None] == kinds[None], temperature)

    def activate(self, raw: torch.Tensor, calibration: Calibration) -> torch.Tensor:
        """Return embeddings as unit vectors of the reference."""
        space = _space(calibration)
        if space is None:
            return functional.normalize(raw.float().cpu(), dim=1)
        return torch.from_numpy(space.unit(raw.float().cpu().numpy()))

    def calibrate(
        self, raw: Sequence[np.ndarray], targets: Sequence["np.ndarray | float"], plan: Plan, rng: np.random.Generator
    ) -> Calibration:
        """Keep out-of-fold embeddings with their classes: the small index that the encoder is judged with."""
        chosen = np.sort(rng.choice(len(raw), min(len(raw), REFERENCES), replace=False))
        features = np.stack([np.asarray(raw[int(n)], dtype=np.float64) for n in chosen])
        classes = [float(np.asarray(targets[int(n)])) for n in chosen]
        return reference(features, classes)

    def decode(
        self, output: np.ndarray, case: Case, prepared: Prepared, plan: Plan, calibration: Calibration
    ) -> Prediction:
        """Return the classes of the reference cases, the nearest first, and the class that weighs most there."""
        order, similar = _ranked(np.asarray(output, dtype=np.float32), plan, calibration)
        ranked = tuple(plan.classes[c] for c in order)
        weights = np.maximum(similar[:TOP], 1e-9)
        shares = {c: float(sum(w for n, w in zip(ranked, weights, strict=False) if n == c)) for c in ranked[:TOP]}
        label = max(shares, key=lambda c: shares[c])
        doubt = 1 - shares[label] / float(weights.sum())
        return Prediction(case.id, "", neighbours=ranked, label=label, doubt=min(max(doubt, 0.0), 1.0))

    def score(self, prediction: Prediction, case: Case, plan: Plan) -> dict[str, float]:
        """Return P@10, average precision and nDCG@10; of a class with fewer than ten cases, P at their number."""
        right = np.array([label == case.target for label in prediction.neighbours or ()], dtype=bool)
        n = max(1, min(TOP, int(right.sum())))
        return {
            "precision_at_10": float(ranking.precision_at([right], n)[0]) if right.any() else float("nan"),
            "average_precision": float(ranking.average_precision([right])[0]),
            "ndcg_at_10": float(ranking.discounted_gain([right], TOP)[0]),
        }

    def measure(self, judged: Sequence[Judged], plan: Plan, rng: np.random.Generator) -> Measures:
        """Return the means over the queries with intervals over patients."""
        names = {"precision_at_10": "precision_at_10", "average_precision": "map", "ndcg_at_10": "ndcg_at_10"}
        found = {name: _mean(judged, key, rng) for key, name in names.items()}
        by_class = {}
        for name in plan.classes:
            own = [j for j in judged if j.truth == name]
            if own:
                by_class[name] = {v: _mean(own, k, rng) for k, v in names.items()}
        return Measures(metrics=found, by_label=by_class)

    def compare(
        self, ours: Sequence[Judged], theirs: Sequence[Judged], plan: Plan, rng: np.random.Generator
    ) -> tuple[Metric, float | None, str]:
        """Compare P@10, paired by query and clustered by patient."""
        first, second = (np.array([j.scores["precision_at_10"] for j in part]) for part in (ours, theirs))
        paired = statistics.compare_values(first, second, [j.patient for j in ours], rng)
        return paired.difference, paired.p, paired.test

    def perfect(self, target: "np.ndarray | float | int", plan: Plan) -> np.ndarray:
        """Return the axis of the true class: without a reference the classes' axes stand for it."""
        sure: np.ndarray = np.eye(len(plan.classes))[int(np.asarray(target))]
        return sure


def reference(features: np.ndarray, classes: Sequence[float]) -> Calibration:
    """Return a calibration that holds a small index.

    Args:
        features: (n, d) raw embeddings.
        classes: (n,) class index of each.
    """
    space = space_of(features)
    return Calibration(
        extra={
            "centre": space.centre,
            "axes": space.axes,
            # Four digits: similarities are told with three.
            "reference": tuple(round(float(v), 4) for v in averaged_all(space.unit(features)).reshape(-1)),
            "reference_class": tuple(float(c) for c in classes),
        }
    )


def _space(calibration: Calibration) -> Space | None:
    """Return the space of the reference; None where there is no reference."""
    centre, axes = calibration.extra.get("centre"), calibration.extra.get("axes")
    return Space(centre, axes) if isinstance(centre, tuple) and isinstance(axes, tuple) else None


def _ranked(unit: np.ndarray, plan: Plan, calibration: Calibration) -> tuple[list[int], np.ndarray]:
    """Return class and similarity of every reference case, the nearest first; of the axes where there is none."""
    classes = calibration.extra.get("reference_class")
    if not isinstance(classes, tuple):
        axes = np.eye(len(plan.classes), max(unit.size, len(plan.classes)), dtype=np.float32)
        padded = np.zeros(axes.shape[1], dtype=np.float32)
        padded[: unit.size] = unit
        rows, similar = nearest(axes, padded[None], len(axes))
        return [int(r) for r in rows[0]], similar[0]
    vectors = np.asarray(calibration.extra["reference"], dtype=np.float32).reshape(len(classes), -1)
    rows, similar = nearest(vectors, averaged(vectors, unit[None]), len(classes))
    return [int(classes[r]) for r in rows[0]], similar[0]


def _mean(judged: Sequence[Judged], key: str, rng: np.random.Generator) -> Metric:
    values = np.array([j.scores[key] for j in judged])
    return statistics.mean_metric(values, [j.patient for j in judged], rng, bounds=(0.0, 1.0))
