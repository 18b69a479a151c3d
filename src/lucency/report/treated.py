"""What is predicted under each value of a treatment column, in words, as a table and patient by patient."""

from pathlib import Path

from lucency.evaluate import Arm, Effect
from lucency.report.numbers import DASH, estimate
from lucency.report.tables import Table
from lucency.text import t
from lucency.write.table import write_table

#: The file with every patient's own prediction; it stays in the run.
FILE = "treatment.csv"


def sentences(found: Effect, lang: str) -> tuple[str, ...]:
    """Return the caveat, who is compared, or why nothing is printed."""
    if found.refused:
        counts = t("report.comma", lang).join(f"{v} {n}" for v, n in zip(found.values, found.counts, strict=False))
        why = t(
            "treatment.refused_counts" if len(found.values) > 1 else "treatment.refused_values",
            lang,
            column=found.column,
            inside=found.n_comparable,
            n=found.n_patients,
            counts=counts or DASH,
        )
        return (why,)
    return (
        t("treatment.caveat", lang, column=found.column),
        t("treatment.compared", lang, column=found.column, inside=found.n_comparable, n=found.n_patients, file=FILE),
    )


def table(found: Effect, lang: str) -> Table | None:
    """Return the mean prediction under each value, by the model and by Cox, with differences from the first value."""
    if not found.arms:
        return None
    rows = []
    for number, value in enumerate(found.values):
        cells = [value, str(found.counts[number])]
        for arms in (found.arms, found.beside):
            cells += _cells(arms[number], lang) if arms else [DASH, DASH]
        rows.append(tuple(cells))
    heads = (
        found.column,
        t("treatment.patients", lang),
        t("treatment.model", lang),
        t("treatment.difference", lang),
        t("treatment.cox", lang),
        t("treatment.difference", lang),
    )
    caption = t("treatment.caption", lang, days=f"{found.horizon:g}", n=found.n_comparable)
    return Table(caption, heads, tuple(rows), frozenset(range(1, 6)))


def _cells(arm: Arm, lang: str) -> list[str]:
    difference = DASH if arm.difference is None else estimate("survival", arm.difference, lang, sign=True)
    return [estimate("survival", arm.survival, lang), difference]


def write_cases(found: Effect | None, folder: Path) -> None:
    """Write each comparable patient's predicted survival under each value; an older file goes where there is none.

    Args:
        found: As evaluated, or None without a treatment column.
        folder: ``RUN/report``.
    """
    path = folder / FILE
    path.unlink(missing_ok=True)
    if found is not None and found.cases:
        heads = ("case", *(f"survival_{found.column}={v}" for v in found.values))
        write_table(path, heads, [(case, *(f"{p:.4f}" for p in row)) for case, row in sorted(found.cases.items())])
