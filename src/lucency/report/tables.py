"""The tables of the report, as plain data: heads, rows of strings, a caption."""

import dataclasses
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from lucency.case import Case, Cohort
from lucency.evaluate import Part
from lucency.plan import Forecast, Plan
from lucency.report.facts import Facts
from lucency.report.figures import subgroup_name
from lucency.report.numbers import (
    DASH,
    bracketed,
    digits,
    duration,
    estimate,
    headline,
    interval,
    metric_name,
    p_value,
    part_name,
    percent,
    target_name,
    valued,
)
from lucency.text import known, name, sentence, t

#: Skipped files listed one by one; the counts by reason cover all of them.
MOST_SKIPPED = 20

#: The layout of a tree of DICOM series.
DICOM = "dicom"

#: Fields that hold one number for each axis.
SIZES = ("size", "spacing", "patch", "tile")


@dataclass(frozen=True)
class Table:
    """A table with its caption.

    Args:
        caption: One sentence or two.
        heads: Column heads.
        rows: As many strings each as there are heads.
        numeric: Columns set flush right with figures of equal width.
        strong: Rows set in bold, for example the model among its baselines.
        shade: (row, column) to a share 0..1 that tints the cell; the number in it says the same.
        plain: Widths left to the text, for tables of sentences.
    """

    caption: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: frozenset[int] = frozenset()
    strong: frozenset[int] = frozenset()
    shade: Mapping[tuple[int, int], float] = field(default_factory=dict)
    plain: bool = False


def metrics(facts: Facts, lang: str) -> Table:
    """Every overall metric of the locked part with interval and method, the other parts beside it."""
    part, others = facts.locked, facts.others
    rows = []
    keys = list(dict.fromkeys(k for p in (part, *others) for k in p.metrics))
    for key in keys:
        own = part.metrics.get(key)
        row = [metric_name(key, lang)]
        row += [valued(key, own), interval(own, lang, digits(key)) or DASH] if own else [DASH, DASH]
        row += [str(own.n), sentence(own.method, lang)] if own else [DASH, DASH]
        row += [estimate(key, p.metrics[key], lang) if key in p.metrics else DASH for p in others]
        rows.append(tuple(row))
    heads = [
        t("table.metric", lang),
        part_name(part.name, lang),
        t("table.interval", lang),
        "n",
        t("table.method", lang),
    ]
    heads += [bracketed(part_name(p.name, lang), f"n = {p.n_patients}", lang) for p in others]
    caption = t("table.metrics_caption", lang, n=part.n_patients, cases=part.n_cases)
    return Table(caption, tuple(heads), tuple(rows), frozenset({1, 2, 3, *range(5, 5 + len(others))}))


def baselines(part: Part, wanted: str, lang: str) -> Table | None:
    """The model against each baseline: difference, interval, p after Holm, and the verdict in words."""
    found = headline(part, wanted)
    if found is None or not part.baselines:
        return None
    key, model = found
    rows = [(t("report.model", lang), estimate(key, model, lang), DASH, DASH, DASH, DASH)]
    for baseline, against in part.baselines.items():
        own = estimate(key, against.metrics[key], lang) if key in against.metrics else DASH
        difference = estimate(key, against.difference, lang, sign=True)
        said = t(f"verdict.short_{against.verdict.replace(' ', '_')}", lang)
        p = p_value(against.p_holm) if against.p_holm is not None else t("report.not_tested", lang)
        test = sentence(against.test, lang) or DASH
        rows.append((name("baseline", baseline, lang), own, difference, p, said, test))
    words = ("baseline", "", "difference", "p_holm", "verdict", "test")
    heads = tuple(t(f"table.{w}", lang) if w else metric_name(key, lang) for w in words)
    held = part_name(part.name, lang)
    caption = t("table.baselines_caption", lang, metric=metric_name(key, lang), part=held, n=part.n_patients)
    return Table(caption, heads, tuple(rows), frozenset({1, 2, 3}), frozenset({0}))


def labels(part: Part, lang: str) -> Table | None:
    """Each label or class by its own metrics."""
    if not part.by_label:
        return None
    keys = list(dict.fromkeys(k for by in part.by_label.values() for k in by))
    counts = [{m.n for m in by.values()} for by in part.by_label.values()]
    alike = all(len(c) == 1 for c in counts)  # one n for each row, else one beside each number
    rows = []
    for label, by in part.by_label.items():
        cells = [estimate(k, by[k], lang) + ("" if alike else f"; n = {by[k].n}") if k in by else DASH for k in keys]
        rows.append((label, *([str(next(iter(by.values())).n)] if alike else []), *cells))
    heads = (t("table.label", lang), *(["n"] if alike else []), *(metric_name(k, lang) for k in keys))
    return Table(t("table.labels_caption", lang), heads, tuple(rows), frozenset(range(1, len(heads))))


def confusion(part: Part, classes: tuple[str, ...], lang: str) -> Table | None:
    """True classes in rows, predicted in columns; the share of each row tints the cell and stands beside the count."""
    if not part.confusion:
        return None
    rows: list[tuple[str, ...]] = []
    shade: dict[tuple[int, int], float] = {}
    for at, counts in enumerate(part.confusion):
        total = sum(counts)
        rows.append((classes[at], *(f"{c}  ({percent(c, total)})" for c in counts), str(total)))
        shade |= {(at, 1 + column): c / total for column, c in enumerate(counts) if total}
    heads = (t("table.true_predicted", lang), *classes, t("table.total", lang))
    caption = t("table.confusion_caption", lang, part=part_name(part.name, lang))
    return Table(caption, heads, tuple(rows), frozenset(range(1, len(heads))), shade=shade)


def subgroups(part: Part, wanted: str, lang: str) -> Table | None:
    """Every subgroup with every metric that was worked out for it."""
    if not part.subgroups:
        return None
    found = headline(part, wanted)
    keys = list(dict.fromkeys(k for by in part.subgroups.values() for k in by))
    if found and found[0] in keys:
        keys.sort(key=lambda k: k != found[0])
    rows = []
    for group, by in part.subgroups.items():
        n = str(max((m.n for m in by.values()), default=0))
        rows.append((subgroup_name(group, lang), n, *(estimate(k, by[k], lang) if k in by else DASH for k in keys)))
    heads = (t("table.subgroup", lang), "n", *(metric_name(k, lang) for k in keys))
    return Table(t("table.subgroups_caption", lang), heads, tuple(rows), frozenset(range(1, len(heads))))


def counts(facts: Facts, lang: str) -> Table:
    """How many of what, and how the data were recognised."""
    cohort = facts.cohort
    grouped = Counter(reason for reason in cohort.left_out.values())
    rows = [
        ("cases", str(len(cohort.cases))),
        ("patients", str(len({c.patient for c in cohort.cases}))),
        ("patient_key", sentence(cohort.patient_key, lang) or t("report.unknown_patients", lang)),
        ("layout", name("layout", cohort.layout, lang) or DASH),
        ("target", target_name(cohort.target_name, lang) or DASH),
        ("trainable", str(len(cohort.trainable))),
        ("locked", _locked(cohort, lang)),
        ("looks", str(facts.evaluation.looks)),
        ("unlabelled", str(sum(c.target is None for c in cohort.cases))),
        ("left_out", str(len(cohort.left_out))),
        *((None, f"{n} × {sentence(reason, lang)}") for reason, n in grouped.most_common(10)),
        ("skipped", str(len(facts.skipped))),
        ("images", _image_facts(cohort.cases)),
        ("digest", cohort.digest[:16]),
    ]
    cells = tuple((t(f"count.{key}", lang) if key else "", value) for key, value in rows)
    return Table(t("table.counts_caption", lang), (t("table.what", lang), t("table.value", lang)), cells, plain=True)


def _locked(cohort: Cohort, lang: str) -> str:
    """Return patients and cases of the locked part, each with its share; it is drawn by patients."""
    held = [c for c in cohort.cases if c.id in cohort.locked or c.id in cohort.folds]
    n, of = len({c.patient for c in cohort.locked_cases}), len({c.patient for c in held})
    patients = bracketed(t("count.n_patients", lang, n=n), percent(n, of), lang)
    cases = bracketed(t("count.n_cases", lang, n=len(cohort.locked)), percent(len(cohort.locked), len(held)), lang)
    return t("report.comma", lang).join((patients, cases))


def _image_facts(cases: tuple[Case, ...]) -> str:
    """Return the commonest size and the number of channels, as the files' headers say."""
    sizes = Counter(s.header["size"] for c in cases for s in c.sources if isinstance(s.header.get("size"), tuple))
    if not sizes:
        return DASH
    size, n = sizes.most_common(1)[0]
    words = " × ".join(str(int(v)) for v in size) if isinstance(size, tuple) else DASH
    return words if len(sizes) == 1 else f"{words} ({n} / {sizes.total()})"


def splits(facts: Facts, lang: str) -> Table:
    """Fold by class, or by label where the targets are masks; patients in the last column."""
    cohort = facts.cohort
    columns = list(cohort.classes)
    parts: list[tuple[str, tuple[Case, ...]]] = [(part_name("locked", lang), cohort.locked_cases)]
    for fold in sorted(set(cohort.folds.values())):
        trained = t("report.held_out", lang) if fold in facts.plan.folds else ""
        parts.append((bracketed(t("report.fold", lang, number=fold), trained, lang), cohort.fold(fold)))
    rows = []
    for label, cases in parts:
        by_class = Counter(c.target for c in cases if isinstance(c.target, str))
        row = [label, *(str(by_class[c]) for c in columns)]
        rows.append((*row, str(len(cases)), str(len({c.patient for c in cases}))))
    heads = (t("table.part", lang), *columns, t("table.cases", lang), t("table.patients", lang))
    return Table(t("table.splits_caption", lang), heads, tuple(rows), frozenset(range(1, len(heads))))


def skipped(facts: Facts, lang: str) -> tuple[Table, ...]:
    """Files that could not be read: all of them counted by reason, the first twenty named.

    Those of a DICOM tree are counted only: archives name files and folders after patients.
    """
    files = facts.skipped
    if not files:
        return ()
    by_reason = Counter(s.reason for s in files)
    tallied = tuple((sentence(reason, lang), str(n)) for reason, n in by_reason.most_common())
    count = Table(
        t("table.reasons_caption", lang, n=len(files)),
        (t("table.reason", lang), t("table.files", lang)),
        tallied,
        frozenset({1}),
    )
    if facts.cohort.layout == DICOM:
        return (count,)
    first = tuple((s.path, sentence(s.reason, lang)) for s in files[:MOST_SKIPPED])
    caption = t("table.skipped_caption", lang, shown=len(first), n=len(files))
    return count, Table(caption, (t("table.file", lang), t("table.reason", lang)), first, plain=True)


def plan(plan: Plan, lang: str) -> Table:
    """Every decision with its value and its reason."""
    rows = []
    for part in dataclasses.fields(plan):
        if part.name in ("reasons", "forecast"):
            continue
        value = getattr(plan, part.name)
        if value in ((), {}, None, "", "none", (0, 0, 0)) and part.name not in plan.reasons:
            continue
        if part.name in ("pretrain_steps", "pretrain_share") and plan.pretrain == "none":
            continue
        reason = sentence(plan.reasons.get(part.name, ""), lang) or DASH
        rows.append((name("decision", part.name, lang), plan_value(value, lang, part.name), reason))
    fields = {f.name for f in dataclasses.fields(plan)}
    # Reasons for finer points ("schedule.rate", a task's own option) stand after the decisions they belong to.
    rows += [(name("decision", k, lang), DASH, sentence(v, lang)) for k, v in plan.reasons.items() if k not in fields]
    heads = tuple(t(f"table.{k}", lang) for k in ("decision", "value", "reason"))
    return Table(t("table.plan_caption", lang), heads, tuple(rows), plain=True)


def tried(facts: Facts, lang: str) -> Table | None:
    """What was tried before training: each choice's number and its gain over the default, the one kept in bold."""
    found = facts.tried
    if found is None or not found.arms:
        return None
    rows = []
    for arm in found.arms:
        value = estimate("balanced", arm.value, lang) if arm.value else t("plan.diverged", lang)
        gain = estimate("gain", arm.gain, lang, sign=True) if arm.gain else DASH
        test = sentence(arm.test, lang) if arm.test else DASH
        rows.append((arm.choice, value, gain, p_value(arm.p_holm), test))
    heads = tuple(t(f"table.{k}", lang) for k in ("choice", "balanced", "gain", "p_holm", "test"))
    what = name("decision", found.trial.setting, lang)
    caption = t("table.tried_caption", lang, what=what, steps=found.trial.steps, folds=len(found.trial.folds))
    kept = frozenset(n for n, a in enumerate(found.arms) if a.choice == found.kept)
    return Table(caption, heads, tuple(rows), frozenset({1, 2, 3}), strong=kept)


def plan_value(value: object, lang: str = "en", key: str = "") -> str:
    """Return a decision's value as a person would write it; sizes with a multiplication sign."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        inside = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
        return plan_value({k: v for k, v in inside.items() if v != ()}, lang)
    if isinstance(value, Mapping):
        named = {k: name("setting", str(k), lang) if known(f"setting.{k}") else k for k in value}
        return ", ".join(f"{named[k]} {plan_value(v, lang, str(k))}" for k, v in value.items()) or DASH
    if isinstance(value, tuple | list):
        return (" × " if key in SIZES else ", ").join(plan_value(v, lang) for v in value) or DASH
    if isinstance(value, bool):
        return t("report.yes" if value else "report.no", lang)
    if isinstance(value, float):
        return f"{value:.4g}".replace("-", "\u2212")
    return DASH if value is None or value == "" else str(value)


def forecast(expected: Forecast, actual: Forecast, lang: str) -> Table | None:
    """What the planner expected beside what happened, with the ratio."""
    rooms = list(dict.fromkeys([*expected.seconds, *actual.seconds]))
    rows = []
    if expected.memory_mib or actual.memory_mib:
        ratio = _ratio(actual.memory_mib or None, expected.memory_mib)
        memory = [f"{v:.0f} MiB" if v else DASH for v in (expected.memory_mib, actual.memory_mib)]
        rows.append((t("report.memory", lang), *memory, ratio))
    for room in rooms:
        was, took = expected.seconds.get(room), actual.seconds.get(room)
        rows.append((name("room", room, lang), duration(was), duration(took), _ratio(took, was)))
    both = [r for r in rooms if r in expected.seconds and r in actual.seconds]
    if len(both) > 1:
        was, took = sum(expected.seconds[r] for r in both), sum(actual.seconds[r] for r in both)
        rows.append((t("report.together", lang), duration(was), duration(took), _ratio(took, was)))
    if not rows:
        return None
    heads = tuple(t(f"table.{k}", lang) for k in ("resource", "forecast", "actual", "ratio"))
    return Table(t("table.forecast_caption", lang), heads, tuple(rows), frozenset({1, 2, 3}))


def _ratio(actual: float | None, expected: float | None) -> str:
    return f"{actual / expected:.2f}" if actual is not None and expected else DASH
