"""How a folder of Hugging Face's format says that its weights are quantised, and what makes plain weights of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from engine.checkpoints.bitsandbytes import is_bits_and_bytes, unpacked_bits_and_bytes
from engine.checkpoints.checkpoint import TensorInfo
from engine.checkpoints.compressed_tensors import is_compressed, uncompressed
from engine.checkpoints.eight_bits import eight_bit_block, with_scales
from engine.checkpoints.metadata import Metadata
from engine.checkpoints.mlx import is_mlx, mlx_quantization, unpacked_mlx
from engine.checkpoints.packed_words import packing_of, unpacked
from engine.checkpoints.ternary import ternary_of, ternary_weights
from engine.errors import UnsupportedModelError

Unpack = Callable[[Mapping[str, TensorInfo]], dict[str, TensorInfo]]
"""From the tensors of a folder to those of the model. Raises ModelFileError, UnsupportedModelError."""

_WHY = {
    "aqlm": "weights are sums of vectors out of codebooks",
    "vptq": "weights are vectors out of codebooks",
    "higgs": "weights are vectors out of codebooks, and turned",
    "spqr": "weights are in groups of two kinds, some beside them",
    "eetq": "weights lie in the order of a GPU's instructions",
    "fp_quant": "weights are turned by Hadamard matrices",
    "torchao": "weights are objects of a library of PyTorch's",
    "quanto": "weights are objects of a library of PyTorch's",
    "hqq": "groups and their order are not written down in a way that is read here",
    "quark": "it has many formats, none of which is read here",
}
"""Why methods are not read."""


def unpacker_of(how: object, values: Metadata) -> Unpack:
    """What a `quantization_config` asks for. Raises UnsupportedModelError where that is not known here."""
    if isinstance(how, dict):
        found = _known(how, values)
        if found is not None:
            return found
    named = how.get("quant_method") if isinstance(how, dict) else None
    method = named if isinstance(named, str) else "no method that is named"
    why = _WHY.get(method, "it, or what it is set to, is not known here")
    raise UnsupportedModelError(
        f"{values.path}: the weights are quantised for a GPU ({method[:40]}): {why}.",
        "Choose the original weights of the model, or a GGUF.",
    )


def _known(how: Mapping[str, object], values: Metadata) -> Unpack | None:
    if how.get("quant_method") == "mxfp4":
        # As gpt-oss has them: blocks that GGUF has as well.
        return dict
    if is_bits_and_bytes(how):
        return unpacked_bits_and_bytes
    if is_mlx(how):
        return partial(unpacked_mlx, quantization=mlx_quantization(how, values))
    if (block := eight_bit_block(how, values)) is not None:
        return partial(with_scales, block=block)
    if is_compressed(how):
        return uncompressed
    if (packing := packing_of(how, values)) is not None:
        return partial(unpacked, packing=packing)
    if (ternary := ternary_of(how, values)) is not None:
        return partial(ternary_weights, ternary=ternary)
    return None
