"""The contract of a format and of a layout, over both registries."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Picture

from lucency.case import Source
from lucency.errors import GeometryError, ReadError
from lucency.image import Image, diagonal_affine
from lucency.read import LAYOUTS, preview, read
from lucency.read.files import SUFFIXES
from lucency.read.formats import completed, load
from lucency.read.layout import ReadOptions, tree_of
from lucency.write.dicom_series import Identity, write_series
from lucency.write.nifti import write_nifti

FORMATS = sorted({*SUFFIXES.values(), "structures"})


def _nifti(folder: Path) -> Source:
    array = np.random.default_rng(0).normal(size=(1, 4, 5, 6)).astype(np.float32)
    write_nifti(folder / "a.nii.gz", Image(array, diagonal_affine((3, 1, 0.5))))
    return Source(("a.nii.gz",), str(folder), "nifti")


def _itk(folder: Path) -> Source:
    import SimpleITK as sitk  # noqa: N813

    image = sitk.GetImageFromArray(np.random.default_rng(0).integers(0, 999, (4, 5, 6)).astype(np.int16))
    image.SetSpacing((0.5, 1.0, 3.0))
    sitk.WriteImage(image, str(folder / "a.mha"))
    return Source(("a.mha",), str(folder), "itk")


def _raster(folder: Path) -> Source:
    array = np.random.default_rng(0).integers(0, 65535, (7, 9)).astype(np.uint16)
    Picture.fromarray(array).save(folder / "a.png")
    return Source(("a.png",), str(folder), "raster")


def _npy(folder: Path) -> Source:
    np.save(folder / "a.npy", np.random.default_rng(0).normal(size=(4, 5, 6)).astype(np.float32))
    return Source(("a.npy",), str(folder), "npy")


def _npz(folder: Path) -> Source:
    array = np.random.default_rng(0).integers(0, 255, (3, 8, 9)).astype(np.uint8)
    np.savez_compressed(folder / "a.npz", train_images=array)
    return Source(("a.npz",), str(folder), "npz", "train_images/2")


def _ct(seed: int) -> Image:
    array = np.random.default_rng(seed).integers(-1000, 1000, (1, 4, 8, 9)).astype(np.int16)
    return Image(array, diagonal_affine((2.0, 0.7, 0.7)), unit="HU")


def _dicom(folder: Path) -> Source:
    write_series(folder / "series", _ct(1), Identity(1, 2))
    return Source(tuple(f"series/{p.name}" for p in sorted((folder / "series").iterdir())), str(folder), "dicom")


def _structures(folder: Path) -> Source:
    for number, name in enumerate("ab"):
        array = np.zeros((1, 3, 4, 5), np.uint8)
        array[:, number] = 1
        write_nifti(folder / f"{name}.nii.gz", Image(array, diagonal_affine((1, 1, 1)), kind="labels"))
    facts: dict[str, int | float | str | bool | tuple[float, ...]] = {"values": (1.0, 2.0)}
    return Source(("a.nii.gz", "b.nii.gz"), str(folder), "structures", kind="labels", header=facts)


SAMPLES: dict[str, Callable[[Path], Source]] = {
    "nifti": _nifti,
    "itk": _itk,
    "raster": _raster,
    "npy": _npy,
    "npz": _npz,
    "dicom": _dicom,
    "structures": _structures,
}


def sample(name: str, folder: Path) -> Source:
    """A file of this format."""
    make = SAMPLES.get(name)
    assert make is not None, f"no sample of format {name!r}: add one to this file"
    folder.mkdir(exist_ok=True)
    return make(folder)


@pytest.mark.parametrize("name", FORMATS)
def test_the_header_says_what_the_pixels_are(name: str, tmp_path: Path) -> None:
    source = sample(name, tmp_path)
    header, image = completed(source).header, load(source)
    spacing = header["spacing"]
    assert isinstance(spacing, tuple)
    assert (header["size"], header["channels"]) == (image.size, image.channels)
    assert np.allclose(spacing, image.spacing, rtol=1e-5)
    assert np.dtype(str(header["dtype"])) == image.array.dtype
    assert image.kind == source.kind


@pytest.mark.parametrize("name", FORMATS)
def test_loading_twice_gives_the_same_and_leaves_the_files_as_they_are(name: str, tmp_path: Path) -> None:
    source = sample(name, tmp_path)
    before = {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in tmp_path.rglob("*") if p.is_file()}
    first, second = load(source), load(source)
    assert np.array_equal(first.array, second.array)
    assert first.same_grid(second)
    assert {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in tmp_path.rglob("*") if p.is_file()} == before


@pytest.mark.parametrize("name", FORMATS)
def test_the_checksum_depends_on_the_content_and_not_on_the_place(name: str, tmp_path: Path) -> None:
    here, there = (completed(sample(name, tmp_path / d)) for d in ("here", "there"))
    assert len(here.checksum) == 64
    assert here.checksum == there.checksum


@pytest.mark.parametrize("damage", ["truncated", "empty", "other", "absent"])
@pytest.mark.parametrize("name", FORMATS)
def test_a_damaged_file_is_refused_without_telling_where_it_lies(name: str, damage: str, tmp_path: Path) -> None:
    source = sample(name, tmp_path)
    path = source.files[0]
    content = path.read_bytes()
    if damage == "absent":
        path.unlink()
    else:
        path.write_bytes({"truncated": content[: len(content) // 2], "empty": b"", "other": b"no image " * 30}[damage])
    for attempt in (completed, load):
        try:
            attempt(source)
        except (ReadError, GeometryError) as error:
            assert str(tmp_path) not in str(error)  # noqa: PT017 - a header may outlive the pixels; a load may not
            assert source.paths[0] in str(error)  # noqa: PT017
            assert error.remedy  # noqa: PT017
        else:
            assert attempt is completed
            assert damage == "truncated"


# --- layouts -------------------------------------------------------------------------------------------------------


def _volume(path: Path, seed: int, *, mask: bool = False) -> None:
    rng = np.random.default_rng(seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.zeros((1, 4, 8, 8), np.uint8)
    array[:, 1:3, 2:5, 2 : 4 + seed % 3] = 1
    if mask:
        write_nifti(path, Image(array, diagonal_affine((1, 1, 1)), kind="labels"))
    else:
        noisy = (array * 3 + rng.normal(0, 1, array.shape)).astype(np.float32)
        write_nifti(path, Image(noisy, diagonal_affine((1, 1, 1))))


def _picture(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Picture.fromarray(np.random.default_rng(seed).integers(0, 255, (9, 11)).astype(np.uint8)).save(path)


def _msd(root: Path) -> None:
    entries = []
    for n in range(12):
        _volume(root / f"imagesTr/c_{n:03d}.nii.gz", n)
        _volume(root / f"labelsTr/c_{n:03d}.nii.gz", n, mask=True)
        entries.append(f'{{"image": "./imagesTr/c_{n:03d}.nii.gz", "label": "./labelsTr/c_{n:03d}.nii.gz"}}')
    text = f'{{"name": "x", "labels": {{"0": "background", "1": "ball"}}, "training": [{",".join(entries)}]}}'
    (root / "dataset.json").write_text(text)


def _nnunet(root: Path) -> None:
    for n in range(12):
        _volume(root / f"imagesTr/c_{n:03d}_0000.nii.gz", n)
        _volume(root / f"labelsTr/c_{n:03d}.nii.gz", n, mask=True)


def _pairs(root: Path) -> None:
    for n in range(12):
        _volume(root / f"scans/c{n:02d}.nii.gz", n)
        _volume(root / f"truth/c{n:02d}.nii.gz", n, mask=True)


def _table(root: Path) -> None:
    lines = ["file,finding"]
    for n in range(20):
        _picture(root / f"c{n:02d}.png", n)
        lines.append(f"c{n:02d}.png,{'ab'[n % 2]}")
    (root / "list.csv").write_text("\n".join(lines))


def _boxes(root: Path) -> None:
    lines = ["file,label,xmin,ymin,xmax,ymax"]
    for n in range(20):
        _picture(root / f"c{n:02d}.png", n)
        lines.append(f"c{n:02d}.png,{'ab'[n % 2]},1,2,5,6")
    (root / "list.csv").write_text("\n".join(lines))


def _medmnist(root: Path) -> None:
    rng = np.random.default_rng(0)
    images, more = (rng.integers(0, 255, (n, 9, 9)).astype(np.uint8) for n in (20, 8))
    labels, others = (np.arange(n)[:, None] % 2 for n in (20, 8))
    np.savez(root / "set.npz", train_images=images, train_labels=labels, val_images=more, val_labels=others)


def _classes(root: Path) -> None:
    for n in range(20):
        _picture(root / "ab"[n % 2] / f"c{n:02d}.png", n)


def _series(root: Path) -> None:
    for n in range(3):
        write_series(root / f"p{n}", _ct(n), Identity(n, 2))


def _singles(root: Path) -> None:
    for n in range(3):
        _volume(root / f"c{n}.nii.gz", n)


TREES: dict[str, Callable[[Path], None]] = {
    "msd": _msd,
    "nnunet": _nnunet,
    "pairs": _pairs,
    "table": _table,
    "npz": _medmnist,
    "classes": _classes,
    "dicom": _series,
    "boxes": _boxes,
    "single": _singles,
}
NAMES = [m.NAME for m in LAYOUTS]


def tree(name: str, folder: Path) -> Path:
    """A data folder in this layout."""
    assert name in TREES, f"no sample of layout {name!r}: add one to this file"
    root = folder / name
    root.mkdir(parents=True)
    TREES[name](root)
    return root


def test_layouts_have_names_of_their_own() -> None:
    assert len(set(NAMES)) == len(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_layout_recognises_its_own_with_evidence(name: str, tmp_path: Path) -> None:
    best = preview(tree(name, tmp_path))[0]
    assert best.name == name
    assert 0 < best.score <= 1
    assert all(len(e) > 10 for e in best.evidence)
    assert best.rows
    assert all(len(row) == 4 for row in best.rows)


@pytest.mark.parametrize("layout", LAYOUTS, ids=NAMES)
def test_a_layout_claims_nothing_where_there_is_no_image(layout: object, tmp_path: Path) -> None:
    (tmp_path / "readme.txt").write_text("nothing here")
    recognise = layout.recognise  # type: ignore[attr-defined]
    assert recognise(tree_of(tmp_path), ReadOptions()) is None


@pytest.mark.parametrize("name", NAMES)
def test_every_case_that_is_read_can_be_loaded(name: str, tmp_path: Path) -> None:
    cohort = read(tree(name, tmp_path))
    assert cohort.layout == name
    assert len({c.id for c in cohort.cases}) == len(cohort.cases) >= 3
    for case in cohort.cases:
        assert str(tmp_path) not in "".join(s.where for s in case.sources)
        images = [load(s) for s in case.sources]
        assert all(np.isfinite(i.array).all() for i in images)
        if isinstance(case.target, Source):
            assert load(case.target).same_grid(images[0])
            assert set(np.unique(load(case.target).array)) <= {0, *cohort.labels}
        elif case.target is not None:
            assert case.classes
            assert case.classes <= set(cohort.classes)


@pytest.mark.parametrize("name", NAMES)
def test_folds_and_digest_do_not_depend_on_where_the_data_lie(name: str, tmp_path: Path) -> None:
    first, second = (read(tree(name, tmp_path / d)) for d in ("here", "elsewhere"))
    assert first.digest == second.digest
    assert dict(first.folds) == dict(second.folds)
    assert first.locked == second.locked
