"""Who is in a source and what is to be done with each file, settled before the first one is cleaned."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from lucency.deidentify import faces
from lucency.deidentify.dates import Shift
from lucency.deidentify.doubts import Doubt, doubts
from lucency.deidentify.engine import Person
from lucency.deidentify.faces import Shear
from lucency.deidentify.keys import Identities, Keys
from lucency.deidentify.others import new_folder
from lucency.deidentify.sources import Source
from lucency.deidentify.table import Options
from lucency.deidentify.work import Task
from lucency.errors import UsageError


@dataclass
class Survey:
    """What is known before the first file is cleaned.

    Args:
        found: Every file, in the order of the paths.
        people: (issuer, Patient ID) to who that is.
        twins: Path to the path of an earlier file with the same UID.
        uids: UIDs of the source that must not come out again.
        doubts: Patients that a person should look at.
    """

    found: list[Source]
    people: dict[tuple[str, str], Person] = field(default_factory=dict)
    twins: dict[str, str] = field(default_factory=dict)
    uids: set[str] = field(default_factory=set)
    doubts: tuple[Doubt, ...] = ()

    @classmethod
    def of(cls, found: Iterable[Source], keys: Keys, options: Options) -> "Survey":
        """Bring together what the files say of their patients."""
        survey = cls(list(found))
        known: dict[tuple[str, str], list[Identities]] = defaultdict(list)
        files: dict[tuple[str, str], list[Source]] = defaultdict(list)
        first: dict[str, str] = {}
        for source in survey.found:
            if source.kind != "dicom":
                continue
            files[patient_of(source, options)].append(source)
            kept = source.institution if "institution" in options.keep else frozenset()
            known[patient_of(source, options)].append(source.identities.without(kept))
            survey.uids |= source.uids
            if source.uid in first:
                survey.twins[source.path] = first[source.uid]
            elif source.uid:
                first[source.uid] = source.path
        shears = _planes(survey.found) if options.shear else {}
        for patient, several in known.items():
            pseudonym = keys.patient(*patient)
            shift = Shift(keys.shift_days(pseudonym), keys.shift_minutes(pseudonym))
            own = {f.frame: shears[f.frame] for f in files[patient] if f.frame in shears}
            survey.people[patient] = Person(pseudonym, shift, Identities.union(several), patient[1], own)
        survey.doubts = doubts({p: (survey.people[p].pseudonym, several) for p, several in files.items()})
        return survey

    @property
    def everybody(self) -> Identities:
        """Strings of all patients."""
        return Identities.union(p.identities for p in self.people.values())


def _planes(found: Iterable[Source]) -> dict[str, Shear]:
    """Return Frame of Reference UID to the plane of the brain mask that lies in a folder with its slices.

    Raises:
        UsageError: No mask lies beside any slice, or several lie in one folder.
        DataError: A mask cannot be used.
    """
    masks: dict[str, list[str]] = defaultdict(list)
    frames: dict[str, set[str]] = defaultdict(set)
    for source in found:
        folder = source.path.rpartition("/")[0]
        if source.mask:
            masks[folder].append(source.mask)
        elif source.frame:
            frames[folder].add(source.frame)
    planes: dict[str, Shear] = {}
    for folder in sorted(masks.keys() & frames.keys()):
        if len(masks[folder]) > 1 or len(frames[folder]) > 1:
            raise UsageError(
                f"A folder with {len(masks[folder])} brain masks and {len(frames[folder])} frames of reference",
                expected="one of each",
                remedy="put each brain mask into the folder of its own series",
            )
        (frame,), (mask,) = frames[folder], masks[folder]
        if frame not in planes:
            planes[frame] = faces.plane_of(Path(mask))
    if not planes:
        raise UsageError(
            "No brain mask lies beside any slice",
            expected="a NIfTI file in the folder of the slices, such as brain_mask.nii.gz",
            remedy="put the masks there, or leave --shear-faces out",
        )
    return planes


def patient_of(source: Source, options: Options) -> tuple[str, str]:
    """Return (issuer, Patient ID) of a file, the issuer only where it is to count."""
    return source.patient if options.issuer else ("", source.patient[1])


def tasks(survey: Survey, everybody: Identities, keys: Keys, options: Options) -> Iterator[Task]:
    """Yield what is to be done, in the order of the paths; a file with the UID of another comes after it."""
    targets: dict[str, str] = {}
    for source in survey.found:
        if source.kind == "dicom":
            person = survey.people[patient_of(source, options)]
            target = _target(source, person, keys)
            if source.path in survey.twins:
                name = target.removesuffix(".dcm")
                target = f"{name}-{keys.token(source.path, 6)}.dcm"
            targets[source.path] = target
            twin = targets.get(survey.twins.get(source.path, ""), "")
            yield Task(source.path, target, person, twin=twin)
        elif source.kind == "other":
            folders = Path(source.path).parent.parts
            folder = "/".join(new_folder(f, keys, everybody) for f in folders)
            # Filled to the end before the first task is done; only tables name files.
            table = source.path.lower().endswith((".csv", ".tsv", ".csv.gz", ".tsv.gz"))
            yield Task(source.path, folder, None, everybody, moved=targets if table else {})


def _target(source: Source, person: Person, keys: Keys) -> str:
    """Return where an object goes: folders and name are digests of the new UIDs, never of a tag's text."""

    def short(uid: str, n: int) -> str:
        return hashlib.sha256(keys.uid(uid).encode()).hexdigest()[:n] if uid else "0" * n

    return f"{person.pseudonym}/{short(source.study, 12)}/{short(source.series, 12)}/{short(source.uid, 20)}.dcm"
