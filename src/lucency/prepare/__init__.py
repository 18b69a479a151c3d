"""Arrays on the network's grid, and the way back. Whatever is done to an image here is undone here."""

from lucency.prepare.facts import facts_of, region_ml, region_of
from lucency.prepare.grid import normalise, own_scale, place_of, prepare_image, prepare_labels, resize, restore
from lucency.prepare.place import Place, Prepared
from lucency.prepare.store import (
    Entry,
    Seen,
    Store,
    TargetOf,
    Writer,
    digest_of,
    images_of,
    label_source,
    prepare,
    unlabelled,
    used,
    writing,
)
from lucency.prepare.tiles import tile_starts
from lucency.prepare.tilt import lean_back, set_upright, upright_of
from lucency.prepare.visits import prepare_visits
from lucency.prepare.worlds import covered, placed_on

__all__ = [
    "Entry",
    "Place",
    "Prepared",
    "Seen",
    "Store",
    "TargetOf",
    "Writer",
    "covered",
    "digest_of",
    "facts_of",
    "images_of",
    "label_source",
    "lean_back",
    "normalise",
    "own_scale",
    "place_of",
    "placed_on",
    "prepare",
    "prepare_image",
    "prepare_labels",
    "prepare_visits",
    "region_ml",
    "region_of",
    "resize",
    "restore",
    "set_upright",
    "tile_starts",
    "unlabelled",
    "upright_of",
    "used",
    "writing",
]
