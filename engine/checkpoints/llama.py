"""LLaMA under Meta's names: its parts for several GPUs joined, and what its files leave unsaid.

Source: llama/model.py in Meta's llama repository; how parts join: convert.py in the llama.cpp repository.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from engine.checkpoints.checkpoint import TensorInfo
from engine.checkpoints.derived import joined_columns, joined_rows
from engine.errors import ModelFileError

_JOINED_BY_COLUMNS = ("token_embd.", ".attn_output.", ".ffn_down.")
_LLAMA_2 = re.compile(r"llama-?2|llama-?v2", re.IGNORECASE)
_CODE_LLAMA = re.compile(r"code-?llama", re.IGNORECASE)

LARGEST_DIM_OF_30B = 6656
LLAMA_THETA, CODE_LLAMA_THETA, LLAMA_3_THETA = 10_000.0, 1_000_000.0, 500_000.0
_CONTEXT_BY_THETA = {CODE_LLAMA_THETA: 16_384, LLAMA_3_THETA: 8192}


def join_parts(parts: Sequence[Mapping[str, TensorInfo]], dim: int) -> dict[str, TensorInfo]:
    """Whole tensors of a model that was split for several GPUs; dim is the width of its residual stream.

    Raises ModelFileError where the parts do not make a whole.
    """
    if "token_embd.weight" not in parts[0]:
        path = next(iter(parts[0].values())).path
        raise ModelFileError(f"{path}: the embedding tok_embeddings.weight is missing.", "Fetch the file again.")
    whole = {name: _joined(name, [_of_part(part, name, parts[0]) for part in parts], dim) for name in parts[0]}
    for part in parts:
        for name in part.keys() - parts[0].keys():
            raise ModelFileError(f"{part[name].path}: {name} is not in the first part.", "Fetch all parts again.")
    embedding = whole["token_embd.weight"]
    if len(embedding.shape) != 2 or embedding.shape[1] != dim:
        raise ModelFileError(
            f"{embedding.path}: the embedding has the shape {embedding.shape}, its rows should be of {dim}.",
            "A part of the model may be missing: put all of them into one folder.",
        )
    return whole


def _of_part(part: Mapping[str, TensorInfo], name: str, first: Mapping[str, TensorInfo]) -> TensorInfo:
    if name not in part:
        path = next(iter(part.values())).path if part else first[name].path
        raise ModelFileError(f"{path}: {name} is missing, which the first part has.", "Fetch all parts again.")
    return part[name]


def _joined(name: str, parts: list[TensorInfo], dim: int) -> TensorInfo:
    first = parts[0]
    if len(parts) == 1 or len(first.shape) == 1:
        return first
    by_columns = any(mark in name for mark in _JOINED_BY_COLUMNS)
    if name.startswith("token_embd.") and first.shape[1] == dim:
        by_columns = False
    return joined_columns(name, parts) if by_columns else joined_rows(name, parts)


def llama_metadata(
    tensors: Mapping[str, TensorInfo],
    path: Path,
    *,
    dim: int,
    n_layers: int,
    n_heads: int,
    norm_eps: float | None = None,
    rope_theta: float | None = None,
) -> dict[str, object]:
    """Keys of a GGUF for a LLaMA model of Meta's names.

    What the files do not say is known of the models: LLaMA reads 2048 tokens, its norms have 1e-6 but 65B's 1e-5;
    Llama 2 reads 4096 with 1e-5; Code Llama 16384 and Llama 3 8192, and they turn by other bases. norm_eps, rope_theta:
    None where the format has no place for them.
    """
    if rope_theta is None:
        rope_theta = CODE_LLAMA_THETA if _is_named(path, _CODE_LLAMA) else LLAMA_THETA
    head_dim = dim // n_heads
    n_kv_heads = _rows(tensors, "blk.0.attn_k.weight", dim) // head_dim or n_heads
    is_llama_2 = _is_llama_2(path, dim, n_heads, n_kv_heads, norm_eps)
    if norm_eps is None:
        norm_eps = 1e-5 if is_llama_2 or dim > LARGEST_DIM_OF_30B else 1e-6
    context = _CONTEXT_BY_THETA.get(rope_theta, 4096 if is_llama_2 else 2048)
    return {
        "general.architecture": "llama",
        "llama.context_length": context,
        "llama.embedding_length": dim,
        "llama.block_count": n_layers,
        "llama.feed_forward_length": _rows(tensors, "blk.0.ffn_gate.weight", 1),
        "llama.attention.head_count": n_heads,
        "llama.attention.head_count_kv": n_kv_heads,
        "llama.attention.layer_norm_rms_epsilon": norm_eps,
        "llama.rope.dimension_count": head_dim,
        "llama.rope.freq_base": rope_theta,
    }


def llama_3_divisors(
    rope_dim: int, theta: float, factor: float, original: float = 8192, low: float = 1, high: float = 4
) -> list[float]:
    """What Llama 3.1 and later divide rotary frequencies by.

    Waves that fit the original context less than `low` times are slowed by the factor, those that fit it more than
    `high` times stay, and between the two it is blended.
    """
    divisors = []
    for i in range(rope_dim // 2):
        wavelength = 2 * math.pi * theta ** (2 * i / rope_dim)
        blend = min(1.0, max(0.0, (original / wavelength - low) / (high - low)))
        divisors.append(1 / ((1 - blend) / factor + blend))
    return divisors


def _is_llama_2(path: Path, dim: int, n_heads: int, n_kv_heads: int, norm_eps: float | None) -> bool:
    """Whether it is the second LLaMA: by its name, its grouped heads, or a norm that only the first's largest had."""
    named = _is_named(path, _LLAMA_2) or _is_named(path, _CODE_LLAMA)
    return named or n_kv_heads != n_heads or (norm_eps is not None and norm_eps > 2e-6 and dim <= LARGEST_DIM_OF_30B)


def _is_named(path: Path, pattern: re.Pattern[str]) -> bool:
    return any(pattern.search(name) for name in (path.name, path.parent.name))


def _rows(tensors: Mapping[str, TensorInfo], name: str, default: int) -> int:
    return tensors[name].shape[0] if name in tensors else default
