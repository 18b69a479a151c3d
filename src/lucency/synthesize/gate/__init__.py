"""The evidence gate: whether generated images help a model on real patients, judged before anybody may use them."""

from lucency.synthesize.gate.evidence import (
    LEAST_RUNS,
    Contrast,
    Runs,
    contrasted,
    detectable,
    rival_of,
    the_best,
)
from lucency.synthesize.gate.verdict import (
    ACCEPT,
    FAILED,
    INCONCLUSIVE,
    REJECT,
    Confirmation,
    Guard,
    Verdict,
    chosen,
    guarded,
    stopped,
    sure,
    verdict,
)

__all__ = [
    "ACCEPT",
    "FAILED",
    "INCONCLUSIVE",
    "LEAST_RUNS",
    "REJECT",
    "Confirmation",
    "Contrast",
    "Guard",
    "Runs",
    "Verdict",
    "chosen",
    "contrasted",
    "detectable",
    "guarded",
    "rival_of",
    "stopped",
    "sure",
    "the_best",
    "verdict",
]
