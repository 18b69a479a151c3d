"""Layout: a tree of DICOM series that nothing else describes; unlabelled."""

from lucency.read.layout import Candidate, Draft, Item, ReadOptions, Tree

NAME = "dicom"


def recognise(tree: Tree, options: ReadOptions) -> Candidate | None:
    """Return the claim: at least half of the images are DICOM series."""
    found = [u for u in tree.units if u.uid]
    if not found or 2 * len(found) < len(tree.units):
        return None
    files = sum(len(u.source.paths) for u in found)
    evidence = f"{len(found)} DICOM images from {files} files; no table or folder says what to learn."
    return Candidate(NAME, 0.45, (evidence,), Draft(tuple(Item({"image": u}) for u in found)))
