"""Who is behind which pseudonym: encrypted, apart from the output, readable only with the key.

The file grows by one sealed record for each run. Each record is bound to the one before it, so that none can be taken
out or put in another order unseen.
"""

import hashlib
import json
import os
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from lucency import record
from lucency.deidentify.keys import Keys
from lucency.errors import OutputError, UsageError

MAGIC = b"LUCENCY-MAP-1\n"
#: Bytes of the random number that each record is sealed with (NIST SP 800-38D, 8.2.2).
NONCE = 12

#: Kind of thing (``patients``, ``uids``) to pseudonym to what it stands for.
Pseudonyms = dict[str, dict[str, str]]


def load(path: Path, keys: Keys) -> Pseudonyms:
    """Return what a map holds; empty if there is no file.

    Args:
        path: The map.
        keys: Those it was written with.

    Raises:
        UsageError: Another key, or a file that was altered or cut off.
    """
    found: Pseudonyms = {}
    for sealed in _records(path, keys):
        for kind, entries in sealed.items():
            found.setdefault(kind, {}).update(entries)
    return found


def add(path: Path, keys: Keys, new: Mapping[str, Mapping[str, str]]) -> int:
    """Append to a map what it does not hold yet.

    Args:
        path: The map; made with mode 0600 if there is none.
        keys: To seal it with.
        new: Kind to pseudonym to original.

    Returns:
        How many entries were new.

    Raises:
        UsageError: As :func:`load`.
        OutputError: The folder cannot be written.
    """
    known = load(path, keys)
    fresh = {k: {p: o for p, o in es.items() if known.get(k, {}).get(p) != o} for k, es in new.items()}
    count = sum(map(len, fresh.values()))
    if not count:
        return 0
    content = path.read_bytes() if path.exists() else MAGIC
    plain = zlib.compress(json.dumps(fresh, sort_keys=True, ensure_ascii=False).encode("utf-8"))
    nonce = os.urandom(NONCE)
    sealed = AESGCM(keys.derived("map")).encrypt(nonce, plain, hashlib.sha256(content).digest())
    try:
        begin = MAGIC if len(content) == len(MAGIC) else b""
        record.append_bytes(path, begin + struct.pack(">I", NONCE + len(sealed)) + nonce + sealed, mode=0o600)
    except OSError as error:
        raise OutputError(
            f"Cannot write the map ({error.strerror})", where=path.name, remedy="choose another place with --map"
        ) from error
    return count


def _records(path: Path, keys: Keys) -> list[Pseudonyms]:
    if not path.exists():
        return []
    content, found = path.read_bytes(), []
    place = len(MAGIC)
    cipher = AESGCM(keys.derived("map"))
    if content[:place] != MAGIC:
        raise _refusal(path)
    while place < len(content):
        if place + 4 > len(content):
            raise _refusal(path)
        (length,) = struct.unpack(">I", content[place : place + 4])
        sealed = content[place + 4 : place + 4 + length]
        try:
            plain = cipher.decrypt(sealed[:NONCE], sealed[NONCE:], hashlib.sha256(content[:place]).digest())
        except (InvalidTag, ValueError):
            raise _refusal(path) from None
        found.append(json.loads(zlib.decompress(plain)))
        place += 4 + length
    return found


def _refusal(path: Path) -> UsageError:
    return UsageError(
        "The map of pseudonyms cannot be opened: another key, or it was altered or cut off",
        where=path.name,
        remedy="use the key it was written with, or restore it from its backup",
    )
