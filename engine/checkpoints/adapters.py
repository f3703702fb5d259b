"""Reading LoRA adapters: Hugging Face's folders, llama.cpp's `ggla` files and GGUF; and finding their base models."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from engine.checkpoints.checkpoint import Checkpoint, TensorInfo
from engine.checkpoints.cursor import Cursor, open_cursor
from engine.checkpoints.derived import derived, read_floats
from engine.checkpoints.experts import matrices_of_stack, names_in_stack
from engine.checkpoints.huggingface import read_weight_file
from engine.checkpoints.limits import MAX_EXPERTS
from engine.checkpoints.lora import MAX_RANK, Adapter, LoraPair, lora_pair
from engine.checkpoints.metadata import Metadata
from engine.checkpoints.names import from_meta
from engine.checkpoints.small_files import read_json_object
from engine.checkpoints.tensor_types import TYPE_BY_ID, TYPE_BY_NAME
from engine.errors import ModelFileError, NeedsBaseError, UnsupportedModelError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

CONFIG = "adapter_config.json"
WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
GGLA_MAGIC = b"algg"
MAX_ALPHA = 1e6
MAX_NAME_BYTES = 256
MAX_TENSORS = 100_000

_PEFT_NAME = re.compile(r"(.+)\.lora_(A|B)(?:\.[^.]+)?\.weight")
_PEFT_PREFIX = "base_model.model."
_SAVED = re.compile(r"\.modules_to_save(\.[^.]+)?(?=\.weight$)")
_DAMAGED = "The adapter is damaged: fetch it again."


def read_adapter_folder(folder: Path) -> Adapter:
    """Hugging Face's format: `adapter_config.json` and `adapter_model.safetensors` or `.bin`."""
    config_path = folder / CONFIG
    config = Metadata({k: v for k, v in read_json_object(config_path).items() if v is not None}, config_path)
    _check_options(config)
    rank = config.integer("r", low=1, high=MAX_RANK)
    alpha = config.real("lora_alpha", float(rank), low=0.0, high=MAX_ALPHA)
    if config.flag("use_rslora", False):
        alpha *= math.sqrt(rank)
    weights = next((folder / name for name in WEIGHTS if (folder / name).is_file()), None)
    if weights is None:
        raise ModelFileError(f"{folder} has no {WEIGHTS[0]} and no {WEIGHTS[1]}.", "Fetch the whole adapter.")
    halves: dict[str, dict[str, TensorInfo]] = {}
    replaced: dict[str, TensorInfo] = {}
    for foreign, tensor in read_weight_file(weights).items():
        name, half = _peft_place(foreign)
        if half:
            halves.setdefault(name, {})[half] = tensor
        else:
            replaced[name] = replace(tensor, name=name)
    return Adapter(
        folder,
        "LoRA",
        _pairs(weights, halves, replaced, alpha, rank),
        replaced,
        hugging_face_order=True,
        hugging_face_names=True,
        files=(config_path, weights),
        base_name=config.text("base_model_name_or_path", ""),
    )


def _check_options(config: Metadata) -> None:
    if config.text("peft_type", "LORA") != "LORA":
        raise UnsupportedModelError(
            f"{config.path}: {config['peft_type']} adapters are not read here.", "Choose a LoRA."
        )
    for option in ("use_dora", "fan_in_fan_out"):
        if config.flag(option, False):
            raise UnsupportedModelError(f"{config.path}: adapters with {option} are not read here.", "Merge it first.")
    for option in ("rank_pattern", "alpha_pattern"):
        if config.get(option):
            raise UnsupportedModelError(
                f"{config.path}: adapters with a {option} are not read here.", "Merge it first."
            )


def _peft_place(foreign: str) -> tuple[str, str]:
    """Hugging Face's name of the matrix that a tensor is for, and "A", "B" or, for a whole matrix, nothing."""
    plain = _SAVED.sub("", foreign)
    while plain.startswith(_PEFT_PREFIX):
        plain = plain.removeprefix(_PEFT_PREFIX)
    found = _PEFT_NAME.fullmatch(plain)
    return (f"{found[1]}.weight", found[2]) if found else (plain, "")


def _pairs(
    path: Path,
    halves: Mapping[str, Mapping[str, TensorInfo]],
    replaced: Mapping[str, TensorInfo],
    alpha: float | None,
    rank: int | None,
) -> dict[str, LoraPair]:
    if not halves and not replaced:
        raise ModelFileError(f"{path} has no LoRA matrices.", _DAMAGED)
    pairs = {}
    for name, half in halves.items():
        if half.keys() != {"A", "B"}:
            raise ModelFileError(f"{path}: of the two matrices for {name} one is missing.", _DAMAGED)
        for one, a, b in _apart(name, half["A"], half["B"]):
            pairs[one] = lora_pair(path, one, a, b, alpha, rank)
    return pairs


def _apart(name: str, a: TensorInfo, b: TensorInfo) -> Iterator[tuple[str, TensorInfo, TensorInfo]]:
    """The pair for a matrix; for a stack of experts, each expert's."""
    if len(a.shape) == len(b.shape) == 3 and a.shape[0] == b.shape[0] <= MAX_EXPERTS and "_exps." in name:
        yield from zip(names_in_stack(name, a.shape[0]), matrices_of_stack(a), matrices_of_stack(b), strict=True)
    else:
        yield name, a, b


def read_ggla(path: Path) -> Adapter:
    """llama.cpp's format of April 2023. It was made of Hugging Face's without changing the rotary order."""
    halves: dict[str, dict[str, TensorInfo]] = {}
    with open_cursor(path) as cursor:
        cursor.at = len(GGLA_MAGIC)
        version = cursor.integer("the version", -(2**31), 2**31 - 1)
        if version != 1:
            raise UnsupportedModelError(f"{path} has ggla version {version}; 1 is known.", "Choose another adapter.")
        rank = cursor.integer("the rank", 1, MAX_RANK)
        alpha = cursor.integer("alpha", 0, int(MAX_ALPHA))
        for _ in range(MAX_TENSORS):
            if cursor.at == cursor.size:
                break
            name, half, tensor = _ggla_tensor(cursor)
            if half in halves.setdefault(name, {}):
                raise cursor.error(f"the matrix {half} for {name} is there twice.", _DAMAGED)
            halves[name][half] = tensor
    pairs = _pairs(path, halves, {}, float(alpha), rank)
    return Adapter(path, "LoRA (ggla)", pairs, {}, hugging_face_order=True, files=(path,))


def _ggla_tensor(cursor: Cursor) -> tuple[str, str, TensorInfo]:
    cursor.integer("the number of dimensions of a matrix", 2, 2)
    length = cursor.integer("the length of a matrix's name", 1, MAX_NAME_BYTES)
    kind = TYPE_BY_ID[cursor.integer("the type of a matrix", 0, 1)]
    columns, rows = (cursor.integer("a dimension of a matrix", 1, 2**31 - 1) for _ in range(2))
    foreign = cursor.raw(length, "the name of a matrix").decode("utf-8", "replace")
    cursor.align(32)
    weight, mark, half = foreign.rpartition(".lora")
    name = from_meta(weight) if mark and half in ("A", "B") else None
    if name is None:
        raise UnsupportedModelError(
            f"{cursor.path}: {foreign} is for no part of a LLaMA model.", "Choose another adapter."
        )
    n_bytes = rows * kind.row_bytes(columns)
    cursor.need(n_bytes, foreign)
    tensor = TensorInfo(foreign, (rows, columns), kind, cursor.path, cursor.at, n_bytes)
    cursor.at += n_bytes
    return name, half, _transposed(tensor) if half == "A" else tensor


def _transposed(tensor: TensorInfo) -> TensorInfo:
    """A small matrix that the file has on its side."""

    def make_rows(first: int, count: int) -> NDArray[np.uint8]:
        import numpy as np

        whole = read_floats(tensor, 0, tensor.shape[0])
        return np.ascontiguousarray(whole[:, first : first + count].T).view(np.uint8)

    return derived(tensor, make_rows, shape=tensor.shape[::-1], kind=TYPE_BY_NAME["F32"])


def adapter_of_gguf(gguf: Checkpoint) -> Adapter:
    """A GGUF whose `general.type` is adapter; it is in GGUF's order already.

    As in llama.cpp, no alpha and an alpha of 0 mean a scale of 1.
    """
    metadata = gguf.metadata
    if metadata.text("adapter.type", "") != "lora":
        raise UnsupportedModelError(f"{gguf.path} is an adapter, not a model, and no LoRA.", "Choose a LoRA.")
    alpha = metadata.real("adapter.lora.alpha", 0.0, low=0.0, high=MAX_ALPHA) or None
    replaced: dict[str, TensorInfo] = {}
    halves: dict[str, dict[str, TensorInfo]] = {}
    for foreign, tensor in gguf.tensors.items():
        name, mark, half = foreign.rpartition(".lora_")
        if mark and half in ("a", "b"):
            is_row = len(tensor.shape) == 1
            halves.setdefault(name, {})[half.upper()] = replace(tensor, shape=(1, *tensor.shape)) if is_row else tensor
        else:
            replaced[foreign] = tensor
    base_name = metadata.get("general.base_model.0.name")
    return Adapter(
        gguf.path,
        "LoRA (GGUF)",
        _pairs(gguf.path, halves, replaced, alpha, None),
        replaced,
        hugging_face_order=False,
        files=gguf.files,
        base_name=base_name if isinstance(base_name, str) else "",
    )


def find_base(adapter: Adapter) -> Path:
    """The base model of an adapter: called `base` beside it, or what the adapter says, as a path or a neighbour's name.

    Raises NeedsBaseError that tells what to do.
    """
    folder = adapter.path if adapter.path.is_dir() else adapter.path.parent
    candidates = [folder / name for name in ("base", "base.gguf", "base.bin")]
    if adapter.base_name and "\0" not in adapter.base_name:
        last = re.split(r"[/\\]", adapter.base_name.rstrip("/\\"))[-1]
        candidates.append(folder / adapter.base_name)
        candidates += [place / (last + end) for place in (folder, folder.parent) for end in ("", ".gguf", ".bin")]
    for candidate in candidates:
        # What is too long for a name, or in a folder that may not be entered, is not there.
        is_there = candidate.name not in ("", ".", "..") and os.path.exists(candidate)
        if is_there and not os.path.samefile(candidate, folder):
            return candidate
    trained_on = f", made for {adapter.base_name}" if adapter.base_name else ""
    raise NeedsBaseError(
        f"{adapter.path} is an adapter{trained_on}: it needs its base model, which is not beside it.",
        f"Name it with --base or in the picker, or put it, or a link to it, at {folder / 'base'} (or base.gguf).",
    )
