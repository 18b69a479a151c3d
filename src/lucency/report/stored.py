"""``metrics.json``: the numbers of the report for other programs."""

from collections.abc import Mapping
from typing import Any

from lucency.evaluate import Arm, Comparison, Downstream, Effect, Part, Pattern
from lucency.report.facts import Facts
from lucency.statistics import Metric


def metrics_json(facts: Facts) -> dict[str, Any]:
    """Return ``metrics.json``: no timings and nothing about single cases, so that equal runs give equal files."""
    top = facts.locked
    return {
        "task": facts.evaluation.task,
        "n_patients": top.n_patients,
        "metrics": plain_metrics(top.metrics),
        "baselines": {b: _comparison(c) for b, c in top.baselines.items()},
        "parts": {p.name: _part(p) for p in facts.evaluation.parts},
        **({"downstream": _downstream(facts.evaluation.downstream)} if facts.evaluation.downstream is not None else {}),
        **({"treatment": _effect(facts.evaluation.effect)} if facts.evaluation.effect is not None else {}),
    }


def _effect(found: Effect) -> dict[str, Any]:
    """Return what is predicted under each value of a treatment column."""

    def arms(each: tuple[Arm, ...]) -> dict[str, Any]:
        return {
            value: plain_metrics(
                {"survival": arm.survival} | ({} if arm.difference is None else {"difference": arm.difference})
            )
            for value, arm in zip(found.values, each, strict=False)
        }

    return {
        "column": found.column,
        "horizon_days": found.horizon,
        "n_patients": found.n_patients,
        "n_comparable": found.n_comparable,
        "counts": dict(zip(found.values, found.counts, strict=False)),
        "model": arms(found.arms),
        "Cox on clinical columns": arms(found.beside),
        "refused": found.refused,
    }


def _downstream(found: Downstream) -> dict[str, Any]:
    """Return what a model makes of real and made images."""
    return {
        "task": found.task,
        "metric": found.headline,
        "n_patients": found.n_patients,
        "arms": plain_metrics(found.arms),
        "made_minus": plain_metrics(found.made_minus),
        "p_holm": dict(found.p_holm),
        "test": found.test,
    }


def _part(part: Part) -> dict[str, Any]:
    return {
        "n_cases": part.n_cases,
        "n_patients": part.n_patients,
        "metrics": plain_metrics(part.metrics),
        "by_label": {label: plain_metrics(m) for label, m in part.by_label.items()},
        "subgroups": {group: plain_metrics(m) for group, m in part.subgroups.items()},
        "confusion": part.confusion,
        "baselines": {b: _comparison(c) for b, c in part.baselines.items()},
        **({"modalities": [_pattern(p) for p in part.patterns]} if part.patterns else {}),
    }


def _pattern(pattern: Pattern) -> dict[str, Any]:
    """Return what is left with some modalities only."""
    told = {"metric": pattern.metric, "against_all": pattern.loss}
    told |= {"zero_filling": pattern.zero_filling, "minus_zero_filling": pattern.gain}
    return {
        "given": list(pattern.given),
        "n_cases": pattern.n_cases,
        "n_patients": pattern.n_patients,
        **plain_metrics({k: m for k, m in told.items() if m is not None}),
        "p_against_all": pattern.p_loss,
        "p_minus_zero_filling": pattern.p_gain,
    }


def _comparison(against: Comparison) -> dict[str, Any]:
    return {
        "metrics": plain_metrics(against.metrics),
        "difference": plain_metrics({"": against.difference})[""],
        "p": against.p,
        "p_holm": against.p_holm,
        "verdict": against.verdict,
    }


def plain_metrics(metrics: Mapping[str, Metric]) -> dict[str, dict[str, Any]]:
    """Return metrics as plain numbers with their intervals, for JSON."""
    return {
        k: {"value": m.value, "lower": m.lower, "upper": m.upper, "n": m.n, "method": m.method}
        for k, m in metrics.items()
    }
