"""The page of explanations: each image with its maps, and beside every map what its tests say."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lucency import record
from lucency.explain import Explained, Mapped
from lucency.report.overlay import overlay
from lucency.report.templates import filled
from lucency.text import t


def verdict(mapped: Mapped, lang: str) -> str:
    """Return in words whether a map passed its tests."""
    failed = mapped.trials.failed
    if not failed:
        return t("explain.passed", lang)
    return t("explain.failed", lang, tests=t("explain.join", lang).join(t(f"explain.{n}", lang) for n in failed))


def shown(one: Explained, lang: str) -> dict[str, Any]:
    """Return one image as the page shows it; small, so that the arrays can go."""
    maps = [
        {
            "method": t(f"explain.{name.replace('-', '_')}", lang),
            "picture": overlay(one.array, mapped.grid, max(float(mapped.grid.max()), 1e-9)),
            "verdict": verdict(mapped, lang),
            "passed": not mapped.trials.failed,
            "numbers": t(
                "explain.numbers",
                lang,
                randomised=f"{mapped.trials.randomised:.2f}",
                repeated=f"{mapped.trials.repeated:.2f}",
                pointing=f"{mapped.trials.pointing:.2f}",
            ),
        }
        for name, mapped in one.maps.items()
    ]
    return {"case": one.case, "answer": one.answer, "picture": overlay(one.array), "maps": maps}


def write_explained(path: Path, entries: Iterable[dict[str, Any]], lang: str) -> None:
    """Write the page; it needs nothing else and holds pictures of patients, which its first line says.

    Args:
        path: Where to.
        entries: From :func:`shown`.
        lang: ``"en"`` or ``"zh"``.

    Raises:
        OutputError: The disk cannot be written.
    """
    record.write_text(path, filled("lucency.report", "explained.html.jinja", lang, entries=list(entries)))
