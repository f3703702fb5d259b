"""Model files for tests: byte by byte with whatever nonsense is wanted, or whole and tiny."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from engine.kernel_cache import use_kernel_cache
from engine.machine_code.compilers import dismiss

DATA = Path(__file__).parent / "data"
SHARED_CACHE = Path(__file__).parents[2] / ".cache"

UINT8, INT8, UINT16, INT16, UINT32, INT32, FLOAT32, BOOL, STRING, ARRAY, UINT64, INT64, FLOAT64 = range(13)
_FORMATS = {UINT8: "B", INT8: "b", UINT16: "H", INT16: "h", UINT32: "I", INT32: "i"}
_FORMATS |= {FLOAT32: "f", BOOL: "B", UINT64: "Q", INT64: "q", FLOAT64: "d"}


@pytest.fixture(scope="session", autouse=True)
def kernels() -> Iterator[None]:
    """Kernels are compiled once for the checkout, by processes that live as long as the tests."""
    use_kernel_cache(str(SHARED_CACHE / "engine"))
    yield
    dismiss()


@dataclass
class RawGguf:
    """A GGUF written field by field; every count and length can be a lie."""

    version: int = 3
    magic: bytes = b"GGUF"
    keys: list[bytes] = field(default_factory=list)
    infos: list[bytes] = field(default_factory=list)
    data: bytes = b""
    n_keys: int | None = None
    n_tensors: int | None = None
    alignment: int = 32

    def word(self, value: int) -> bytes:
        """A count or length: 32 bits in version 1, else 64."""
        return struct.pack("<I" if self.version == 1 else "<Q", value)

    def text(self, value: str | bytes, length: int | None = None) -> bytes:
        raw = value.encode() if isinstance(value, str) else value
        return self.word(len(raw) if length is None else length) + raw

    def scalar(self, kind: int, value: Any) -> bytes:
        return self.text(value) if kind == STRING else struct.pack("<" + _FORMATS[kind], value)

    def key(self, name: str, kind: int, value: Any) -> RawGguf:
        return self.raw_key(name, kind, self.scalar(kind, value))

    def array(self, name: str, kind: int, values: list[Any], length: int | None = None) -> RawGguf:
        count = self.word(len(values) if length is None else length)
        content = b"".join(self.scalar(kind, value) for value in values)
        return self.raw_key(name, ARRAY, struct.pack("<I", kind) + count + content)

    def raw_key(self, name: str, kind: int, content: bytes) -> RawGguf:
        self.keys.append(self.text(name) + struct.pack("<I", kind) + content)
        return self

    def tensor(self, name: str, dims: list[int], kind: int = 0, offset: int = 0, n_dims: int | None = None) -> RawGguf:
        head = self.text(name) + struct.pack("<I", len(dims) if n_dims is None else n_dims)
        self.infos.append(head + b"".join(map(self.word, dims)) + struct.pack("<IQ", kind, offset))
        return self

    def header(self) -> bytes:
        n_keys = len(self.keys) if self.n_keys is None else self.n_keys
        n_tensors = len(self.infos) if self.n_tensors is None else self.n_tensors
        counts = self.word(n_tensors) + self.word(n_keys)
        return self.magic + struct.pack("<I", self.version) + counts + b"".join(self.keys + self.infos)

    def build(self) -> bytes:
        header = self.header()
        return header + bytes(-len(header) % self.alignment) + self.data

    def write(self, path: Path) -> Path:
        path.write_bytes(self.build())
        return path


@pytest.fixture
def raw_gguf() -> type[RawGguf]:
    """The class of files written field by field."""
    return RawGguf


@pytest.fixture(scope="session")
def spm_pieces() -> list[tuple[str, float, int]]:
    """A SentencePiece vocabulary: text, score and type of each of its 705 pieces."""
    return [tuple(piece) for piece in json.loads((DATA / "spm_vocabulary.json").read_text("utf-8"))]


@pytest.fixture(scope="session")
def spm_metadata(spm_pieces: list[tuple[str, float, int]]) -> dict[str, object]:
    """What a GGUF with that vocabulary says about it."""
    from array import array

    return {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": [piece[0] for piece in spm_pieces],
        "tokenizer.ggml.scores": array("f", [piece[1] for piece in spm_pieces]),
        "tokenizer.ggml.token_type": array("i", [piece[2] for piece in spm_pieces]),
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.unknown_token_id": 0,
    }


WriteModel = Callable[..., Path]


@pytest.fixture
def write_model(spm_pieces: list[tuple[str, float, int]]) -> WriteModel:
    """Write a whole tiny llama model by the reference writer: `write_model(path, **changes)`.

    set_keys, set_tensors: values to add or put in another's place, by name; None takes it out.
    """
    import numpy as np
    from gguf import GGUFWriter

    def write(
        path: Path,
        *,
        n_layers: int = 2,
        dim: int = 32,
        n_heads: int = 4,
        n_kv_heads: int = 2,
        hidden_dim: int = 64,
        set_keys: Mapping[str, object] | None = None,
        set_tensors: Mapping[str, Any] | None = None,
        seed: int = 0,
    ) -> Path:
        head_dim = dim // n_heads
        rng = np.random.default_rng(seed)
        n_tokens = len(spm_pieces)
        shapes: dict[str, tuple[int, ...]] = {"token_embd.weight": (n_tokens, dim), "output_norm.weight": (dim,)}
        for layer in range(n_layers):
            block = f"blk.{layer}."
            shapes |= {
                block + "attn_norm.weight": (dim,),
                block + "attn_q.weight": (dim, dim),
                block + "attn_k.weight": (n_kv_heads * head_dim, dim),
                block + "attn_v.weight": (n_kv_heads * head_dim, dim),
                block + "attn_output.weight": (dim, dim),
                block + "ffn_norm.weight": (dim,),
                block + "ffn_gate.weight": (hidden_dim, dim),
                block + "ffn_up.weight": (hidden_dim, dim),
                block + "ffn_down.weight": (dim, hidden_dim),
            }
        tensors = {name: rng.standard_normal(shape, np.float32) * np.float32(0.1) for name, shape in shapes.items()}
        keys: dict[str, object] = {
            "general.name": "tiny",
            "llama.block_count": n_layers,
            "llama.context_length": 128,
            "llama.embedding_length": dim,
            "llama.feed_forward_length": hidden_dim,
            "llama.attention.head_count": n_heads,
            "llama.attention.head_count_kv": n_kv_heads,
            "llama.attention.layer_norm_rms_epsilon": 1e-5,
            "llama.rope.dimension_count": head_dim,
            "general.file_type": 0,
            "tokenizer.ggml.model": "llama",
            "tokenizer.ggml.tokens": [piece[0] for piece in spm_pieces],
            "tokenizer.ggml.scores": [float(piece[1]) for piece in spm_pieces],
            "tokenizer.ggml.token_type": [piece[2] for piece in spm_pieces],
            "tokenizer.ggml.bos_token_id": 1,
            "tokenizer.ggml.eos_token_id": 2,
        }
        keys |= set_keys or {}
        tensors |= set_tensors or {}
        architecture = str(keys.pop("general.architecture", "llama"))
        writer = GGUFWriter(path, architecture)
        for name, value in keys.items():
            _add_key(writer, name, value)
        for name, tensor in tensors.items():
            if tensor is not None:
                writer.add_tensor(name, tensor)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return path

    return write


def _add_key(writer: Any, name: str, value: object) -> None:
    match value:
        case None:
            pass
        case bool():
            writer.add_bool(name, value)
        case int():
            writer.add_uint32(name, value)
        case float():
            writer.add_float32(name, value)
        case str():
            writer.add_string(name, value)
        case _:
            writer.add_array(name, value)
