"""DICOM objects on their way to an archive: what is in a folder, and C-STORE."""

import logging
import socket
import ssl
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import urlsplit

from lucency.errors import OutputError, ReadError, UsageError
from lucency.read.archive import SUFFIX, contents, opened, parted
from lucency.read.files import visible

if TYPE_CHECKING:
    from pynetdicom.association import Association

#: What we are called at the other end, unless told otherwise.
OUR_TITLE = "LUCENCY"
#: Largest protocol data unit that we accept, bytes; answers to C-STORE have a few hundred.
LARGEST_PDU = 1 << 17
#: Seconds to wait for a connection, and for an answer.
PATIENCE_S = 30.0
ANSWER_S = 120.0
#: An association holds at most 128 presentation contexts (PS3.8, 9.3.2.2); two for each kind of object here.
KINDS_AT_ONCE = 60

EXPLICIT, IMPLICIT = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"
#: Uncompressed and little endian: the object may be sent in any other of these.
NATIVE = (EXPLICIT, IMPLICIT)
DICOMDIR = "1.2.840.10008.1.3.10"

#: Why a file is not sent.
NO_DICOM = "Not a DICOM file"
UNSENT = ("Nested too deeply", "A directory of files, which is not sent", "Its header does not say what it holds")

#: What a status of C-STORE means (PS3.4, B.2.3); others by their first digits.
MEANING = {0xA7: "out of resources", 0xA9: "the object is not of the kind that was announced", 0xC0: "not understood"}
REFUSED = {0x0122: "the kind of object is not supported", 0x0124: "not authorised", 0x0117: "invalid object"}


@dataclass(frozen=True)
class Instance:
    """One DICOM file that can be sent.

    Args:
        path: Where it lies; in a zip archive the archive's path with the name inside behind it.
        shown: How it is named to the user: relative to what was given.
        sop_class: SOP Class UID.
        uid: SOP Instance UID.
        syntax: Transfer Syntax UID.
        size: Bytes.
    """

    path: Path
    shown: str
    sop_class: str
    uid: str
    syntax: str
    size: int


@dataclass(frozen=True)
class Peer:
    """A DICOM node.

    Args:
        title: Its application entity title.
        host: Name or address.
        port: Number.
        secure: Whether TLS is spoken.
    """

    title: str
    host: str
    port: int
    secure: bool = False


def peer_of(address: str) -> Peer:
    """Return the node of ``dicom://AET@host:port``, or of ``dicoms://`` with TLS.

    Raises:
        UsageError: Anything else.
    """
    try:
        parts = urlsplit(address)
        title, host, port = parts.username or "", parts.hostname or "", parts.port or 0
    except ValueError:
        title, host, port, parts = "", "", 0, urlsplit("")
    # PS3.5, 6.2, VR AE: up to 16 characters, no backslash.
    plain = title.isascii() and title.isprintable() and "\\" not in title and 0 < len(title) <= 16
    if parts.scheme not in ("dicom", "dicoms") or not plain or not host or not port or parts.password is not None:
        raise UsageError("No address of a DICOM node", expected="dicom://AET@host:port", where="--to")
    return Peer(title, host, port, parts.scheme == "dicoms")


@dataclass(frozen=True)
class LeftOut:
    """A file that is not sent.

    Args:
        shown: As :class:`Instance` has it.
        kind: ``"foreign"`` no DICOM, ``"twice"`` the same object as another, ``"unsent"`` DICOM that cannot be sent,
            ``"archive"`` a zip archive, or what is in one, that cannot be read.
        why: In words.
    """

    shown: str
    kind: str
    why: str


def instances(paths: Iterable[Path]) -> tuple[list[Instance], list[LeftOut]]:
    """Return the DICOM files below ``paths``, those in zip archives included, and what was left out with the reason.

    Args:
        paths: Files and folders.
    """
    found: dict[str, Instance] = {}
    left_out: list[LeftOut] = []
    for path, shown, size in _files(paths, left_out):
        try:
            one = _instance(path, shown, size)
        except ReadError as error:
            kind = "foreign" if error.found == NO_DICOM else "archive" if parted(path) else "unsent"
            left_out.append(LeftOut(shown, "unsent" if error.found in UNSENT else kind, error.found))
            continue
        if one.uid in found:
            left_out.append(LeftOut(shown, "twice", f"The same object as {found[one.uid].shown}"))
        else:
            found[one.uid] = one
    return list(found.values()), left_out


def _files(paths: Iterable[Path], left_out: list[LeftOut]) -> Iterator[tuple[Path, str, int]]:
    """Yield every file, those in archives included, with how it is called and its bytes."""
    for path in paths:
        if path.is_file():
            inside = [(path, path.name)]
        else:
            below = sorted(p for p in path.rglob("*") if p.is_file() and not p.name.startswith("."))
            inside = [(p, p.relative_to(path).as_posix()) for p in below]
        for file, shown in inside:
            if file.suffix.lower() == SUFFIX:
                yield from _packed(file, shown, left_out)
            else:
                yield file, shown, file.stat().st_size


def _packed(file: Path, shown: str, left_out: list[LeftOut]) -> Iterator[tuple[Path, str, int]]:
    try:
        held = contents(file)
    except ReadError as error:
        left_out.append(LeftOut(shown, "archive", error.found))
        return
    left_out += [LeftOut(f"{shown}/{name}", "archive", why) for name, why in held.refused.items()]
    for name, entry in held.entries.items():
        if visible(name):
            yield file / name, f"{shown}/{name}", entry.size


def _instance(path: Path, shown: str, size: int) -> Instance:
    """Read what the network has to know of a file: its header, never its pixels."""
    if size < 132:
        raise ReadError(NO_DICOM, where=shown)
    with opened(path) as stream:
        sop_class, uid, syntax = identified(stream, shown)
    return Instance(path, shown, sop_class, uid, syntax, size)


def identified(stream: BinaryIO, shown: str) -> tuple[str, str, str]:
    """Return (SOP class, SOP instance, transfer syntax) of a DICOM file.

    Raises:
        ReadError: Not a DICOM file with its header, a directory, or a header that belongs to another object.
    """
    import pydicom  # noqa: PLC0415  # slow to import
    from pydicom.errors import InvalidDicomError  # noqa: PLC0415

    try:
        data = pydicom.dcmread(stream, stop_before_pixels=True, specific_tags=["SOPClassUID", "SOPInstanceUID"])
        meta = data.file_meta
        said = str(meta.get("MediaStorageSOPClassUID", "")), str(meta.get("MediaStorageSOPInstanceUID", ""))
        own = str(data.get("SOPClassUID", "")), str(data.get("SOPInstanceUID", ""))
        syntax = str(meta.get("TransferSyntaxUID", ""))
    except (InvalidDicomError, ValueError, TypeError, AttributeError, OSError, NotImplementedError, EOFError):
        raise ReadError(NO_DICOM, where=shown) from None
    except RecursionError:
        raise ReadError(UNSENT[0], where=shown) from None
    if said[0] == DICOMDIR:
        raise ReadError(UNSENT[1], where=shown)
    if said != own or not all(own) or not syntax:
        raise ReadError(UNSENT[2], where=shown)
    return own[0], own[1], syntax


#: Called with each instance and, when it was refused, the reason; None when it was stored.
Told = Callable[[Instance, str | None], None]


def c_store(
    peer: Peer, given: Sequence[Instance], told: Told, *, title: str = OUR_TITLE, ca: Path | None = None
) -> None:
    """Send instances to a node, every one in the encoding that it has where the node takes that.

    Args:
        peer: Where to.
        given: What.
        told: Called once for each instance.
        title: Our application entity title.
        ca: Certificate of the authority that signed the node's, where TLS is spoken; the system's by default.

    Raises:
        OutputError: No connection, or it broke; what was told as stored is stored.

    Source:
        DICOM PS3.4, Annex B; PS3.8, 9.3.
    """
    kinds = list(dict.fromkeys((i.sop_class, i.syntax) for i in given))
    for start in range(0, len(kinds), KINDS_AT_ONCE):
        chosen = kinds[start : start + KINDS_AT_ONCE]
        association = _associated(peer, chosen, title, ca)
        try:
            for one in (i for i in given if (i.sop_class, i.syntax) in chosen):
                told(one, _sent(association, one))
        finally:
            if association.is_established:
                association.release()


def _associated(peer: Peer, kinds: Sequence[tuple[str, str]], title: str, ca: Path | None) -> "Association":
    from pynetdicom import AE, _config  # noqa: PLC0415  # slow to import

    # Its log would hold file names and identifiers; and a file is sent as it is, without being decoded.
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)
    _config.LOG_HANDLER_LEVEL = "none"
    entity = AE(ae_title=title)
    entity.maximum_pdu_size = LARGEST_PDU
    entity.acse_timeout = entity.network_timeout = entity.connection_timeout = PATIENCE_S
    entity.dimse_timeout = ANSWER_S
    for sop_class, syntax in kinds:
        entity.add_requested_context(sop_class, syntax)
        others = [s for s in NATIVE if s != syntax]
        if syntax in NATIVE:
            entity.add_requested_context(sop_class, others)
    secure = None
    if peer.secure:
        try:
            secure = (ssl.create_default_context(cafile=str(ca) if ca else None), peer.host)
        except OSError:
            raise UsageError("The certificate cannot be read", where="--ca") from None
    try:
        # Where nobody listens the library would leave its socket open.
        _knock(peer)
        association = entity.associate(peer.host, peer.port, ae_title=peer.title, tls_args=secure)
    except (OSError, RuntimeError, TypeError, ValueError):
        raise _unreachable("the connection failed") from None
    if association.is_established:
        return association
    raise _unreachable("refused" if association.is_rejected else "no answer")


def _knock(peer: Peer) -> None:
    """Open a connection and close it.

    Raises:
        OutputError: No such host, nobody who listens, or no answer.
    """
    place = f"{peer.host}:{peer.port}"
    try:
        socket.create_connection((peer.host, peer.port), PATIENCE_S).close()
    except ConnectionRefusedError:
        raise _unreachable(f"nothing listens at {place}") from None
    except socket.gaierror:
        raise _unreachable(f"no computer is called {peer.host}") from None
    except TimeoutError:
        raise _unreachable(f"no answer from {place} in {PATIENCE_S:.0f} s") from None
    except OSError as error:
        raise _unreachable(f"{place} cannot be reached: {error.strerror or 'the network is down'}") from None


def _unreachable(why: str) -> OutputError:
    return OutputError(
        f"No association with the DICOM node ({why})",
        where="--to",
        remedy="check host, port and title, and that the node knows ours; what was not sent is sent next time",
    )


def _sent(association: "Association", one: Instance) -> str | None:
    """Send one instance; return None when the node says that it stored it, else the reason."""
    from pynetdicom import _config  # noqa: PLC0415

    if not association.is_established:
        raise _unreachable("the connection broke")
    accepted = {(str(c.abstract_syntax), str(c.transfer_syntax[0])) for c in association.accepted_contexts}
    as_it_is = (one.sop_class, one.syntax) in accepted
    # The library reads a file piece by piece; an entry of an archive has to go through memory.
    by_path = as_it_is and parted(one.path) is None
    if not as_it_is and not (one.syntax in NATIVE and any((one.sop_class, s) in accepted for s in NATIVE)):
        return "the node does not take this kind of object in this encoding"
    try:
        _config.STORE_SEND_CHUNKED_DATASET = by_path
        status: Any = association.send_c_store(one.path if by_path else _whole(one))
    except ReadError as error:
        return error.found
    except (ValueError, AttributeError, RuntimeError, OSError, TypeError):
        return "it cannot be read or encoded for sending"
    if "Status" not in status:
        raise _unreachable("no answer")
    return verdict(int(status.Status))


def _whole(one: Instance) -> Any:
    """Return the dataset, to be written anew: in another uncompressed encoding, or out of an archive as it is."""
    import pydicom  # noqa: PLC0415

    with opened(one.path) as stream:
        return pydicom.dcmread(stream)


def verdict(status: int) -> str | None:
    """Return None when a status of C-STORE means that the object is stored, else the reason in words.

    Example:
        >>> verdict(0x0000), verdict(0xB000), verdict(0xA700)
        (None, None, 'out of resources (A700)')
    """
    # Warnings B000, B006 and B007: stored, with something changed or odd (PS3.4, Table B.2-1).
    if status == 0 or status in (0xB000, 0xB006, 0xB007):
        return None
    words = REFUSED.get(status) or MEANING.get(status >> 8) or ("not understood" if status >> 12 == 0xC else "refused")
    return f"{words} ({status:04X})"
