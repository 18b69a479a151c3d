"""The model card: what the model is for, what it was made from, what it reaches, and how to check that."""

from collections import Counter

from lucency.report.facts import Facts
from lucency.report.numbers import (
    DASH,
    bracketed,
    digits,
    estimate,
    headline,
    metric_name,
    number,
    p_value,
    paired,
    part_name,
)
from lucency.report.tables import plan_value
from lucency.report.verdict import beware, limits, verdict
from lucency.text import name, sentence, t


def card(facts: Facts, lang: str = "en") -> str:
    """Return the model card as Markdown.

    It travels with the model, so it holds counts only: no case id, no path, no picture, no patient.

    Args:
        facts: As for the report.
        lang: ``"en"`` or ``"zh"``.

    Source:
        Mitchell et al. 2019, Model Cards for Model Reporting, doi:10.1145/3287560.3287596.
    """
    names = t("report.comma", lang).join(facts.evaluation.classes or tuple(facts.cohort.labels.values()))
    task = name("task", facts.evaluation.task, lang)
    space = "" if lang == "zh" else " "
    lines = [f"# {t('report.title', lang, task=task, names=_cell(names))}", "", f"**{t('report.banner', lang)}**", ""]
    if not facts.cohort.patient_key:
        lines += [f"**{t('report.first_line', lang)}**", ""]
    lines += [f"## {t('card.use', lang)}", "", t("report.intended", lang), "", t("card.not_for", lang), ""]
    lines += [f"## {t('section.verdict', lang)}", "", space.join(verdict(facts, lang)), ""]
    lines += [f"- {line}" for line in beware(facts, lang, notes=False)] + [""]
    lines += [f"## {t('section.data', lang)}", "", *_data(facts, lang), ""]
    lines += [f"## {t('section.results', lang)}", "", *_metrics(facts, lang), "", *_baselines(facts, lang), ""]
    lines += [f"## {t('section.model', lang)}", "", *_model(facts, lang), ""]
    lines += [f"## {t('section.limits', lang)}", "", *(f"- {line}" for line in limits(facts, lang)), ""]
    lines += [f"## {t('card.verify', lang)}", "", t("card.how", lang), ""]
    lines += ["- " + paired(t("card.digest", lang), f"`{facts.model_digest}`", lang)] if facts.model_digest else []
    lines += ["- " + paired(t("count.digest", lang), f"`{facts.cohort.digest}`", lang), f"- Lucency {facts.version}"]
    text = "\n".join(lines)
    while "\n\n\n" in text:
        text = text.replace("\n\n\n", "\n\n")
    return text.rstrip() + "\n"


def _cell(text: str) -> str:
    """Escape what Markdown would read as markup; class names come from the user's data."""
    for sign in ("\\", "|", "*", "_", "`", "<", "[", "#"):
        text = text.replace(sign, "\\" + sign)
    return " ".join(text.split())


def _table(heads: list[str], rows: list[list[str]]) -> list[str]:
    lines = [heads, ["---"] * len(heads), *rows]
    return ["| " + " | ".join(row) + " |" for row in lines]


def _data(facts: Facts, lang: str) -> list[str]:
    cohort = facts.cohort
    patient_key = sentence(cohort.patient_key, lang)
    counted = [
        ("count.cases", len(cohort.cases)),
        ("count.patients", len({c.patient for c in cohort.cases})),
        ("count.patient_key", _cell(patient_key) or t("report.unknown_patients", lang)),
        ("count.layout", name("layout", cohort.layout, lang) or DASH),
        ("count.trainable", len(cohort.trainable)),
        ("count.locked", len(cohort.locked)),
        ("count.left_out", len(cohort.left_out)),
        ("count.skipped", len(facts.skipped)),
        ("count.looks", facts.evaluation.looks),
    ]
    by_class = Counter(c.target for c in cohort.cases if isinstance(c.target, str))
    lines = [f"- {paired(t(key, lang), str(value), lang)}" for key, value in counted]
    return lines + [
        "- " + paired(f"{t('table.class', lang)} {_cell(c)}", str(by_class[c]), lang) for c in cohort.classes
    ]


def _metrics(facts: Facts, lang: str) -> list[str]:
    parts = (facts.locked, *facts.others)
    keys = list(dict.fromkeys(k for p in parts for k in p.metrics))
    rows = [
        [_cell(metric_name(k, lang)), *(estimate(k, p.metrics[k], lang) if k in p.metrics else DASH for p in parts)]
        for k in keys
    ]
    heads = [t("table.metric", lang), *(bracketed(part_name(p.name, lang), f"n = {p.n_patients}", lang) for p in parts)]
    return _table(heads, rows)


def _baselines(facts: Facts, lang: str) -> list[str]:
    part = facts.locked
    found = headline(part, facts.evaluation.headline)
    if found is None or not part.baselines:
        return []
    key = found[0]
    rows = [
        [
            name("baseline", b, lang),
            number(c.metrics[key].value, digits(key)) if key in c.metrics else DASH,
            estimate(key, c.difference, lang, sign=True),
            p_value(c.p_holm) if c.p_holm is not None else t("report.not_tested", lang),
            t(f"verdict.short_{c.verdict.replace(' ', '_')}", lang),
        ]
        for b, c in part.baselines.items()
    ]
    heads = [t("table.baseline", lang), metric_name(key, lang)]
    return _table([*heads, *(t(f"table.{h}", lang) for h in ("difference", "p_holm", "verdict"))], rows)


def _model(facts: Facts, lang: str) -> list[str]:
    plan = facts.plan
    start = ["- " + paired(t("card.start", lang), f"`{plan.start}`", lang)] if plan.start else []
    shown = ("network", "network_options", "dims", "modalities", "grid", "patch", "normalisation", "folds", "precision")
    return [
        "- " + paired(name("decision", k, lang), _cell(plan_value(getattr(plan, k), lang, k)), lang)
        for k in (*shown, "seed")
    ] + start
