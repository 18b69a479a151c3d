"""Makers of machines in the attribute Manufacturer, which a patient may be called like: Siemens, Philips, Canon."""

import re

from lucency.deidentify.spellings import folded

#: (0008,0070), of the object itself; elsewhere nothing tells a maker from a person.
MANUFACTURER = 0x00080070
#: As scanners, detectors and workstations write themselves; folded, with single blanks, without signs.
_MAKERS = """
agfa|agfa healthcare|alliance|barco|bruker|bruker biospin|canon|canon medical systems|carestream|carestream health
elekta|esaote|fischer|fonar|fuji photo film|fujifilm|fujifilm corporation|ge|ge healthcare|ge medical systems
general electric|hitachi|hitachi medical|hitachi medical corporation|hologic|icad|imatron|kodak|konica minolta|lodox
lorad|marconi medical systems|mindray|neusoft|neusoft medical systems|nucletron|oldelft|olympus|philips
philips healthcare|philips medical systems|picker international|pms|raysearch|samsung|samsung electronics
samsung medison|shimadzu|siemens|siemens ag|siemens healthcare|siemens healthineers|siemens medical solutions|sonosite
swissray|toshiba|toshiba mec|toshiba medical systems|uih|united imaging|united imaging healthcare|varian
varian medical systems|vidar|zeiss|carl zeiss meditec|ziehm imaging
"""
MAKERS = frozenset(re.split(r"[|\n]", _MAKERS.strip()))
SIGNS = re.compile(r"[^a-z0-9]+")


def is_maker(text: str) -> bool:
    """Tell whether a text is, as a whole, the name of a common maker.

    Example:
        >>> is_maker("SIEMENS"), is_maker("GE MEDICAL SYSTEMS"), is_maker("Siemens Anna")
        (True, True, False)
    """
    return SIGNS.sub(" ", folded(text)).strip() in MAKERS
