"""Names that differ from those of other models: norms of Falcon-H1 and PLaMo, which do not say that they are weights.

And CodeShell's embedding, which its first files have under the name of the output alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from itertools import chain

from engine.checkpoints.checkpoint import TensorInfo

_EMBEDDING = "token_embd.weight"

_BARE = {
    "falcon-h1": ("ffn_norm",),
    "plamo2": ("post_attention_norm", "post_ffw_norm", "ssm_dt_norm", "ssm_b_norm", "ssm_c_norm"),
    "plamo3": ("post_attention_norm", "post_ffw_norm"),
}
"""By architecture."""

_NAMES = re.compile(rf"blk\.\d{{1,4}}\.({'|'.join(sorted({*chain(*_BARE.values())}))})")


def with_usual_names(tensors: Mapping[str, TensorInfo], architecture: object) -> dict[str, TensorInfo]:
    """The same tensors under the names that other models have for theirs."""
    output = tensors.get("output.weight")
    if architecture == "codeshell" and output is not None and _EMBEDDING not in tensors:
        tensors = {_EMBEDDING: replace(output, name=_EMBEDDING), **tensors}
    named = {name: f"{name}.weight" if _NAMES.fullmatch(name) else name for name in tensors}
    return {named[name]: replace(tensor, name=named[name]) for name, tensor in tensors.items()}


def written_name(name: str, architecture: object) -> str:
    """The name that a tensor has in a file of this architecture."""
    bare = name.removesuffix(".weight")
    found = _NAMES.fullmatch(bare)
    return bare if found and isinstance(architecture, str) and found[1] in _BARE.get(architecture, ()) else name
