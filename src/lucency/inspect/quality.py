"""Accept, warn or reject: each image's measures judged against its set's own, which the set itself teaches.

Nothing here knows a body part or a scanner. A set has a middle and a spread of every measure; a fault is a measure far
from the middle on the side on which that fault moves it. Small sets have neither, so only physical rules judge them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from lucency.errors import UsageError

Quality = Literal["accept", "warn", "reject"]

#: What a user may say with ``--set quality=``: judge nothing, say what was found, or leave rejected images out.
POLICIES = ("off", "warn", "reject")
#: Sets with fewer images of a modality have no middle and spread worth trusting: only physical rules judge them.
LEARN_FROM = 20
#: Robust standard deviations from which on an image is said to be unlike its set, and from which on it is left out.
#: On ten real sets of 31 to 150 untouched images (docs/decisions/0011-quality.md) the second rejects at most 1.7 % of
#: nine of them; the tenth, head CT, holds images of two windows.
WARN, REJECT = 4.0, 8.0
#: What may be an unusual patient or protocol, and alone leaves no image out, reaches at most this.
WARN_ONLY = REJECT - 0.1
#: The fault of an image of another body part or modality.
UNLIKE = "unlike the set"
#: Share of the set's usual agreement in layout that an image with dark and bright exchanged keeps, turned round.
MIRRORED = 0.7
#: Quantiles that give the spread on either side of the median, and where normal data lie at them.
QUANTILES, QUANTILE_STD = (0.15, 0.5, 0.85), 1.0364
#: Middle and spread are taken anew this often from what lies within this many spreads of the middle: otherwise a tenth
#: of degraded images, all on one side, makes the spread there half as large again.
CLIPS, CLIP = 4, 3.0
#: Grey ranges whose .85 quantile is this many times the .15 have no common unit (MR): a gain is then no fault.
NO_UNIT = 4.0
#: Least spread of each measure: differences that a reader would hardly see, however alike the images of a set are.
LEAST = {
    "detail": 0.04,
    "coarse": 0.04,
    "noise": 0.06,
    "middle": 0.02,
    "centre": 0.02,
    "clipped": 0.2,
    "rows": 0.02,
    "columns": 0.02,
    "slices": 0.02,
    "aspect": 0.02,
    "fit": 0.02,
    "part": 0.02,
    "residual": 0.03,
    "strange": 1.0,
    "ghost": 0.01,
}
#: Measures in the image's own unit; their least spread is this share of the set's usual grey range.
LEVELS, LEVEL_LEAST = ("p5", "p50", "p95", "p99", "span"), 0.02
#: Physical rules for any set: share of pixels that differ from the commonest value, of pixels at the highest value, and
#: of voxels that are metal (a dental filling has some thousand voxels of a head's ten million).
SHOWN_LEAST, CLIPPED_MOST, METAL_MOST = 1e-3, 0.3, 1e-4


@dataclass(frozen=True)
class Limit:
    """Where a measure lies in a set.

    Args:
        middle: Median.
        below: Robust standard deviation under the median, > 0.
        above: The same over it.

    Raises:
        UsageError: A spread that is not positive.
    """

    middle: float
    below: float
    above: float

    def __post_init__(self) -> None:
        if not (self.below > 0 and self.above > 0):
            raise UsageError("A limit without a spread", expected="more than 0", where="quality")

    def deviation(self, value: float) -> float:
        """Return how many robust standard deviations ``value`` lies above (or, negative, below) the middle."""
        return (value - self.middle) / (self.above if value > self.middle else self.below)


@dataclass(frozen=True)
class Limits:
    """What a set taught about one modality: numbers only, no picture.

    Args:
        n: Images they were learned from.
        measures: Measure to where it lies; empty for a set that is too small.
    """

    n: int
    measures: Mapping[str, Limit] = field(default_factory=dict)


@dataclass(frozen=True)
class Verdict:
    """What is thought of one image.

    Args:
        quality: ``"accept"``, ``"warn"`` or ``"reject"``.
        reasons: Faults in words, ``"unlike the set"`` and then the strongest first; empty where accepted.
    """

    quality: Quality = "accept"
    reasons: tuple[str, ...] = ()


def learn(found: Sequence[Mapping[str, float]]) -> Limits:
    """Return the middle and spread of every measure that at least half the images of a set have.

    Args:
        found: Measures per image of one modality, the degraded ones among them.
    """
    if len(found) < LEARN_FROM:
        return Limits(len(found))
    names = sorted({name for one in found for name in one})
    columns = {name: np.array([one[name] for one in found if name in one]) for name in names}
    columns = {name: values for name, values in columns.items() if len(values) >= max(LEARN_FROM, len(found) / 2)}
    least = dict(LEAST)
    if _has_unit(columns):
        least |= dict.fromkeys(LEVELS, LEVEL_LEAST * float(np.median(columns["span"])))
    limits = {name: spread_of(values, least[name]) for name, values in columns.items() if least.get(name, 0.0) > 0}
    return Limits(len(found), limits)


def _has_unit(columns: Mapping[str, np.ndarray]) -> bool:
    """Tell whether the images share a unit: their grey ranges are alike."""
    if "span" not in columns:
        return False
    low, _, high = np.quantile(columns["span"], QUANTILES)
    return bool(high < NO_UNIT * low)


def spread_of(values: np.ndarray, least: float) -> Limit:
    """Return median and spreads of the values without those far out.

    Args:
        values: (n,) float, n >= 1.
        least: Least spread, > 0.
    """
    inside = values
    for _ in range(CLIPS + 1):
        low, middle, high = (float(v) for v in np.quantile(inside, QUANTILES))
        below, above = max(least, (middle - low) / QUANTILE_STD), max(least, (high - middle) / QUANTILE_STD)
        inside = values[(values >= middle - CLIP * below) & (values <= middle + CLIP * above)]
    return Limit(round(middle, 6), max(least, round(below, 6)), max(least, round(above, 6)))


def scores(measures: Mapping[str, float], limits: Limits) -> dict[str, float]:
    """Return how strongly each fault shows, in robust standard deviations of the set; what is not judged is absent.

    Args:
        measures: Of one image.
        limits: Of its modality.

    Returns:
        Fault to score; the faults are the keys of ``[fault]`` in ``text.toml``, with spaces.
    """
    off = {n: limits.measures[n].deviation(v) for n, v in measures.items() if n in limits.measures}

    def most(*signed: str) -> float | None:
        """Return the largest deviation; a minus before the name turns its sign."""
        known = [-off[n[1:]] if n[0] == "-" else off[n] for n in signed if n.removeprefix("-") in off]
        return max(known) if known else None

    blurred = most("-detail")
    if blurred is not None and "coarse" in off:
        # Strong blur wipes out two scales; together they tell it from an image with little fine structure.
        blurred = max(blurred, -(off["detail"] + off["coarse"]) / 2**0.5)
    # Sizes differ for good reasons, so they alone leave nothing out.
    sizes = [most("-rows"), most("-columns"), most("-slices"), most("aspect", "-aspect")]
    cropped = [min(s, WARN_ONLY) for s in sizes if s is not None] + [s for s in [most("part")] if s is not None]
    inverted = [s for s in (most("-fit"), _turned(measures, limits)) if s is not None]
    # An unusual picture may be an unusual patient: never a reason to leave it out.
    unlike = most("residual", "strange")
    found = {
        "blurred": blurred,
        "noisy": most("noise"),
        "overexposed": most("p50", "p95", "p99", "clipped"),
        "underexposed": most("-p95", "-p99"),
        "low contrast": most("-span"),
        "cropped": max(cropped) if cropped else None,
        "inverted": max(inverted) if inverted else None,
        UNLIKE: None if unlike is None else min(unlike, WARN_ONLY),
        "ghosting": most("ghost"),
    }
    return {fault: round(score, 3) for fault, score in found.items() if score is not None}


def _turned(measures: Mapping[str, float], limits: Limits) -> float | None:
    """Return by how much better the image would fit its set with dark and bright exchanged."""
    if "lowest" not in measures:
        return None
    ends = measures["lowest"] + measures["highest"]
    mirrored = {
        "p5": ends - measures["p95"],
        "p50": ends - measures["p50"],
        "p95": ends - measures["p5"],
        "middle": 1 - measures["middle"],
        "centre": -measures["centre"],
    }
    known = [(limits.measures[n], measures[n], v) for n, v in mirrored.items() if n in limits.measures]
    if not known:
        return None
    return sum(abs(at.deviation(v)) - abs(at.deviation(turned)) for at, v, turned in known) / len(known)


def _mirrored(measures: Mapping[str, float], limits: Limits) -> bool:
    """Tell whether the image, with dark and bright exchanged, would be laid out nearly as its set is."""
    return "fit" in limits.measures and -measures.get("fit", 0.0) > MIRRORED * limits.measures["fit"].middle > 0


def verdict(measures: Mapping[str, float], limits: Limits, *, policy: str = "reject") -> Verdict:
    """Return what is thought of one image.

    Args:
        measures: Of the image.
        limits: Of its modality.
        policy: One of :data:`POLICIES`; ``"warn"`` turns a rejection into a warning.

    Raises:
        UsageError: No such policy.
    """
    if policy not in POLICIES:
        raise UsageError(f"quality = {policy!r}", expected=", ".join(POLICIES), where="--set quality")
    if policy == "off":
        return Verdict()
    found = scores(measures, limits)
    rated = sorted(((s, fault) for fault, s in found.items() if s >= WARN), reverse=True)
    # Of another body part much else is unusual too: what it is comes first, save where a fault explains the picture.
    explained = _mirrored(measures, limits) or found.get("noisy", 0.0) >= REJECT
    rated.sort(key=lambda one: one[1] == UNLIKE and not explained, reverse=True)
    reasons = [f"{fault} ({min(s, 99.0):.1f} deviations)" for s, fault in rated]
    rejected = any(score >= REJECT for score, _ in rated)
    if measures.get("shown", 1.0) < SHOWN_LEAST:
        reasons.insert(0, "empty")
        rejected = True
    if "clipped" not in limits.measures and measures.get("clipped", -9.0) > np.log10(CLIPPED_MOST):
        reasons.append("overexposed (a third of the pixels at the highest value)")
    if measures.get("metal", 0.0) > METAL_MOST:
        reasons.append("metal")
    if not reasons:
        return Verdict()
    return Verdict("reject" if rejected and policy == "reject" else "warn", tuple(reasons))
