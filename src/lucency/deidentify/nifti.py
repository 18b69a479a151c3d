"""NIfTI-1 and -2: free text, extensions and what stands after the voxels go; geometry and voxels stay."""

import math
import struct
from dataclasses import dataclass

from lucency.deidentify.cleaning import HEAD, UNSEARCHED, Cleaned, cannot

#: Bits of one voxel by data type (nifti1.h); RGB24, RGBA32, complex and 128-bit types included.
BITS = {1: 1, 2: 8, 4: 16, 8: 32, 16: 32, 32: 64, 64: 64, 128: 24, 256: 8, 512: 16, 768: 32}
BITS |= {1024: 64, 1280: 64, 1536: 128, 1792: 128, 2048: 256, 2304: 32}


@dataclass(frozen=True)
class Layout:
    """Where things stand in a header: (offset, bytes) of text, offsets and formats of numbers (nifti1.h, nifti2.h)."""

    size: int
    texts: dict[str, tuple[int, int]]
    dim: tuple[int, str]
    datatype: int
    start: tuple[int, str]


ONE = Layout(
    348,
    {
        "data_type": (4, 10),
        "db_name": (14, 18),
        "extents": (32, 4),
        "session_error": (36, 2),
        "glmax": (140, 4),
        "glmin": (144, 4),
        "descrip": (148, 80),
        "aux_file": (228, 24),
        "intent_name": (328, 16),
    },
    (40, "8h"),
    70,
    (108, "f"),
)
TWO = Layout(
    540,
    {"descrip": (240, 80), "aux_file": (320, 24), "intent_name": (508, 16), "unused_str": (525, 15)},
    (16, "8q"),
    12,
    (168, "q"),
)


def cleaned(content: bytes) -> Cleaned:
    """Return a single-file NIfTI image without text fields, extensions and trailing bytes.

    Args:
        content: A whole .nii file, not packed.

    Raises:
        DataError: Not a single-file NIfTI image, or fewer voxels than the header says.

    Source:
        NIfTI-1.1 and NIfTI-2 data formats, nifti1.h and nifti2.h.
    """
    layout, order = _layout(content)
    head = bytearray(content[: layout.size])
    dims = struct.unpack_from(order + layout.dim[1], head, layout.dim[0])
    (datatype,) = struct.unpack_from(order + "h", head, layout.datatype)
    (start,) = struct.unpack_from(order + layout.start[1], head, layout.start[0])
    if not 1 <= dims[0] <= 7 or min(dims[1 : dims[0] + 1]) < 1 or datatype not in BITS:
        raise cannot("A NIfTI header with sizes or a type that do not exist", "export the image again")
    n_bytes = math.ceil(math.prod(dims[1 : dims[0] + 1]) * BITS[datatype] / 8)
    start = max(int(start), layout.size + 4)
    voxels = memoryview(content)[start : start + n_bytes]
    if len(voxels) < n_bytes:
        raise cannot(f"{len(voxels)} bytes of voxels where the header promises {n_bytes}", "fetch the file again")
    removed = []
    for name, (offset, length) in layout.texts.items():
        if any(head[offset : offset + length]):
            removed.append(name)
        head[offset : offset + length] = bytes(length)
    if start > layout.size + 4:
        removed.append("extensions")
    if len(content) > start + n_bytes:
        removed.append("bytes after the voxels")
    # 4 bytes say that no extension follows; 16 is the boundary that readers expect of the voxels.
    begin = 16 * math.ceil((layout.size + 4) / 16)
    struct.pack_into(order + layout.start[1], head, layout.start[0], begin)
    return Cleaned(b"".join([head, bytes(begin - layout.size), voxels]), tuple(removed), (HEAD, UNSEARCHED))


def _layout(content: bytes) -> tuple[Layout, str]:
    for layout, place, magic in ((ONE, 344, b"n+1\0"), (TWO, 4, b"n+2\0")):
        for order in "<>":
            if len(content) >= layout.size and struct.unpack_from(order + "i", content)[0] == layout.size:
                if content[place : place + 4] == magic:
                    return layout, order
                raise cannot("An Analyze header or a NIfTI image in two files", "convert it to one .nii.gz file")
    raise cannot("Not a NIfTI header", "export the image again")
