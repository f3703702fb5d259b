"""The small files that lie beside weights: configurations, indexes, tokenizers."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import msgspec

from engine.errors import ModelFileError

MAX_JSON_BYTES = 64 << 20
"""The largest tokenizers have some 35 MB."""

MAX_NAME_BYTES = 255
"""What file systems take."""

_HALF = re.compile(r"\\u[dD][89a-fA-F]")
"""How JSON writes half a character; with its other half behind it, it is one."""


def read_small(path: Path, limit: int) -> bytes:
    """A whole file of at most `limit` bytes. Raises ModelFileError."""
    try:
        if not path.is_file():
            raise ModelFileError(f"{path} is missing.", "Fetch all files of the model into one folder.")
        with path.open("rb") as file:
            raw = file.read(limit + 1)
    except OSError as error:
        raise ModelFileError(f"{path} cannot be read: {error.strerror}.", "Check its permissions.") from error
    if len(raw) > limit:
        raise ModelFileError(f"{path} is larger than {limit >> 20} MB, which such a file never is.", "Fetch it again.")
    return raw


def read_json_object(path: Path) -> dict[str, Any]:
    """A file with a JSON object in it. Raises ModelFileError."""
    raw = read_small(path, MAX_JSON_BYTES)
    return parse_json_object(raw, path, "it")


def read_large_json_object(path: Path) -> dict[str, Any]:
    """The same for files of many megabytes, in a fifth of the time; where keys are alike, the last one counts."""
    raw = read_small(path, MAX_JSON_BYTES)
    try:
        found = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ModelFileError(f"{path} is not JSON: {error}.", "Fetch the file again.") from None
    if not isinstance(found, dict):
        raise ModelFileError(f"{path} is not a JSON object.", "Fetch the file again.")
    return found


def parse_json_object(raw: bytes, path: Path, what: str) -> dict[str, Any]:
    """A JSON object whose keys are all different; `what` names it in the error. Raises ModelFileError.

    Nor is there half a character in it: such a text can be neither a token nor part of a message.
    """
    try:
        text = raw.decode(json.detect_encoding(raw))
        found = json.loads(text, object_pairs_hook=_unique)
        if _HALF.search(text):
            json.dumps(found, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise ModelFileError(f"{path}: {what} is not JSON: {_reason(error)}.", "Fetch the file again.") from None
    if not isinstance(found, dict):
        raise ModelFileError(f"{path}: {what} is not a JSON object.", "Fetch the file again.")
    return found


def _reason(error: ValueError | RecursionError) -> str:
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    return "it has half a character" if isinstance(error, UnicodeEncodeError) else str(error)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is there twice")
    return found


def plain_name(name: object, path: Path) -> str:
    """A file name that another file gives: only a name, so that nothing outside the folder is opened."""
    if (
        not isinstance(name, str)
        or name in (".", "..")
        or set(name) & set("/\\\0:")
        or not 0 < len(name.encode()) <= MAX_NAME_BYTES
    ):
        raise ModelFileError(f"{path} names {ascii(name)[:80]}, which is no plain file name.", "Fetch the model again.")
    return name
