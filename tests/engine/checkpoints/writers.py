"""Tiny LLaMA models, written in every layout that they were ever given out in."""

from __future__ import annotations

import json
import pickle
import struct
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter
from gguf.quants import quantize

Tensors = dict[str, np.ndarray]
Piece = tuple[str, float, int]

FIRST_MERGE = 259
META_NAMES = {
    "token_embd": "tok_embeddings",
    "output_norm": "norm",
    "output": "output",
    "attn_q": "attention.wq",
    "attn_k": "attention.wk",
    "attn_v": "attention.wv",
    "attn_output": "attention.wo",
    "attn_norm": "attention_norm",
    "ffn_gate": "feed_forward.w1",
    "ffn_down": "feed_forward.w2",
    "ffn_up": "feed_forward.w3",
    "ffn_norm": "ffn_norm",
}
HUGGING_FACE_NAMES = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_norm": "input_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_down": "mlp.down_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_norm": "post_attention_layernorm",
}
COLUMN_SPLIT = ("token_embd", "attn_output", "ffn_down")
STORAGES = {"float16": "HalfStorage", "float32": "FloatStorage", "bfloat16": "BFloat16Storage"}


@dataclass
class TinyLlama:
    """A model of random weights under GGUF's names. pieces: its vocabulary, without special tokens at the end."""

    pieces: Sequence[Piece] = field(repr=False)
    dim: int = 256
    n_heads: int = 8
    n_layers: int = 2
    hidden_dim: int = 512
    seed: int = 1
    norm_eps: float = 1e-6
    tensors: Tensors = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if self.tensors:
            return
        rng = np.random.default_rng(self.seed)
        n_vocab, dim, hidden = len(self.pieces), self.dim, self.hidden_dim
        shapes: dict[str, tuple[int, ...]] = {"token_embd": (n_vocab, dim), "output_norm": (dim,)}
        shapes["output"] = (n_vocab, dim)
        for layer in range(self.n_layers):
            block = f"blk.{layer}."
            shapes |= {block + name: (dim, dim) for name in ("attn_q", "attn_k", "attn_v", "attn_output")}
            shapes |= {block + name: (dim,) for name in ("attn_norm", "ffn_norm")}
            shapes |= {block + name: (hidden, dim) for name in ("ffn_gate", "ffn_up")}
            shapes[block + "ffn_down"] = (dim, hidden)
        for name, shape in shapes.items():
            weights = rng.standard_normal(shape, np.float32)
            scaled = 1 + weights * np.float32(0.1) if len(shape) == 1 else weights * np.float32(0.15)
            self.tensors[name] = scaled.astype(np.float16).astype(np.float32)

    def with_tensors(self, tensors: Tensors) -> TinyLlama:
        return TinyLlama(
            self.pieces, self.dim, self.n_heads, self.n_layers, self.hidden_dim, self.seed, self.norm_eps, tensors
        )

    def stored(self, type_name: str) -> Tensors:
        """Matrices as bytes of a type, vectors as float32."""
        if type_name in ("F16", "F32"):
            kind = np.float16 if type_name == "F16" else np.float32
            return {name: t if t.ndim == 1 else t.astype(kind) for name, t in self.tensors.items()}
        kind = GGMLQuantizationType[type_name]
        return {name: t if t.ndim == 1 else quantize(t, kind) for name, t in self.tensors.items()}


def pieces_of(spm_pieces: Sequence[Sequence[Any]], count: int = 696) -> list[Piece]:
    """LLaMA-like: three special tokens, 256 bytes, then pieces in the order of their merges."""
    return [
        (text, float(-(id_ - FIRST_MERGE)) if kind == 1 else 0.0, kind)
        for id_, (text, _, kind) in enumerate(spm_pieces[:count])
    ]


def write_gguf(path: Path, model: TinyLlama, type_name: str, *, context: int = 2048, name: str | None = None) -> Path:
    """The twin that everything is compared with, by the reference writer."""
    writer = GGUFWriter(path, "llama")
    if name is not None:
        writer.add_name(name)
    writer.add_context_length(context)
    writer.add_embedding_length(model.dim)
    writer.add_block_count(model.n_layers)
    writer.add_feed_forward_length(model.hidden_dim)
    writer.add_head_count(model.n_heads)
    writer.add_head_count_kv(model.n_heads)
    writer.add_layer_norm_rms_eps(model.norm_eps)
    writer.add_rope_dimension_count(model.dim // model.n_heads)
    writer.add_tokenizer_model("llama")
    writer.add_token_list([text for text, _, _ in model.pieces])
    writer.add_token_scores([score for _, score, _ in model.pieces])
    writer.add_token_types([kind for _, _, kind in model.pieces])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    for tensor_name, tensor in model.stored(type_name).items():
        kind = None if tensor.dtype != np.uint8 else GGMLQuantizationType[type_name]
        writer.add_tensor(f"{tensor_name}.weight", tensor, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def foreign_name(name: str, names: Mapping[str, str], prefix: str = "") -> str:
    """GGUF's name in another's words."""
    if not name.startswith("blk."):
        return f"{names[name]}.weight"
    _, layer, part = name.split(".")
    return f"{prefix}layers.{layer}.{names[part]}.weight"


def split(name: str, tensor: np.ndarray, n_parts: int) -> list[np.ndarray]:
    """A tensor for several GPUs, as Meta cut them."""
    if tensor.ndim == 1 or n_parts == 1:
        return [tensor] * n_parts
    axis = 1 if name.rsplit(".", 1)[-1] in COLUMN_SPLIT else 0
    return [np.ascontiguousarray(part) for part in np.split(tensor, n_parts, axis)]


@dataclass(frozen=True)
class Ggml:
    """A container. era: 1 nibbles in pairs and f32 scales, 2 nibbles in halves and f32 scales, 3 as GGUF."""

    magic: bytes
    version: int | None
    has_scores: bool
    aligned: bool
    era: int
    row_wise: bool = False


BARE = Ggml(b"", None, False, False, 1)
GGML = Ggml(b"lmgg", None, False, False, 1)
GGML_ROWS = Ggml(b"lmgg", None, False, False, 1, row_wise=True)
GGMF = Ggml(b"fmgg", 1, True, False, 1)
GGJT1, GGJT2, GGJT3 = (Ggml(b"tjgg", version, True, True, version) for version in (1, 2, 3))

FTYPES = {"F32": 0, "F16": 1, "Q4_0": 2, "Q4_1": 3, "Q8_0": 7, "Q5_0": 8, "Q5_1": 9, "Q4_K": 14, "Q6_K": 18}
TYPE_IDS = {"F32": 0, "F16": 1, "Q4_0": 2, "Q4_1": 3, "Q5_0": 6, "Q5_1": 7, "Q8_0": 8, "Q4_K": 12, "Q6_K": 14}
HALVES = {"Q4_0": 1, "Q4_1": 2, "Q5_0": 1, "Q5_1": 2, "Q8_0": 1}
"""How many f16 numbers a block of GGUF begins with."""


def old_blocks(rows: np.ndarray, type_name: str, container: Ggml) -> np.ndarray:
    """GGUF's rows as the container had them, one nibble at a time: slow and obvious."""
    if container.era == 3 or type_name not in HALVES:
        return rows
    block_bytes = {"Q4_0": 18, "Q4_1": 20, "Q5_0": 22, "Q5_1": 24, "Q8_0": 34}[type_name]
    blocks = rows.reshape(len(rows), -1, block_bytes)
    cut = 2 * HALVES[type_name]
    scales, rest = np.ascontiguousarray(blocks[:, :, :cut]), blocks[:, :, cut:]
    if not type_name.startswith("Q5"):
        scales = scales.view(np.float16).astype(np.float32).view(np.uint8)
    if type_name != "Q8_0" and container.era == 1:
        rest = np.concatenate([rest[:, :, :-16], in_pairs(rest[:, :, -16:])], axis=2)
    if container.row_wise:
        numbers = scales.view(np.float32)
        order = range(numbers.shape[2] - 1, -1, -1)
        parts = [np.ascontiguousarray(numbers[:, :, i]).view(np.uint8) for i in order]
        return np.concatenate([*parts, rest.reshape(len(rows), -1)], axis=1)
    return np.concatenate([scales, rest], axis=2).reshape(len(rows), -1)


def in_pairs(halves: np.ndarray) -> np.ndarray:
    """Nibbles as byte j = elements 2j (low) and 2j + 1 (high), from byte j = elements j and j + 16."""
    elements = [halves[..., j] & 15 for j in range(16)] + [halves[..., j] >> 4 for j in range(16)]
    return np.stack([elements[2 * j] | elements[2 * j + 1] << 4 for j in range(16)], axis=-1)


def ggml_text(piece: Piece, id_: int) -> bytes:
    """A token as these files have it."""
    text, _, kind = piece
    if id_ == 0:
        return " \u2047 ".encode()
    if kind == 3:
        return b""
    return bytes([int(text[3:5], 16)]) if kind == 6 else text.replace("\u2581", " ").encode()


def write_ggml(
    path: Path, model: TinyLlama, type_name: str, container: Ggml, *, n_parts: int = 1, n_vocab: int | None = None
) -> Path:
    """Write a ggml model; n_vocab: what the header says, if it says something else than there is."""
    stored = model.stored(type_name)
    for number in range(n_parts):
        out = bytearray(container.magic)
        if container.version is not None:
            out += struct.pack("<i", container.version)
        rope_dim = model.dim // model.n_heads
        out += struct.pack(
            "<7i",
            n_vocab or len(model.pieces),
            model.dim,
            256,
            model.n_heads,
            model.n_layers,
            rope_dim,
            FTYPES[type_name],
        )
        for id_, piece in enumerate(model.pieces):
            text = ggml_text(piece, id_)
            out += struct.pack("<I", len(text)) + text
            if container.has_scores:
                out += struct.pack("<f", piece[1])
        for name, tensor in stored.items():
            kind = "F32" if tensor.ndim == 1 else type_name
            part = split(name, model.tensors[name], n_parts)[number]
            columns, rows = part.shape[-1], len(part)
            if n_parts == 1:
                data = tensor if kind in ("F32", "F16") else old_blocks(tensor, kind, container)
            elif kind in ("F32", "F16"):
                data = part.astype(np.float16 if kind == "F16" else np.float32)
            else:
                data = old_blocks(quantize(part, GGMLQuantizationType[kind]), kind, container)
            foreign = foreign_name(name, META_NAMES).encode()
            dims = [columns] if part.ndim == 1 else [columns, rows]
            out += struct.pack("<3i", len(dims), len(foreign), TYPE_IDS[kind]) + struct.pack(f"<{len(dims)}i", *dims)
            out += foreign
            if container.aligned:
                out += bytes(-len(out) % 32)
            out += data.tobytes()
        target = path.with_name(f"{path.name}.{number}") if number else path
        target.write_bytes(out)
    return path


def text_op(text: str) -> bytes:
    raw = text.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def int_op(value: int) -> bytes:
    if -(2**31) <= value < 2**31:
        return b"J" + struct.pack("<i", value)
    raw = value.to_bytes(9, "little", signed=True)
    return b"\x8a" + bytes([len(raw)]) + raw


def tensor_op(key: str, storage: str, shape: Sequence[int], **changes: Any) -> bytes:
    """A tensor's instructions. changes: offset, strides, numel and what else is to be wrong."""
    strides = changes.get("strides", [int(np.prod(shape[i + 1 :])) for i in range(len(shape))])
    numel = changes.get("numel", int(np.prod(shape)))
    reference = b"(" + text_op("storage") + b"ctorch\n" + storage.encode() + b"\n"
    reference += text_op(key) + text_op("cpu") + int_op(numel) + changes.get("before_zip", b"") + b"tQ"
    sizes = b"(" + b"".join(map(int_op, shape)) + b"t"
    steps = b"(" + b"".join(map(int_op, strides)) + b"t"
    call = b"ctorch._utils\n_rebuild_tensor_v2\n(" + reference + int_op(changes.get("offset", 0)) + sizes + steps
    return call + b"\x89ccollections\nOrderedDict\n)RtR"


def state_pickle(items: Mapping[str, bytes]) -> bytes:
    """A state dictionary of these instructions."""
    body = b"".join(text_op(key) + value for key, value in items.items())
    return b"\x80\x02ccollections\nOrderedDict\n)R(" + body + b"u."


def write_zip(path: Path, files: Mapping[str, bytes], method: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def bf16(values: np.ndarray) -> np.ndarray:
    """float32 as the upper halves of its numbers, uint16."""
    return (np.ascontiguousarray(values, np.float32).view(np.uint32) >> 16).astype(np.uint16)


def write_torch(path: Path, tensors: Tensors) -> Path:
    """Tensors (uint16 stands for bfloat16) as torch.save writes them."""
    items, files = {}, {}
    for key, (name, tensor) in enumerate(tensors.items()):
        storage = STORAGES["bfloat16" if tensor.dtype == np.uint16 else str(tensor.dtype)]
        items[name] = tensor_op(str(key), storage, tensor.shape)
        files[f"archive/data/{key}"] = tensor.tobytes()
    return write_zip(path, {"archive/data.pkl": state_pickle(items), **files, "archive/version": b"3\n"})


def write_torch_before_zip(path: Path, tensors: Tensors, **changes: Any) -> Path:
    """The same as before PyTorch 1.6. changes: names, sizes of storages or what else is to be wrong."""
    items, storages = {}, []
    for key, (name, tensor) in enumerate(tensors.items(), start=93_985_734_215_984):
        storage = STORAGES["bfloat16" if tensor.dtype == np.uint16 else str(tensor.dtype)]
        items[name] = tensor_op(str(key), storage, tensor.shape, before_zip=changes.get("view", b"N"))
        storages.append((str(key), tensor))
    storages.reverse()  # they lie in the order of their names, which is any
    names = changes.get("names", [name for name, _ in storages])
    system = {"protocol_version": 1001, "little_endian": changes.get("little_endian", True)}
    values = (0x1950A86A20F9469CFC6C, changes.get("version", 1001), system)
    head = b"".join(pickle.dumps(value, protocol=2) for value in values)
    content = [struct.pack("<q", tensor.size + changes.get("more", 0)) + tensor.tobytes() for _, tensor in storages]
    path.write_bytes(head + state_pickle(items) + pickle.dumps(names, protocol=2) + b"".join(content))
    return path


def write_meta(folder: Path, model: TinyLlama, *, n_parts: int = 1, brain_float: bool = False) -> Path:
    """Meta's layout, with the tokenizer in the folder above."""
    folder.mkdir(parents=True)
    for number in range(n_parts):
        tensors: Tensors = {}
        for name, tensor in model.tensors.items():
            part = split(name, tensor, n_parts)[number]
            tensors[foreign_name(name, META_NAMES)] = bf16(part) if brain_float else part.astype(np.float16)
        tensors["rope.freqs"] = np.zeros(model.dim // model.n_heads // 2, np.float16)
        write_torch(folder / f"consolidated.{number:02d}.pth", tensors)
    params = {"dim": model.dim, "multiple_of": 256, "n_heads": model.n_heads, "n_layers": model.n_layers}
    (folder / "params.json").write_text(json.dumps(params | {"norm_eps": model.norm_eps, "vocab_size": -1}))
    write_tokenizer(folder.parent / "tokenizer.model", model.pieces)
    return folder


def from_rotary_order(weight: np.ndarray, n_heads: int) -> np.ndarray:
    """Rows in GGUF's order as Hugging Face has them: the first of each pair, then the second."""
    rows = weight.reshape(n_heads, weight.shape[0] // n_heads // 2, 2, -1)
    return np.ascontiguousarray(rows.swapaxes(1, 2)).reshape(weight.shape)


def hugging_face_tensors(model: TinyLlama) -> Tensors:
    tensors = {}
    for name, tensor in model.tensors.items():
        turned = name.endswith(("attn_q", "attn_k"))
        value = from_rotary_order(tensor, model.n_heads) if turned else tensor
        tensors[foreign_name(name, HUGGING_FACE_NAMES, "model.")] = value.astype(np.float16)
    return tensors


def write_safetensors(path: Path, tensors: Tensors) -> Path:
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    at = 0
    for name, tensor in tensors.items():
        kind = {
            "float16": "F16",
            "float32": "F32",
            "uint16": "BF16",
            "float64": "F64",
            "uint8": "U8",
            "int8": "F8_E4M3",
            "int32": "I32",
        }[str(tensor.dtype)]
        header[name] = {"dtype": kind, "shape": list(tensor.shape), "data_offsets": [at, at + tensor.nbytes]}
        at += tensor.nbytes
    raw = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(raw)) + raw + b"".join(t.tobytes() for t in tensors.values()))
    return path


def write_hugging_face(
    folder: Path, model: TinyLlama, *, kind: str = "safetensors", n_parts: int = 1, tensors: Tensors | None = None
) -> Path:
    """A folder of Hugging Face's format. tensors: other ones than the model's."""
    folder.mkdir(parents=True)
    tensors = tensors if tensors is not None else hugging_face_tensors(model)
    names = list(tensors)
    stem, end, write = (
        ("model", "safetensors", write_safetensors) if kind == "safetensors" else ("pytorch_model", "bin", write_torch)
    )
    weight_map = {}
    for number in range(n_parts):
        file = f"{stem}.{end}" if n_parts == 1 else f"{stem}-{number + 1:05d}-of-{n_parts:05d}.{end}"
        write(folder / file, {name: tensors[name] for name in names[number::n_parts]})
        weight_map |= dict.fromkeys(names[number::n_parts], file)
    if n_parts > 1:
        (folder / f"{stem}.{end}.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    write_config(folder, model)
    write_tokenizer(folder / "tokenizer.model", model.pieces)
    return folder


def write_config(folder: Path, model: TinyLlama, **changes: Any) -> None:
    config = {
        "architectures": ["LlamaForCausalLM"],
        "hidden_size": model.dim,
        "intermediate_size": model.hidden_dim,
        "max_position_embeddings": 2048,
        "num_attention_heads": model.n_heads,
        "num_hidden_layers": model.n_layers,
        "rms_norm_eps": model.norm_eps,
        "vocab_size": len(model.pieces),
        "bos_token_id": 1,
        "eos_token_id": 2,
        "tie_word_embeddings": False,
    }
    (folder / "config.json").write_text(json.dumps(config | changes))


def write_tokenizer(path: Path, pieces: Sequence[Piece]) -> Path:
    """A SentencePiece model of the BPE kind."""

    def varint(value: int) -> bytes:
        out = bytearray()
        while value > 0x7F:
            out.append(value & 0x7F | 0x80)
            value >>= 7
        return bytes([*out, value])

    def message(number: int, content: bytes) -> bytes:
        return varint(number << 3 | 2) + varint(len(content)) + content

    out = b""
    for text, score, kind in pieces:
        piece = message(1, text.encode()) + b"\x15" + struct.pack("<f", score)
        out += message(1, piece + (b"" if kind == 1 else b"\x18" + varint(kind)))
    trainer = b"\x18\x02" + b"\x20" + varint(len(pieces)) + varint(35 << 3) + b"\x01"
    path.write_bytes(out + message(2, trainer) + message(3, message(1, b"identity") + b"\x18\x01"))
    return path
