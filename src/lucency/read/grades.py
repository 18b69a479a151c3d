"""Classes that have an order: grades, stages, scores."""

import re
from collections.abc import Sequence

#: Words that a column or folder of grades is called by, English and Chinese, in lower case.
GRADE_WORDS = (
    *("grade", "grading", "stage", "staging", "score", "severity", "level", "birads", "bi-rads", "pirads", "pi-rads"),
    *("tirads", "ti-rads", "kellgren", "gleason", "isup", "等级", "分级", "分期", "评分", "程度", "严重"),
)

#: Names in their known order; classes that all stand in one of them are ordered.
ORDERS: tuple[tuple[str, ...], ...] = (
    ("none", "absent", "normal", "healthy", "no", "minimal", "trace", "mild", "moderate", "severe", "very severe"),
    ("no dr", "mild", "moderate", "severe", "proliferative", "proliferative dr"),
    ("very low", "low", "intermediate", "medium", "high", "very high"),
    ("benign", "probably benign", "indeterminate", "suspicious", "malignant"),
    ("0", "i", "ia", "ib", "ii", "iia", "iib", "iii", "iiia", "iiib", "iiic", "iv", "iva", "ivb", "v", "vi"),
    ("t0", "t1", "t2", "t3", "t4"),
    ("无", "正常", "轻微", "轻度", "中度", "重度", "极重度"),
    ("低", "中", "高"),
    ("一级", "二级", "三级", "四级", "五级"),
)

#: Fewest classes of which an order says anything.
LEAST_GRADES = 3


def order_of(classes: Sequence[str], target_name: str = "") -> tuple[str, ...]:
    """Return the classes from the lowest to the highest grade, or nothing where no order is known.

    Numbers are grades only where the column or the class is called so: elsewhere they are codes.

    Args:
        classes: Names, in any order.
        target_name: Column or folder that they come from.

    Example:
        >>> order_of(["severe", "mild", "moderate"]), order_of(["2", "0", "1"], "KL grade"), order_of(["2", "0", "1"])
        (('mild', 'moderate', 'severe'), ('0', '1', '2'), ())
    """
    if len(classes) < LEAST_GRADES:
        return ()
    plain = {name: re.sub(r"^(grade|stage|level|score)\s*[-_]?\s*", "", name.strip().lower()) for name in classes}
    if len(set(plain.values())) < len(classes):
        return ()
    called = any(plain[name] != name.strip().lower() for name in classes)
    said = called or any(word in target_name.lower() for word in GRADE_WORDS)
    if all(re.fullmatch(r"\d{1,2}", word) for word in plain.values()):
        return tuple(sorted(classes, key=lambda name: int(plain[name]))) if said else ()
    for order in ORDERS:
        if set(plain.values()) <= set(order):
            return tuple(sorted(classes, key=lambda name: order.index(plain[name])))
    return ()
