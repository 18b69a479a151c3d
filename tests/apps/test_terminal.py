"""Progress on a terminal and elsewhere, from the same events."""

import io
import re

import pytest

from lucency.apps.bars import Bars
from lucency.apps.terminal import Display, Lines, Rooms, display, spoken

CHINESE = re.compile("[\u4e00-\u9fff]")


class Terminal(io.StringIO):
    def isatty(self):
        return True


def event(room, kind, time=100.0, **facts):
    return {"time": time, "room": room, "kind": kind, **facts}


#: A walk as the rooms tell it.
STORY = [
    event("read", "begin", 100.0),
    event("read", "found", 100.5, cases=30, patients=28, layout="pairs"),
    event("read", "end", 101.0, seconds=1.0),
    event("inspect", "begin", 101.0),
    event("inspect", "progress", 102.0, done=10, total=30),
    event("inspect", "found", 104.0, warnings=["1 of 30 masks are empty: a."]),
    event("inspect", "end", 104.0, seconds=3.0),
    event("plan", "begin", 104.0),
    event("plan", "found", 110.0, network="unet", steps=200, members=1),
    event("plan", "end", 110.0, seconds=6.0),
    event("train", "begin", 110.0),
    event(
        "train", "epoch", 140.0, member=0.0, epoch=1.0, step=50.0, loss=0.5, val_loss=0.625, steps=200, seconds_left=90
    ),
    event("train", "checkpoint", 150.0, member=0, step=60),
    event(
        "train", "epoch", 230.0, member=0.0, epoch=4.0, step=200.0, loss=0.25, val_loss=None, steps=200, seconds_left=0
    ),
    event("train", "end", 231.0, seconds=121.0),
    event("report", "kept", 232.0, seconds=2.0),
]


def told(lang="en", story=STORY):
    stream = io.StringIO()
    with Lines(lang, stream) as shown:
        for one in story:
            shown(one)
    return stream.getvalue().splitlines()


def fail(shown, error):
    """Begin to train, and fail."""

    def begin():
        with shown:
            shown(event("train", "begin"))
            raise error

    with pytest.raises(error):
        begin()


def test_away_from_a_terminal_each_room_and_each_epoch_is_one_plain_line():
    assert told() == [
        "read: done in 1.0 s (30 images of 28 patients, layout: image and mask pairs)",
        "note: 1 of 30 masks are empty: a.",
        "inspect: done in 3.0 s",
        "plan: done in 6.0 s (U-Net, 200 steps, members: 1)",
        "train: fold 0, epoch 1.0 (step 50 of 200): loss 0.5000, held-out 0.6250; 1 min 30 s left",
        "train: fold 0, epoch 4.0 (step 200 of 200): loss 0.2500; 0.0 s left",
        "train: done in 2 min 01 s",
        "report: done in 2.0 s (kept from before)",
    ]


def test_the_same_in_chinese():
    lines = told("zh")
    assert len(lines) == len(told())
    assert all(CHINESE.search(line) for line in lines)
    assert "0.6250" in lines[4]
    assert not any(re.search(r"[\u4e00-\u9fff] ?[:(]", line) for line in lines)


def test_no_escape_codes_reach_a_file():
    assert "\x1b" not in "".join(told())


def test_prediction_which_only_counts_is_told_when_it_is_over():
    story = [event("predict", "progress", 100.0, done=n, of=3) for n in (1, 2, 3)]
    (line,) = told(story=story)
    assert line.startswith("predict: done in")


def test_room_that_failed_is_not_told_as_done():
    stream = io.StringIO()
    fail(Lines("en", stream), ValueError)
    assert stream.getvalue() == ""


def test_short_memory_is_told():
    story = [event("train", "memory", found="out of memory while training", action="smaller plan, once more")]
    assert told(story=story)[0] == "note: out of memory while training: smaller plan, once more"


def test_what_a_room_was_at_is_no_result_of_it():
    story = [event("evaluate", "baseline", name="decision tree"), event("evaluate", "end", 112.0, seconds=12.0)]
    assert told(story=story) == ["evaluate: done in 12 s"]
    found = event("plan", "found", network="unet", steps=200, members=1)
    assert "U-Net" in told(story=[found, event("plan", "end", seconds=6.0)])[0]


def test_remaining_time_is_in_proportion_to_the_work_left():
    rooms = Rooms("en")
    rooms.take(event("prepare", "begin", 100.0))
    room = rooms.take(event("prepare", "progress", 110.0, done=25, of=100))
    assert room.remaining(110.0) == pytest.approx(30.0)  # 25 in 10 s: 75 more in 30 s
    # A second count in the same room: 10 of 20 in 5 s after its first event.
    rooms.take(event("prepare", "progress", 120.0, done=0, of=20))
    room = rooms.take(event("prepare", "progress", 125.0, done=10, of=20))
    assert room.remaining(125.0) == pytest.approx(5.0)


def test_time_left_that_a_room_tells_counts_down():
    room = Rooms("en").take(event("train", "epoch", 100.0, step=1, steps=9, loss=1.0, seconds_left=80))
    assert room.remaining(130.0) == pytest.approx(50.0)
    assert room.remaining(500.0) == 0.0


def test_room_entered_again_begins_anew():
    rooms = Rooms("en")
    for one in (event("plan", "begin", 1.0), event("plan", "end", 2.0, seconds=1.0), event("plan", "begin", 5.0)):
        room = rooms.take(one)
    assert room.ended is None
    assert room.begun == 5.0


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.04, "0.0 s"), (9.94, "9.9 s"), (9.96, "10 s"), (59.4, "59 s"), (59.6, "1 min 00 s"), (3599, "59 min 59 s")],
)
def test_times_as_people_say_them(seconds, words):
    assert spoken(seconds, "en") == words


def test_bars_show_every_room_with_its_time_and_mark():
    stream = Terminal()
    with Bars("en", stream) as shown:
        for one in STORY:
            shown(one)
    last = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", stream.getvalue()).replace("\r", "\n")
    rows = {r.split()[1]: r for r in last.splitlines() if r.startswith("✓")}
    assert set(rows) == {"read", "inspect", "plan", "train", "report"}
    assert "2 min 01 s" in rows["train"]
    assert "note: 1 of 30 masks are empty: a." in last


def test_bars_of_a_failed_room_carry_a_cross():
    stream = Terminal()
    fail(Bars("zh", stream), KeyboardInterrupt)
    assert "✗" in stream.getvalue()
    assert "\u8bad\u7ec3" in stream.getvalue()
    assert stream.getvalue().endswith("\x1b[?25h")  # the cursor is back


def test_the_stream_decides_what_is_shown():
    assert type(display("en", stream=io.StringIO())) is Lines
    assert type(display("en", stream=Terminal())) is Bars
    assert type(display("en", quiet=True, stream=Terminal())) is Display
