"""The audit itself: first the auditor is tried, then the generator, beside one that is known to copy."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from lucency.errors import UsageError
from lucency.synthesize.audit.closeness import authentic, closer, ratio
from lucency.synthesize.audit.finder import (
    LEAST_HELD,
    Finder,
    closest,
    copies,
    finder_of,
    isolated_copies,
    self_test,
    usual_pairs,
)
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
    surely_above,
)
from lucency.synthesize.audit.membership import isolated, membership, membership_isolated, reidentified, strength
from lucency.synthesize.audit.planted import planted, resampled
from lucency.synthesize.audit.sides import Made, Real, made_side, real_side, stacked
from lucency.synthesize.audit.spaces import measures_of
from lucency.synthesize.drawn import Drawn
from lucency.synthesize.encoders import Encoder

#: Copies that are planted: 40 of each kind.
PLANTED = 320

#: Images of the generator that is known to copy, at the most.
CONTROL = 1000

#: Space in which the generator's own critic was the attacker.
CRITIC = "discriminator"

#: Members below which nothing is asked: fewer are known by heart to anybody.
LEAST_MEMBERS = 20


@dataclass(frozen=True, eq=False)
class Control:
    """A generator that was over-fitted on purpose.

    Args:
        images: Its own.
        rows: (k,) rows of the members that it learned, and of no others.
    """

    images: Drawn
    rows: np.ndarray


@dataclass(frozen=True, eq=False)
class Ask:
    """What an audit may be told beyond the images.

    Args:
        discriminator: Images (n, C, K, J, I) to how real the generator's own critic takes each for, (n,); None where
            the weights are not to be shared.
        control: A generator that was over-fitted on purpose; None to use members, moved and with noise, instead.
        known: Patients are known; else every image counts as its own, and the audit says so.
        masks: Patients whose masks, changed, the images were made for; 0 where masks were drawn too, or there are none.
    """

    discriminator: Callable[[np.ndarray], np.ndarray] | None = None
    control: Control | None = None
    known: bool = True
    masks: int = 0


class Auditor:
    """Knows the real images, has been tried on planted copies and on a generator that copies, and judges others.

    Args:
        members: All images that the generators learned from, and no others.
        held_out: Of patients whom they never saw; a hundred of them or more.
        encoders: The taught eye first, then the untaught one.
        rng: Plants, deals and resamples.
        ask: See :class:`Ask`.

    Raises:
        UsageError: No encoder, sets of unlike sizes, or a patient on both sides.
    """

    def __init__(
        self,
        members: Drawn,
        held_out: Drawn,
        encoders: Sequence[Encoder],
        rng: np.random.Generator,
        ask: Ask | None = None,
    ) -> None:
        _check(members, held_out, encoders)
        self.members, self.encoders, self.rng, self.ask = members, encoders, rng, ask or Ask()
        self.fresh = _fresh(held_out, members)
        self.repeated = len(held_out) - len(self.fresh)
        self.held = held_out.take(self.fresh) if len(self.fresh) else None
        self.reals: list[Real] = []
        self.tried: SelfTest | None = None
        self.finder: Finder | None = None
        self.control: tuple[Finding, ...] = ()
        if self.held is not None and self._few() is None:
            self.reals = [real_side(m, members, self.held) for m in measures_of(members, self.held, list(encoders))]
            self.finder = finder_of(self.reals, rng)
            copied, kinds, _ = planted(members, PLANTED, rng)
            self.tried = self_test(self.finder, stacked(self._side(copied.images)), kinds, rng)
            sides = self._side(resampled(members, min(len(members), CONTROL), rng).images)
            found = copies(self.finder, stacked(sides), self._nearest(sides), self.tried.false, rng)
            given, known = self.ask.control, np.arange(len(members))
            if given is not None:
                sides, known = self._side(given.images.images), given.rows
            self.control = (*found, *_attacks(self.reals, sides, rng, known))

    def judge(self, synthetic: Drawn) -> Audit:
        """Return the verdict on a generator, with everything behind it; see :func:`audit`.

        Args:
            synthetic: Its images.

        Raises:
            UsageError: Images of another size than the real ones.
        """
        if synthetic.images.shape[1:] != self.members.images.shape[1:]:
            raise UsageError("Images of 2 sizes", expected="one grid for generated and real images")
        few = self._few()
        if few is not None or self.finder is None or self.tried is None or self.held is None:
            return self._told(synthetic, NOT_AUDITABLE, () if few is None else (few,))
        made, rng = self._side(synthetic.images), self.rng
        found = [
            *copies(self.finder, stacked(made), self._nearest(made), self.tried.false, rng),
            *_asked(self.reals, made, rng),
            *_apart(self.finder, self.reals, made, rng),
        ]
        found = _believed(found, self.leaky)
        if self.ask.discriminator is not None:
            sure = [np.asarray(self.ask.discriminator(d.images), dtype=float) for d in (self.members, self.held)]
            people = self.reals[0].people, self.reals[0].held_people
            found += membership(CRITIC, sure[0], sure[1], people, rng)
        verdict, reasons = _judged(found, self.tried, self.control, self.leaky)
        pairs = closest(self.finder, made, [r.measure.name for r in self.reals])
        return self._told(synthetic, verdict, reasons, tuple(found), pairs)

    @property
    def leaky(self) -> set[str]:
        """The untaught spaces in which the attack on who was trained on has found the generator that tells it."""
        attacks = [f for f in self.control if f.name == "membership" and f.outcome != TOLD]
        return {f.space for f in attacks if surely_above(f.value, 0.5)}

    def _few(self) -> Reason | None:
        """Return why nothing can be asked; None where it can."""
        n_held = 0 if self.held is None else len(set(self.held.people.tolist()))
        if n_held >= LEAST_HELD and len(self.members) >= LEAST_MEMBERS:
            return None
        told = {"held": n_held, "wanted": LEAST_HELD, "members": len(self.members), "least": LEAST_MEMBERS}
        return Reason("few", told)

    def _side(self, images: np.ndarray) -> list[Made]:
        return [made_side(r, images) for r in self.reals]

    def _nearest(self, sides: Sequence[Made]) -> np.ndarray:
        """Return the patient whom each image is nearest to by its pixels."""
        return np.asarray(self.reals[0].people[sides[0].seen.at])

    def _told(
        self,
        synthetic: Drawn,
        verdict: str,
        reasons: tuple[Reason, ...],
        found: tuple[Finding, ...] = (),
        pairs: tuple[Pair, ...] = (),
    ) -> Audit:
        """Return the record."""
        sides = {"synthetic": synthetic, "members": self.members}
        if self.held is not None:
            sides["held_out"] = self.held
        usual = () if self.finder is None else usual_pairs(self.finder, self.reals)
        unknown = () if self.ask.known else (Reason("unknown_patients"),)
        reused = (Reason("masks", {"n": self.ask.masks}),) if self.ask.masks else ()
        beside = (*unknown, *reused)
        return Audit(
            verdict=verdict,
            scope=_scope(verdict, found, blind=bool(beside)),
            reasons=(*reasons, *beside),
            self_test=self.tried,
            findings=found,
            control=self.control,
            control_is="" if not self.control else "resampled" if self.ask.control is None else "overfitted",
            gallery=pairs,
            usual=tuple(replace(p, made=int(self.fresh[p.made])) for p in usual),
            by="patient" if self.ask.known else "image",
            counts={
                **{name: len(d) for name, d in sides.items()},
                "patients": len(set(self.members.people.tolist())),
                "repeated": self.repeated,
                "control": 0 if self.ask.control is None else len(self.ask.control.rows),
                "masks": self.ask.masks,
            },
            digests={**{n: d.digest for n, d in sides.items()}, **{e.name: e.digest for e in self.encoders}},
        )


def audit(
    synthetic: Drawn,
    members: Drawn,
    held_out: Drawn,
    encoders: Sequence[Encoder],
    rng: np.random.Generator,
    ask: Ask | None = None,
) -> Audit:
    """Find out whom generated images give away.

    Args:
        synthetic: Of the generator as it is, unfiltered: what is filtered out says as much about it.
        members: All images that it learned from, and no others.
        held_out: Of patients whom it never saw; a hundred of them or more.
        encoders: The taught eye first, then the untaught one.
        rng: Plants, deals and resamples.
        ask: See :class:`Ask`.

    Returns:
        The verdict with everything behind it. Too few images are a verdict, not an error.

    Raises:
        UsageError: No encoder, sets of unlike sizes, or a patient on both sides.
    """
    return Auditor(members, held_out, encoders, rng, ask).judge(synthetic)


def _asked(reals: Sequence[Real], made: Sequence[Made], rng: np.random.Generator) -> list[Finding]:
    """Return the answers of every space about closeness and membership."""
    found: list[Finding] = []
    for real, one in zip(reals, made, strict=True):
        own = authentic(real, one, rng)
        each = [closer(real, one), ratio(real, one, rng), *([] if own is None else [own])]
        found += _told_only(each) if real.measure.learned else each
    return [*found, *_attacks(reals, made, rng, np.arange(len(reals[0].people)))]


def _told_only(found: Sequence[Finding]) -> list[Finding]:
    """Return answers of a space that the members have taught: they are told, and nothing hangs on them."""
    return [replace(f, outcome=TOLD) for f in found]


def _believed(found: Sequence[Finding], leaky: set[str]) -> list[Finding]:
    """Return answers in which no attack passes a generator where it has missed the one that was to be found."""
    return [
        replace(f, outcome=UNSEEN)
        if f.name.startswith("membership") and f.outcome == PASS and f.space not in leaky
        else f
        for f in found
    ]


def _attacks(reals: Sequence[Real], made: Sequence[Made], rng: np.random.Generator, known: np.ndarray) -> list[Finding]:
    """Return how well members in these rows are told from strangers in each space."""
    found: list[Finding] = []
    for real, one in zip(reals, made, strict=True):
        ours, theirs = strength(one)
        each = membership(real.measure.name, ours[known], theirs, (real.people[known], real.held_people), rng)
        found += _told_only(each) if real.measure.learned else each
    return found


def _apart(finder: Finder, reals: Sequence[Real], made: Sequence[Made], rng: np.random.Generator) -> list[Finding]:
    """Return the answers about isolated patients and patients with several images, in an untaught eye's space."""
    deep = [n for n, r in enumerate(reals) if r.seen_seen is not None]
    at = next((n for n in deep if not reals[n].measure.learned), deep[0])
    near = isolated(reals[at])[0][made[at].seen.at]
    several = isolated_copies(finder, stacked(made), near, rng), reidentified(reals[at], made[at], rng)
    return [membership_isolated(reals[at], made[at], rng), *(f for f in several if f is not None)]


def _judged(
    found: Sequence[Finding], tried: SelfTest, control: Sequence[Finding], leaky: set[str]
) -> tuple[str, tuple[Reason, ...]]:
    """Return the verdict and why. The critic has no part in it: who has the images has not the critic."""
    white = [f for f in found if f.space == CRITIC]
    knows = any(f.outcome == FAIL for f in white)
    critic = tuple(Reason("critic", _values(f)) for f in white if knows and f.name == "membership")
    found = [f for f in found if f.space != CRITIC]
    failed = _by_name(found, FAIL)
    if failed:
        # Guilt that an auditor with poor eyes has seen is guilt all the same.
        return FAIL, (*(Reason(f"fails_{f.name}", _values(f)) for f in failed), *critic)
    reasons = []
    if not tried.able:
        reasons.append(Reason("blind", {"found": tried.found.value, "false": tried.false.value}))
    if not any(f.name in ("copies", "certain") and f.outcome == FAIL for f in control):
        reasons.append(Reason("control_unseen"))
    if not leaky:
        reasons.append(Reason("control_members"))
    reasons += [Reason(f"wide_{f.name}", _values(f)) for f in _by_name(found, UNDECIDED)]
    if reasons:
        return NOT_AUDITABLE, (*reasons, *critic)
    return PASS, (Reason("clean", {"n": sum(f.outcome == PASS for f in found)}), *critic)


def _by_name(found: Sequence[Finding], outcome: str) -> list[Finding]:
    """Return one finding for each question that had this outcome in some space: the one farthest from its limit."""
    named: dict[str, Finding] = {}
    for one in found:
        before = named.get(one.name, one)
        if one.outcome == outcome and abs(one.value.value - one.limit) >= abs(before.value.value - before.limit):
            named[one.name] = one
    return list(named.values())


def _values(found: Finding) -> Mapping[str, str | int | float]:
    """Return what a sentence about a finding may say."""
    value = found.value
    return {
        "name": found.name,
        "space": found.space,
        "value": value.value,
        "lower": value.value if value.lower is None else value.lower,
        "upper": value.value if value.upper is None else value.upper,
        "limit": found.limit,
    }


def _scope(verdict: str, found: Sequence[Finding], *, blind: bool) -> tuple[str, ...]:
    """Return what may be done. Images that stay where the patients' images are give nobody away who is not there.

    The questions are about images: of a patient's own mask, however bent, none of them speaks. Nor can strangers be
    compared with who may be the same patients.
    """
    if verdict != PASS or blind:
        return (INSIDE,)
    white = [f for f in found if f.space == CRITIC]
    alone = [f for f in found if f.name == "membership_isolated"]
    open_too = bool(white) and all(f.outcome == PASS for f in (*white, *alone))
    return (INSIDE, SAMPLES, WEIGHTS) if open_too else (INSIDE, SAMPLES)


def _fresh(held_out: Drawn, members: Drawn) -> np.ndarray:
    """Return the rows of held-out images that are no member bit by bit; those that are would be a leak of the split."""
    known = {image.tobytes() for image in members.images.astype(np.float16)}
    return np.flatnonzero([image.tobytes() not in known for image in held_out.images.astype(np.float16)])


def _check(members: Drawn, held_out: Drawn, encoders: Sequence[Encoder]) -> None:
    """Refuse what cannot be compared."""
    if not encoders:
        raise UsageError("No encoder", expected="one or more, the taught one first")
    if members.images.shape[1:] != held_out.images.shape[1:]:
        raise UsageError("Real images of 2 sizes", expected="one grid")
    both = (set(members.patients.tolist()) & set(held_out.patients.tolist())) - {""}
    if both:
        raise UsageError(
            f"{len(both)} patients are among the members and held out",
            expected="patients on one side only",
            remedy="split by patient",
        )
