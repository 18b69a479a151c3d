"""One mask from several files, one structure each."""

import hashlib
from dataclasses import replace

import numpy as np

from lucency.case import Source
from lucency.errors import ReadError
from lucency.image import Image
from lucency.read.files import SUFFIXES, suffix_of
from lucency.read.formats import Header, digest_of_files, format_of, load


def header(source: Source) -> Header:
    """Return the header of the first file."""
    first = single(source, 0)
    return {**format_of(first).header(first), "dtype": "uint8", "channels": 1}


def pixels(source: Source) -> Image:
    """Return the structures in one mask; where two meet, the first keeps the voxel."""
    values = source.header["values"]
    assert isinstance(values, tuple)
    together: Image | None = None
    merged = np.zeros(0, dtype=np.uint8)
    for number, value in enumerate(values):
        mask = load(single(source, number))
        if together is None:
            together, merged = mask, np.zeros(mask.array.shape, dtype=np.uint8)
        elif not together.same_grid(mask):
            raise ReadError(
                f"Structures on two grids, {together.size} and {mask.size}", expected="one grid", where=source.where
            )
        merged[(mask.array != 0) & (merged == 0)] = int(value)
    assert together is not None
    return together.with_array(merged)


def digest(source: Source) -> str:
    """Return the SHA-256 over the files and the values they stand for."""
    return hashlib.sha256(f"{digest_of_files(source)}{source.header['values']}".encode()).hexdigest()


def single(source: Source, number: int) -> Source:
    """Return one structure's own file as a Source."""
    path = source.paths[number]
    facts = {k: v for k, v in source.header.items() if k != "values"}
    return replace(source, paths=(path,), reader=SUFFIXES[suffix_of(path)], header=facts)
