"""Sending and fetching, with servers that answer wrongly on purpose; real ones are in ``tests/peers.py``."""

import json
import logging
import os
import socket
import ssl
import threading
import zipfile
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pydicom
import pytest
from pynetdicom import AE, evt
from pynetdicom.sop_class import CTImageStorage

from lucency.apps import dicomweb, fetch, pacs, query, send
from lucency.apps.dicomweb import Access, Server
from lucency.errors import OutputError, ReadError, UsageError
from lucency.image import Image, diagonal_affine
from lucency.write.dicom_series import Identity, write_series

WHO = Identity(3, 1)
SECRET_ID = "MRN-4711-SECRET"


@pytest.fixture
def series(tmp_path):
    """Three CT slices of a patient whose identity must not be told."""
    image = Image(np.arange(3 * 8 * 8, dtype=np.int16).reshape(1, 3, 8, 8), diagonal_affine((2, 1, 1)), unit="HU")
    write_series(tmp_path / "ct", image, WHO)
    for path in (tmp_path / "ct").iterdir():
        data = pydicom.dcmread(path)
        data.PatientID = SECRET_ID
        data.save_as(path)
    return tmp_path / "ct"


class Web(BaseHTTPRequestHandler):
    """Answers as the test says; keeps what it was asked."""

    def answer(self, body=b""):
        length = int(self.headers.get("Content-Length") or 0)
        self.server.asked.append((self.command, self.path, dict(self.headers), self.rfile.read(length)))
        status, headers, content = self.server.say(self.command, self.path, self.server.asked[-1][3])
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = answer  # noqa: N815 - the names that the library calls

    def log_message(self, *args):
        pass


@contextmanager
def web(say):
    """A server on this computer whose answers ``say(method, path, body)`` gives."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Web)
    server.say, server.asked, server.daemon_threads = say, [], True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        server.url = f"http://127.0.0.1:{server.server_address[1]}/dicom-web"
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def items(tag, *uids, reason=None):
    extra = {} if reason is None else {"00081197": {"vr": "US", "Value": [reason]}}
    return {tag: {"vr": "SQ", "Value": [{"00081155": {"vr": "UI", "Value": [u]}, **extra} for u in uids]}}


def stow(folder, say):
    """What is told of each file, by its name."""
    with web(say) as server:
        told = {}
        given, _ = pacs.instances([folder])
        Server(server.url, Access()).store(given, lambda one, why: told.update({one.shown: why}))
        return told, server.asked


def parts(body, headers=None):
    """The files inside a body of multipart/related."""
    boundary = body.partition(b"\r\n")[0]
    return [p.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n") for p in body.split(boundary)[1:-1]]


# --- STOW -------------------------------------------------------------------------------------------------------------


def test_body_holds_the_files_byte_for_byte(series):
    files = sorted(series.iterdir())

    def say(method, path, body):
        uids = [str(pydicom.dcmread(f).SOPInstanceUID) for f in files]
        return 200, {}, json.dumps(items("00081199", *uids)).encode()

    told, asked = stow(series, say)
    assert told == dict.fromkeys([f.name for f in files])
    (method, path, headers, body) = asked[0]
    assert (method, path, headers["Accept"]) == ("POST", "/dicom-web/studies", "application/dicom+json")
    assert parts(body) == [f.read_bytes() for f in files]


@pytest.mark.parametrize(
    ("status", "content"),
    [(200, b""), (200, b"{}"), (200, b"[]"), (200, b"<ok/>"), (202, b"null"), (200, b'{"00081199":{"Value":[3,{}]}}')],
)
def test_a_good_status_without_a_list_is_not_believed(series, status, content):
    told, _ = stow(series, lambda *_: (status, {}, content))
    assert set(told.values()) == {f"the server does not list it as stored ({status})"}


def test_failed_list_wins_and_its_reason_is_told(series):
    one, two, _ = (str(pydicom.dcmread(f).SOPInstanceUID) for f in sorted(series.iterdir()))
    said = items("00081199", one, two) | items("00081198", two, reason=0xA700)
    told, _ = stow(series, lambda *_: (409, {}, json.dumps(said).encode()))
    assert list(told.values()) == [None, "out of resources (A700)", "the server does not list it as stored (409)"]


def test_one_object_that_a_server_chokes_on_costs_only_itself(series):
    bad = sorted(series.iterdir())[1].read_bytes()

    def say(method, path, body):
        if bad in parts(body):
            return 400, {}, b"no"
        uids = [str(pydicom.dcmread(pydicom.filebase.DicomBytesIO(p)).SOPInstanceUID) for p in parts(body)]
        return 200, {}, json.dumps(items("00081199", *uids)).encode()

    told, _ = stow(series, say)
    assert list(told.values()).count(None) == 2
    assert told["slice-0002.dcm"] == "the server does not list it as stored (400)"


def test_batches_are_bounded_and_hold_everything(series, monkeypatch):
    given, _ = pacs.instances([series])
    monkeypatch.setattr(dicomweb, "BATCH_BYTES", 2 * given[0].size + 10)
    assert [len(b) for b in dicomweb.batches(given)] == [2, 1]
    monkeypatch.setattr(dicomweb, "BATCH_OBJECTS", 1)
    assert [i for b in dicomweb.batches(given) for i in b] == given


# --- addresses, redirects, secrets ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://pacs.hospital/dicom-web", "Plain http to another computer"),
        ("http://10.0.0.7/dicom-web", "Plain http to another computer"),
        ("http://localhost.evil.example/x", "Plain http to another computer"),
        ("https://me:secret@pacs.hospital/x", "A name or password in the address"),
        ("ftp://pacs.hospital/", "No address"),
        ("https:///x", "No address"),
        ("https://host:99999/x", "No address"),
        ("https://host/x?PatientID=1", "No address"),
    ],
)
def test_addresses_that_are_refused(url, said):
    with pytest.raises(UsageError, match=said) as refusal:
        Server(url, Access())
    assert "secret" not in str(refusal.value)


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/x", "http://[::1]/x", "http://localhost/x", "https://pacs/x"])
def test_addresses_that_are_taken(url):
    assert Server(url, Access()).root == url
    assert Server("http://10.0.0.7/x", Access(insecure=True)).session.verify is True


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_not_followed(status):
    with (
        web(lambda *_: (200, {}, b"[]")) as other,
        web(lambda *_: (status, {"Location": other.url}, b"")) as first,
        pytest.raises(OutputError, match="another address"),
    ):
        list(Server(first.url, Access("me", "secret")).search("studies", {"PatientID": SECRET_ID}))
    assert other.asked == []


def test_proxies_and_netrc_of_the_environment_are_not_used(monkeypatch, tmp_path):
    with web(lambda *_: (500, {}, b"")) as proxy, web(lambda *_: (200, {}, b"[]")) as server:
        (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password secret")
        monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        assert list(Server(server.url, Access()).search("studies", {})) == []
    assert proxy.asked == []
    assert "Authorization" not in server.asked[0][2]


@pytest.mark.parametrize(
    ("access", "said"), [(Access("me", "hunter2"), "Basic bWU6aHVudGVyMg=="), (Access("", "tok"), "Bearer tok")]
)
def test_credentials_are_sent_and_never_shown(access, said):
    with web(lambda *_: (401, {}, b"")) as server, pytest.raises(OutputError, match=r"refuses access \(401\)") as error:
        list(Server(server.url, access).search("studies", {}))
    assert server.asked[0][2]["Authorization"] == said
    assert access.secret not in str(error.value) + repr(access)


@pytest.mark.skipif(os.name == "nt", reason="Windows keeps no permission bits of this kind")
def test_a_password_file_that_others_can_read_is_refused(tmp_path):
    file = tmp_path / "login.txt"
    file.write_text("me:secret:with colon\n")
    file.chmod(0o644)
    with pytest.raises(UsageError, match=r"chmod 600 login\.txt") as refusal:
        send.credentials(file, ask=False)
    assert "secret" not in str(refusal.value)
    file.chmod(0o600)
    assert send.credentials(file, ask=False) == ("me", "secret:with colon")
    file.write_text("token\n")
    assert send.credentials(file, ask=False) == ("", "token")
    file.write_text("\n")
    with pytest.raises(UsageError, match="empty"):
        send.credentials(file, ask=False)


def test_an_unreachable_server_is_said_so_without_the_query(caplog):
    caplog.set_level(logging.DEBUG)
    with web(lambda *_: (200, {}, b"")) as gone:
        pass
    with pytest.raises(OutputError, match="No answer from the server") as error:
        list(Server(gone.url, Access()).search("studies", {"PatientID": SECRET_ID}))
    assert SECRET_ID not in str(error.value) + caplog.text


def test_queries_reach_no_log(caplog):
    caplog.set_level(logging.DEBUG)
    with web(lambda *_: (200, {}, b"[]")) as server:
        assert list(Server(server.url, Access()).search("studies", {"PatientID": SECRET_ID})) == []
    assert SECRET_ID in server.asked[0][1]
    assert SECRET_ID not in caplog.text


def test_a_certificate_that_nobody_vouches_for_is_refused(tmp_path):
    import datetime
    import ipaddress

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (tmp_path / "ca.pem").write_bytes(made.public_bytes(pem))
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (tmp_path / "both.pem").write_bytes(secret + made.public_bytes(pem))
    with web(lambda *_: (200, {}, b"[]")) as server:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(tmp_path / "both.pem")
        server.socket = context.wrap_socket(server.socket, server_side=True)
        url = server.url.replace("http:", "https:")
        with pytest.raises(OutputError, match=r"No answer.*SSLError.*certificate"):
            list(Server(url, Access(insecure=True)).search("studies", {}))
        assert list(Server(url, Access(ca=tmp_path / "ca.pem")).search("studies", {})) == []


# --- QIDO and WADO ----------------------------------------------------------------------------------------------------


def test_a_server_that_does_not_page_is_not_asked_for_ever():
    row = {"0020000D": {"vr": "UI", "Value": ["1.2.3"]}}
    with web(lambda *_: (200, {}, json.dumps([row, row]).encode())) as server:
        assert list(Server(server.url, Access()).search("studies", {"ModalitiesInStudy": "CT"})) == [row, row]
    assert len(server.asked) == 2


def test_a_server_that_pays_no_heed_to_the_query_does_not_give_us_its_archive():
    rows = [
        {"0020000D": {"vr": "UI", "Value": [f"1.2.{n}"]}, "00100020": {"vr": "LO", "Value": [f"MRN{n}"]}}
        for n in range(5)
    ]
    with web(lambda m, path, b: (200, {}, json.dumps(rows if "offset=0" in path else []).encode())) as server:
        asked = Server(server.url, Access())
        assert fetch.found(asked, {"PatientID": "MRN3"}, 10) == (["1.2.3"], 4)
        assert fetch.found(asked, {"PatientID": "MRN?"}, 10) == ([f"1.2.{n}" for n in range(5)], 0)
        assert fetch.found(asked, {"StudyInstanceUID": "1.2.4,1.2.1"}, 10) == (["1.2.1", "1.2.4"], 3)
        with pytest.raises(UsageError, match="more than 3 studies"):
            fetch.found(asked, {"PatientID": "MRN*"}, 3)
        with pytest.raises(OutputError, match="does not say ModalitiesInStudy"):
            fetch.found(asked, {"ModalitiesInStudy": "CT"}, 10)


def test_a_misspelt_key_of_a_query_does_not_fetch_the_archive():
    with pytest.raises(UsageError, match=r"No DICOM attribute 'PatientNam'.*did you mean PatientName\?"):
        fetch.queries([], [], {"PatientNam": "X"})
    with pytest.raises(UsageError, match="No DICOM attribute 'Colour'"):
        fetch.queries([], [], {"Colour": "red"})
    assert fetch.queries([], [], {"patientid": "7"}) == [{"PatientID": "7"}]
    with pytest.raises(UsageError, match="named twice"):
        fetch.queries([], [], {"patientid": "7", "PatientID": "8"})
    with pytest.raises(UsageError, match="two options"):
        fetch.queries([], ["7"], {"PatientID": "8"})


@pytest.mark.parametrize("given", ["MRN7700*", "MRN?", "*", "A\\B"])
def test_an_id_given_with_patient_takes_no_wildcards(given):
    with pytest.raises(UsageError, match="Patient ID with a wildcard"):
        fetch.queries([], [given], {})


@pytest.mark.parametrize(
    ("key", "vr", "said", "asked", "agrees"),
    [
        ("PatientName", "PN", [{"Alphabetic": "DOE^JANE^^"}], "doe^*", True),
        ("PatientName", "PN", [{"Alphabetic": "ROE^JANE", "Ideographic": "王^小"}], "王*", True),
        ("PatientName", "PN", [{"Alphabetic": "ROE^JANE"}], "DOE*", False),
        ("StudyDate", "DA", ["20240131"], "20240101-20240201", True),
        ("StudyDate", "DA", ["20240131"], "-20240130", False),
        ("StudyDate", "DA", ["20240131"], "2024*", False),
        ("StudyTime", "TM", ["120030.5"], "1200-1200", True),
        ("ModalitiesInStudy", "CS", ["SEG", "CT"], "CT", True),
        ("ModalitiesInStudy", "CS", ["SEG", "MR"], "CT", False),
        ("NumberOfStudyRelatedInstances", "IS", [3], "3", True),
        ("AccessionNumber", "SH", [], "A1", False),
    ],
)
def test_answers_are_compared_with_the_query_again(key, vr, said, asked, agrees):
    (one,) = query.asked_of({key: asked})
    assert one.agrees({one.tag: {"vr": vr, "Value": said}}) is agrees
    assert one.agrees({}) is None


def test_series_of_another_modality_are_not_fetched_where_the_server_pays_no_heed(tmp_path):
    rows = [
        {"0020000E": {"vr": "UI", "Value": [f"1.5.{n}"]}, "00080060": {"vr": "CS", "Value": [m]}}
        for n, m in enumerate(("CT", "SEG", "MR"))
    ]

    def say(method, path, body):
        return 200, {}, json.dumps(rows if "/series?" in path and "offset=0" in path else []).encode()

    with web(say) as server:
        found = fetch.collect(Server(server.url, Access()), ["1.2"], tmp_path / "out", "CT")
        assert found["discarded_series"] == 2
        assert not any("1.5.1" in a[1] or "1.5.2" in a[1] for a in server.asked)


@pytest.mark.parametrize("content", [b"{}", b"<a/>", b"[1]", b"[" * 100_000, b'{"a": "' + b"x" * 3000 + b'"}'])
def test_lists_that_are_none_are_refused(content, monkeypatch):
    monkeypatch.setattr(dicomweb, "LARGEST_JSON", 200_000)
    with web(lambda *_: (200, {}, content)) as server, pytest.raises(OutputError, match=r"not DICOM JSON|not JSON"):
        list(Server(server.url, Access()).search("studies", {}))


def test_a_server_whose_list_grows_while_it_is_read_is_left(monkeypatch):
    monkeypatch.setattr(dicomweb, "MOST_ROWS", 50)

    def say(method, path, body):
        start = int(path.partition("offset=")[2])
        rows = [{"0020000D": {"vr": "UI", "Value": [f"1.2.{start + n}"]}} for n in range(10)]
        return 200, {}, json.dumps(rows).encode()

    with web(say) as server, pytest.raises(OutputError, match="does not end"):
        list(Server(server.url, Access()).search("studies", {}))
    assert len(server.asked) == 6


def test_a_list_without_end_is_cut(monkeypatch):
    monkeypatch.setattr(dicomweb, "LARGEST_JSON", 1000)
    with web(lambda *_: (200, {}, b"[" + b"1," * 9999 + b"1]")) as server, pytest.raises(OutputError, match="too long"):
        list(Server(server.url, Access()).search("studies", {}))


def answered(content, kind='multipart/related; type="application/dicom"; boundary=abc'):
    return lambda *_: (200, {"Content-Type": kind}, content)


def got(say, uid, tmp_path):
    with web(say) as server:
        Server(server.url, Access()).retrieve("1", "2", uid, tmp_path / "a" / "x.dcm")
    return (tmp_path / "a" / "x.dcm").read_bytes()


@pytest.mark.parametrize("start", [b"--abc\r\n", b"\r\n--abc\r\n"])
def test_object_comes_out_of_its_wrapping_byte_for_byte(series, tmp_path, start):
    content = (series / "slice-0001.dcm").read_bytes()
    uid = str(pydicom.dcmread(series / "slice-0001.dcm").SOPInstanceUID)
    body = start + b"Content-Type: application/dicom\r\n\r\n" + content + b"\r\n--abc--\r\n"
    assert got(answered(body), uid, tmp_path) == content
    assert got(answered(content, "application/dicom"), uid, tmp_path) == content


def test_what_is_cut_off_wrong_or_too_large_leaves_nothing_behind(series, tmp_path, monkeypatch):
    content = (series / "slice-0001.dcm").read_bytes()
    uid = str(pydicom.dcmread(series / "slice-0001.dcm").SOPInstanceUID)
    body = b"--abc\r\nContent-Type: application/dicom\r\n\r\n" + content + b"\r\n--abc--\r\n"
    cases = [
        (answered(body[:-20]), uid, "cut off"),
        (answered(b"--abc--"), uid, "cut off"),
        (answered(b"hello", "text/html"), uid, "Not a DICOM file"),
        (answered(body), "1.2.3", "another object"),
        (lambda *_: (404, {}, b""), uid, r"\(404\)"),
    ]
    for say, wanted, why in cases:
        with pytest.raises((OutputError, ReadError), match=why):
            got(say, wanted, tmp_path)
    monkeypatch.setattr(dicomweb, "LARGEST_OBJECT", 100)
    with pytest.raises(ReadError, match="too large"):
        got(answered(body), uid, tmp_path)
    assert not (tmp_path / "a").exists() or list((tmp_path / "a").iterdir()) == []


def test_bulk_data_addresses_and_hostile_uids_are_not_followed(tmp_path):
    bulk = {"7FE00010": {"vr": "OW", "BulkDataURI": "http://evil.example/x"}}

    def say(method, path, body):
        if "offset=0" not in path:
            return 200, {}, b"[]"
        if path.startswith("/dicom-web/studies/1.2/series?"):
            rows = [
                {"0020000E": {"vr": "UI", "Value": [uid]}, **bulk}
                for uid in ("1.5", "../../1.6", "1.7/../x", "1.8?y=z")
            ]
            return 200, {}, json.dumps(rows).encode()
        return 200, {}, json.dumps([{"00080018": {"vr": "UI", "Value": ["../../../tmp/x"]}, **bulk}]).encode()

    with web(say) as server:
        found = fetch.collect(Server(server.url, Access()), ["1.2"], tmp_path / "out", None)
    assert found["fetched"] == 0
    assert [a[1].partition("?")[0] for a in server.asked if "offset=0" in a[1]] == [
        "/dicom-web/studies/1.2/series",
        "/dicom-web/studies/1.2/series/1.5/instances",
    ]


@pytest.mark.parametrize(
    ("studies", "patients", "attributes"),
    [([], [], {}), ([], [" "], {}), (["1.2/x"], [], {}), (["x"], [], {}), ([], [], {"Modality": "*"})],
)
def test_everything_is_not_asked_for(studies, patients, attributes):
    with pytest.raises(UsageError, match=r"Nothing to look for|No UID"):
        fetch.queries(studies, patients, attributes)


# --- C-STORE ----------------------------------------------------------------------------------------------------------


@contextmanager
def node(syntaxes, status=0x0000):
    """A node on this computer that takes CT in ``syntaxes`` and answers every object with ``status``."""
    taken = []

    def store(event):
        data = event.dataset
        data.file_meta = event.file_meta
        taken.append(data)
        return status

    entity = AE(ae_title="NODE")
    entity.add_supported_context(CTImageStorage, syntaxes)
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, store)])
    try:
        yield pacs.Peer("NODE", "127.0.0.1", server.server_address[1]), taken
    finally:
        server.shutdown()


def stored(folder, peer):
    told = {}
    given, _ = pacs.instances([folder])
    pacs.c_store(peer, given, lambda one, why: told.update({one.shown: why}))
    return told


@pytest.mark.parametrize("syntax", [pacs.EXPLICIT, pacs.IMPLICIT])
def test_objects_arrive_whole_in_the_encoding_that_the_node_takes(series, syntax):
    with node([syntax]) as (peer, taken):
        assert stored(series, peer) == dict.fromkeys(f"slice-000{n}.dcm" for n in (1, 2, 3))
    assert {str(d.file_meta.TransferSyntaxUID) for d in taken} == {syntax}
    sent = {str(d.SOPInstanceUID): d for d in map(pydicom.dcmread, series.iterdir())}
    for data in taken:
        assert np.array_equal(data.pixel_array, sent[str(data.SOPInstanceUID)].pixel_array)
        assert data.PatientID == SECRET_ID


@pytest.mark.parametrize(
    ("status", "why"),
    [
        (0xB000, None),
        (0xA700, "out of resources (A700)"),
        (0xC001, "not understood (C001)"),
        (0x0124, "not authorised (0124)"),
    ],
)
def test_status_of_each_object_is_told(series, status, why):
    with node([pacs.EXPLICIT], status) as (peer, _):
        assert set(stored(series, peer).values()) == {why}


def test_a_compressed_object_is_not_decoded_for_a_node_that_does_not_take_it(series):
    path = series / "slice-0002.dcm"
    data = pydicom.dcmread(path)
    data.compress("1.2.840.10008.1.2.5", generate_instance_uid=False)
    data.save_as(path)
    with node([pacs.EXPLICIT]) as (peer, taken):
        told = stored(series, peer)
    assert told["slice-0002.dcm"] == "the node does not take this kind of object in this encoding"
    assert list(told.values()).count(None) == len(taken) == 2


def test_many_kinds_take_several_associations(series, monkeypatch):
    monkeypatch.setattr(pacs, "KINDS_AT_ONCE", 1)
    path = series / "slice-0002.dcm"
    data = pydicom.dcmread(path)
    data.file_meta.TransferSyntaxUID = pacs.IMPLICIT
    data.save_as(path, implicit_vr=True, little_endian=True)
    with node([pacs.EXPLICIT, pacs.IMPLICIT]) as (peer, taken):
        assert set(stored(series, peer).values()) == {None}
    assert len(taken) == 3


def test_a_node_that_is_not_there_is_said_so(series, caplog):
    caplog.set_level(logging.DEBUG)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with pytest.raises(OutputError, match="No association with the DICOM node") as error:
        stored(series, pacs.Peer("NODE", "127.0.0.1", port))
    assert f"nothing listens at 127.0.0.1:{port}" in str(error.value)
    assert "Error" not in str(error.value)
    assert SECRET_ID not in caplog.text


@pytest.mark.parametrize(
    "address",
    [
        "dicom://host:104",
        "dicom://A@host",
        "dicom://A@:104",
        "dicom://A:pw@h:1",
        "x://A@h:1",
        "dicom://TITLEOVER16CHARS.@h:1",
    ],
)
def test_addresses_of_nodes_that_are_refused(address):
    with pytest.raises(UsageError, match="dicom://AET@host:port"):
        pacs.peer_of(address)


def test_addresses_of_nodes():
    assert pacs.peer_of("dicom://ORTHANC@pacs:104") == pacs.Peer("ORTHANC", "pacs", 104)
    assert pacs.peer_of("dicoms://ORTHANC@[::1]:2762") == pacs.Peer("ORTHANC", "::1", 2762, secure=True)


# --- what is sent -----------------------------------------------------------------------------------------------------


def test_what_is_no_object_or_there_twice_is_left_out_with_the_reason(series):
    (series / "notes.txt").write_text("hello " * 50)
    (series / "empty.dcm").write_bytes(b"")
    (series / "deeper").mkdir()
    (series / "deeper" / "again.dcm").write_bytes((series / "slice-0003.dcm").read_bytes())
    data = pydicom.dcmread(series / "slice-0001.dcm")
    data.SOPInstanceUID = "1.2.3"
    data.save_as(series / "torn.dcm", enforce_file_format=False)
    given, left_out = pacs.instances([series])
    assert [i.shown for i in given] == ["deeper/again.dcm", "slice-0001.dcm", "slice-0002.dcm"]
    assert {one.shown: (one.kind, one.why) for one in left_out} == {
        "notes.txt": ("foreign", "Not a DICOM file"),
        "empty.dcm": ("foreign", "Not a DICOM file"),
        "slice-0003.dcm": ("twice", "The same object as deeper/again.dcm"),
        "torn.dcm": ("unsent", "Its header does not say what it holds"),
    }


def packed(series, name="study.zip"):
    """An archive of the series beside it, and with a note, a nested archive and what a Mac leaves behind."""
    path = series.parent / name
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for one in sorted(series.iterdir()):
            file.write(one, f"inner/{one.name}")
        file.writestr("readme.txt", "hello " * 50)
        file.writestr("more.zip", b"PK")
        file.writestr("__MACOSX/inner/slice", b"x" * 200)
    return path


def test_a_study_in_a_zip_is_sent(series, tmp_path):
    path = packed(series)
    names = [f"study.zip/inner/slice-000{n}.dcm" for n in (1, 2, 3)]
    given, left_out = pacs.instances([path])
    assert [i.shown for i in given] == names
    assert [i.size for i in given] == [f.stat().st_size for f in sorted(series.iterdir())]
    assert {one.shown: one.kind for one in left_out} == {
        "study.zip/readme.txt": "foreign",
        "study.zip/more.zip": "archive",
    }
    for syntax in (pacs.EXPLICIT, pacs.IMPLICIT):
        with node([syntax]) as (peer, taken):
            assert stored(path, peer) == dict.fromkeys(names)
        sent = {str(d.SOPInstanceUID): d for d in map(pydicom.dcmread, series.iterdir())}
        assert all(np.array_equal(d.pixel_array, sent[str(d.SOPInstanceUID)].pixel_array) for d in taken)
        assert len(taken) == 3
    uids = [i.uid for i in given]
    _, asked = stow(path, lambda *_: (200, {}, json.dumps(items("00081199", *uids)).encode()))
    assert parts(asked[0][3]) == [f.read_bytes() for f in sorted(series.iterdir())]


def test_what_is_not_sent_is_said_by_kind(series, capsys):
    from lucency.apps import cli

    path = packed(series)
    (series.parent / "torn.zip").write_bytes(b"PK" * 100)
    given = [str(series), str(path), str(series.parent / "torn.zip")]
    with node([pacs.EXPLICIT]) as (peer, _), pytest.raises(SystemExit) as ended:
        cli.app(args=["send", *given, "--to", f"dicom://NODE@127.0.0.1:{peer.port}"])
    assert ended.value.code == 0
    said = "".join(capsys.readouterr())
    assert "1 file is not DICOM" in said
    assert "3 files hold the same object as another" in said
    assert "2 zip archives or files in them cannot be read" in said


def test_the_list_of_what_was_stored_grows_with_each_object_and_is_heeded(series, tmp_path):
    done = tmp_path / "done.txt"
    with node([pacs.EXPLICIT]) as (peer, taken):
        to = f"dicom://NODE@127.0.0.1:{peer.port}"
        first = send.deliver([series / "slice-0001.dcm"], to, Access(), title="A", done=done)
        second = send.deliver([series], to, Access(), title="A", done=done)
    assert (first["stored"], second["stored"], second["known"]) == (1, 2, 1)
    assert len(taken) == len({str(d.SOPInstanceUID) for d in taken}) == 3
    assert all(str(d.SOPInstanceUID) not in done.read_text() for d in taken)


def test_json_is_one_object_and_the_status_tells_of_refusals(series, capsys):
    from lucency.apps import cli

    with web(lambda *_: (200, {}, b"{}")) as server, pytest.raises(SystemExit) as ended:
        cli.app(args=["send", str(series), "--to", server.url, "--json"])
    assert ended.value.code == 1
    out, err = capsys.readouterr()
    said = json.loads(out)
    assert said["stored"] == 0
    assert set(said["refused"]) == {f"slice-000{n}.dcm" for n in (1, 2, 3)}
    assert said["error"]["exit_status"] == 1
    assert "3 objects were not stored" in err
    assert SECRET_ID not in out + err


def test_help_needs_no_network_library(python):
    import subprocess

    code = (
        "import sys\nfrom lucency.apps import cli\n"
        "try:\n    cli.app(args=['send', '--help'])\nexcept SystemExit:\n    pass\n"
        "print('LOADED', sorted({'requests', 'pynetdicom', 'pydicom', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
    assert "LOADED []" in done.stdout, done.stderr
