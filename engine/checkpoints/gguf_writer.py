"""GGUF version 3 as bytes: everything before the tensors' data, and the place of each tensor.

Source: the specification in the ggml repository, docs/gguf.md.
"""

from __future__ import annotations

import contextlib
import struct
import sys
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from engine.checkpoints.gguf import DEFAULT_ALIGNMENT, MAX_ALIGNMENT
from engine.checkpoints.metadata import Metadata
from engine.checkpoints.tensor_types import TensorType

ALIGNMENT_KEY = "general.alignment"

_UINT32, _INT32, _FLOAT32, _BOOL, _STRING, _ARRAY, _UINT64, _INT64, _FLOAT64 = 4, 5, 6, 7, 8, 9, 10, 11, 12
_NUMBERS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 10: "<Q", 11: "<q", 12: "<d"}
_INTEGERS = (_UINT32, _INT32, _UINT64, _INT64)
_REALS = (_FLOAT32, _FLOAT64)
"""What a number becomes of which nothing else is known: the first of these that holds it."""

_ELEMENTS = {("u", 1): 0, ("i", 1): 1, ("u", 2): 2, ("i", 2): 3, ("u", 4): 4, ("i", 4): 5, ("u", 8): 10, ("i", 8): 11}
_ELEMENTS |= {("f", 4): 6, ("f", 8): 12}
"""Kind and size of a number to the type of a list of them."""


@dataclass(frozen=True, slots=True)
class NewTensor:
    """A tensor to be written. shape: numpy's order, slowest first."""

    name: str
    shape: tuple[int, ...]
    type: TensorType

    @property
    def n_bytes(self) -> int:
        """What its data takes."""
        count = self.type.row_bytes(self.shape[-1])
        for size in self.shape[:-1]:
            count *= size
        return count


@dataclass(frozen=True, slots=True)
class Layout:
    """Where everything lies in the file. header: all bytes before the first tensor. offsets: by name, in the file."""

    header: bytes
    offsets: Mapping[str, int]
    size: int


def lay_out(metadata: Metadata, tensors: Sequence[NewTensor]) -> Layout:
    """The header of a file with these keys and tensors, aligned as general.alignment says."""
    alignment = metadata.integer(ALIGNMENT_KEY, DEFAULT_ALIGNMENT, low=1, high=MAX_ALIGNMENT)
    entries, relative, end = [], {}, 0
    for tensor in tensors:
        relative[tensor.name] = end
        entries.append(_entry(tensor, end))
        end = _aligned(end + tensor.n_bytes, alignment)
    keys = [_text(key) + _value(key, value, metadata.number_types) for key, value in metadata.items()]
    head = b"".join([b"GGUF", struct.pack("<IQQ", 3, len(tensors), len(keys)), *keys, *entries])
    header = head.ljust(_aligned(len(head), alignment), b"\0")
    return Layout(header, {name: len(header) + offset for name, offset in relative.items()}, len(header) + end)


def _aligned(position: int, alignment: int) -> int:
    return -(-position // alignment) * alignment


def _entry(tensor: NewTensor, offset: int) -> bytes:
    dims = tuple(reversed(tensor.shape))
    shape = struct.pack(f"<I{len(dims)}Q", len(dims), *dims)
    return _text(tensor.name) + shape + struct.pack("<IQ", tensor.type.id, offset)


def _text(text: str) -> bytes:
    raw = text.encode("utf-8", "surrogateescape")
    return struct.pack("<Q", len(raw)) + raw


def _value(key: str, value: object, number_types: Mapping[str, int]) -> bytes:
    """Type and content of a key."""
    if isinstance(value, bool):
        return struct.pack("<I?", _BOOL, value)
    if isinstance(value, str):
        return struct.pack("<I", _STRING) + _text(value)
    if isinstance(value, (int, float)):
        return _number(key, value, number_types.get(key))
    if isinstance(value, array):
        return struct.pack("<II", _ARRAY, _ELEMENTS[_kind_of(value), value.itemsize]) + _raw(value)
    if isinstance(value, Sequence):
        return _list(key, value)
    raise TypeError(f"{key} is a {type(value).__name__}, which a GGUF cannot hold")


def _number(key: str, value: float, known: int | None) -> bytes:
    """A number in the type that it had, if that holds it, else in the first of the usual ones that does.

    Readers insist on the usual types, so real numbers are rounded to 32 bits.
    """
    usual = _REALS if isinstance(value, float) else _INTEGERS
    for kind in usual if known is None else (known, *usual):
        with contextlib.suppress(struct.error, OverflowError):
            return struct.pack("<I", kind) + struct.pack(_NUMBERS[kind], value)
    raise ValueError(f"{key} is {value}, which is beyond 64 bits")


def _kind_of(numbers: array[int] | array[float]) -> str:
    return "f" if numbers.typecode in "fd" else "u" if numbers.typecode.isupper() else "i"


def _raw(numbers: array[int] | array[float]) -> bytes:
    if sys.byteorder == "big":
        numbers = numbers[:]
        numbers.byteswap()
    return struct.pack("<Q", len(numbers)) + numbers.tobytes()


def _list(key: str, values: Sequence[object]) -> bytes:
    """A list of texts or of truth values; an empty one counts as texts."""
    count = struct.pack("<Q", len(values))
    if values and all(isinstance(value, bool) for value in values):
        return struct.pack("<II", _ARRAY, _BOOL) + count + bytes(map(bool, values))
    texts = []
    for value in values:
        if not isinstance(value, str):
            raise TypeError(f"{key} is a list with a {type(value).__name__}, which a GGUF cannot hold")
        texts.append(_text(value))
    return struct.pack("<II", _ARRAY, _STRING) + count + b"".join(texts)
