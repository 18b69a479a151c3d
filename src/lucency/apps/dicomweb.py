"""DICOMweb: STOW-RS, QIDO-RS and WADO-RS with one server and no other."""

import ipaddress
import json
import logging
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote, urlencode, urlsplit

import requests

from lucency.apps.pacs import Instance, Told, identified
from lucency.errors import OutputError, ReadError, UsageError
from lucency.read.archive import opened

#: Seconds to wait for a connection, and between two pieces of an answer.
PATIENCE_S = (10.0, 120.0)
#: Largest answer in JSON, and largest object, bytes; a server cannot fill memory or disk at will.
LARGEST_JSON = 1 << 28
LARGEST_OBJECT = 1 << 32
PIECE = 1 << 20
#: A request of STOW holds no more than this many bytes or objects, so that one bad object costs few others.
BATCH_BYTES, BATCH_OBJECTS = 1 << 26, 100
#: Rows that are asked for at a time, and rows of a list in all: a study has thousands of objects, not millions.
PAGE, MOST_ROWS = 200, 200_000

JSON = "application/dicom+json"
#: Statuses of STOW that come with a list of what was stored (PS3.18, Table 10.5.3-1).
ANSWERED = (200, 202, 409)
UID = re.compile(r"[0-9]+(\.[0-9]+)*")

#: Failure reasons of STOW (PS3.18, 10.5.3; PS3.3, C.14.1.1), by their first digits.
REASONS = {0xA7: "out of resources", 0xA9: "the object is not of its kind", 0xC0: "not understood"}
REASON = {0x0110: "processing failure", 0x0122: "the kind of object is not supported", 0x0124: "not authorised"}


@dataclass(frozen=True)
class Access:
    """What a server asks of us, and what we ask of it.

    Args:
        user: Name; empty for none.
        secret: Password, or token where there is no name; empty for none.
        ca: Certificate of the authority that signed the server's; the system's by default.
        insecure: Allow plain http to another computer.
    """

    user: str = ""
    secret: str = ""
    ca: Path | None = None
    insecure: bool = False

    def __repr__(self) -> str:
        return "Access(…)"


def is_loopback(host: str) -> bool:
    """Tell whether a host is this computer."""
    if host.rstrip(".").lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Server:
    """One DICOMweb server. Redirects, proxies of the environment and addresses in its answers are not followed.

    Args:
        url: Root of the service, such as ``https://host/dicom-web``.
        access: Credentials and certificate.

    Raises:
        UsageError: No such address, one with a password in it, or plain http to another computer.
    """

    def __init__(self, url: str, access: Access) -> None:
        try:
            parts = urlsplit(url)
            host, _ = parts.hostname or "", parts.port
        except ValueError:
            parts, host = urlsplit(""), ""
        if parts.scheme not in ("http", "https") or not host or parts.query or parts.fragment:
            raise UsageError("No address of a DICOMweb server", expected="https://host/path")
        if parts.username is not None or parts.password is not None:
            raise UsageError("A name or password in the address", remedy="put them into a file, and name it by --login")
        if parts.scheme == "http" and not is_loopback(host) and not access.insecure:
            raise UsageError(
                "Plain http to another computer would send patient data in the clear",
                expected="https",
                remedy="use https, or --insecure inside a network that you trust",
            )
        # Its log would hold the queries.
        logging.getLogger("urllib3").setLevel(logging.CRITICAL)
        self.root = url.rstrip("/")
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.verify = str(access.ca) if access.ca else True
        if access.user:
            self.session.auth = (access.user, access.secret)
        elif access.secret:
            self.session.headers["Authorization"] = f"Bearer {access.secret}"

    def _ask(self, method: str, path: str, **options: Any) -> requests.Response:
        """Return the answer with its body still to be read.

        Raises:
            OutputError: No answer, a redirect, or a status that is none of success.
        """
        try:
            answer = self.session.request(
                method, f"{self.root}/{path}", timeout=PATIENCE_S, allow_redirects=False, stream=True, **options
            )
        except (requests.RequestException, OSError, ValueError) as error:
            # The library's own words hold the address with the query.
            raise _no_answer(type(error).__name__) from None
        if answer.is_redirect or 300 <= answer.status_code < 400:
            answer.close()
            raise OutputError(
                "The server sends us to another address",
                expected="an answer of its own",
                remedy="give the address that it means, if you trust it",
            )
        if answer.status_code in (401, 403):
            answer.close()
            raise OutputError(
                f"The server refuses access ({answer.status_code})", remedy="give name and password with --login"
            )
        return answer

    # --- QIDO ---------------------------------------------------------------------------------------------------------

    def search(self, path: str, query: Mapping[str, str], fields: Sequence[str] = ()) -> Iterator[dict[str, Any]]:
        """Yield what matches, page by page; a server that does not page is not asked for ever.

        Args:
            path: ``"studies"``, ``"studies/UID/series"`` …
            query: Attribute to value.
            fields: Further attributes to return.

        Raises:
            OutputError: No answer, or one that is not DICOM JSON.

        Source:
            DICOM PS3.18, 10.6.
        """
        seen: set[str] = set()
        offset = 0
        while True:
            options = [*query.items(), *(("includefield", f) for f in fields)]
            options += [("limit", str(PAGE)), ("offset", str(offset))]
            # Wildcards stay as they are: Orthanc does not know them by their numbers.
            answer = self._ask(
                "GET", path, params=urlencode(options, safe="*?", quote_via=quote), headers={"Accept": JSON}
            )
            rows = _json(answer)
            if not isinstance(rows, list) or not all(isinstance(r, dict) for r in rows):
                raise OutputError("The server's list is not DICOM JSON", remedy="check the address")
            new = [r for r in rows if json.dumps(r, sort_keys=True) not in seen]
            seen.update(json.dumps(r, sort_keys=True) for r in new)
            yield from new
            if not new:
                return
            offset += len(rows)
            if offset > MOST_ROWS:
                raise OutputError("The server's list does not end", expected=f"at most {MOST_ROWS} rows")

    # --- WADO ---------------------------------------------------------------------------------------------------------

    def retrieve(self, study: str, series: str, instance: str, path: Path) -> int:
        """Write one instance, as the server has it, to ``path``, whole or not at all.

        Returns:
            Bytes.

        Raises:
            OutputError: No answer, or a disk that cannot be written.
            ReadError: Too large, cut off, or another object than was asked for.

        Source:
            DICOM PS3.18, 10.4 and 8.7.3.5: ``transfer-syntax=*`` asks for the object as it is stored.
        """
        accept = 'multipart/related; type="application/dicom"; transfer-syntax=*'
        answer = self._ask("GET", f"studies/{study}/series/{series}/instances/{instance}", headers={"Accept": accept})
        temporary = path.with_name(f".writing-{secrets.token_hex(6)}")
        try:
            if answer.status_code != 200:
                raise OutputError(f"The server does not give an object ({answer.status_code})")
            path.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("w+b") as file:
                size = _save_part(answer, file)
                file.seek(0)
                if identified(file, path.name)[1] != instance:
                    raise ReadError("The server gave another object than was asked for", where=path.name)
            temporary.replace(path)
        except OSError as error:
            raise OutputError(f"Cannot write ({error.strerror})", where=path.name, remedy="free space") from None
        finally:
            answer.close()
            temporary.unlink(missing_ok=True)
        return size

    # --- STOW ---------------------------------------------------------------------------------------------------------

    def store(self, given: Sequence[Instance], told: Told) -> None:
        """Send instances, and tell of each what the server's own list says; the status alone says nothing.

        Args:
            given: What.
            told: Called once for each instance.

        Raises:
            OutputError: No answer; what was told as stored is stored.

        Source:
            DICOM PS3.18, 10.5; Store Instances Response Module.
        """
        waiting = list(batches(given))
        while waiting:
            batch = waiting.pop(0)
            body = Parts(batch)
            headers = {
                "Accept": JSON,
                "Content-Type": f'multipart/related; type="application/dicom"; boundary={body.boundary}',
            }
            answer = self._ask("POST", "studies", data=body, headers=headers)
            status = answer.status_code
            if status == 404:
                answer.close()
                raise OutputError("The server does not know this address (404)", remedy="check the address")
            if status not in ANSWERED and len(batch) > 1:
                # One object can make a server refuse a whole request.
                answer.close()
                waiting[:0] = [batch[: len(batch) // 2], batch[len(batch) // 2 :]]
                continue
            stored, failed = outcome(_said(answer))
            for one in batch:
                silent = None if one.uid in stored else f"the server does not list it as stored ({status})"
                told(one, failed.get(one.uid, silent))


def _said(answer: requests.Response) -> Any:
    """Return the answer to STOW; nothing where it is not JSON, which then counts as nothing stored."""
    if answer.status_code not in ANSWERED:
        answer.close()
        return []
    try:
        return _json(answer, accepted=ANSWERED)
    except OutputError:
        return []


def _no_answer(why: str) -> OutputError:
    return OutputError(
        f"No answer from the server ({why})",
        remedy="check the address, the network and the certificate; what was not transferred is transferred next time",
    )


def _json(answer: requests.Response, accepted: Sequence[int] = (200, 204)) -> Any:
    """Return the answer's JSON, of bounded size; an empty list where there is no content."""
    try:
        if answer.status_code not in accepted:
            raise OutputError(f"The server answers with an error ({answer.status_code})", remedy="check the address")
        content = bytearray()
        for piece in answer.iter_content(PIECE):
            content += piece
            if len(content) > LARGEST_JSON:
                raise OutputError("The server's list is too long", expected=f"at most {LARGEST_JSON} bytes")
        return json.loads(content) if content else []
    except (ValueError, RecursionError):
        raise OutputError("The server's answer is not JSON", remedy="check the address") from None
    except (requests.RequestException, OSError) as error:
        raise _no_answer(type(error).__name__) from None
    finally:
        answer.close()


def outcome(said: Any) -> tuple[set[str], dict[str, str]]:
    """Return the SOP Instance UIDs that a server says it stored, and those that it refused with the reason.

    Args:
        said: Its answer to STOW; anything at all.

    Example:
        >>> outcome([]), outcome({"00081199": {"Value": [{"00081155": {"Value": ["1.2"]}}]}})
        ((set(), {}), ({'1.2'}, {}))
    """
    if not isinstance(said, dict):
        return set(), {}
    failed = {}
    for item in values(said, "00081198"):
        uid, code = first(item, "00081155"), first(item, "00081197")
        number = code if isinstance(code, int) else 0
        words = REASON.get(number) or REASONS.get(number >> 8) or "refused"
        failed[str(uid)] = f"{words} ({number:04X})"
    stored = {str(first(item, "00081155")) for item in values(said, "00081199")}
    return stored - set(failed), failed


def values(row: Any, tag: str) -> list[Any]:
    """Return the values of a tag in DICOM JSON (PS3.18, F.2); none where it is absent or malformed."""
    element = row.get(tag) if isinstance(row, dict) else None
    found = element.get("Value") if isinstance(element, dict) else None
    return found if isinstance(found, list) else []


def first(row: Any, tag: str) -> Any:
    """Return the first value of a tag, or None."""
    return next(iter(values(row, tag)), None)


def batches(given: Sequence[Instance]) -> Iterator[list[Instance]]:
    """Yield instances in groups that fit one request; one that is larger goes alone."""
    group: list[Instance] = []
    size = 0
    for one in given:
        if group and (size + one.size > BATCH_BYTES or len(group) >= BATCH_OBJECTS):
            yield group
            group, size = [], 0
        group.append(one)
        size += one.size
    if group:
        yield group


class Parts:
    """Files as the body of one request, read from the disk while it is sent.

    Args:
        given: The files.
    """

    def __init__(self, given: Sequence[Instance]) -> None:
        self.given = given
        self.boundary = secrets.token_hex(16)

    @property
    def _head(self) -> bytes:
        # Without the transfer syntax that the standard allows here: Orthanc drops a part that names it, in silence.
        return f"--{self.boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode("ascii")

    @property
    def _tail(self) -> bytes:
        return f"--{self.boundary}--\r\n".encode("ascii")

    def __len__(self) -> int:
        return sum(len(self._head) + i.size + 2 for i in self.given) + len(self._tail)

    def __iter__(self) -> Iterator[bytes]:
        for one in self.given:
            yield self._head
            with opened(one.path) as file:
                while piece := file.read(PIECE):
                    yield piece
            yield b"\r\n"
        yield self._tail


def _save_part(answer: requests.Response, file: BinaryIO) -> int:
    """Write the one part of an answer; return its bytes.

    Source:
        RFC 2046, 5.1; a server may also give the bare object.
    """
    kind = answer.headers.get("Content-Type", "")
    boundary = re.search(r'boundary="?([^";,\s]+)"?', kind) if kind.lower().startswith("multipart/") else None
    pieces = _pieces(answer)
    if boundary is None:
        for piece in pieces:
            file.write(piece)
        return file.tell()
    start = bytearray()
    for piece in pieces:
        start += piece
        if b"\r\n\r\n" in start or len(start) > PIECE:
            break
    _, blank, rest = bytes(start).partition(b"\r\n\r\n")
    if not blank:
        raise ReadError("The server's answer is cut off or not an object")
    file.write(rest)
    for piece in pieces:
        file.write(piece)
    size = file.tell()
    closing = f"\r\n--{boundary[1]}".encode("latin-1")
    # The closing line and what may stand behind it are short.
    file.seek(max(0, size - 4096))
    tail = file.read()
    where = tail.rfind(closing + b"--")
    if where < 0:
        raise ReadError("The server's answer is cut off")
    file.truncate(size - len(tail) + where)
    return size - len(tail) + where


def _pieces(answer: requests.Response) -> Iterator[bytes]:
    """Yield an answer's bytes, at most as many as an object may have."""
    total = 0
    try:
        for piece in answer.iter_content(PIECE):
            total += len(piece)
            if total > LARGEST_OBJECT:
                raise ReadError("The object is too large", expected=f"at most {LARGEST_OBJECT} bytes")
            if piece:
                yield piece
    except requests.RequestException as error:
        raise _no_answer(type(error).__name__) from None
