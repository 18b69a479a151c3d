"""What the data cannot support is refused, with the reason; what is merely odd becomes a sentence."""

import statistics
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import PurePosixPath

import numpy as np

from lucency.case import BAD_RULE, BAD_SHARE, N_FOLDS, Case, Cohort, Source, too_many_bad
from lucency.errors import DataError
from lucency.inspect.inspection import ImageFacts, MaskFacts
from lucency.inspect.scan import KINDS, Problem

#: Problems of masks: where they are more than single ones, images and masks may be paired wrongly.
OF_MASKS = ("grid", "labels")
#: Spacings that differ by this factor are two units (mm, cm) or a broken header …
SPACING_FACTOR = 10.0
#: … if the images' extents differ by this factor as well. Thin and thick slices of one body part do not: LiTS has
#: .45 to 6 mm along k, and all its volumes are of one abdomen.
EXTENT_FACTOR = 5.0
#: Fewer labelled patients than this give five folds and a locked part of one patient each; where the locked part is
#: supplied, fewer than the second give such folds. Up to so many cases there is a warning.
PATIENTS_LEAST, BESIDE_TEST_LEAST, CASES_FEW = 10, 8, 30
#: An image is unlike the set if its contrast is this many (robust) standard deviations and this factor away.
CONTRAST_SIGMAS, CONTRAST_FACTOR = 6.0, 3.0
#: Share of a mask on the image's lowest value from which on it lies beside the body.
OFF_BODY = 0.95
#: Names listed in one sentence.
LISTED = 5


def listed(names: Sequence[str]) -> str:
    """Return up to five names, and how many more there are."""
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(names[:LISTED]) + more


def check_problems(problems: Sequence[Problem], n_cases: int, n_skipped: int = 0) -> None:
    """Refuse NaN always, masks that do not fit above 5 % of the cases, and else by :data:`lucency.case.BAD_RULE`.

    Args:
        problems: Of the cases that were looked at.
        n_cases: How many were looked at.
        n_skipped: Files that the reader had left out before; they count as cases that cannot be used.

    Raises:
        DataError: The counts by reason and the first five files, each with what was found.
    """
    nan = [p for p in problems if p.kind == "nan"]
    if nan:
        raise DataError(
            f"NaN or infinite voxels in {len(nan)} of {n_cases} cases: {listed([p.path for p in nan])}",
            expected="finite numbers",
            where=nan[0].path,
            remedy=nan[0].remedy,
        )
    n_masks = sum(p.kind in OF_MASKS for p in problems)
    many_masks = n_masks > BAD_SHARE * n_cases
    if not problems or not (many_masks or too_many_bad(len(problems) + n_skipped, n_cases + n_skipped)):
        return
    rule = f"at most {BAD_SHARE:.0%} of the masks at fault" if many_masks else BAD_RULE
    counts = Counter(p.kind for p in problems)
    first = counts.most_common(1)[0][0]
    ordered = sorted(problems, key=lambda p: p.kind != first)
    reasons = ", ".join(f"{KINDS[kind]}: {n}" for kind, n in counts.most_common())
    details = "; ".join(f"{p.path}: {p.found.rstrip('.')}" for p in ordered[:LISTED])
    earlier = f", beside {n_skipped} files or series left out before" if n_skipped else ""
    raise DataError(
        f"{len(problems)} of {n_cases} cases cannot be used ({reasons}){earlier}. {details}",
        expected=f"{ordered[0].expected}; {rule}".removeprefix("; "),
        where=ordered[0].path,
        remedy=ordered[0].remedy or "restore or remove these files",
    )


def clips_of(cases: Sequence[Case]) -> frozenset[str]:
    """Return the ids of cases whose images run over time: a clip of one frame is a clip, and no single image."""
    return frozenset(c.id for c in cases if any(s.header.get("k_axis") == "time" for s in c.sources))


def lone_frames(images: Sequence[ImageFacts], clips: frozenset[str]) -> list[str]:
    """Return a warning that names the sequences of a single frame; they are sequences all the same.

    Args:
        images: Of the set.
        clips: Cases whose images run over time.
    """
    lone = sorted({i.case for i in images if i.case in clips and 1 in i.size})
    return (
        [f"{len(lone)} sequences have a single frame, of which no order can be read: {listed(lone)}."] if lone else []
    )


def check_alike(images: Sequence[ImageFacts], clips: frozenset[str] = frozenset()) -> list[str]:
    """Refuse a set that mixes 2-D and 3-D, channel counts or units of length; return warnings.

    Args:
        images: Of the set.
        clips: Cases whose images run over time; they count as 3-D whatever their length.

    Raises:
        DataError: Counts and one example of each kind.
    """
    warnings: list[str] = []
    by_modality: dict[str, list[ImageFacts]] = defaultdict(list)
    for image in images:
        by_modality[image.modality].append(image)
    for modality, group in sorted(by_modality.items()):
        flat = {i.case: 1 in i.size and i.case not in clips for i in group}
        _one_kind(modality, {c: "2-D" if f else "3-D" for c, f in flat.items()}, "2-D or 3-D images, not both")
        _one_kind(modality, {i.case: f"{i.channels}-channel" for i in group}, "one number of channels")
        warnings += _check_spacing(modality, [i for i in group if i.spacing_known])
    return warnings


def _one_kind(modality: str, kinds: Mapping[str, str], expected: str) -> None:
    counts = Counter(kinds.values())
    if len(counts) > 1:
        example = {kind: case for case, kind in reversed(list(kinds.items()))}
        words = " and ".join(f"{n} {kind} images (such as {example[kind]})" for kind, n in counts.most_common())
        raise DataError(
            f"{words} in one set",
            expected=expected,
            where=modality,
            remedy="put them into separate folders and train one model for each",
        )


def _check_spacing(modality: str, images: Sequence[ImageFacts]) -> list[str]:
    warnings: list[str] = []
    for axis in range(3):
        if len(images) < 2 or any(i.size[axis] == 1 for i in images):
            continue
        fine = min(images, key=lambda i: i.spacing[axis])
        coarse = max(images, key=lambda i: i.spacing[axis])
        factor = coarse.spacing[axis] / fine.spacing[axis]
        if factor < SPACING_FACTOR * (1 - 1e-6):
            continue
        extents = [i.size[axis] * i.spacing[axis] for i in (fine, coarse)]
        found = (
            f"Spacing along {'kji'[axis]} runs from {fine.spacing[axis]:.3g} mm ({fine.case}) "
            f"to {coarse.spacing[axis]:.3g} mm ({coarse.case})"
        )
        if extents[1] / extents[0] >= EXTENT_FACTOR:
            raise DataError(
                f"{found}, and the extents differ alike: {extents[0]:.3g} mm and {extents[1]:.3g} mm",
                expected=f"spacings within a factor of {SPACING_FACTOR:g}",
                where=modality,
                remedy="check the unit in the headers (mm, not cm or m), or train separate models",
            )
        warnings.append(f"{found}; both cover about the same extent, so it is taken as thin and thick slices.")
    return warnings


def check_targets(cohort: Cohort, usable: Sequence[Case], masks: Sequence[MaskFacts]) -> list[str]:
    """Refuse targets from which nothing can be learned or judged; return warnings.

    Args:
        cohort: Gives classes, labels and how patients were told apart.
        usable: The cases that are neither skipped nor left out.
        masks: Facts of their masks.

    Raises:
        DataError: Too few patients, one class only, a class with too few patients, or only empty masks.
    """
    labelled = [c for c in usable if c.target is not None]
    if cohort.made:
        return _check_translation(cohort, usable)
    if not labelled:
        raise _nothing_to_learn(cohort)
    warnings = _check_number(usable, labelled)
    learnable = [c for c in labelled if c.part != "test"]
    if any(isinstance(c.target, str) for c in learnable):
        _check_classes(cohort, learnable)
    elif all(isinstance(c.target, float | int) for c in learnable) and len({c.target for c in learnable}) == 1:
        raise DataError(
            f"Every case has the target {learnable[0].target}",
            expected="numbers that differ",
            where=cohort.target_name,
            remedy="choose another column with --target",
        )
    return warnings + _check_masks(cohort, usable, masks)


def _check_translation(cohort: Cohort, usable: Sequence[Case]) -> list[str]:
    """Refuse too few patients with either modality; with both, as few as can be learned from are enough."""
    learnable = [c for c in usable if c.part != "test"]
    wanted = {c.patient for c in learnable if cohort.made in c.images}
    given = {c.patient for c in learnable if set(c.images) - {cohort.made}}
    if min(len(wanted), len(given)) < PATIENTS_LEAST:
        raise DataError(
            f"{len(given)} patients with what {cohort.made!r} is to be made of, {len(wanted)} with {cohort.made!r} "
            f"itself, {len(wanted & given)} with both",
            expected=f"at least {PATIENTS_LEAST} of each: five folds and a locked part need several patients each",
            remedy="add patients; if every image is another patient, say so with --patient",
        )
    few = len(learnable) <= CASES_FEW
    return [f"Only {len(learnable)} cases: expect wide intervals and an unsteady model."] if few else []


def _nothing_to_learn(cohort: Cohort) -> DataError:
    """Return the refusal of data without a single label; all images in one folder may be meant as one class."""
    labelled = sum(c.target is not None for c in cohort.cases)
    if labelled:
        return DataError(
            f"None of {labelled} labelled images can be used",
            expected="images that show something, with labels that fit them",
            remedy="skipped.csv in the run folder lists every image with its reason",
        )
    files = [PurePosixPath(s.paths[0]) for c in cohort.cases for s in c.sources]
    folders = {f.parts[0] if len(f.parts) > 1 else "" for f in files}
    told = " ".join(n.rstrip(".") for n in cohort.notes if "table" in n.lower())
    if not told and len(folders) == 1 and folders != {""}:
        told = f"All lie in the folder {min(folders)!r}, which would be one class only"
    found = f"None of {len(cohort.cases)} images has a label (read as {cohort.layout!r})"
    return DataError(
        f"{found}. {told}" if told else found,
        expected="something to learn: classes, masks or numbers",
        where=files[0].as_posix(),
        remedy="put every class into a folder of its own, masks into a folder beside the images under the same names, "
        "or add a table with the columns image and label",
    )


def _check_number(usable: Sequence[Case], labelled: Sequence[Case]) -> list[str]:
    learnable = [c for c in labelled if c.part != "test"]
    patients = len({c.patient for c in learnable})
    beside = len(learnable) < len(labelled)
    if patients < (BESIDE_TEST_LEAST if beside else PATIENTS_LEAST):
        raise DataError(
            f"{patients} labelled patients ({len(learnable)} labelled cases) to learn from",
            expected=f"at least {BESIDE_TEST_LEAST} beside the test part: five folds need several patients each"
            if beside
            else f"at least {PATIENTS_LEAST}: five folds and a locked part need several patients each",
            remedy="add labelled patients; if every image is another patient, say so with --patient",
        )
    warnings = []
    if len(learnable) <= CASES_FEW:
        warnings.append(f"Only {len(learnable)} labelled cases: expect wide intervals and an unsteady model.")
    if len(labelled) < len(usable):
        warnings.append(
            f"{len(usable) - len(labelled)} of {len(usable)} cases have no label; they are kept as unlabelled."
        )
    return warnings


def _check_classes(cohort: Cohort, learnable: Sequence[Case]) -> None:
    patients: dict[str, set[str]] = {name: set() for name in cohort.classes}
    for case in learnable:
        patients.setdefault(str(case.target), set()).add(case.patient)
    present = [name for name, members in patients.items() if members]
    if len(present) == 1:
        raise DataError(
            f"Only one class, {present[0]!r}, in {len(learnable)} cases",
            expected="two or more classes",
            where=cohort.target_name,
            remedy="add cases of another class, or choose another column with --target",
        )
    parts = {c.part for c in cohort.cases}
    # A supplied test part is the locked part, a supplied validation part one of the folds.
    needed = N_FOLDS - ("val" in parts) + ("test" not in parts)
    counted = learnable if "val" not in parts else [c for c in learnable if c.part != "val"]
    for name in patients:
        n = len({c.patient for c in counted if str(c.target) == name})
        if n < needed:
            raise DataError(
                f"Class {name!r} has {n} patient{'' if n == 1 else 's'}",
                expected=f"at least {needed}, one for each fold and for the locked part",
                where=cohort.target_name,
                remedy=f"add patients, leave the class out with --set drop_classes={name}, or give a table (path, "
                "label) that merges it with another",
            )


def _check_masks(cohort: Cohort, usable: Sequence[Case], masks: Sequence[MaskFacts]) -> list[str]:
    if not masks:
        return []
    target = {c.id: c.target for c in usable}
    drawn = {m.case: {v for v, n in m.voxels.items() if n and v not in (0, cohort.ignore)} for m in masks}
    empty = sorted(case for case, values in drawn.items() if not values)
    if len(empty) == len(masks):
        first = target[empty[0]]
        raise DataError(
            f"All {len(masks)} masks are empty",
            expected="masks with labelled voxels",
            where=first.where if isinstance(first, Source) else empty[0],
            remedy="check that the masks were exported, and that the folder of masks is not another one",
        )
    warnings = []
    if empty:
        warnings.append(f"{len(empty)} of {len(masks)} masks are empty: {listed(empty)}.")
    never = sorted(set(cohort.labels) - {0} - set().union(*drawn.values()))
    if never:
        names = ", ".join(f"{v} ({cohort.labels[v]})" for v in never)
        warnings.append(f"No mask holds the label {names}; the model cannot learn it.")
    where = {v: [case for case, values in drawn.items() if v in values] for v in set().union(*drawn.values())}
    rare = {v: sorted(cases) for v, cases in sorted(where.items()) if len(cases) <= BAD_SHARE * len(masks)}
    for value, cases in rare.items():
        warnings.append(f"Label {value} is in {len(cases)} of {len(masks)} masks only: {listed(cases)}; is it meant?")
    beside = sorted(m.case for m in masks if drawn[m.case] and m.off_body >= OFF_BODY)
    if beside:
        warnings.append(f"In {len(beside)} cases the mask lies on the image's empty background: {listed(beside)}.")
    return warnings


def judge(images: Sequence[ImageFacts], masks: Sequence[MaskFacts]) -> tuple[tuple[ImageFacts, ...], list[str]]:
    """Mark images whose contrast is unlike the set's, or whose mask lies beside the body.

    Contrast is the standard deviation over the range, so the unit of the intensities does not matter.
    """
    marks: dict[str, str] = {m.case: "mask on the empty background" for m in masks if m.off_body >= OFF_BODY}
    contrast = {(i.case, i.modality, i.time): np.log(i.std / (i.maximum - i.minimum)) for i in images}
    odd: set[tuple[str, str, int]] = set()
    for modality in {i.modality for i in images}:
        own = {key: float(c) for key, c in contrast.items() if key[1] == modality}
        middle = statistics.median(own.values())
        # 1.4826 makes the median absolute deviation a standard deviation for normal data.
        spread = 1.4826 * statistics.median(abs(c - middle) for c in own.values())
        far = max(CONTRAST_SIGMAS * spread, float(np.log(CONTRAST_FACTOR)))
        odd |= {key for key, c in own.items() if abs(c - middle) > far}
    judged = []
    for image in images:
        reasons = [image.reason] if image.reason else []
        reasons += ["contrast unlike the rest of the set"] if (image.case, image.modality, image.time) in odd else []
        reasons += [marks[image.case]] if image.case in marks else []
        judged.append(replace(image, quality="warn", reason="; ".join(reasons)) if reasons else image)
    names = sorted({case for case, _, _ in odd})
    warnings = [f"{len(names)} images have a contrast unlike the rest of the set: {listed(names)}."] if names else []
    return tuple(judged), warnings
