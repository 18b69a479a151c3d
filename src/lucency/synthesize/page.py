"""The report of a walk, for people who treat patients: the verdict first, then what it rests on, and its limits."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lucency import __version__, record
from lucency.plan import Plan
from lucency.report.figures import DASHES, PAINT, SERIES, Sheet, in_legend, styled
from lucency.report.numbers import DASH, MINUS, bracketed, interval, metric_name, number, p_value
from lucency.report.templates import filled
from lucency.statistics import Metric, nadeau_bengio
from lucency.synthesize.audit import TOLD, Audit, Finding
from lucency.synthesize.fidelity import Panel, headline
from lucency.synthesize.gate import Guard, Runs, Verdict
from lucency.synthesize.gate.design import Design
from lucency.synthesize.gate.evidence import ROPE
from lucency.synthesize.looking import Looked
from lucency.synthesize.privacy import Privacy
from lucency.text import known, name, sentence, t

#: In a run folder.
PAGE = "report/synthesis.html"

#: Measures of the panel that the page has a column of, with their encoder.
LIKENESS = (("fd", "trained"), ("fd", "random"), ("kid", "trained"), ("coverage", "trained"))

#: Words of a verdict that the page has sentences for.
WORDS = {"ACCEPT": "accept", "REJECT": "reject", "INCONCLUSIVE": "inconclusive"}


def write_page(
    folder: Path, found: Verdict, design: Design, looked: Sequence[Looked], runs: Sequence[Runs], lang: str
) -> Path:
    """Write the report of a walk; it needs nothing else and holds pictures of patients, which its first line says.

    Args:
        folder: The run folder.
        found: The verdict.
        design: What was done.
        looked: What was seen of each fold's generator.
        runs: Every arm; empty where none was trained.
        lang: ``"en"`` or ``"zh"``.

    Returns:
        Where it lies.

    Raises:
        OutputError: The disk cannot be written.
    """
    plan = record.read(Plan, folder / "plan.json")
    pictures = record.read_object(folder / "synthesis" / f"fold{looked[0].fold}" / "pictures.json") if looked else {}
    scale = _scale(plan)
    rows = differences(runs, found.rival, design)
    path = folder / PAGE
    html = filled(
        "lucency.synthesize",
        "page.html.jinja",
        lang,
        word=t(f"synthesize.{WORDS[found.word]}", lang),
        tone=WORDS[found.word],
        meaning=t(f"synthesize.{WORDS[found.word]}_means", lang),
        reasons=[capital(sentence(r, lang)) for r in found.reasons],
        detectable=_points(found.detectable, lang) if math.isfinite(found.detectable) else "",
        done=_done(design, looked, runs, metric_name(scale, lang), lang),
        metric=metric_name(scale, lang),
        forest=forest(rows, lang) if rows else "",
        arms=_arms(found, design, runs, lang),
        rival=arm_name(found.rival, lang),
        confirmation=_confirmed(found, lang),
        guards=[_guard(g, lang) for g in found.guards],
        panels=[_panel(one, lang) for one in looked],
        likeness=[f"{name('synthesize', k, lang)} ({name('synthesize', e, lang)})" for k, e in LIKENESS],
        sieved=[_sieved(one, lang) for one in looked],
        audits=[audited(one, lang) for one in looked],
        generated=_generated(pictures, plan),
        pairs=pictures.get("pairs", ()),
        unknown=not _patients_known(folder),
        limits=_limits(found, design, runs, lang, plan=plan, private=any(one.privacy is not None for one in looked)),
        version=__version__,
    )
    record.write_text(path, html)
    return path


def differences(runs: Sequence[Runs], rival: str, design: Design) -> list[tuple[Runs, Metric]]:
    """Return every arm but the rival with its difference from it, with the interval of Nadeau and Bengio."""
    own = next((r for r in runs if r.arm == rival), None)
    found = []
    for arm in runs:
        if own is None or arm.arm == rival:
            continue
        change = np.array(arm.outer) - np.array(own.outer)
        change = change[np.isfinite(change)]
        if change.size:
            found.append((arm, nadeau_bengio(change, design.n_train, design.n_test).difference))
    return found


@styled
def forest(rows: Sequence[tuple[Runs, Metric]], lang: str) -> str:
    """Draw the differences from the best rival in points, those of generated images in colour."""
    step, top = 0.29, 0.12
    sheet = Sheet(7.0, top + step * len(rows) + 0.5)
    axes = sheet.axes(2.35, 0.45, 3.0, step * len(rows))
    axes.axvspan(-100 * ROPE, 100 * ROPE, color=PAINT["hair"], alpha=0.35, lw=0, zorder=0)
    axes.axvline(0, color=PAINT["muted"], lw=0.8, ls=DASHES[0], zorder=0)
    for at, (arm, metric) in enumerate(rows):
        colour = SERIES[0] if arm.candidate else PAINT["ink"]
        if metric.lower is not None and metric.upper is not None:
            axes.plot([100 * metric.lower, 100 * metric.upper], [at, at], color=colour, lw=1.4)
        axes.plot([100 * metric.value], [at], "D" if arm.candidate else "o", color=colour, ms=5)
        axes.text(1.05, at, _gain(metric, lang), transform=axes.get_yaxis_transform(), va="center")
    axes.set_yticks(range(len(rows)), [in_legend(arm_name(arm.arm, lang)) for arm, _ in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.set_xlabel(t("synthesize.points_axis", lang))
    axes.locator_params(axis="x", nbins=6)
    told = t("report.semicolon", lang).join(f"{arm_name(a.arm, lang)} {_gain(m, lang)}" for a, m in rows)
    return sheet.svg("arms", t("synthesize.forest_alt", lang, rows=told))


def arm_name(arm: str, lang: str) -> str:
    """Return an arm as people read it: the fixed words translated, settings and numbers as they are.

    Example:
        >>> arm_name("generated 0.5", "en"), arm_name("real again, rare classes", "en")
        ('real + generated 0.5 : 1', 'real images again, rare classes only')
    """
    kind, _, tail = arm.partition(",")
    words, _, ratio = kind.rpartition(" ")
    if words == "generated":
        return t("synthesize.arm_generated", lang, ratio=ratio)
    if known(f"decision.{words}"):
        return t("report.pair", lang, head=name("decision", words, lang), text=ratio.replace("_", " "))
    key = {"real": "real", "real again": "again", "generated": "generated_rare"}.get(kind, "")
    if not key:
        return arm
    return t(f"synthesize.arm_{key}_rare" if tail and key == "again" else f"synthesize.arm_{key}", lang)


def capital(text: str) -> str:
    """Return a sentence with its first letter large."""
    return text[:1].upper() + text[1:]


def _points(value: float, lang: str, *, sign: bool = False) -> str:
    return t("synthesize.points", lang, n=number(100 * value, 1, sign=sign))


def _gain(metric: Metric, lang: str) -> str:
    """Return a difference in points with its interval."""
    value = number(100 * metric.value, 1, sign=True)
    if metric.lower is None or metric.upper is None:
        return value
    span = interval(Metric(0.0, 100 * metric.lower, 100 * metric.upper), lang, 1, sign=True)
    return f"{value} ({span})"


def _scale(plan: Plan) -> str:
    from lucency.tasks import task_named  # noqa: PLC0415 - torch takes seconds, and pages are also made of records

    return task_named(plan.task).headline


def _done(design: Design, looked: Sequence[Looked], runs: Sequence[Runs], metric: str, lang: str) -> str:
    """Return what was done, which is less than what was planned where a generator settled the verdict."""
    return t(
        "synthesize.done" if runs else "synthesize.done_early",
        lang,
        family=", ".join(dict.fromkeys(one.family for one in looked)),
        generators=len(looked),
        metric=metric,
        folds=len(design.folds),
        seeds=design.seeds,
        runs=len(design.folds) * design.seeds,
        arms=len(design.arms),
        steps=design.steps,
        n_train=round(design.n_train),
        n_test=round(design.n_test),
        side=design.frame,
    )


def _arms(found: Verdict, design: Design, runs: Sequence[Runs], lang: str) -> list[dict[str, Any]]:
    gains = {arm.arm: metric for arm, metric in differences(runs, found.rival, design)}
    sureness = {c.arm: c for c in found.contrasts}
    rows = []
    for arm in runs:
        own = sureness.get(arm.arm)
        rows.append(
            {
                "name": arm_name(arm.arm, lang),
                "strong": arm.arm in (found.arm, found.rival),
                "inner": number(_mean(arm.inner)),
                "outer": number(_mean(arm.outer)),
                "gain": _gain(gains[arm.arm], lang) if arm.arm in gains else DASH,
                "p": p_value(own.p_holm) if own is not None else DASH,
                "better": f"{100 * own.better:.0f} %" if own is not None and math.isfinite(own.better) else DASH,
                "runs": sum(math.isfinite(v) for v in arm.outer),
            }
        )
    return rows


def _mean(values: Sequence[float]) -> float:
    known = [v for v in values if math.isfinite(v)]
    return float(np.mean(known)) if known else math.nan


def _confirmed(found: Verdict, lang: str) -> str:
    own = found.confirmation
    if own is None:
        return t("synthesize.unlooked", lang)
    return t(
        "synthesize.confirmed",
        lang,
        n=own.n_patients,
        gain=_gain(own.gain, lang),
        test=sentence(own.test, lang),
        check=_gain(own.check, lang),
        p=p_value(own.check_p),
        looks=own.looks,
    )


def _guard(guard: Guard, lang: str) -> dict[str, str]:
    base, _, label = guard.name.partition("/")
    return {
        "name": name("metric", base, lang) + (f", {label}" if label else ""),
        "change": _gain(guard.change, lang),
        "margin": f"{MINUS}{100 * guard.margin:g}",
        "state": t(f"synthesize.guard_{guard.state}", lang),
    }


def _panel(one: Looked, lang: str) -> dict[str, Any]:
    """Return one fold's row: what the images teach, and how like real ones they are, each beside real ones."""
    panel: Panel = one.panel
    cells = []
    for key, encoder in LIKENESS:
        beside = panel.by_encoder.get(encoder, {}).get(key)
        places = 3
        cells.append(
            DASH
            if beside is None
            else f"{number(beside.synthetic.value, places)} / {number(beside.real.value, places)}"
        )
    use = panel.use
    taught = DASH if use is None else f"{number(headline(use.tstr))} / {number(headline(use.trtr))}"
    fold, remarks = t("report.fold", lang, number=one.fold), sentence(one.facts.get("remarks", ""), lang)
    return {
        "fold": fold,
        "family": one.family,
        "teaches": taught,
        "cells": cells,
        "collapsed": len(panel.collapsed),
        "remarks": t("report.pair", lang, head=capital(fold), text=remarks) if remarks else "",
    }


def audited(one: Looked, lang: str) -> dict[str, Any]:
    """Return the audit of one fold's generator, and what its training has cost where that was private."""
    privacy = "" if one.privacy is None else spent(one.privacy, lang)
    return {"fold": t("report.fold", lang, number=one.fold), "privacy": privacy, **_audit(one.audit, lang)}


def spent(privacy: Privacy, lang: str) -> str:
    """Return what a private training has cost, as a sentence."""
    return t(
        f"synthesize.privacy_{privacy.unit}",
        lang,
        epsilon=number(privacy.epsilon, 2),
        n=round(1 / privacy.delta),
        steps=privacy.steps,
        rate=number(privacy.rate, 4),
        clip=number(privacy.clip, 1),
        noise=number(privacy.noise, 2),
        accountant=privacy.accountant,
    )


def _audit(found: Audit, lang: str) -> dict[str, Any]:
    """Return one generator's audit: the verdict, its reasons, what may be done, and every answer."""
    told = found.self_test
    rows = [_finding(f, lang) for f in found.findings]
    if told is not None:
        state = t(f"synthesize.self_test_{'able' if told.able else 'unable'}", lang)
        shown = f"{100 * told.found.value:.0f} %", f"{100 * told.false.value:.1f} %"
        rows.insert(0, (t("synthesize.self_test", lang), shown[0], shown[1], state))
    return {
        "word": t(f"synthesize.audit_{found.verdict.replace(' ', '_')}", lang),
        "by": t(f"synthesize.audit_by_{found.by}", lang),
        "scope": [t(f"synthesize.scope_{s.replace(' ', '_')}", lang) for s in found.scope],
        "reasons": [*(t(f"synth.{r.key}", lang, **r.values) for r in found.reasons), *_controlled(found, lang)],
        "rows": rows,
    }


def _controlled(found: Audit, lang: str) -> list[str]:
    """Return what the attack on who was trained on was tried on, and the most that it reached in an untaught space."""
    reached = [f.value for f in found.control if f.name == "membership" and f.outcome != TOLD]
    if not reached:
        return []
    best = max(reached, key=lambda value: value.value)
    return [t(f"synth.control_{found.control_is}", lang, n=found.counts.get("control", 0), value=number(best.value))]


def _finding(finding: Finding, lang: str) -> tuple[str, str, str, str]:
    space = name("synth", finding.space, lang) if finding.space else ""
    reference = _estimate(finding.reference, lang) if finding.reference is not None else DASH
    state = t(f"synthesize.outcome_{finding.outcome}", lang)
    return (
        bracketed(name("synth", f"audit_{finding.name}", lang), space, lang),
        _estimate(finding.value, lang),
        reference,
        state,
    )


def _estimate(metric: Metric, lang: str) -> str:
    span = interval(metric, lang)
    return f"{number(metric.value)} ({span})" if span else number(metric.value)


def _sieved(one: Looked, lang: str) -> str:
    lost = {k: one.lost.get(k, 0) for k in ("copies", "label", "trivial", "far")}
    return t("synthesize.sieved", lang, fold=one.fold, drawn=one.drawn, kept=sum(one.kept.values()), **lost)


def _generated(pictures: Mapping[str, Any], plan: Plan) -> list[tuple[str, Sequence[str]]]:
    """Return the pictures of each class under its name; of none under no name."""
    found = []
    for label, some in pictures.get("generated", {}).items():
        number_of = int(label)
        found.append((plan.classes[number_of] if 0 <= number_of < len(plan.classes) else "", some))
    return found


def _patients_known(folder: Path) -> bool:
    return bool(record.read_object(folder / "cohort.json").get("patient_key"))


def _limits(found: Verdict, design: Design, runs: Sequence[Runs], lang: str, *, plan: Plan, private: bool) -> list[str]:
    """Return what the walk does not show, so that nobody reads it in."""
    keys = ["limit_grid", "limit_network", "limit_elsewhere", "limit_privacy"]
    if plan.uses_unlabelled:
        keys.insert(2, "limit_unlabelled")
    if not runs:
        keys.insert(0, "limit_untrained")
    elif found.confirmation is None:
        keys.insert(0, "limit_unconfirmed")
    if private:
        keys.append("limit_private")
    return [t(f"synthesize.{k}", lang, side=design.frame) for k in keys]
