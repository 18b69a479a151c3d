"""What the report says of missing modalities: every choice of them, against everything and against zeros."""

from lucency.evaluate import Part, Pattern
from lucency.report.numbers import DASH, estimate, headline, metric_name, p_value, part_name
from lucency.report.tables import Table
from lucency.statistics import Metric
from lucency.text import t


def table(part: Part, wanted: str, lang: str) -> Table | None:
    """Return one row for each choice of modalities; None where the model needs all of them.

    Args:
        part: With its patterns.
        wanted: The headline metric.
        lang: ``"en"`` or ``"zh"``.
    """
    found = headline(part, wanted)
    if not part.patterns or found is None:
        return None
    key = found[0]
    beside = any(p.zero_filling is not None for p in part.patterns)
    heads = ["given", "patients", "", "against_all", "p_holm"] + (["zeros", "minus_zeros", "p_holm"] if beside else [])
    rows = [_row(key, pattern, lang, beside=beside) for pattern in part.patterns]
    whole = frozenset(n for n, p in enumerate(part.patterns) if p.loss is None)
    return Table(
        t("table.missing_caption", lang, metric=metric_name(key, lang), part=part_name(part.name, lang)),
        tuple(t(f"table.{h}", lang) if h else metric_name(key, lang) for h in heads),
        tuple(rows),
        frozenset(range(1, len(heads))),
        whole,
    )


def _row(key: str, pattern: Pattern, lang: str, *, beside: bool) -> tuple[str, ...]:
    def said(metric: Metric | None, *, sign: bool = False) -> str:
        return DASH if metric is None else estimate(key, metric, lang, sign=sign)

    row = [" + ".join(pattern.given), str(pattern.n_patients), said(pattern.metric)]
    row += [said(pattern.loss, sign=True), p_value(pattern.p_loss)]
    if beside:
        row += [said(pattern.zero_filling), said(pattern.gain, sign=True), p_value(pattern.p_gain)]
    return tuple(row)
