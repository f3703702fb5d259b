"""The activation of Apertus, whose numbers Hugging Face's format has among the weights, and GGUF among its keys.

Source: the xIELU of the transformers repository, and llama.cpp's converter.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping

from engine.checkpoints.checkpoint import TensorInfo
from engine.checkpoints.derived import read_floats
from engine.checkpoints.names import layer_of
from engine.errors import ModelFileError

_USUAL: dict[str, float | None] = {"alpha_n": None, "alpha_p": None, "beta": 0.5, "eps": -1e-6}
"""The names of the numbers, and what they are where the weights do not have them."""


def xielu_keys(weights: Mapping[str, TensorInfo], n_layers: int) -> dict[str, object]:
    """Keys of a GGUF. Raises ModelFileError where a layer's number is missing."""
    found: dict[str, dict[int, float]] = {name: {} for name in _USUAL}
    for name, tensor in weights.items():
        _, is_part, number = name.partition(".act_fn.")
        if is_part and number in found and tensor.n_rows == 1:
            found[number][layer_of(name)] = float(read_floats(tensor, 0, 1).flat[0])
    keys: dict[str, object] = {}
    for name, usual in _USUAL.items():
        values = [found[name].get(layer, usual) for layer in range(n_layers)]
        if any(value is None for value in values):
            path = next(iter(weights.values())).path if weights else "The model"
            raise ModelFileError(f"{path}: a layer's act_fn.{name} is missing.", "Fetch all parts of the model.")
        keys[f"xielu.{name}"] = array("f", [value for value in values if value is not None])
    return keys
