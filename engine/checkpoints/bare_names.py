"""Falcon-H1's norms, whose names in a GGUF do not say that they are weights."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from engine.checkpoints.checkpoint import TensorInfo

_BARE = re.compile(r"blk\.\d{1,4}\.ffn_norm")
_ARCHITECTURE = "falcon-h1"


def with_endings(tensors: Mapping[str, TensorInfo]) -> dict[str, TensorInfo]:
    """The same tensors under the names that other models have for theirs."""
    named = {name: f"{name}.weight" if _BARE.fullmatch(name) else name for name in tensors}
    return {named[name]: replace(tensor, name=named[name]) for name, tensor in tensors.items()}


def written_name(name: str, architecture: object) -> str:
    """The name that a tensor has in a file of this architecture."""
    bare = name.removesuffix(".weight")
    return bare if architecture == _ARCHITECTURE and _BARE.fullmatch(bare) else name
