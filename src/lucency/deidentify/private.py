"""Private attributes that the standard lists as safe, by their creator.

Source:
    DICOM PS3.15, E.3.10 Retain Safe Private Option, Table E.3.10-1; PS3.5, 7.8 (blocks of private creators).
"""

import re
from functools import cache
from importlib import resources

#: Numbers and short codes. A listed attribute that holds a sequence, bytes or longer text goes all the same: the
#: standard vouches for what the maker meant to store there, not for what a site typed in.
HARMLESS_VRS = frozenset({"DS", "IS", "FD", "FL", "US", "UL", "SS", "SL", "CS", "SV", "UV"})
SHORT_CODE = re.compile(rb"[A-Za-z0-9_+\-./\\ ]{0,16}[ \0]?")


@cache
def _listed() -> frozenset[tuple[str, int, int]]:
    text = resources.files("lucency.deidentify").joinpath("data/safe_private.tsv").read_text("utf-8")
    found = set()
    for line in text.splitlines():
        if not line.startswith("#"):
            creator, group, elements = line.split("\t")
            found |= {(creator, int(group, 16), int(e, 16)) for e in elements.split()}
    return frozenset(found)


def is_safe(creator: str, tag: int, vr: str, value: bytes) -> bool:
    """Tell whether a private element may stay.

    Args:
        creator: Private creator of its block.
        tag: Its tag.
        vr: Its value representation, ``UN`` if unknown.
        value: Its bytes.
    """
    if (creator.strip(" \0"), tag >> 16, tag & 0xFF) not in _listed():
        return False
    return vr in HARMLESS_VRS or (vr in {"SH", "LO", "UN"} and SHORT_CODE.fullmatch(value) is not None)
