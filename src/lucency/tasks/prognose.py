"""Prognosis: when an event will come, from an image, from clinical columns, or from both; with competing events."""

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import nn

from lucency.calibration import Calibration
from lucency.case import Case, Cohort, Course, Outcome, Prediction
from lucency.errors import DataError, UsageError
from lucency.networks import body
from lucency.plan import Needs, Plan
from lucency.prepare import Prepared
from lucency.profile import Profile, Summary
from lucency.profile.sums import STEP
from lucency.prognosis import measures
from lucency.prognosis.fusion import even, fit_fusion, fusion_of, group_of
from lucency.prognosis.network import PrognoseNet, branches_of, cox_loss, hazard_loss
from lucency.statistics import Metric
from lucency.survival.intervals import edges_of, incidence_at, incidence_of, labelled, median_days
from lucency.survival.outcome import Outcomes
from lucency.tasks import Batch, Figure, Judged, Measures, task
from lucency.tasks.pooled import image_network

#: Events below which nothing is learned. Ten events a parameter is the old rule (Peduzzi 1995,
#: doi:10.1016/0895-4356(95)00048-8); one weight for each of two branches is the least that there is.
LEAST_EVENTS = 20
#: Under so many events an image has one risk for all of time; above, one for each interval.
MANY_EVENTS = 300
#: Passes over the images where events are few: with 119 patients the out-of-fold concordance of the clinical branch was
#: .66 after 13 passes, .65 after 25 and .64 after 84.
SHORT = 20
#: Horizons that people ask for, in days, and the share of patients that must have been watched beyond one.
HORIZONS, WATCHED = (3652.0, 1826.0, 1095.0, 730.0, 365.0, 180.0, 90.0, 30.0), 0.4
#: What the two heads are called.
HEADS = ("hazard", "cox")


@task
class Prognose:
    """The prognosis task."""

    name = "prognose"
    dense = False
    headline = "uno_c"
    figures = (
        Figure("survival", "steps", share=True, counted=True),
        Figure("calibration", "marked", band=("lower", "upper"), diagonal=True, unit=True),
    )
    baselines = "outcomes"

    def suits(self, cohort: Cohort) -> float:
        """Times with events as targets."""
        return 1.0 if any(isinstance(c.target, Outcome) for c in cohort.cases) else 0.0

    def needs(self, profile: Profile) -> Needs:
        """Intervals of time with about as many events each, and clinical columns beside the image.

        Raises:
            DataError: Too few events.
        """
        events = {k: s for k, s in profile.outcomes.items() if k != "0"}
        n_events = sum(s.count for s in events.values())
        _refuse_few(n_events, events["1"].count if "1" in events else 0, profile.n_cases)
        causes = max(int(k) for k in events)
        # The profile knows times within half of its step: an edge must not lie just before the event it is of.
        edges = edges_of(np.concatenate([_times(s) for s in events.values()])) * (1 + STEP)
        horizon = _horizon(profile)
        share = f"{n_events} events in {profile.n_cases} training cases"
        network, sequence = image_network(profile)
        return Needs(
            task=self.name,
            network=network,
            outputs=causes,
            dense=False,
            sized=True,
            classes=False,
            facts=True,
            least_members=5,
            most_passes=SHORT if n_events < MANY_EVENTS else 0,
            narrow=n_events < MANY_EVENTS,
            options={
                "head": "hazard",
                "edges": tuple(float(e) for e in edges),
                "causes": causes,
                "horizon_days": horizon,
                "proportional": n_events < MANY_EVENTS,
                "dropout": 0.3,
                "treatment": "",
            },
            reasons={
                "task": f"{share}" + (f", of {causes} competing kinds" if causes > 1 else ""),
                "network": ("pre-activation ResNet" if network == "resnet" else f"{sequence};")
                + " beside a linear branch of the clinical columns; each learns a hazard "
                "of its own, and what each is worth is learned from patients that neither has seen",
                "head": f"hazard of {len(edges) - 1} intervals with about as many events each: a likelihood that does "
                "not depend on the batch (doi 10.7717/peerj.6257)",
                "horizon_days": f"{horizon:g}: the longest usual horizon that {WATCHED:.0%} of the patients were "
                "watched beyond",
            },
        )

    def build(self, plan: Plan) -> dict[str, nn.Module]:
        """Return the network.

        Raises:
            UsageError: An unknown head, or neither an image nor a clinical branch.
        """
        if str(plan.task_options.get("head", HEADS[0])) not in HEADS:
            raise UsageError("No such head", expected=", ".join(HEADS), where="task_options.head")
        given = str(plan.task_options.get("inputs", "both"))
        if given not in ("both", "image", "clinical") or (given == "clinical" and not plan.facts):
            raise UsageError(
                f"inputs = {given!r} with {len(plan.facts)} clinical columns",
                expected="both, image, or clinical where there are columns",
                where="task_options.inputs",
            )
        treatment, columns_told = str(plan.task_options.get("treatment", "")), [c.name for c in plan.facts]
        if treatment not in ("", "none", *columns_told):
            raise UsageError(
                f"treatment = {treatment!r} is no clinical column",
                expected=", ".join(columns_told) or "a clinical column",
                where="--set treatment",
            )
        trunk = body(plan.network, plan.channels, plan.dims, plan.network_options) if given != "clinical" else None
        columns = sum(c.width for c in plan.facts) if given != "image" else 0
        return {
            "net": PrognoseNet(
                trunk,
                columns,
                (_causes(plan), len(_edges(plan)) - 1),
                dropout=float(plan.task_options.get("dropout", 0.3)),  # type: ignore[arg-type]
                proportional=bool(plan.task_options.get("proportional", True)),
            )
        }

    def target(self, case: Case, plan: Plan) -> np.ndarray:
        """Return (2,): days, and the kind of event.

        Raises:
            DataError: The target is no outcome.
        """
        if not isinstance(case.target, Outcome):
            raise DataError(
                "The target is no time with an event", where=case.id, remedy="name both: --target time,event"
            )
        return np.array([case.target.time, float(case.target.event)])

    def losses(
        self, parts: Mapping[str, nn.Module], batch: Batch, rng: torch.Generator
    ) -> Iterator[tuple[str, torch.Tensor]]:
        """The negative log likelihood of each branch for itself, added up."""
        logits = branches_of(parts["net"](batch.images, batch.facts).float())
        time, event = batch.targets[:, 0], batch.targets[:, 1].round().long()
        if str(batch.options.get("head", HEADS[0])) == "cox":
            terms = [
                cox_loss(logits[:, b, c, 0], time, event == c + 1)
                for b in range(logits.shape[1])
                for c in range(logits.shape[2])
            ]
        else:
            edges = np.asarray(batch.options["edges"])
            seen = Outcomes(time.double().cpu().numpy(), event.cpu().numpy())
            at_risk, kind = (torch.from_numpy(a).to(logits.device) for a in labelled(seen, edges))
            terms = [hazard_loss(logits[:, b], at_risk, kind) for b in range(logits.shape[1])]
        yield "net", torch.stack(terms).sum()

    def activate(self, raw: torch.Tensor, calibration: Calibration) -> torch.Tensor:
        """Return (B, causes · intervals): the probability of each event by the end of each interval."""
        learned = fusion_of(calibration.extra)
        branches, causes, intervals = learned.mean.shape if learned is not None else (0, 0, 0)
        shape = (branches, causes, intervals) if learned is not None else None
        logits = branches_of(raw, shape).double().cpu().numpy()
        fusion = learned or even(logits.shape[1:])
        return torch.from_numpy(incidence_of(fusion.logits(logits)).reshape(len(logits), -1))

    def calibrate(
        self, raw: Sequence[np.ndarray], targets: Sequence["np.ndarray | float"], plan: Plan, rng: np.random.Generator
    ) -> Calibration:
        """Learn what each branch is worth, the level of the hazards, and where the risk groups part."""
        rows = torch.from_numpy(np.stack(raw).astype(np.float64))
        shape = (_causes(plan), len(_edges(plan)) - 1)
        truth = np.stack([np.asarray(t, dtype=np.float64) for t in targets])
        seen = Outcomes(truth[:, 0], truth[:, 1].round().astype(int))
        fusion = fit_fusion(
            branches_of(rows, (_branches(rows, shape), *shape)).numpy(),
            seen,
            np.asarray(_edges(plan)),
            _horizon_of(plan),
        )
        return Calibration(extra=fusion.extra)

    def decode(
        self, output: np.ndarray, case: Case, prepared: Prepared, plan: Plan, calibration: Calibration
    ) -> Prediction:
        """Return the course: incidence over time, risk by the horizon, median, and risk group."""
        edges = np.asarray(_edges(plan))
        incidence = np.clip(np.asarray(output, dtype=np.float64).reshape(_causes(plan), -1), 0, 1)
        risk = float(incidence_at(incidence[:1], edges, np.array([_horizon_of(plan)]))[0, 0])
        cuts = np.atleast_1d(np.asarray(calibration.extra.get("cuts", ()), dtype=np.float64))
        course = Course(
            days=tuple(float(e) for e in edges[1:]),
            incidence={str(c + 1): tuple(float(v) for v in row) for c, row in enumerate(incidence)},
            risk=risk,
            horizon=_horizon_of(plan),
            median_days=median_days(np.minimum(incidence.sum(axis=0), 1.0), edges),
            group=int(group_of(risk, cuts)),
        )
        chance = min(max(risk, 1e-12), 1 - 1e-12)
        doubt = -(chance * math.log2(chance) + (1 - chance) * math.log2(1 - chance))
        return Prediction(case.id, "", course=course, doubt=min(max(doubt, 0.0), 1.0))

    def score(self, prediction: Prediction, case: Case, plan: Plan) -> dict[str, float]:
        """Return what came, what was predicted by each day, and how far the risk was off where that is known."""
        if prediction.course is None or not isinstance(case.target, Outcome):
            raise DataError("No course or no outcome to score", where=case.id, remedy="report this as a bug")
        course, came = prediction.course, case.target
        known = came.event > 0 or came.time >= course.horizon
        ill = came.event == 1 and came.time <= course.horizon
        found = {
            "risk": course.risk,
            "p_true": 1 - abs(course.risk - float(ill)) if known else float("nan"),
            "time_days": came.time,
            "event": float(came.event),
            "group": float(course.group),
        }
        return found | {f"by/{d:g}": p for d, p in zip(course.days, course.incidence["1"], strict=True)}

    def measure(self, judged: Sequence[Judged], plan: Plan, rng: np.random.Generator) -> Measures:
        """Return ranking, error and calibration with intervals; curves of the risk groups; calibration."""
        known = measures.told([j.scores for j in judged], [j.patient for j in judged], _horizon_of(plan))
        return Measures(metrics=measures.metrics(known, rng), curves=measures.lines(known))

    def compare(
        self, ours: Sequence[Judged], theirs: Sequence[Judged], plan: Plan, rng: np.random.Generator
    ) -> tuple[Metric, float | None, str]:
        """Compare Uno's C by the paired patient bootstrap."""
        first, second = (
            measures.told([j.scores for j in each], [j.patient for j in each], _horizon_of(plan))
            for each in (ours, theirs)
        )
        paired = measures.compare(first, second, rng)
        return paired.difference, paired.p, paired.test

    def perfect(self, target: "np.ndarray | float | int", plan: Plan) -> np.ndarray:
        """Return certainty of the event in its interval, or of none in the time that was watched."""
        time, event = (float(v) for v in np.asarray(target))
        ends = np.asarray(_edges(plan))[1:]
        sure = np.zeros((_causes(plan), ends.size))
        if event > 0:
            # The interval that holds the day: by its end the event has come.
            sure[round(event) - 1, int(np.searchsorted(ends, time)) :] = 1.0
        return sure.ravel()


def _branches(rows: torch.Tensor, shape: tuple[int, int]) -> int:
    """Return how many branches rows hold that say their own shape first, or do not."""
    said = [round(v) for v in rows[0, :3].tolist()]
    whole = math.prod(shape)
    return said[0] if said[1:] == list(shape) and rows.shape[1] == 3 + said[0] * whole else rows.shape[1] // whole


def _refuse_few(n_events: int, of_first: int, n_cases: int) -> None:
    if n_events == 0:
        raise DataError(
            f"No event in {n_cases} training cases: all are censored",
            expected=f"{LEAST_EVENTS} events or more",
            where="event column",
            remedy="check that 1 means the event and 0 censored; else wait for longer follow-up",
        )
    if n_events < LEAST_EVENTS or of_first == 0:
        raise DataError(
            f"{n_events} events in {n_cases} training cases, {of_first} of kind 1",
            expected=f"{LEAST_EVENTS} events or more, among them some of kind 1, the one in question",
            where="event column",
            remedy=f"{max(LEAST_EVENTS - n_events, 1)} more events are needed: add patients or longer follow-up",
        )


def _times(summary: Summary) -> np.ndarray:
    """Return about the times that a summary was made of."""
    return np.array([summary.percentile(q) for q in np.linspace(0, 100, summary.count)])


def _horizon(profile: Profile) -> float:
    """Return the longest usual horizon that enough patients were watched beyond."""
    times = np.concatenate([_times(s) for s in profile.outcomes.values()])
    fits = [h for h in HORIZONS if (times > h).mean() >= WATCHED]
    return fits[0] if fits else float(np.quantile(times, 1 - WATCHED))


def _edges(plan: Plan) -> tuple[float, ...]:
    edges = plan.task_options["edges"]
    if not isinstance(edges, tuple | list) or len(edges) < 2:
        raise UsageError("No intervals of time", where="task_options.edges", expected="two days or more, ascending")
    return tuple(float(e) for e in edges)


def _causes(plan: Plan) -> int:
    return int(float(plan.task_options.get("causes", 1)))  # type: ignore[arg-type]


def _horizon_of(plan: Plan) -> float:
    return float(plan.task_options.get("horizon_days", _edges(plan)[-1]))  # type: ignore[arg-type]
