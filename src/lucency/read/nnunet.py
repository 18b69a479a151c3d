"""Layout: nnU-Net raw, versions 1 and 2: imagesTr with channel numbers, labelsTr without."""

import re
from dataclasses import replace

from lucency.errors import DataError
from lucency.read.layout import Candidate, Draft, Item, ReadOptions, Tree, Unit
from lucency.read.msd import description, label_names, mask_source

NAME = "nnunet"

CHANNEL = re.compile(r"^(?P<case>.+)_(?P<channel>\d{4})$")


def recognise(tree: Tree, options: ReadOptions) -> Candidate | None:
    """Return the claim: ``imagesTr/CASE_0000.*`` beside ``labelsTr/CASE.*``.

    Raises:
        DataError: Cases that lack a channel which others have.
    """
    cases = by_case([u for u in tree.units if u.folders == ("imagesTr",)])
    labels = {u.stem: u for u in tree.units if u.folders == ("labelsTr",)}
    matched = sorted(set(cases) & set(labels))
    if not matched:
        return None
    described = description(tree)
    items = [Item(cases[c], mask_source(tree, labels[c].path) if c in labels else None, id=c) for c in sorted(cases)]
    unseen = by_case([u for u in tree.units if u.folders == ("imagesTs",)])
    items += [Item(units, id=c if c not in cases else f"imagesTs__{c}") for c, units in sorted(unseen.items())]
    _refuse_uneven(items)
    names, ignore, notes = label_names(described.get("labels", {}))
    channels = described.get("channel_names", described.get("modality"))
    if isinstance(channels, dict):
        notes += ("Channels: " + ", ".join(f"{int(k):04d} {v}" for k, v in channels.items()) + ".",)
    evidence = [f"imagesTr and labelsTr share {len(matched)} case names with channel numbers."]
    if described:
        evidence.append("dataset.json describes them.")
    score = 1.0 if described else 0.98
    return Candidate(NAME, score, tuple(evidence), Draft(tuple(items), "labelsTr", names, ignore, notes=notes))


def by_case(units: list[Unit]) -> dict[str, dict[str, Unit]]:
    """Return case name to channel number to image; a file without a channel number is left out."""
    cases: dict[str, dict[str, Unit]] = {}
    for unit in units:
        found = CHANNEL.match(unit.stem)
        if found:
            # A table speaks of the case, not of its channels.
            named = replace(unit, names=unit.names | {found["case"]})
            cases.setdefault(found["case"], {})[found["channel"]] = named
    # One channel is the plain case, and then any other folder of images fits the model.
    if all(set(c) == {"0000"} for c in cases.values()):
        return {name: {"image": c["0000"]} for name, c in cases.items()}
    return cases


def _refuse_uneven(items: list[Item]) -> None:
    channels = {frozenset(i.units) for i in items}
    if len(channels) > 1:
        every = frozenset[str]().union(*channels)
        short = [i for i in items if frozenset(i.units) != every]
        raise DataError(
            f"{len(short)} of {len(items)} cases lack a channel, first {short[0].id}",
            expected=f"channels {', '.join(sorted(every))} in every case",
            where=short[0].unit.path,
            remedy="complete the cases or take them out",
        )
