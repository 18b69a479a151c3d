"""Families of generators at equal time: what a network learns from their images, how near these come, how they repeat.

Each family trains for as long on the training part. Then as many images as the training part has are drawn of the same
classes. Judged on real images that no generator saw: the AUC of a network trained on drawn images alone, beside that
of one trained on as many real ones in as many steps; the Fréchet distance beside that of as many real images; repeats
in each class; the verdict of the privacy audit, which is first tried on planted copies. In the same run the time of a
step stands beside that of the loop of the usual tutorial.
"""

import argparse
import json
import math
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from audit import summed
from material import DATA
from recorded import begin, parser, write
from torch import nn

from lucency import machine, planner
from lucency.case import Cohort
from lucency.errors import UsageError
from lucency.events import Clock, Events
from lucency.generators import SIZES, every_family
from lucency.image import Image
from lucency.plan import Grid, Plan
from lucency.planner import Budget
from lucency.prepare import Store, prepare
from lucency.profile import profile
from lucency.read import read
from lucency.synthesize.audit import Ask, Auditor
from lucency.synthesize.drawn import Drawn, drawn_of
from lucency.synthesize.encoders import Encoder, random_encoder, trained_encoder
from lucency.synthesize.fidelity.panel import panel
from lucency.synthesize.fidelity.use import headline, tstr, use_of
from lucency.synthesize.maker import Maker
from lucency.synthesize.making import Order, drafted, make, members_of, work_of
from lucency.tasks import Task, task_named
from lucency.tasks.generate import tiled
from lucency.train import Work
from lucency.train.loop import Loop
from lucency.write.raster import write_picture

NAME = "generators"

#: Families of the table; the flow is for more images than these sets have.
FAMILIES = ("gan-mlp", "dcgan", "wgan-gp", "r3gan", "vae")

#: Set to where it lies and the side that its images are brought to.
SETS = {"pneumoniamnist": ("pneumoniamnist_trainval.npz", 28), "mednist": ("mednist/mednist_64.npz", 32)}

#: Every how many-th image of each class is judged by, where a set has no validation part.
HELD = 5

#: Optimiser steps of each network that is taught, and of the encoder.
TAUGHT, SEEING = 400, 300

#: Images that the audit looks at.
AUDITED = 2000

#: Images of each class in a grid that is kept.
SHOWN = 10

#: Steps that are timed, and untimed before.
TIMED, WARM = 60, 10


@dataclass(frozen=True)
class Bench:
    """One set, ready to be learned from."""

    cohort: Cohort
    plan: Plan
    store: Store
    task: Task
    members: Drawn
    held: Drawn
    folder: Path


def main() -> int:
    """Run and record."""
    options = arguments()
    facts = begin()
    torch.set_num_threads(options.threads or machine.cores())
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as place:
        folder = options.keep or Path(place)
        bench = benched(options, folder)
        print(f"{len(bench.members)} to learn from {bench.members.counts}, {len(bench.held)} to judge by", flush=True)
        # Before anything else has the machine: a step of each and of the tutorial's loop.
        steps = step_times(bench, options)
        rows, judges = {}, None
        for name in options.families:
            done = folder / f"{name}.row.json"
            if not done.exists():
                judges = judges or judges_of(bench, options, folder)
                row = {"commit": facts["commit"]} | row_of(bench, name, options, folder, judges)
                done.write_text(json.dumps(row), encoding="utf-8")
            rows[name] = json.loads(done.read_text(encoding="utf-8"))
            print(name, rows[name], flush=True)
    found = [f"{name} {row['tstr_auc']:.3f}/{row['fd_ratio_trained']:.1f}×" for name, row in rows.items()]
    result = facts | {
        "settings": {
            "set": options.set,
            "minutes_each": options.minutes,
            "size": options.size,
            "learned_from": {bench.plan.classes[k]: n for k, n in bench.members.counts.items()},
            "judged_by": {bench.plan.classes[k]: n for k, n in bench.held.counts.items()},
            "taught_steps": options.taught,
            "encoder_steps": options.seeing,
            "threads": torch.get_num_threads(),
        },
        "families": rows,
        "steps": steps,
    }
    said = f"{options.set}, {options.minutes:g} min each: AUC trained on drawn images / FD to the real-real floor: "
    write(f"{NAME}_{options.set}", said + ", ".join(found), result, options)
    return 0


def arguments() -> argparse.Namespace:
    """Return what was asked for, with what --quick makes small."""
    made = parser(__doc__ or "", NAME)
    made.add_argument("--set", choices=sorted(SETS), default="pneumoniamnist", help="[pneumoniamnist]")
    made.add_argument("--minutes", type=float, default=10.0, help="training of each family [10]")
    made.add_argument("--families", nargs="+", choices=sorted(every_family()), default=FAMILIES)
    made.add_argument("--size", choices=("", *SIZES), default="", help="[what the time allows]")
    made.add_argument("--test", type=Path, help="npz with test_images and test_labels, judged as well")
    made.add_argument("--grids", type=Path, help="folder for a picture of each family's images")
    made.add_argument(
        "--keep", type=Path, help="folder to keep, or to go on with: families done there are not repeated"
    )
    made.add_argument("--threads", type=int, default=0, help="[all usable cores]")
    made.add_argument("--chance", type=float, default=0.3, help="of each change that critics see through [.3]")
    made.add_argument("--adaptive", action="store_true", help="the chance follows the critic, up to --chance")
    made.add_argument("--taught", type=int, default=TAUGHT, help=f"steps of each network that is taught [{TAUGHT}]")
    made.add_argument("--seeing", type=int, default=SEEING, help=f"steps of the encoder [{SEEING}]")
    options = made.parse_args()
    if options.quick:
        options.minutes, options.taught, options.seeing, options.size = 0.05, 4, 4, "tiny"
        options.families = options.families if options.families != FAMILIES else ("dcgan", "vae")
    return options


def benched(options: argparse.Namespace, folder: Path) -> Bench:
    """Read, fold, plan and prepare a set; the part that is judged by is fold 0."""
    name, side = SETS[options.set]
    cohort = folded(read(generated(folder) if options.quick else DATA / name))
    task, found = task_named("classify"), profile(cohort)
    draft = planner.plan(cohort, found, task.needs(found), machine.measure(), Budget(10.0, options.seed))
    size = (1, side, side)
    plan = replace(draft, grid=Grid("fit", size), patch=size, tile=size, folds=(0,), seed=options.seed)
    store = prepare(cohort, plan, task.target, folder / "prepared", workers=machine.cores())
    held = cohort.fold(0)
    judged = drawn_of(store, [c.id for c in held], [c.patient for c in held])
    return Bench(cohort, plan, store, task, members_of(cohort, plan, store, 0), judged, folder)


def folded(cohort: Cohort) -> Cohort:
    """Return a cohort with the validation part, or a fifth of each class, as fold 0 and the rest as fold 1."""
    parts = {c.part for c in cohort.cases}
    labelled = [c for c in cohort.cases if c.target is not None and c.part != "test"]
    if "val" in parts:
        folds = {c.id: int(c.part != "val") for c in labelled}
    else:
        seen: dict[str, int] = {}
        folds = {}
        for case in labelled:
            seen[str(case.target)] = seen.get(str(case.target), -1) + 1
            folds[case.id] = int(seen[str(case.target)] % HELD != 0)
    return replace(cohort, folds=folds, locked=frozenset())


def generated(folder: Path) -> Path:
    """Write images of 28 × 28 in two classes, a square and a bar on noise; return the file."""
    rng = np.random.default_rng(0)
    arrays = {}
    for part, n in (("train", 120), ("val", 60)):
        truth = rng.integers(0, 2, n)
        images = rng.normal(90, 12, (n, 28, 28))
        for image, label, at in zip(images, truth, rng.integers(4, 12, (n, 2)), strict=True):
            image[at[0] : at[0] + (4 if label else 10), at[1] : at[1] + (14 if label else 10)] += 90
        arrays[f"{part}_images"], arrays[f"{part}_labels"] = images.clip(0, 255).astype(np.uint8), truth
    np.savez(folder / "made.npz", **arrays)  # type: ignore[arg-type]
    return folder / "made.npz"


@dataclass(frozen=True, eq=False)
class Judges:
    """What knows the real images and judges every family alike."""

    encoders: Sequence[Encoder]
    auditor: Auditor


def judges_of(bench: Bench, options: argparse.Namespace, folder: Path) -> Judges:
    """Train the encoder on the training part, and try the auditor on planted copies."""
    seeing = {"steps": options.seeing, "seed": options.seed}
    trained = trained_encoder(bench.members, bench.plan, folder / "encoder", **seeing)
    encoders = [trained, random_encoder(bench.plan.channels, bench.plan.dims)]
    rng = np.random.default_rng(options.seed)
    return Judges(encoders, Auditor(bench.members, bench.held, encoders, rng, Ask(known=False)))


def row_of(bench: Bench, name: str, options: argparse.Namespace, folder: Path, judges: Judges) -> dict[str, Any]:
    """Train a family, draw, and judge."""
    order = Order(
        family=name,
        size=options.size,
        chance=options.chance,
        adaptive=options.adaptive,
        few=True,
        clock=Clock(),
        events=Events(folder / f"{name}.jsonl"),
    )
    asked = bench.cohort, bench.plan, bench.store, 0, folder / name, 60 * options.minutes
    refused = ""
    try:
        maker = make(*asked, order)
    except UsageError as error:
        # At equal time a family that is too slow for it stands in the table as well, with what it has come to.
        refused = str(error)
        type(every_family()[name]).least_seen = 1  # type: ignore[misc]
        maker = make(*asked, replace(order, size=SIZES[0]))
    rng = np.random.default_rng(options.seed)
    before = time.perf_counter()
    made = maker.sample(bench.members.labels, rng)
    drawing_s = time.perf_counter() - before
    kept = {"steps": options.taught, "seed": options.seed}
    taught = use_of(made, bench.members, bench.held, bench.plan, folder / "use", **kept)
    found = panel(made, bench.members, bench.held, judges.encoders, rng)
    some = made.take(np.sort(rng.permutation(len(made))[:AUDITED]))
    audit = judges.auditor.judge(some)
    if options.grids is not None:
        write_grid(options.grids / f"{options.set}-{name}.png", made)
    row: dict[str, Any] = {
        "tstr_auc": rounded(headline(taught.tstr)),
        "trtr_auc": rounded(headline(taught.trtr)),
        "trts_auc": rounded(headline(taught.trts)),
        "tstr_accuracy": rounded(taught.tstr["accuracy"].value),
        "trtr_accuracy": rounded(taught.trtr["accuracy"].value),
    }
    if options.test is not None:
        row |= on_test(bench, made, options, folder)
    for encoder, measures in found.by_encoder.items():
        row[f"fd_ratio_{encoder}"] = rounded(measures["fd"].ratio)
        row |= {f"{m}_{encoder}": rounded(v.synthetic.value) for m, v in measures.items()}
        row |= {f"{m}_{encoder}_real": rounded(v.real.value) for m, v in measures.items()}
    for number, measures in found.by_class.items():
        label = bench.plan.classes[number] if number >= 0 else "all"
        row |= {f"{m} {label}": [rounded(v.synthetic.value), rounded(v.real.value)] for m, v in measures.items()}
    row["audit"] = summed(audit) | {
        "reasons": [reason.key for reason in audit.reasons],
        "planted_found": None if audit.self_test is None else rounded(audit.self_test.found.value),
        "false": None if audit.self_test is None else rounded(audit.self_test.false.value),
    }
    row["refused_to_a_user"] = refused
    row["collapsed"] = [bench.plan.classes[k] for k in found.collapsed]
    return row | of_training(maker, drawing_s, len(made))


def of_training(maker: Maker, drawing_s: float, n: int) -> dict[str, Any]:
    """Return what training took and how the generator is made."""
    return {
        "seconds": maker.made.seconds,
        "steps": maker.made.steps,
        "batch": maker.plan.batch,
        "seen_per_s": rounded(maker.made.steps * maker.plan.batch / max(maker.made.seconds, 1e-9), 1),
        "drawn_per_s": rounded(n / max(drawing_s, 1e-9), 1),
        "width": maker.plan.network_options["width"],
        "size": maker.plan.reasons["network_options"].partition(":")[0],
        "weights": {part: sum(p.numel() for p in net.parameters()) for part, net in maker.parts.items()},
        "rolled_back": list(maker.made.rolled_back),
        "remarks": list(maker.made.remarks),
    }


def on_test(bench: Bench, made: Drawn, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Return AUC and accuracy on a test part that is kept elsewhere, learned from drawn and from real images."""
    cohort = read(options.test)
    cases = [replace(c, target=str(c.target)) for c in cohort.cases if c.part == "test"]
    alone = replace(cohort, cases=tuple(cases), folds={c.id: 0 for c in cases}, locked=frozenset())
    store = prepare(alone, bench.plan, bench.task.target, folder / "test")
    judged = drawn_of(store, [c.id for c in cases], [c.patient for c in cases])
    kept = {"steps": options.taught, "seed": options.seed}
    found = {
        way: tstr(source, judged, bench.plan, folder / "use", **kept)
        for way, source in (("tstr", made), ("trtr", bench.members))
    }
    return {f"{way}_{m}_test": rounded(v.value) for way, each in found.items() for m, v in each.items()}


def write_grid(path: Path, made: Drawn) -> None:
    """Write some images of each class, a row each; of volumes the middle slice."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [made.of_class(k).images[:SHOWN, 0] for k in made.classes]
    planes = [np.pad(r, [(0, SHOWN - len(r)), (0, 0), (0, 0), (0, 0)])[:, r.shape[1] // 2] for r in rows]
    write_picture(path, Image(tiled(np.concatenate(planes), SHOWN)[None, None], np.eye(4)))


# --- step time -----------------------------------------------------------------------------------------------------


def step_times(bench: Bench, options: argparse.Namespace) -> dict[str, Any]:
    """Return milliseconds of a step of the tutorial's loop and of ours with the same networks' width and batch."""
    width, batch = 32, 32
    n = 4 if options.quick else TIMED
    ours = Loop(replace(work_for(bench, "dcgan", width, batch), events=Events()), 0, math.inf)
    plain, weights = tutorial(torch.from_numpy(bench.members.images[:, :, 0].copy()), width, batch)
    timed = {"tutorial": plain, "dcgan": ours._one_step}
    times: dict[str, list[float]] = {name: [] for name in timed}
    for number in range(n + WARM):
        for name, step in timed.items():
            before = time.perf_counter()
            step()
            if number >= WARM:
                times[name].append(time.perf_counter() - before)
    found: dict[str, Any] = {name: rounded(1000 * float(np.median(each)), 2) for name, each in times.items()}
    own = {name: sum(p.numel() for p in part.parameters()) for name, part in ours.parts.items()}
    return {"milliseconds": found, "batch": batch, "weights": {"tutorial": weights, "dcgan": own}}


def work_for(bench: Bench, name: str, width: int, batch: int) -> Work:
    """Return the work of a family at a width, as the room makes it."""
    order = Order(family=name)
    own = replace(drafted(bench.members, bench.plan, 0, every_family()[name], width, order), batch=batch)
    return work_of(bench.members, own, bench.plan, bench.folder / "timed", order)


def tutorial(images: torch.Tensor, width: int, batch: int) -> tuple[Callable[[], None], dict[str, int]]:
    """Return a step of the DCGAN tutorials for 28 and 32 pixels, and its weights: no classes, no changes, no average.

    Args:
        images: (n, C, J, I) float32.
        width: Channels of the finest map inside.
        batch: Images of a step.
    """
    channels, side = images.shape[1], images.shape[2] // 4
    torch.manual_seed(0)
    maker = nn.Sequential(
        nn.ConvTranspose2d(100, 4 * width, side, bias=False),
        *(nn.BatchNorm2d(4 * width), nn.ReLU(inplace=True)),
        nn.ConvTranspose2d(4 * width, 2 * width, 4, 2, 1, bias=False),
        *(nn.BatchNorm2d(2 * width), nn.ReLU(inplace=True)),
        nn.ConvTranspose2d(2 * width, channels, 4, 2, 1, bias=False),
        nn.Tanh(),
    )
    judge = nn.Sequential(
        nn.Conv2d(channels, 2 * width, 4, 2, 1, bias=False),
        nn.LeakyReLU(0.2, inplace=True),
        nn.Conv2d(2 * width, 4 * width, 4, 2, 1, bias=False),
        *(nn.BatchNorm2d(4 * width), nn.LeakyReLU(0.2, inplace=True)),
        nn.Conv2d(4 * width, 1, side, bias=False),
        nn.Flatten(0),
    )
    rates = [torch.optim.Adam(net.parameters(), lr=2e-4, betas=(0.5, 0.999)) for net in (judge, maker)]
    loss, one, zero = nn.BCEWithLogitsLoss(), torch.ones(batch), torch.zeros(batch)

    def step() -> None:
        real = images[torch.randint(len(images), (batch,))]
        rates[0].zero_grad()
        loss(judge(real), one).backward()
        made = maker(torch.randn(batch, 100, 1, 1))
        loss(judge(made.detach()), zero).backward()
        rates[0].step()
        rates[1].zero_grad()
        loss(judge(made), one).backward()
        rates[1].step()

    return step, {
        "generator": sum(p.numel() for p in maker.parameters()),
        "critic": sum(p.numel() for p in judge.parameters()),
    }


def rounded(value: float, digits: int = 4) -> float | None:
    """Return a number for a record; None for what is not defined."""
    return round(float(value), digits) if math.isfinite(value) else None


if __name__ == "__main__":
    sys.exit(main())
