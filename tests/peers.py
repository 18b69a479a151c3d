"""Tests against real peers: an Orthanc of its own, in a network namespace of its own.

Orthanc 1.10 listens on every interface whatever its configuration says, so this file is not collected by itself:
``tests/apps/test_peers.py`` starts it below ``unshare``, where there is no network but this loopback. Started by hand
outside of such a namespace every test here is skipped.
"""

import fcntl
import json
import shutil
import socket
import struct
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import numpy as np
import pydicom
import pytest

sys.path.insert(0, str(Path(__file__).parent / "write"))

import placed

from lucency.apps import cli, fetch, pacs, send
from lucency.apps.dicomweb import Access, Server
from lucency.image import Image
from lucency.read import load, read_inputs
from lucency.write.capture import write_capture
from lucency.write.dicom_seg import write_seg
from lucency.write.dicom_source import measured
from lucency.write.dicom_sr import write_classes, write_found
from lucency.write.parametric import write_parametric

ORTHANC = shutil.which("Orthanc", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
#: Requests of Linux to a network interface (linux/sockios.h, linux/if.h).
SET_FLAGS, UP = 0x8914, 1
WAIT_S = 30
LABEL_MAP = "1.2.840.10008.5.1.4.1.1.66.7"


def only_loopback() -> bool:
    """Whether there is no interface but the loopback; tunnels that every namespace has do not count."""
    return {name for _, name in socket.if_nameindex()} <= {
        "lo",
        "sit0",
        "ip6tnl0",
        "tunl0",
        "gre0",
        "gretap0",
        "erspan0",
    }


def raise_loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as handle:
        fcntl.ioctl(handle, SET_FLAGS, struct.pack("16sH14x", b"lo", UP))


class Orthanc:
    """A running server: ``web`` and ``dicom`` are its addresses."""

    def __init__(self, folder: Path) -> None:
        http, dicom = free_port(), free_port()
        self.rest = f"http://127.0.0.1:{http}"
        self.web, self.port = f"{self.rest}/dicom-web", dicom
        self.dicom = f"dicom://ORTHANC@127.0.0.1:{dicom}"
        settings = {
            "Name": "test",
            "StorageDirectory": str(folder / "db"),
            "IndexDirectory": str(folder / "db"),
            "Plugins": [str(PLUGIN)],
            "HttpPort": http,
            "DicomPort": dicom,
            "DicomAet": "ORTHANC",
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "DicomAlwaysAllowStore": True,
            "DicomAlwaysAllowEcho": True,
            "DicomCheckCalledAet": False,
            "UnknownSopClassAccepted": True,
            "OverwriteInstances": True,
            "SaveJobs": False,
            "DicomWeb": {"Enable": True, "Root": "/dicom-web/", "Host": f"127.0.0.1:{http}", "Ssl": False},
        }
        (folder / "orthanc.json").write_text(json.dumps(settings))
        self.log = (folder / "orthanc.log").open("wb")
        self.child = subprocess.Popen([ORTHANC, str(folder / "orthanc.json")], stdout=self.log, stderr=self.log)

    def ready(self) -> bool:
        for _ in range(WAIT_S * 10):
            if self.child.poll() is not None:
                return False
            try:
                self.get("/system")
            except OSError:
                time.sleep(0.1)
            else:
                return True
        return False

    def stop(self) -> None:
        self.child.terminate()
        try:
            self.child.wait(WAIT_S)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()
        self.log.close()

    def get(self, path: str) -> bytes:
        with urllib.request.urlopen(self.rest + path, timeout=WAIT_S) as answer:
            return answer.read()

    def count(self) -> int:
        return len(json.loads(self.get("/instances")))

    def empty(self) -> None:
        for patient in json.loads(self.get("/patients")):
            request = urllib.request.Request(f"{self.rest}/patients/{patient}", method="DELETE")
            urllib.request.urlopen(request, timeout=WAIT_S).close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="session")
def running(tmp_path_factory):
    if not only_loopback():
        pytest.skip("not in a network namespace of its own; tests/apps/test_peers.py makes one")
    raise_loopback()
    server = Orthanc(tmp_path_factory.mktemp("orthanc"))
    try:
        assert server.ready(), "Orthanc did not start"
        yield server
    finally:
        server.stop()


@pytest.fixture
def orthanc(running):
    running.empty()
    return running


def results_of(kind: str, folder: Path) -> placed.Placed:
    """Write every kind of result about one source below ``folder/results``."""
    found = placed.place(kind, folder)
    seen, out = measured(found.source, found.mask), folder / "results"
    made = write_seg(out / "seg.dcm", found.mask, placed.NAMES, seen, placed.ORIGIN)
    write_seg(out / "labelmap.dcm", found.mask, placed.NAMES, seen, placed.ORIGIN, form="labelmap")
    write_found(out / "sr.dcm", found.mask, placed.NAMES, seen, placed.ORIGIN, segmentation=made)
    write_classes(out / "classes.dcm", placed.SAID, seen, placed.ORIGIN, form="enhanced")
    heat = Image(np.random.default_rng(0).random(found.image.array.shape, np.float32), found.image.affine)
    if kind != "radiograph":
        write_parametric(out / "map.dcm", heat, seen, placed.ORIGIN)
    write_capture(out / "overlay", found.image, found.mask, seen, placed.ORIGIN)
    return found


def by_uid(folder: Path) -> dict[str, pydicom.Dataset]:
    return {str(d.SOPInstanceUID): d for d in map(pydicom.dcmread, folder.rglob("*.dcm"))}


def deliver(folder: Path, to: str, done: Path | None = None):
    return send.deliver([folder], to, Access(), title="LUCENCY", done=done)


@pytest.mark.parametrize("way", ["web", "dicom"])
@pytest.mark.parametrize("kind", placed.KINDS)
def test_every_result_is_accepted_and_comes_back_the_same(orthanc, kind, way, tmp_path):
    results_of(kind, tmp_path)
    sent = by_uid(tmp_path)
    told = deliver(tmp_path, getattr(orthanc, way))
    assert told["refused"] == {}
    assert told["stored"] == len(sent) == orthanc.count()
    server = Server(orthanc.web, Access())
    study = str(next(iter(sent.values())).StudyInstanceUID)
    fetch.collect(server, [study], tmp_path / "back", None)
    back = by_uid(tmp_path / "back")
    assert set(back) == set(sent)
    for uid, one in sent.items():
        assert back[uid] == one, one.SOPClassUID.name
        assert back[uid].file_meta.TransferSyntaxUID == one.file_meta.TransferSyntaxUID


def test_sent_twice_is_stored_once_and_a_list_spares_the_second_time(orthanc, tmp_path):
    results_of("axial", tmp_path)
    first = deliver(tmp_path, orthanc.web)
    assert deliver(tmp_path, orthanc.web)["stored"] == first["stored"] == orthanc.count()
    done = tmp_path / "done.txt"
    half = tmp_path / "results"
    first = deliver(half, orthanc.dicom, done)
    rest = deliver(tmp_path, orthanc.dicom, done)
    assert rest["known"] == first["stored"]
    assert rest["stored"] + rest["known"] == orthanc.count()
    uids = list(by_uid(tmp_path))
    assert not any(uid in done.read_text() for uid in uids)


def test_compressed_objects_are_sent_as_they_are(orthanc, tmp_path):
    found = placed.place("axial", tmp_path, size=(6, 64, 64))
    for path, syntax in zip(
        found.source.files,
        ("1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2") * 2,
        strict=False,
    ):
        data = pydicom.dcmread(path)
        if syntax == "1.2.840.10008.1.2":
            data.file_meta.TransferSyntaxUID = syntax
            data.save_as(path, implicit_vr=True, little_endian=True)
        else:
            data.compress(syntax, generate_instance_uid=False)
            data.save_as(path)
    sent = by_uid(tmp_path)
    for way in (orthanc.web, orthanc.dicom):
        orthanc.empty()
        assert deliver(tmp_path, way)["refused"] == {}
        shutil.rmtree(tmp_path / "back", ignore_errors=True)
        study = str(next(iter(sent.values())).StudyInstanceUID)
        fetch.collect(Server(orthanc.web, Access()), [study], tmp_path / "back", None)
        back = by_uid(tmp_path / "back")
        for uid, one in sent.items():
            assert back[uid].file_meta.TransferSyntaxUID == one.file_meta.TransferSyntaxUID
            assert np.array_equal(back[uid].pixel_array, one.pixel_array)


def test_what_was_fetched_is_read_as_a_cohort_with_the_same_voxels(orthanc, tmp_path):
    found = placed.place("oblique", tmp_path)
    deliver(tmp_path, orthanc.web)
    code = run("fetch", "--from", orthanc.web, "--patient", "PHANTOM-05", "--out", tmp_path / "back", "-q")
    assert code == 0
    (case,) = read_inputs(tmp_path / "back")
    back = load(case.sources[0])
    # The reader may count the slices from the other end; in the patient they are where they were.
    step = np.linalg.inv(back.affine) @ found.image.affine
    assert np.abs(step - np.rint(step)).max() < 1e-4
    place = np.rint(np.einsum("ab,bkji->akji", step, np.stack([*np.indices(placed.SIZE), np.ones(placed.SIZE)])))
    k, j, i = place[:3].astype(int)
    assert np.array_equal(back.array[0][k, j, i], found.image.array[0])
    names = [p.name for p in (tmp_path / "back").rglob("*")]
    assert not any("PHANTOM" in n or "2.25" in n for n in names)


def test_fetch_goes_on_where_it_stopped_and_finds_by_attribute(orthanc, tmp_path):
    found = placed.place("axial", tmp_path)
    deliver(tmp_path, orthanc.web)
    server = Server(orthanc.web, Access())
    assert fetch.found(server, {"ModalitiesInStudy": "CT"}, 10) == fetch.found(server, {"PatientID": "PHANTOM*"}, 10)
    assert fetch.found(server, {"PatientID": "NOBODY"}, 10) == ([], 0)
    (study,), _ = fetch.found(server, {"ModalitiesInStudy": "CT"}, 10)
    first = fetch.collect(server, [study], tmp_path / "back", None)
    assert first["fetched"] == len(found.source.paths)
    files = sorted((tmp_path / "back").rglob("*.dcm"))
    before = [f.stat().st_mtime_ns for f in files]
    files[2].unlink()
    second = fetch.collect(server, [study], tmp_path / "back", None)
    assert (second["fetched"], second["known"]) == (1, len(files) - 1)
    after = [f.stat().st_mtime_ns for f in files]
    assert [a for n, a in enumerate(after) if n != 2] == [b for n, b in enumerate(before) if n != 2]
    assert fetch.collect(server, [study], tmp_path / "other", "MR")["fetched"] == 0


def test_list_of_a_server_longer_than_a_page_is_fetched_whole(orthanc, tmp_path, monkeypatch):
    monkeypatch.setattr("lucency.apps.dicomweb.PAGE", 2)
    placed.place("axial", tmp_path)
    deliver(tmp_path, orthanc.web)
    server = Server(orthanc.web, Access())
    (study,), _ = fetch.found(server, {"ModalitiesInStudy": "CT"}, 10)
    assert fetch.collect(server, [study], tmp_path / "back", None)["fetched"] == 6


def test_garbage_with_a_good_status_counts_as_not_stored(orthanc, tmp_path):
    junk = tmp_path / "junk.dcm"
    junk.write_bytes(b"\0" * 128 + b"DICM" + b"nonsense" * 100)
    one = pacs.Instance(junk, "junk.dcm", "1.2", "1.2.3", "1.2.840.10008.1.2.1", junk.stat().st_size)
    told = {}
    Server(orthanc.web, Access()).store([one], lambda i, why: told.update({i.uid: why}))
    assert told["1.2.3"]
    assert orthanc.count() == 0


@pytest.mark.skipif(shutil.which("storescu") is None, reason="storescu (dcmtk) is not installed")
def test_storescu_sends_all_but_the_label_map(orthanc, tmp_path):
    """DCMTK 3.6.7 does not know the class of label maps; that is its age and not our object's fault."""
    results_of("axial", tmp_path)
    files = [p for p in tmp_path.rglob("*.dcm") if pydicom.dcmread(p).SOPClassUID != LABEL_MAP]
    where = ["-aec", "ORTHANC", "127.0.0.1", str(orthanc.port)]
    done = subprocess.run(["storescu", "-R", *where, *map(str, files)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert orthanc.count() == len(files)
    assert pydicom.dcmread(tmp_path / "results" / "labelmap.dcm").SOPClassUID == LABEL_MAP


def test_a_node_that_is_not_there_is_said_so_without_a_word_of_the_data(orthanc, tmp_path, capfd):
    placed.place("axial", tmp_path)
    for to in (f"dicom://X@127.0.0.1:{free_port()}", f"http://127.0.0.1:{free_port()}/dicom-web"):
        assert run("send", tmp_path, "--to", to) == 1
    said = "".join(capfd.readouterr())
    assert "No association" in said
    assert "No answer" in said
    assert "PHANTOM" not in said
    assert "2.25" not in said


def run(*arguments) -> int:
    with pytest.raises(SystemExit) as ended:
        cli.app(args=[str(a) for a in arguments])
    return ended.value.code or 0
