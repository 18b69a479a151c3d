"""The panel: every measure of likeness beside the same measure of two real sets of the same size and mix."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from lucency.errors import DataError
from lucency.statistics import Metric
from lucency.synthesize.drawn import UNKNOWN, Drawn
from lucency.synthesize.encoders import Encoder
from lucency.synthesize.fidelity.diversity import repeats, similarity
from lucency.synthesize.fidelity.frechet import directions, fd
from lucency.synthesize.fidelity.kernel import kid, standardised
from lucency.synthesize.fidelity.manifold import manifold
from lucency.synthesize.fidelity.matched import matched
from lucency.synthesize.fidelity.use import Use

#: Images on each side at the most: distances between all of them are held at once.
MOST = 2000

#: A class has collapsed where its images resemble each other by so much more than real ones do, or where so large a
#: share of them nearly repeats another (of real ones a hundredth does, by definition). Chosen, not measured.
MORE_ALIKE, REPEATED = 0.05, 0.10

#: Percentiles of the real values that count as the darkest and the brightest.
ENDS = (0.1, 99.9)


@dataclass(frozen=True)
class Beside:
    """One measure of generated images, and of real ones in their place.

    Args:
        synthetic: Generated against held-out images, or among themselves.
        real: As many images that the generator learned from, of the same classes: what cannot be bettered.
    """

    synthetic: Metric
    real: Metric

    @property
    def ratio(self) -> float:
        """Synthetic over real; NaN where real is 0 or less."""
        return self.synthetic.value / self.real.value if self.real.value > 0 else float("nan")


@dataclass(frozen=True)
class Panel:
    """How like real images the generated ones are.

    Args:
        n: Images on each side.
        mix: Class number to images; :data:`lucency.synthesize.drawn.UNKNOWN` where classes are not known.
        by_encoder: Encoder to measure to values: ``kid`` and ``fd`` (best 0), ``precision``, ``recall``, ``density``
            and ``coverage`` (best 1).
        by_class: Class number to measure to values: ``ms_ssim``, and ``repeats_`` with the encoder's name.
        collapsed: Classes whose images repeat.
        missing: Classes that held-out images have and generated ones have not.
        encoders: Name to digest.
        use: What a network learns from them; None where that was not tried.
    """

    n: int
    mix: Mapping[int, int]
    by_encoder: Mapping[str, Mapping[str, Beside]]
    by_class: Mapping[int, Mapping[str, Beside]]
    collapsed: tuple[int, ...] = ()
    missing: tuple[int, ...] = ()
    encoders: Mapping[str, str] = field(default_factory=dict)
    use: Use | None = None


def panel(
    synthetic: Drawn,
    members: Drawn,
    held_out: Drawn,
    encoders: Sequence[Encoder],
    rng: np.random.Generator,
    use: Use | None = None,
) -> Panel:
    """Compare generated images with held-out ones, beside the members in their place.

    Args:
        synthetic: Generated.
        members: What the generator learned from.
        held_out: Of patients whom the generator never saw.
        encoders: One or more; see :mod:`lucency.synthesize.encoders`.
        rng: Draws sets of equal size and mix, deals blocks, resamples.
        use: From :func:`lucency.synthesize.fidelity.use_of`.

    Raises:
        DataError: No class in common, or too few images.
    """
    made, seen, held = matched((synthetic, members, held_out), rng, MOST)
    if len(held) < 2:
        raise DataError("One image on each side", expected="two or more of the same classes")
    ends = tuple(float(v) for v in np.percentile(held.images, ENDS))
    if ends[1] <= ends[0]:
        raise DataError("All held-out images have one value throughout", remedy="look at the images: they are constant")
    by_encoder, features = {}, {}
    for encoder in encoders:
        real, other = encoder(held.images), encoder(seen.images)
        # Both real sets set the scale: neither may look nearer for having done so alone.
        _, real, other, ours = standardised(np.concatenate([real, other]), real, other, encoder(made.images))
        features[encoder.name] = (ours, other)
        by_encoder[encoder.name] = _likeness(ours, other, real, held.people, rng)
    by_class = {}
    for number in sorted(set(held.labels.tolist())):
        # Generated images need no held-out ones to be compared among themselves, but as many real ones.
        rows = made.labels == number, seen.labels == number
        among = _diversity(made.take(rows[0]), seen.take(rows[1]), (ends[0], ends[1]), rng)
        for name, (ours, other) in features.items():
            found = repeats(ours[rows[0]], other[rows[1]], seen.people[rows[1]], rng)
            among[f"repeats_{name}"] = Beside(*found)
        by_class[int(number)] = among
    return Panel(
        n=len(made),
        mix={int(k): int((made.labels == k).sum()) for k in sorted(set(made.labels.tolist()))},
        by_encoder=by_encoder,
        by_class=by_class,
        collapsed=tuple(k for k, found in by_class.items() if _collapsed(found)),
        missing=tuple(k for k in held_out.classes if k not in synthetic.classes and k != UNKNOWN),
        encoders={e.name: e.digest for e in encoders},
        use=use,
    )


def _likeness(
    ours: np.ndarray, seen: np.ndarray, held: np.ndarray, people: np.ndarray, rng: np.random.Generator
) -> dict[str, Beside]:
    """Return the measures of one encoder, of generated and of real images against held-out ones."""
    flat = directions(np.concatenate([held, seen]), len(held))
    found = {
        "kid": Beside(kid(ours, held, people, rng), kid(seen, held, people, rng)),
        "fd": Beside(fd(flat(ours), flat(held), people, rng), fd(flat(seen), flat(held), people, rng)),
    }
    sides = [manifold(flat(x), flat(held), people, rng) for x in (ours, seen)]
    return found | {name: Beside(sides[0][name], sides[1][name]) for name in sides[0]}


def _diversity(made: Drawn, real: Drawn, ends: tuple[float, float], rng: np.random.Generator) -> dict[str, Beside]:
    each = [similarity(d.images, d.people, ends, rng) for d in (made, real)]
    return {"ms_ssim": Beside(each[0], each[1])}


def _collapsed(found: Mapping[str, Beside]) -> bool:
    """Tell whether the images of a class repeat: by the interval where there is one, else by the value."""
    alike = found["ms_ssim"]
    least = alike.synthetic.value if alike.synthetic.lower is None else alike.synthetic.lower
    if least > alike.real.value + MORE_ALIKE:
        return True
    for name, one in found.items():
        share = one.synthetic.value if one.synthetic.lower is None else one.synthetic.lower
        if name.startswith("repeats_") and share > max(REPEATED, one.real.value):
            return True
    return False
