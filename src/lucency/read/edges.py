"""Which columns of a table say where a box is, and of what."""

from lucency.read.table import ROLES, Table, plain

#: Words for the edges, by what they give: low and high corner, corner and sides, or middle and sides.
CORNERS = (
    ("xmin", "ymin", "xmax", "ymax"),
    ("x1", "y1", "x2", "y2"),
    ("left", "top", "right", "bottom"),
    ("bboxxmin", "bboxymin", "bboxxmax", "bboxymax"),
    ("boxxmin", "boxymin", "boxxmax", "boxymax"),
    ("bboxx1", "bboxy1", "bboxx2", "bboxy2"),
    ("xtl", "ytl", "xbr", "ybr"),
)
SIDES = (
    ("x", "y", "width", "height"),
    ("x", "y", "w", "h"),
    ("xmin", "ymin", "width", "height"),
    ("bboxx", "bboxy", "bboxwidth", "bboxheight"),
    ("bboxx", "bboxy", "bboxw", "bboxh"),
    ("bboxxminpx", "bboxyminpx", "bboxwidth", "bboxheight"),
)
DEPTHS = (("zmin", "zmax"), ("z1", "z2"), ("slicemin", "slicemax"))

#: Words for the class of a box, besides those of a label.
CLASS_WORDS = ROLES["label"] | {"classname", "name", "labelname", "finding", "findinglabel", "type", "celltype", "目标"}

#: Words for what follows from a box: they say no more of the patient than the box itself.
BESIDE_WORDS = {"area", "boxarea", "bboxarea", "difficult", "truncated", "occluded", "iscrowd", "score", "confidence"}


def edge_columns(table: Table) -> tuple[tuple[str, ...], bool]:
    """Return the columns of the edges, with depth in a volume, and whether they are corner and sides; or nothing."""
    by_word = {plain(c): c for c in reversed(table.columns) if c}
    for sides, every in ((False, CORNERS), (True, SIDES)):
        for words in every:
            if all(w in by_word for w in words):
                depth = next((d for d in DEPTHS if all(w in by_word for w in d)), ())
                return tuple(by_word[w] for w in (*words, *depth)), sides
    return (), False


def is_class_word(column: str) -> bool:
    """Tell whether a column of a table of boxes is called as the class of a box is."""
    return plain(column) in CLASS_WORDS


def box_columns(table: Table) -> set[str]:
    """Return the columns that say where boxes are, of what and how large; none where a table has no boxes.

    They are what a person drew on the image and no measurement of the patient: told beside the image they would give
    the answer away.
    """
    edges, _ = edge_columns(table)
    if not edges:
        return set()
    every = {w for words in (*CORNERS, *SIDES, *DEPTHS) for w in words}
    own = {c for c in table.columns if plain(c) in every or plain(c) in BESIDE_WORDS or is_class_word(c)}
    return own | set(edges)
