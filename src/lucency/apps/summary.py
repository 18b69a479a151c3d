"""What a command says when it is done: the result in a sentence, where to read more, and what to do next."""

import csv
import math
import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lucency import record
from lucency.case import UNKNOWN_PATIENTS, Cohort, Prediction, by_reason
from lucency.evaluate import Evaluation, Part
from lucency.inspect import Inspection
from lucency.model import weights_digest
from lucency.plan import DECISIONS, Plan
from lucency.report.numbers import (
    bracketed,
    digits,
    headline,
    interval,
    metric_name,
    number,
    paired,
    part_name,
    target_name,
)
from lucency.report.verdict import baselines
from lucency.text import counted, known, name, sentence, t

#: Reasons for leaving files out that are told; skipped.csv has all.
REASONS = 3

#: The file that each room leaves (architecture, section 2).
FILES = {
    "read": "cohort.json",
    "inspect": "inspection.json",
    "profile": "profile.json",
    "plan": "plan.json",
    "prepare": "prepared",
    "train": "model",
    "evaluate": "evaluation.json",
    "report": "report/index.html",
}


def lines(run: Path, room: str, lang: str) -> list[str]:
    """Return the closing words of a walk.

    Args:
        run: Run folder.
        room: The last room that was entered.
        lang: ``"en"`` or ``"zh"``.
    """
    said: list[str] = []
    if room == "read":
        said = _read(record.read(Cohort, run / FILES[room]), lang)
    elif room == "inspect":
        cohort = record.read(Cohort, run / FILES["read"])
        said = _inspected(record.read(Inspection, run / FILES[room]), cohort, lang)
    elif room == "plan":
        said = _plan(record.read(Plan, run / FILES[room]), lang)
    elif room in ("evaluate", "report"):
        said = _evaluation(record.read(Evaluation, run / FILES["evaluate"]), lang)
    shown = short(run / FILES[room])
    if room != "report":
        return [*said, t("cli.wrote", lang, path=shown)]
    if not (run / FILES["train"]).exists():
        # A table of features is judged; there is no network to predict with.
        return [*said, t("cli.report", lang, path=shown), t("report.banner", lang)]
    command = f"lucency predict {quoted(short(run))} NEW_IMAGES --out predictions"
    return [*said, t("cli.report", lang, path=shown), t("cli.next", lang, command=command), t("report.banner", lang)]


def facts(run: Path, room: str) -> dict[str, Any]:
    """Return the same for other programs.

    Args:
        run: Run folder.
        room: The last room that was entered.

    Returns:
        ``run``, ``room``, ``file``; after training ``model`` with its digest; after the report ``report`` and what
        ``report/metrics.json`` holds.
    """
    found: dict[str, Any] = {"run": str(run), "room": room, "file": str(run / FILES[room])}
    order = list(FILES)
    if order.index(room) >= order.index("train") and (run / "model").exists():
        found["model"] = {"folder": str(run / "model"), "digest": weights_digest(run / "model")}
    if room == "report":
        found["report"] = str(run / FILES["report"])
        found |= record.read_object(run / "report" / "metrics.json")
    return found


def predicted(found: Sequence[Prediction], out: Path, lang: str) -> list[str]:
    """Return the closing words of a prediction."""
    place = "cli.in_masks" if any(p.mask is not None for p in found) else "cli.in_table"
    place = "cli.in_images" if any(p.image is not None for p in found) else place
    where = t(place, lang, table=short(out / "predictions.csv"), folder=short(out))
    said = [counted("cli.predicted", len(found), lang, where=where)]
    told = [out / "skipped.csv", out / "notes.txt"]
    said += [t("cli.left_over", lang, path=short(p)) for p in told if p.exists()]
    return [*said, t("report.banner", lang)]


def n_left_out(out: Path) -> int:
    """Return how many files and images a prediction left out."""
    path = out / "skipped.csv"
    if not path.exists():
        return 0
    with path.open(encoding="utf-8", newline="") as file:
        return sum(1 for _ in csv.DictReader(file))


def _read(cohort: Cohort, lang: str) -> list[str]:
    layout = name("layout", cohort.layout, lang)
    patients = len({c.patient for c in cohort.cases})
    said = [t("cli.found", lang, cases=len(cohort.cases), patients=patients, layout=layout)]
    if cohort.target_name:
        said.append(t("cli.target", lang, target=target_name(cohort.target_name, lang)))
    labelled = [c for c in cohort.cases if c.target is not None]
    if cohort.classes:
        counts = {k: sum(k in c.classes for c in labelled) for k in cohort.classes}
        said.append(t("cli.classes", lang, list=_list([bracketed(k, str(n), lang) for k, n in counts.items()], lang)))
    elif cohort.labels:
        named = [f"{v} = {n}" for v, n in sorted(cohort.labels.items())]
        said.append(t("cli.labels", lang, list=_list(named, lang)))
    if cohort.patient_key:
        said.append(t("cli.patients", lang, key=sentence(cohort.patient_key, lang)))
    else:
        said.append(t("report.first_line", lang))
    said += _noted(cohort, lang)
    if cohort.skipped:
        said.append(t("cli.skipped", lang, n=len(cohort.skipped)))
        said += [
            t("cli.skipped_reason", lang, n=n, why=sentence(s.reason, lang), first=s.path)
            for n, s in by_reason(cohort.skipped)[:REASONS]
        ]
    return said + _untrainable(cohort.untrainable, lang)


def _noted(cohort: Cohort, lang: str) -> list[str]:
    """Return what reading the data had to say of them."""
    return [f"- {sentence(note, lang)}" for note in cohort.notes if note != UNKNOWN_PATIENTS]


def _inspected(found: Inspection, cohort: Cohort, lang: str) -> list[str]:
    said = [t("cli.inspected", lang, n=len(found.images), left=len(found.left_out), pairs=len(found.pairs))]
    said += [f"- {sentence(w, lang)}" for w in found.warnings] or [t("cli.no_warnings", lang)]
    return [*said, *_noted(cohort, lang), *_untrainable(found.untrainable, lang)]


def _untrainable(why: Sequence[str], lang: str) -> list[str]:
    """Say why nothing can be trained from the data, and what training would need."""
    if not why:
        return []
    found, expected, _, remedy = (sentence(w, lang).rstrip(".。") for w in why)
    said = [t("cli.untrainable", lang, why=found)]
    if expected:
        said.append(t("cli.training_needs", lang, expected=expected))
    return said + ([t("cli.remedy", lang, remedy=remedy)] if remedy else [])


def _plan(plan: Plan, lang: str) -> list[str]:
    said = ["- " + paired(_decision(key, lang), sentence(plan.reasons[key], lang), lang) for key in DECISIONS]
    seconds = sum(plan.forecast.seconds.values())
    said.append(t("cli.forecast", lang, minutes=f"{seconds / 60:.1f}", memory=f"{plan.forecast.memory_mib:.0f}"))
    return said


def _decision(key: str, lang: str) -> str:
    return t(f"decision.{key}", lang) if known(f"decision.{key}") else key


def _evaluation(found: Evaluation, lang: str) -> list[str]:
    """Quote the headline on the locked part, and say whether a simple model is as good."""
    part = next((p for p in found.parts if p.name == "locked"), found.parts[0])
    top = headline(part, found.headline)
    if top is None or not math.isfinite(top[1].value):
        return [t("verdict.nothing", lang, part=part_name(part.name, lang), n=part.n_cases)]
    return [_reached(part, top[0], lang), baselines(part, top[0], lang)]


def _reached(part: Part, key: str, lang: str) -> str:
    metric = part.metrics[key]
    span = interval(metric, lang, digits(key))
    return t(
        "cli.reached" if span else "cli.reached_alone",
        lang,
        metric=metric_name(key, lang),
        value=number(metric.value, digits(key)),
        interval=span,
        n=part.n_patients,
        part=part_name(part.name, lang),
    )


def _list(words: Sequence[str], lang: str) -> str:
    return t("report.comma", lang).join(words)


def short(path: Path) -> str:
    """Return a path as short as can be: below the current folder where it lies there."""
    path = path.absolute()
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def quoted(path: str) -> str:
    """Return a path as it can be typed into this system's shell."""
    if os.name == "nt":
        return f'"{path}"' if " " in path else path
    return shlex.quote(path)
