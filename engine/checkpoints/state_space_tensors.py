"""Tensors of Mamba-2's layers in Hugging Face's format as GGUF has them.

There are logarithms of decays, vectors in place of GGUF's columns and rows of groups, and convolutions have a dimension
more; Falcon-H1's configuration has factors that GGUF's matrices have in them. Source: llama.cpp's converter.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from engine.checkpoints.checkpoint import TensorInfo
from engine.checkpoints.derived import derived, float_bytes, read_floats
from engine.checkpoints.limits import MAX_WIDTH
from engine.checkpoints.metadata import Metadata
from engine.checkpoints.tensor_types import TYPE_BY_NAME
from engine.errors import ModelFileError, UnsupportedModelError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LEAST_FACTOR, MOST_FACTOR = 1e-9, 1e9


def as_state_space(tensor: TensorInfo, metadata: Metadata) -> TensorInfo:
    """The tensor, of GGUF's name already, as GGUF has it; any that is none of such a layer's stays as it is."""
    arch, part = metadata.text("general.architecture"), tensor.name.split(".", 2)[-1]
    if part == "ssm_conv1d.weight" and len(tensor.shape) == 3 and tensor.shape[1] == 1:
        return replace(tensor, shape=(tensor.shape[0], tensor.shape[2]))
    if part == "ssm_a":
        return _in_rows(tensor, tensor.shape[-1], _negative_exponential)
    if part == "ssm_d":
        return _in_rows(tensor, tensor.shape[-1], lambda values: values)
    if part == "ssm_norm.weight":
        groups = metadata.integer(f"{arch}.ssm.group_count", low=1, high=MAX_WIDTH)
        return _in_rows(tensor, groups, lambda values: values)
    return tensor


def as_selective_scan(tensor: TensorInfo) -> TensorInfo:
    """The same of Mamba-1's layers, where each number of a channel's state has its decay's logarithm."""
    part = tensor.name.split(".", 2)[-1]
    if part == "ssm_conv1d.weight" and len(tensor.shape) == 3 and tensor.shape[1] == 1:
        return replace(tensor, shape=(tensor.shape[0], tensor.shape[2]))
    if part != "ssm_a":
        return tensor
    kind = TYPE_BY_NAME["F32"]

    def make_rows(first: int, count: int) -> NDArray[np.uint8]:
        return float_bytes(_negative_exponential(read_floats(tensor, first, count)), kind)

    return derived(tensor, make_rows, shape=tensor.shape, kind=kind)


def with_factors(tensors: dict[str, TensorInfo], values: Metadata, metadata: Metadata) -> dict[str, TensorInfo]:
    """Falcon-H1's tensors, of GGUF's names, times the factors of its configuration.

    Raises UnsupportedModelError where they cannot be in the tensors.
    """
    if any(values.flag(name, False) for name in ("attention_bias", "mlp_bias", "projectors_bias", "mamba_proj_bias")):
        raise UnsupportedModelError(f"{values.path}: matrices have biases, which is not run here.", "Choose a GGUF.")

    def factor(name: str) -> float:
        return values.real(name, 1.0, low=LEAST_FACTOR, high=MOST_FACTOR)

    before, (gate, down) = factor("attention_in_multiplier"), _factors(values, "mlp_multipliers", 2)
    embedding, output = factor("embedding_multiplier"), factor("lm_head_multiplier")
    if "output.weight" not in tensors and embedding != output:
        raise UnsupportedModelError(
            f"{values.path}: embeddings are multiplied by {embedding:g} and by {output:g} where they make logits, "
            "which is not run here.",
            "Choose another model.",
        )
    alike = {
        "attn_q.weight": before,
        "attn_k.weight": before * factor("key_multiplier"),
        "attn_v.weight": before,
        "attn_output.weight": factor("attention_out_multiplier"),
        "ssm_out.weight": factor("ssm_out_multiplier"),
        "ffn_gate.weight": gate,
        "ffn_down.weight": down,
        "token_embd.weight": embedding,
        "output.weight": output,
    }
    first = [factor("ssm_in_multiplier") * each for each in _factors(values, "ssm_multipliers", 5)]
    inner, groups, state, heads = (
        metadata.integer(f"falcon-h1.ssm.{key}", low=1, high=MAX_WIDTH)
        for key in ("inner_size", "group_count", "state_size", "time_step_rank")
    )
    parts = list(zip((inner, inner, groups * state, groups * state, heads), first, strict=True))
    made = {}
    for name, tensor in tensors.items():
        part = name.split(".", 2)[-1] if name.startswith("blk.") else name
        rows = parts if part == "ssm_in.weight" else [(tensor.shape[0], alike.get(part, 1.0))]
        made[name] = tensor if all(each == 1.0 for _, each in rows) else _times(tensor, rows)
    return made


def _factors(values: Metadata, name: str, count: int) -> list[float]:
    given = values.get(name, [1.0] * count)
    if not isinstance(given, list) or len(given) != count:
        raise values.error(f"{name} should be a list of {count} numbers.")
    return [Metadata({name: each}, values.path).real(name, low=LEAST_FACTOR, high=MOST_FACTOR) for each in given]


def _times(tensor: TensorInfo, parts: Sequence[tuple[int, float]]) -> TensorInfo:
    """A matrix whose first rows, so many, are multiplied by a factor, the next ones by another."""
    if len(tensor.shape) != 2 or tensor.shape[0] != sum(count for count, _ in parts) or not tensor.type.is_float:
        raise ModelFileError(
            f"{tensor.path}: {tensor.name}, {tensor.type.name} of shape {tensor.shape}, cannot be multiplied by the "
            "configuration's factors.",
            "The configuration and the weights disagree: fetch both again.",
        )
    kind = TYPE_BY_NAME["F32" if tensor.type.name == "F32" else "F16"]

    def make_rows(first: int, count: int) -> NDArray[np.uint8]:
        import numpy as np

        factors = np.repeat([np.float32(each) for _, each in parts], [n for n, _ in parts])[first : first + count]
        return float_bytes(read_floats(tensor, first, count) * factors[:, None], kind)

    return derived(tensor, make_rows, shape=tensor.shape, kind=kind)


def _in_rows(
    vector: TensorInfo, n_rows: int, function: Callable[[NDArray[np.float32]], NDArray[np.float32]]
) -> TensorInfo:
    """The numbers of a vector, each made another one, in rows."""
    if len(vector.shape) != 1 or vector.shape[0] % n_rows:
        raise ModelFileError(
            f"{vector.path}: {vector.name} has the shape {vector.shape}, which {n_rows} rows do not share.",
            "The configuration and the weights disagree: fetch both again.",
        )
    kind = TYPE_BY_NAME["F32"]

    def make_rows(first: int, count: int) -> NDArray[np.uint8]:
        values = function(read_floats(vector, 0, 1)).reshape(n_rows, -1)
        return float_bytes(values[first : first + count], kind)

    return derived(vector, make_rows, shape=(n_rows, vector.shape[0] // n_rows), kind=kind)


def _negative_exponential(values: NDArray[np.float32]) -> NDArray[np.float32]:
    import numpy as np

    return -np.exp(values)
