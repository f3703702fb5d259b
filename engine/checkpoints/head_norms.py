"""Norms of queries and keys that have a tensor for each head, as StableLM 2 12B has them, and one for all heads."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from engine.checkpoints.checkpoint import TensorInfo
from engine.checkpoints.derived import joined_rows
from engine.errors import ModelFileError

_ONE = re.compile(r"(blk\.\d+\.attn_[qk]_norm)\.(\d{1,4})\.weight")


def join_head_norms(tensors: Mapping[str, TensorInfo]) -> dict[str, TensorInfo]:
    """The same tensors, but one `blk.0.attn_q_norm.weight` (heads, width) for all `blk.0.attn_q_norm.N.weight`.

    Raises ModelFileError where one is missing, or where they differ in shape or type.
    """
    joined: dict[str, TensorInfo] = {}
    apart: dict[str, dict[int, TensorInfo]] = {}
    for name, tensor in tensors.items():
        found = _ONE.fullmatch(name)
        if found is None:
            joined[name] = tensor
        else:
            apart.setdefault(f"{found[1]}.weight", {})[int(found[2])] = tensor
    for name, heads in apart.items():
        missing = next((head for head in range(len(heads)) if head not in heads), None)
        if missing is not None or name in joined:
            path = next(iter(heads.values())).path
            raise ModelFileError(f"{path}: the norms of heads {name} are not whole.", "Fetch all parts of the model.")
        rows = [replace(heads[head], shape=(1, *heads[head].shape)) for head in range(len(heads))]
        joined[name] = joined_rows(name, rows)
    return joined
