"""Whom generated images give away: the auditor is tried on planted copies first, then asks the generator."""

from lucency.synthesize.audit.finding import (
    FAIL,
    INSIDE,
    NOT_AUDITABLE,
    PASS,
    SAMPLES,
    TOLD,
    UNDECIDED,
    UNSEEN,
    WEIGHTS,
    Audit,
    Finding,
    Pair,
    Reason,
    SelfTest,
)
from lucency.synthesize.audit.planted import KINDS, planted, resampled
from lucency.synthesize.audit.room import Ask, Auditor, Control, audit

__all__ = [
    "FAIL",
    "INSIDE",
    "KINDS",
    "NOT_AUDITABLE",
    "PASS",
    "SAMPLES",
    "TOLD",
    "UNDECIDED",
    "UNSEEN",
    "WEIGHTS",
    "Ask",
    "Audit",
    "Auditor",
    "Control",
    "Finding",
    "Pair",
    "Reason",
    "SelfTest",
    "audit",
    "planted",
    "resampled",
]
