"""ggml model files from before GGUF: what llama.cpp, alpaca.cpp and GPT4All wrote from March to August 2023.

Source: the history of convert-pth-to-ggml.py, llama.cpp and llama-util.h in the llama.cpp repository.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from engine.checkpoints.checkpoint import Checkpoint, TensorInfo
from engine.checkpoints.cursor import DAMAGED, Cursor, open_cursor
from engine.checkpoints.ggml_layouts import (
    NIBBLE_HALVES,
    NIBBLE_PAIRS,
    TODAY,
    StoredTensor,
    as_today,
    is_row_wise,
    type_of,
)
from engine.checkpoints.ggml_vocabulary import Entry, tokenizer_metadata
from engine.checkpoints.limits import MAX_LAYERS, MAX_WIDTH
from engine.checkpoints.llama import join_parts, llama_metadata
from engine.checkpoints.metadata import Metadata
from engine.checkpoints.names import from_meta, is_no_weight
from engine.checkpoints.tokenizer_keys import MAX_VOCAB
from engine.errors import ModelFileError, UnsupportedModelError

MAX_TOKEN_BYTES = 4096
MAX_NAME_BYTES = 256
MAX_TENSORS = 100_000
MAX_PARTS = 64
ALIGNMENT = 32

_LATER_PART = re.compile(r"(?P<first>.+)\.(?P<number>[1-9]\d?)")
_FILE_TYPES = frozenset({0, 1, 2, 3, 7, 8, 9, *range(10, 19)})


@dataclass(frozen=True, slots=True)
class Container:
    """One of the file formats. magic: how it begins. aligned: weights begin at multiples of 32."""

    name: str
    magic: bytes
    version: int
    has_scores: bool
    aligned: bool
    era: int


_BARE = Container("ggml without magic", b"", 0, False, False, NIBBLE_PAIRS)
_CONTAINERS = (
    Container("ggml", b"lmgg", 0, False, False, NIBBLE_PAIRS),
    Container("ggmf v1", b"fmgg", 1, True, False, NIBBLE_PAIRS),
    Container("ggjt v1", b"tjgg", 1, True, True, NIBBLE_PAIRS),
    Container("ggjt v2", b"tjgg", 2, True, True, NIBBLE_HALVES),
    Container("ggjt v3", b"tjgg", 3, True, True, TODAY),
)
MAGICS = frozenset(container.magic for container in _CONTAINERS)


@dataclass(frozen=True, slots=True)
class Header:
    """The seven numbers that a file begins with."""

    n_vocab: int
    dim: int
    multiple: int
    n_heads: int
    n_layers: int
    rope_dim: int
    file_type: int


@dataclass(frozen=True, slots=True)
class Part:
    """One file."""

    path: Path
    container: Container
    header: Header
    vocabulary: list[Entry]
    tensors: dict[str, StoredTensor]


def open_ggml(path: Path) -> Checkpoint:
    """Read the headers of a ggml model, and of its other parts if it has any."""
    first = _read_part(_first_part(path))
    parts = [first, *(_read_part(other) for other in _other_parts(first))]
    for part in parts[1:]:
        if part.header != first.header or part.container != first.container:
            raise ModelFileError(f"{part.path} is not a part of the same model as {first.path}.", DAMAGED)
    row_wise = not first.container.aligned and is_row_wise(list(first.tensors.values()))
    tensors = _tensors(parts, row_wise)
    beside = _tokenizer_beside(first.path)
    files = [part.path for part in parts]
    metadata = llama_metadata(
        tensors,
        first.path,
        dim=first.header.dim,
        n_layers=first.header.n_layers,
        n_heads=first.header.n_heads,
    )
    metadata["general.name"] = _name(first.path.absolute())
    if first.header.file_type in _FILE_TYPES:
        metadata["general.file_type"] = first.header.file_type
    if not first.container.has_scores and beside is not None:
        files.append(beside)
    metadata |= tokenizer_metadata(first.vocabulary, first.header.n_vocab, beside)
    return Checkpoint(
        path,
        _format_name(first, len(parts), row_wise),
        Metadata(metadata, path),
        tensors,
        tuple(files),
        borrowed=frozenset({beside} if beside else ()),
    )


def begins_like_bare_ggml(head: bytes) -> bool:
    """Whether a file begins with the header that the very first converters wrote, which had no magic."""
    if len(head) < 28:
        return False
    n_vocab, dim, multiple, n_heads, n_layers, rope_dim, file_type = (
        int.from_bytes(head[at : at + 4], "little", signed=True) for at in range(0, 28, 4)
    )
    return (
        0 < n_vocab <= MAX_VOCAB
        and 0 < multiple <= MAX_WIDTH
        and 0 < n_heads <= dim <= MAX_WIDTH
        and dim == n_heads * rope_dim
        and 0 < n_layers <= MAX_LAYERS
        and 0 <= file_type <= 3
    )


def _name(path: Path) -> str:
    """The file's name; what llama.cpp wrote was always called `ggml-model`, and only the folder says what it is."""
    name = path.name.removesuffix(".bin")
    return f"{path.parent.name} {name}" if name.startswith("ggml-model") else name


def _format_name(first: Part, n_parts: int, row_wise: bool) -> str:
    details = ["row-wise"] if row_wise else []
    details += [f"{n_parts} parts"] if n_parts > 1 else []
    return ", ".join([first.container.name, *details])


def _first_part(path: Path) -> Path:
    """The file itself, or the one that it continues: parts are called `name`, `name.1` and so on."""
    later = _LATER_PART.fullmatch(path.name)
    first = path.with_name(later["first"]) if later else path
    return first if first.is_file() else path


def _other_parts(first: Part) -> list[Path]:
    """The files that hold the rest of the columns of the embedding, which the first one has the first of."""
    embedding = first.tensors.get("token_embd.weight")
    if embedding is None or len(embedding.tensor.shape) != 2:
        raise ModelFileError(f"{first.path}: the embedding tok_embeddings.weight is missing.", DAMAGED)
    columns = embedding.tensor.shape[1]
    if first.header.dim % columns or first.header.dim // columns > MAX_PARTS:
        raise ModelFileError(
            f"{first.path}: the embedding has rows of {columns}, the header says {first.header.dim}.", DAMAGED
        )
    n_parts = first.header.dim // columns
    others = [first.path.with_name(f"{first.path.name}.{number}") for number in range(1, n_parts)]
    for other in others:
        if not other.is_file():
            raise ModelFileError(
                f"{first.path} is one of {n_parts} parts, and {other} is missing.",
                "Put all parts of the model into one folder.",
            )
    return others


def _tokenizer_beside(path: Path) -> Path | None:
    candidates = (path.with_name("tokenizer.model"), path.parent.parent / "tokenizer.model")
    return next((candidate for candidate in candidates if candidate.is_file()), None)


def _tensors(parts: Sequence[Part], row_wise: bool) -> dict[str, TensorInfo]:
    shards = [{name: as_today(t, row_wise=row_wise) for name, t in part.tensors.items()} for part in parts]
    return join_parts(shards, parts[0].header.dim)


def _read_part(path: Path) -> Part:
    with open_cursor(path) as cursor:
        container = _container(cursor)
        header = _header(cursor)
        vocabulary = _vocabulary(cursor, header.n_vocab, container.has_scores)
        return Part(path, container, header, vocabulary, _stored_tensors(cursor, container))


def _container(cursor: Cursor) -> Container:
    cursor.need(28, "the header")
    magic = cursor.data[:4]
    if magic not in MAGICS:
        return _BARE
    cursor.at = 4
    candidates = {container.version: container for container in _CONTAINERS if container.magic == magic}
    if 0 in candidates:
        return candidates[0]
    version = cursor.integer("the version", -(2**31), 2**31 - 1)
    if version not in candidates:
        raise UnsupportedModelError(
            f"{cursor.path}: the version of this ggml file is {version}; {', '.join(map(str, candidates))} are known.",
            "Look for the model as GGUF.",
        )
    return candidates[version]


def _header(cursor: Cursor) -> Header:
    n_vocab = cursor.integer("n_vocab", 4, min(MAX_VOCAB, cursor.size // 4))
    dim = cursor.integer("n_embd", 1, MAX_WIDTH)
    multiple = cursor.integer("n_mult", 0, 2**31 - 1)
    n_heads = cursor.integer("n_head", 1, dim)
    n_layers = cursor.integer("n_layer", 1, MAX_LAYERS)
    rope_dim = cursor.integer("n_rot", 0, dim)
    file_type = cursor.integer("ftype", 0, 2**31 - 1) % 1000
    if dim % n_heads:
        raise cursor.error(f"n_embd is {dim}, which {n_heads} heads do not share evenly.")
    return Header(n_vocab, dim, multiple, n_heads, n_layers, rope_dim, file_type)


def _vocabulary(cursor: Cursor, n_vocab: int, has_scores: bool) -> list[Entry]:
    """The entries; GPT4All's file has one fewer than it says, and the first tensor in its place."""
    entries: list[Entry] = []
    for id_ in range(n_vocab):
        if id_ == n_vocab - 1 and _tensor_begins(cursor):
            break
        length = cursor.integer(f"the length of token {id_}", 0, MAX_TOKEN_BYTES)
        text = cursor.raw(length, f"token {id_}")
        entries.append((text, cursor.real(f"the score of token {id_}") if has_scores else None))
    if not _tensor_begins(cursor):
        raise cursor.error(f"after {len(entries)} tokens of the vocabulary, at byte {cursor.at}, no tensor begins.")
    return entries


def _tensor_begins(cursor: Cursor) -> bool:
    """Whether the header of a tensor with a known name is here."""
    begin = cursor.at
    try:
        return _name_of(_tensor_head(cursor)[0]) is not None
    except ModelFileError:
        return False
    finally:
        cursor.at = begin


def _tensor_head(cursor: Cursor) -> tuple[str, list[int], int]:
    """Name, dimensions with the fastest first, and type number."""
    n_dims = cursor.integer("the number of dimensions of a tensor", 1, 2)
    length = cursor.integer("the length of a tensor's name", 1, MAX_NAME_BYTES)
    type_id = cursor.integer("the type of a tensor", 0, 2**31 - 1)
    dims = [cursor.integer("a dimension of a tensor", 1, 2**31 - 1) for _ in range(n_dims)]
    return cursor.raw(length, "the name of a tensor").decode("utf-8", "replace"), dims, type_id


def _name_of(name: str) -> str | None:
    """GGUF's name of a tensor, "" for what is not needed, None for what is not known."""
    return "" if is_no_weight(name) else from_meta(name)


def _stored_tensors(cursor: Cursor, container: Container) -> dict[str, StoredTensor]:
    tensors: dict[str, StoredTensor] = {}
    for _ in range(MAX_TENSORS):
        if cursor.at == cursor.size:
            return tensors
        stored = _stored_tensor(cursor, container)
        name = _name_of(stored.tensor.name)
        if name is None:
            raise UnsupportedModelError(
                f"{cursor.path}: the tensor {stored.tensor.name} is not part of a LLaMA model.",
                "Files of other architectures in the old ggml format do not open: look for the model as GGUF.",
            )
        if name in tensors:
            raise cursor.error(f"the tensor {stored.tensor.name} is there twice.")
        if name:
            tensors[name] = replace(stored, tensor=replace(stored.tensor, name=name))
    raise cursor.error(f"it has more than {MAX_TENSORS} tensors.")


def _stored_tensor(cursor: Cursor, container: Container) -> StoredTensor:
    name, dims, type_id = _tensor_head(cursor)
    layout = type_of(container.era, type_id)
    if layout is None:
        what = {4: "Q4_2", 5: "Q4_3"}.get(type_id, f"the type {type_id}")
        raise UnsupportedModelError(
            f"{cursor.path}: {name} is stored as {what}, which a {container.name} file cannot be read with here.",
            "Fetch the model in another quantization, such as Q4_0, or as GGUF.",
        )
    kind, block_bytes = layout
    if dims[0] % kind.block_size:
        raise cursor.error(f"{name} has rows of {dims[0]}, not a multiple of {kind.name}'s block of {kind.block_size}.")
    if container.aligned:
        cursor.align(ALIGNMENT)
    shape = tuple(reversed(dims))
    n_bytes = kind.row_bytes(dims[0]) * (shape[0] if len(shape) > 1 else 1)
    tensor = TensorInfo(name, shape, kind, cursor.path, cursor.at, n_bytes)
    stored = StoredTensor(tensor, container.era, block_bytes)
    cursor.need(stored.n_bytes, name)
    cursor.at += stored.n_bytes
    return stored
