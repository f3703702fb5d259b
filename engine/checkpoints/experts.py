"""Experts that have a tensor each, as Hugging Face's files and the first GGUFs of Mixtral have them, as one stack."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from engine.checkpoints.checkpoint import TensorInfo
from engine.checkpoints.derived import joined_rows
from engine.errors import ModelFileError

_ONE = re.compile(r"(blk\.\d+\.ffn_(?:gate|up|down))\.(\d{1,4})\.weight")


def stack_experts(tensors: Mapping[str, TensorInfo]) -> dict[str, TensorInfo]:
    """The same tensors, but one `blk.0.ffn_up_exps.weight` (experts, rows, columns) for all `blk.0.ffn_up.N.weight`.

    Raises ModelFileError where one is missing, or where they differ in shape or type.
    """
    stacked: dict[str, TensorInfo] = {}
    apart: dict[str, dict[int, TensorInfo]] = {}
    for name, tensor in tensors.items():
        found = _ONE.fullmatch(name)
        if found is None:
            stacked[name] = tensor
        else:
            apart.setdefault(f"{found[1]}_exps.weight", {})[int(found[2])] = tensor
    for name, experts in apart.items():
        first = next(iter(experts.values()))
        if name in stacked:
            raise ModelFileError(f"{first.path} has {name} and {first.name}.", "The file was written wrongly.")
        stacked[name] = _stack(name, experts, first)
    return stacked


def _stack(name: str, experts: Mapping[int, TensorInfo], first: TensorInfo) -> TensorInfo:
    missing = next((index for index in range(len(experts)) if index not in experts), None)
    if missing is not None:
        raise ModelFileError(
            f"{first.path}: of the experts of {name} number {missing} is missing.", "Fetch all parts of the model."
        )
    ordered = [experts[index] for index in range(len(experts))]
    if any(len(expert.shape) != 2 for expert in ordered):
        raise ModelFileError(f"{first.path}: the experts of {name} are no matrices.", "Fetch the file again.")
    return replace(joined_rows(name, ordered), shape=(len(ordered), *first.shape))
