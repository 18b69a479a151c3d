"""A log of what was done to which object, in which nobody can change a line, drop one or cut the end unseen.

Each line holds the digest of the line before it. The last digest and the number of lines, signed, are kept apart from
the log: a log whose end was cut off no longer agrees with them. Lines hold counts, new UIDs and rules, no identities.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from lucency import record
from lucency.deidentify.keys import Keys
from lucency.errors import ModelError, OutputError, UsageError

FIRST = "0" * 64


@dataclass(frozen=True)
class Head:
    """Where a log ended.

    Args:
        lines: How many lines it had.
        digest: Of the last one.
        public_key: Ed25519, hex: whoever has it can check the signature without the secret key.
        signature: Over lines and digest, hex.
    """

    lines: int
    digest: str
    public_key: str
    signature: str


def append(log: Path, head: Path, keys: Keys, entries: Iterable[Mapping[str, Any]]) -> Head:
    """Add lines to a log and sign where it ends now.

    Args:
        log: JSONL file; made if there is none.
        head: File for the signed end; not in the folder of the log.
        keys: To sign with.
        entries: Facts without identities.

    Raises:
        ModelError: The log does not agree with its head: it was altered or cut off.
        OutputError: The folder cannot be written.
    """
    lines, digest = _ended(log, head, keys)
    text = []
    for entry in entries:
        line = json.dumps({"n": lines, "before": digest, **entry}, sort_keys=True, ensure_ascii=False)
        digest, lines = hashlib.sha256(line.encode()).hexdigest(), lines + 1
        text.append(line + "\n")
    try:
        record.append_bytes(log, "".join(text).encode())
    except OSError as error:
        raise OutputError(
            f"Cannot write the log ({error.strerror})", where=log.name, remedy="choose a writable folder with --records"
        ) from error
    return _signed(head, keys, lines, digest)


def _signed(head: Path, keys: Keys, lines: int, digest: str) -> Head:
    signer = Ed25519PrivateKey.from_private_bytes(keys.derived("audit"))
    signed = Head(lines, digest, _public(signer), signer.sign(_message(lines, digest)).hex())
    record.write(head, signed)
    return signed


def _public(signer: Ed25519PrivateKey) -> str:
    return signer.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw).hex()


def open_(log: Path, head: Path, keys: Keys) -> None:
    """Begin a log that does not exist yet: from its first moment a log has a signed end.

    Args:
        log: See :func:`append`.
        head: Likewise.
        keys: Likewise.

    Raises:
        ModelError: As :func:`check`.
        OutputError: The head cannot be written.
    """
    check(log, head, keys)
    if not head.exists():
        _signed(head, keys, 0, FIRST)


def check(log: Path, head: Path, keys: Keys) -> None:
    """Find out before any work is done whether a log can be gone on with.

    Args:
        log: See :func:`append`.
        head: Likewise.
        keys: Likewise.

    Raises:
        UsageError: The head was signed with another key.
        ModelError: The log was altered or cut off, or one of both is missing.
    """
    if head.exists():
        known = record.read(Head, head)
        if known.public_key != _public(Ed25519PrivateKey.from_private_bytes(keys.derived("audit"))):
            raise UsageError(
                "The signed end of the audit log was written with another key",
                where=head.name,
                remedy="use that key; or, if its output is no longer needed, move this file away",
            )
        if known.lines and not log.exists():
            raise ModelError(
                "The audit log is gone, and its signed end is there",
                expected=f"{known.lines} lines",
                where=log.name,
                remedy=f"restore the folder of records; or, if its output is no longer needed, move {head.name} away",
            )
    _ended(log, head, keys)


def _ended(log: Path, head: Path, keys: Keys) -> tuple[int, str]:
    """Return where the log ends; lines after the signed end are those of a run that was killed, and go."""
    if not log.exists() and not head.exists():
        return 0, FIRST
    if not head.exists():
        raise ModelError(
            "The signed end of the audit log is missing",
            expected="the file that was written beside the key",
            where=head.name,
            remedy="restore it from its backup; without it nobody can tell whether the log was cut off",
        )
    known = record.read(Head, head)
    content = log.read_text(encoding="utf-8") if log.exists() else ""
    kept = content.splitlines(keepends=True)[: known.lines]
    if "".join(kept) != content:
        log.write_text("".join(kept), encoding="utf-8", newline="\n")
    verify(log, head, keys)
    return known.lines, known.digest


def verify(log: Path, head: Path, keys: Keys | None = None) -> int:
    """Check a log against itself and its signed end.

    Args:
        log: The log.
        head: Its signed end.
        keys: With them, the signature must also be theirs; without, that of the public key in the head.

    Returns:
        The number of lines.

    Raises:
        ModelError: A line was changed, dropped, moved or added, the end was cut off, or the signature is not right.
    """
    known = record.read(Head, head)
    public = known.public_key
    if keys is not None:
        public = _public(Ed25519PrivateKey.from_private_bytes(keys.derived("audit")))
    try:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey  # noqa: PLC0415

        checker = Ed25519PublicKey.from_public_bytes(bytes.fromhex(public))
        checker.verify(bytes.fromhex(known.signature), _message(known.lines, known.digest))
    except (InvalidSignature, ValueError):
        raise _altered(head, "The signature of the log's end is not right") from None
    digest, lines = FIRST, log.read_text(encoding="utf-8").splitlines() if log.exists() else []
    for n, line in enumerate(lines):
        try:
            entry = json.loads(line)
            agrees = entry["before"] == digest and entry["n"] == n
        except (json.JSONDecodeError, KeyError, TypeError):
            agrees = False
        if not agrees:
            raise _altered(log, f"Line {n + 1} does not follow from the one before it")
        digest = hashlib.sha256(line.encode()).hexdigest()
    if len(lines) != known.lines:
        raise _altered(log, f"The log has {len(lines)} lines, and {known.lines} were signed")
    if digest != known.digest:
        raise _altered(log, "Its last line is not the one that was signed")
    return len(lines)


def _message(lines: int, digest: str) -> bytes:
    return f"lucency audit log 1\n{lines}\n{digest}\n".encode()


def _altered(path: Path, found: str) -> ModelError:
    return ModelError(found, expected="the log as it was written", where=path.name, remedy="restore it from its backup")
