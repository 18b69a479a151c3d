import struct
import zlib

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - the name everybody knows it by
import tifffile
from PIL import Image as Picture

from lucency.case import Source
from lucency.errors import GeometryError, ReadError
from lucency.read import load
from lucency.read.files import SUFFIXES, case_ids, listing, suffix_of
from lucency.read.formats import completed


def source_of(file, kind="intensity", **header):
    return Source((file.name,), str(file.parent), SUFFIXES[suffix_of(file.name)], kind=kind, header=header)


def rows(dtype, shape=(7, 9)):
    top = np.iinfo(dtype).max
    return np.linspace(np.iinfo(dtype).min, top, int(np.prod(shape))).astype(dtype).reshape(shape)


@pytest.mark.parametrize("name", ["x.png", "x.bmp", "x.tif"])
def test_eight_bits_are_kept_exactly(folder, name):
    image = load(source_of(folder.picture(name, rows(np.uint8))))
    assert image.array.dtype == np.uint8
    assert np.array_equal(image.array[0, 0], rows(np.uint8))


@pytest.mark.parametrize("name", ["x.png", "x.tiff", "x.npy", "x.nii.gz", "x.nrrd", "x.mha"])
def test_sixteen_bits_are_kept_exactly(folder, name):
    file, array = folder.place(name), rows(np.uint16)
    if name.endswith("png"):
        Picture.fromarray(array).save(file)
    elif name.endswith("tiff"):
        tifffile.imwrite(file, array)
    elif name.endswith("npy"):
        np.save(file, array)
    elif name.endswith("gz"):
        nibabel.save(nibabel.Nifti1Image(array.T[..., None], np.eye(4)), file)
    else:
        sitk.WriteImage(sitk.GetImageFromArray(array[None]), str(file))
    source = completed(source_of(file))
    image = load(source)
    assert source.header["size"] == (1, 7, 9)
    assert source.header["dtype"] == "uint16"
    assert image.array.dtype == np.uint16
    assert np.array_equal(image.array[0, 0], array)


def test_sixteen_bit_colour_png_is_not_cut_to_eight(folder):
    array = np.arange(4 * 5 * 3, dtype=np.uint16).reshape(4, 5, 3) * 1001
    file = folder.place("deep.png")
    sitk.WriteImage(sitk.GetImageFromArray(array, isVector=True), str(file))
    source = completed(source_of(file))
    assert source.header["dtype"] == "uint16"
    assert source.header["channels"] == 3
    assert np.array_equal(np.moveaxis(load(source).array[:, 0], 0, -1), array)


def test_colour_becomes_three_channels_and_a_constant_alpha_goes(folder):
    rgba = np.dstack([folder.rng.integers(0, 256, (4, 5, 3), dtype=np.uint8), np.full((4, 5), 255, np.uint8)])
    image = load(source_of(folder.picture("x.png", rgba)))
    assert image.array.shape == (3, 1, 4, 5)
    assert np.array_equal(image.array[1, 0], rgba[..., 1])
    rgba[0, 0, 3] = 10
    with pytest.raises(ReadError, match=r"y\.png: The picture is partly transparent"):
        load(source_of(folder.picture("y.png", rgba)))


def test_a_palette_mask_gives_its_indices_and_a_grey_colour_mask_one_channel(folder):
    picture = Picture.new("P", (2, 2))
    picture.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
    picture.putdata([0, 1, 2, 1])
    picture.save(folder.place("p.png"))
    assert load(source_of(folder.root / "p.png", "labels")).array.ravel().tolist() == [0, 1, 2, 1]
    picture.putpalette([9, 9, 9, 0, 0, 0, 255, 255, 255])
    picture.save(folder.place("grey.png"))
    assert load(source_of(folder.root / "grey.png", "labels")).array.ravel().tolist() == [9, 0, 255, 0]
    grey = np.repeat(np.array([[[0], [7]]], np.uint8), 3, axis=2)
    assert load(source_of(folder.picture("g.png", grey), "labels")).array.tolist() == [[[[0, 7]]]]
    colours = np.array([[[255, 0, 0], [0, 0, 0]]], np.uint8)
    with pytest.raises(ReadError, match="3 different channels"):
        load(source_of(folder.picture("c.png", colours), "labels"))


def test_a_huge_picture_is_refused_from_its_header(folder):
    head = struct.pack(">IIBBBBB", 60000, 60000, 8, 0, 0, 0, 0)
    chunk = b"IHDR" + head
    file = folder.place("bomb.png")
    file.write_bytes(b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk)))
    with pytest.raises(ReadError, match=r"bomb\.png: The picture has 60000 × 60000 pixels.*scale it down"):
        completed(source_of(file))


def test_pages_of_a_tiff_become_slices(folder):
    array = folder.rng.integers(0, 99, (4, 6, 7), dtype=np.uint16)
    tifffile.imwrite(folder.place("x.tif"), array, photometric="minisblack")
    assert np.array_equal(load(source_of(folder.root / "x.tif")).array[0], array)


def test_nifti_puts_every_voxel_where_nibabel_puts_it(folder):
    turn = nibabel.eulerangles.euler2mat(0.3, -0.2, 0.5)
    affine = nibabel.affines.from_matvec(turn @ np.diag([0.7, 0.9, 2.5]), [10, -20, 30])
    array = np.arange(2 * 3 * 4, dtype=np.int16).reshape(2, 3, 4)
    source = completed(source_of(folder.nifti("x.nii.gz", array, affine)))
    image = load(source)
    assert source.header["spacing"] == pytest.approx((2.5, 0.9, 0.7))
    assert image.array[0, 3, 2, 1] == array[1, 2, 3]
    ras = affine @ [1, 2, 3, 1]
    assert image.affine @ [3, 2, 1, 1] == pytest.approx([-ras[0], -ras[1], ras[2], 1], abs=1e-5)


def test_itk_puts_every_voxel_where_simpleitk_puts_it(folder):
    array = np.arange(2 * 3 * 4, dtype=np.float32).reshape(2, 3, 4)
    written = sitk.GetImageFromArray(array)
    written.SetSpacing((0.5, 0.6, 3.0))
    written.SetOrigin((1.0, 2.0, 3.0))
    written.SetDirection((0, 1, 0, -1, 0, 0, 0, 0, 1))
    sitk.WriteImage(written, str(folder.place("x.nrrd")))
    image = load(source_of(folder.root / "x.nrrd"))
    assert image.array[0, 1, 2, 3] == array[1, 2, 3]
    expected = written.TransformIndexToPhysicalPoint((3, 2, 1))
    assert (image.affine @ [1, 2, 3, 1])[:3] == pytest.approx(expected)


def test_nifti_whose_two_headers_disagree_is_refused(folder):
    image = nibabel.Nifti1Image(np.zeros((4, 4, 4), np.uint8), np.eye(4))
    image.set_sform(np.diag([1, 1, 3, 1]), code=1)
    image.set_qform(np.eye(4), code=1)
    nibabel.save(image, folder.place("x.nii"))
    with pytest.raises(GeometryError, match=r"x\.nii: sform and qform put the image at two different places.*keep the"):
        completed(source_of(folder.root / "x.nii"))


def sheared(folder, row, column, qform=0):
    affine = np.diag([0.8, 0.8, 3.0, 1.0])
    affine[row, column] = 0.6
    image = nibabel.Nifti1Image(np.zeros((4, 4, 4), np.uint8), None)
    image.set_qform(np.diag([0.8, 0.8, 3.0, 1.0]), code=qform)
    image.set_sform(affine, code=1)
    nibabel.save(image, folder.place("x.nii"))
    return source_of(folder.root / "x.nii")


@pytest.mark.parametrize("row", [0, 1])
def test_nifti_whose_slices_lean_is_a_tilted_stack(folder, row):
    source = completed(sheared(folder, row, 2))
    # 0.6 mm aside for 3 mm of depth.
    assert source.header["tilt"] == pytest.approx(np.degrees(np.arctan(0.6 / 3.0)), abs=1e-3)
    image = load(source)
    expected = [0.0, 0.0, 3.0]
    expected[row] = -0.6
    assert image.affine[:3, 0] == pytest.approx(expected)


def test_nifti_whose_rows_and_columns_are_sheared_is_refused(folder):
    with pytest.raises(GeometryError, match="sheared"):
        completed(sheared(folder, 0, 1))


def test_nifti_that_is_sheared_in_one_header_only_is_refused_with_both_ways_out(folder):
    with pytest.raises(GeometryError, match=r"sform is sheared by 11\.3 degrees.*set the code of the qform to 0"):
        completed(sheared(folder, 0, 2, qform=1))


def test_nifti_whose_slices_lie_down_is_refused(folder):
    affine = np.eye(4)
    affine[0, 2] = 3.0
    image = nibabel.Nifti1Image(np.zeros((4, 4, 4), np.uint8), None)
    image.set_sform(affine, code=1)
    nibabel.save(image, folder.place("x.nii"))
    with pytest.raises(GeometryError, match=r"lean by 71\.6 degrees"):
        completed(source_of(folder.root / "x.nii"))


def test_a_sheared_mask_comes_back_as_it_was_written(folder):
    from lucency.image import Image
    from lucency.write.nifti import write_nifti

    affine = np.array([[0.1, 0, 0.8, 5], [0.9, 0.8, 0, -7], [2.5, 0, 0, 9], [0, 0, 0, 1.0]])
    labels = folder.rng.integers(0, 3, (1, 4, 5, 6)).astype(np.uint8)
    write_nifti(folder.place("m.nii.gz"), Image(labels, affine, kind="labels"))
    image = load(completed(source_of(folder.root / "m.nii.gz")))
    assert np.array_equal(image.array, labels)
    assert image.affine == pytest.approx(affine, abs=1e-5)


def test_nifti_without_a_place_is_read_and_said(folder):
    from lucency.read import read

    image = nibabel.Nifti1Image(np.arange(64, dtype=np.uint8).reshape(4, 4, 4), np.diag([0.8, 0.8, 3.0, 1.0]))
    image.set_sform(None, code=0)
    image.set_qform(None, code=0)
    nibabel.save(image, folder.place("x.nii"))
    folder.nifti("y.nii")
    cohort = read(folder.root)
    placed = {c.id: c.sources[0].header.get("placed", True) for c in cohort.cases}
    assert placed == {"x": False, "y": True}
    assert sum("1 NIfTI images do not say where they lie" in n for n in cohort.notes) == 1


def test_four_axes_are_channels_only_where_something_says_so(folder):
    array = folder.rng.normal(size=(3, 4, 5, 2)).astype(np.float32)
    file = folder.nifti("x.nii.gz", array)
    with pytest.raises(ReadError, match=r"Four axes, 2 volumes in one file.*dataset\.json"):
        completed(source_of(file))
    image = load(source_of(file, axes="channels"))
    assert np.array_equal(image.array[1], array[..., 1].T)


def test_not_a_number_is_refused_or_filled_on_request(folder):
    array = np.ones((2, 2, 2), np.float32)
    array[0, 0, 0] = np.nan
    source = source_of(folder.nifti("x.nii", array))
    with pytest.raises(GeometryError, match=r"x\.nii: 1 of 8 voxels are NaN or infinite.*--set nan=VALUE"):
        load(source)
    assert load(source, nan=-5.0).array[0, 0, 0, 0] == -5


@pytest.mark.parametrize("name", ["x.png", "x.nii.gz", "x.nrrd", "x.npy", "x.tif"])
@pytest.mark.parametrize("content", [b"", b"this is no image at all, whatever its name says"])
def test_an_empty_or_wrong_file_is_refused_by_name_and_without_its_folder(folder, name, content):
    file = folder.place(name)
    file.write_bytes(content)
    with pytest.raises(ReadError, match=name) as caught:
        completed(source_of(file))
    assert str(folder.root) not in str(caught.value)


@pytest.mark.parametrize("name", ["x.png", "x.nii.gz", "x.npy"])
def test_a_truncated_file_is_refused_when_loaded(folder, name):
    array = folder.rng.integers(0, 256, (40, 50), dtype=np.uint8)
    file = folder.place(name)
    if name.endswith("png"):
        folder.picture(name, array)
    elif name.endswith("npy"):
        np.save(file, array)
    else:
        folder.nifti(name, array[..., None])
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(ReadError, match=f"{name}: Cannot be read"):
        load(source_of(file))


def test_npz_items_are_the_rows_of_their_array(folder):
    stack = folder.rng.integers(0, 256, (5, 6, 7), dtype=np.uint8)
    colour = folder.rng.integers(0, 256, (5, 6, 7, 3), dtype=np.uint8)
    folder.npz("c.npz", images=stack, train_images=colour)
    np.savez(folder.root / "plain.npz", images=stack)
    for name in ("c.npz", "plain.npz"):
        source = completed(Source((name,), str(folder.root), "npz", "images/3"))
        assert source.header["size"] == (1, 6, 7)
        assert np.array_equal(load(source).array[0, 0], stack[3])
    image = load(Source(("c.npz",), str(folder.root), "npz", "train_images/2"))
    assert np.array_equal(image.array[1, 0], colour[2, ..., 1])


def test_checksum_follows_the_bytes(folder):
    a, b, c = (completed(source_of(folder.picture(f"{n}.png", rows(np.uint8)))) for n in "abc")
    assert a.checksum == b.checksum == c.checksum
    changed = completed(source_of(folder.picture("c.png", rows(np.uint8)[::-1].copy())))
    assert changed.checksum != a.checksum


def test_case_ids_lose_one_suffix_and_collide_into_folders():
    assert case_ids(["x.nii.gz", "a.dcm.png", "b.PNG"]) == ["x", "a.dcm", "b"]
    assert case_ids(["t/a/1.png", "t/b/1.png", "t/b/2.png"]) == ["t__a__1", "t__b__1", "2"]
    assert len(set(case_ids(["a.png", "a.jpg"]))) == 2


def test_clutter_and_run_folders_are_not_data(folder):
    for name in (
        ".hidden.png",
        "__MACOSX/a.png",
        "Thumbs.db",
        "desktop.ini",
        "run/plan.json",
        "run/events.jsonl",
        "run/x.png",
    ):
        folder.text(name, "x")
    folder.picture("a.png")
    assert listing(folder.root) == ("a.png",)
