"""Masks as runs: Label Studio's brush, and COCO's run lengths in both of their spellings."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lucency.errors import ReadError

#: Of a brush's four channels the last says how much of a pixel is covered; from half of it on the pixel belongs to it.
COVERED = 128

#: Bits before the first run of a brush: how many numbers, bits of a number, four sizes of runs.
HEAD_BITS = 32 + 5 + 4 * 4


def brushed(runs: Sequence[Any], size: tuple[int, int], where: str) -> np.ndarray:
    """Return the pixels of a brush region of Label Studio.

    Args:
        runs: ``value.rle``: bytes, as numbers from 0 to 255.
        size: (J, I) of the image.
        where: What an error names.

    Returns:
        (J, I) bool.

    Raises:
        ReadError: Not bytes, cut off, or of an image of another size.

    Source:
        thi.ng/umbrella, packages/rle-pack, which Label Studio uses: a bit that tells a run from a list, two bits that
        choose one of four widths for its length less one, then one number for the run or each for the list.
    """
    try:
        content = np.asarray(runs, dtype=np.int64)
    except (TypeError, ValueError, OverflowError):
        content = np.array([-1])
    if content.ndim != 1 or content.size * 8 < HEAD_BITS or content.min() < 0 or content.max() > 255:
        raise _damaged(where, "no bytes of a brush")
    bits = np.unpackbits(content.astype(np.uint8))
    head = [_number(bits[n : n + width]) for n, width in ((0, 32), (32, 5), *((37 + 4 * n, 4) for n in range(4)))]
    total, word, widths = head[0], head[1] + 1, [h + 1 for h in head[2:]]
    if total != 4 * size[0] * size[1] or word != 8:
        raise ReadError(
            f"A brush of {total // 4} pixels with {word} bits",
            expected=f"{size[0] * size[1]} pixels ({size[1]} × {size[0]}) with 8",
            where=where,
            remedy="export it from the project that holds this very image, not a scaled copy of it",
        )
    return np.asarray(_unrun(bits, widths, total, where).reshape(*size, 4)[..., 3] >= COVERED)


def _unrun(bits: np.ndarray, widths: Sequence[int], total: int, where: str) -> np.ndarray:
    """Return (total,) uint8 of what the bits behind the head hold."""
    found = np.zeros(total, dtype=np.uint8)
    at, filled = HEAD_BITS, 0
    while filled < total:
        if at + 3 > bits.size:
            raise _damaged(where, "cut off")
        width = widths[2 * bits[at + 1] + bits[at + 2]]
        length = 1 + _number(bits[at + 3 : at + 3 + width])
        run, words = bool(bits[at]), bits[at + 3 + width :][: 8 * (1 if bits[at] else length)]
        if words.size < 8 or words.size % 8 or filled + length > total or (not run and words.size < 8 * length):
            raise _damaged(where, "cut off")
        found[filled : filled + length] = np.packbits(words)
        at, filled = at + 3 + width + words.size, filled + length
    return found


def _number(bits: np.ndarray) -> int:
    return int("".join("1" if b else "0" for b in bits) or "0", 2)


def counted(segmentation: Mapping[str, Any], size: tuple[int, int], where: str) -> np.ndarray:
    """Return the pixels of COCO's run lengths.

    Args:
        segmentation: ``{"size": [J, I], "counts": …}``; counts are numbers, or the text that COCO packs them into.
        size: (J, I) of the image.
        where: What an error names.

    Returns:
        (J, I) bool.

    Raises:
        ReadError: Runs that do not fill the image, or are no runs.

    Source:
        Lin 2014, doi:10.1007/978-3-319-10602-1_48; cocoapi, common/maskApi: runs go down the columns and begin with
        the background; in text six bits a letter, from the third on as the difference from two before.
    """
    said, counts = segmentation.get("size"), segmentation.get("counts")
    if said is not None and said != list(size):
        raise ReadError(
            f"Runs of an image of {said}",
            expected=f"{list(size)} (height, width)",
            where=where,
            remedy="export them with the image they were drawn on",
        )
    runs = _unpacked(counts, where) if isinstance(counts, str) else counts
    if not isinstance(runs, list) or not all(isinstance(r, int) and r >= 0 for r in runs):
        raise _damaged(where, "no run lengths")
    if sum(runs) != size[0] * size[1]:
        raise _damaged(where, f"runs of {sum(runs)} pixels on an image of {size[0] * size[1]}")
    values = np.arange(len(runs)) % 2 == 1
    return np.asarray(np.repeat(values, runs).reshape(size[1], size[0]).T)


def _unpacked(text: str, where: str) -> list[int]:
    """Return the numbers that COCO packs into letters: 48 to 111, five bits of number and one for "more"."""
    if not re.fullmatch(r"[0-o]*", text):
        raise _damaged(where, "no run lengths")
    runs: list[int] = []
    value = shift = 0
    for letter in text:
        bits = ord(letter) - 48
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = shift = 0
    if shift:
        raise _damaged(where, "cut off")
    return runs


def _damaged(where: str, why: str) -> ReadError:
    return ReadError(
        f"A region that cannot be read: {why}",
        expected="the mask as its tool exports it",
        where=where,
        remedy="export it again, or draw the region anew",
    )
