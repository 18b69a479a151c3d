"""The report's section on image quality: what was accepted, warned of and left out, and what it looks like."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from lucency.inspect import ImageFacts
from lucency.inspect.quality import LEARN_FROM, REJECT, WARN
from lucency.report.facts import Facts
from lucency.report.numbers import number
from lucency.report.pictures import draw
from lucency.report.tables import Table
from lucency.text import name, sentence, t

#: Images shown, the rejected first; and suspected labels listed.
SHOWN, SUSPECTS = 24, 20
#: Longest side of a thumbnail, px.
SIDE = 192


def doubtful(images: Sequence[ImageFacts]) -> list[ImageFacts]:
    """Return the images that deserve a thumbnail: the rejected ones, then those with a warning, the worst first."""
    odd = [i for i in images if i.quality != "accept"]
    worst = {id(i): max(i.faults.values(), default=0.0) for i in odd}
    return sorted(odd, key=lambda i: (i.quality != "reject", -worst[id(i)], i.case))[:SHOWN]


def said(facts: Facts, lang: str) -> str:
    """Return how images were judged, in a sentence or two; empty where none was."""
    measured = [i for i in facts.images if i.measures]
    if not measured:
        return ""
    learned = any(i.faults for i in measured)
    values = {"n": len(measured), "warn": f"{WARN:g}", "reject": f"{REJECT:g}", "least": LEARN_FROM}
    return t("quality.learned" if learned else "quality.few", lang, **values)


def counted(facts: Facts, lang: str) -> Table | None:
    """Return how many images were warned of and left out for each fault; None where none was."""
    images = [i for i in facts.images if i.measures]
    rows: list[tuple[str, ...]] = []
    tally = {
        quality: Counter(_fault(reason) for i in images if i.quality == quality for reason in i.reason.split("; "))
        for quality in ("warn", "reject")
    }
    for fault in dict.fromkeys([*tally["reject"], *tally["warn"]]):
        rows.append((_shown(fault, lang), str(tally["warn"][fault]), str(tally["reject"][fault])))
    if not rows:
        return None
    total = Counter(i.quality for i in images)
    rows.append((t("quality.images", lang), str(total["warn"]), str(total["reject"])))
    heads = tuple(t(f"quality.{k}", lang) for k in ("fault", "warn", "reject"))
    caption = t("quality.caption", lang, accepted=total["accept"], n=len(images))
    return Table(caption, heads, tuple(rows), frozenset({1, 2}), frozenset({len(rows) - 1}))


def cards(facts: Facts, lang: str) -> tuple[dict[str, Any], ...]:
    """Return a card for every thumbnail: the picture, what became of it and why."""
    made = []
    for image in doubtful(facts.images):
        picture = facts.thumbnails.get(image.case)
        if picture is None:
            continue
        outcome = t(f"quality.{image.quality}", lang)
        lines = [outcome, *(sentence(reason, lang) for reason in image.reason.split("; "))]
        drawing = draw(picture, SIDE, t("alt.case", lang, case=image.case, facts=t("report.comma", lang).join(lines)))
        made.append({"svg": drawing.svg, "case": image.case, "lines": lines, "wrong": None})
    return tuple(made)


def suspects(facts: Facts, lang: str) -> Table | None:
    """Return the cases whose label may be wrong; None where the model contradicts none."""
    found = facts.evaluation.suspects
    if not found:
        return None
    rows = tuple(
        (c.case, c.truth, c.label, number(c.probabilities[c.truth]), c.part.replace("fold", t("quality.fold", lang)))
        for c in found[:SUSPECTS]
    )
    heads = tuple(t(f"quality.{k}", lang) for k in ("case", "given", "predicted", "chance", "part"))
    caption = t("quality.suspects", lang, shown=len(rows), n=len(found))
    return Table(caption, heads, rows, frozenset({3}))


def _fault(reason: str) -> str:
    return reason.partition(" (")[0]


def _shown(fault: str, lang: str) -> str:
    known = name("fault", fault, lang)
    return known if known != fault.replace("_", " ") else sentence(fault, lang)
