"""What the report says of DICOM series that were read, counted: what was split, filled in, left aside or looked odd."""

from typing import Any

from lucency.read.facts import scale_of
from lucency.read.formats import Header
from lucency.read.head import Head
from lucency.read.stack import Slice, Stack

#: Kind of remark to its sentence; ``{n}`` counts, ``{first}`` is the first file, ``{more}`` what is particular.
SENTENCES = {
    "split": "{n} DICOM series or files hold several images and were split, told apart by {more} (first: {first}).",
    "shared": "{n} DICOM series numbers are used by several patients; they were kept apart (first: {first}).",
    "references": "{n} DICOM images name several frames of reference; their slices were put together by position "
    "(first: {first}).",
    "aside": "{n} DICOM slices in another direction or size than their series were left aside as localizers "
    "(first: {first}).",
    "captures": "{n} DICOM pictures without a place lie in a series of slices and were left aside (first: {first}).",
    "copy": "{n} DICOM files or frames are copies of others, pixel for pixel; one of each was kept (first: {first}).",
    "filled": "Missing slices were filled in by interpolation, as asked, in {n} DICOM images: {more}.",
    "tilt": "{n} DICOM images were taken with a tilted gantry, up to {more} degrees; they are kept as sheared stacks "
    "(first: {first}).",
    "clip": "{n} DICOM files are clips: their frames are read as time, not as depth (first: {first}).",
    "no_times": "{n} DICOM clips do not say when their frames were taken (first: {first}).",
    "no_modality": "{n} DICOM series do not say their modality; it was taken from their storage class "
    "(first: {first}).",
    "no_suv": "{n} PET images stay in the numbers of the scanner, because {more} (first: {first}).",
    "window": "{n} DICOM images carry a display window that shows none of their numbers; pictures use their own "
    "(first: {first}).",
    "overlays": "{n} DICOM images carry overlay planes, which are not part of the pixels and were not read "
    "(first: {first}).",
    "inverted": "{n} DICOM images are stored inverted (MONOCHROME1); their numbers are kept and only pictures turned "
    "round (first: {first}).",
    "scales": "{n} DICOM images have a rescale of their own for each slice; their numbers are kept as decimals "
    "(first: {first}).",
    "spacing": "{n} DICOM images do not say the size of their pixels; lengths in them are counted in pixels "
    "(first: {first}).",
}

#: Images listed one by one.
LISTED = 10


class Remarks:
    """Collects what is to be said, one sentence for each kind."""

    def __init__(self) -> None:
        self._where: dict[str, list[str]] = {}
        self._more: dict[str, dict[str, Any]] = {}

    def add(self, kind: str, where: str, **more: Any) -> None:
        """Count one more of a kind.

        Args:
            kind: Of :data:`SENTENCES`.
            where: Relative path.
            more: What the sentence says beyond the count: ``by``, ``what``, ``degrees``.
        """
        key = f"{kind}\0{more.get('by', '')}"
        self._where.setdefault(key, []).append(where)
        kept = self._more.setdefault(key, {})
        if "what" in more:
            kept.setdefault("what", []).append(f"{where}: {more['what']}")
        kept["degrees"] = max(float(more.get("degrees", 0.0)), float(kept.get("degrees", 0.0)))
        kept["by"] = more.get("by", "")

    def look(self, first: Slice, stack: Stack, header: Header) -> None:
        """Remark on one image that was made.

        Args:
            first: Its first slice.
            stack: All of them.
            header: Its facts.
        """
        where = first.path
        if stack.tilt:
            self.add("tilt", where, degrees=stack.tilt)
        if stack.missing:
            self.add("filled", where, what=f"slices {', '.join(str(k) for k in stack.missing)}")
        for fact, kind in (("window_implausible", "window"), ("overlays", "overlays"), ("inverted", "inverted")):
            if header.get(fact):
                self.add(kind, where)
        if len({scale_of(s) for s in stack.slices}) > 1:
            self.add("scales", where)
        if len({s.head.get("FrameOfReferenceUID") for s in stack.slices}) > 1:
            self.add("references", where)
        if not header["spacing_known"]:
            self.add("spacing", where)
        if header.get("modality") == "PT" and "suv_factor" not in header:
            self.add("no_suv", where, by=_no_suv(first.head))

    def sentences(self) -> tuple[str, ...]:
        """Return one sentence for each kind, in the order of :data:`SENTENCES`."""
        said: list[str] = []
        order = list(SENTENCES)
        for key in sorted(self._where, key=lambda k: (order.index(k.split("\0")[0]), k)):
            kind, more = key.split("\0")[0], self._more[key]
            listed = more.get("what", [])
            words = "; ".join(listed[:LISTED]) + (" …" if len(listed) > LISTED else "")
            degrees = f"{more['degrees']:.1f}"
            said.append(
                SENTENCES[kind].format(
                    n=len(self._where[key]),
                    first=min(self._where[key]),
                    more=more["by"] or words or degrees,
                )
            )
        return tuple(said)


def _no_suv(head: Head) -> str:
    suv = head.get("SUV", {})
    return str(suv.get("reason") or "the scale to uptake changes between their slices")
