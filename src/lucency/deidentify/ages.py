"""Ages in reports: a measurement named age tells nobody who is over 89.

Source:
    US 45 CFR 164.514(b)(2)(i)(C); DICOM PS3.3, C.18.1 Numeric Measurement Macro; PS3.16, Annex D (code 121033).
"""

import re

from pydicom.dataset import Dataset

from lucency.deidentify.dates import OLDEST_YEARS

#: Codes that mean the age of a person: Subject Age (DCM); Age, Current chronological age (SNOMED CT); Age (LOINC).
AGES = frozenset({"121033", "445518008", "424144002", "397669002", "30525-0", "21612-7"})
#: A code of another terminology that says so in words.
SAYS_AGE = re.compile(r"\bage\b|\balter\b|年[龄齡]", re.IGNORECASE)
#: UCUM units of time to how many of them make a year; what has no unit is taken for years.
PER_YEAR = {"a": 1.0, "a_j": 1.0, "a_t": 1.0, "a_g": 1.0, "mo": 12.0, "wk": 52.18, "d": 365.25, "h": 8766.0}
YEARS = frozenset({"a", "a_j", "a_t", "a_g"})
#: The same value told as a floating point number or a fraction, which is dropped where the decimal changes.
OTHER_FORMS = ("FloatingPointValue", "RationalNumeratorValue", "RationalDenominatorValue")


def cap_age(item: Dataset) -> bool:
    """Tell an age of 90 and more years as 90 years, in its own unit.

    A measurement in years is taken for an age whatever its name, which may be a local one that was removed.

    Args:
        item: Content item of a structured report; changed in place.

    Returns:
        Whether it was an age that had to be changed.
    """
    named = any(_is_age(name) for name in item.get("ConceptNameCodeSequence") or ())
    changed = False
    for measured in item.get("MeasuredValueSequence") or ():
        units = measured.get("MeasurementUnitsCodeSequence") or ()
        unit = next((str(u.get("CodeValue", "")) for u in units), "")
        if not named and unit not in YEARS:
            continue
        oldest = OLDEST_YEARS * PER_YEAR.get(unit, 1.0)
        value = measured.get("NumericValue")
        values = value if hasattr(value, "__iter__") and not isinstance(value, str) else [value]
        told = [float(v) for v in (*values, measured.get("FloatingPointValue")) if v not in (None, "")]
        if any(v >= oldest for v in told):
            measured.NumericValue = f"{oldest:g}"
            for keyword in OTHER_FORMS:
                measured.pop(keyword, None)
            changed = True
    return changed


def _is_age(name: Dataset) -> bool:
    code = str(name.get("CodeValue", "") or name.get("LongCodeValue", "") or "")
    return code in AGES or SAYS_AGE.search(str(name.get("CodeMeaning", "") or "")) is not None
