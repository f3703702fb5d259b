"""LLaMA models as Meta gave them out: `consolidated.NN.pth`, `params.json` and `tokenizer.model`, here or one up."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from engine.checkpoints.checkpoint import Checkpoint, TensorInfo
from engine.checkpoints.derived import constant_vector
from engine.checkpoints.limits import MAX_LAYERS, MAX_WIDTH
from engine.checkpoints.llama import join_parts, llama_3_divisors, llama_metadata
from engine.checkpoints.metadata import Metadata
from engine.checkpoints.names import from_meta, is_no_weight
from engine.checkpoints.small_files import read_json_object
from engine.checkpoints.tiktoken_model import is_tiktoken, tiktoken_metadata
from engine.checkpoints.tokenizer_files import sentencepiece_metadata
from engine.checkpoints.torch_zip import read_torch
from engine.errors import ModelFileError, UnsupportedModelError

SCALED_CONTEXT = 131_072
LARGEST_SMALL_DIM = 3072

_SIZE = re.compile(r"\d+[Bb]")
_SHARD = re.compile(r"consolidated\.\d\d\.pth")


def open_meta(folder: Path) -> Checkpoint:
    """Read the headers of all shards in a folder."""
    shards = _shard_paths(folder)
    params_path = folder / "params.json"
    params = Metadata(read_json_object(params_path), params_path)
    tokenizer = next((p for p in (folder / "tokenizer.model", folder.parent / "tokenizer.model") if p.is_file()), None)
    if tokenizer is None:
        raise ModelFileError(
            f"{folder} has no tokenizer.model, and the folder above it neither.",
            "Put the tokenizer.model that came with the model into this folder.",
        )
    dim = params.integer("dim", low=1, high=MAX_WIDTH)
    n_heads = params.integer("n_heads", low=1, high=dim)
    tensors = join_parts([_renamed(read_torch(shard)) for shard in shards], dim)
    metadata = llama_metadata(
        tensors,
        folder,
        dim=dim,
        n_layers=params.integer("n_layers", low=1, high=MAX_LAYERS),
        n_heads=n_heads,
        norm_eps=params.real("norm_eps", low=0.0, high=1.0),
        rope_theta=params.real("rope_theta", low=1.0, high=1e12) if "rope_theta" in params else None,
    )
    if params.flag("use_scaled_rope", False):
        metadata["llama.context_length"] = SCALED_CONTEXT
        tensors["rope_freqs.weight"] = constant_vector("rope_freqs.weight", _divisors(params, metadata), params_path)
    metadata |= _words(tokenizer, tensors["token_embd.weight"].shape[0]) | {"general.name": _name(folder.absolute())}
    parts = f", {len(shards)} parts" if len(shards) > 1 else ""
    files = (*shards, params_path, tokenizer)
    borrowed = frozenset({tokenizer} if tokenizer.parent != folder else ())
    return Checkpoint(folder, f"PyTorch (Meta){parts}", Metadata(metadata, folder), tensors, files, borrowed)


def _shard_paths(folder: Path) -> list[Path]:
    found = sorted(path for path in folder.iterdir() if _SHARD.fullmatch(path.name) and path.is_file())
    expected = [folder / f"consolidated.{number:02d}.pth" for number in range(len(found))]
    for path in expected:
        if path not in found:
            raise ModelFileError(f"{path} is missing.", "Put all parts of the model into one folder.")
    return found


def _words(path: Path, n_vocab: int) -> dict[str, object]:
    return tiktoken_metadata(path, n_vocab) if is_tiktoken(path) else sentencepiece_metadata(path, n_vocab, {})


def _divisors(params: Metadata, metadata: Mapping[str, object]) -> list[float]:
    """Of Llama 3.1 and 3.2; the small ones of 3.2 have another factor, which their files do not say."""
    is_small = params.integer("dim", low=1, high=MAX_WIDTH) <= LARGEST_SMALL_DIM
    factor = params.real("rope_scaling_factor", 32.0 if is_small else 8.0, low=1.0, high=1e6)
    keys = Metadata(metadata, params.path)
    rope_dim = keys.integer("llama.rope.dimension_count", low=1, high=MAX_WIDTH)
    return llama_3_divisors(rope_dim, keys.real("llama.rope.freq_base", low=1.0, high=1e12), factor)


def _name(folder: Path) -> str:
    """The folder's name; Meta's own are called after the size only."""
    return f"{folder.parent.name} {folder.name}" if _SIZE.fullmatch(folder.name) else folder.name


def _renamed(tensors: Mapping[str, TensorInfo]) -> dict[str, TensorInfo]:
    found: dict[str, TensorInfo] = {}
    for foreign, tensor in tensors.items():
        if is_no_weight(foreign):
            continue
        name = from_meta(foreign)
        if name is None:
            raise UnsupportedModelError(
                f"{tensor.path}: the tensor {foreign} is not part of a LLaMA model as Meta writes them.",
                "Look for the model in Hugging Face's format or as GGUF.",
            )
        found[name] = replace(tensor, name=name)
    return found
