"""Masks as runs: Label Studio's brush, and COCO's run lengths; :mod:`lucency.read.runlengths` reads both."""

import numpy as np

#: Widths in bits of a run's length that Label Studio's own export uses.
WIDTHS = (3, 4, 8, 16)


def brush(region: np.ndarray) -> list[int]:
    """Return a region as Label Studio's brush.

    Args:
        region: (J, I) bool.

    Returns:
        Bytes, as numbers from 0 to 255.

    Source:
        As in :func:`lucency.read.runlengths.brushed`.
    """
    values, lengths = _runs(region.ravel())
    # A pixel has four channels, all of them full or empty, so a run of pixels is one of four times as many numbers.
    values, lengths = _cut(values, 4 * lengths, 1 << WIDTHS[-1])
    choice = np.searchsorted([1 << w for w in WIDTHS], lengths)
    width = np.array(WIDTHS)[choice]
    # A set bit for "run", two bits for the width, the length less one, the number.
    codes = ((((1 << 2) | choice) << width) | (lengths - 1)) << 8 | np.where(values, 255, 0)
    head = f"{4 * region.size:032b}{8 - 1:05b}" + "".join(f"{w - 1:04b}" for w in WIDTHS)
    bits = np.concatenate([np.frombuffer(head.encode(), np.uint8) - ord("0"), _bits(codes, width + 11)])
    packed: list[int] = np.packbits(bits).tolist()
    return packed


def _bits(codes: np.ndarray, widths: np.ndarray) -> np.ndarray:
    """Return the last ``widths`` bits of each number, one after the other."""
    most = int(widths.max())
    place = widths[:, None] - 1 - np.arange(most)
    bits = (codes[:, None] >> np.maximum(place, 0)) & 1
    return np.asarray(bits[place >= 0], dtype=np.uint8)


def _cut(values: np.ndarray, lengths: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the runs with the long ones cut into pieces."""
    pieces = -(-lengths // most)
    cut = np.full(int(pieces.sum()), most)
    cut[np.cumsum(pieces) - 1] = lengths - (pieces - 1) * most
    return np.repeat(values, pieces), cut


def _runs(flat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the value and the length of every run."""
    starts = np.concatenate([[0], np.flatnonzero(flat[1:] != flat[:-1]) + 1])
    return flat[starts], np.diff(np.append(starts, flat.size))


def counts(region: np.ndarray) -> str:
    """Return a region as the text that COCO packs run lengths into.

    Args:
        region: (J, I) bool.

    Source:
        As in :func:`lucency.read.runlengths.counted`.

    Example:
        >>> counts(np.pad(np.ones((3, 3), bool), 1))  # 6, 3, 2, 3, 2, 3, 6 down the columns
        '6320004'
    """
    values, lengths = _runs(region.T.ravel())
    runs = [*([0] if values[0] else []), *lengths.tolist()]
    letters: list[str] = []
    for number, run in enumerate(runs):
        rest = run - (runs[number - 2] if number > 2 else 0)
        more = True
        while more:
            bits, rest = rest & 31, rest >> 5
            # The last letter's fifth bit is the sign.
            more = rest != (-1 if bits & 16 else 0)
            letters.append(chr(48 + (bits | (32 if more else 0))))
    return "".join(letters)
