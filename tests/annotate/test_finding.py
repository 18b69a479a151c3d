"""One sentence in two languages: what, how large, where, how sure; own names for what no vocabulary knows."""

import re
from dataclasses import replace

import numpy as np
import pytest

from lucency.annotate.finding import Seen, coded, doubt_word, finding, seen_of, term
from lucency.boxes import Box
from lucency.case import Case, Course, Prediction, Source
from lucency.errors import UsageError
from lucency.image import Image, diagonal_affine
from lucency.text import keys
from lucency.write.vocabulary import _findings, _known

#: 20 x 30 x 40 voxels of 5 x 2 x 1 mm: i grows to the left, j to the back, k to the head.
SIZE = (20, 30, 40)
AFFINE = diagonal_affine((5, 2, 1))


def mask(*boxes, size=SIZE, affine=AFFINE):
    array = np.zeros((1, *size), np.uint8)
    for value, (low, high) in boxes:
        array[0, low[0] : high[0], low[1] : high[1], low[2] : high[2]] = value
    return Image(array, affine, kind="labels", unit="label")


def test_a_sentence_says_what_how_large_where_and_how_sure():
    # 2 x 5 x 10 voxels of 10 mm3 are 1 mL; to the left (i high), in front (j low), below (k low).
    drawn = mask((1, ((1, 2, 28), (3, 7, 38))))
    said = Prediction("a", "", mask=drawn, doubt=0.8)
    labels = {1: "LV", 2: "nodule"}
    assert finding(said, Seen(drawn), labels, "en") == (
        "Segmentation of left ventricle (volume 1 mL, in the left anterior inferior part of the image); "
        "the model's doubt is high."
    )
    assert finding(said, Seen(drawn), labels, "zh") == (
        "分割结果：左心室（体积 1 mL，位于图像的左前下部）；模型的不确定程度：高。"
    )


@pytest.mark.parametrize("turn", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
@pytest.mark.parametrize("back", [(), (0,), (1, 2)])
def test_the_place_is_the_patients_however_the_array_lies(turn, back):
    drawn = mask((1, ((1, 2, 28), (3, 7, 38))))
    array = np.transpose(drawn.array[0], turn)
    affine = AFFINE[:, [*turn, 3]].copy()
    for axis in back:
        array = np.flip(array, axis)
        affine[:, 3] += affine[:, axis] * (array.shape[axis] - 1)
        affine[:, axis] *= -1
    turned = Image(array[None].copy(), affine, kind="labels", unit="label")
    said = finding(Prediction("a", "", mask=turned), Seen(turned), {1: "liver"}, "en")
    assert "(volume 1 mL, in the left anterior inferior part of the image)" in said


def test_what_lies_in_the_middle_has_no_side():
    drawn = mask((1, ((8, 12, 16), (12, 18, 24))))
    said = finding(Prediction("a", "", mask=drawn), Seen(drawn), {1: "liver"}, "en")
    assert "in the middle of the image" in said
    assert "doubt is low" in said


def test_without_orientation_a_volume_has_no_side_and_a_picture_has_that_of_the_screen():
    drawn = mask((1, ((1, 2, 28), (3, 7, 38))))
    unplaced = finding(Prediction("a", "", mask=drawn), Seen(drawn, placed=False), {1: "liver"}, "en")
    assert unplaced == "Segmentation of liver (volume 1 mL); the model's doubt is low."
    flat = mask((1, ((0, 0, 0), (1, 3, 4))), size=(1, 30, 40))
    said = Prediction("a", "", mask=flat)
    assert "(12 pixels, in the top left of the picture)" in finding(said, Seen(flat, False, False), {1: "liver"}, "en")
    assert "（12 个像素，位于画面上方左侧）" in finding(said, Seen(flat, False, False), {1: "liver"}, "zh")
    # Of known size, 12 pixels of 2 x 1 mm; a slice of 5 mm has no upper and lower part.
    assert "(area 24 mm², in the right anterior part" in finding(said, Seen(flat), {1: "liver"}, "en")


def test_several_labels_stand_by_size_and_too_many_are_counted():
    spans = [(n, ((n, 0, 0), (n + 1, n, 40))) for n in range(1, 7)]
    drawn = mask(*spans)
    said = finding(Prediction("a", "", mask=drawn), Seen(drawn), {n: f"x{n}" for n in range(1, 8)}, "en")
    assert re.findall(r"“(x\d)”", said) == ["x6", "x5", "x4", "x3"]
    assert " and 2 more" in said


def test_nothing_drawn_and_nothing_found_are_said():
    empty = mask()
    said = Prediction("a", "", mask=empty, doubt=0.5)
    assert finding(said, Seen(empty), {1: "nodule", 2: "xyzzy"}, "en") == (
        "Nothing was segmented of nodule, “xyzzy”; the model's doubt is moderate."
    )
    assert finding(said, Seen(empty), {1: "nodule", 2: "xyzzy"}, "zh") == (
        "未分割出结节、“xyzzy”；模型的不确定程度：中等。"
    )
    none = Prediction("a", "", boxes=(Box("x", (0, 0, 0), (1, 1, 1), 0.2, told=False),))
    assert finding(none, Seen(empty), {}, "en") == "No box was drawn; the model's doubt is low."


def test_several_labels_are_said_one_by_one():
    said = Prediction("a", "", probabilities={"nodule": 0.9, "xyzzy": 0.8}, label="nodule|xyzzy")
    assert finding(said, Seen(mask()), {}, "en").startswith("The model's label for the image is nodule, “xyzzy”;")
    assert "none of its labels" in finding(replace(said, label=""), Seen(mask()), {}, "en")


def test_boxes_are_counted_by_label_with_the_place_of_the_surest():
    boxes = (
        Box("nodule", (0, 0, 0), (4, 4, 4), 0.91),
        Box("nodule", (16, 20, 30), (20, 30, 40), 0.6),
        Box("RBC", (16, 20, 30), (20, 30, 40), 0.7),
        Box("nodule", (0, 0, 0), (1, 1, 1), 0.4, told=False),
    )
    said = Prediction("a", "", boxes=boxes, doubt=0.1)
    assert finding(said, Seen(mask()), {}, "en") == (
        "Boxes around 2 × nodule (highest score 91%, in the right anterior inferior part of the image), "
        "1 × “RBC” (highest score 70%, in the left posterior superior part of the image); the model's doubt is low."
    )
    assert finding(said, Seen(mask()), {}, "zh").startswith("检出框：结节 2 处（最高得分 91%，位于图像的右前下部）")


def test_classes_and_numbers_are_the_models_and_no_diagnosis():
    seen = Seen(mask())
    viral = Prediction("a", "", probabilities={"viral": 0.87, "normal": 0.13}, label="viral", doubt=0.4)
    assert finding(viral, seen, {}, "en") == (
        "The model's label for the image is “viral”, probability 87%; the model's doubt is moderate."
    )
    assert "“viral”，概率 87%" in finding(viral, seen, {}, "zh")
    value = Prediction("a", "", value=54.25, lower=50.0, upper=58.5)
    assert finding(value, seen, {}, "en").startswith("The model's value for the image is 54.25, between 50 and 58.5;")
    bare = Prediction("a", "", value=54.25)
    assert finding(bare, seen, {}, "zh").startswith("模型给出的数值为 54.25；")
    alike = Prediction("a", "", neighbours=("viral", "viral"), label="viral")
    assert finding(alike, seen, {}, "en") == "The model's label for the image is “viral”; the model's doubt is low."
    with pytest.raises(UsageError, match="none of an image"):
        finding(Prediction("a", "", course=Course((1.0,), {"1": (0.5,)}, 0.5, 1.0)), seen, {}, "en")
    with pytest.raises(UsageError, match="Language 'de'"):
        finding(viral, seen, {}, "de")


@pytest.mark.parametrize(
    ("name", "english", "chinese"),
    [
        ("Left_Kidney", "left kidney", "左肾脏"),
        ("kidney_right", "right kidney", "右肾脏"),
        ("left ventricle", "left ventricle", "左心室"),
        ("Pneumothorax", "pneumothorax", "气胸"),
        ("left pneumothorax", "left pneumothorax", "左气胸"),
        ("结节", "nodule", "结节"),
        ("vertebrae_L1", "L1 vertebra", "第一腰椎"),
        ("lung nodule", "“lung nodule”", "“lung nodule”"),
        # Known to the standard, not to the catalogue of Chinese words: its own name stands.
        ("Soleal vein", "soleal vein", "“Soleal vein”"),
    ],
)
def test_names_are_the_vocabularys_or_their_own(name, english, chinese):
    assert (term(name, "en"), term(name, "zh")) == (english, chinese)


def test_codes_are_public_or_none():
    found = coded(["LV", "viral"])
    assert (found["LV"].value, found["LV"].scheme) == ("87878005", "SCT")
    assert found["viral"] is None


def test_every_word_of_the_catalogue_is_one_of_the_vocabulary():
    meanings = {re.sub("[ -]", "_", c.meaning.lower()) for d in (_known(), _findings()) for _, c in d.values()}
    words = {k.removeprefix("term.") for k in keys() if k.startswith("term.")}
    assert len(words) > 100
    assert words <= meanings


def test_doubt_in_words():
    assert [doubt_word(d, "en") for d in (0, 0.33, 0.34, 0.66, 0.67, 1)] == [
        "low",
        "low",
        "moderate",
        "moderate",
        "high",
        "high",
    ]
    assert [doubt_word(d, "zh") for d in (0, 0.5, 1)] == ["低", "中等", "高"]


def test_what_is_known_of_an_image_comes_from_its_header():
    def case(reader, **header):
        return Case("a", "p", {"image": (Source(("a",), "", reader, header=header),)}, None)

    grid = mask()
    assert seen_of(case("nifti", spacing_known=True), grid).placed
    assert not seen_of(case("nifti", placed=False), grid).placed
    assert not seen_of(case("raster", spacing_known=False), grid).placed
    assert not seen_of(case("raster", spacing_known=False), grid).sized
    assert not seen_of(case("dicom"), Image(grid.array, AFFINE, kind="labels", k_axis="time")).placed
