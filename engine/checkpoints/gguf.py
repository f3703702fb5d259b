"""GGUF, versions 1 to 3, over a memory map: headers only, and never a number believed before it is checked.

Source: the specification in the ggml repository, docs/gguf.md.
"""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from operator import attrgetter
from pathlib import Path
from typing import overload

from engine.checkpoints.bare_names import with_usual_names
from engine.checkpoints.checkpoint import Checkpoint, TensorInfo, without_leading_ones
from engine.checkpoints.cursor import Cursor, open_cursor
from engine.checkpoints.experts import stack_experts
from engine.checkpoints.fused import delta_nets_taken_apart
from engine.checkpoints.metadata import Metadata
from engine.checkpoints.splits import part_paths
from engine.checkpoints.tensor_types import TYPE_BY_ID, TensorType
from engine.errors import ModelFileError, UnsupportedModelError

MAX_DIMS = 4
MAX_NAME_BYTES = 65_535
MAX_ALIGNMENT = 1 << 20
DEFAULT_ALIGNMENT = 32
MIN_KEY_BYTES = {1: 9, 2: 13, 3: 13}
MIN_TENSOR_BYTES = {1: 24, 2: 32, 3: 32}

_UINT32, _BOOL, _STRING, _ARRAY = 4, 7, 8, 9
_SCALARS: dict[int, tuple[str, struct.Struct]] = {
    0: ("B", struct.Struct("<B")),
    1: ("b", struct.Struct("<b")),
    2: ("H", struct.Struct("<H")),
    3: ("h", struct.Struct("<h")),
    4: ("I", struct.Struct("<I")),
    5: ("i", struct.Struct("<i")),
    6: ("f", struct.Struct("<f")),
    10: ("Q", struct.Struct("<Q")),
    11: ("q", struct.Struct("<q")),
    12: ("d", struct.Struct("<d")),
}
"""GGUF's number types: the code of the `array` module, and how to read one."""

_MICROSOFTS = {36: "I2_S", 37: "I8_S", 38: "TL1"}
"""Types of BitNet's own programs, by numbers that llama.cpp had for what it never wrote to files. How they lie depends
on the machine that wrote them, and no file says which it was."""

_U32 = struct.Struct("<I")
_U64 = struct.Struct("<Q")


class StringArray(Sequence[str]):
    """A list of texts that stays as the file has it; each is decoded when it is read.

    A vocabulary of 256,000 tokens would take 30 MB as Python's strings, and a header is often opened without a need for
    it.

    raw: each text's length as an integer of the given struct, then its bytes. Invalid UTF-8 becomes U+FFFD.
    """

    def __init__(self, raw: bytes, count: int, length: struct.Struct) -> None:
        self._raw = raw
        self._count = count
        self._length = length

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self._text(begin) for begin in self._begins[index]]
        return self._text(self._begins[index])

    def __iter__(self) -> Iterator[str]:
        raw, unpack, width = self._raw, self._length.unpack_from, self._length.size
        begin = 0
        for _ in range(self._count):
            start = begin + width
            begin = start + unpack(raw, begin)[0]
            yield raw[start:begin].decode("utf-8", "replace")

    @cached_property
    def _begins(self) -> array[int]:
        """Where each text's length stands."""
        raw, unpack, width = self._raw, self._length.unpack_from, self._length.size
        begins = array("Q")
        begin = 0
        for _ in range(self._count):
            begins.append(begin)
            begin += width + unpack(raw, begin)[0]
        return begins

    def _text(self, begin: int) -> str:
        start = begin + self._length.size
        return self._raw[start : start + self._length.unpack_from(self._raw, begin)[0]].decode("utf-8", "replace")


class _Reader(Cursor):
    """Reads what GGUF is made of. word: how lengths and counts are written."""

    word = _U64

    def number(self, layout: struct.Struct, what: str) -> int:
        self.need(layout.size, what)
        value: int = layout.unpack_from(self.data, self.at)[0]
        self.at += layout.size
        return value

    def count(self, what: str, min_bytes: int) -> int:
        """A count of things that take at least min_bytes each, so that no loop runs past the file."""
        count = self.number(self.word, what)
        room = (self.size - self.at) // min_bytes
        if count > room:
            raise self.ends_early(f"{what} is {count}, but the rest of the file has room for {room} at most.")
        return count

    def text(self, what: str, limit: int | None = None) -> str:
        length = self.number(self.word, f"the length of {what}")
        if limit is not None and length > limit:
            raise self.error(f"{what} has {length} bytes, the limit is {limit}.")
        return self.raw(length, what).decode("utf-8", "replace")

    def value(self, kind: int, key: str) -> object:
        if kind in _SCALARS:
            return self.number(_SCALARS[kind][1], key)
        if kind == _BOOL:
            return self.number(_SCALARS[0][1], key) != 0
        if kind == _STRING:
            return self.text(key)
        if kind == _ARRAY:
            return self._array(key)
        raise self.error(f"{key} has the unknown value type {kind}.")

    def _array(self, key: str) -> object:
        kind = self.number(_U32, f"the element type of {key}")
        if kind == _ARRAY:
            raise self.error(f"{key} is a list of lists, which is not supported.")
        if kind == _STRING:
            count = self.count(f"the length of {key}", self.word.size)
            return self._strings(count, key)
        if kind != _BOOL and kind not in _SCALARS:
            raise self.error(f"{key} is a list of the unknown type {kind}.")
        code, layout = _SCALARS[0 if kind == _BOOL else kind]
        count = self.count(f"the length of {key}", layout.size)
        numbers = array(code)
        numbers.frombytes(self.data[self.at : self.at + count * layout.size])
        self.at += count * layout.size
        if sys.byteorder == "big":
            numbers.byteswap()
        return tuple(number != 0 for number in numbers) if kind == _BOOL else numbers

    def _strings(self, count: int, key: str) -> StringArray:
        data, unpack, width = self.data, self.word.unpack_from, self.word.size
        begin = at = self.at
        last = self.size - width
        for _ in range(count):
            if at > last:
                break
            at += width + unpack(data, at)[0]
        else:
            if at <= self.size:
                self.at = at
                return StringArray(data[begin:at], count, self.word)
        raise self.ends_early(f"{key} has texts that reach past the file's end at {self.size} bytes.")


@dataclass(frozen=True, slots=True)
class _Header:
    """What one file says of itself, not yet held against its size. begin: of the tensors, from where offsets count."""

    version: int
    metadata: Metadata
    tensors: list[TensorInfo]
    begin: int
    alignment: int


@dataclass(frozen=True, slots=True)
class _Part:
    """One file's header, with tensors where they are in it."""

    path: Path
    version: int
    metadata: Metadata
    tensors: list[TensorInfo]


def open_gguf(path: Path) -> Checkpoint:
    """Read a GGUF's header; a file that is one part of several brings in the others."""
    first = _read_part(path)
    paths = part_paths(path, first.metadata)
    parts = [first if part == path else _read_part(part) for part in paths]
    tensors: dict[str, TensorInfo] = {}
    for part in parts:
        for tensor in part.tensors:
            if tensor.name in tensors:
                raise ModelFileError(
                    f"{part.path}: the tensor {tensor.name} is there twice.", "The file is damaged: fetch it again."
                )
            tensors[tensor.name] = tensor
    metadata = parts[0].metadata
    expected = metadata.optional_integer("split.tensors.count", low=0, high=2**31 - 1)
    if expected is not None and len(paths) > 1 and expected != len(tensors):
        raise metadata.error(f"split.tensors.count promises {expected} tensors, the parts have {len(tensors)}.")
    named = with_usual_names(tensors, metadata.get("general.architecture"))
    today = stack_experts(delta_nets_taken_apart(named, metadata))
    return Checkpoint(path, f"GGUF v{parts[0].version}", metadata, today, tuple(paths))


def needed_bytes(path: Path) -> int:
    """How long one file of a model has to be at least by its own header, whatever its name; no tensor is looked for.

    Raises ModelFileError, UnsupportedModelError.
    """
    with open_cursor(path) as cursor:
        header = _read_header(_Reader(cursor.data, path))
    return max((header.begin + tensor.offset + tensor.n_bytes for tensor in header.tensors), default=header.begin)


def _read_part(path: Path) -> _Part:
    with open_cursor(path) as cursor:
        reader = _Reader(cursor.data, path)
        header = _read_header(reader)
        return _Part(path, header.version, header.metadata, _place(reader, header))


def _read_header(reader: _Reader) -> _Header:
    reader.need(4, "the magic")
    if reader.data[:4] != b"GGUF":
        raise reader.error("it does not begin with GGUF.", "Choose a GGUF file.")
    reader.at = 4
    version = _read_version(reader)
    n_tensors = reader.count("the number of tensors", 1)
    n_keys = reader.count("the number of keys", MIN_KEY_BYTES[version])
    metadata = _read_metadata(reader, n_keys)
    room = (reader.size - reader.at) // MIN_TENSOR_BYTES[version]
    if n_tensors > room:
        raise reader.ends_early(f"the number of tensors is {n_tensors}, but the file has room for {room} at most.")
    alignment = _alignment(reader, metadata)
    tensors = [_read_tensor(reader) for _ in range(n_tensors)]
    begin = -(-reader.at // alignment) * alignment
    return _Header(version, metadata, tensors, begin, alignment)


def _read_version(reader: _Reader) -> int:
    version = reader.number(_U32, "the version")
    if version & 0xFFFF == 0 and version:
        raise UnsupportedModelError(
            f"{reader.path} is a GGUF for big-endian machines.", "Fetch the usual, little-endian file."
        )
    if version not in MIN_KEY_BYTES:
        raise UnsupportedModelError(
            f"{reader.path} has GGUF version {version}; versions 1, 2 and 3 are known.", "Look for a newer llm-tui."
        )
    if version == 1:
        reader.word = _U32
    return version


def _read_metadata(reader: _Reader, n_keys: int) -> Metadata:
    metadata = Metadata(path=reader.path)
    for index in range(n_keys):
        key = reader.text(f"the name of key {index}", MAX_NAME_BYTES)
        if key in metadata:
            raise reader.error(f"the key {key} is there twice.")
        kind = reader.number(_U32, f"the type of {key}")
        metadata[key] = reader.value(kind, key)
        if kind in _SCALARS:
            metadata.number_types[key] = kind
    return metadata


def _alignment(reader: _Reader, metadata: Metadata) -> int:
    value = metadata.integer("general.alignment", DEFAULT_ALIGNMENT, low=1, high=MAX_ALIGNMENT)
    if value & (value - 1):
        raise reader.error(f"general.alignment is {value}, it should be a power of two.")
    return value


def _read_tensor(reader: _Reader) -> TensorInfo:
    """One entry of the tensor table; its offset is still relative to the data's beginning.

    Leading ones of its shape say nothing: converters write vectors with and without them.
    """
    name = reader.text("the name of a tensor", MAX_NAME_BYTES)
    n_dims = reader.number(_U32, f"the number of dimensions of {name}")
    if not 1 <= n_dims <= MAX_DIMS:
        raise reader.error(f"{name} has {n_dims} dimensions, it should have 1 to {MAX_DIMS}.")
    dims = [reader.number(reader.word, f"a dimension of {name}") for _ in range(n_dims)]
    type_id = reader.number(_U32, f"the type of {name}")
    offset = reader.number(_U64, f"the offset of {name}")
    kind = TYPE_BY_ID.get(type_id)
    if kind is None:
        raise UnsupportedModelError(
            f"{reader.path}: {name} has the tensor type {type_id}, which is not known here.",
            "Fetch the model in another quantization, such as Q4_K_M or Q8_0.",
        )
    if type_id in _MICROSOFTS:
        raise UnsupportedModelError(
            f"{reader.path}: {name} has the tensor type {_MICROSOFTS[type_id]} of Microsoft's fork of llama.cpp, which "
            "is not read here.",
            "Fetch the model as a GGUF of TQ2_0 or TQ1_0, or its folder with safetensors.",
        )
    if not kind.is_known:
        raise UnsupportedModelError(
            f"{reader.path}: {name} has the tensor type {kind.name}, which is no longer in use.",
            "Fetch the model in another quantization, such as Q4_K_M or Q8_0.",
        )
    shape = without_leading_ones(tuple(reversed(dims)))
    return TensorInfo(name, shape, kind, reader.path, offset, _n_bytes(reader, name, dims, kind))


def _n_bytes(reader: _Reader, name: str, dims: list[int], kind: TensorType) -> int:
    """The tensor's size, whatever the file's; Python's integers do not overflow."""
    if min(dims) < 1:
        raise reader.error(f"{name} has a dimension of 0.")
    if dims[0] % kind.block_size:
        raise reader.error(f"{name} has rows of {dims[0]}, not a multiple of {kind.name}'s block of {kind.block_size}.")
    n_bytes = kind.row_bytes(dims[0])
    for size in dims[1:]:
        n_bytes *= size
    return n_bytes


def _place(reader: _Reader, header: _Header) -> list[TensorInfo]:
    """The tensors with absolute offsets, none outside the file and none over another."""
    placed = []
    for tensor in header.tensors:
        name, n_bytes = tensor.name, tensor.n_bytes
        if n_bytes > reader.size:
            raise reader.ends_early(f"{name} needs {n_bytes} bytes, the whole file has {reader.size}.")
        if tensor.offset % header.alignment:
            raise reader.error(
                f"{name} begins at offset {tensor.offset}, not a multiple of the alignment {header.alignment}."
            )
        end = header.begin + tensor.offset + n_bytes
        if end > reader.size:
            raise reader.ends_early(f"{name} ends at byte {end}, but the file has {reader.size} bytes.")
        placed.append(replace(tensor, offset=header.begin + tensor.offset))
    in_order = sorted(placed, key=attrgetter("offset"))
    for one, other in pairwise(in_order):
        if one.offset + one.n_bytes > other.offset:
            raise reader.error(f"the tensors {one.name} and {other.name} overlap.")
    return placed
