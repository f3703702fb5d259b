"""safetensors files: a length, a JSON header, then the weights, which are mapped in place.

Source: the README of the safetensors repository, "Format".
"""

from __future__ import annotations

import struct
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeGuard

from engine.checkpoints.checkpoint import TensorInfo
from engine.checkpoints.derived import aligned
from engine.checkpoints.small_files import parse_json_object
from engine.checkpoints.tensor_types import TYPE_BY_NAME
from engine.errors import ModelFileError, UnsupportedModelError

MAX_HEADER_BYTES = 16 << 20
"""A hundred bytes a tensor are usual; as JSON in memory a header takes up to 25 times its size."""
MAX_DIMS = 8
MAX_SIZE = 1 << 62
DAMAGED = "The file is damaged or was cut off: fetch it again."

_TYPES = {
    "F64": "F64",
    "F32": "F32",
    "F16": "F16",
    "BF16": "BF16",
    "F8_E4M3": "F8_E4M3",
    "I64": "I64",
    "U64": "I64",
    "I32": "I32",
    "U32": "I32",
    "I16": "I16",
    "U16": "I16",
    "I8": "I8",
    "U8": "I8",
    "BOOL": "I8",
}
"""safetensors' types; of those without floating point, which are never weights, only the size matters."""


def looks_like_safetensors(head: bytes) -> bool:
    """Whether a file that begins so has a header of this format: its length, and the brace that opens it."""
    return len(head) > 8 and head[8:9] == b"{" and struct.unpack_from("<Q", head)[0] >= 2


def read_safetensors(path: Path) -> dict[str, TensorInfo]:
    """The tensors in a file by name; no weight is loaded. Raises ModelFileError, UnsupportedModelError."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(0)
            raw = file.read(8)
            if len(raw) < 8:
                raise ModelFileError(f"{path} is too short for a safetensors file.", DAMAGED)
            length = struct.unpack("<Q", raw)[0]
            limit = min(MAX_HEADER_BYTES, size - 8)
            if length > limit:
                raise ModelFileError(f"{path}: its header should have {length} bytes, the limit is {limit}.", DAMAGED)
            header = file.read(length)
    except FileNotFoundError:
        raise ModelFileError(f"{path} is missing.", "Fetch all files of the model into one folder.") from None
    except OSError as error:
        raise ModelFileError(f"{path} cannot be read: {error.strerror}.", "Check its permissions.") from error
    entries = parse_json_object(header, path, "its header")
    entries.pop("__metadata__", None)
    begin = 8 + length
    tensors = [_tensor(name, entry, path, begin, size - begin) for name, entry in entries.items()]
    _check_places(tensors, begin, size, path)
    return {tensor.name: aligned(tensor) for tensor in tensors if tensor.n_bytes}


def _tensor(name: str, entry: Any, path: Path, begin: int, room: int) -> TensorInfo:
    def error(message: str) -> ModelFileError:
        return ModelFileError(f"{path}: the tensor {name} {message}.", DAMAGED)

    if not isinstance(entry, dict):
        raise error("has no description")
    kind = _TYPES.get(str(entry.get("dtype")))
    if kind is None:
        raise UnsupportedModelError(
            f"{path}: the tensor {name} has the type {entry.get('dtype')!r}, which is not known here.",
            "Choose a version of the model in F16, BF16 or F32, or as GGUF.",
        )
    shape, offsets = entry.get("shape"), entry.get("data_offsets")
    if not _are_sizes(shape) or len(shape) > MAX_DIMS:
        raise error(f"has the impossible shape {shape!r}")
    if not _are_sizes(offsets) or len(offsets) != 2 or not offsets[0] <= offsets[1] <= room:
        raise error(f"lies at {offsets!r}, the file has {room} bytes of weights")
    n_bytes = TYPE_BY_NAME[kind].block_bytes
    for number in shape:
        n_bytes *= number
    if n_bytes != offsets[1] - offsets[0]:
        raise error(f"of shape {tuple(shape)} needs {n_bytes} bytes, it has {offsets[1] - offsets[0]}")
    return TensorInfo(name, tuple(shape) or (1,), TYPE_BY_NAME[kind], path, begin + offsets[0], n_bytes)


def _are_sizes(value: object) -> TypeGuard[list[int]]:
    return isinstance(value, list) and all(
        isinstance(number, int) and not isinstance(number, bool) and 0 <= number <= MAX_SIZE for number in value
    )


def _check_places(tensors: list[TensorInfo], begin: int, end: int, path: Path) -> None:
    """The tensors must follow one another without gaps up to the end: nothing over another, nothing cut off."""
    places = sorted((tensor.offset, tensor.n_bytes, tensor.name) for tensor in tensors)
    for (offset, n_bytes, name), (following, _, other) in pairwise([(begin, 0, ""), *places, (end, 0, "")]):
        if offset + n_bytes > following:
            raise ModelFileError(f"{path}: the tensors {name} and {other} overlap.", DAMAGED)
        if offset + n_bytes < following:
            raise ModelFileError(
                f"{path}: {following - offset - n_bytes} bytes after {name} are of no tensor.", DAMAGED
            )
