"""What differential privacy a training has: noise for a wanted ε, and the ε that the steps made have cost.

Patients are drawn each by himself in every step (Poisson sampling), with one image of each, so that the unit is a
patient; where patients are not known it is an image. What is counted are the steps of one generator: planning, widths,
bounds, encoders, sieve and audit look at the data beside it, and nothing is said of them.

Source:
    Mironov 2019 (doi 10.48550/arXiv.1908.10530), as Opacus computes it.
"""

import importlib.util
import warnings
from collections.abc import Mapping
from dataclasses import dataclass

from lucency.errors import UsageError
from lucency.plan import Option, number_of

#: Where nobody says another.
EPSILON = 8.0

#: Longest gradient of an image (Abadi 2016, doi 10.1145/2976749.2978318, section 5: the median of what there is; norms
#: are within images here, and the first gradients of a narrow critic have lengths of about 1).
CLIP = 1.0

#: Orders at which the Rényi divergence is looked at; the best of them counts. Any give a bound; orders between whole
#: numbers take long, and few of them are ever best.
ORDERS = [1.25, 1.5, 1.75, 2.0, 2.25, 2.5, 3.0, 3.5, 4.0, 4.5, *(float(n) for n in range(5, 64)), 128.0, 256.0, 512.0]

#: δ is one by so many times the number of patients: at one by their number, to publish one of them whole would be
#: allowed (Dwork 2014, doi 10.1561/0400000042, section 2.3).
RARER = 10

ACCOUNTANT = "RDP"


@dataclass(frozen=True)
class Privacy:
    """What the training of one generator has cost.

    Args:
        epsilon: Upper bound, for ``delta``.
        delta: Chance with which the bound may not hold; :data:`RARER` times rarer than one patient in all.
        noise: Standard deviation of the noise, for a longest gradient of 1.
        clip: Longest gradient of an image.
        rate: Chance of each patient to be drawn in a step.
        steps: That drew.
        unit: ``"patient"``, or ``"image"`` where patients are not known.
        accountant: How it was counted.
    """

    epsilon: float
    delta: float
    noise: float
    clip: float
    rate: float
    steps: int
    unit: str
    accountant: str = ACCOUNTANT


def refuse_uncountable() -> None:
    """Refuse where the library is missing that counts.

    Raises:
        UsageError: See above.
    """
    if importlib.util.find_spec("opacus") is None:
        raise UsageError(
            "Differential privacy is counted by the library opacus, which is not installed",
            expected="opacus 1.6 or newer",
            where="--generator",
            remedy="install it: pip install 'lucency[dp]', or choose another generator",
        )


def noise_for(epsilon: float, delta: float, rate: float, steps: int) -> float:
    """Return the least noise with which so many steps cost no more than ε.

    Args:
        epsilon: More than 0.
        delta: Over 0 and under 1.
        rate: Chance of each to be drawn in a step, up to 1.
        steps: 1 or more.

    Raises:
        UsageError: No opacus.
    """
    refuse_uncountable()
    from opacus.accountants.utils import get_noise_multiplier  # noqa: PLC0415 - an extra, and it takes seconds

    with warnings.catch_warnings():
        # That the best order is the first or the last: the bound holds at any.
        warnings.simplefilter("ignore")
        return float(
            get_noise_multiplier(
                target_epsilon=epsilon,
                target_delta=delta,
                sample_rate=rate,
                steps=steps,
                accountant="rdp",
                alphas=ORDERS,
            )
        )


def epsilon_of(noise: float, delta: float, rate: float, steps: int) -> float:
    """Return the ε that steps have cost, an upper bound.

    Args:
        noise: More than 0.
        delta: Over 0 and under 1.
        rate: Chance of each to be drawn in a step, up to 1.
        steps: 0 or more.

    Raises:
        UsageError: No opacus.
    """
    refuse_uncountable()
    from opacus.accountants.analysis.rdp import compute_rdp, get_privacy_spent  # noqa: PLC0415

    if not steps:
        return 0.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rdp = compute_rdp(q=rate, noise_multiplier=noise, steps=steps, orders=ORDERS)
        return float(get_privacy_spent(orders=ORDERS, rdp=rdp, delta=delta)[0])


def wanted(epsilon: float, patients: int, batch: int) -> dict[str, Option]:
    """Return what the plan of a private generator says, but for the noise, which follows from its steps.

    Args:
        epsilon: More than 0.
        patients: That it learns from.
        batch: Patients in a step, expected.
    """
    rate = min(1.0, batch / patients)
    return {
        "epsilon": epsilon,
        "delta": 1 / (RARER * patients),
        "rate": rate,
        "clip": CLIP,
        "rows": batch,
        "noise": 1.0,
    }


def with_noise(options: Mapping[str, Option], steps: int) -> dict[str, Option]:
    """Return the options of a plan with the noise that its steps need.

    Args:
        options: From :func:`wanted`.
        steps: Planned.
    """
    epsilon, delta, rate = (number_of(options, key, 0.0) for key in ("epsilon", "delta", "rate"))
    return {**options, "noise": round(noise_for(epsilon, delta, rate, steps), 6)}


def cost(options: Mapping[str, Option], steps: int, *, known: bool) -> Privacy:
    """Return what a training has cost.

    Args:
        options: Of its plan.
        steps: Made; those that were taken back included.
        known: Patients are known.
    """
    delta, noise, rate, clip = (number_of(options, key, 0.0) for key in ("delta", "noise", "rate", "clip"))
    epsilon = epsilon_of(noise, delta, rate, steps)
    return Privacy(round(epsilon, 4), delta, noise, clip, rate, steps, "patient" if known else "image")
