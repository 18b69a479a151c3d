"""Siemens' private header (CSA): how many images a mosaic holds and which way they are stacked."""

import struct
from typing import Any

#: CSA image header in the first three private blocks it may stand in, and the maker's own count of images.
CSA_TAGS = (0x00291010, 0x00291110, 0x00291210)
COUNT_CREATOR, COUNT = 0x00190010, 0x0019100A
TAGS = (*CSA_TAGS, COUNT_CREATOR, COUNT)

#: A header of this program's making has fewer tags than this; more is no CSA header.
MOST_TAGS = 1000


def mosaic_of(dataset: Any) -> dict[str, Any]:
    """Return ``MosaicImages`` and ``SliceNormalVector`` of a mosaic; nothing of another image.

    Args:
        dataset: Header of one file, from pydicom.
    """
    words: dict[str, list[str]] = {}
    try:
        kinds = [str(v).upper() for v in dataset.get("ImageType") or ()]
        if "MOSAIC" not in kinds:
            return {}
        for tag in CSA_TAGS:
            content = dataset[tag].value if tag in dataset else b""
            if isinstance(content, bytes) and content[:4] == b"SV10":
                words = parsed(content)
                break
        count = words.get("NumberOfImagesInMosaic") or [str(dataset[COUNT].value)]
        found: dict[str, Any] = {"MosaicImages": int(count[0])}
        normal = [float(v) for v in words.get("SliceNormalVector", ())]
    except (KeyError, ValueError, TypeError, IndexError, struct.error, AttributeError):
        # A mosaic that does not say how many images it holds is refused where it is unfolded.
        return {"MosaicImages": 0}
    if len(normal) == 3:
        found["SliceNormalVector"] = normal
    return found


def parsed(content: bytes) -> dict[str, list[str]]:
    """Return the words of a CSA header of the second kind, by name.

    Args:
        content: Bytes of the private element; they begin with ``SV10``.

    Raises:
        struct.error: The header ends too early.
        ValueError: It is no such header.

    Source:
        Siemens CSA header as described by nibabel (doc/source/dicom/siemens_csa.rst): little-endian; after 8 bytes a
        count of tags; each tag has 64 bytes of name, then VM, VR, SyngoDT, number of items, 77; each item four
        integers, the first being its length, and its text padded to 4 bytes.
    """
    n_tags = struct.unpack_from("<I", content, 8)[0]
    if not 0 < n_tags < MOST_TAGS:
        raise ValueError("no CSA header")
    at = 16
    found: dict[str, list[str]] = {}
    for _ in range(n_tags):
        name = content[at : at + 64].split(b"\0")[0].decode("latin-1")
        n_items = struct.unpack_from("<i4sii", content, at + 64)[3]
        at += 84
        words: list[str] = []
        for _ in range(n_items):
            length = struct.unpack_from("<i", content, at)[0]
            if length < 0:
                raise ValueError("no CSA header")
            at += 16
            word = content[at : at + length].split(b"\0")[0].decode("latin-1").strip()
            at += length + -length % 4
            if word:
                words.append(word)
        found[name] = words
    return found
