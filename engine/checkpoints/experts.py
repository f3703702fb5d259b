"""Experts that have a tensor each, as Hugging Face's files and the first GGUFs of Mixtral have them, and one stack."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from engine.checkpoints.checkpoint import MakeRows, TensorInfo
from engine.checkpoints.derived import derived, joined_rows
from engine.errors import ModelFileError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_ONE = re.compile(r"(blk\.\d+\.ffn_(?:gate|up|down|gate_up))\.(\d{1,4})\.weight")


def stack_experts(tensors: Mapping[str, TensorInfo]) -> dict[str, TensorInfo]:
    """The same tensors, but one `blk.0.ffn_up_exps.weight` (experts, rows, columns) for all `blk.0.ffn_up.N.weight`.

    Raises ModelFileError where one is missing, or where they differ in shape or type.
    """
    stacked: dict[str, TensorInfo] = {}
    apart: dict[str, dict[int, TensorInfo]] = {}
    for name, tensor in tensors.items():
        place = place_in_stack(name)
        if place is None:
            stacked[name] = tensor
        else:
            apart.setdefault(place[0], {})[place[1]] = tensor
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


def place_in_stack(name: str) -> tuple[str, int] | None:
    """The stack that one expert's matrix belongs to, and its number there; None for what is no expert's."""
    found = _ONE.fullmatch(name)
    return (f"{found[1]}_exps.weight", int(found[2])) if found else None


def names_in_stack(name: str, count: int) -> list[str]:
    """The names of so many experts' matrices, for which place_in_stack gives this stack."""
    return [name.replace("_exps.", f".{number}.") for number in range(count)]


def matrices_of_stack(stack: TensorInfo) -> list[TensorInfo]:
    """The matrices that a tensor (matrices, rows, columns) is made of."""
    count, n_rows, _ = stack.shape

    def rows_of(number: int) -> MakeRows:
        def make_rows(first: int, count: int) -> NDArray[np.uint8]:
            from engine.checkpoints.rows import read_rows

            return read_rows(stack, number * n_rows + first, count)

        return make_rows

    return [derived(stack, rows_of(number), shape=stack.shape[1:], kind=stack.type) for number in range(count)]
