"""A patient's visits on the network's grid: their frames one after the other, each visit prepared as if alone."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from lucency.errors import DataError
from lucency.image import Image, Orientation
from lucency.plan import Plan
from lucency.prepare.grid import prepare_image
from lucency.prepare.place import Prepared, triple

#: The images of one visit in the plan's channel order, None for a modality that it lacks.
Visit = Sequence[Image | None]


def prepare_visits(visits: Sequence[Visit], plan: Plan) -> Prepared:
    """Bring the visits of a case onto the network's grid; a single one exactly as :func:`prepare_image` does.

    Each visit is normalised by itself and scaled into the same frame, so that devices, sizes and distances may differ
    between visits. Together they have no more frames than the grid; of more visits the last ones are kept.

    Args:
        visits: In the order of time.
        plan: Its grid must be one of frames where there are several.

    Raises:
        DataError: Several visits and a network that reads single images, or an image that does not fit the plan.
    """
    if len(visits) == 1:
        return prepare_image(visits[0], plan)
    if plan.grid.mode != "frames":
        raise DataError(
            f"{len(visits)} visits of one patient",
            expected="one image, as the network reads",
            remedy="train with --set network=recurrent, which reads visits in order, or without --set visits",
        )
    most, height, width = plan.grid.size
    kept = visits[-most:]
    share = replace(plan, grid=replace(plan.grid, size=(max(1, most // len(kept)), height, width)))
    made = [prepare_image(visit, share) for visit in kept]
    array = np.concatenate([one.array for one in made], axis=1)
    last = made[-1]
    # Frames of several images have no way back into one: the place says what was made, on the last visit's plane.
    place = replace(
        last.place,
        turn=Orientation((0, 1, 2), (False, False, False)),
        source_size=triple([array.shape[1], *last.place.source_size[1:]]),
        scaled=triple([array.shape[1], *last.place.scaled[1:]]),
        frame=triple(array.shape[1:]),
    )
    return Prepared(array, place, last.affine)
