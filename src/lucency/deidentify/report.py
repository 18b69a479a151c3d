"""What a session did, in counts: for the terminal, for other programs and for the records."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lucency.deidentify.rescan import Finding
from lucency.deidentify.table import EDITION, Options

if TYPE_CHECKING:
    from lucency.deidentify.session import Places
    from lucency.deidentify.work import Done

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
            reasons=dict(Counter(d.reason for d in done if d.reason)),
            remarks=dict(Counter(r for d in done for r in d.remarks)),
            left=tuple(findings),
            options=dict(options.codes),
            key=key,
            new_key=made,
            files=tuple(
                {"file": d.output, "action": d.action, "reason": d.reason, "sha256": d.sha256} for d in done if d.output
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
        if self.new_key:
            out.append(
                f"A new key was made: {self.paths['key']}. Back it up: without it nothing can be turned back, and "
                "later files of the same patients get other pseudonyms."
            )
        out += [f"Not removed: {remark} ({n} files)" for remark, n in sorted(self.remarks.items())]
        out.append(f"Key, map of pseudonyms and {self.paths['records']} stay with the originals; they name patients.")
        if self.clean and self.exit_status:
            out.append("Nothing was written.")
        elif self.clean:
            out.append("Second look at every value that was written: nothing is left that names a patient.")
        else:
            out.append(f"SECOND LOOK: {len(self.left)} findings. Do not pass this folder on.")
            out += [f"  {f.kind} in {f.where}: {f.output}" for f in self.left[:SHOWN]]
            out.append(
                f"All of them stand in {self.paths['records']}/report.json. Take these files out of the folder, or "
                "clean their originals and start the command again."
            )
        return out
