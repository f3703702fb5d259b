"""Models in folders of Hugging Face's format: `config.json`, weights in one or many files, and a tokenizer."""

from __future__ import annotations

import re
from array import array
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from engine.checkpoints.attention_groups import groups_apart
from engine.checkpoints.checkpoint import Checkpoint, TensorInfo
from engine.checkpoints.delta_net_order import as_delta_net
from engine.checkpoints.derived import as_floats, constant_vector, rotary_order, turned_over, unit_rows
from engine.checkpoints.experts import stack_experts
from engine.checkpoints.finding import BY_AUTO_GPTQ
from engine.checkpoints.fused import as_beside_experts, taken_apart
from engine.checkpoints.head_norms import join_head_norms
from engine.checkpoints.huggingface_apertus import xielu_keys
from engine.checkpoints.huggingface_config import HuggingFaceConfig
from engine.checkpoints.huggingface_gemma3n import join_squares
from engine.checkpoints.huggingface_jais import with_jais_factors
from engine.checkpoints.huggingface_options import check_options
from engine.checkpoints.huggingface_recurrence import DELTA_NETS
from engine.checkpoints.huggingface_selective import SELECTIVE_SCANS
from engine.checkpoints.huggingface_state_space import STATE_SPACES
from engine.checkpoints.limits import MAX_WIDTH
from engine.checkpoints.metadata import Metadata
from engine.checkpoints.names import from_hugging_face, is_no_weight, layer_of
from engine.checkpoints.safetensors import read_safetensors
from engine.checkpoints.small_files import plain_name, read_json_object
from engine.checkpoints.state_space_tensors import as_selective_scan, as_state_space, with_factors
from engine.checkpoints.tokenizer_files import TokenizerFolder
from engine.checkpoints.torch_zip import read_torch
from engine.errors import ModelFileError, UnsupportedModelError

CONFIG = "config.json"
GPTQ_CONFIG = "quantize_config.json"
"""What AutoGPTQ wrote beside it, before its settings had a place there."""

MODELOPT_CONFIG = "hf_quant_config.json"
"""What NVIDIA's ModelOpt wrote beside it, before its settings had a place there."""

MLX_SETTINGS = "quantization"
"""Where MLX has its own, beside those of the weights that it quantised."""

_KINDS = (
    ("safetensors", "model.safetensors.index.json", "model.safetensors", re.compile(r"model-\d+-of-\d+\.safetensors")),
    ("PyTorch", "pytorch_model.bin.index.json", "pytorch_model.bin", re.compile(r"pytorch_model-\d+-of-\d+\.bin")),
)
"""What weights are kept in, the index of their files, the name of the one file, and names of several without index."""

_TURNED = {2: (".attn_q.weight", ".attn_k.weight"), 1: (".attn_q.bias", ".attn_k.bias")}
"""By their dimensions, the tensors whose rows lie in another order than GGUF's."""

_TURNING = (
    "llama",
    "mistral3",
    "smollm3",
    "granite",
    "granitemoe",
    "arcee",
    "minicpm",
    "deepseek",
    "internlm2",
    "granitehybrid",
    "olmo",
    "baichuan",
    "bailingmoe",
    "xverse",
    "nanbeige",
    "deci",
)
"""The architectures of which that is true. Source: llama.cpp's converter, whose classes for these permute both."""

_INPUTS_FIRST = ("gpt2", "jais")
"""The architectures whose layers' matrices lie with their inputs, not their outputs, one below the other."""

_SHIFTED_NORMS = ("gemma", "gemma2", "gemma3", "nemotron", *DELTA_NETS)
"""The architectures whose norms are stored as what they exceed 1 by; Gemma 4's are not. Source: the same."""


def open_hugging_face(folder: Path) -> Checkpoint:
    """Read the headers of a model in a folder."""
    config_path = folder / CONFIG
    settings, settings_files = _settings(config_path)
    config = HuggingFaceConfig(settings, config_path)
    check_options(config)
    kind, weight_files = find_weights(folder)
    weights = read_weights(weight_files)
    of_weights = xielu_keys(weights, config.n_layers) if config.architecture == "apertus" else {}
    keys = Metadata(config.metadata() | of_weights, config_path)
    if config.unpack is not None:
        weights = config.unpack({name: each for name, each in weights.items() if not is_no_weight(name)})
    tensors = _translated(weights, config, keys)
    if "token_embd.weight" not in tensors or len(tensors["token_embd.weight"].shape) != 2:
        raise ModelFileError(f"{folder}: the embedding model.embed_tokens.weight is missing.", "Fetch all files again.")
    for name, divisors in config.rope_divisors().items():
        tensors[name] = constant_vector(name, divisors, config_path)
    n_vocab = tensors["token_embd.weight"].shape[0]
    by_characters = config.architecture == "gemma4"
    tokenizer, tokenizer_files = TokenizerFolder(folder, config.values, by_characters).metadata(n_vocab)
    metadata = Metadata({"general.name": folder.absolute().name} | keys | tokenizer, folder)
    parts = f", {len(weight_files)} parts" if len(weight_files) > 1 else ""
    files = (*weight_files, *settings_files, *tokenizer_files)
    return Checkpoint(folder, f"Hugging Face ({kind}){parts}", metadata, tensors, files)


def _settings(config_path: Path) -> tuple[dict[str, Any], tuple[Path, ...]]:
    """The configuration, and its files: how weights are quantised stands beside it where it does not say."""
    values, beside = read_json_object(config_path), config_path.with_name(GPTQ_CONFIG)
    if isinstance(values.get(MLX_SETTINGS), dict):
        return values | {"quantization_config": values[MLX_SETTINGS]}, (config_path,)
    if values.get("quantization_config") is None and (modelopt := config_path.with_name(MODELOPT_CONFIG)).is_file():
        how = read_json_object(modelopt).get("quantization")
        given = how if isinstance(how, dict) else {}
        return values | {"quantization_config": given | {"quant_method": "modelopt"}}, (config_path, modelopt)
    if values.get("quantization_config") is not None or not beside.is_file():
        return values, (config_path,)
    values["quantization_config"] = {"quant_method": "gptq", **read_json_object(beside)}
    return values, (config_path, beside)


def find_weights(folder: Path) -> tuple[str, list[Path]]:
    """What a folder's weights are kept in, and their files in order: by the index, or by their names."""
    for kind, index, single, numbered in _KINDS:
        if (folder / index).is_file():
            return kind, _indexed(folder / index)
        if (folder / single).is_file():
            return kind, [folder / single]
        found = sorted(path for path in folder.iterdir() if numbered.fullmatch(path.name) and path.is_file())
        if found:
            return kind, _all_of(found)
    named = sorted(path for path in folder.iterdir() if BY_AUTO_GPTQ.fullmatch(path.name) and path.is_file())
    if len(named) > 1:
        names = ", ".join(path.name for path in named)
        raise ModelFileError(f"{folder} has {len(named)} models: {names}.", "Leave one of them there.")
    if named:
        return "safetensors", named
    raise ModelFileError(f"{folder} has no weights: no {_KINDS[0][2]}, no {_KINDS[1][2]}.", "Fetch the whole model.")


def _indexed(index: Path) -> list[Path]:
    weight_map = read_json_object(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise ModelFileError(f"{index} has no weight_map.", "Fetch the file again.")
    names = sorted({plain_name(name, index) for name in weight_map.values()})
    paths = [index.with_name(name) for name in names]
    for path in paths:
        if not path.is_file():
            raise ModelFileError(f"{path} is missing, which {index.name} names.", "Fetch all parts of the model.")
    return paths


def _all_of(found: list[Path]) -> list[Path]:
    """Numbered files, of which none may be missing."""
    count = int(re.findall(r"\d+", found[0].name)[-1])
    if len(found) != count:
        raise ModelFileError(
            f"{found[0].parent} has {len(found)} of {count} parts of the model.", "Fetch all parts into one folder."
        )
    return found


def read_weights(files: list[Path]) -> dict[str, TensorInfo]:
    """All tensors of some files under the names that they have there."""
    tensors: dict[str, TensorInfo] = {}
    for file in files:
        for name, tensor in read_weight_file(file).items():
            if name in tensors:
                raise ModelFileError(
                    f"{file}: {name} is also in {tensors[name].path.name}.", "The parts are of different models."
                )
            tensors[name] = tensor
    return tensors


def read_weight_file(path: Path) -> dict[str, TensorInfo]:
    """The tensors of a safetensors or PyTorch file."""
    return read_safetensors(path) if path.suffix == ".safetensors" else read_torch(path)


def _translated(foreign: Mapping[str, TensorInfo], config: HuggingFaceConfig, keys: Metadata) -> dict[str, TensorInfo]:
    tensors: dict[str, TensorInfo] = {}
    for foreign_name, tensor in foreign.items():
        if is_no_weight(foreign_name) or layer_of(foreign_name) in config.guessing_layers:
            continue
        parts = taken_apart(foreign_name, foreign, keys)
        if parts is None and (heads := groups_apart(foreign_name, tensor, keys)) is not None:
            parts = [as_gguf(part, keys) for part in heads]
        if parts is not None:
            tensors |= {part.name: part for part in parts}
            continue
        name = from_hugging_face(foreign_name, config.architecture)
        if name is None:
            raise UnsupportedModelError(
                f"{tensor.path}: the tensor {foreign_name} is not part of a {config.architecture} model as known here.",
                "Choose the model as GGUF, or another one.",
            )
        if _has_inputs_first(tensor, foreign_name, config):
            tensor = turned_over(tensor)
        if name == "output.weight" and config.unit_output:
            tensor = unit_rows(tensor)
        if name != "output.weight" or not config.tied:
            translated = as_gguf(replace(tensor, name=name), keys)
            tensors[translated.name] = translated
    return stack_experts(join_head_norms(join_squares(_multiplied(tensors, config, keys))))


def _multiplied(tensors: dict[str, TensorInfo], config: HuggingFaceConfig, keys: Metadata) -> dict[str, TensorInfo]:
    """The tensors multiplied by factors of the configuration that GGUF has no keys for."""
    if config.architecture == "jais":
        return with_jais_factors(tensors, config.values)
    if config.architecture == "falcon-h1":
        return with_factors(tensors, config.values, keys)
    return tensors


def _has_inputs_first(tensor: TensorInfo, foreign_name: str, config: HuggingFaceConfig) -> bool:
    """Whether it is a layer's matrix of such an architecture; what is packed lies as in any other."""
    is_whole = len(tensor.shape) == 2 and config.unpack is None
    return config.architecture in _INPUTS_FIRST and layer_of(foreign_name) >= 0 and is_whole


def as_gguf(tensor: TensorInfo, metadata: Metadata) -> TensorInfo:
    """A tensor that has GGUF's name already as GGUF has it, in a model of these keys.

    In LLaMA and its like the rows of queries and keys have another order, some norms are stored as what they exceed 1
    by, convolutions have a dimension of 1 more; for delta nets, see delta_net_order.py.
    """
    tensor = as_beside_experts(tensor, metadata)
    name, arch = tensor.name, metadata.text("general.architecture")
    if arch in _TURNING and name.endswith(_TURNED.get(len(tensor.shape), ())):
        key, layer = f"{arch}.attention.head_count", int(name.split(".")[1])
        n_heads = _number_in_layer(metadata, key, None, layer)
        if ".attn_k." in name:
            n_heads = _number_in_layer(metadata, f"{key}_kv", n_heads, layer)
        return rotary_order(tensor, n_heads)
    if name.endswith(".shortconv.conv.weight") and len(tensor.shape) == 3 and tensor.shape[1] == 1:
        return replace(tensor, shape=(tensor.shape[0], tensor.shape[2]))
    if arch in SELECTIVE_SCANS and name.startswith("blk."):
        return as_selective_scan(tensor)
    if arch in STATE_SPACES and name.startswith("blk."):
        return as_state_space(tensor, metadata)
    if arch in DELTA_NETS and name.startswith("blk."):
        tensor = as_delta_net(tensor, metadata)
    if arch in _SHIFTED_NORMS and name.endswith("norm.weight") and not name.endswith("ssm_norm.weight"):
        return as_floats(tensor, "F32", plus=1.0)
    return tensor


def _number_in_layer(metadata: Metadata, key: str, default: int | None, layer: int) -> int:
    """How many heads a layer has, where all may have the same number or each its own."""
    of_layers = metadata.get(key)
    if isinstance(of_layers, array) and layer < len(of_layers):
        metadata = Metadata({key: of_layers[layer]}, metadata.path)
    return metadata.integer(key, default, low=1, high=MAX_WIDTH)
