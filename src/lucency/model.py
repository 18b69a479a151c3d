"""A trained model as a folder that can be checked and loaded without running anything in it."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import safetensors
import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from lucency import __version__, record
from lucency.calibration import Calibration
from lucency.errors import ModelError, OutputError
from lucency.foreign import Foreign
from lucency.inspect import Limits
from lucency.plan import Plan

MANIFEST = "manifest.json"

#: Files of every model, beside the weights.
PARTS = ("plan.json", "calibration.json", "card.md")

#: What the training images taught about quality; a model trained before that was learned, or without, has none.
QUALITY = "quality.json"

#: How foreign images are told; a model trained on few images, or before that was learned, has none.
FOREIGN = "foreign.json"


@dataclass(frozen=True, eq=False)
class Model:
    """Plan, weights, calibration, card and manifest. No case id, path or picture is inside.

    Args:
        folder: Where it lies.
        plan: What was decided.
        calibration: What was learned after training.
        members: Names of the weight files, one per trained fold.
        digest: SHA-256 over the digests of plan, calibration, weights and quality.
        quality: Modality to the limits by which new images are judged; empty where none were learned.
        foreign: How images of another kind are told; None where that was not learned.
    """

    folder: Path
    plan: Plan
    calibration: Calibration
    members: tuple[str, ...]
    digest: str
    quality: Mapping[str, Limits] = field(default_factory=dict)
    foreign: Foreign | None = None

    def weights(self, member: str) -> dict[str, torch.Tensor]:
        """Return the tensors of one member; they were verified on load."""
        return load_weights(self.folder / f"{member}.safetensors")


def save(
    folder: Path,
    plan: Plan,
    calibration: Calibration,
    weights: Mapping[str, Mapping[str, torch.Tensor]],
    card: str,
    quality: Mapping[str, Limits] | None = None,
    foreign: Foreign | None = None,
) -> Model:
    """Write a model folder, the manifest last.

    Args:
        folder: ``RUN/model``.
        plan: As trained.
        calibration: From out-of-fold predictions.
        weights: Member name (``fold0`` …) to tensors.
        card: Model card, Markdown; no case ids.
        quality: Modality to what its training images taught; numbers only.
        foreign: How images of another kind are told; numbers only.

    Raises:
        OutputError: The folder cannot be written.
    """
    try:
        for stale in (folder / MANIFEST, folder / QUALITY, folder / FOREIGN, *folder.glob("*.safetensors")):
            stale.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(
            f"Cannot replace the model ({error.strerror})", where=folder.name, remedy="make the folder writable"
        ) from error
    record.write(folder / "plan.json", plan)
    record.write(folder / "calibration.json", calibration)
    for member, tensors in weights.items():
        save_weights(folder / f"{member}.safetensors", tensors)
    record.write_text(folder / "card.md", card)
    if quality:
        record.write(folder / QUALITY, dict(quality))
    if foreign is not None:
        record.write(folder / FOREIGN, foreign)
    further = [*([QUALITY] if quality else []), *([FOREIGN] if foreign is not None else [])]
    names = [*PARTS, *further, *(f"{m}.safetensors" for m in sorted(weights))]
    files = {name: _sha256(folder / name) for name in names}
    record.write(folder / MANIFEST, {"lucency": __version__, "files": files})
    return load(folder)


def replace_card(folder: Path, card: str) -> Model:
    """Write the card anew, as the report knows more than training did, and the manifest with it."""
    manifest = record.read_object(folder / MANIFEST)
    record.write_text(folder / "card.md", card)
    manifest["files"]["card.md"] = _sha256(folder / "card.md")
    record.write(folder / MANIFEST, manifest)
    return load(folder)


def load(folder: Path) -> Model:
    """Load a model folder (or the run that holds one), checking every byte against the manifest.

    Raises:
        ModelError: A file is missing or was changed, or the model comes from a later version.
    """
    if not (folder / MANIFEST).exists() and (folder / "model" / MANIFEST).exists():
        folder = folder / "model"
    if not (folder / MANIFEST).exists():
        raise ModelError(
            "No model here",
            expected=f"{MANIFEST}, written by training",
            where=folder.name,
            remedy="finish 'lucency fit'",
        )
    files = _files(folder)
    for name, digest in files.items():
        path = folder / name
        if Path(name).name != name or not path.is_file():
            raise ModelError("File of the model is missing", where=name, remedy="copy the whole model folder again")
        if _sha256(path) != digest:
            raise ModelError(
                "File was changed after training: its SHA-256 differs from the manifest's",
                where=name,
                remedy="take the model from its source again; do not use this copy",
            )
    plan = record.read(Plan, folder / "plan.json")
    calibration = record.read(Calibration, folder / "calibration.json")
    members = tuple(sorted(Path(n).stem for n in files if n.endswith(".safetensors")))
    foreign = record.read(Foreign, folder / FOREIGN) if FOREIGN in files else None
    return Model(folder, plan, calibration, members, weights_digest(folder), _quality(folder, files), foreign)


def _quality(folder: Path, files: Mapping[str, str]) -> dict[str, Limits]:
    """Return the limits, if the manifest lists them."""
    if QUALITY not in files:
        return {}
    found = record.read_object(folder / QUALITY)
    return {name: record.from_json(Limits, limits, QUALITY) for name, limits in found.items()}


def _files(folder: Path) -> dict[str, str]:
    """Return file name to SHA-256 from the manifest; what is loaded must stand in it, or it would go unchecked."""
    files = record.read_object(folder / MANIFEST).get("files")
    if not isinstance(files, dict) or not all(isinstance(d, str) for d in files.values()):
        raise ModelError("No list of files", where=MANIFEST, remedy="copy the whole model folder again")
    lacking = [n for n in PARTS if n not in files]
    if not any(n.endswith(".safetensors") for n in files):
        lacking.append("weights")
    if lacking:
        raise ModelError(
            f"The manifest does not list {', '.join(lacking)}",
            where=MANIFEST,
            remedy="take the model from its source again; do not use this copy",
        )
    return files


def save_weights(path: Path, tensors: Mapping[str, torch.Tensor], facts: Mapping[str, str] | None = None) -> None:
    """Write tensors in the safetensors format, whole or not at all."""
    plain = {k: v.detach().cpu().contiguous() for k, v in tensors.items()}
    record.write_bytes(path, save_tensors(plain, metadata=dict(facts or {})))


def load_weights(path: Path) -> dict[str, torch.Tensor]:
    """Read tensors from a safetensors file; nothing is executed.

    Raises:
        ModelError: Not a safetensors file.
    """
    try:
        tensors: dict[str, torch.Tensor] = load_tensors(path.read_bytes())
    except safetensors.SafetensorError as error:
        raise ModelError(f"Weights cannot be read ({error})", where=path.name, remedy="restore the file") from None
    return tensors


def load_facts(path: Path) -> dict[str, str]:
    """Return the text facts stored beside the tensors.

    Raises:
        ModelError: Not a safetensors file.
    """
    try:
        with safetensors.safe_open(str(path), framework="pt") as file:
            return dict(file.metadata() or {})
    except safetensors.SafetensorError as error:
        raise ModelError(f"Weights cannot be read ({error})", where=path.name, remedy="restore the file") from None


def weights_digest(folder: Path) -> str:
    """Return one SHA-256 over plan, calibration and weights: it stays when the card is written anew."""
    kept = {name: digest for name, digest in _files(folder).items() if name != "card.md"}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()


def _sha256(path: Path) -> str:
    state = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            state.update(chunk)
    return state.hexdigest()
