"""Layout: a tree of DICOM series, with the DICOM objects drawn on them as labels where there are any."""

from lucency.read import dicom_labels
from lucency.read.layout import Candidate, ReadOptions, Tree

NAME = "dicom"


def recognise(tree: Tree, options: ReadOptions) -> Candidate | None:
    """Return the claim: at least half of the files of images are DICOM; pictures lie beside series as previews."""
    found = [u for u in tree.units if u.uid]
    files = sum(len(u.source.paths) for u in found)
    if not found or files < len(tree.units) - len(found):
        return None
    draft, said, labelled = dicom_labels.draft_of(found, tree, options)
    # What the user asks for by name is certain; masks drawn in DICOM say more than a table that lies beside them.
    score = 0.45 if not labelled else 1.0 if options.target is not None else 0.85
    return Candidate(NAME, score, (f"{len(found)} DICOM images from {files} files; {said}",), draft)
