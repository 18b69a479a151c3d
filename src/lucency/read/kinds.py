"""Which DICOM objects are images that this program reads, and what the others are called."""

from lucency.read.head import Head

_STORAGE = "1.2.840.10008.5.1.4.1.1."

#: Storage class (PS3.4, B.5) to the modality of its images where the header does not say.
MODALITIES = {
    _STORAGE + k: v
    for k, v in {
        "1": "CR",
        "1.1": "DX",
        "1.1.1": "DX",
        "1.2": "MG",
        "1.2.1": "MG",
        "1.3": "IO",
        "1.3.1": "IO",
        "2": "CT",
        "2.1": "CT",
        "2.2": "CT",
        "3": "US",
        "3.1": "US",
        "4": "MR",
        "4.1": "MR",
        "4.3": "MR",
        "4.4": "MR",
        "6": "US",
        "6.1": "US",
        "7": "SC",
        "7.2": "SC",
        "7.3": "SC",
        "7.4": "SC",
        "12.1": "XA",
        "12.1.1": "XA",
        "12.2": "RF",
        "12.2.1": "RF",
        "13.1.1": "XA",
        "13.1.2": "DX",
        "13.1.3": "MG",
        "20": "NM",
        "77.1.1": "ES",
        "77.1.2": "GM",
        "77.1.4": "XC",
        "77.1.5.1": "OP",
        "77.1.5.2": "OP",
        "77.1.5.4": "OPT",
        "128": "PT",
        "128.1": "PT",
        "130": "PT",
        "481.1": "RTIMAGE",
    }.items()
}

#: Classes whose files are slices of a body: several of them without a place cannot be put in order.
CROSS_SECTIONS = {u for u, m in MODALITIES.items() if m in ("CT", "MR", "PT")}

#: Classes whose frames follow each other in time when they have no place.
CLIPS = {_STORAGE + k for k in ("3", "3.1", "12.1", "12.1.1", "12.2", "12.2.1", "77.1.1")}

#: Other objects, by the beginning of their class; the longest that fits counts.
OTHERS = {
    "1.2.840.10008.1.3.10": "DICOMDIR",
    _STORAGE + "9.": "waveform",
    _STORAGE + "11.": "presentation state",
    _STORAGE + "30": "parametric map",
    _STORAGE + "66": "raw data",
    _STORAGE + "66.1": "registration",
    _STORAGE + "66.2": "fiducials",
    _STORAGE + "66.3": "registration",
    _STORAGE + "66.4": "segmentation",
    _STORAGE + "66.5": "surface segmentation",
    _STORAGE + "66.6": "tractography",
    _STORAGE + "66.7": "segmentation",
    _STORAGE + "67": "real-world value map",
    _STORAGE + "68.": "surface scan",
    _STORAGE + "77.1.6": "whole-slide image",
    _STORAGE + "77.1.1.1": "video",
    _STORAGE + "77.1.2.1": "video",
    _STORAGE + "77.1.4.1": "video",
    _STORAGE + "78.": "ophthalmic measurement",
    _STORAGE + "88.": "structured report",
    _STORAGE + "91.1": "whole-slide annotation",
    _STORAGE + "104.": "document",
    _STORAGE + "481.2": "radiotherapy dose",
    _STORAGE + "481.3": "structure set",
    _STORAGE + "481.": "radiotherapy plan or record",
    _STORAGE + "7.1": "one-bit secondary capture",
}

#: Transfer syntaxes of moving pictures (PS3.5, A.4.5 to A.4.7): MPEG-2, MPEG-4, HEVC.
VIDEO = tuple(f"1.2.840.10008.1.2.4.{n}" for n in range(100, 109))


#: Not another kind of object, but a damaged image: it is named, not counted.
NO_SIZE = "an image without rows and columns"


def kind_of(head: Head) -> str:
    """Return what an object is that is no image of this program's, or ``""`` for an image.

    Example:
        >>> kind_of({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.66.4"})
        'segmentation'
    """
    uid = str(head.get("SOPClassUID", ""))
    if uid not in MODALITIES:
        fits = [start for start in OTHERS if uid.startswith(start)]
        return OTHERS[max(fits, key=len)] if fits else "not a plain image"
    if int(head.get("Rows") or 0) < 1 or int(head.get("Columns") or 0) < 1:
        return NO_SIZE
    if str(head.get("TransferSyntaxUID", "")).startswith(VIDEO):
        return "video"
    if "ConcatenationUID" in head:
        return "part of an image cut into several files (concatenation)"
    types = head.get("ImageType") or []
    if "LOCALIZER" in [str(v).upper() for v in (types if isinstance(types, list) else [types])]:
        return "localizer"
    if MODALITIES[uid] == "NM" and int(head.get("NumberOfFrames") or 1) > 1:
        return "nuclear-medicine frames"
    return ""
