"""The report in plain words: what was reached, whether a simple model is as good, and what to beware of."""

import math
from collections import Counter

from lucency.case import UNKNOWN_PATIENTS
from lucency.evaluate import LEAKED, Comparison, Part
from lucency.plan import UNPROVEN
from lucency.prepare import unlabelled as learned_from
from lucency.report.facts import Facts
from lucency.report.numbers import bracketed, digits, headline, interval, metric_name, number, p_value, part_name
from lucency.statistics import Metric
from lucency.tasks import task_named
from lucency.text import name, sentence, t

#: Below this many patients in the locked part an interval is so wide that the report says so.
FEW_PATIENTS = 50
#: Below this many patients no interval is given, and no test has the power to call two models alike.
FEW_FOR_A_TEST = 20
#: A class with fewer cases than this in the locked part is named.
FEW_IN_CLASS = 10
#: ECE up to which probabilities may be read as frequencies (the project's own acceptance level), and twice that.
GOOD_ECE, FAIR_ECE = 0.05, 0.10
#: Under 200 cases Brier score and reliability slope come before ECE (architecture, section 2).
ECE_CASES = 200
#: Metrics quoted after the headline, where present.
BESIDE = ("sensitivity", "specificity", "balanced_accuracy", "surface_dice", "hd95_mm")


def verdict(facts: Facts, lang: str) -> tuple[str, ...]:
    """Return the opening paragraph as sentences."""
    part = facts.locked
    found = headline(part, facts.evaluation.headline)
    if found is None or not math.isfinite(found[1].value):
        return (t("verdict.nothing", lang, part=part_name(part.name, lang), n=part.n_cases),)
    key, metric = found
    lines = [_reached(facts, key, metric, lang)]
    oof = next((p for p in facts.others if key in p.metrics), None)
    if oof is not None:
        lines.append(_out_of_fold(metric, oof, key, lang))
    lines += [*_beside(part, key, lang), baselines(part, key, lang), calibration(part, lang)]
    return tuple(line for line in lines if line)


def _reached(facts: Facts, key: str, metric: Metric, lang: str) -> str:
    """Say what the model reaches, with its interval and n, or that there are too few for one.

    That nobody has seen the locked part is said only where it is so: not after a leak, not after several looks.
    """
    part, looks = facts.locked, facts.evaluation.looks
    untouched = part.name == "locked" and not facts.cohort.allow_leak
    values = {
        "metric": metric_name(key, lang),
        "value": number(metric.value, digits(key)),
        "interval": interval(metric, lang, digits(key)),
        "n": part.n_patients,
        "part": part_name(part.name, lang),
    }
    kind = ("_seen" if looks > 1 else "_locked") if untouched else ""
    tail = "" if values["interval"] else "_no_interval"
    return t(f"verdict.reached{kind}{tail}", lang, looks=looks, **values)


def _beside(part: Part, key: str, lang: str) -> list[str]:
    rest = [k for k in BESIDE if k in part.metrics and k != key][:3]
    if not rest:
        return []
    quoted = t("report.comma", lang).join(
        f"{metric_name(k, lang)} {_bracketed(k, part.metrics[k], lang)}" for k in rest
    )
    return [t("verdict.beside", lang, list=quoted)]


def _out_of_fold(locked: Metric, part: Part, key: str, lang: str) -> str:
    """Compare with the out-of-fold number: a locked part far below it, or above it, is told."""
    other = part.metrics[key]
    words = {"value": _bracketed(key, other, lang), "n": part.n_patients, "part": part_name(part.name, lang)}
    if locked.lower is None or locked.upper is None:
        return t("verdict.oof", lang, **words)
    inside = locked.lower <= other.value <= locked.upper
    return t("verdict.oof_agrees" if inside else "verdict.oof_differs", lang, **words)


def strongest(part: Part, key: str) -> tuple[str, Comparison] | None:
    """Return the baseline nearest to the best value of the headline metric."""
    have = [(b, c) for b, c in part.baselines.items() if key in c.metrics]
    return min(have, key=lambda bc: abs(bc[1].metrics[key].best - bc[1].metrics[key].value), default=None)


def as_good(facts: Facts, lang: str) -> str:
    """Return the sentence on the baselines where it must stand out: a simple model is as good, or better."""
    found = headline(facts.locked, facts.evaluation.headline)
    beaten = all(c.verdict == "better" for c in facts.locked.baselines.values())
    return "" if beaten or found is None else baselines(facts.locked, found[0], lang)


def baselines(part: Part, key: str, lang: str) -> str:
    """Say whether the model beats every simple baseline; plainly, when it does not."""
    best = strongest(part, key)
    if best is None:
        return t("verdict.no_baseline", lang)
    by_verdict = {v: [b for b, c in part.baselines.items() if c.verdict == v] for v in ("worse", "no different")}
    worst = next((v for v in ("worse", "no different") if by_verdict[v]), "better")
    if worst != "better":
        # Of the baselines that the model does not beat, the strongest is the one to quote.
        few = {b: c for b, c in part.baselines.items() if b in by_verdict[worst] and key in c.metrics}
        best = min(few.items(), key=lambda bc: abs(bc[1].metrics[key].best - bc[1].metrics[key].value), default=best)
    baseline, against = best
    p = t("verdict.p_holm", lang, p=_p(against.p_holm)) if against.p_holm is not None else t("verdict.no_p", lang)
    words = {
        "baseline": name("baseline", baseline, lang),
        "metric": metric_name(key, lang),
        "value": number(against.metrics[key].value, digits(key)),
        "difference": _bracketed(key, against.difference, lang, p, sign=True),
        "n": len(part.baselines),
    }
    if worst == "no different" and _higher(against.metrics[key], part.metrics[key]):
        return t("verdict.simple_higher", lang, **words)
    if worst == "no different" and part.n_patients < FEW_FOR_A_TEST:
        return t("verdict.untested", lang, n_patients=part.n_patients, **words)
    one = "_one" if worst == "better" and len(part.baselines) == 1 else ""
    return t(f"verdict.{worst.replace(' ', '_')}{one}", lang, **words)


def _higher(theirs: Metric, ours: Metric) -> bool:
    """Tell whether the simple model is nearer to the metric's best value."""
    return abs(theirs.best - theirs.value) < abs(ours.best - ours.value)


def _bracketed(key: str, metric: Metric, lang: str, remark: str = "", *, sign: bool = False) -> str:
    """Return ``"+0.020 (−0.010 to +0.050; REMARK)"``; for sentences, where tables have :func:`estimate`."""
    span = interval(metric, lang, digits(key), sign=sign)
    inside = t("report.semicolon", lang).join(w for w in (span, remark) if w)
    return bracketed(number(metric.value, digits(key), sign=sign), inside, lang)


def _slope(slope: Metric, lang: str) -> str:
    return _bracketed("calibration_slope", slope, lang, t("verdict.ideal", lang))


def _p(p: float) -> str:
    """Return p as it reads in a sentence: ``"= 0.031"`` or ``"< 0.001"``."""
    text = p_value(p)
    return text if text.startswith("<") else f"= {text}"


def calibration(part: Part, lang: str) -> str:
    """Say how far the probabilities may be trusted; nothing for parts that score no probabilities."""
    ece, brier = part.metrics.get("ece"), part.metrics.get("brier")
    if ece is None and brier is None:
        return ""
    if part.n_cases < ECE_CASES and brier is not None:
        slope = part.metrics.get("calibration_slope")
        extra = t("verdict.slope", lang, value=_slope(slope, lang)) if slope else ""
        return t("verdict.brier", lang, value=_bracketed("brier", brier, lang), slope=extra, n=part.n_cases)
    if ece is None:
        return ""
    level = "good" if ece.value <= GOOD_ECE else "fair" if ece.value <= FAIR_ECE else "poor"
    raw = part.metrics.get("ece_before")
    before = t("verdict.ece_before", lang, value=number(raw.value)) if raw else ""
    return t(f"verdict.ece_{level}", lang, value=_bracketed("ece", ece, lang), before=before)


def beware(facts: Facts, lang: str, *, notes: bool = True) -> tuple[str, ...]:
    """Return what a reader must know before quoting a number, the gravest first.

    Args:
        facts: As for the report.
        lang: ``"en"`` or ``"zh"``.
        notes: Add the evaluation's own notes, which may name cases; the model card leaves them out.
    """
    part, lines = facts.locked, []
    if task_named(facts.evaluation.task).experimental:
        lines.append(t("beware.experimental", lang))
    if facts.cohort.allow_leak:
        lines.append(t("beware.leak", lang))
    if not facts.cohort.patient_key:
        lines.append(t("beware.patients", lang))
    if facts.plan.made:
        made, given = facts.plan.made[0], t("report.comma", lang).join(facts.plan.inputs)
        lines.append(t("translated.caution", lang, made=made, given=given))
    if facts.plan.synthetic:
        reason = facts.plan.reasons.get("synthetic", "")
        said = t("beware.synthetic", lang, reason=sentence(reason, lang))
        lines.insert(0 if reason.startswith(UNPROVEN) else len(lines), said)
    if facts.time_guard:
        lines.append(t("beware.time", lang, reason=sentence(facts.time_guard, lang)))
    if part.name != "locked":
        lines.append(t("beware.no_locked", lang, part=part_name(part.name, lang)))
    if facts.evaluation.looks > 1:
        lines.append(t("beware.looks", lang, n=facts.evaluation.looks))
    if part.n_patients < FEW_PATIENTS:
        lines.append(t("beware.few", lang, n=part.n_patients))
    lines += _unscaled(facts, lang)
    lines += _rare(part, lang)
    if notes:
        # Said above in the report's own words, and at greater length.
        told = {LEAKED, UNKNOWN_PATIENTS}
        lines += [sentence(note, lang) for note in facts.evaluation.notes if note not in told]
    return tuple(dict.fromkeys(lines))


def _unscaled(facts: Facts, lang: str) -> list[str]:
    """Say that lengths are no millimetres where nothing says how large a pixel is."""
    keys = [*facts.locked.metrics, *(k for own in facts.locked.by_label.values() for k in own)]
    used = [c for c in facts.cohort.cases if c.id in facts.cohort.folds or c.id in facts.cohort.locked]
    n = sum(not c.sources[0].header.get("spacing_known", True) for c in used)
    if not n or not any(k.partition("/")[0].endswith("_mm") for k in keys):
        return []
    return [t("beware.pixels", lang, n=n, total=len(used))]


def _rare(part: Part, lang: str) -> list[str]:
    """Name the classes with too few cases in the locked part."""
    truths = Counter(c.truth for c in part.cases if c.truth)
    rare = [bracketed(label, str(n), lang) for label, n in sorted(truths.items()) if n < FEW_IN_CLASS]
    return [t("beware.rare", lang, list=t("report.comma", lang).join(rare))] if rare else []


def limits(facts: Facts, lang: str) -> tuple[str, ...]:
    """Return the limitations that follow from the facts; used by the report and the model card alike."""
    cohort, part = facts.cohort, facts.locked
    used = [c for c in cohort.cases if c.id in cohort.folds or c.id in cohort.locked]
    lines = [
        t("limit.supplied_test" if any(c.part == "test" for c in used) else "limit.no_external", lang),
        _origin({str(c.facts["site"]) for c in used if "site" in c.facts}, "site", lang),
        _origin({str(c.facts["scanner"]) for c in used if "scanner" in c.facts}, "scanner", lang),
        t("limit.truth", lang),
    ]
    if not cohort.patient_key:
        lines.append(t("limit.patients", lang))
    if part.n_patients < FEW_PATIENTS:
        lines.append(t("limit.few", lang, n=part.n_patients))
    if not part.subgroups:
        lines.append(t("limit.no_subgroups", lang))
    n_folds = len(set(cohort.folds.values()))
    if len(facts.plan.folds) < n_folds:
        lines.append(t("limit.folds", lang, trained=len(facts.plan.folds), n=n_folds))
    if cohort.classes:
        lines.append(t("limit.prevalence", lang))
    unlabelled = sum(c.target is None for c in cohort.cases)
    if unlabelled:
        shown = len(learned_from(cohort, facts.plan))
        key = "limit.unlabelled_used" if shown else "limit.unlabelled"
        lines.append(t(key, lang, n=unlabelled, total=len(cohort.cases), **({"used": shown} if shown else {})))
    if cohort.ignore is not None:
        lines.append(t("limit.ignore", lang))
    if facts.skipped:
        lines.append(t("limit.skipped", lang, n=len(facts.skipped)))
    if cohort.allow_leak:
        lines.append(t("limit.leak", lang))
    return tuple(line for line in lines if line)


def _origin(values: set[str], fact: str, lang: str) -> str:
    """Say when the data come from one site or scanner only, or nobody recorded it."""
    if len(values) > 1:
        return ""
    return t(f"limit.one_{fact}" if values else f"limit.unknown_{fact}", lang)
