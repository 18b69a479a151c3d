"""The table is complete, and each attribute of it is dealt with wherever it stands."""

import json
from importlib import resources

import planted
import pytest
from pydicom.datadict import keyword_for_tag

from lucency.deidentify import Options, table
from lucency.deidentify.table import PROFILES
from lucency.errors import UsageError


def test_table_has_every_row_of_the_edition_and_known_actions():
    rows = table.rows()
    assert len(rows) == 621 + 35
    assert {r.basic for r in rows} == {"X", "Z", "D", "U", "X/Z", "X/D", "Z/D", "X/Z/D", "X/Z/U*"}
    assert {a for r in rows for a in r.options.values()} == {"K", "C"}
    assert len({r.tag for r in rows}) == len(rows)
    # Three rows looked up in the standard by hand.
    assert table.row_of(0x00100010).basic == "Z"
    assert table.row_of(0x00081010).basic == "X/Z/D"
    assert table.row_of(0x0008103E).options == {"clean_descriptors": "C"}


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("SecondaryCaptureDeviceID", "Smiths laptop"),
        ("HardcopyCreationDeviceID", "Smiths printer"),
        ("AcquisitionContextDescription", "as Smith asked"),
        ("ChannelLabel", "Smith"),
        ("EthnicGroupCodeSequence", []),
    ],
)
def test_attributes_that_the_standard_added_up_to_2026_stayed_as_text(room, image, keyword, value):
    setattr(image, keyword, value)
    after = room.one(image)
    assert keyword not in after


def test_an_attribute_that_pydicom_does_not_know_yet_goes(room, image):
    image.add_new(0x00100012, "LT", "Jo")  # Name to Use
    after = room.one(image, Options(keep=frozenset({"patient-characteristics"})))
    assert 0x00100012 not in after


@pytest.mark.parametrize(
    ("tag", "name"), [(0x50023000, "Curve Data"), (0x60023000, "Overlay Data"), (0x00091001, "Private Attributes")]
)
def test_repeating_and_private_groups_have_their_row(tag, name):
    assert table.row_of(tag).name == name


def test_types_agree_with_the_modules_of_highdicom():
    highdicom = resources.files("highdicom") / "_standard"
    modules = json.loads((highdicom / "module_attribute_map.json").read_text())
    iods = json.loads((highdicom / "iod_module_map.json").read_text())
    combined = {keyword_for_tag(t) for t, r in table.by_tag().items() if "/" in r.basic}
    order, checked = ["1", "1C", "2", "2C", "3"], 0
    for iod in ("ct-image", "mr-image", "enhanced-ct-image", "segmentation", "rt-structure-set", "comprehensive-sr"):
        strictest = {}
        for module in iods[iod]:
            for a in modules.get(module["key"], []):
                if a["keyword"] in combined and not a["path"] and a["type"] in order:
                    before = strictest.get(a["keyword"], "3")
                    strictest[a["keyword"]] = min(before, a["type"], key=order.index)
        for keyword, type_ in strictest.items():
            assert table.type_of(iod, "", keyword) == type_, (iod, keyword)
            checked += 1
    assert checked > 80


@pytest.mark.parametrize(
    ("wanted", "type_", "settled"),
    [
        ("X/Z/D", "1", "D"),
        ("X/Z/D", "2", "Z"),
        ("X/Z/D", "3", "X"),
        ("X/D", "2", "D"),
        ("X/Z", "1C", "Z"),
        ("Z/D", "3", "Z"),
        ("X/Z/U*", "1", "U"),
        ("X", "1", "D"),
        ("X", "3", "X"),
        ("X/Z/D", "", "Z"),
    ],
)
def test_combined_actions_are_settled_by_the_type(wanted, type_, settled):
    assert table.settled(wanted, type_) == settled


@pytest.mark.parametrize("profile", PROFILES)
def test_no_planted_attribute_of_the_table_is_left(room, profile):
    before = planted.every_attribute(room.src / "a.dcm")
    n = sum(tag in before for tag in table.by_tag())
    assert n >= 613
    report = room.clean(Options(**PROFILES[profile]))
    assert report.actions == {"written": 1}
    assert report.left == ()
    (path,) = room.dst.rglob("*.dcm")
    (after,) = room.cleaned()
    assert planted.unchanged(before, after) == []
    content = path.read_bytes()
    for secret in (b"SMITHSON", b"HARRIET", b"4471902", b"99999.7", b"8830217"):
        assert secret not in content.upper()
    assert content[:128] == bytes(128)
    assert not [t for t in after.iterall() if t.tag.is_private or t.tag.group >> 8 in {0x50, 0x60}]


def test_planted_file_is_seen_to_be_full_when_nothing_was_done(room):
    before = planted.every_attribute(room.src / "a.dcm")
    assert len(planted.unchanged(before, before)) > 600


@pytest.mark.parametrize("given", [{"dates": "no"}, {"keep": frozenset({"name"})}, {"clean": frozenset({"faces"})}])
def test_unknown_choices_are_refused_with_the_known_ones(given):
    with pytest.raises(UsageError, match="Unknown choice"):
        Options(**given)


def test_full_dates_is_another_name_for_keeping_dates():
    assert Options(keep=frozenset({"full-dates"})) == Options(dates="keep")
