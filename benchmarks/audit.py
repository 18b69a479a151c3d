"""The auditor on trial: generators that copy must all fail, honest ones must not, planted copies must be found.

Radiographs (``pneumoniamnist``, 28 x 28) and slices and films of six kinds (``mednist``, averaged to 32 x 32) are dealt
by chance to members, held-out images and a pool that nobody has learned from. Generators that copy: changed copies
among honest images of the pool, 2 to 100 % of them; copies changed in one way only; members with noise; members blended
in pairs. Honest ones: images of the pool as they are, blurred, or changed as copies are; draws from the principal
components of the members, with few and with many of them. Each set is dealt anew for every round of generators.

Patients of these sets are not known. A radiograph counts as one. ``mednist`` holds slices that lie side by side in one
person: images whose pixels correlate above .88 after the best alignment count as one patient, and are dealt together.

In each round a generator is over-fitted on purpose to a few members, and the attack on who was trained on is tried on
it first.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from material import DATA
from recorded import begin, parser, write
from scipy.sparse.csgraph import connected_components

from lucency.events import Clock
from lucency.plan import DECISIONS, Grid, Normalisation, Plan, Schedule
from lucency.statistics import clopper_pearson
from lucency.synthesize.audit import FAIL, KINDS, Ask, Audit, Auditor, Control
from lucency.synthesize.audit.planted import changed
from lucency.synthesize.audit.spaces import Pixels
from lucency.synthesize.drawn import Drawn
from lucency.synthesize.encoders import random_encoder, trained_encoder
from lucency.synthesize.making import Order
from lucency.synthesize.overfitting import few_of, overfitted

NAME = "audit"

#: What the project asks of itself: copies found, and generators that copy caught.
FOUND_NEEDED, CAUGHT_NEEDED = 0.95, 1.0

#: Members, held-out images and generated ones, by set; what is left is the pool.
SIZES = {"pneumoniamnist": (600, 500, 800), "mednist": (600, 500, 650)}

#: Distance of pixels under which two images count as of one patient, by set.
ONE_PATIENT = {"mednist": 0.12}

#: Shares of copies among honest images.
RATES = (0.02, 0.03, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0)

Images = Callable[[np.random.Generator], Drawn]


def main() -> None:
    """Judge every generator on every set and record how many were caught."""
    options = parser(__doc__ or "", NAME)
    options.add_argument("--steps", type=int, default=400, help="optimiser steps of the encoder [400]")
    options.add_argument("--rounds", type=int, default=2, help="how often each set is dealt anew [2]")
    options.add_argument("--control", type=float, default=120.0, help="seconds for an over-fitted generator [120]")
    options.add_argument("--family", default="dcgan", help="of the over-fitted generator [dcgan]")
    options.add_argument("--sets", nargs="+", default=list(SIZES), help="which sets [all]")
    told = options.parse_args()
    result = begin()
    sets = {"made": _sizes_of_made()} if told.quick else {name: SIZES[name] for name in told.sets}
    result["sets"] = {name: _of_set(name, sizes, told) for name, sizes in sets.items()}
    rows = [row for one in result["sets"].values() for row in one["generators"]]
    result["copying"] = _caught([r for r in rows if r["copies"] > 0])
    result["honest"] = _caught([r for r in rows if r["copies"] == 0])
    result["needed"] = {"copying_failed": CAUGHT_NEEDED, "planted_found": FOUND_NEEDED}
    found = [one["self_test"]["found"] for s in result["sets"].values() for one in s["rounds"]]
    controls = [one["control"] for s in result["sets"].values() for one in s["rounds"]]
    said = (
        f"{result['copying']['failed']} of {result['copying']['n']} generators that copy fail, "
        f"{result['honest']['failed']} of {result['honest']['n']} honest ones; planted copies found: "
        f"{min(found):.1%} to {max(found):.1%}; over-fitted generators told from honest ones in "
        f"{sum(c['is'] == 'overfitted' and c['seen'] for c in controls)} of {len(controls)} rounds"
    )
    write(NAME, said, result, told)


def _caught(rows: list[Mapping[str, Any]]) -> dict[str, Any]:
    """Return how many generators failed, passed and could not be told, the first with its exact interval."""
    failed = sum(r["verdict"] == FAIL for r in rows)
    lower, upper = clopper_pearson(failed, len(rows))
    verdicts = [r["verdict"] for r in rows]
    return {
        "n": len(rows),
        "failed": failed,
        "share": round(failed / len(rows), 4),
        "lower": round(lower, 4),
        "upper": round(upper, 4),
        "verdicts": {v: verdicts.count(v) for v in sorted(set(verdicts))},
    }


def _sizes_of_made() -> tuple[int, int, int]:
    return 130, 110, 120


def _of_set(name: str, sizes: tuple[int, int, int], told: argparse.Namespace) -> dict[str, Any]:
    """Deal a set anew for each round and judge all generators on it."""
    images, labels = _made(600) if told.quick else load(name)
    groups = grouped(images, ONE_PATIENT.get(name, 0.0))
    rounds, rows = [], []
    for number in range(1 if told.quick else told.rounds):
        rng = np.random.default_rng((told.seed, number))
        members, held, pool = dealt(images, groups, labels, sizes[:2], rng)
        with tempfile.TemporaryDirectory() as folder:
            begun = time.perf_counter()
            eye = trained_encoder(
                members, plan_for(members), Path(folder), steps=5 if told.quick else told.steps, seed=told.seed
            )
            encoder_s = time.perf_counter() - begun
            begun = time.perf_counter()
            control = _control(members, Path(folder), told, rng)
            control_s = time.perf_counter() - begun
            begun = time.perf_counter()
            eyes = [eye, random_encoder(members.images.shape[1], members.dims)]
            judge = Auditor(members, held, eyes, rng, Ask(control=control))
            real_s = time.perf_counter() - begun
            tried = judge.tried
            if tried is None:
                raise SystemExit(f"{name}: too few images")
            rounds.append(
                {
                    "members": len(members),
                    "held_out": len(held),
                    "pool": len(pool),
                    "self_test": {
                        "able": tried.able,
                        "found": tried.found.value,
                        "lower": tried.found.lower,
                        "upper": tried.found.upper,
                        "false": tried.false.value,
                        "by_kind": {k: round(m.value, 4) for k, m in tried.by_kind.items()},
                        "planted": tried.planted,
                    },
                    "control": {**_reached(judge), "seconds": round(control_s, 1)},
                    "encoder_s": round(encoder_s, 1),
                    "real_side_s": round(real_s, 1),
                }
            )
            print(name, number, rounds[-1]["self_test"], flush=True)
            for kind, (copies, draw) in generators(members, pool, sizes[2], quick=told.quick).items():
                begun = time.perf_counter()
                found = judge.judge(draw(rng))
                row = {"generator": kind, "copies": copies, "round": number, **summed(found)}
                rows.append({**row, "seconds": round(time.perf_counter() - begun, 1)})
                print(name, kind, row["verdict"], row["failed"], flush=True)
    return {"rounds": rounds, "generators": rows}


def _control(members: Drawn, folder: Path, told: argparse.Namespace, rng: np.random.Generator) -> Control | None:
    """Over-fit a generator to a few members; None where it does not come to repeat them in its time."""
    rows = few_of(members, np.arange(len(members)), rng)
    seconds = 2.0 if told.quick else told.control
    order = Order(family=told.family, clock=Clock())
    images = overfitted(members.take(rows), plan_for(members), folder / "control", seconds, order)
    return None if images is None else Control(images, rows)


def _reached(judge: Auditor) -> dict[str, Any]:
    """Return what the attack on who was trained on reached on the generator that gives them away, space by space."""
    each = {f.space: f for f in judge.control if f.name == "membership"}
    return {
        "is": "resampled" if judge.ask.control is None else "overfitted",
        "seen": bool(judge.leaky),
        "auc": {
            space: [round(v, 4) for v in (f.value.value, f.value.lower, f.value.upper) if v is not None]
            for space, f in each.items()
        },
    }


def summed(found: Audit) -> dict[str, Any]:
    """Return what of an audit is recorded."""
    return {
        "verdict": found.verdict,
        "failed": sorted({f"{f.name} {f.space}".strip() for f in found.findings if f.outcome == FAIL}),
        "findings": {
            f"{f.name} {f.space}".strip(): [
                round(v, 4) for v in (f.value.value, f.value.lower, f.value.upper) if v is not None and np.isfinite(v)
            ]
            for f in found.findings
        },
    }


def generators(members: Drawn, pool: Drawn, n: int, *, quick: bool) -> dict[str, tuple[float, Images]]:
    """Return generators by name: the share of copies among their images, and what draws them."""
    found: dict[str, tuple[float, Images]] = {}
    for rate in (0.1, 1.0) if quick else RATES:
        found[f"{rate:.0%} changed copies"] = (rate, lambda rng, r=rate: copying(members, pool, n, r, rng))
    for kind in KINDS[:1] if quick else KINDS[:-1]:
        found[f"10% copies, {kind} only"] = (0.1, lambda rng, k=kind: copying(members, pool, n, 0.1, rng, k))
    for width in (0.05,) if quick else (0.02, 0.05, 0.1):
        found[f"kernel of {width}"] = (1.0, lambda rng, w=width: kernel(members, n, w, rng))
    for share in (0.7,) if quick else (0.5, 0.7):
        found[f"blends, {share:.0%} of one"] = (1.0, lambda rng, s=share: blended(members, n, s, rng))
    # From here on nothing is copied.
    for number in range(1 if quick else 3):
        found[f"the pool, draw {number}"] = (0.0, lambda rng: pool.take(rng.permutation(len(pool))[:n]).nameless())
    found["the pool, blurred"] = (0.0, lambda rng: altered(pool, n, "blur", rng))
    for kind in () if quick else ("mixture", "noise", "rotation"):
        found[f"the pool, {kind}"] = (0.0, lambda rng, k=kind: altered(pool, n, k, rng))
    for k in (10,) if quick else (10, 30, 60):
        found[f"{k} principal components"] = (0.0, lambda rng, k=k: components(members, n, k, rng))
    return found


def copying(members: Drawn, pool: Drawn, n: int, rate: float, rng: np.random.Generator, kind: str = "") -> Drawn:
    """Return honest images with a share of changed copies among them, in an order by chance."""
    n_copies = max(1, round(rate * n))
    rows = rng.permutation(np.arange(n_copies) % len(members))
    kinds = [kind or str(rng.choice(KINDS)) for _ in rows]
    images = np.stack([changed(members.images[r], k, rng) for r, k in zip(rows, kinds, strict=True)])
    copies = Drawn(images, members.labels[rows], np.full(n_copies, ""))
    rest = pool.take(rng.permutation(len(pool))[: n - n_copies]).nameless() if n > n_copies else None
    images = copies.images if rest is None else np.concatenate([copies.images, rest.images])
    labels = copies.labels if rest is None else np.concatenate([copies.labels, rest.labels])
    order = rng.permutation(len(images))
    return Drawn(images[order], labels[order], np.full(len(images), ""))


def kernel(members: Drawn, n: int, width: float, rng: np.random.Generator) -> Drawn:
    """Return members with noise of a share of their range: what a kernel density estimate draws."""
    rows = rng.integers(0, len(members), n)
    spans = np.ptp(members.images[rows].reshape(n, -1), axis=1)[:, None, None, None, None]
    images = members.images[rows] + width * spans * rng.normal(size=members.images[rows].shape)
    return Drawn(images, members.labels[rows], np.full(n, ""))


def blended(members: Drawn, n: int, share: float, rng: np.random.Generator) -> Drawn:
    """Return two members of a class laid over each other."""
    first = rng.integers(0, len(members), n)
    second = np.array([rng.choice(np.flatnonzero(members.labels == members.labels[r])) for r in first])
    images = share * members.images[first] + (1 - share) * members.images[second]
    return Drawn(images, members.labels[first], np.full(n, ""))


def altered(pool: Drawn, n: int, kind: str, rng: np.random.Generator) -> Drawn:
    """Return images of the pool, changed as copies are: an honest generator with a hand of its own."""
    some = pool.take(rng.permutation(len(pool))[:n]).nameless()
    return Drawn(np.stack([changed(i, kind, rng) for i in some.images]), some.labels, some.patients)


def components(members: Drawn, n: int, k: int, rng: np.random.Generator) -> Drawn:
    """Return draws from a Gaussian in the first principal components of each class, with what is left as noise."""
    images, labels = [], []
    for number, count in members.counts.items():
        flat = members.of_class(number).images.reshape(count, -1)
        centre = flat.mean(axis=0)
        _, spread, axes = np.linalg.svd(flat - centre, full_matrices=False)
        kept = min(k, count // 5)
        share = max(1, round(n * count / len(members)))
        codes = rng.normal(size=(share, kept)) * spread[:kept] / np.sqrt(count)
        left = np.sqrt((spread[kept:] ** 2).sum() / count / flat.shape[1])
        drawn = centre + codes @ axes[:kept] + left * rng.normal(size=(share, flat.shape[1]))
        images.append(drawn.reshape(share, *members.images.shape[1:]))
        labels += [number] * share
    return Drawn(np.concatenate(images), np.array(labels), np.full(len(labels), ""))


def grouped(images: np.ndarray, limit: float) -> np.ndarray:
    """Return a patient for each image, (n,) int: images that are equal, or nearer than a limit, share one.

    Args:
        images: (n, j, i) float64.
        limit: Distance as :class:`lucency.synthesize.audit.spaces.Pixels` has it; 0 for equal images only.
    """
    _, same = np.unique(images.reshape(len(images), -1), axis=0, return_inverse=True)
    same = np.asarray(same).reshape(-1)
    if not limit:
        return same
    pixels = Pixels(2)
    x = ((images - images.mean()) / images.std())[:, None, None].astype(np.float32)
    plain = pixels.plain(x)
    near = [pixels.apart(plain[at : at + 200, None], plain) < limit for at in range(0, len(x), 200)]
    return np.asarray(connected_components(np.concatenate(near))[1])


def dealt(
    images: np.ndarray, groups: np.ndarray, labels: np.ndarray, sizes: tuple[int, int], rng: np.random.Generator
) -> tuple[Drawn, Drawn, Drawn]:
    """Return members, held-out images and the pool, patient by patient; of equal images one is kept."""
    _, first = np.unique(images.reshape(len(images), -1), axis=0, return_index=True)
    turn = rng.permutation(groups.max() + 1)
    order = first[np.argsort(turn[groups[first]], kind="stable")]
    normal = (images - images[order].mean()) / images[order].std()
    people = np.array([f"patient {g}" for g in groups])
    cuts = []
    for wanted in np.cumsum(sizes):
        # Not within a patient.
        at = int(wanted)
        while at < len(order) and groups[order[at]] == groups[order[at - 1]]:
            at += 1
        cuts.append(at)
    made = [Drawn(normal[c][:, None, None].astype(np.float32), labels[c], people[c]) for c in np.split(order, cuts)]
    return made[0], made[1], made[2]


def load(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return images (n, j, i) float64 and classes (n,) of a set."""
    if name == "pneumoniamnist":
        with np.load(DATA / "pneumoniamnist_trainval.npz", allow_pickle=False) as file:
            images = np.concatenate([file["train_images"], file["val_images"]])
            labels = np.concatenate([file["train_labels"], file["val_labels"]]).reshape(-1)
    else:
        path = next((DATA / name).glob("*.npz"))
        with np.load(path, allow_pickle=False) as file:
            images, labels = file["images"], file["labels"].reshape(-1)
        n, side = len(images), images.shape[1] // 2
        images = images.reshape(n, side, 2, side, 2).mean(axis=(2, 4))
    return images.astype(np.float64), labels.astype(np.int64)


def _made(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return blobs with a texture of their own, (n, 16, 16): generated patients for a trial that takes seconds."""
    rng = np.random.default_rng(0)
    j, i = np.mgrid[:16, :16]
    labels = np.arange(n) % 2
    images = []
    for label in labels:
        y, x = rng.uniform(5, 11, 2)
        w = rng.uniform(1.5, 2.5)
        blob = np.exp(-(((j - y) / w) ** 2) - ((i - x) / (w * (1 + label))) ** 2)
        images.append(blob + rng.normal(0, 0.15, (16, 16)))
    return np.stack(images), labels


def plan_for(members: Drawn) -> Plan:
    """Return the plan whose network the encoder is: small, for minutes on one core."""
    size = tuple(members.images.shape[2:])
    return Plan(
        task="classify",
        network="resnet",
        network_options={"widths": (12.0, 24.0, 48.0), "depth": 8},
        channels=members.images.shape[1],
        modalities=("image",),
        dims=2,
        grid=Grid("fit", size),
        patch=size,
        tile=size,
        batch=32,
        normalisation=Normalisation("zscore"),
        augmentation={},
        schedule=Schedule(1, 2e-3, warmup=20),
        precision="fp32",
        folds=(0,),
        seed=0,
        minutes=1.0,
        reasons=dict.fromkeys(DECISIONS, "for the benchmark"),
        classes=tuple(str(k) for k in members.classes),
    )


if __name__ == "__main__":
    main()
