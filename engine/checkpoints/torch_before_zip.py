"""PyTorch's files before version 1.6: five pickles one after the other, then every storage with its length before it.

They hold a number to know them by, the format's version, how the machine counts, what was saved, and the storages'
names in order. Source: _legacy_save in torch/serialization.py in the pytorch repository.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import IO

from engine.checkpoints.pickles import MAX_BYTES, Call, Global, Persistent, read_next_pickle
from engine.checkpoints.tensor_types import TYPE_BY_NAME
from engine.checkpoints.zip_stored import DAMAGED, StoredFile
from engine.errors import ModelFileError, UnsupportedModelError

MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""The first pickle, a number that its authors chose."""

VERSION = 1001

_LENGTH = struct.Struct("<q")


def begins_before_zip(head: bytes) -> bool:
    """Whether a file that begins so is of this kind."""
    return head.startswith(MAGIC)


@dataclass(frozen=True, slots=True)
class OlderFile:
    """root: what was saved. names: of the storages, as they lie one after the other from `offset` on."""

    path: Path
    root: object
    names: tuple[str, ...]
    offset: int

    def storages(self, kinds: Mapping[str, str]) -> dict[str, StoredFile]:
        """Where each storage lies, as the entries of a zip: their lengths are in numbers of what they hold.

        kinds: of weights, by PyTorch's names for storages. Raises ModelFileError for lengths that do not fit.
        """
        sizes = {}
        for key in _references(self.root):
            kind = kinds.get(key[1].name.removeprefix("torch.")) if isinstance(key[1], Global) else None
            if len(key) == 6 and key[5] is not None:
                raise UnsupportedModelError(
                    f"{self.path} has a storage that is a part of another one, which is not read here.",
                    "Look for the model as safetensors, or as GGUF.",
                )
            if isinstance(key[2], str) and kind is not None:
                sizes[key[2]] = TYPE_BY_NAME[kind].block_bytes
        found = {}
        with self.path.open("rb") as file:
            end, at = file.seek(0, 2), self.offset
            for name in self.names:
                file.seek(at)
                head = file.read(_LENGTH.size)
                n_numbers = _LENGTH.unpack(head)[0] if len(head) == _LENGTH.size else -1
                n_bytes, at = n_numbers * sizes.get(name, 0), at + _LENGTH.size
                if name not in sizes or not 0 <= n_bytes <= end - at:
                    raise ModelFileError(f"{self.path}: the storage {name[:80]!r} is not whole.", DAMAGED)
                found[f"data/{name}"] = StoredFile(at, n_bytes)
                at += n_bytes
        return found


def read_before_zip(file: IO[bytes], path: Path, allowed: frozenset[str]) -> OlderFile:
    """What such a file says of its tensors; nothing in it is run. Raises ModelFileError, UnsafePickleError."""
    file.seek(len(MAGIC))
    program, where = BytesIO(file.read(MAX_BYTES)), str(path)
    version = read_next_pickle(program, allowed, where)
    machine = read_next_pickle(program, allowed, where)
    if version != VERSION or not isinstance(machine, dict):
        raise ModelFileError(f"{path} is of a version that PyTorch never had.", DAMAGED)
    if machine.get("little_endian") is not True:
        raise UnsupportedModelError(f"{path} was written on a big-endian machine.", "Take the model as safetensors.")
    root = read_next_pickle(program, allowed, where)
    names = read_next_pickle(program, allowed, where)
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ModelFileError(f"{path} does not name its storages.", DAMAGED)
    return OlderFile(path, root, tuple(names), len(MAGIC) + program.tell())


def _references(root: object) -> Iterator[tuple[object, ...]]:
    """The keys of all storages that something saved refers to, each value looked at once."""
    seen: set[int] = set()
    left = [root]
    while left:
        value = left.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, Persistent):
            if isinstance(value.key, tuple) and len(value.key) in (5, 6):
                yield value.key
        elif isinstance(value, dict):
            left.extend(value.values())
        elif isinstance(value, list | tuple):
            left.extend(value)
        elif isinstance(value, Call):
            left.extend(value.arguments)
