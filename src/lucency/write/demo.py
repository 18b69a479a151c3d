"""The demo's data: generated chest CT as a hospital would hand it over, with the truth beside it."""

from pathlib import Path

from lucency.errors import OutputError
from lucency.phantom import patient
from lucency.record import write_text
from lucency.write.dicom_series import Identity, write_series
from lucency.write.nifti import write_nifti

README = """Generated chest CT of patients who never lived.

A program drew these images: set {seed}, {n} patients. No person was scanned, and every name in the files is
invented (PHANTOM^01, PHANTOM^02 ...).

  images/chest-01/slice-0001.dcm ...   one DICOM CT series per patient
  labels/chest-01.nii.gz               the truth: 1 where there is a lung nodule, else 0

Research use only, not a medical device.
"""


def write_demo(folder: Path, *, n_patients: int = 30, seed: int = 2) -> None:
    """Write generated patients as DICOM series with their nodule masks.

    ``images/chest-NN/slice-NNNN.dcm`` holds one series per patient, ``labels/chest-NN.nii.gz`` the mask of the
    same grid, ``labels.json`` its name. Called again with the same numbers, it adds only what is missing.

    Args:
        folder: Empty, absent, or one that an earlier call with the same numbers began.
        n_patients: How many, >= 1.
        seed: Which set, >= 0.

    Raises:
        OutputError: The folder holds something else, or cannot be written.
        UsageError: A negative seed.
    """
    note, text = folder / "README.txt", README.format(seed=seed, n=n_patients)
    if folder.exists() and any(folder.iterdir()) and (not note.exists() or note.read_text(encoding="utf-8") != text):
        raise OutputError(
            "The folder holds other files", where=folder.name, remedy="choose another folder or remove this one"
        )
    write_text(note, text)
    write_text(folder / "labels.json", '{"nodule": 1}\n')
    digits = max(2, len(str(n_patients)))
    for number in range(1, n_patients + 1):
        name = f"chest-{number:0{digits}d}"
        series, mask = folder / "images" / name, folder / "labels" / f"{name}.nii.gz"
        if series.exists() and mask.exists():
            continue
        person = patient(number, seed)
        if not series.exists():
            write_series(series, person.image, Identity(number, seed, person.age, person.sex))
        write_nifti(mask, person.mask)
