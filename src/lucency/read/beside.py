"""Files of other kinds that lie beside the images: listed by name with the reason, and counted in one sentence."""

from collections import Counter
from collections.abc import Sequence
from pathlib import PurePosixPath

from lucency.case import Skipped, Source
from lucency.read import archive, files
from lucency.read.layout import Item, Tree, is_table

#: Kinds that no layout reads as labels, facts or images, by suffix; the name that users know.
DOCUMENTS = {
    ".pdf": "PDF",
    ".doc": "Word",
    ".docx": "Word",
    ".ppt": "PowerPoint",
    ".pptx": "PowerPoint",
    ".mp4": "MP4",
    ".avi": "AVI",
    ".mov": "MOV",
    ".wmv": "WMV",
    ".mkv": "MKV",
    ".rar": "RAR",
    ".7z": "7Z",
    ".tar": "TAR",
    ".tgz": "TGZ",
    ".dwg": "DWG",
    ".svs": "SVS",
    ".ndpi": "NDPI",
    ".mrxs": "MRXS",
    ".mat": "MAT",
    ".h5": "HDF5",
    ".hdf5": "HDF5",
}
#: Tables in a form that is not read.
SHEETS = {".xlsx": "Excel", ".xls": "Excel", ".xlsm": "Excel", ".ods": "ODS"}
#: Suffixes that mean the same.
SAME = {"jpg": "JPEG", "tif": "TIFF", "htm": "HTML", "nii.gz": "NIfTI", "nii": "NIfTI"}

NO_SUFFIX = "no suffix"


def beside(tree: Tree, items: Sequence[Item], layout: str) -> tuple[list[Skipped], list[str]]:
    """Return the files that were not used because of their kind, with the reason for each, and the sentences.

    In a tree of DICOM that is every other file but tables. In other layouts texts may be labels; there it is documents,
    and images of a format that none of the cases has.

    Args:
        tree: Of which the cases were made.
        items: The cases.
        layout: Its name.
    """
    sources = [s for i in items for s in (*(u.source for u in i.units.values()), i.target) if isinstance(s, Source)]
    used, readers = {p for s in sources for p in s.paths}, {s.reader for s in sources}
    dicom = layout == "dicom"
    known = {*used, *(s.path for s in tree.skipped)}
    if dicom or readers & {"dicom"}:
        known |= {*tree.heads.found, *tree.heads.broken}
    found: dict[str, str] = {}
    for path in tree.paths:
        if path in known or path.lower().endswith(archive.SUFFIX):
            continue
        kind = kind_of(path)
        image = files.SUFFIXES.get(files.suffix_of(path), "")
        foreign = image not in readers if image else PurePosixPath(path).suffix.lower() in {**DOCUMENTS, **SHEETS}
        if foreign or (dicom and not is_table(path)):
            found[path] = kind
    left = [Skipped(p, _why(k, "DICOM" if dicom else "")) for p, k in found.items()]
    return left, _said(found, "DICOM images" if dicom else "images")


def kind_of(path: str) -> str:
    """Return what users call a file of this name.

    Example:
        >>> kind_of("a/report.pdf"), kind_of("b.jpg"), kind_of("LICENSE")
        ('PDF', 'JPEG', 'no suffix')
    """
    suffix = (files.suffix_of(path) or PurePosixPath(path).suffix).lower()
    named = {**DOCUMENTS, **SHEETS}.get(suffix)
    bare = suffix.removeprefix(".")
    return named or SAME.get(bare) or bare.upper() or NO_SUFFIX


def _why(kind: str, images: str) -> str:
    if kind in SHEETS.values():
        return f"A table in the form of {kind} is not read. What to do: save it as CSV."
    beside_what = f"{images} images" if images else "the images"
    return (
        f"A file of another kind ({kind}) beside {beside_what}. What to do: nothing, or read it in a folder of its own."
    )


def _said(found: dict[str, str], images: str) -> list[str]:
    sheets = sorted(p for p, k in found.items() if k in SHEETS.values())
    counts = Counter(k for k in found.values() if k not in SHEETS.values())
    said = []
    if counts:
        names = ", ".join(f"{k} ({n})" for k, n in sorted(counts.items(), key=lambda c: (-c[1], c[0])))
        said.append(
            f"{counts.total()} files of other kinds beside the {images} are not used; skipped.csv lists them: {names}."
        )
    if sheets:
        said.append(
            f"{len(sheets)} tables in the form of Excel or ODS are not read (first: {sheets[0]}); save them as CSV."
        )
    return said
