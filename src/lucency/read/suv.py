"""Positron emission: from activity per millilitre to the standardised uptake value by body weight."""

import re
from typing import Any

TAGS = (
    "CorrectedImage",
    "DecayCorrection",
    "PatientWeight",
    "SeriesDate",
    "SeriesTime",
    "AcquisitionDate",
    "AcquisitionTime",
    "SUVType",
    "Units",
    0x70530010,
    0x70531000,
)

#: Private scale of Philips for images in counts: creator and element.
PHILIPS = ("Philips PET Private Group", 0x70530010, 0x70531000)

#: More half-lives than this between injection and scan mean a wrong clock, not a patient study.
MOST_HALF_LIVES = 10.0


def suv_of(dataset: Any) -> dict[str, Any]:
    """Return the factor from rescaled pixel values to SUV by body weight, or why there is none.

    Args:
        dataset: Header of one PET file, from pydicom.

    Returns:
        ``{"factor": float > 0}``, or ``{"reason": …}`` with a clause for the user.

    Source:
        QIBA FDG-PET/CT profile, vendor-neutral pseudo-code for SUV; DICOM PS3.3, C.8.9.1 (Units, Decay Correction,
        Corrected Image) and C.8.9.2 (Radiopharmaceutical Information).
    """
    try:
        return _factor(dataset)
    except (ValueError, TypeError, ArithmeticError, KeyError, IndexError, AttributeError):
        return {"reason": "its dose, weight or times cannot be read"}


def _factor(dataset: Any) -> dict[str, Any]:
    units = str(dataset.get("Units") or "").strip()
    if units == "GML":
        kind = str(dataset.get("SUVType") or "BW").strip()
        return (
            {"factor": 1.0} if kind == "BW" else {"reason": "its values are normalised to something else than weight"}
        )
    if units == "CNTS":
        return _of_counts(dataset)
    if units != "BQML":
        return {"reason": "its unit is not activity per volume"}
    corrected = [str(v) for v in _several(dataset.get("CorrectedImage"))]
    if "ATTN" not in corrected or "DECY" not in corrected:
        return {"reason": "it is not corrected for attenuation and decay"}
    weight = float(dataset.get("PatientWeight") or 0.0)
    drug = (dataset.get("RadiopharmaceuticalInformationSequence") or [None])[0]
    if drug is None or weight <= 0:
        return {"reason": "the patient's weight or the injection is not recorded"}
    dose = float(drug.get("RadionuclideTotalDose") or 0.0)
    half_life = float(drug.get("RadionuclideHalfLife") or 0.0)
    if dose <= 0 or half_life <= 0:
        return {"reason": "the injected dose or its half-life is not recorded"}
    correction = str(dataset.get("DecayCorrection") or "").strip()
    if correction == "ADMIN":
        return {"factor": weight * 1000.0 / dose}
    if correction != "START":
        return {"reason": "it does not say to which time its decay is corrected"}
    waited = _waited(dataset, drug)
    if waited is None:
        return {"reason": "the times of injection and scan are not recorded"}
    if not 0.0 <= waited <= MOST_HALF_LIVES * half_life:
        return {"reason": "the times of injection and scan contradict each other"}
    return {"factor": weight * 1000.0 / (dose * 2.0 ** (-waited / half_life))}


def _of_counts(dataset: Any) -> dict[str, Any]:
    name, creator, tag = PHILIPS
    if tag in dataset and str(dataset[creator].value).strip() == name:
        factor = float(_several(dataset[tag].value)[0])
        if factor > 0:
            return {"factor": factor}
    return {"reason": "it holds counts and no scale to activity"}


def _waited(dataset: Any, drug: Any) -> float | None:
    """Return the seconds from injection to the time the decay is corrected to, the start of the series."""
    scan = seconds_of_day(str(dataset.get("SeriesTime") or ""))
    taken = seconds_of_day(str(dataset.get("AcquisitionTime") or ""))
    date = str(dataset.get("SeriesDate") or "").strip()
    if scan is None:
        return None
    if str(dataset.get("AcquisitionDate") or date).strip() == date and taken is not None and scan > taken + 1.0:
        # A later reconstruction wrote its own time: when the scan began is no longer known.
        return None
    full = str(drug.get("RadiopharmaceuticalStartDateTime") or "").strip()
    injected = seconds_of_day(full or str(drug.get("RadiopharmaceuticalStartTime") or ""))
    if injected is None:
        return None
    if full and len(full) >= 14 and full[:8] != date:
        return scan - injected + 86400.0 * _days(full[:8], date)
    # Without a date the injection belongs to the day of the scan, or to the day before when the scan ran past midnight.
    return scan - injected if full or scan >= injected else scan - injected + 86400.0


def _days(first: str, second: str) -> int:
    from datetime import date  # noqa: PLC0415

    days = [date(int(d[:4]), int(d[4:6]), int(d[6:8])) for d in (first, second)]
    return (days[1] - days[0]).days


def _several(value: Any) -> list[Any]:
    if value is None or value == "":
        return []
    return [value] if isinstance(value, str | int | float) else list(value)


def seconds_of_day(text: str) -> float | None:
    """Return the seconds since midnight of a DICOM time, or of the time in a date and time.

    Args:
        text: ``HHMMSS.ffffff``, ``HHMM`` or ``YYYYMMDDHHMMSS.ffffff``, with or without an offset.

    Returns:
        Seconds, 0 to 86400; None for anything else.

    Source:
        DICOM PS3.5, 6.2, value representations TM and DT.

    Example:
        >>> seconds_of_day("013000.5"), seconds_of_day("20200102013000"), seconds_of_day("")
        (5400.5, 5400.0, None)
    """
    text = re.split(r"[+\-]", text.strip(" \0"))[0].replace(":", "")
    whole, _, part = text.partition(".")
    if len(whole) > 8:
        whole = whole[8:]
    if not whole.isdigit() or len(whole) not in (2, 4, 6) or (part and not part.isdigit()):
        return None
    hours, minutes, seconds = (int((whole + "0000")[n : n + 2]) for n in (0, 2, 4))
    return hours * 3600.0 + minutes * 60.0 + seconds + float(f"0.{part or 0}")
