"""Folders whose weights are quantised in the ways of other libraries, and what those have recorded of theirs."""

from __future__ import annotations

import base64
import json
import struct
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from engine.checkpoints import open_checkpoint
from engine.checkpoints.derived import read_floats
from engine.checkpoints.huggingface import read_weights
from tests.engine import tiny_models
from tests.engine.checkpoints.folders import write_folder

DATA = Path(__file__).parents[1] / "data" / "quantized.json"

Stored = tuple[str, tuple[int, ...], bytes]
"""A tensor as a safetensors file has it: its type, its shape, its bytes."""

Quantise = Callable[[str, np.ndarray], Mapping[str, Stored]]
"""From a matrix's name, without `.weight`, and its weights to the tensors in its place."""


@dataclass(frozen=True)
class Recorded:
    """What a library made of weights. weights: what it takes them for, of each `step` the first."""

    how: dict[str, Any]
    shape: tuple[int, ...]
    step: int
    tensors: dict[str, Stored]
    weights: np.ndarray


def recorded(library: str) -> dict[str, Recorded]:
    """All that is recorded of a library, by a name for each."""
    return {
        name: Recorded(
            case["how"],
            tuple(case["shape"]),
            case["step"],
            {name: (kind, tuple(shape), _bytes(text)) for name, (kind, shape, text) in case["tensors"].items()},
            np.frombuffer(_bytes(case["weights"]), "<f4"),
        )
        for name, case in json.loads(DATA.read_text())[library].items()
    }


def _bytes(text: str) -> bytes:
    return zlib.decompress(base64.b64decode(text))


def stored(array: np.ndarray, kind: str) -> Stored:
    """An array as a tensor of a type; of BF16, its upper halves."""
    if kind == "BF16":
        return kind, array.shape, as_bf16(array).tobytes()
    return kind, array.shape, np.ascontiguousarray(array).tobytes()


def as_bf16(array: np.ndarray) -> np.ndarray:
    """The nearest numbers of BF16, as uint16."""
    bits = np.ascontiguousarray(array, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)


def from_bf16(array: np.ndarray) -> np.ndarray:
    """Those as numbers."""
    return (array.astype(np.uint32) << 16).view(np.float32)


def write_stored(path: Path, tensors: Mapping[str, Stored]) -> Path:
    """A safetensors file."""
    header, at = {}, 0
    for name, (kind, shape, raw) in tensors.items():
        header[name] = {"dtype": kind, "shape": list(shape), "data_offsets": [at, at + len(raw)]}
        at += len(raw)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(raw for _, _, raw in tensors.values()))
    return path


def read_stored(path: Path) -> dict[str, Stored]:
    """The same from such a file."""
    raw = path.read_bytes()
    begin = 8 + struct.unpack_from("<Q", raw)[0]
    return {
        name: (entry["dtype"], tuple(entry["shape"]), raw[begin:][slice(*entry["data_offsets"])])
        for name, entry in json.loads(raw[8:begin]).items()
        if name != "__metadata__"
    }


def quantised_folder(
    folder: Path, write, name: str, how: dict[str, Any], quantise: Quantise, *, outside: bool = False
) -> Path:
    """A tiny model whose layers' matrices are quantised, with outside also its embedding and its output.

    Beside it is the same as GGUF, without.
    """
    twin = open_checkpoint(tiny_models.write_tiny(folder.with_suffix(".gguf"), name))
    write_folder(folder, twin, write, name)
    tensors: dict[str, Stored] = {}
    for foreign, tensor in read_weights([folder / "model.safetensors"]).items():
        values = read_floats(tensor, 0, tensor.n_rows).reshape(tensor.shape)
        if values.ndim > 1 and ("layers." in foreign or outside):
            tensors |= quantise(foreign.removesuffix(".weight"), values)
        else:
            tensors[foreign] = stored(values, "F32")
    write_stored(folder / "model.safetensors", tensors)
    change_config(folder, **how)
    return folder


def change_config(folder: Path, **changes: Any) -> None:
    """Set keys of `config.json`."""
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))


def change_tensors(folder: Path, change: Callable[[dict[str, Stored]], None]) -> None:
    """Change what is in the file of weights."""
    tensors = read_stored(folder / "model.safetensors")
    change(tensors)
    write_stored(folder / "model.safetensors", tensors)
