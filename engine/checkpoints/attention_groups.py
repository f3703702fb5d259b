"""Queries, keys and values that lie in one tensor group by group: the queries that share a key, it, and its value.

Source: GPT-NeoX and BLOOM, where each group has one query, Falcon and InternLM 2 in the transformers repository. In
Baichuan, Ling and the first Qwen they lie one below the other.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

from engine.checkpoints.checkpoint import TensorInfo
from engine.checkpoints.head_order import columns_of_heads, rows_of_heads
from engine.checkpoints.limits import MAX_HEADS, MAX_WIDTH
from engine.checkpoints.metadata import Metadata
from engine.checkpoints.names import without_prefixes
from engine.errors import ModelFileError

_GROUPED = {
    "gptneox": "attention.query_key_value",
    "falcon": "self_attention.query_key_value",
    "bloom": "self_attention.query_key_value",
    "internlm2": "attention.wqkv",
    "baichuan": "self_attn.W_pack",
    "bailingmoe": "attention.query_key_value",
    "qwen2": "attn.c_attn",
}
"""By architecture, the part of a layer that has all three."""

_IN_THREE = ("internlm2", "baichuan", "bailingmoe", "qwen2")
"""Where GGUF has a tensor each."""

_IN_ORDER = ("baichuan", "bailingmoe", "qwen2")
"""Where all queries come first, then all keys. In the first Qwen, that is: its second has a tensor each."""

_LAYER = re.compile(r"(?:layers|h)\.(\d{1,4})\.(.+)\.(weight|bias)")


def groups_apart(foreign_name: str, tensor: TensorInfo, metadata: Metadata) -> list[TensorInfo] | None:
    """What GGUF has for such a tensor, rows still in the order of rotary pairs; None for a tensor of another kind.

    Raises ModelFileError for sizes that do not fit.
    """
    found, arch = _LAYER.fullmatch(without_prefixes(foreign_name)), metadata.text("general.architecture")
    if found is None or found[2] != _GROUPED.get(arch):
        return None
    n_heads = metadata.integer(f"{arch}.attention.head_count", low=1, high=MAX_HEADS)
    n_groups = metadata.integer(f"{arch}.attention.head_count_kv", n_heads, low=1, high=MAX_HEADS)
    dim = metadata.integer(f"{arch}.embedding_length", low=1, high=MAX_WIDTH)
    width = metadata.integer(f"{arch}.attention.key_length", dim // n_heads, low=1, high=MAX_WIDTH)
    n_all = n_heads + 2 * n_groups
    if n_heads % n_groups or len(tensor.shape) > 2 or tensor.shape[0] != n_all * width:
        raise ModelFileError(
            f"{tensor.path}: {tensor.name}, of shape {tensor.shape}, is not {n_heads} heads of {width} with keys and "
            f"values for {n_groups}.",
            "The configuration and the weights disagree: fetch both again.",
        )
    parts = list(_in_order(n_heads, n_groups) if arch in _IN_ORDER else _parts(n_heads, n_groups))
    names = ["attn_q", "attn_k", "attn_v"]
    if arch not in _IN_THREE:
        parts, names = [[head for part in parts for head in part]], ["attn_qkv"]
    return [
        replace(_heads(tensor, width, n_all, order), name=f"blk.{int(found[1])}.{name}.{found[3]}")
        for name, order in zip(names, parts, strict=True)
    ]


def _parts(n_heads: int, n_groups: int) -> Iterator[list[int]]:
    """Where the queries lie, the keys, and the values: by the number of the head in the tensor."""
    queries = n_heads // n_groups
    group = queries + 2
    yield [i * group + j for i in range(n_groups) for j in range(queries)]
    yield [i * group + queries for i in range(n_groups)]
    yield [i * group + queries + 1 for i in range(n_groups)]


def _in_order(n_heads: int, n_groups: int) -> Iterator[list[int]]:
    """The same where the three lie one below the other."""
    ends = (0, n_heads, n_heads + n_groups, n_heads + 2 * n_groups)
    yield from (list(range(begin, end)) for begin, end in pairwise(ends))


def _heads(tensor: TensorInfo, width: int, n_all: int, order: list[int]) -> TensorInfo:
    if len(tensor.shape) == 1:
        return columns_of_heads(tensor, n_all, order)
    return rows_of_heads(tensor, 0, width, order)
