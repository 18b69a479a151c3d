"""What ``lucency synthesize`` tells a user to do next."""

from pathlib import Path

from lucency import record
from lucency.apps.synthesize import following
from lucency.synthesize.asked import Ask
from lucency.walk import Passport, Settings


def test_the_next_command_reads_the_same_data_alike_and_writes_elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = Settings(target="finding", patient=r"(v\d+)_", values={"quality": "warn"}, minutes=60)
    record.write(tmp_path / "run" / "run.json", Passport(str(tmp_path / "my data"), settings, "00"))
    command = following(Path("run").absolute(), Ask(settings))
    assert command == (
        r"lucency fit 'my data' --target finding --patient '(v\d+)_' --set quality=warn --out run-model --synthetic run"
    )
