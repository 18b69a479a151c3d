"""What a session did, in counts: for the terminal, for other programs and for the records."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from lucency.deidentify import engine, faces, strays
from lucency.deidentify.doubts import Doubt
from lucency.deidentify.plain import COMMON
from lucency.deidentify.rescan import Finding
from lucency.deidentify.spellings import folded
from lucency.deidentify.table import EDITION, Options
from lucency.deidentify.vocabulary import is_ordinary

if TYPE_CHECKING:
    from lucency.deidentify.places import Places
    from lucency.deidentify.work import Done

#: Words that sentences of this program use.
_OURS = "dicomdir link links file files folder archive header pixels object document voice memory text unknown other"
OURS = COMMON | frozenset(_OURS.split())
#: Stands for a name while others are looked for; characters of the length of the shortest name that is.
MARK, SHORTEST_PART = "\0", 3
#: Findings that are told one by one; the report file has them all.
SHOWN = 10


@dataclass(frozen=True)
class Report:
    """Result of a session. It names no patient and no source file.

    Args:
        n_files: Files in the source.
        actions: ``written``, ``duplicate``, ``quarantined``, ``left out`` to how many.
        n_patients: Patients among them.
        rules: Rule to how many elements met it.
        reasons: Why files were left out or held back, with how many.
        remarks: What was not removed, with how many files.
        left: What the second look found.
        options: Codes of the options, PS3.16 CID 7050, with their meaning.
        doubts: Patients that a person should look at, by pseudonym.
        key: Name of the key, not the key.
        new_key: Whether the key was made in this session.
        files: New name to action, reason and digest of every file that was written.
        paths: Where key, map, records and output are, as given by the user.
    """

    n_files: int
    actions: dict[str, int]
    n_patients: int
    rules: dict[str, int]
    reasons: dict[str, int]
    remarks: dict[str, int]
    left: tuple[Finding, ...]
    doubts: tuple[Doubt, ...]
    options: dict[str, str]
    key: str
    new_key: bool
    table: str = EDITION
    files: tuple[dict[str, Any], ...] = ()
    paths: dict[str, str] = field(default_factory=dict)

    @property
    def clean(self) -> bool:
        """Whether the second look found nothing."""
        return not self.left

    @property
    def exit_status(self) -> int:
        """0 if nothing was left, 1 otherwise; 3 if no file could be written at all."""
        if self.left:
            return 1
        return 0 if self.actions.get("written") or self.actions.get("duplicate") or not self.n_files else 3

    @classmethod
    def of(
        cls,
        done: Sequence["Done"],
        findings: Iterable[Finding],
        doubts: Iterable[Doubt],
        options: Options,
        *,
        key: str,
        made: bool,
        places: "Places",
    ) -> "Report":
        """Count what was done."""
        rules: Counter[str] = Counter()
        for one in done:
            rules.update(one.counts)
        return cls(
            n_files=len(done),
            actions=dict(Counter(d.action for d in done)),
            n_patients=len({d.patient for d in done if d.patient}),
            rules=dict(sorted(rules.items())),
            reasons=dict(Counter(without_path(d.reason, d.path) for d in done if d.reason)),
            remarks=dict(Counter(without_path(r, d.path) for d in done for r in _remarks(d))),
            left=tuple(findings),
            doubts=tuple(doubts),
            options=dict(options.codes),
            key=key,
            new_key=made,
            files=tuple(
                {"file": d.output, "action": d.action, "reason": without_path(d.reason, d.path), "sha256": d.sha256}
                for d in done
                if d.output
            ),
            paths={n: getattr(places, n).name for n in ("dst", "key", "map", "records")},
        )

    def lines(self) -> list[str]:
        """Return the report for a terminal."""
        a = self.actions
        out = [
            f"{self.n_files} files, {self.n_patients} patients: {a.get('written', 0)} written, "
            f"{a.get('duplicate', 0)} duplicates, {a.get('quarantined', 0)} held back for a person, "
            f"{a.get('left out', 0)} left out.",
            *(f"  {n} × {reason}" for reason, n in sorted(self.reasons.items(), key=lambda kv: -kv[1])[:SHOWN]),
        ]
        if a.get("left out") or a.get("quarantined"):
            out.append(f"Which files these are stands in {self.paths['records']}/left-out.csv, with their old names.")
        if self.new_key:
            out.append(
                f"A new key was made: {self.paths['key']}. Back it up: without it nothing can be turned back, and "
                "later files of the same patients get other pseudonyms."
            )
        out += [f"Not removed: {remark} ({n} files)" for remark, n in sorted(self.remarks.items())]
        for doubt in self.doubts[:SHOWN]:
            out.append(f"For a person: {doubt.reason} ({', '.join(doubt.pseudonyms)}; {doubt.n_files} files)")
        if self.doubts:
            out.append(
                f"{len(self.doubts)} such doubts stand in {self.paths['records']}/review.csv; "
                "'lucency pseudonyms' says who is behind a pseudonym."
            )
        out.append(f"Key, map of pseudonyms and {self.paths['records']} stay with the originals; they name patients.")
        if self.clean and self.exit_status:
            out.append("Nothing was written.")
        elif self.clean:
            out.append("Second look at every value that was written: nothing is left that names a patient.")
        else:
            out.append(f"SECOND LOOK: {len(self.left)} findings. Do not pass this folder on.")
            out += [f"  {f.kind} in {f.where}: {f.output}" for f in self.left[:SHOWN]]
            if any(f.kind == strays.KIND for f in self.left):
                out.append(
                    f"The names of files that were not written here stand in {self.paths['records']}/review.csv."
                )
            out.append(
                f"All of them stand in {self.paths['records']}/report.json. Take these files out of the folder, or "
                "clean their originals and start the command again."
            )
        return out


def _remarks(one: "Done") -> tuple[str, ...]:
    """Return what was not removed; of a sheared head that is less than it was before."""
    if not one.counts.get(engine.SHEARED):
        return one.remarks
    return (*(r for r in one.remarks if r not in {faces.REMAIN, faces.POSSIBLE}), faces.SHEARED)


def without_path(sentence: str, path: str) -> str:
    """Return a sentence about a file without any part of its path: folders and files are named after patients.

    Args:
        sentence: A reason or a remark.
        path: Of the file, relative to the source.

    Example:
        >>> without_path("Smith/ct1.dcm: a slice is missing", "Smith/ct1.dcm")
        '(file): a slice is missing'
    """
    pure = PurePosixPath(path)
    parts = {path, *pure.parts, *(PurePosixPath(p).stem for p in pure.parts), pure.name.split(".", maxsplit=1)[0]}
    for part in sorted(parts, key=len, reverse=True):
        if len(part) >= SHORTEST_PART and folded(part) not in OURS and not is_ordinary(folded(part)):
            sentence = re.sub(rf"(?<![^\W_]){re.escape(part)}(?![^\W_])", MARK, sentence, flags=re.IGNORECASE)
    # What is left around a name that went is the rest of the same path.
    return re.sub(rf"[\w./\\-]*{MARK}[\w./\\-]*(?:\s?{MARK}[\w./\\-]*)*", "(file)", sentence)
