"""Intervals and tests that hold for medical data: patients are the unit, few cases are said to be few."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """A number with its interval.

    Args:
        value: The estimate.
        lower: Lower end of the 95 % interval, or None where there are too few patients for one.
        upper: Upper end, or None.
        n: Number of patients (or of what ``method`` names) behind it.
        method: How the interval was made, in words, for example ``"DeLong"`` or ``"patient bootstrap, 2000"``;
            ``"too few for an interval"`` when ``lower`` is None.
        best: Best value the metric can take: 1 for AUC, 0 for Brier.
    """

    value: float
    lower: float | None = None
    upper: float | None = None
    n: int = 0
    method: str = ""
    best: float = 1.0
