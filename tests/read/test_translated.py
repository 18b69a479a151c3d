"""Which images are given and which are wanted, by every way that data know their modalities."""

import json
from dataclasses import replace

import nibabel
import numpy as np
import pytest
from PIL import Image as Picture

from lucency.case import Case, Cohort, Source
from lucency.errors import DataError, UsageError
from lucency.inspect.checks import check_targets
from lucency.read import ReadOptions, load, read
from lucency.read.translated import Words, translated


def source(name, modality=""):
    return Source((name,), "", "raster", checksum=name, header={"modality": modality} if modality else {})


def numbered(have, target=None):
    """Cases with images by channel number."""
    cases = [
        Case(f"c{n:02d}", f"p{n:02d}", {m: (source(f"c{n:02d}_{m}.png"),) for m in own}, target)
        for n, own in enumerate(have)
    ]
    return Cohort(tuple(cases), {}, frozenset())


def folders(names, patients=None, key=""):
    """Single images whose class is their modality; ``names`` has (folder, file)."""
    cases = [
        Case(f"{f}__{n}", (patients or {}).get((f, n), f"{f}{n}"), {"image": (source(f"{f}/{n}.png"),)}, f)
        for f, n in names
    ]
    return Cohort(tuple(cases), {}, frozenset(), classes=tuple(sorted({f for f, _ in names})), patient_key=key)


def targets(cohort):
    return {c.id: c.target for c in cohort.cases}


def test_channel_numbers_give_pairs_and_single_sides():
    found = translated(numbered([("0000", "0001"), ("0000",), ("0001",)] * 10), Words(("0000",), "0001"))
    assert found.made == "0001"
    assert [targets(found)[c] for c in ("c00", "c01", "c02")] == ["both", "given", "wanted"]
    assert len(found.folds) + len(found.locked) == 30
    assert "10 cases have both, 10 only what is given, 10 only what is wanted" in found.notes[-1]


def test_every_fold_holds_every_kind():
    found = translated(numbered([("0000",), ("0001",)] * 30), Words(("0000",), "0001"))
    for fold in range(5):
        assert {c.target for c in found.fold(fold)} == {"given", "wanted"}


def test_a_third_modality_is_passed_over_and_several_are_given():
    cohort = numbered([("0000", "0001", "0002")] * 3 + [("0000", "0002")])
    found = translated(cohort, Words(("0000", "0001"), "0002"))
    assert [sorted(c.images) for c in found.cases] == [["0000", "0001", "0002"]] * 3
    assert len(translated(cohort, Words(("0000",), "0001")).cases[0].images) == 2


def test_masks_become_regions():
    mask = Source(("m.png",), "", "raster", kind="labels")
    found = translated(numbered([("0000", "0001")], mask), Words(("0000",), "0001"))
    assert found.cases[0].region == mask
    assert found.labels == {}


def test_folders_are_sides_that_are_never_paired_by_chance():
    names = [(f, f"{n:03d}") for f in ("ct", "mr") for n in range(5)]
    found = translated(folders(names), Words(("CT",), "mr"))
    assert sorted(targets(found).values()) == ["given"] * 5 + ["wanted"] * 5
    asked = translated(folders(names), Words(("ct",), "mr", "name"))
    assert sorted(targets(asked).values()) == ["both"] * 5
    assert {c.id for c in asked.cases} == {n for _, n in names}


def test_equal_names_are_compared_whole():
    names = [("ct", "scan.1"), ("mr", "scan.2"), ("ct", "scan.3"), ("mr", "scan.3"), ("ct", "scan.4")]
    found = translated(folders(names), Words(("ct",), "mr", "name"))
    assert {c.id: c.target for c in found.cases}["scan.3"] == "both"
    assert sorted(targets(found).values()) == ["both", "given", "given", "wanted"]


def test_equal_names_of_two_patients_are_no_pair():
    """Joined under the name of one, the other would be in two folds: with this pair and with his other images."""
    names = [("ct", "1"), ("mr", "1"), ("ct", "2"), ("mr", "2")]
    patients = {("ct", "1"): "one", ("mr", "1"): "two", ("ct", "2"): "two", ("mr", "2"): "two"}
    with pytest.raises(DataError, match=r"Images named '1' belong to two patients.*column 'id'"):
        translated(folders(names, patients, "column 'id'"), Words(("ct",), "mr", "name"))


def test_patients_that_are_known_are_paired_where_they_have_one_of_each():
    names = [("ct", "a"), ("mr", "b"), ("ct", "c"), ("mr", "d"), ("mr", "e")]
    patients = {("ct", "a"): "one", ("mr", "b"): "one", ("ct", "c"): "two", ("mr", "d"): "two", ("mr", "e"): "two"}
    found = translated(folders(names, patients, "column 'id'"), Words(("ct",), "mr"))
    assert sorted(targets(found).values()) == ["both", "given", "wanted", "wanted"]
    alone = translated(folders(names, patients, "column 'id'"), Words(("ct",), "mr", "none"))
    assert len(alone.cases) == 5
    # One patient stays in one fold all the same.
    seats = {c.patient: {found.folds.get(c.id, -1)} for c in found.cases}
    assert all(len(s) == 1 for s in seats.values())


def test_dicom_headers_know_their_modality():
    cases = [Case(f"{n}", f"{n}", {"image": (source(f"{n}", "CT" if n % 2 else "MR"),)}) for n in range(10)]
    found = translated(Cohort(tuple(cases), {}, frozenset()), Words(("MR",), "CT"))
    assert sorted(targets(found).values()) == ["given"] * 5 + ["wanted"] * 5
    assert all(set(c.images) == {"MR" if c.target == "given" else "CT"} for c in found.cases)


def test_names_of_dataset_json_are_understood(tmp_path):
    (tmp_path / "dataset.json").write_text('{"channel_names": {"0": "T1", "1": "FLAIR"}}')
    cohort = numbered([("0000", "0001")] * 3)
    cases = tuple(
        replace(c, images={m: (replace(s[0], root=str(tmp_path)),) for m, s in c.images.items()}) for c in cohort.cases
    )
    found = translated(replace(cohort, cases=cases), Words(("flair",), "T1"))
    assert set(found.cases[0].images) == {"flair", "T1"}


def test_two_words_for_one_modality_are_refused(tmp_path):
    """What is wanted would be given to the network, and every error be zero."""
    (tmp_path / "dataset.json").write_text('{"channel_names": {"0": "T1", "1": "FLAIR"}}')
    cohort = numbered([("0000", "0001")] * 3)
    cases = tuple(
        replace(c, images={m: (replace(s[0], root=str(tmp_path)),) for m, s in c.images.items()}) for c in cohort.cases
    )
    with pytest.raises(UsageError, match="'0000' and 'T1' are one modality"):
        translated(replace(cohort, cases=cases), Words(("T1",), "0000"))
    with pytest.raises(UsageError, match="'CT' and 'ct' are one modality"):
        translated(folders([("ct", "1"), ("mr", "1")]), Words(("ct",), "CT"))


def test_channels_of_one_file_are_modalities_where_dataset_json_names_them(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("imagesTr", "labelsTr"):
        (tmp_path / name).mkdir()
    listed = []
    for n in range(12):
        voxels = rng.normal(size=(6, 7, 5, 3)).astype(np.float32)
        nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), tmp_path / "imagesTr" / f"b{n:02d}.nii.gz")
        mask = (voxels[..., 0] > 0).astype(np.uint8)
        nibabel.save(nibabel.Nifti1Image(mask, np.eye(4)), tmp_path / "labelsTr" / f"b{n:02d}.nii.gz")
        listed.append({"image": f"./imagesTr/b{n:02d}.nii.gz", "label": f"./labelsTr/b{n:02d}.nii.gz"})
    described = {"modality": {"0": "FLAIR", "1": "T1w", "2": "T2w"}, "labels": {"1": "x"}, "training": listed}
    (tmp_path / "dataset.json").write_text(json.dumps(described))
    found = translated(read(tmp_path, ReadOptions()), Words(("T1w",), "T2w"))
    case = found.cases[-1]
    assert (set(case.images), case.target) == ({"T1w", "T2w"}, "both")
    whole = np.asarray(nibabel.load(tmp_path / "imagesTr" / "b11.nii.gz").dataobj).transpose(3, 2, 1, 0)
    for name, channel in (("T1w", 1), ("T2w", 2)):
        image = load(case.images[name][0])
        assert image.channels == 1
        assert np.array_equal(image.array[0], whole[channel])
    assert case.images["T1w"][0].checksum != case.images["T2w"][0].checksum


def test_a_word_that_nothing_is_known_by_is_refused_with_what_there_is():
    with pytest.raises(UsageError, match=r"No images of 'PET'.*channels: 0000, 0001.*--by"):
        translated(numbered([("0000", "0001")]), Words(("0000",), "PET"))


@pytest.mark.parametrize(("given", "wanted"), [((), "a"), (("a",), ""), (("a",), "a")])
def test_one_modality_is_no_translation(given, wanted):
    with pytest.raises(UsageError, match="A translation from"):
        Words(given, wanted)


def test_an_unknown_pairing_is_refused():
    with pytest.raises(UsageError, match="pairs = 'stem'"):
        Words(("a",), "b", "stem")


def test_too_few_of_a_side_are_refused():
    few = translated(numbered([("0000",)] * 20 + [("0001",)] * 4), Words(("0000",), "0001"))
    with pytest.raises(DataError, match=r"20 patients with what '0001' is to be made of, 4 with '0001' itself, 0 with"):
        check_targets(few, few.cases, [])
    enough = translated(numbered([("0000", "0001")] * 12), Words(("0000",), "0001"))
    assert check_targets(enough, enough.cases, []) == ["Only 12 cases: expect wide intervals and an unsteady model."]


def test_pairs_of_one_patient_are_refused():
    cohort = translated(numbered([("0000", "0001")] * 12), Words(("0000",), "0001"))
    one = replace(cohort, cases=tuple(replace(c, patient="one") for c in cohort.cases), folds={}, locked=frozenset())
    with pytest.raises(DataError, match="1 patients with what '0001' is to be made of"):
        check_targets(one, one.cases, [])


def test_two_folders_and_a_table_are_read_as_they_lie(tmp_path):
    rng = np.random.default_rng(0)
    for folder in ("ct", "mr"):
        (tmp_path / "two" / folder).mkdir(parents=True)
        for n in range(6):
            Picture.fromarray(rng.integers(0, 255, (16, 16), np.uint8)).save(tmp_path / "two" / folder / f"{n}x.png")
    found = translated(read(tmp_path / "two", ReadOptions()), Words(("ct",), "mr"))
    assert sorted(targets(found).values()) == ["given"] * 6 + ["wanted"] * 6
    (tmp_path / "one").mkdir()
    rows = ["image,sequence"]
    for n in range(12):
        Picture.fromarray(rng.integers(0, 255, (16, 16), np.uint8)).save(tmp_path / "one" / f"i{n:02d}.png")
        rows.append(f"i{n:02d}.png,{'T1' if n % 2 else 'T2'}")
    (tmp_path / "one" / "list.csv").write_text("\n".join(rows))
    table = read(tmp_path / "one", ReadOptions(target="sequence"))
    assert sorted(targets(translated(table, Words(("T1",), "T2"))).values()) == ["given"] * 6 + ["wanted"] * 6
