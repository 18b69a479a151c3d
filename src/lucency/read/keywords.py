"""Attributes of the DICOM dictionary (PS3.6) by what a user may call them."""

import difflib
import re


def attribute_of(key: str) -> tuple[str, int, str] | None:
    """Return (keyword, tag, value representation), or None where the dictionary has no such attribute.

    Args:
        key: Keyword in any case, or tag of eight hexadecimal digits.

    Example:
        >>> attribute_of("patientid"), attribute_of("PatientNam")
        (('PatientID', 1048608, 'LO'), None)
    """
    from pydicom.datadict import dictionary_VR, keyword_dict, keyword_for_tag  # noqa: PLC0415 - slow to import

    number = keyword_for_tag(int(key, 16)) if re.fullmatch(r"[0-9A-Fa-f]{8}", key) else ""
    keyword = number or _plain().get(key.casefold(), "")
    if not keyword:
        return None
    tag = keyword_dict[keyword]
    return keyword, tag, dictionary_VR(tag)


def nearest(key: str) -> str:
    """Return the keyword that a misspelt one may have meant, or ``""``.

    Example:
        >>> nearest("PatientNam")
        'PatientName'
    """
    plain = _plain()
    return next((plain[k] for k in difflib.get_close_matches(key.casefold(), plain, n=1, cutoff=0.7)), "")


def _plain() -> dict[str, str]:
    from pydicom.datadict import keyword_dict  # noqa: PLC0415 - slow to import

    return {k.casefold(): k for k in keyword_dict if k}
