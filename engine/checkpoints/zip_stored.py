"""Zip archives whose files are stored as they are, as PyTorch writes them: where in the archive each one lies.

Source: APPNOTE.TXT of the zip format, sections 4.3 and 4.5.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import IO

from engine.errors import ModelFileError

MAX_DIRECTORY_BYTES = 16 << 20
DAMAGED = "The file is damaged or was made to do harm: fetch it again from a source that you trust."

_END = struct.Struct("<4s4H2LH")
_END64_LOCATOR = struct.Struct("<4sLQL")
_END64 = struct.Struct("<4sQ2H2L4Q")
_ENTRY = struct.Struct("<4s4B4H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")
_MAX_COMMENT = 0xFFFF
_IN_EXTRA = 0xFFFFFFFF
_ZIP64_EXTRA = 1
_ENCRYPTED = 1


@dataclass(frozen=True, slots=True)
class StoredFile:
    """Where a file's bytes lie in the archive."""

    offset: int
    n_bytes: int


@dataclass(frozen=True, slots=True)
class _Entry:
    """What the directory says of a file. header: where the archive has its local header."""

    name: str
    flags: int
    method: int
    packed_bytes: int
    n_bytes: int
    header: int


def read_directory(file: IO[bytes], path: Path) -> dict[str, StoredFile]:
    """Every file in a zip archive by name; none compressed, none there twice, none over another.

    Raises ModelFileError for any other archive.
    """
    begin, n_bytes = _directory_place(file, path)
    if n_bytes > MAX_DIRECTORY_BYTES:
        raise ModelFileError(f"{path} has a directory of {n_bytes} bytes, the limit is {MAX_DIRECTORY_BYTES}.", DAMAGED)
    file.seek(begin)
    found: dict[str, StoredFile] = {}
    for entry in _entries(file.read(n_bytes), path):
        if entry.name in found:
            raise ModelFileError(f"{path}: the entry {entry.name!r} is there twice.", DAMAGED)
        if entry.method or entry.packed_bytes != entry.n_bytes:
            raise ModelFileError(f"{path}: the entry {entry.name!r} is compressed; PyTorch's never are.", DAMAGED)
        if entry.flags & _ENCRYPTED:
            raise ModelFileError(f"{path}: the entry {entry.name!r} is encrypted.", "Choose another file.")
        found[entry.name] = StoredFile(_data_offset(file, entry, path), entry.n_bytes)
    _check_places(found, begin, path)
    return found


def _directory_place(file: IO[bytes], path: Path) -> tuple[int, int]:
    """Where the directory begins and how long it is, from the record at the archive's end."""
    size = file.seek(0, 2)
    begin = max(0, size - _END.size - _MAX_COMMENT - _END64_LOCATOR.size)
    file.seek(begin)
    tail = file.read(size - begin)
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) - at < _END.size:
        raise ModelFileError(f"{path} is no whole zip file: its directory is missing.", "Fetch the file again.")
    *_, n_bytes, offset, _ = _END.unpack_from(tail, at)
    locator = at - _END64_LOCATOR.size
    if locator >= 0 and tail[locator:at].startswith(b"PK\x06\x07"):
        _, _, end64, _ = _END64_LOCATOR.unpack_from(tail, locator)
        if end64 > size - _END64.size:
            raise ModelFileError(f"{path}: the record at byte {end64} is past the end.", DAMAGED)
        file.seek(end64)
        magic, *_, n_bytes, offset = _END64.unpack(file.read(_END64.size))
        if magic != b"PK\x06\x06":
            raise ModelFileError(f"{path}: there is no record at byte {end64}.", DAMAGED)
    if offset + n_bytes > size:
        raise ModelFileError(f"{path}: the directory at byte {offset} reaches past the end.", DAMAGED)
    return int(offset), int(n_bytes)


def _entries(raw: bytes, path: Path) -> Iterator[_Entry]:
    at = 0
    while at < len(raw):
        if len(raw) - at < _ENTRY.size or raw[at : at + 4] != b"PK\x01\x02":
            raise ModelFileError(f"{path}: the directory is damaged at its byte {at}.", DAMAGED)
        fields = _ENTRY.unpack_from(raw, at)
        flags, method = fields[5:7]
        packed_bytes, n_bytes, name_length, extra_length, comment_length = fields[10:15]
        name_at = at + _ENTRY.size
        extra_at = name_at + name_length
        at = extra_at + extra_length + comment_length
        if at > len(raw):
            raise ModelFileError(f"{path}: an entry reaches past the directory's end.", DAMAGED)
        name = raw[name_at:extra_at].decode("utf-8", "replace")
        numbers = _widened([n_bytes, packed_bytes, fields[-1]], raw[extra_at : extra_at + extra_length])
        if numbers is None:
            raise ModelFileError(f"{path}: the entry {name!r} has no size.", DAMAGED)
        n_bytes, packed_bytes, header = numbers
        yield _Entry(name, flags, method, packed_bytes, n_bytes, header)


def _widened(numbers: list[int], extra: bytes) -> list[int] | None:
    """Size, packed size and offset, with those that did not fit 32 bits from the extra field."""
    if _IN_EXTRA not in numbers:
        return numbers
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, at)
        wide = extra[at + 4 : at + 4 + length]
        at += 4 + length
        if kind == _ZIP64_EXTRA and len(wide) == length:
            count = sum(number == _IN_EXTRA for number in numbers)
            if length < 8 * count:
                return None
            values = iter(struct.unpack_from(f"<{count}Q", wide))
            return [next(values) if number == _IN_EXTRA else number for number in numbers]
    return None


def _data_offset(file: IO[bytes], entry: _Entry, path: Path) -> int:
    raw = b""
    if entry.header <= file.seek(0, 2):
        file.seek(entry.header)
        raw = file.read(_LOCAL.size)
    if len(raw) < _LOCAL.size or not raw.startswith(b"PK\x03\x04"):
        raise ModelFileError(f"{path}: the entry {entry.name!r} does not begin where it should.", DAMAGED)
    *_, name_length, extra_length = _LOCAL.unpack(raw)
    return entry.header + _LOCAL.size + int(name_length) + int(extra_length)


def _check_places(files: Mapping[str, StoredFile], end: int, path: Path) -> None:
    in_order = sorted(files.items(), key=lambda item: (item[1].offset, item[1].n_bytes))
    for (name, stored), (_, following) in pairwise([*in_order, ("", StoredFile(end, 0))]):
        if stored.offset + stored.n_bytes > following.offset:
            raise ModelFileError(f"{path}: the entry {name!r} reaches into what follows it.", DAMAGED)
