"""DICOM objects drawn on generated images, written by highdicom."""

import warnings

import numpy as np
import pydicom
from pydicom.uid import generate_uid

STUDY = {
    "PatientName": "SECRET^NAME",
    "PatientBirthDate": "",
    "StudyID": "1",
    "AccessionNumber": "",
    "StudyDate": "20200101",
    "StudyTime": "120000",
    "SeriesNumber": 1,
    "InstanceNumber": 1,
    "ReferringPhysicianName": "",
    "PositionReferenceIndicator": "",
    "SliceThickness": 2.0,
}


def study(folder, place, n=6, turn=None, **changes):
    """Write one CT series that objects can be drawn on; return its datasets by depth."""
    depths = tuple(2.0 * k for k in range(n))
    changes = STUDY | {"StudyInstanceUID": generate_uid(), "FrameOfReferenceUID": generate_uid()} | changes
    folder.slices(place, depths=depths, **changes)
    data = [pydicom.dcmread(f) for f in (folder.root / place).glob("*.dcm")]
    return sorted(data, key=lambda d: float(d.InstanceNumber) if n == 0 else tuple(d.ImagePositionPatient)[::-1])


def segment(number, label, kind="AUTOMATIC"):
    from highdicom.content import AlgorithmIdentificationSequence
    from highdicom.seg import SegmentDescription
    from pydicom.sr.codedict import codes

    return SegmentDescription(
        number,
        label,
        codes.SCT.Tissue,
        codes.SCT.Organ,
        kind,
        AlgorithmIdentificationSequence("test", codes.DCM.ArtificialIntelligence, "1"),
    )


def segmentation(path, images, mask, labels, **options):
    """Write a SEG: ``mask`` is (n, rows, columns) or (n, rows, columns, segments), in the order of ``images``."""
    import highdicom

    arguments = {
        "segmentation_type": "BINARY",
        "series_instance_uid": generate_uid(),
        "series_number": 9,
        "sop_instance_uid": generate_uid(),
        "instance_number": 1,
        "manufacturer": "m",
        "manufacturer_model_name": "m",
        "software_versions": "1",
        "device_serial_number": "1",
    } | options
    changes = arguments.pop("changes", {})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = highdicom.seg.Segmentation(
            images, mask, segment_descriptions=[segment(n, x) for n, x in enumerate(labels, 1)], **arguments
        )
        for name, value in changes.items():
            setattr(made, name, value)
        path.parent.mkdir(parents=True, exist_ok=True)
        made.save_as(path)
    return made


def boxes(shape, *places):
    """Return a mask with label n in the n-th box, given as (start, stop) in (k, j, i)."""
    mask = np.zeros(shape, np.uint8)
    for n, (start, stop) in enumerate(places, start=1):
        mask[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))] = n
    return mask
