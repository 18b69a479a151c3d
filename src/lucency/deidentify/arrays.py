"""npy and npz: arrays of numbers stay; text, objects and what is named like an identifier go."""

import io
import re
import zipfile

import numpy as np

from lucency.deidentify.cleaning import UNSEARCHED, Cleaned, cannot
from lucency.deidentify.keys import Identities, Keys
from lucency.deidentify.vocabulary import described
from lucency.errors import DataError

#: Array names that say the numbers in it may be identifiers, dates or free text.
IDENTIFYING = re.compile(
    r"(^|_)(id|ids|pid|mrn|patient|patients|subject|subjects|name|names|dob|birth|date|dates|time|times|accession|"
    r"phone|zip|address|path|paths|file|files|filename|filenames|uid|uids)($|_)"
)
#: Array names of data sets; they may be written as they are.
COMMON = re.compile(
    r"(x|y|data|image|images|img|imgs|label|labels|mask|masks|scan|scans|volume|frames|spacing|affine|origin|direction|"
    r"pixels|voxels|target|targets|fold|folds|split|arr_\d+|(train|val|test)(_(images|labels|masks|x|y))?|age|ages|sex)"
)


def npy(content: bytes) -> Cleaned:
    """Return an npy file with a header written anew and nothing after its numbers.

    Args:
        content: A whole .npy file.

    Raises:
        DataError: Not numbers.
    """
    return Cleaned(_stored(_numbers(content)), ("header", "bytes after the numbers"), (UNSEARCHED,))


def npz(content: bytes, *, keys: Keys, identities: Identities) -> Cleaned:
    """Return an npz file of its arrays of numbers; names that are not known are replaced.

    Args:
        content: A whole .npz file.
        keys: For names of arrays.
        identities: Known strings, searched for in names of arrays.

    Raises:
        DataError: Not such a file, or nothing in it may stay.
    """
    out = io.BytesIO()
    removed, n_kept = ["times and comments of the archive"], 0
    with zipfile.ZipFile(io.BytesIO(content)) as source, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as target:
        for entry in source.infolist():
            name = entry.filename.removesuffix(".npy")
            if IDENTIFYING.search(name.lower()) or not entry.filename.endswith(".npy"):
                removed.append("arrays named like identifiers, and other files")
                continue
            if entry.file_size > 64 * max(len(content), 1 << 24):
                raise cannot("An archive that grows without end when unpacked", "check where it comes from")
            try:
                array = _numbers(source.read(entry))
            except DataError:
                removed.append("arrays of text")
                continue
            plain = name.replace("_", " ")
            known = COMMON.fullmatch(name.lower()) or described(plain).split() == plain.split()
            if not known or identities.found_in(plain):
                name = "a" + keys.token("array\0" + name, 8)
                removed.append("names of arrays")
            info = zipfile.ZipInfo(name + ".npy", (1980, 1, 1, 0, 0, 0))
            info.compress_type = entry.compress_type
            target.writestr(info, _stored(array))
            n_kept += 1
    if not n_kept:
        raise cannot("An archive without any array that may stay", "name the arrays for what they are")
    return Cleaned(out.getvalue(), tuple(dict.fromkeys(removed)), (UNSEARCHED,))


def _numbers(content: bytes) -> np.ndarray:
    try:
        array = np.load(io.BytesIO(content), allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise cannot("An array of objects, or damaged", "save numbers only") from error
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "biufc":
        raise cannot("An array that holds text, times or records", "save numbers only")
    return array


def _stored(array: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.lib.format.write_array(out, array, allow_pickle=False)
    return out.getvalue()
