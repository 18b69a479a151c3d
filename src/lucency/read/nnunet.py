"""Layout: nnU-Net raw, versions 1 and 2: imagesTr with channel numbers, labelsTr without."""

import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import replace

from lucency.read.layout import Candidate, Draft, Item, ReadOptions, Tree, Unit
from lucency.read.msd import description, label_names, mask_source

NAME = "nnunet"

CHANNEL = re.compile(r"^(?P<case>.+)_(?P<channel>\d{4})$")
NUMBER = re.compile(r"\d{4}")

#: Channels of a case at most where nothing but names tells of them; studies of several modalities have two to five.
#: More numbers than that count slices, frames or images.
MOST_CHANNELS = 8


def recognise(tree: Tree, options: ReadOptions) -> Candidate | None:
    """Return the claim: ``imagesTr/CASE_0000.*`` beside ``labelsTr/CASE.*``."""
    cases = by_case([u for u in tree.units if u.folders == ("imagesTr",)])
    labels = {u.stem: u for u in tree.units if u.folders == ("labelsTr",)}
    matched = sorted(set(cases) & set(labels))
    if not matched:
        return None
    described = description(tree)
    items = [Item(cases[c], mask_source(tree, labels[c].path) if c in labels else None, id=c) for c in sorted(cases)]
    unseen = by_case([u for u in tree.units if u.folders == ("imagesTs",)])
    items += [Item(units, id=c if c not in cases else f"imagesTs__{c}") for c, units in sorted(unseen.items())]
    names, ignore, notes = label_names(described.get("labels", {}))
    channels = described.get("channel_names", described.get("modality"))
    if isinstance(channels, dict):
        notes += ("Channels: " + ", ".join(f"{int(k):04d} {v}" for k, v in channels.items()) + ".",)
    evidence = [f"imagesTr and labelsTr share {len(matched)} case names with channel numbers."]
    if described:
        evidence.append("dataset.json describes them.")
    score = 1.0 if described else 0.98
    return Candidate(NAME, score, tuple(evidence), Draft(tuple(items), "labelsTr", names, ignore, notes=notes))


def by_case(units: Sequence[Unit], *, numbered: bool = False) -> dict[str, dict[str, Unit]]:
    """Return case name to channel number to image; a file without a channel number is left out.

    Args:
        units: Images.
        numbered: Keep the number where there is no other than 0000.
    """
    cases: dict[str, dict[str, Unit]] = {}
    for unit in units:
        found = CHANNEL.match(unit.stem)
        if found:
            # A table speaks of the case, not of its channels.
            named = replace(unit, names=unit.names | {found["case"]})
            cases.setdefault(found["case"], {})[found["channel"]] = named
    # One channel is the plain case, and then any other folder of images fits the model.
    if not numbered and all(set(c) == {"0000"} for c in cases.values()):
        return {name: {"image": c["0000"]} for name, c in cases.items()}
    return cases


def are_channels(numbers: Collection[str], known: Collection[str] = ()) -> bool:
    """Tell whether numbers at the end of file names tell channels apart: they are few, and counted from 0000.

    Args:
        numbers: Of all files.
        known: Channels that a model was trained on; with them a file with any small number may stand alone.
    """
    few = all(n in known or int(n) < MOST_CHANNELS for n in numbers)
    return few and (bool(known) or "0000" in numbers)


def told_of_channels(items: Sequence[Item]) -> list[str]:
    """Return what is said of cases that were put together from files by the numbers at the end of their names."""
    several = [i for i in items if len(i.units) > 1]
    if not several:
        return []
    numbers = sorted({n for i in several for n in i.units})
    return [
        f"The files of {len(several)} cases are taken as modalities of one case each, told apart by the number at the "
        f"end of their names: {', '.join(numbers)}."
    ]


def gathered(items: Sequence[Item]) -> list[Item]:
    """Return files that are channels of one case (``CASE_0000``, ``CASE_0001`` …) as one case each.

    Only where every file has such a name, the numbers are few and no more than the cases, some case has several and
    none has two targets or parts; else the items as they are. A case may lack channels that others have.

    Args:
        items: Of a layout that knows one image a case.
    """
    groups: dict[tuple[str, ...], list[Item]] = {}
    for item in items:
        found = CHANNEL.match(item.unit.stem)
        if found is None or set(item.units) != {"image"} or item.unit.uid:
            return list(items)
        groups.setdefault((*item.unit.folders, found["case"]), []).append(item)
    numbers = {i.unit.stem[-4:] for i in items}
    if len(groups) == len(items) or len(numbers) > len(groups) or not are_channels(numbers):
        return list(items)
    count = Counter(place[-1] for place in groups)
    made = []
    for place, members in groups.items():
        targets = [m.target for m in members if m.target is not None]
        channels = {m.unit.stem[-4:]: m.unit for m in members}
        if any(t != targets[0] for t in targets) or len({m.part for m in members}) > 1 or len(channels) < len(members):
            return list(items)
        name = place[-1] if count[place[-1]] == 1 else "__".join(place)
        made.append(replace(members[0], units=channels, target=targets[0] if targets else None, id=name))
    return made
