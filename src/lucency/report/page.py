"""The page: blocks in the order in which a careful reader wants them, written as one HTML file."""

import re
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lucency import record
from lucency.baselines import (
    BOX_BASELINES,
    IMAGE_BASELINES,
    MASK_BASELINES,
    NUMBER_BASELINES,
    OUTCOME_BASELINES,
    PICTURE_BASELINES,
)
from lucency.evaluate import Part, Scored
from lucency.report import agreement, asked, figures, lacking, quality, tables, translated, treated, verdict
from lucency.report.facts import Facts, cases_to_show
from lucency.report.modelcard import card
from lucency.report.numbers import DASH, bracketed, headline, metric_name, number, paired, part_name, split
from lucency.report.pictures import draw, largest_side
from lucency.report.stored import metrics_json
from lucency.report.tables import Table
from lucency.report.templates import filled
from lucency.statistics import Metric
from lucency.tasks import task_named
from lucency.text import known, name, sentence, t


@dataclass(frozen=True)
class Block:
    """One thing in the page.

    Args:
        kind: ``"text"``, ``"list"``, ``"table"``, ``"figure"`` or ``"cases"``.
        text: Paragraph, or caption.
        items: Sentences of a list, cards of a case group.
        table: The table.
        drawings: One or more SVG side by side under one caption.
        number: Of the table or figure; 0 for what is not numbered.
    """

    kind: str
    text: str = ""
    items: tuple[Any, ...] = ()
    table: Table | None = None
    drawings: tuple[str, ...] = ()
    number: int = 0


@dataclass
class Section:
    """A heading and what stands under it.

    Args:
        ident: Anchor.
        title: Heading.
        blocks: In reading order.
    """

    ident: str
    title: str
    blocks: list[Block] = field(default_factory=list)


class Pages:
    """Collects sections and numbers tables and figures in the order of reading.

    Args:
        lang: Language of the headings.
    """

    def __init__(self, lang: str) -> None:
        self.lang = lang
        self.sections: list[Section] = []
        self._counted: Counter[str] = Counter()

    def section(self, ident: str) -> None:
        """Begin a section."""
        self.sections.append(Section(ident, t(f"section.{ident}", self.lang)))

    def text(self, text: str) -> None:
        """Add a paragraph, unless it is empty."""
        if text:
            self._add(Block("text", text))

    def bullets(self, items: tuple[str, ...]) -> None:
        """Add a list, unless it is empty."""
        if items:
            self._add(Block("list", items=items))

    def table(self, table: Table | None) -> None:
        """Add a numbered table; None adds nothing."""
        if table is not None:
            self._counted["table"] += 1
            self._add(Block("table", table.caption, table=table, number=self._counted["table"]))

    def figure(self, caption: str, *drawings: str) -> None:
        """Add a numbered figure of one or more drawings; without any nothing is added."""
        drawn = tuple(d for d in drawings if d)
        if drawn:
            self._counted["figure"] += 1
            self._add(Block("figure", caption, drawings=drawn, number=self._counted["figure"]))

    def cases(self, title: str, cards: tuple[dict[str, Any], ...]) -> None:
        """Add a row of case cards."""
        if cards:
            self._add(Block("cases", title, items=cards))

    def _add(self, block: Block) -> None:
        self.sections[-1].blocks.append(block)


def write_report(facts: Facts, folder: Path, lang: str = "en") -> Path:
    """Write ``index.html``, ``metrics.json`` and ``card.md`` and return the path of the page.

    Args:
        facts: Everything the other rooms found.
        folder: ``RUN/report``; made if absent.
        lang: ``"en"`` or ``"zh"``.

    Raises:
        OutputError: The disk is full or the folder cannot be written.
        UsageError: No such language.
    """

    html = render(facts, lang)
    record.write_text(folder / "card.md", card(facts, lang))
    record.write(folder / "metrics.json", metrics_json(facts))
    treated.write_cases(facts.evaluation.effect, folder)
    record.write_text(folder / "index.html", html)
    return folder / "index.html"


def render(facts: Facts, lang: str) -> str:
    """Return the whole page."""
    return filled(
        "lucency.report",
        "page.html.jinja",
        lang,
        title=title(facts, lang),
        subtitle=subtitle(facts, lang),
        unknown_patients=not facts.cohort.patient_key,
        verdict=verdict.verdict(facts, lang),
        as_good=verdict.as_good(facts, lang),
        beware=verdict.beware(facts, lang),
        sections=sections(facts, lang),
        version=facts.version,
        digest=facts.model_digest,
    )


def title(facts: Facts, lang: str) -> str:
    """Return what the model does, in one line: the task and the classes or labels."""
    names = facts.evaluation.classes or tuple(facts.cohort.labels.values())
    task = name("task", facts.evaluation.task, lang)
    return t("report.title", lang, task=task, names=t("report.comma", lang).join(names)) if names else task


def subtitle(facts: Facts, lang: str) -> str:
    """Return the data in one line: counts, layout, network."""
    cohort, plan = facts.cohort, facts.plan
    return t(
        "report.subtitle",
        lang,
        cases=len(cohort.cases),
        patients=len({c.patient for c in cohort.cases}),
        layout=name("layout", cohort.layout, lang) or DASH,
        network=name("network", plan.network, lang),
        dims=plan.dims,
    )


def sections(facts: Facts, lang: str) -> list[Section]:
    """Return the body of the report."""
    pages = Pages(lang)
    _results(pages, facts, lang)
    _cases(pages, facts, lang)
    _labels(pages, facts, lang)
    _asked(pages, facts, lang)
    _translated(pages, facts, lang)
    _missing(pages, facts, lang)
    _treatment(pages, facts, lang)
    _subgroups(pages, facts, lang)
    _data(pages, facts, lang)
    _quality(pages, facts, lang)
    _plan(pages, facts, lang)
    _limits(pages, facts, lang)
    _methods(pages, facts, lang)
    return pages.sections


def _results(pages: Pages, facts: Facts, lang: str) -> None:
    part, wanted = facts.locked, facts.evaluation.headline
    pages.section("results")
    found = headline(part, wanted)
    pages.text(t("report.horizon", lang, days=_horizon(facts)) if _horizon(facts) else "")
    if found:
        caption = t("figure.comparison", lang, metric=metric_name(found[0], lang), n=part.n_patients)
        pages.figure(caption, figures.comparison(part, wanted, lang))
    pages.table(tables.metrics(facts, lang))
    for each in (part, *facts.others):
        pages.table(tables.baselines(each, wanted, lang))
    registered = {k: b.description for k, b in IMAGE_BASELINES.items()}
    registered |= {k: b.description for k, b in MASK_BASELINES.items()}
    registered |= {k: b.description for k, b in NUMBER_BASELINES.items()}
    registered |= {k: b.description for k, b in OUTCOME_BASELINES.items()}
    registered |= {k: b.description for k, b in BOX_BASELINES.items()}
    registered |= {k: b.description for k, b in PICTURE_BASELINES.items()}
    described = [b for b in part.baselines if b in registered]
    pages.bullets(tuple(paired(name("baseline", b, lang), sentence(registered[b], lang), lang) for b in described))


def _cases(pages: Pages, facts: Facts, lang: str) -> None:
    """Pictures, the worst first."""
    groups = cases_to_show(facts.evaluation)
    shown = {c.case: facts.pictures[c.case] for g in groups.values() for c in g if c.case in facts.pictures}
    if not shown:
        return
    side = largest_side(shown)
    pages.section("cases")
    contours = any(p.truth is not None or p.predicted is not None for p in shown.values())
    boxed = any(p.predicted_boxes is not None for p in shown.values())
    kind = "boxes" if boxed else "contours" if contours else "translated" if facts.plan.made else "classes"
    pages.text(t(f"cases.{kind}", lang))
    used: set[int] = set()
    for group, cases in groups.items():
        cards = []
        for scored in (c for c in cases if c.case in shown):
            picture = shown[scored.case]
            drawing = draw(picture, side, t("alt.case", lang, case=scored.case, facts=_words(scored, facts, lang)))
            used |= set(drawing.labels)
            lines = [*_case_lines(scored, facts, lang), *_caption(picture.caption, lang)]
            lines += [t(f"cases.empty_{kind}", lang) for kind in drawing.empty]
            cards.append({"svg": drawing.svg, "case": scored.case, "lines": lines, "wrong": _wrong(scored)})
        pages.cases(t(f"cases.{group}", lang), tuple(cards))
    if len(used) > 1:
        labels = facts.cohort.labels or dict(enumerate(facts.cohort.classes, start=1))
        keys = tuple(
            {"colour": (v - 1 if boxed else at) % 6, "label": labels.get(v, str(v))}
            for at, v in enumerate(sorted(used))
        )
        pages.sections[-1].blocks.insert(1, Block("key", items=keys))


def _wrong(scored: Scored) -> bool | None:
    """Tell whether the class is wrong; None where no class was given."""
    return scored.truth != scored.label if scored.truth and scored.label else None


def _words(scored: Scored, facts: Facts, lang: str) -> str:
    return t("report.comma", lang).join(_case_lines(scored, facts, lang))


def _case_lines(scored: Scored, facts: Facts, lang: str) -> list[str]:
    """Return what stands under a picture: the truth, what the model says and how surely, or the scores."""
    if scored.truth:
        p = scored.probabilities
        lines = [t("cases.true", lang, label=scored.truth), t("cases.predicted", lang, label=scored.label or DASH)]
        ranked = sorted(p, key=lambda c: -p[c])[:3]
        if ranked:
            chances = t("report.comma", lang).join(f"{c} {number(p[c])}" for c in ranked)
            lines.append(t("cases.probability", lang, list=chances))
        return lines
    if "truth" in scored.scores and "value" in scored.scores:
        return _number_lines(scored, lang)
    if "time_days" in scored.scores and "risk" in scored.scores:
        return _course_lines(scored, facts, lang)
    base = split(facts.evaluation.headline)[0]
    wanted = [k for k in scored.scores if split(k)[0] == base] or list(scored.scores)[:3]
    lines = [f"{metric_name(k, lang)} {number(scored.scores[k])}" for k in wanted]
    return lines + _measured_lines(scored, lang)


def _measured_lines(scored: Scored, lang: str) -> list[str]:
    """Return what each column of a table states and what the prediction measures."""
    columns = [key.partition("/")[2] for key in scored.scores if key.partition("/")[0] == "stated"]
    pairs = [(c, scored.scores[f"stated/{c}"], scored.scores.get(f"measured/{c}", float("nan"))) for c in columns]
    return [t("cases.measured", lang, column=c, stated=number(a, 2), measured=number(b, 2)) for c, a, b in pairs]


def _course_lines(scored: Scored, facts: Facts, lang: str) -> list[str]:
    """Return what came and when, and the risk that was predicted by the horizon."""
    scores, kind = scored.scores, int(scored.scores.get("event", 0))
    days = number(scores["time_days"], 0)
    came = t("cases.came", lang, kind=kind, days=days) if kind else t("cases.last_seen", lang, days=days)
    return [came, t("cases.risk", lang, days=_horizon(facts), risk=number(scores["risk"]))]


def _horizon(facts: Facts) -> str:
    """Return the days up to which a prognosis is judged; nothing for other tasks."""
    found = facts.plan.task_options.get("horizon_days")
    return f"{found:g}" if isinstance(found, int | float) else ""


def _number_lines(scored: Scored, lang: str) -> list[str]:
    """Return the true and the predicted number, with its interval where there is one."""
    scores = scored.scores
    said = number(scores["value"])
    if "lower" in scores and "upper" in scores:
        low, high = number(scores["lower"]), number(scores["upper"])
        said = bracketed(said, t("report.range", lang, low=low, high=high), lang)
    return [t("cases.true", lang, label=number(scores["truth"])), t("cases.predicted", lang, label=said)]


def _caption(caption: Mapping[str, str | float], lang: str) -> list[str]:
    return [f"{name('fact', k, lang)} {tables.plan_value(v, lang)}" for k, v in caption.items()]


def _labels(pages: Pages, facts: Facts, lang: str) -> None:
    """Per label or class: table, confusion, curves, distribution over cases."""
    part, classes = facts.locked, facts.evaluation.classes
    pages.section("labels")
    pages.table(tables.labels(part, lang))
    for each in (part, *facts.others):
        pages.table(tables.confusion(each, classes, lang))
    n = len(part.cases)
    share = {c: sum(s.truth == c for s in part.cases) / n for c in classes} if n else {}
    roc, pr = figures.curves(part, "roc", lang, share), figures.curves(part, "pr", lang, share)
    pages.figure(t("figure.curves", lang, n=part.n_cases), roc, pr)
    pages.figure(t("figure.reliability", lang, n=part.n_cases), figures.reliability(part, lang))
    for what in agreement.of_what(part):
        caption = t("figure.agreement", lang, n=part.n_cases)
        caption = paired(what, caption, lang) if what else caption
        pages.figure(caption, agreement.scatter(part, lang, what), agreement.difference(part, lang, what))
    groups, axis = per_case(part, facts.evaluation.headline, lang)
    pages.figure(t("figure.distribution", lang, what=axis), figures.distribution(groups, axis, lang))
    if not pages.sections[-1].blocks:
        pages.sections.pop()


def _asked(pages: Pages, facts: Facts, lang: str) -> None:
    """Draw what only this task has to show."""
    part = facts.locked
    pages.section("asked")
    for figure in task_named(facts.evaluation.task).figures:
        pages.figure(t(f"figure.{figure.family}", lang, n=part.n_patients), asked.drawn(part, figure, lang))
        pages.table(asked.behind(part, figure, lang))
    if not pages.sections[-1].blocks:
        pages.sections.pop()


def _treatment(pages: Pages, facts: Facts, lang: str) -> None:
    """Say what is predicted under each value of a treatment column, with its caveat first, or why that is not said."""
    found = facts.evaluation.effect
    if found is None:
        return
    pages.section("treatment")
    for line in treated.sentences(found, lang):
        pages.text(line)
    pages.table(treated.table(found, lang))


def per_case(part: Part, wanted: str, lang: str) -> tuple[dict[str, list[float]], str]:
    """Return one number for each case by label or class, and what the number is.

    For masks that is the headline metric of each label; for classes the probability that the true class was given.
    """
    groups: dict[str, list[float]] = defaultdict(list)
    base = split(wanted)[0]
    for case in part.cases:
        for key, value in case.scores.items():
            if split(key)[0] == base and split(key)[1]:
                groups[split(key)[1]].append(value)
    if groups:
        return dict(groups), metric_name(base, lang)
    for case in sorted(part.cases, key=lambda c: c.truth):
        if case.truth in case.probabilities:
            groups[case.truth].append(case.probabilities[case.truth])
    if not groups:
        groups[part_name(part.name, lang)] = [c.scores[base] for c in part.cases if base in c.scores]
        return dict(groups), metric_name(base, lang)
    return dict(groups), t("figure.true_probability", lang)


def _missing(pages: Pages, facts: Facts, lang: str) -> None:
    """Say what is left without some of the modalities, where the model can do without."""
    pages.section("missing")
    for part in (facts.locked, *facts.others):
        pages.table(lacking.table(part, facts.evaluation.headline, lang))
    if not pages.sections[-1].blocks:
        pages.sections.pop()


def _translated(pages: Pages, facts: Facts, lang: str) -> None:
    """Say what made images are, what they are not, and what a model makes of them."""
    said = translated.sentences(facts, lang)
    if not said:
        return
    pages.section("translated")
    for line in said:
        pages.text(line)
    pages.table(translated.table(facts.evaluation.downstream, lang))


def _subgroups(pages: Pages, facts: Facts, lang: str) -> None:
    part, wanted = facts.locked, facts.evaluation.headline
    pages.section("subgroups")
    if not part.subgroups:
        pages.text(t("subgroups.none", lang))
        return
    pages.figure(t("figure.subgroups", lang), figures.subgroups(part, wanted, lang))
    pages.table(tables.subgroups(part, wanted, lang))


def _data(pages: Pages, facts: Facts, lang: str) -> None:
    pages.section("data")
    pages.table(tables.counts(facts, lang))
    pages.table(tables.splits(facts, lang))
    pages.text(t("data.looks", lang, n=facts.evaluation.looks))
    said = (*facts.cohort.notes, *facts.inspection_warnings)
    pages.bullets(tuple(dict.fromkeys(sentence(s, lang) for s in said)))
    for table in tables.skipped(facts, lang):
        pages.table(table)


def _quality(pages: Pages, facts: Facts, lang: str) -> None:
    """What images were judged to be, and whose labels the model doubts."""
    pages.section("quality")
    pages.text(quality.said(facts, lang))
    pages.table(quality.counted(facts, lang))
    pages.cases(t("quality.shown", lang), quality.cards(facts, lang))
    pages.table(quality.suspects(facts, lang))
    if not pages.sections[-1].blocks:
        pages.sections.pop()


def _plan(pages: Pages, facts: Facts, lang: str) -> None:
    machine = facts.machine
    pages.section("plan")
    pages.text(
        t(
            "plan.machine",
            lang,
            name=machine.name or machine.accelerator,
            cores=machine.cores,
            memory=f"{machine.memory_mib / 1024:.1f}",
            gflops=f"{machine.gflops:.0f}",
        )
    )
    pages.table(tables.plan(facts.plan, lang))
    pages.table(tables.tried(facts, lang))
    pages.table(tables.forecast(facts.plan.forecast, facts.actual, lang))
    pages.figure(t("figure.losses", lang), figures.losses(facts.history, lang))
    pages.figure(t("figure.pretraining", lang), figures.losses(facts.pretraining, lang, "pretraining"))


def _limits(pages: Pages, facts: Facts, lang: str) -> None:
    pages.section("limits")
    pages.text(t("report.intended", lang))
    pages.bullets(verdict.limits(facts, lang))


def _methods(pages: Pages, facts: Facts, lang: str) -> None:
    """Define what this report uses: its metrics, then its intervals and tests; nothing that it does not use."""
    parts = facts.evaluation.parts
    keys = dict.fromkeys(split(k)[0] for p in parts for k in [*p.metrics, *(k for b in p.by_label.values() for k in b)])
    rows = [(metric_name(k, lang), t(f"define.{k}", lang), _source(k)) for k in keys if known(f"define.{k}")]
    said = {m.method.lower() for p in parts for m in _all_metrics(p)}
    said |= {x.test.lower() for p in parts for x in p.patterns}
    compared = [c for p in parts for c in p.baselines.values()]
    said |= {a.test.lower() for a in (facts.tried.arms if facts.tried else ())}
    said |= {c.test.lower() for c in compared} | ({"holm"} if any(c.p_holm is not None for c in compared) else set())
    for word, pattern in METHODS.items():
        if any(re.search(pattern, s) for s in said):
            rows.append((t(f"method.{word}", lang), t(f"define.{word}", lang), _source(word)))
    if any("reliability before" in p.curves or "ece_before" in p.metrics for p in parts):
        rows.append((t("method.temperature", lang), t("define.temperature", lang), _source("temperature")))
    pages.section("methods")
    pages.text(t("methods.splits", lang))
    heads = (t("table.term", lang), t("table.definition", lang), t("table.source", lang))
    pages.table(Table(t("table.methods_caption", lang), heads, tuple(rows), plain=True))


#: How the methods that other rooms name are recognised; each has its definition in the catalogue.
METHODS = {
    "delong": "delong",
    "obuchowski": "delong clustered|obuchowski",
    "wilson": "wilson",
    "clopper": "^exact(?! permutation)|clopper",
    "bootstrap": "bootstrap",
    "nadeau": "nadeau",
    "mcnemar": "mcnemar",
    "wilcoxon": "wilcoxon",
    "permutation": "permutation",
    "recalibration": "recalibration",
    "holm": "^holm",
}


def _source(key: str) -> str:
    return t(f"source.{key}", "en") if known(f"source.{key}") else DASH


def _all_metrics(part: Part) -> list[Metric]:
    groups = [part.metrics, *part.by_label.values(), *part.subgroups.values()]
    return [m for g in groups for m in g.values()] + [c.difference for c in part.baselines.values()]
