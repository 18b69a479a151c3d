"""The page of a table of features: what simple models reach on it, every choice nested, and nothing else."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lucency import record
from lucency.evaluate import Evaluation, Part
from lucency.report import figures, tables
from lucency.report.numbers import estimate, headline, metric_name, paired
from lucency.report.page import Pages
from lucency.report.stored import plain_metrics
from lucency.report.templates import filled
from lucency.text import name, sentence, t


@dataclass(frozen=True)
class Features:
    """What is told of a table.

    Args:
        evaluation: One part, out-of-fold; the mean of the models against each of them.
        described: Model to one sentence.
        n_features: Columns that were learned from.
        n_folds: Outer folds.
        notes: For the reader.
        version: Of the program.
        unknown_patients: No column told the patients apart.
    """

    evaluation: Evaluation
    described: dict[str, str]
    n_features: int
    n_folds: int
    notes: Sequence[str]
    version: str
    unknown_patients: bool

    @property
    def part(self) -> Part:
        """The one part."""
        return self.evaluation.parts[0]


def write_features(told: Features, folder: Path, lang: str) -> Path:
    """Write ``index.html`` and ``metrics.json`` and return the path of the page.

    Raises:
        OutputError: The folder cannot be written.
        UsageError: No such language.
    """
    record.write_text(folder / "index.html", render(told, lang))
    record.write(folder / "metrics.json", metrics_json(told))
    return folder / "index.html"


def metrics_json(told: Features) -> dict[str, Any]:
    """Return ``metrics.json`` with the keys that the report of images has."""
    return {
        "task": told.evaluation.task,
        "n_patients": told.part.n_patients,
        "metrics": plain_metrics(told.part.metrics),
        "baselines": {b: {"metrics": plain_metrics(c.metrics)} for b, c in told.part.baselines.items()},
        "parts": {},
    }


def render(told: Features, lang: str) -> str:
    """Return the whole page."""
    found = headline(told.part, told.evaluation.headline)
    reached = metric_name(found[0], lang) + " " + estimate(*found, lang) if found else ""
    return filled(
        "lucency.report",
        "page.html.jinja",
        lang,
        title=t("features.title", lang),
        subtitle=t("features.subtitle", lang, n=told.part.n_patients, features=told.n_features),
        unknown_patients=told.unknown_patients,
        verdict=[t("features.reached", lang, value=reached, folds=told.n_folds)],
        as_good="",
        beware=[t("features.nested", lang), t("features.no_model", lang)],
        sections=_sections(told, lang),
        version=told.version,
        digest="",
    )


def _sections(told: Features, lang: str) -> list[Any]:
    pages = Pages(lang)
    part, wanted = told.part, told.evaluation.headline
    pages.section("results")
    pages.table(tables.baselines(part, wanted, lang))
    pages.bullets(
        tuple(paired(name("baseline", b, lang), sentence(words, lang), lang) for b, words in told.described.items())
    )
    pages.figure(t("features.roc", lang, n=part.n_cases), figures.curves(part, "roc", lang, {}))
    pages.section("data")
    pages.bullets(tuple(sentence(note, lang) for note in told.notes))
    return pages.sections
