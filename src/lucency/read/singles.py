"""Layout: images that nothing describes; unlabelled."""

from dataclasses import replace

from lucency.case import Source
from lucency.read.layout import Candidate, Draft, Item, ReadOptions, Tree, Unit

NAME = "single"


def recognise(tree: Tree, options: ReadOptions) -> Candidate | None:
    """Return the claim: there are images; or, in an npz file, an image with its mask."""
    if not tree.units:
        return None
    items = tuple(Item({"image": with_channels(u)}, _mask(u)) for u in tree.units)
    labelled = sum(i.target is not None for i in items)
    evidence = f"{len(items)} images, " + (f"{labelled} with a mask in the same file." if labelled else "unlabelled.")
    return Candidate(NAME, 0.1, (evidence,), Draft(items, "mask" if labelled else ""))


def with_channels(unit: Unit) -> Unit:
    """Return the image with a fourth axis read as channels: nothing else is known of it."""
    if unit.source.reader != "nifti":
        return unit
    return replace(unit, source=replace(unit.source, header={"axes": "channels", **unit.source.header}))


def _mask(unit: Unit) -> Source | None:
    if not unit.mask:
        return None
    return Source(unit.source.paths, unit.source.root, "npz", unit.mask, kind="labels")
