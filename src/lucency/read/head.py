"""What a DICOM header says, without the pixels, as plain JSON types: the one form in which other modules see it."""

import logging
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from lucency.read import csa, suv
from lucency.read.attributes import B_VALUES, LISTS, MACROS, NUMBERS, OVERLAYS, PRESENT, SEQUENCES, TIMES, UIDS, WORDS

#: Keyed by DICOM keyword. Values are str, int, float, lists and dicts of these. See :func:`head_of`.
Head = dict[str, Any]

#: Raised when what :func:`head_of` gives changes; a stored head of another version is read anew.
HEAD_VERSION = 2

#: Only one thread at a time may change Python's filter of warnings, which is one for the whole process. The same
#: thread may come back: decoding, which is silent itself, is also called where somebody keeps silent.
SILENCE = threading.RLock()

# Beside its warnings pydicom logs them, values and all; what a hospital logs must not hold a name. A filter, since
# pydicom sets its logger's level when it is imported, which may be later than this.
logging.getLogger("pydicom").addFilter(lambda record: record.levelno >= logging.CRITICAL)


@contextmanager
def silent() -> Iterator[None]:
    """Keep pydicom's remarks on odd values quiet; they may quote the values."""
    with SILENCE, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def head_of(dataset: Any) -> Head:
    """Return what grouping, geometry, labels and writing back need to know of one file.

    A value that cannot be read counts as absent; whoever needs it then refuses the file in words. Of several frames,
    what is the same for all stands at the top, what changes stands in ``PerFrame``: keyword to one value for each
    frame, None where a frame has none.

    Beside DICOM keywords there are: ``PerFrame``; ``Overlays`` (number of planes); ``MosaicImages`` and
    ``SliceNormalVector`` (Siemens); ``SUV`` (``{"factor": …}`` or ``{"reason": …}``); ``ReferencedSeriesUIDs`` and
    ``ReferencedInstanceUIDs``; ``DimensionIndexPointers`` (keywords); ``TransferSyntaxUID``. The keywords in
    :data:`lucency.read.attributes.PRESENT` only say whether the attribute is there.

    Args:
        dataset: From ``pydicom.dcmread``, ``stop_before_pixels`` or not; call within :func:`silent`.

    Returns:
        JSON-able; lengths in mm, times of day in seconds, everything else in DICOM's units.
    """
    head: Head = {}
    meta = getattr(dataset, "file_meta", {})
    head["TransferSyntaxUID"] = str(meta.get("TransferSyntaxUID", ""))
    # A DICOMDIR and some private objects name their class in the file header only (PS3.10, 7.1).
    head["SOPClassUID"] = str(_value(dataset, "SOPClassUID") or meta.get("MediaStorageSOPClassUID", "") or "")
    head["PatientID"] = patient_id(dataset)
    _take(head, dataset, UIDS, _word)
    _take(head, dataset, WORDS, _word)
    _take(head, dataset, NUMBERS, _number)
    for keyword in NUMBERS:
        if keyword not in LISTS and isinstance(head.get(keyword), list):
            del head[keyword]
    _take(head, dataset, TIMES, _seconds)
    head |= {k: True for k in PRESENT if k in dataset}
    overlays = sum(tag in dataset for tag in OVERLAYS)
    if overlays:
        head["Overlays"] = overlays
    if "DiffusionBValue" not in head:
        _private_b_value(head, dataset)
    head |= csa.mosaic_of(dataset)
    if head.get("Modality") == "PT":
        head["SUV"] = suv.suv_of(dataset)
    _frames(head, dataset)
    _regions(head, dataset)
    _labels(head, dataset)
    return head


def patient_id(dataset: Any) -> str:
    """Return the Patient ID, the same word whatever character set it was written in.

    Bytes that its character set does not hold are kept one by one: two patients must never become one because both
    names turned into question marks.

    Source:
        DICOM PS3.5, 6.1 Support of Character Repertoires.
    """
    try:
        raw = dataset.get_item("PatientID")
    except Exception:
        return ""
    content = getattr(raw, "value", None)
    if isinstance(content, bytes):
        # The text is decoded from a copy of the element; the raw bytes stay at hand.
        word = str(_word(_value(dataset, "PatientID")))
        return content.decode("latin-1").strip(" \0") if "\ufffd" in word else word
    return str(_word(content))


def _take(head: Head, dataset: Any, keywords: tuple[str, ...], plain: Callable[[Any], Any]) -> None:
    for keyword in keywords:
        if keyword in dataset:
            value = plain(_value(dataset, keyword))
            if value not in (None, "", []):
                head[keyword] = value


def _value(dataset: Any, keyword: str | int) -> Any:
    """Return a value as pydicom reads it, None where it cannot."""
    try:
        if isinstance(keyword, str):
            return dataset.get(keyword)
        return dataset[keyword].value if keyword in dataset else None
    except Exception:
        return None


def _word(value: Any) -> Any:
    """Return text without padding, or a list of it."""
    if value is None:
        return ""
    if isinstance(value, str | int | float):
        return str(value).strip(" \0")
    try:
        return [str(v).strip(" \0") for v in value]
    except TypeError:
        return ""


def _number(value: Any) -> Any:
    """Return an int, a float or a list of one kind; None for what is no finite number."""
    if value is None or value == "":
        return None
    try:
        if isinstance(value, int):
            return _sized(int(value))
        if isinstance(value, float | str):
            return _finite(float(value))
        numbers = [_sized(int(v)) if isinstance(v, int) else _finite(float(v)) for v in value]
    except (TypeError, ValueError, OverflowError):
        return None
    return None if None in numbers else numbers


def _sized(value: int) -> int | None:
    """Return a whole number of at most 64 bits, the most that DICOM has (PS3.5, 6.2)."""
    return value if -(2**63) <= value < 2**64 else None


def _finite(value: float) -> float | None:
    return value if abs(value) < float("inf") else None


def _seconds(value: Any) -> float | None:
    """Return a DICOM time (HHMMSS.f) or the time of a date and time, in seconds since midnight."""
    return suv.seconds_of_day(str(value))


def _private_b_value(head: Head, dataset: Any) -> None:
    for name, creator, tag in B_VALUES:
        if tag in dataset and _word(_value(dataset, creator)) == name:
            value = _number(_value(dataset, tag))
            first = value[0] if isinstance(value, list) and value else value
            if isinstance(first, int | float):
                # GE adds 1e9 to b-values above 100 in some versions.
                head["DiffusionBValue"] = float(first) % 1e9


def _frames(head: Head, dataset: Any) -> None:
    """Add what functional groups say: to the top what all frames share, the rest frame by frame."""
    shared = _value(dataset, "SharedFunctionalGroupsSequence")
    each = _value(dataset, "PerFrameFunctionalGroupsSequence")
    if shared:
        head |= _macros(shared[0])
    if each:
        found = [_macros(group) for group in each]
        varying: dict[str, list[Any]] = {}
        for keyword in sorted({k for f in found for k in f}):
            values = [f.get(keyword) for f in found]
            if all(v == values[0] for v in values):
                head[keyword] = values[0]
            else:
                varying[keyword] = values
        head["PerFrame"] = varying
    index = _value(dataset, "DimensionIndexSequence")
    if index:
        from pydicom.datadict import keyword_for_tag  # noqa: PLC0415 - slow to import

        pointers = [_value(item, "DimensionIndexPointer") for item in index]
        head["DimensionIndexPointers"] = [keyword_for_tag(p) if p else "" for p in pointers]


def _macros(group: Any) -> Head:
    """Return the values of one functional group, by keyword."""
    found: Head = {}
    for macro, keywords in MACROS.items():
        items = _value(group, macro)
        if not items:
            continue
        for keyword in keywords:
            value = _value(items[0], keyword)
            if value is None:
                continue
            word = keyword in ("StackID", "VOILUTFunction", "DiffusionDirectionality", "FrameType", "RescaleType")
            plain = _word(value) if word else _number(value)
            if plain not in (None, "", []):
                found[keyword] = plain
        if macro == "MRDiffusionSequence":
            direction = _value(items[0], "DiffusionGradientDirectionSequence")
            if direction:
                _take(found, direction[0], ("DiffusionGradientOrientation",), _number)
    return found


def _regions(head: Head, dataset: Any) -> None:
    """Add the calibrated regions of an ultrasound image (PS3.3, C.8.5.5)."""
    keywords = (
        "RegionSpatialFormat",
        "RegionDataType",
        "RegionLocationMinX0",
        "RegionLocationMinY0",
        "RegionLocationMaxX1",
        "RegionLocationMaxY1",
        "PhysicalUnitsXDirection",
        "PhysicalUnitsYDirection",
        "PhysicalDeltaX",
        "PhysicalDeltaY",
    )
    regions = []
    for item in _value(dataset, "SequenceOfUltrasoundRegions") or ():
        region: Head = {}
        _take(region, item, keywords, _number)
        regions.append(region)
    if regions:
        head["SequenceOfUltrasoundRegions"] = regions


def _labels(head: Head, dataset: Any) -> None:
    """Add what an object drawn on images says of them: segments, regions of interest, what it refers to."""
    segments = []
    for item in _value(dataset, "SegmentSequence") or ():
        segment: Head = {}
        _take(segment, item, ("SegmentLabel", "SegmentAlgorithmType", "TrackingID"), _word)
        _take(segment, item, ("SegmentNumber",), _number)
        for name in ("SegmentedPropertyCategoryCodeSequence", "SegmentedPropertyTypeCodeSequence"):
            codes = _value(item, name)
            if codes:
                segment[name] = {}
                _take(segment[name], codes[0], ("CodeValue", "CodingSchemeDesignator", "CodeMeaning"), _word)
        segments.append(segment)
    if segments:
        head["SegmentSequence"] = segments
    regions = []
    for item in _value(dataset, "StructureSetROISequence") or ():
        region: Head = {}
        _take(region, item, ("ROIName",), _word)
        _take(region, item, ("ROINumber",), _number)
        regions.append(region)
    if regions:
        head["StructureSetROISequence"] = regions
    series: dict[str, None] = {}
    instances: dict[str, None] = {}
    for name in SEQUENCES[-3:]:
        for item in _value(dataset, name) or ():
            _referred(item, series, instances)
    if series or instances:
        head["ReferencedSeriesUIDs"], head["ReferencedInstanceUIDs"] = list(series), list(instances)
        # Which of two label objects is newer is asked of nothing else.
        _take(head, dataset, ("ContentDate",), _word)


def _referred(item: Any, series: dict[str, None], instances: dict[str, None], depth: int = 0) -> None:
    """Collect the series and instances that a reference names, however deep."""
    for keyword, found in (("SeriesInstanceUID", series), ("ReferencedSOPInstanceUID", instances)):
        value = _value(item, keyword)
        if value:
            found[str(value)] = None
    if depth < 6:
        for element in item:
            if element.VR == "SQ":
                for inner in element.value or ():
                    _referred(inner, series, instances, depth + 1)
