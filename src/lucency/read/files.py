"""Which files count, what format they are in by name, and what a case is called."""

import hashlib
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

from lucency.read import archive

#: Suffix to the format that reads it, longest first; a case's name loses one of these.
SUFFIXES: dict[str, str] = {
    ".nii.gz": "nifti",
    ".nii": "nifti",
    ".nrrd": "itk",
    ".nhdr": "itk",
    ".mha": "itk",
    ".mhd": "itk",
    ".png": "raster",
    ".jpeg": "raster",
    ".jpg": "raster",
    ".bmp": "raster",
    ".gif": "raster",
    ".tiff": "raster",
    ".tif": "raster",
    ".npy": "npy",
    ".npz": "npz",
    ".dicom": "dicom",
    ".dcm": "dicom",
    ".ima": "dicom",
}

TABLE_SUFFIXES = (".csv", ".tsv", ".csv.gz", ".tsv.gz")

#: Files that lie beside images and are not opened to see whether they are DICOM.
NEVER_DICOM = (".json", ".txt", ".md", ".xml", ".yaml", ".yml", ".toml", ".py", ".html", ".pdf", ".xlsx", ".gz")

#: Files that operating systems and archivers leave behind.
CLUTTER = {"__macosx", "thumbs.db", "desktop.ini"}

#: A folder with both is a run of this program, not data.
RUN_FILES = {"plan.json", "events.jsonl"}

#: Folder or table words for the parts that a data set may supply.
PART_WORDS = {
    "train": "train",
    "training": "train",
    "tr": "train",
    "训练": "train",
    "训练集": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "验证": "val",
    "验证集": "val",
    "test": "test",
    "testing": "test",
    "ts": "test",
    "测试": "test",
    "测试集": "test",
}


def suffix_of(name: str) -> str:
    """Return the image suffix of a file name, lower case, or ``""``."""
    low = name.lower()
    return next((s for s in SUFFIXES if low.endswith(s) and len(low) > len(s)), "")


def stem_of(name: str) -> str:
    """Return the file name without one image suffix: ``x.dcm.png`` gives ``x.dcm``.

    Example:
        >>> stem_of("a.nii.gz"), stem_of("x.dcm.png"), stem_of("IM0001")
        ('a', 'x.dcm', 'IM0001')
    """
    suffix = suffix_of(name)
    return name[: -len(suffix)] if suffix else name


def part_of(word: str) -> str:
    """Return ``"train"``, ``"val"``, ``"test"`` for a folder or table word, else ``""``."""
    return PART_WORDS.get(word.strip().lower(), "")


def listing(root: Path) -> tuple[str, ...]:
    """Return every visible file below ``root``, sorted, as posix paths relative to it.

    Hidden files, what archivers leave behind and run folders of this program are left out.
    """
    found: list[str] = []
    seen: set[str] = set()
    for folder, names, files in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen or set(files) >= RUN_FILES:
            names.clear()
            continue
        seen.add(real)
        names[:] = sorted(n for n in names if _visible(n))
        place = Path(folder).relative_to(root)
        found.extend((place / f).as_posix() for f in files if _visible(f))
    return tuple(sorted(found))


def visible(path: str) -> bool:
    """Tell whether no part of a relative posix path is hidden or left behind by an archiver."""
    return all(_visible(part) for part in path.split("/"))


def _visible(name: str) -> bool:
    return not name.startswith(".") and name.lower() not in CLUTTER


def case_ids(paths: Sequence[str]) -> list[str]:
    """Return one id for each relative path: the stem; where stems collide, the folders joined with ``__``.

    Example:
        >>> case_ids(["a/1.png", "b/1.png", "b/2.nii.gz"])
        ['a__1', 'b__1', '2']
    """
    stems = [stem_of(PurePosixPath(p).name) for p in paths]
    joined = [
        "__".join([*PurePosixPath(p).parts[:-1], s]) if n > 1 else s
        for p, s, n in zip(paths, stems, _counts(stems), strict=True)
    ]
    # Two formats of one name in one folder: only the suffix tells them apart.
    return [
        "__".join(PurePosixPath(p).parts) if n > 1 else j
        for p, j, n in zip(paths, joined, _counts(joined), strict=True)
    ]


def _counts(names: Iterable[str]) -> list[int]:
    names = list(names)
    count: dict[str, int] = {}
    for name in names:
        count[name] = count.get(name, 0) + 1
    return [count[n] for n in names]


def tokens(stem: str) -> list[str]:
    """Return the words of a name, split at ``_ - .``, spaces and brackets."""
    return [t for t in re.split(r"[_\-.\s()\[\]]+", stem) if t]


def digest_of(paths: Sequence[Path]) -> str:
    """Return the SHA-256 of one file's bytes; of several files, the SHA-256 over theirs (see :func:`joint_digest`).

    Raises:
        OSError: A file cannot be read.
        ReadError: An entry of an archive cannot.
    """
    found = []
    for path in paths:
        state = hashlib.sha256()
        with archive.opened(path) as file:
            while block := file.read(1 << 20):
                state.update(block)
        found.append(state.hexdigest())
    return joint_digest(found)


def joint_digest(digests: Sequence[str]) -> str:
    """Return one digest for several files in order, made of their own, so that unchanged files are not read again."""
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()
