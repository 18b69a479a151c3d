"""How like real images generated ones are: a panel of measures, each beside the same measure of real images."""

from lucency.synthesize.fidelity.diversity import ms_ssim, repeats, similarity
from lucency.synthesize.fidelity.frechet import fd, frechet_distance
from lucency.synthesize.fidelity.kernel import kid, squared_mmd, standardised
from lucency.synthesize.fidelity.manifold import manifold
from lucency.synthesize.fidelity.matched import matched
from lucency.synthesize.fidelity.panel import Beside, Panel, panel
from lucency.synthesize.fidelity.use import Use, headline, leading, scores, tstr, use_of

__all__ = [
    "Beside",
    "Panel",
    "Use",
    "fd",
    "frechet_distance",
    "headline",
    "kid",
    "leading",
    "manifold",
    "matched",
    "ms_ssim",
    "panel",
    "repeats",
    "scores",
    "similarity",
    "squared_mmd",
    "standardised",
    "tstr",
    "use_of",
]
