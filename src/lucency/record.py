"""The one helper that writes frozen dataclasses as JSON and reads them back, with a schema number."""

import dataclasses
import difflib
import json
import os
import secrets
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np

from lucency.errors import ModelError, OutputError, UsageError

T = TypeVar("T")

#: Raised when a stored file changes shape; a reader knows all numbers up to this one.
SCHEMA = 1


def to_json(value: object) -> Any:
    """Return ``value`` as plain JSON types. Dataclasses become objects, arrays lists, NaN ``None``."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_json(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(k): to_json(v) for k, v in value.items()}
    if isinstance(value, np.ndarray):
        return to_json(value.tolist())
    if isinstance(value, frozenset | set):
        return sorted(to_json(v) for v in value)
    if isinstance(value, list | tuple):
        return [to_json(v) for v in value]
    if isinstance(value, np.generic):
        return to_json(value.item())
    if isinstance(value, Path):
        return value.as_posix()
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value


def from_json(cls: type[T], value: Any, where: str = "") -> T:
    """Build ``cls`` from what :func:`to_json` gave; the class's own checks run.

    Args:
        cls: A dataclass, or any type its fields are annotated with.
        value: Plain JSON types.
        where: Name shown in errors, for example the file.

    Raises:
        UsageError: A key that ``cls`` does not have (with the nearest one that it has) or a missing key.
    """
    return cast(T, _build(cls, value, where))


def _build(kind: Any, value: Any, where: str) -> Any:
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return _build_dataclass(kind, value, where)
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return _build_union(args, value, where)
    if origin is tuple:
        inner = args[0] if len(args) == 2 and args[1] is Ellipsis else None
        return tuple(_build(inner if inner is not None else args[i], v, where) for i, v in enumerate(value))
    if origin is frozenset:
        return frozenset(_build(args[0], v, where) for v in value)
    if origin is list:
        return [_build(args[0], v, where) for v in value]
    if origin is not None and isinstance(origin, type) and issubclass(origin, Mapping):
        key = int if args[0] is int else str
        return {key(k): _build(args[1], v, f"{where}.{k}") for k, v in value.items()}
    if kind is np.ndarray:
        return np.asarray(value, dtype=np.float64)
    if kind is float and isinstance(value, int | float):
        return float(value)
    if kind is float and value is None:
        return float("nan")
    return value


def _build_dataclass(cls: type[Any], value: Any, where: str) -> Any:
    if not isinstance(value, Mapping):
        raise UsageError(f"Found {type(value).__name__}", expected=f"an object for {cls.__name__}", where=where)
    hints = typing.get_type_hints(cls)
    fields = {f.name: f for f in dataclasses.fields(cls) if f.init}
    for key in value:
        if key not in fields:
            near = difflib.get_close_matches(key, fields, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"use one of {', '.join(fields)}"
            raise UsageError(f"Unknown key {key!r} in {cls.__name__}", where=where, remedy=hint)
    missing = [
        n
        for n, f in fields.items()
        if n not in value and f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise UsageError(
            f"{cls.__name__} lacks {', '.join(missing)}", where=where, remedy="restore the file or make it anew"
        )
    return cls(**{k: _build(hints[k], v, f"{where}.{k}" if where else k) for k, v in value.items()})


def _build_union(kinds: tuple[Any, ...], value: Any, where: str) -> Any:
    if value is None and type(None) in kinds:
        return None
    objects = [k for k in kinds if dataclasses.is_dataclass(k) and isinstance(k, type)]
    if objects and isinstance(value, Mapping):
        # The kind that knows all keys; where none does, the first says which key is wrong.
        fits = [k for k in objects if set(value) <= {f.name for f in dataclasses.fields(k)}]
        return _build((fits or objects)[0], value, where)
    for kind in kinds:
        if isinstance(kind, type) and isinstance(value, kind):
            return value
    for kind in kinds:
        if typing.get_origin(kind) is not None and isinstance(value, list | Mapping):
            return _build(kind, value, where)
    if float in kinds and isinstance(value, int):
        return float(value)
    return value


def write(path: Path, value: object) -> None:
    """Write ``value`` as JSON, whole or not at all.

    Raises:
        OutputError: The disk is full or the folder cannot be written.
    """
    payload = to_json(value)
    if isinstance(payload, dict):
        payload = {"schema": SCHEMA, **payload}
    write_text(path, json.dumps(payload, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def read(cls: type[T], path: Path) -> T:
    """Read back what :func:`write` wrote.

    Raises:
        UsageError: No such file, unknown or missing keys.
        ModelError: Not JSON, or a schema from a later version of the program.
    """
    payload = read_object(path)
    return from_json(cls, payload, where=path.name)


def read_object(path: Path) -> dict[str, Any]:
    """Return the JSON object in ``path`` without its schema number."""
    try:
        payload = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(
            "No such file", where=path.name, remedy="run the room that writes it, or 'lucency fit'"
        ) from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ModelError(f"Not readable as JSON ({error})", where=path.name, remedy="restore the file") from None
    if not isinstance(payload, dict):
        raise ModelError(f"Found {type(payload).__name__}", expected="an object", where=path.name, remedy="restore it")
    schema = payload.pop("schema", SCHEMA)
    if not isinstance(schema, int) or schema > SCHEMA:
        raise ModelError(
            f"Written in schema {schema}", expected=f"{SCHEMA} or lower", where=path.name, remedy="use a newer lucency"
        )
    return payload


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text to ``path`` whole or not at all (temporary file, flush, rename)."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, content: bytes) -> None:
    """Write ``content`` to ``path`` whole or not at all; see :func:`write_text`."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".writing-{secrets.token_hex(6)}")
        handle = temporary.open("xb")
    except OSError as error:
        raise _output_error(path, error) from error
    try:
        with handle as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise _output_error(path, error) from error


def append_bytes(path: Path, content: bytes, *, mode: int = 0o666) -> None:
    """Add bytes to the end of a file, all of them or none, and wait until they are on the disk.

    Args:
        path: The file; made if there is none, with its folder.
        content: What is added.
        mode: Rights of a file that is made.

    Raises:
        OSError: It cannot be written; the file is as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0)
    with os.fdopen(os.open(path, flags, mode), "ab", buffering=0) as file:
        before = os.fstat(file.fileno()).st_size
        try:
            rest = memoryview(content)
            while rest:
                rest = rest[file.write(rest) or 0 :]
            os.fsync(file.fileno())
        except OSError:
            file.truncate(before)
            raise


def _output_error(path: Path, error: OSError) -> OutputError:
    return OutputError(
        f"Cannot write ({error.strerror})", where=path.name, remedy="free space or choose a writable folder with --out"
    )
